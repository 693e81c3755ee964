//! A child process in a process group of its own, and its end.
//!
//! Takes a command. Gives its ends and a [`Child`]. Always holds: the child is not reaped before [`Child`] lets it, so its
//! number, which is also its group's, cannot come to belong to somebody else while signals are sent to it; dropping
//! [`Child`] kills the group and only then closes its stdin, whose end the group therefore never sees; and the kernel kills
//! the child where this program dies without a chance to.

use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use aquifer_engine::failure::Failure;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, getppid};
use tokio::net::unix::pipe;
use tokio::process::{ChildStderr, ChildStdout};
use tokio::sync::oneshot;

use super::{ExecParams, INHERITED};

/// How many bytes the kernel may hold between us and the command's stdin: the most that it grants without privileges.
const STDIN_PIPE: i32 = 1 << 20;

/// A command that was started.
pub(super) struct Spawned {
    pub(super) child: Child,
    /// The reading end of the command's stdin: what the command left unread can be seen here after its end.
    pub(super) unread: Option<PipeReader>,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

/// The process and its group.
pub(super) struct Child {
    group: Pid,
    /// Where to write the command's stdin; closing it is what the command sees as the end. It stands here so that it cannot
    /// be dropped while the command lives, except on purpose.
    sink: Option<pipe::Sender>,
    exit: Exit,
    /// Dropped to let the waiting thread reap the child.
    unreaped: Option<std::sync::mpsc::Sender<()>>,
    status: Option<oneshot::Receiver<io::Result<ExitStatus>>>,
}

/// Tells of the child's end.
pub(super) struct Exit(Option<oneshot::Receiver<()>>);

impl Exit {
    /// Resolves when the process has ended; it is not reaped by that. Safe to drop and ask again.
    pub(super) async fn wait(&mut self) {
        if let Some(exited) = &mut self.0 {
            // An error means that the thread is gone, and with it the process.
            drop(exited.await);
        }
        self.0 = None;
    }
}

type Started = (Child, Option<std::process::ChildStdout>, Option<std::process::ChildStderr>);

/// Starts the command.
pub(super) async fn spawn(params: &ExecParams, with_stdin: bool) -> Result<Spawned, Failure> {
    let name = params.command.first().map(String::as_str).unwrap_or_default();
    let failed = |error| Failure::from_io(error, format!("starting `{name}`"));
    let mut command = prepare(name, params)?;
    let (mut sink, mut unread) = (None, None);
    if with_stdin {
        let (reader, writer) = io::pipe().map_err(failed)?;
        // A courtesy: where the kernel does not grant it, the pipe has the usual 64 KiB, and each side waits for the other often.
        _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(STDIN_PIPE));
        command.stdin(reader.try_clone().map_err(failed)?);
        sink = Some(pipe::Sender::from_owned_fd(OwnedFd::from(writer)).map_err(failed)?);
        unread = Some(reader);
    } else {
        command.stdin(Stdio::null());
    }
    let (tell, told) = oneshot::channel();
    // PR_SET_PDEATHSIG looks at the thread that forked and not at the process, so one thread starts the child and stays
    // until the child has ended. One of its own, since there may be more commands at once than a pool has threads.
    let thread = std::thread::Builder::new().name("aquifer-exec".into()).spawn(move || attend(command, sink, tell));
    thread.map_err(|error| Failure::unavailable(format!("no thread can be started for `{name}`: {error}")))?;
    let ended = || Failure::cancelled("the program is ending");
    let (child, stdout, stderr) = told.await.map_err(|_| ended())?.map_err(failed)?;
    let missing = || Failure::internal("the command was started without its ends");
    Ok(Spawned {
        child,
        unread,
        stdout: ChildStdout::from_std(stdout.ok_or_else(missing)?).map_err(failed)?,
        stderr: ChildStderr::from_std(stderr.ok_or_else(missing)?).map_err(failed)?,
    })
}

fn prepare(name: &str, params: &ExecParams) -> Result<Command, Failure> {
    if let Some(dir) = params.dir.as_ref().filter(|dir| !dir.is_dir()) {
        return Err(Failure::not_found(format!("the folder `{}` does not exist", dir.display()))
            .with_help("create it first, or correct `dir`"));
    }
    let mut command = Command::new(find(name, params)?);
    command.arg0(name).args(&params.command[1..]).env_clear().process_group(0);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if !params.clear_env {
        command.envs(std::env::vars_os().filter(|(name, _)| {
            name.to_str().is_some_and(|name| INHERITED.contains(&name) || name.starts_with("LC_"))
        }));
    }
    command.envs(params.env.iter().map(|(name, value)| (name, value.expose())));
    if let Some(dir) = &params.dir {
        command.current_dir(dir);
    }
    die_with_parent(&mut command);
    Ok(command)
}

fn die_with_parent(command: &mut Command) {
    let parent = Pid::this();
    let hook = move || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before the line above.
        if getppid() == parent { Ok(()) } else { Err(io::Error::from(Errno::ESRCH)) }
    };
    #[expect(
        unsafe_code,
        reason = "the hook runs between fork and exec: it makes two system calls and allocates nothing"
    )]
    // SAFETY: prctl and getppid are async-signal-safe, and making an `io::Error` from an errno does not allocate.
    unsafe {
        command.pre_exec(hook);
    }
}

/// The program's file. Looked for here and not by `exec`, so that the message can say where.
fn find(name: &str, params: &ExecParams) -> Result<PathBuf, Failure> {
    use std::os::unix::fs::PermissionsExt;
    let runs =
        |path: &Path| path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    if name.contains('/') {
        let path = params.dir.as_deref().unwrap_or(Path::new(".")).join(name);
        let path = std::path::absolute(&path).unwrap_or(path);
        if runs(&path) {
            return Ok(path);
        }
        return Err(Failure::not_found(format!("there is no program at `{}`", path.display()))
            .with_help("correct `command`, or make the file executable"));
    }
    let own = params.env.get("PATH").map(|path| path.expose().into());
    let (searched, whose) = match own {
        Some(path) => (path, "the PATH of its `env`".to_owned()),
        None => {
            let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
            let whose = format!("`{}`", path.display());
            (path, whose)
        }
    };
    let found = std::env::split_paths(&searched).filter(|folder| folder.is_absolute()).map(|folder| folder.join(name));
    found.into_iter().find(|path| runs(path)).ok_or_else(|| {
        Failure::not_found(format!("there is no program `{name}` in {whose}"))
            .with_help("install it, or write its whole path in `command`")
    })
}

/// Starts the child, waits for its end, and reaps it once it may.
fn attend(mut command: Command, sink: Option<pipe::Sender>, tell: oneshot::Sender<io::Result<Started>>) {
    let mut process = match command.spawn() {
        Ok(process) => process,
        Err(error) => {
            // Nobody to tell means that the step is gone already.
            _ = tell.send(Err(error));
            return;
        }
    };
    // It holds the other end of the command's stdin.
    drop(command);
    // A process number always fits; the kernel's own type is i32.
    let pid = Pid::from_raw(i32::try_from(process.id()).unwrap_or(i32::MAX));
    let (exit, exited) = oneshot::channel();
    let (unreaped, may_reap) = std::sync::mpsc::channel::<()>();
    let (reaped, status) = oneshot::channel();
    let child = Child { group: pid, sink, exit: Exit(Some(exited)), unreaped: Some(unreaped), status: Some(status) };
    // Where the step is gone, the `Child` that comes back is dropped here and kills what was started.
    _ = tell.send(Ok((child, process.stdout.take(), process.stderr.take())));
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
    _ = exit.send(());
    // Ends in an error, always: the other side sends nothing and is dropped.
    _ = may_reap.recv();
    _ = reaped.send(process.wait());
}

impl Child {
    /// Its stdin and its end, to be looked after at the same time.
    pub(super) fn parts(&mut self) -> (&mut Option<pipe::Sender>, &mut Exit) {
        (&mut self.sink, &mut self.exit)
    }

    /// Asks the group to end, and makes it after `patience`.
    pub(super) async fn stop(&mut self, patience: Duration) {
        self.signal(Signal::SIGTERM);
        if tokio::time::timeout(patience, self.exit.wait()).await.is_err() {
            self.signal(Signal::SIGKILL);
            self.exit.wait().await;
        }
    }

    /// Kills what is left of the group and takes the exit status.
    pub(super) async fn reap(&mut self) -> io::Result<ExitStatus> {
        self.exit.wait().await;
        self.signal(Signal::SIGKILL);
        self.unreaped = None;
        let gone = || io::Error::other("its exit status was lost");
        self.status.take().ok_or_else(gone)?.await.map_err(|_| gone())?
    }

    fn signal(&self, signal: Signal) {
        if self.unreaped.is_some() {
            // Fails only where nothing of the group is left, which is what is wanted.
            _ = killpg(self.group, signal);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}
