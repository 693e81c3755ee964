//! The ways to dump and to restore that are measured: the peers' and ours.
//!
//! Takes a server and a file. Gives the command that writes the file from the server, or the server from the file. Always
//! holds: everything goes to and from a file of the page cache; nobody is made to wait for a disk.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::server::{Server, aquifer, create, open, peer};

/// A way to dump.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) name: &'static str,
    /// Params of `redis-dump` beside its url, as YAML; none where a peer dumps.
    params: Option<&'static str>,
    /// How long the server waits for more replicas before it begins a dump without its disk, in seconds; 5 by itself.
    pub(crate) delay: &'static str,
    /// What it writes is no stream of commands.
    pub(crate) rdb: bool,
}

/// The one that the others are compared with.
pub(crate) const PEER: &str = "redis-dump-go -n 50";

/// The dump that ours is restored from.
pub(crate) const OURS: &str = "aquifer, replication";

/// The dump by commands that is restored too.
pub(crate) const SCAN: &str = "aquifer, scan, normal impact";

const fn ours(name: &'static str, params: &'static str, delay: &'static str) -> Way {
    Way { name, params: Some(params), delay, rdb: false }
}

/// All of them, the peer first.
pub(crate) const DUMPS: [Way; 9] = [
    Way { name: PEER, params: None, delay: "5", rdb: false },
    Way { name: "redis-cli --rdb -", params: None, delay: "5", rdb: true },
    Way { name: "redis-cli --rdb -, the server's delay 0", params: None, delay: "0", rdb: true },
    ours(OURS, "source: replication, serverDisk: true", "5"),
    ours("aquifer, replication without the disk", "source: replication, serverDisk: false", "5"),
    ours("aquifer, replication without the disk, the server's delay 0", "source: replication, serverDisk: false", "0"),
    ours("aquifer, scan, gentle impact", "source: scan, impact: gentle", "5"),
    ours(SCAN, "source: scan, impact: normal", "5"),
    ours("aquifer, scan, full impact", "source: scan, impact: full", "5"),
];

fn task(folder: &Path, name: &str, steps: &str) -> Result<Command, String> {
    let file = folder.join(format!("{name}.yaml"));
    let text =
        format!("apiVersion: aquifer.dev/v1alpha1\nkind: Task\nmetadata: {{name: {name}}}\nspec:\n  steps:\n{steps}");
    std::fs::write(&file, text).map_err(|error| error.to_string())?;
    let mut command = aquifer()?;
    command.args(["run", "--progress", "none", "--task", name]).arg(file).stdout(Stdio::null());
    Ok(command)
}

impl Way {
    /// The command that dumps a server into a file.
    pub(crate) fn dump(&self, server: &Server, folder: &Path, to: &Path) -> Result<Command, String> {
        let Some(params) = self.params else {
            let mut command = if self.rdb { server.cli() } else { peer(server)? };
            if self.rdb {
                command.args(["--rdb", "-"]);
            }
            command.stdout(create(to)?);
            return Ok(command);
        };
        // A plain file, as the shell would write it: `file-write` would wait for the disk, which the peers do not.
        let steps = format!(
            "    - {{name: dump, function: redis-dump, params: {{url: \"{}\", {params}}}}}
    - {{name: file, function: exec, stdin: dump, params: {{command: [dd, \"of={}\", bs=1M, iflag=fullblock, status=none]}}}}\n",
            server.url(),
            to.display()
        );
        task(folder, "dump", &steps)
    }
}

/// The command that restores a file of ours.
pub(crate) fn restore(server: &Server, folder: &Path, from: &Path) -> Result<Command, String> {
    let steps = format!(
        "    - {{name: file, function: file-read, params: {{path: \"{}\"}}}}
    - {{name: restore, function: redis-restore, stdin: file, params: {{url: \"{}\"}}}}\n",
        from.display(),
        server.url()
    );
    task(folder, "restore", &steps)
}

/// The command that restores a file of the peer's.
pub(crate) fn pipe(server: &Server, from: &Path) -> Result<Command, String> {
    let mut command = server.cli();
    command.arg("--pipe").stdin(open(from)?).stdout(Stdio::null());
    Ok(command)
}
