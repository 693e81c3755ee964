//! A container's process.
//!
//! Always holds: it sees a root of its own; it ends, and all it started, when it is killed, when it is forgotten and when the node's thread ends.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, SecurityContext};
use kube::ResourceExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::Image;
use super::environment::expanded;
use super::events::Event;
use super::run::Run;
use super::shared::Shared;

/// How often it is looked whether the root is made.
const LOOK: Duration = Duration::from_millis(5);

/// What a kubelet takes of a message, in bytes.
const MESSAGE: usize = 4096;

/// What it takes of a log instead.
const WORDS: usize = 2048;

/// Starts the first process of the new room for processes, and ends as that did, which `unshare` itself does not where it was killed.
const LAUNCH: &str = r#"exec 2>/dev/null; (exec "$@" 2>&1); exit $?"#;

/// The words before a container's environment.
const WAY: &[u8] = b"\0env\0-i\0--chdir=";

/// All that a process needs.
pub(super) struct Start<'a> {
    pub(super) shared: &'a Shared,
    pub(super) pod: &'a Pod,
    pub(super) run: &'a Run,
    pub(super) image: &'a Image,
    pub(super) environment: Vec<(String, String)>,
    pub(super) volumes: BTreeMap<String, PathBuf>,
    pub(super) folder: &'a Path,
}

/// One that was started, and may be as far as to make its root.
pub(super) struct Process {
    child: Child,
    pub(super) kill: CancellationToken,
    started: PathBuf,
    log: PathBuf,
}

/// The name of a log.
pub(super) fn log(container: &str, run: i32) -> String {
    format!("{container}.{run}.log")
}

fn message_file(folder: &Path, container: &str) -> PathBuf {
    folder.join(format!("{container}.message"))
}

/// What a container left to be said of its end.
pub(super) fn last_words(folder: &Path, spec: &Container, code: i32, log: &Path) -> Option<String> {
    let text = |bytes: &[u8]| (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned());
    let message = std::fs::read(message_file(folder, &spec.name)).unwrap_or_default();
    let from_log = code != 0 && spec.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
    if message.is_empty() && from_log {
        let said = std::fs::read(log).unwrap_or_default();
        return text(&said[said.len().saturating_sub(WORDS)..]);
    }
    text(&message[..message.len().min(MESSAGE)])
}

impl Start<'_> {
    /// Starts it.
    ///
    /// # Errors
    /// The pod says something that a kubelet refuses, or that this node does not know.
    pub(super) fn process(self) -> Result<Process, String> {
        let spec = &self.run.spec;
        let pod = self.pod.spec.clone().unwrap_or_default();
        if self.run.init && spec.restart_policy.is_some() {
            return Err("this node runs no sidecars".to_owned());
        }
        let whole = pod.security_context.clone().unwrap_or_default();
        let own = spec.security_context.clone().unwrap_or_default();
        let user = own.run_as_user.or(whole.run_as_user).or(self.image.user).unwrap_or(0);
        let group = own.run_as_group.or(whole.run_as_group).unwrap_or(0);
        if user == 0 && own.run_as_non_root.or(whole.run_as_non_root) == Some(true) {
            return Err("container has runAsNonRoot and image will run as root".to_owned());
        }
        let io = |error: std::io::Error| format!("the node's folder: {error}");
        let (namespace, name) = (self.pod.namespace().unwrap_or_default(), self.pod.name_any());
        let logs = self.shared.logs(&namespace, &name);
        std::fs::create_dir_all(&logs).map_err(io)?;
        let log = logs.join(log(&spec.name, self.run.restarts));
        let said = File::create(&log).map_err(io)?;
        let [root, started] = ["root", "started"].map(|ending| self.folder.join(format!("{}.{ending}", spec.name)));
        std::fs::create_dir_all(&root).map_err(io)?;
        drop(std::fs::remove_file(&started));
        let message = message_file(self.folder, &spec.name);
        std::fs::write(&message, "").map_err(io)?;
        // Whoever the container is writes there.
        for file in [&log, &message] {
            std::fs::set_permissions(file, Permissions::from_mode(0o666)).map_err(io)?;
        }
        let mut command = Command::new("setpriv");
        // The thread that starts it is the node's own.
        command.args(["--pdeathsig", "KILL", "--", "unshare", "--mount", "--pid", "--uts", "--ipc", "--"]);
        command.args(["sh", "-c", LAUNCH, "sh", "setpriv", "--pdeathsig", "KILL", "--", "sh"]);
        let way = if own.read_only_root_filesystem == Some(true) { "ro" } else { "rw" };
        let host = pod.hostname.clone().unwrap_or_else(|| name.clone());
        command
            .arg(self.shared.folder.join("container.sh"))
            .arg(&root)
            .arg(host.get(..63).unwrap_or(&host))
            .arg(way)
            .arg(&started);
        let end = spec.termination_message_path.clone().unwrap_or_else(|| "/dev/termination-log".to_owned());
        for (from, at, way) in self.mounts(spec)?.into_iter().chain([(message, end, "rw")]) {
            command.arg(from).arg(at).arg(way);
        }
        command.arg("--").args(privileges(user, group, &whole, &own)).args(self.command(spec)?);
        command.stdin(Stdio::null()).stdout(said.try_clone().map_err(io)?).stderr(said).kill_on_drop(true);
        let child = command.spawn().map_err(|error| format!("setpriv: {error}"))?;
        Ok(Process { child, kill: CancellationToken::new(), started, log })
    }

    /// What is mounted: from where, at what path, and how; those inside of others come after them.
    fn mounts(&self, spec: &Container) -> Result<Vec<(PathBuf, String, &'static str)>, String> {
        let files = self.image.files.iter().map(|(from, at)| (from.clone(), at.clone(), "ro"));
        let mut mounts = Vec::new();
        let volumes = self.pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
        for mount in spec.volume_mounts.iter().flatten() {
            let volume = volumes.and_then(|all| all.iter().find(|volume| volume.name == mount.name));
            let (volume, at) =
                volume.zip(self.volumes.get(&mount.name)).ok_or_else(|| format!("no volume {}", mount.name))?;
            let within = mount
                .sub_path
                .as_deref()
                .map(|path| expanded(path, &[]))
                .or_else(|| mount.sub_path_expr.as_deref().map(|path| expanded(path, &self.environment)));
            let from = within.map_or_else(|| at.clone(), |path| at.join(path));
            let written =
                volume.empty_dir.is_some() || volume.host_path.is_some() || volume.persistent_volume_claim.is_some();
            if written && !from.exists() {
                std::fs::create_dir_all(&from).map_err(|error| format!("{}: {error}", from.display()))?;
            }
            let read_only = mount.read_only == Some(true) || !written;
            mounts.push((from, mount.mount_path.clone(), if read_only { "ro" } else { "rw" }));
        }
        mounts.sort_by(|one, other| one.1.cmp(&other.1));
        Ok(files.chain(mounts).collect())
    }

    fn command(&self, spec: &Container) -> Result<Vec<String>, String> {
        let known = &self.environment;
        let expand =
            |words: &Option<Vec<String>>| words.iter().flatten().map(|word| expanded(word, known)).collect::<Vec<_>>();
        let command = if spec.command.is_some() { expand(&spec.command) } else { self.image.entrypoint.clone() };
        let folder = spec.working_dir.clone().unwrap_or_else(|| "/".to_owned());
        let mut words = vec!["env".to_owned(), "-i".to_owned(), format!("--chdir={folder}")];
        words.extend(known.iter().map(|(name, value)| format!("{name}={value}")));
        if command.is_empty() {
            return Err("no command specified".to_owned());
        }
        words.extend(command);
        words.extend(expand(&spec.args));
        Ok(words)
    }
}

fn privileges(user: i64, group: i64, whole: &PodSecurityContext, own: &SecurityContext) -> Vec<String> {
    // Another user forgets what the launcher's end is to do.
    let mut words = ["setpriv", "--pdeathsig", "KILL"].map(str::to_owned).to_vec();
    words.extend([format!("--reuid={user}"), format!("--regid={group}")]);
    let mut groups: Vec<i64> = whole.supplemental_groups.clone().unwrap_or_default();
    groups.extend(whole.fs_group);
    if groups.is_empty() {
        words.push("--clear-groups".to_owned());
    } else {
        let groups: Vec<String> = groups.iter().map(i64::to_string).collect();
        words.push(format!("--groups={}", groups.join(",")));
    }
    let dropped = own.capabilities.as_ref().and_then(|capabilities| capabilities.drop.clone()).unwrap_or_default();
    if dropped.iter().any(|name| name == "ALL") {
        words.extend(["--bounding-set=-all".to_owned(), "--inh-caps=-all".to_owned()]);
    }
    if own.allow_privilege_escalation == Some(false) {
        words.push("--no-new-privs".to_owned());
    }
    words
}

impl Process {
    /// Tells when it runs and how it ended; ends it where it is told to.
    pub(super) async fn watch(mut self, slot: usize, events: UnboundedSender<Event>) {
        let mut process = None;
        let status = loop {
            tokio::select! {
                status = self.child.wait() => break status,
                () = self.kill.cancelled() => {
                    // The launcher ends after what it started, and all of that.
                    match process {
                        Some(id) => drop(kill(Pid::from_raw(id), Signal::SIGKILL).map_err(std::io::Error::from)),
                        None => drop(self.child.start_kill()),
                    }
                    break self.child.wait().await;
                }
                () = tokio::time::sleep(LOOK), if process.is_none() => {
                    process = self.tell(slot, &events);
                }
            }
        };
        // It may have been quicker than the look.
        let runs = process.or_else(|| self.tell(slot, &events)).is_some();
        let status = status.ok();
        let code = status.and_then(|status| status.code().or_else(|| status.signal().map(|signal| 128 + signal)));
        let event = if runs {
            Event::Ended(slot, code.unwrap_or(255), None)
        } else {
            Event::Ended(slot, 128, Some(std::fs::read_to_string(&self.log).unwrap_or_default()))
        };
        // The worker may be gone.
        drop(events.send(event));
    }

    fn tell(&self, slot: usize, events: &UnboundedSender<Event>) -> Option<i32> {
        let id = std::fs::read_to_string(&self.started).ok().and_then(|text| text.trim().parse::<i32>().ok())?;
        // Until it is what the container runs, its words are those that lead there.
        let words = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let leads = words.windows(WAY.len()).any(|part| part == WAY);
        (!leads && events.send(Event::Started(slot, id)).is_ok()).then_some(id)
    }
}
