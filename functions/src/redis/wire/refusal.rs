//! What a server's error reply means for a run: its kind, and what to do next.
//!
//! Takes the text of an error reply. Gives a [`Failure`]. Always holds: what another attempt may mend is `unavailable`,
//! what credentials or an ACL forbid is `unauthorized`, all else is `rejected`.

use aquifer_engine::failure::{Failure, FailureKind};

use crate::redis::wire::reply::Reply;
use crate::redis::wire::resp::show;

/// The word that an error reply begins with: what errors are counted by.
pub(crate) fn word(error: &str) -> &str {
    error.split_ascii_whitespace().next().unwrap_or("ERR")
}

/// True where the server would refuse whatever comes next for the same reason.
pub(crate) fn concerns_all(word: &str) -> bool {
    ["NOAUTH", "READONLY", "LOADING", "BUSY", "MISCONF", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS"].contains(&word)
}

/// True where the server does not know a command or one of its words: too old, or renamed away.
pub(crate) fn is_unknown(error: &str) -> bool {
    let lower = error.to_ascii_lowercase();
    lower.starts_with("err unknown command") || lower.starts_with("err unknown subcommand")
}

/// True where a cluster says that another try may do.
pub(crate) fn passes(error: &str) -> bool {
    matches!(word(error), "TRYAGAIN" | "CLUSTERDOWN")
}

/// A reply that is no error.
///
/// # Errors
/// The error reply, as a failure.
pub(crate) fn accepted(reply: Reply, doing: impl std::fmt::Display) -> Result<Reply, Failure> {
    match reply {
        Reply::Error(error) => Err(failure(&error, doing)),
        reply => Ok(reply),
    }
}

const CREDENTIALS: &str =
    "check `username` and `password`, or those in the url (`redisUsername` and `redisPassword` of the shipped tasks)";

/// The failure that an error reply amounts to; `doing` says what had been asked.
pub(crate) fn failure(error: &str, doing: impl std::fmt::Display) -> Failure {
    // `EXEC` says why the transaction was given up: that is what counts.
    let cause = error
        .strip_prefix("EXECABORT ")
        .and_then(|rest| rest.split_once("because of: "))
        .map_or(error, |(_, cause)| cause);
    let (kind, help) = match word(cause) {
        "NOAUTH" => (
            FailureKind::Unauthorized,
            Some(
                "the Redis server asks for a password: it is `password` of this function, and `redisPassword` (`fromPassword`, `toPassword`) of the shipped tasks",
            ),
        ),
        "WRONGPASS" => (FailureKind::Unauthorized, Some(CREDENTIALS)),
        "NOPERM" => (
            FailureKind::Unauthorized,
            Some("give this user the right in the server's ACL; the reference page lists the commands that are used"),
        ),
        "LOADING" => (FailureKind::Unavailable, Some("the server is still loading its data: try again once it has")),
        "MASTERDOWN" => (
            FailureKind::Unavailable,
            Some(
                "this replica has lost its master and answers nobody until it is back (`replica-serve-stale-data no`): name the master, or another replica",
            ),
        ),
        "BUSY" | "TRYAGAIN" | "CLUSTERDOWN" => (FailureKind::Unavailable, None),
        "OOM" => (FailureKind::Rejected, Some("give the server more memory, or raise its `maxmemory`")),
        "READONLY" => (FailureKind::Rejected, Some("this server is a replica: name its master")),
        "MISCONF" => {
            (FailureKind::Rejected, Some("the server cannot save to its disk, and takes no writes until it can"))
        }
        "MOVED" | "ASK" => (
            FailureKind::Unavailable,
            Some(
                "a slot of the cluster moved in the middle of it, and another attempt finds it; or this user may not ask for `INFO`, by which a cluster is told from a single server",
            ),
        ),
        _ if is_unknown(cause) => (
            FailureKind::Rejected,
            Some(
                "the server may be too old for it, or have it under another name (`rename-command`): say so in `commands`",
            ),
        ),
        _ if cause.contains("without any password configured") || cause.contains("no password is set") => (
            FailureKind::Unauthorized,
            Some("this server asks for no password: leave it out, or check that `url` names the server that is meant"),
        ),
        _ if cause.contains("invalid password") => (FailureKind::Unauthorized, Some(CREDENTIALS)),
        _ if cause.contains("DUMP payload version") || cause.contains("Bad data format") => (
            FailureKind::Rejected,
            Some(
                "the server is older than the one that was dumped, or of another make, and cannot read this value: dump once more with `form: logical` (`--set form=logical` of the shipped tasks), which writes plain commands, or restore into a server that is as new; a module's value needs the same module",
            ),
        ),
        _ if error.contains("DB index is out of range") => (
            FailureKind::Rejected,
            Some("start the server with more `databases`, or bring the keys into another one (`databaseMap`)"),
        ),
        _ => (FailureKind::Rejected, None),
    };
    // The arguments that the server repeats are long, and may be a name that nobody but us has given.
    let error = error.split_once(", with args beginning with").map_or(error, |(error, _)| error);
    let failure = Failure::new(kind, format!("{doing}: the server answered `{error}`"));
    match help {
        Some(help) => failure.with_help(help),
        None => failure,
    }
}

/// What is being done with a key, for messages.
pub(crate) fn reading(key: &[u8]) -> String {
    format!("reading the key {}", show(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_follows_the_first_word() {
        for (error, kind) in [
            ("NOAUTH Authentication required.", FailureKind::Unauthorized),
            ("WRONGPASS invalid username-password pair", FailureKind::Unauthorized),
            ("ERR invalid password", FailureKind::Unauthorized),
            ("LOADING Redis is loading the dataset in memory", FailureKind::Unavailable),
            ("EXECABORT Transaction discarded because of: NOPERM no", FailureKind::Unauthorized),
            ("OOM command not allowed", FailureKind::Rejected),
            ("ERR DUMP payload version or checksum are wrong", FailureKind::Rejected),
            ("", FailureKind::Rejected),
        ] {
            assert_eq!(failure(error, "asking").kind, kind, "{error}");
        }
        let told =
            failure("ERR unknown command 'HPEXPIREAT', with args beginning with: 'aquifer:restore:part:1' ", "x");
        assert_eq!(told.message, "x: the server answered `ERR unknown command 'HPEXPIREAT'`");
        assert!(is_unknown("ERR unknown command 'X', with args beginning with: "));
        assert!(!is_unknown("NOPERM this user has no permissions"));
    }
}
