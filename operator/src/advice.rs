//! The engine's next steps, for who has manifests and not the params that those steps name.
//!
//! Takes what the engine advises about a step of a session. Gives where the params that it names stand in manifests. Always holds: nothing is said of steps
//! that a session did not write, nor of params that it sets by itself.

use crate::session::steps;

/// What the params of a session's functions are in manifests.
#[derive(Debug)]
struct Words {
    /// The steps that have them.
    steps: &'static [&'static str],
    /// Those that manifests have a field for.
    fields: &'static [(&'static str, &'static str)],
    /// Those that only a Task of aquifer.dev can set.
    tasks: &'static [&'static str],
}

/// Of what reads and writes databases.
const REDIS: Words = Words {
    steps: &[steps::DUMP, steps::RESTORE],
    fields: &[
        ("url", "the AppBinding's `clientConfig`"),
        ("tls", "the AppBinding's `clientConfig.caBundle` and `tlsSecret`"),
        ("password", "the key `password` of the AppBinding's `secret`"),
        ("username", "the key `username` of the AppBinding's `secret`"),
    ],
    tasks: &[
        "answerTimeout",
        "commands",
        "connectTimeout",
        "databaseMap",
        "expiry",
        "form",
        "functions",
        "mergeDatabases",
        "nodes",
        "protocol",
        "rename",
        "role",
        "source",
    ],
};

/// Of what reads and writes repositories.
const RESTIC: Words = Words {
    steps: &[steps::PUSH, steps::PULL, steps::FORGET, steps::CHECK, steps::STATS],
    fields: &[
        ("repository", "the Repository's `backend`"),
        ("password", "the key `RESTIC_PASSWORD` of the Repository's Secret"),
    ],
    tasks: &["allowEmpty", "lockTimeout"],
};

/// Where the params stand in manifests that an advice about this step names; nothing where it names none.
pub(crate) fn in_manifests(step: &str, help: &str) -> Option<String> {
    let words = [REDIS, RESTIC].into_iter().find(|words| words.steps.contains(&step))?;
    let (mut all, mut of_tasks): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let pieces: Vec<&str> = help.split('`').collect();
    // What is not closed is no piece of its own.
    let quoted = pieces[..pieces.len() - 1].iter().skip(1).step_by(2);
    for word in quoted.filter_map(|piece| named(piece)) {
        let field =
            words.fields.iter().find(|(name, _)| *name == word).map(|(_, field)| format!("`{word}` is {field}"));
        let task = Some(format!("`{word}`")).filter(|_| words.tasks.contains(&word));
        all.extend(field.filter(|field| !all.contains(field)));
        of_tasks.extend(task.filter(|task| !of_tasks.contains(task)));
    }
    if !of_tasks.is_empty() {
        all.push(format!("a Task of aquifer.dev can say {}", of_tasks.join(" and ")));
    }
    (!all.is_empty()).then(|| format!("in manifests, {}", all.join("; ")))
}

/// The param that is named in a piece of an advice, with or without a value.
fn named(piece: &str) -> Option<&str> {
    let end = piece.find(|one: char| !one.is_ascii_alphanumeric()).unwrap_or(piece.len());
    let (word, behind) = piece.split_at(end);
    matches!(behind.chars().next(), None | Some(':' | '.')).then_some(word)
}

#[cfg(test)]
mod tests {
    use aquifer_functions::catalog;

    use super::*;

    #[test]
    fn what_a_manifest_has_no_param_for_is_told_in_its_own_words() {
        for (step, help, told) in [
            (
                "dump",
                "check that the server runs, and that `url` is its address, `url`",
                Some("`url` is the AppBinding's `clientConfig`"),
            ),
            (
                "dump",
                "look at what the server is doing, or raise `answerTimeout`",
                Some("a Task of aquifer.dev can say `answerTimeout`"),
            ),
            (
                "restore",
                "leave the functions out: `functions: false`, or `functions`",
                Some("a Task of aquifer.dev can say `functions`"),
            ),
            (
                "restore",
                "name the server's authority in `tls.caFile`, or `role: master`",
                Some(
                    "`tls` is the AppBinding's `clientConfig.caBundle` and `tlsSecret`; a Task of aquifer.dev can say `role`",
                ),
            ),
            (
                "push",
                "correct `repository`; `restic-push` makes a new one with `init: true`",
                Some("`repository` is the Repository's `backend`"),
            ),
            // What the session says by itself, what is another function's, and a step of somebody's own.
            ("restore", "restore again with `onConflict: replace`", None),
            ("push", "there are snapshots of `source`", None),
            ("copy", "correct `url`", None),
            ("dump", "look at `INFO replication` of both; `redis-dump`, `{\"3\": 0}`, `source", None),
            ("dump", "", None),
        ] {
            assert_eq!(in_manifests(step, help), told.map(|told| format!("in manifests, {told}")), "{help}");
        }
    }

    #[test]
    fn the_words_are_params_of_the_functions_that_sessions_run() {
        let catalog = catalog();
        let known = |functions: &[&str], word: &str| {
            let params = functions.iter().map(|name| &catalog.registry().get(name).expect("a function").info().params);
            params.into_iter().any(|params| params.as_value()["properties"].get(word).is_some())
        };
        for (words, functions) in [(REDIS, &["redis-dump", "redis-restore"][..]), (RESTIC, &["restic-push"][..])] {
            for word in words.fields.iter().map(|(word, _)| word).chain(words.tasks) {
                assert!(known(functions, word), "{word}");
            }
        }
    }
}
