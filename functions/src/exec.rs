//! Runs an external command as a step.
//!
//! Takes a program with its arguments, and whatever pipes the task connects. Always holds:
//! - the command's stdout ends well only after it exited with an accepted status;
//! - a stdin that breaks never looks complete: the command is killed before its stdin is closed, also where its step is
//!   dropped (where this whole program is killed, the kernel may close it a moment before it kills the command);
//! - a command that leaves a part of its stdin unread has failed, whatever its status;
//! - when the step ends, in whatever way, nothing of the command's process group is left, and the kernel kills the command
//!   if this program dies;
//! - the command sees of our environment only what [`INHERITED`] names, since ours may hold the secrets of other steps.

mod lines;
mod process;

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::function::{Call, Function, ParamError};
use aquifer_engine::pipe::{Reader, Writer};
use aquifer_engine::ports::Open;
use aquifer_engine::secret::MaybeSecret;
use aquifer_engine::stream::{Accepts, Produces, StreamType, Streams};
use bytes::BytesMut;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::units::Period;
use lines::Lines;

/// What a command inherits of our environment, besides every `LC_*`.
pub const INHERITED: &[&str] =
    &["HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ", "USER"];

/// How many of the last lines on stderr a failure keeps.
const TAIL: usize = 20;

/// The most that is kept of a stdout that nobody reads.
const CAPTURE: usize = 64 << 10;

/// The most that the kernel holds in a pipe that nobody has made larger or smaller.
const PIPE: usize = 64 << 10;

/// The longest time that a command may be given to end.
const LONGEST_PATIENCE: Duration = Duration::from_secs(3600);

/// How much is read from the command at once.
const PIECE: usize = 256 << 10;

/// `exec`.
#[derive(Debug, Clone, Copy)]
pub struct Exec;

/// Its params.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecParams {
    /// The program and its arguments; no shell is in between. It runs in a process group of its own, all of which ends with the step; what
    /// leaves that group (`setsid`, a daemon) is out of reach and stays. A name without `/` is looked for in `PATH`, a relative path
    /// starts from `dir`. Arguments are visible to every user of the machine: pass secrets in `env`.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// Environment variables to set; the values are not shown here, and those of 6 bytes and more nowhere. Of our own environment the command only gets HOME, LANG,
    /// LANGUAGE, LC_*, LOGNAME, PATH, SHELL, SSL_CERT_DIR, SSL_CERT_FILE, TMPDIR, TZ and USER: name what else it needs, as in
    /// `PGHOST: "{{ env.PGHOST }}"`.
    #[serde(default)]
    pub env: BTreeMap<String, MaybeSecret>,
    /// Give it nothing of our environment, and only what `env` sets.
    #[serde(default)]
    pub clear_env: bool,
    /// The folder in which it runs; ours unless said.
    #[serde(default)]
    pub dir: Option<PathBuf>,
    /// The exit statuses that count as success.
    #[serde(default = "zero")]
    #[schemars(length(min = 1))]
    pub ok_exit: Vec<u8>,
    /// How long it may take to end after SIGTERM before SIGKILL, up to `1h`; also how long something that it left behind may
    /// hold its stdout open after its exit. A second request to stop does not wait for it.
    #[serde(default = "five_seconds")]
    pub kill_after: Period,
}

fn zero() -> Vec<u8> {
    vec![0]
}

fn five_seconds() -> Period {
    Period(Duration::from_secs(5))
}

/// What it gives to later steps.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecOutputs {
    /// Its exit status.
    pub exit_code: i32,
    /// The first 64 KiB of its stdout, without white space around it, where no step reads it; else null.
    pub stdout: Option<String>,
}

impl Function for Exec {
    const NAME: &'static str = "exec";
    const SUMMARY: &'static str = "Run an external command.";
    const REPEAT: &'static str = "Runs the command again; what that does is the command's affair.";
    type Params = ExecParams;
    type Ports = Open;
    type Outputs = ExecOutputs;

    fn streams(_: Option<&ExecParams>) -> Streams {
        Streams { stdin: Accepts::Any, stdout: Produces::Exactly(StreamType::unknown()) }
    }

    fn check(params: &ExecParams) -> Result<(), ParamError> {
        if params.command.first().is_none_or(String::is_empty) {
            return Err(ParamError::new("command", "there is no program in `command`")
                .with_help("write the program and its arguments as a list, as in `[tar, -c, /srv]`"));
        }
        if let Some(at) = params.command.iter().position(|word| word.contains('\0')) {
            return Err(ParamError::new(format!("command.{at}"), "an argument cannot hold a zero byte"));
        }
        for (name, value) in &params.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.expose().contains('\0') {
                return Err(ParamError::new(format!("env.{name}"), "this is no environment variable")
                    .with_help("a name is not empty and has no `=`; neither name nor value has a zero byte"));
            }
        }
        if params.kill_after.0 > LONGEST_PATIENCE {
            return Err(ParamError::new("killAfter", "a command gets at most an hour to end")
                .with_help("write a time up to `1h`"));
        }
        if params.ok_exit.is_empty() {
            return Err(
                ParamError::new("okExit", "no exit status would count as success").with_help("leave it out for `[0]`")
            );
        }
        Ok(())
    }

    fn patience(params: &ExecParams) -> Duration {
        // Something more than the command itself gets: it has to be killed and reaped after that.
        params.kill_after.0 + Duration::from_secs(2)
    }

    async fn run(&self, params: ExecParams, ports: Open, call: &Call) -> Result<ExecOutputs, Failure> {
        let spawned = process::spawn(&params, ports.stdin.is_some()).await?;
        let mut session = Session {
            name: params.command.first().cloned().unwrap_or_default(),
            kill_after: params.kill_after.0,
            tail: VecDeque::new(),
            call,
        };
        session.follow(&params, spawned, ports).await
    }
}

/// One command, from its start to its end.
struct Session<'c> {
    name: String,
    kill_after: Duration,
    tail: VecDeque<String>,
    call: &'c Call,
}

impl Session<'_> {
    async fn follow(
        &mut self,
        params: &ExecParams,
        spawned: process::Spawned,
        ports: Open,
    ) -> Result<ExecOutputs, Failure> {
        let process::Spawned { mut child, mut unread, stdout, stderr } = spawned;
        let (call, patience) = (self.call, self.kill_after);
        let overdue = CancellationToken::new();
        let has_reader = ports.stdout.is_some();
        let held = AtomicBool::new(false);

        let tail = &mut self.tail;
        let hearing = async {
            let mut lines = Lines::default();
            let mut hear = |line: &str| {
                call.info(line);
                tail.extend([line.to_owned()]);
                tail.drain(..tail.len().saturating_sub(TAIL));
            };
            let mut source = Outlet { source: stderr, overdue: &overdue, late: 0, held: None };
            while let Ok(Some(bytes)) = source.next().await {
                lines.push(&bytes, &mut hear);
            }
            lines.end(&mut hear);
        };
        let mut hearing = Box::pin(hearing);
        let mut heard = false;

        let followed = {
            let (sink, exit) = child.parts();
            let outlet = Outlet { source: stdout, overdue: &overdue, late: 0, held: Some(&held) };
            let draining = drain(outlet, ports.stdout, call);
            let feeding = supply(ports.stdin, sink);
            let mut deadline = None;
            tokio::pin!(draining, feeding);
            let (mut captured, mut fed, mut ended) = (None, false, false);
            loop {
                if ended && heard && captured.is_some() {
                    break Ok((captured.take().flatten(), fed));
                }
                tokio::select! {
                    biased;
                    () = call.cancelled() => break Err(Failure::cancelled("stopped")),
                    // Before the data, which something left behind may send without end.
                    () = exit.wait(), if !ended => {
                        ended = true;
                        deadline = Instant::now().checked_add(patience);
                    }
                    () = until(deadline), if !overdue.is_cancelled() => overdue.cancel(),
                    done = &mut feeding, if !fed => match done {
                        Ok(()) => fed = true,
                        Err(failure) => break Err(failure),
                    },
                    done = &mut draining, if captured.is_none() => match done {
                        Ok(text) => captured = Some(text),
                        Err(failure) => break Err(failure),
                    },
                    () = &mut hearing, if !heard => heard = true,
                }
            }
        };
        let followed = match followed {
            // Its stdin is still open here: it must not take the end of a broken stream for the end of the data.
            Err(failure) => {
                let mut stopping = Box::pin(child.stop(patience));
                loop {
                    tokio::select! {
                        () = &mut stopping => break,
                        () = &mut hearing, if !heard => heard = true,
                    }
                }
                Err(failure)
            }
            sound => sound,
        };
        drop(hearing);
        let status =
            child.reap().await.map_err(|error| Failure::from_io(error, format!("waiting for `{}`", self.name)));
        let (captured, fed) = match followed {
            // A bad status explains more than what a child of the command did.
            Err(failure) if held.load(Ordering::Relaxed) => {
                return Err(self.exit(params, status?).err().unwrap_or(failure));
            }
            Err(failure) => return Err(failure),
            Ok(done) => done,
        };
        let exit_code = self.exit(params, status?)?;
        if let Some(unread) = &mut unread {
            // What was fed was closed, and nothing else has the writing end: this does not wait.
            if !fed || unread.read(&mut [0]).is_ok_and(|count| count > 0) {
                return Err(Failure::rejected(format!("`{}` ended well before it had read its stdin to the end", self.name))
                    .with_help("half a stream must not look complete: let the command read all of it (`…; cat > /dev/null`), or take the `stdin` off this step"));
            }
        }
        Ok(ExecOutputs { exit_code, stdout: captured.filter(|_| !has_reader) })
    }

    /// The exit status, where it is one of those that count as success.
    fn exit(&self, params: &ExecParams, status: std::process::ExitStatus) -> Result<i32, Failure> {
        use std::os::unix::process::ExitStatusExt;
        let how = match (status.code(), status.signal()) {
            (Some(code), _) if params.ok_exit.iter().any(|ok| i32::from(*ok) == code) => return Ok(code),
            (Some(code), _) => format!("exited with status {code}"),
            (None, Some(signal)) => {
                let name =
                    nix::sys::signal::Signal::try_from(signal).map_or("unknown", nix::sys::signal::Signal::as_str);
                format!("was killed by signal {signal} ({name})")
            }
            (None, None) => "ended in an unknown way".to_owned(),
        };
        let mut failure = Failure::new(FailureKind::Unavailable, format!("`{}` {how}", self.name));
        failure.causes = self.tail.iter().cloned().collect();
        if failure.causes.is_empty() {
            failure = failure.with_help("it wrote nothing on stderr; run it by hand to see why");
        }
        Err(failure)
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Hands the whole stdin to the command and then closes it, which it does nowhere else.
async fn supply(stdin: Option<Reader>, sink: &mut Option<pipe::Sender>) -> Result<(), Failure> {
    if let (Some(mut stdin), Some(open)) = (stdin, sink.as_mut()) {
        while let Some(chunk) = stdin.read().await? {
            open.write_all(&chunk).await.map_err(|error| Failure::from_io(error, "writing to the command's stdin"))?;
        }
    }
    *sink = None;
    Ok(())
}

/// Reads the command's stdout to its end: into the pipe, or, where nobody reads that, line by line into messages.
async fn drain(
    mut source: Outlet<'_, impl AsyncRead + Unpin>,
    stdout: Option<Writer>,
    call: &Call,
) -> Result<Option<String>, Failure> {
    if let Some(mut stdout) = stdout {
        while let Some(bytes) = source.next().await? {
            stdout.write(bytes.freeze()).await?;
        }
        return Ok(None);
    }
    let (mut lines, mut kept) = (Lines::default(), Vec::new());
    let mut say = |line: &str| call.info(line);
    while let Some(bytes) = source.next().await? {
        let room = CAPTURE.saturating_sub(kept.len()).min(bytes.len());
        kept.extend_from_slice(&bytes[..room]);
        lines.push(&bytes, &mut say);
    }
    lines.end(&mut say);
    Ok(Some(String::from_utf8_lossy(&kept).trim().to_owned()))
}

/// One of the command's outputs, which may stay open after it exited, but not for ever.
struct Outlet<'o, S> {
    source: S,
    /// Cancelled when the command has been gone for so long that whatever it left behind should be done.
    overdue: &'o CancellationToken,
    /// Bytes that came after that.
    late: usize,
    /// Set where the end did not come.
    held: Option<&'o AtomicBool>,
}

impl<S: AsyncRead + Unpin> Outlet<'_, S> {
    async fn next(&mut self) -> Result<Option<BytesMut>, Failure> {
        let mut piece = BytesMut::with_capacity(PIECE);
        // What stands in the kernel's pipe is the command's, however late a slow reader makes us come for it. More than a
        // pipe holds was written after that.
        let count = match self.late > PIPE {
            true => None,
            false => tokio::select! {
                biased;
                count = self.source.read_buf(&mut piece) => Some(count.map_err(|error| Failure::from_io(error, "reading the command's output"))?),
                () = self.overdue.cancelled() => None,
            },
        };
        let Some(count) = count else {
            if let Some(held) = self.held {
                held.store(true, Ordering::Relaxed);
            }
            return Err(Failure::rejected("the command exited, but something that it started holds its output open")
                .with_help(
                    "let the command wait for what it starts, or send that one's output elsewhere (`>/dev/null 2>&1`)",
                ));
        };
        if self.overdue.is_cancelled() {
            self.late += count;
        }
        if count == 0 {
            return Ok(None);
        }
        // A short read would keep a whole buffer alive in the pipe, which counts only the bytes.
        Ok(Some(if count < PIECE / 2 { BytesMut::from(&piece[..]) } else { piece }))
    }
}
