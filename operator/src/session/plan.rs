//! Whether the engine could run a session, as the pod will find out.
//!
//! Takes a session. Gives it back, with what is odd about it as notes. Always holds: what can be known of a session before it runs is known before its pod
//! is made, in words that name what they are about; no secret is in them.

use std::sync::LazyLock;

use aquifer_engine::catalog::Catalog;
use aquifer_engine::diagnostic::{Diagnostic, Diagnostics, Severity};
use aquifer_engine::registry::Registry;
use aquifer_functions::{
    http_request, redis_dump, redis_restore, restic_check, restic_forget, restic_join, restic_pull, restic_push,
    restic_snapshots, restic_stats, restic_unlock, restic_wipe, tcp_connect,
};

use super::{Session, TASK};

/// What sessions that have no steps of a user's own run. It is part of the program, and is made once.
static FEW: LazyLock<Catalog> = LazyLock::new(|| {
    let functions = Registry::new()
        .with(redis_dump::RedisDump)
        .with(redis_restore::RedisRestore)
        .with(restic_push::ResticPush)
        .with(restic_pull::ResticPull)
        .with(restic_join::ResticJoin)
        .with(restic_forget::ResticForget)
        .with(restic_check::ResticCheck)
        .with(restic_stats::ResticStats)
        .with(restic_snapshots::ResticSnapshots)
        .with(restic_unlock::ResticUnlock)
        .with(restic_wipe::ResticWipe)
        .with(http_request::HttpRequest)
        .with(tcp_connect::TcpConnect);
    Catalog::new(functions)
});

/// Plans it. `own` says whose it is, where that is a Task of the user's own, which may run anything.
pub(super) fn look_over(mut session: Session, own: Option<&str>) -> Result<Session, Vec<String>> {
    let mut catalog = if own.is_some() { aquifer_functions::catalog() } else { FEW.clone() };
    catalog.add_text(own.unwrap_or("the session"), &format!("{:#}", session.document));
    for function in &session.functions {
        let name = function["metadata"]["name"].as_str().unwrap_or_default();
        catalog.add_text(&format!("the Function `{name}`"), &format!("{function:#}"));
    }
    let odd = told(&catalog.problems(), Severity::Warning);
    // Its pods are given their numbers; any will do here.
    let mut inputs = session.inputs();
    if session.shards.is_some() {
        inputs = inputs.with_text(super::SHARD, "1");
    }
    match catalog.plan(TASK, &inputs) {
        Ok(_) => {
            session.notes.extend(odd);
            Ok(session)
        }
        Err(problems) => Err(told(&problems, Severity::Error)),
    }
}

/// How much of what a problem is about is shown, in characters.
const SHOWN: usize = 60;

/// Problems in a line each, with what they are about: who wrote a manifest has other lines than it has here.
fn told(problems: &Diagnostics, severity: Severity) -> Vec<String> {
    let line = |problem: &Diagnostic| {
        let place = problem.span().map(|span| {
            let text = problems.sources().slice(span).lines().next().unwrap_or_default().trim().trim_matches('"');
            let shown: String = text.chars().take(SHOWN).collect();
            let whose = &problems.sources().get(span.source).name;
            let is_whole = shown.is_empty() || shown.starts_with(['{', '[']);
            if is_whole { format!("{whose}: ") } else { format!("{whose}, at `{shown}`: ") }
        });
        let help = problem.help.as_ref().map(|help| format!(": {help}")).unwrap_or_default();
        format!("{}{}{help}", place.unwrap_or_default(), problem.message)
    };
    problems.iter().filter(|problem| problem.severity == severity).map(line).collect()
}
