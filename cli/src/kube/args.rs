//! The arguments of `aquifer kube`; the doc comments are the help.
//!
//! Always holds: a name that no resource can have is refused before anything is asked of a cluster.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum Kube {
    /// Print the CustomResourceDefinitions of all kinds, as YAML documents.
    ///
    /// They are given to a cluster by `aquifer kube crds | kubectl apply --server-side -f -`.
    Crds,
    /// Back up now, as a BackupConfiguration says.
    ///
    /// Makes a BackupSession. It is not tried again where it fails, whatever `retryConfig` says: that is for the schedule.
    Trigger(TriggerArgs),
    /// Let a BackupConfiguration make no backups until it is resumed.
    Pause(OneArgs),
    /// Let a BackupConfiguration that was paused make backups again.
    Resume(OneArgs),
    /// Bring a backup back into a database.
    ///
    /// Makes a RestoreSession. Keys that are in the way are overwritten; others stay.
    Restore(RestoreArgs),
    /// Show how backups, repositories and restores are, and why what is not well is not.
    ///
    /// The exit status is 1 where something is not well: not ready, not looked at by the operator, damaged, or its last backup or restore has failed. Times are UTC.
    Status(StatusArgs),
    /// List the snapshots of a Repository.
    ///
    /// The Repository and its Secret are read from the cluster, and the store is asked from this machine, which must reach it.
    Snapshots(SnapshotsArgs),
    /// Remove locks from a Repository that nobody holds any more.
    ///
    /// The Repository and its Secret are read from the cluster, and the store is asked from this machine, which must reach it. Aquifer itself needs
    /// this for no lock that is half an hour old.
    Unlock(UnlockArgs),
    /// Come from Stash.
    Migrate {
        #[command(subcommand)]
        command: Migrate,
    },
    /// Run a session in a pod, as the operator asks for it.
    #[command(hide = true)]
    Work(WorkArgs),
}

/// What a pod runs.
#[derive(Debug, clap::Args)]
pub(crate) struct WorkArgs {
    /// The folder with the session's task and secrets.
    pub(crate) folder: PathBuf,
    /// What this is called in repositories' locks, with its number where several pods run the session; no other program takes locks under this name at the same time.
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
    /// Where the container's last words go.
    #[arg(long, default_value = "/dev/termination-log")]
    pub(crate) last_words: PathBuf,
}

/// Which cluster, and where in it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ClusterArgs {
    /// The namespace; the one of the kubeconfig's context unless said.
    #[arg(short, long, value_parser = name)]
    pub(crate) namespace: Option<String>,
    /// The kubeconfig; unless said, what `KUBECONFIG` names, or `~/.kube/config`, or the cluster that this is a pod of.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Which of the kubeconfig's contexts; its current one unless said.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// A resource by its name.
#[derive(Debug, clap::Args)]
pub(crate) struct OneArgs {
    /// The BackupConfiguration's name.
    #[arg(value_parser = name)]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TriggerArgs {
    #[command(flatten)]
    pub(crate) one: OneArgs,
    /// Wait until it is over, and print what became of it; the exit status is 0 only where it succeeded.
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// What the RestoreSession is to be called.
    #[arg(value_parser = name)]
    pub(crate) name: String,
    /// The Repository; one of another namespace as `NAMESPACE/NAME`.
    #[arg(long, value_name = "REPOSITORY", value_parser = name_of_any)]
    pub(crate) from: String,
    /// The snapshot: the beginning of its id, or `latest`.
    #[arg(long, value_name = "ID", default_value = "latest", value_parser = snapshot)]
    pub(crate) snapshot: String,
    /// Into which AppBinding; unless said, the one that is backed up into the repository, where that is one.
    #[arg(long, value_name = "APPBINDING", value_parser = name)]
    pub(crate) target: Option<String>,
    /// The host that `latest` is the latest of; unless said, the one under which the target is backed up, or `host-0`.
    #[arg(long)]
    pub(crate) host: Option<String>,
    /// Wait until it is over, and print what became of it; the exit status is 0 only where it succeeded.
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// Only what is called so: a BackupConfiguration, a Repository, a RestoreSession.
    #[arg(value_parser = name)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
    /// In which form.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub(crate) output: Form,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SnapshotsArgs {
    /// The Repository's name.
    #[arg(value_parser = name)]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// In which form.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub(crate) output: Form,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UnlockArgs {
    /// The Repository's name.
    #[arg(value_parser = name)]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Remove all locks, also those that look as if they were held. What works under one then may lose what it stores: look first that nothing does.
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Migrate {
    /// Show what would not work, or would change, if Aquifer's operator took over from Stash. Nothing is changed.
    ///
    /// A line for each finding: `stops` would not work, `note` is to be known. The exit status is 1 where something would not work.
    Check(CheckArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// In all namespaces. What belongs to no namespace is always looked at.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
}

/// In which form something is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For reading.
    Text,
    /// For programs.
    Json,
}

/// A name that a resource can have.
fn name(text: &str) -> Result<String, String> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = |byte: Option<&u8>| byte.is_some_and(|byte| letter(*byte));
    let bytes = text.as_bytes();
    let is_name = bytes.len() <= 253
        && ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|byte| letter(*byte) || *byte == b'-' || *byte == b'.');
    if is_name {
        Ok(text.to_owned())
    } else {
        Err("a name in Kubernetes has small letters, digits, `-` and `.`, and begins and ends with a letter or digit"
            .to_owned())
    }
}

/// A name, with or without a namespace in front.
fn name_of_any(text: &str) -> Result<String, String> {
    text.splitn(2, '/').try_for_each(|part| name(part).map(drop)).map(|()| text.to_owned())
}

/// A snapshot's id.
fn snapshot(text: &str) -> Result<String, String> {
    let is_id = (4..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id || text == "latest" {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("a snapshot is `latest`, or 4 to 64 of the digits 0 to 9 and a to f that its id begins with".to_owned())
    }
}
