//! A machine of its own on this one, with Debian's containerd and runc.
//!
//! Takes a folder, a name and a program, which runs on it. Gives containerd, which answers and has images. Its processes, mounts, host name and
//! network are its own, and so are `/run`, `/var/lib` and `/var/log`, which are in its folder; its cgroups are below those of the test. The network
//! leads nowhere: a pod reaches the machine, and of this one what a [`road`](super::road) leads to. Always holds: all of it is gone when its first
//! process is, and its cgroups and folder when the guard's work is done.
//!
//! Cgroups have to be of the first version: with the second, what may be limited below a process is for its owner to say.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::geteuid;

use crate::kubernetes::guard::Guard;
use crate::kubernetes::wait::until;

/// The image of what a pod's namespaces are held open by.
const PAUSE: &str = "localhost/pause:tests";

/// Its whole program.
const PAUSES: &str = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n";

/// The address of a machine on the network of its pods: of those that no network really has.
pub(super) const ADDRESS: &str = "198.51.100.1";

const NETWORK: &str = r#"{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge", "bridge": "pods", "isGateway": true,
    "ipam": {"type": "host-local", "subnet": "198.51.100.0/24", "routes": [{"dst": "0.0.0.0/0"}]}}]}"#;

/// A running machine.
#[derive(Debug)]
pub(super) struct Machine {
    folder: PathBuf,
    process: u32,
}

fn done(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let told = || format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{command:?}: {}", told());
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

/// What has to be here: root's rights, cgroups, and programs of Debian's.
fn needs() {
    assert!(geteuid().is_root(), "a real node makes namespaces and cgroups: run this test as root");
    let kind = done(Command::new("stat").args(["--file-system", "--format=%T", "/sys/fs/cgroup"]));
    assert_eq!(
        kind, "tmpfs",
        "a real node needs cgroups of the first version at /sys/fs/cgroup: boot with systemd.unified_cgroup_hierarchy=0"
    );
    for (program, package) in [
        ("containerd", "containerd"),
        ("ctr", "containerd"),
        ("runc", "runc"),
        ("/usr/lib/cni/bridge", "containernetworking-plugins"),
        ("ip", "iproute2"),
        ("unshare", "util-linux"),
        ("cc", "gcc"),
    ] {
        let found = Command::new("sh").args(["-c", "command -v \"$1\"", "sh", program]).output().expect("sh is there");
        assert!(found.status.success(), "{program} is missing: `./test all` installs Debian's {package}");
    }
}

impl Machine {
    /// Starts one, in a folder that is gone with the guard; containerd answers when this comes back, and the program has been started.
    ///
    /// # Panics
    /// A right or a program is missing, or it does not start.
    pub(super) async fn start(guard: &Guard, name: &str, program: &[String]) -> Self {
        needs();
        let mut machine = Self { folder: guard.folder().join("machines").join(name), process: 0 };
        let file = |name: &str, text: &str| {
            let path = machine.folder.join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("room");
            std::fs::write(&path, text).expect("room");
            path.display().to_string()
        };
        let groups = file("groups.sh", include_str!("groups.sh"));
        file("machine.sh", include_str!("machine.sh"));
        file("network/pods.conflist", NETWORK);
        file("containerd.toml", &machine.settings());
        let whole = guard.folder().file_name().expect("a name").to_string_lossy();
        let folder = machine.folder.display().to_string();
        let mut args = vec![groups, folder, guard.groups().display().to_string(), format!("{whole}-{name}")];
        args.extend([name.to_owned(), ADDRESS.to_owned()]);
        args.extend(program.iter().cloned());
        guard.start(name, Path::new("sh"), &args);
        machine.process = guard.process(name).expect("it was started");
        until("containerd", async || {
            assert!(
                !guard.ended(name),
                "the machine does not start: {}{}",
                guard.said(name),
                machine.said("containerd")
            );
            machine.ctr(&["version"]).output().ok()?.status.success().then_some(())
        })
        .await;
        machine.import(&machine.program(PAUSE, PAUSES));
        machine
    }

    fn settings(&self) -> String {
        // Nobody here may make itself less likely to be killed than the test is.
        format!(
            r#"version = 2
disabled_plugins = ["io.containerd.internal.v1.opt"]
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{}"
"#,
            self.folder.join("network").display()
        )
    }

    /// The command of containerd's client.
    fn ctr(&self, args: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command
            .arg("--address")
            .arg(self.folder.join("run/containerd/containerd.sock"))
            .arg("--namespace=k8s.io")
            .args(args);
        command
    }

    /// Gives it an image: an archive of OCI's form, or of Docker's.
    ///
    /// # Panics
    /// It is none.
    pub(super) fn import(&self, archive: &Path) {
        done(self.ctr(&["images", "import"]).arg(archive));
    }

    /// Makes an image whose only file is a program, of its source in C: `/program`. Its pods run it, and may be told to run it again with words.
    pub(super) fn program(&self, tag: &str, source: &str) -> PathBuf {
        let folder = self.folder.join("images").join(tag.replace(['/', ':'], "-"));
        std::fs::create_dir_all(&folder).expect("room");
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("room");
        write("program.c", source);
        let tar = |archive: &str, files: &[&str]| {
            done(
                Command::new("tar")
                    .args(["--format=ustar", "--owner=0", "--group=0", "-cf", archive])
                    .args(files)
                    .current_dir(&folder),
            )
        };
        done(Command::new("cc").args(["-static", "-Os", "-s", "-o", "program", "program.c"]).current_dir(&folder));
        tar("layer.tar", &["program"]);
        let sum = done(Command::new("sha256sum").arg(folder.join("layer.tar")));
        let sum = sum.split(' ').next().expect("a sum");
        let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        write(
            "config.json",
            &serde_json::json!({
                "architecture": machine, "os": "linux", "config": {"Entrypoint": ["/program"], "User": "65535:65535"},
                "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{sum}")]},
            })
            .to_string(),
        );
        write(
            "manifest.json",
            &serde_json::json!([{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]).to_string(),
        );
        tar("image.tar", &["config.json", "layer.tar", "manifest.json"]);
        folder.join("image.tar")
    }

    /// The network of it, to go to.
    pub(super) fn network(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.process))
    }

    /// What a container has written, of the pod whose folder begins so.
    pub(super) fn log(&self, pod: &str, container: &str) -> String {
        let pods = std::fs::read_dir(self.folder.join("var/log/pods")).into_iter().flatten().flatten();
        let of_pod = pods
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(pod))
            .map(|entry| entry.path().join(container));
        let files = of_pod.filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
        files
            .map(|file| String::from_utf8_lossy(&std::fs::read(file.path()).unwrap_or_default()).into_owned())
            .collect()
    }

    /// What a program of it has said, its last 4000 bytes.
    pub(super) fn said(&self, program: &str) -> String {
        let said = std::fs::read(self.folder.join(format!("{program}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&said[said.len().saturating_sub(4000)..]).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The processes that are in a cgroup of this name, or below one; not those that have ended, which this machine's first process has not heard of yet.
    fn in_it(group: &str) -> Vec<PathBuf> {
        let all = std::fs::read_dir("/proc").expect("it is mounted").flatten().map(|entry| entry.path());
        let is_in = |process: &PathBuf| {
            let read = |name: &str| std::fs::read_to_string(process.join(name)).unwrap_or_default();
            read("cgroup").contains(group) && !read("status").contains("State:\tZ")
        };
        all.filter(is_in).collect()
    }

    #[tokio::test]
    async fn nothing_is_left_of_it() {
        for orphaned in [false, true] {
            let guard = Guard::new();
            let machine = Machine::start(&guard, "machine", &["sleep".to_owned(), "1000".to_owned()]).await;
            let first =
                std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", machine.process)).expect("it runs");
            let first = first.trim().to_owned();
            let run = [
                "--all",
                "--target",
                &first,
                "ctr",
                "--namespace=k8s.io",
                "run",
                "--detach",
                "--null-io",
                PAUSE,
                "one",
            ];
            done(Command::new("nsenter").args(run));
            let groups = std::fs::read_to_string(guard.groups()).expect("it was written");
            assert!(
                groups.lines().count() > 3 && groups.lines().all(|group| Path::new(group).join("k8s.io/one").is_dir()),
                "{groups}"
            );
            let group = Path::new(groups.lines().next().expect("a group")).file_name().expect("a name").to_owned();
            let group = group.to_string_lossy();
            // What all is started by, the shell, containerd, the program, the shim, and what the container runs.
            assert!(in_it(&group).len() >= 6, "{:?}", in_it(&group));
            let folder = if orphaned {
                guard.orphaned()
            } else {
                let folder = guard.folder().to_owned();
                drop(guard);
                folder
            };
            assert!(!folder.exists());
            assert_eq!(
                groups.lines().filter(|group| Path::new(group).exists()).collect::<Vec<_>>(),
                Vec::<&str>::new()
            );
            assert_eq!(in_it(&group), Vec::<PathBuf>::new());
            let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("it is mounted");
            assert!(!mounts.contains(&*folder.to_string_lossy()), "{mounts}");
        }
    }
}
