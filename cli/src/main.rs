//! The `aquifer` command. Takes arguments, files and signals; prints results to stdout and everything else to stderr.
//!
//! Always holds: exit status 0 is success, 1 a failed run, 2 wrong definitions or arguments, 130 and 143 a run stopped by
//! SIGINT or SIGTERM; a reader that closes stdout early is no error; no secret is printed. There is no logic of its own
//! here: the engine decides, this prints.

mod args;
mod describe;
mod docs;
mod exit;
mod inputs;
mod kube;
mod operator;
mod print;
mod progress;
mod queue;
mod run;
mod session;
mod store;
mod summary;
mod work;

use clap::{CommandFactory, Parser as _};
use std::process::ExitCode;

use args::{Args, Command};
use print::Screen;

fn main() -> ExitCode {
    let args = match Args::try_parse_from(args::as_meant(std::env::args_os())) {
        Ok(args) => args,
        Err(error) => args::with_hint(error).exit(),
    };
    let screen = Screen::default();
    logging(&args, &screen);
    quiet_panics(&args, screen.clone());
    let exit = match &args.command {
        Command::Run(run) => run::run(run, &args, &screen),
        Command::RunSession(session) => session::run(session, &args, &screen),
        Command::Plan(plan) => run::plan(plan, &args),
        Command::Check { paths } => run::check(paths, &args),
        Command::Functions { command } => describe::functions(command.as_ref()),
        Command::Tasks { command } => describe::tasks(command.as_ref()),
        Command::Schema => describe::schema(),
        Command::Kube { command } => kube::run(command, &args, &screen),
        Command::Operator(operator) => operator::run(operator),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Args::command(), "aquifer", &mut script);
            print::result(&String::from_utf8_lossy(&script))
        }
        Command::Docs { write, check } => docs::run(write.as_deref(), check.as_deref()),
    };
    exit.into()
}

/// Library logs go to stderr, by `RUST_LOG`; without it only warnings of Aquifer's own, and what an operator does.
fn logging(args: &Args, screen: &Screen) {
    use tracing_subscriber::Layer as _;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;

    // An operator has nothing but its log to tell of itself.
    let usual = if matches!(args.command, Command::Operator(_)) { "off,aquifer_operator=info" } else { "off" };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new(format!("{usual},aquifer_engine=warn,aquifer_functions=warn"))
    });
    let lines = tracing_subscriber::fmt::layer().with_writer({
        let screen = screen.clone();
        move || screen.clone()
    });
    let lines = match args.log_format {
        args::LogFormat::Text => lines.with_ansi(print::colour_on_stderr(args.color)).boxed(),
        args::LogFormat::Json => lines.json().boxed(),
    };
    let lines = lines.with_filter(tracing_subscriber::filter::filter_fn(may_be_shown));
    tracing_subscriber::registry().with(filter).with(lines).init();
}

/// What libraries that handle keys and requests say in detail may hold a key, a token or a signed request, and no
/// redactor knows what they take from the environment: of those, `RUST_LOG` shows no more than `info`, and of the one that reads Secrets nothing.
fn may_be_shown(line: &tracing::Metadata<'_>) -> bool {
    shows(line.target(), *line.level())
}

fn shows(target: &str, level: tracing::Level) -> bool {
    const DISCREET: &[&str] =
        &["opendal", "reqsign", "hyper", "h2", "reqwest", "rustls", "rustic", "age", "redis", "log"];
    let name = target.split("::").next().unwrap_or_default();
    // It says the whole of what it cannot read, which may be a Secret; what is wrong with it, it gives to who asked.
    if name == "kube_client" {
        return false;
    }
    let discreet = DISCREET
        .iter()
        .any(|library| name.strip_prefix(library).is_some_and(|rest| rest.is_empty() || rest.starts_with(['_', '-'])));
    level <= tracing::Level::INFO || !discreet
}

/// A panic's text may hold a secret, so only its place is printed here; the engine puts the text, without secrets, into the report.
fn quiet_panics(args: &Args, screen: Screen) {
    let events_only = matches!(&args.command, Command::Run(args::RunArgs { show, .. }) | Command::RunSession(args::SessionArgs { show, .. }) if show.progress == args::Progress::Json);
    std::panic::set_hook(Box::new(move |info| {
        if events_only {
            return;
        }
        let place = info.location().map(|at| format!(" at {}:{}", at.file(), at.line())).unwrap_or_default();
        screen.note(&format!("a function panicked{place}: this is a bug, please report it"));
    }));
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::shows;

    #[test]
    fn who_reads_secrets_says_nothing_and_who_handles_keys_little() {
        assert!(!shows("kube_client::client", Level::WARN) && !shows("kube_client", Level::ERROR));
        assert!(!shows("hyper_util::client", Level::DEBUG) && shows("hyper_util::client", Level::INFO));
        assert!(shows("aquifer_operator::cluster", Level::TRACE) && shows("kube_runtime::watcher", Level::DEBUG));
    }
}
