//! The engine's next steps, for who has manifests and not the params that those steps name.
//!
//! Takes what the engine advises. Gives where its params stand in manifests. Always holds: what a manifest has no field for is said to be a Task's to say.

/// What a param that a session writes is in manifests.
const FIELDS: [(&str, &str); 8] = [
    ("url", "the AppBinding's `clientConfig`"),
    ("rediss", "the scheme in the AppBinding's `clientConfig`"),
    ("tls", "the AppBinding's `clientConfig.caBundle` and `tlsSecret`"),
    ("repository", "the Repository's `backend`"),
    ("region", "the Repository's `backend.s3.region`"),
    ("databases", "`-db` in the task's param `args`"),
    ("snapshot", "`rules[].snapshots`"),
    ("host", "`target.alias`"),
];

/// Params that only a Task of aquifer.dev can set.
const TASKS: [&str; 19] = [
    "allowEmpty",
    "answerTimeout",
    "before",
    "commands",
    "connectTimeout",
    "databaseMap",
    "expiry",
    "filter",
    "form",
    "functions",
    "lockTimeout",
    "mergeDatabases",
    "nodes",
    "onConflict",
    "protocol",
    "rename",
    "requireTrailer",
    "role",
    "source",
];

/// Where the params that an advice names stand in manifests; nothing where it names none.
pub(crate) fn in_manifests(help: &str) -> Option<String> {
    let mut all: Vec<String> = Vec::new();
    let mut of_tasks: Vec<&str> = Vec::new();
    let pieces: Vec<&str> = help.split('`').collect();
    // What is not closed is no piece of its own.
    let quoted = pieces[..pieces.len() - 1].iter().skip(1).step_by(2);
    for word in quoted.filter_map(|piece| named(piece)) {
        if let Some((_, field)) = FIELDS.iter().find(|(name, _)| *name == word) {
            all.push(format!("`{word}` is {field}"));
        } else if TASKS.contains(&word) && !of_tasks.contains(&word) {
            of_tasks.push(word);
        }
    }
    all.dedup();
    if !of_tasks.is_empty() {
        let words = of_tasks.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" and ");
        all.push(format!("a Task of aquifer.dev can say {words}"));
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
    use super::*;

    #[test]
    fn what_a_manifest_has_no_param_for_is_told_in_its_own_words() {
        for (help, told) in [
            (
                "check that the server runs, and that `url` is its address",
                Some("`url` is the AppBinding's `clientConfig`"),
            ),
            (
                "look at what the server is doing, or raise `answerTimeout`",
                Some("a Task of aquifer.dev can say `answerTimeout`"),
            ),
            (
                "leave the functions out: `functions: false`, or `functions`",
                Some("a Task of aquifer.dev can say `functions`"),
            ),
            (
                "install `ca-certificates`, or name the server's authority in `tls.caFile`",
                Some("`tls` is the AppBinding's `clientConfig.caBundle` and `tlsSecret`"),
            ),
            (
                "write `redis://` instead of `rediss://`; else raise `connectTimeout`",
                Some(
                    "`rediss` is the scheme in the AppBinding's `clientConfig`; a Task of aquifer.dev can say `connectTimeout`",
                ),
            ),
            ("look at `INFO replication` of both; `redis-dump`, `{\"3\": 0}`, `filter", None),
            ("", None),
        ] {
            assert_eq!(in_manifests(help), told.map(|told| format!("in manifests, {told}")), "{help}");
        }
    }
}
