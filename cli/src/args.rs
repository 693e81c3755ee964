//! The command line, as clap reads it; the doc comments are the help.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::exit::Exit;
use crate::kube::args::Kube;

/// Streams backups through declared steps: dumps, transforms and stores that run together, all or nothing.
#[derive(Debug, Parser)]
#[command(name = "aquifer", version, after_help = Exit::HELP, max_term_width = 100)]
pub(crate) struct Args {
    /// How library logs look; `RUST_LOG` says which are shown.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// When to use colours; `NO_COLOR` is honoured.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What kubectl calls a plugin of ours.
const PLUGIN: &str = "kubectl-aquifer";

/// The arguments; where the program is called as kubectl's plugin, they are those of `aquifer kube`.
pub(crate) fn as_meant(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    let is_plugin = |program: &OsString| Path::new(program).file_name().is_some_and(|name| name == PLUGIN);
    if args.first().is_some_and(is_plugin) {
        args.insert(1, "kube".into());
    }
    args
}

/// Says how a param is given, where one was written without its option.
pub(crate) fn with_hint(mut error: clap::Error) -> clap::Error {
    let given = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(given)) if error.kind() == ErrorKind::UnknownArgument => given.clone(),
        _ => return error,
    };
    let name = given.split_once('=').map(|(name, _)| name);
    let is_name = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if let Some(name) = name.filter(|name| is_name(name)) {
        // Not its value, which may be a secret.
        let hint = format!("a param is given with `--set {name}=…`, a secret one with `--set-env {name}=VARIABLE`");
        error.insert(ContextKind::InvalidArg, ContextValue::String(format!("{name}=…")));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
    }
    error
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal.
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a task.
    Run(RunArgs),
    /// Back up or restore as Kubernetes manifests say, on this machine and without a cluster.
    ///
    /// The manifests are those of Stash: Secrets, a Repository, an AppBinding, and a BackupConfiguration or a RestoreSession.
    RunSession(SessionArgs),
    /// Show what a task would run, without running anything.
    Plan(PlanArgs),
    /// Show every problem of these files and folders.
    Check {
        /// Files, or folders of `*.yaml` and `*.yml`.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// List the functions, or show one.
    Functions {
        #[command(subcommand)]
        command: Option<Show>,
    },
    /// List the tasks, or show one.
    Tasks {
        #[command(subcommand)]
        command: Option<Show>,
    },
    /// Print the JSON Schema of task files, for editors.
    Schema,
    /// Back up and restore what resources of a Kubernetes cluster ask for, until it is told to stop.
    ///
    /// The cluster is the one that this is a pod of, or the one that `KUBECONFIG` names.
    Operator(OperatorArgs),
    /// Ask a Kubernetes cluster with the operator for backups and restores, and how they are.
    ///
    /// As a program called `kubectl-aquifer` in `PATH` this is `kubectl aquifer …`.
    Kube {
        #[command(subcommand)]
        command: Kube,
    },
    /// Print a completion script.
    Completions {
        /// For this shell.
        shell: Shell,
    },
    /// Generate the reference pages.
    #[command(hide = true)]
    Docs {
        /// Write them into this folder.
        #[arg(long, conflicts_with = "check")]
        write: Option<PathBuf>,
        /// Fail where a page in this folder is stale.
        #[arg(long)]
        check: Option<PathBuf>,
    },
}

/// How the operator works.
#[derive(Debug, clap::Args)]
pub(crate) struct OperatorArgs {
    /// The image with this program, which the operator's pods run.
    #[arg(long, env = "AQUIFER_IMAGE")]
    pub(crate) image: String,
    /// The Pushgateway that metrics of sessions go to, such as `http://pushgateway.monitoring:9091`; none unless said.
    #[arg(long, env = "AQUIFER_PUSHGATEWAY", value_name = "URL")]
    pub(crate) pushgateway: Option<String>,
    /// Where its health and metrics are asked for: `/healthz`, `/readyz` and `/metrics`.
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    pub(crate) listen: std::net::SocketAddr,
    /// The namespace of its lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub(crate) namespace: String,
    /// Its name among those that want to lead; the host's and the process's unless said.
    #[arg(long, env = "POD_NAME")]
    pub(crate) identity: Option<String>,
    /// Work without a lease: only where there is no other one.
    #[arg(long)]
    pub(crate) no_leader_election: bool,
    /// How long a session may take that has no `timeOut`.
    #[arg(long, default_value = "24h", value_name = "TIME")]
    pub(crate) session_timeout: humantime::Duration,
    /// How long a session's pod may take to begin: to be scheduled, to get its image and its Secrets.
    #[arg(long, default_value = "10m", value_name = "TIME")]
    pub(crate) start_timeout: humantime::Duration,
    /// Let hooks with `exec` run commands in pods of their own namespace: whoever may make a BackupConfiguration or a RestoreSession there can then run
    /// commands in all of its pods. It needs the right to; `hooks.exec` of the chart gives both.
    #[arg(long)]
    pub(crate) exec_hooks: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Show {
    /// Show one.
    Show {
        /// Its name.
        name: String,
    },
}

/// What to run or to plan, and with which params.
#[derive(Debug, clap::Args)]
pub(crate) struct TaskArgs {
    /// A task file, a folder of them, or the name of a task.
    #[arg(value_name = "FILE|NAME")]
    pub(crate) target: String,
    /// Which task, where the file or folder has several.
    #[arg(long)]
    pub(crate) task: Option<String>,
    /// Give a param.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// Give a param the content of a file, without its last line break.
    #[arg(long, value_name = "NAME=PATH")]
    pub(crate) set_file: Vec<String>,
    /// Give a param the value of an environment variable.
    #[arg(long, value_name = "NAME=VARIABLE")]
    pub(crate) set_env: Vec<String>,
    /// Give params from a YAML or JSON file that holds a map; `-` reads stdin.
    #[arg(long, value_name = "FILE")]
    pub(crate) values: Vec<PathBuf>,
    /// More definitions: a file, or a folder of `*.yaml` and `*.yml`.
    #[arg(long, value_name = "PATH", env = "AQUIFER_CATALOG", value_delimiter = ':')]
    pub(crate) catalog: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) task: TaskArgs,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

/// How a run is told of.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// Write the report as JSON to this file; `-` is stdout. A regular file appears whole or not at all; a link, a FIFO or a
    /// device is written to. The place is looked at before the run; where it cannot be
    /// written after all, the exit status is 1, also after a run that succeeded.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// How to tell the progress: `auto` draws bars on a terminal and prints lines elsewhere; with `json`, every line on stderr
    /// is an event up to `run-ended`. Where stderr takes too little, progress is left out, then messages, and the run goes on.
    #[arg(long, value_enum, default_value_t = Progress::Auto)]
    pub(crate) progress: Progress,
}

/// Which manifests, and which of what they ask for.
#[derive(Debug, clap::Args)]
pub(crate) struct SessionArgs {
    /// Manifests: a file, or a folder of `*.yaml`, `*.yml` and `*.json`.
    #[arg(short, long = "filename", value_name = "PATH", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Back up as this BackupConfiguration says; a namespace may stand in front: `demo/redis`.
    #[arg(long, value_name = "NAME", conflicts_with = "restore")]
    pub(crate) backup: Option<String>,
    /// Restore as this RestoreSession says; a namespace may stand in front.
    #[arg(long, value_name = "NAME")]
    pub(crate) restore: Option<String>,
    /// Print the task that would run, as JSON and without secrets, and run nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Run it also where a manifest has a field that is not known, and say which.
    #[arg(long)]
    pub(crate) ignore_unknown: bool,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// Bars on a terminal, lines elsewhere.
    Auto,
    /// A line for each event.
    Plain,
    /// Each event as a JSON object a line.
    Json,
    /// Nothing but warnings, and what went wrong.
    None,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) task: TaskArgs,
    /// In which form.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Output {
    /// For reading.
    Text,
    /// For programs.
    Json,
    /// A Mermaid flowchart.
    Mermaid,
    /// A Graphviz graph.
    Dot,
}
