//! One run of a program on a server, watched: how long it took, what it cost the server, how long the server left others
//! waiting, and how much memory the program held at most.
//!
//! Takes a server and a command. Gives [`Figures`]. Always holds: a program that fails gives its message and no figures.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::server::Server;

/// What one run showed, or the medians of several.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    /// Wall time, in seconds.
    pub(crate) wall: f64,
    /// The server's own processor time, in seconds.
    pub(crate) processor: f64,
    /// That of the server's children.
    pub(crate) children: f64,
    /// The longest time a `PING` on another connection waited for its answer, in seconds.
    pub(crate) stall: f64,
    /// The bytes that were written or read.
    pub(crate) bytes: f64,
    /// The most memory that the programs held, in bytes.
    pub(crate) memory: f64,
}

impl Figures {
    /// The median of each figure by itself.
    pub(crate) fn median(all: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| {
            let mut values: Vec<f64> = all.iter().map(figure).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        Self {
            wall: of(|f| f.wall),
            processor: of(|f| f.processor),
            children: of(|f| f.children),
            stall: of(|f| f.stall),
            bytes: of(|f| f.bytes),
            memory: of(|f| f.memory),
        }
    }

    pub(crate) fn to_json(self) -> serde_json::Value {
        serde_json::json!({
            "seconds": self.wall, "serverSeconds": self.processor, "serverChildSeconds": self.children,
            "longestStallSeconds": self.stall, "streamBytes": self.bytes, "peakMemoryBytes": self.memory,
        })
    }
}

/// Asks a server about every millisecond whether it is there.
struct Pinger {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Duration, String>>,
}

impl Pinger {
    fn start(server: &Server) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("the pinger: {error}");
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !told.load(Ordering::Relaxed) {
                let begun = Instant::now();
                stream.write_all(b"PING\r\n").and_then(|()| stream.read_exact(&mut [0; 7])).map_err(failed)?;
                longest = longest.max(begun.elapsed());
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(longest)
        });
        Ok(Self { stop, thread })
    }

    fn end(self) -> Result<Duration, String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the pinger panicked".to_owned())?
    }
}

/// What a process held at most so far, in bytes; nothing once it has ended.
fn peak(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

/// Waits for programs that are joined by pipes; gives the sum of what each held at most.
fn wait(children: &mut [(Child, String)]) -> Result<u64, String> {
    let mut peaks = vec![0; children.len()];
    let mut errors = Vec::new();
    for (child, name) in children.iter_mut() {
        let stderr = child.stderr.take();
        let name = name.clone();
        errors.push(std::thread::spawn(move || {
            let mut text = String::new();
            if let Some(stderr) = stderr {
                // What is cut off here is only a message.
                let _ = stderr.take(64 << 10).read_to_string(&mut text);
            }
            format!("{name}: {}", text.trim())
        }));
    }
    let mut ended = vec![None; children.len()];
    while ended.iter().any(Option::is_none) {
        for (at, (child, name)) in children.iter_mut().enumerate() {
            if ended[at].is_none() {
                // The last look before the end is the highest.
                peaks[at] = peak(child.id()).unwrap_or(0).max(peaks[at]);
                ended[at] = child.try_wait().map_err(|error| format!("{name}: {error}"))?;
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    for (status, error) in ended.into_iter().zip(errors) {
        let text = error.join().map_err(|_| "a reader panicked".to_owned())?;
        if !status.is_some_and(|status| status.success()) {
            return Err(text);
        }
    }
    Ok(peaks.iter().sum())
}

/// Runs commands joined by pipes; gives wall time in seconds and the most memory that they held, in bytes.
pub(crate) fn alone(commands: Vec<Command>) -> Result<(f64, f64), String> {
    let began = Instant::now();
    let (mut children, mut from): (Vec<(Child, String)>, Option<Stdio>) = (Vec::new(), None);
    let last = commands.len().saturating_sub(1);
    for (at, mut command) in commands.into_iter().enumerate() {
        let name = command.get_program().to_string_lossy().into_owned();
        if let Some(from) = from.take() {
            command.stdin(from);
        }
        if at < last {
            command.stdout(Stdio::piped());
        }
        let mut child = command.stderr(Stdio::piped()).spawn().map_err(|error| format!("{name}: {error}"))?;
        from = if at < last { child.stdout.take().map(Stdio::from) } else { None };
        children.push((child, name));
    }
    let memory = wait(&mut children)?;
    Ok((began.elapsed().as_secs_f64(), memory as f64))
}

/// Runs commands joined by pipes while the server is watched; `bytes` is left for the caller.
pub(crate) fn watched(server: &Server, commands: Vec<Command>) -> Result<Figures, String> {
    let before = server.processor()?;
    let pinger = Pinger::start(server)?;
    let ran = alone(commands);
    let stall = pinger.end()?;
    let (wall, memory) = ran?;
    let after = server.processor()?;
    Ok(Figures {
        wall,
        processor: after.0 - before.0,
        children: after.1 - before.1,
        stall: stall.as_secs_f64(),
        bytes: 0.0,
        memory,
    })
}
