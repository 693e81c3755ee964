//! The flags of the programs that Stash's addon for Redis runs, and what they mean here.
//!
//! Takes the text of a task's `args`. Always holds: a flag that changes what is backed up or restored has its meaning or is refused; one
//! that only says how those programs work has none here, and does no harm.

/// What a dump is told by flags of `redis-dump-go`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DumpFlags {
    /// The only database.
    pub(crate) database: Option<u32>,
    /// A pattern for keys.
    pub(crate) filter: Option<String>,
    /// Who signs in.
    pub(crate) user: Option<String>,
    /// Whether TLS is spoken.
    pub(crate) tls: bool,
    /// Whether any certificate is taken.
    pub(crate) insecure: bool,
}

/// What a restore is told by flags of `redis-cli`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RestoreFlags {
    /// Who signs in.
    pub(crate) user: Option<String>,
    /// Whether TLS is spoken.
    pub(crate) tls: bool,
    /// Whether any certificate is taken.
    pub(crate) insecure: bool,
    /// The name that the certificate must have.
    pub(crate) server_name: Option<String>,
}

const ADDRESS: &str = "the AppBinding says where the database is";
const FILES: &str = "certificates are in the AppBinding's `tlsSecret` and `clientConfig.caBundle`";
const PASSWORD: &str = "a password in arguments can be read by others: it belongs into the AppBinding's Secret";

/// A word of the flags: its name without dashes, and its value where that is joined to it.
struct Words<'t>(std::str::SplitWhitespace<'t>);

impl<'t> Words<'t> {
    fn next(&mut self) -> Result<Option<(&'t str, Option<&'t str>)>, String> {
        let Some(word) = self.0.next() else { return Ok(None) };
        let flag = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).filter(|flag| !flag.is_empty());
        let flag = flag.ok_or_else(|| format!("`{word}` is no flag"))?;
        Ok(Some(flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)))))
    }

    fn value(&mut self, name: &str, joined: Option<&'t str>) -> Result<&'t str, String> {
        joined.or_else(|| self.0.next()).ok_or_else(|| format!("`-{name}` has no value"))
    }
}

/// A boolean of Go's: there, or with `=true` or `=false`.
fn boolean(name: &str, joined: Option<&str>) -> Result<bool, String> {
    match joined {
        None | Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
        Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(format!("`-{name}` is true or false, not `{other}`")),
    }
}

/// Reads flags of `redis-dump-go`.
///
/// # Errors
/// A flag that is not known, has no meaning that can be kept, or a wrong value. Said for people.
pub(crate) fn dump(args: &str) -> Result<DumpFlags, String> {
    let mut flags = DumpFlags::default();
    let mut words = Words(args.split_whitespace());
    while let Some((name, joined)) = words.next()? {
        match name {
            "db" => {
                let value = words.value(name, joined)?;
                flags.database = match value.parse::<i64>() {
                    Ok(-1) => None,
                    Ok(number) => Some(u32::try_from(number).map_err(|_| format!("`-db {value}` is no database"))?),
                    Err(_) => return Err(format!("`-db {value}` is no database")),
                };
            }
            "filter" => flags.filter = Some(words.value(name, joined)?.to_owned()).filter(|filter| filter != "*"),
            "user" => flags.user = Some(words.value(name, joined)?.to_owned()),
            "tls" => flags.tls = boolean(name, joined)?,
            "insecure" => flags.insecure = boolean(name, joined)?,
            // How it works, and not what it writes.
            "n" | "batchSize" => drop(words.value(name, joined)?),
            "noscan" | "s" | "set-total-keys" => drop(boolean(name, joined)?),
            "ttl" if boolean(name, joined)? => {}
            "ttl" => {
                return Err("`-ttl=false` would leave the expiries out of the backup: they are always in it".to_owned());
            }
            "output" if words.value(name, joined)? == "resp" => {}
            "output" => return Err("`-output` can only be `resp`".to_owned()),
            "host" | "port" => return Err(format!("`-{name}`: {ADDRESS}")),
            "cacert" | "cert" | "key" => return Err(format!("`-{name}`: {FILES}")),
            other => return Err(format!("`-{other}` is none of the flags of redis-dump-go that are known here")),
        }
    }
    Ok(flags)
}

/// Reads flags of `redis-cli`.
///
/// # Errors
/// As of [`dump`].
pub(crate) fn restore(args: &str) -> Result<RestoreFlags, String> {
    let mut flags = RestoreFlags::default();
    let mut words = Words(args.split_whitespace());
    while let Some((name, joined)) = words.next()? {
        match name {
            "user" => flags.user = Some(words.value(name, joined)?.to_owned()),
            "tls" => flags.tls = true,
            "insecure" => flags.insecure = true,
            "sni" => flags.server_name = Some(words.value(name, joined)?.to_owned()),
            "pipe" | "no-auth-warning" => {}
            // How long it waits after the last byte; here every answer is waited for.
            "pipe-timeout" => drop(words.value(name, joined)?),
            "a" | "pass" => return Err(format!("`-{name}`: {PASSWORD}")),
            "h" | "p" | "s" | "u" => return Err(format!("`-{name}`: {ADDRESS}")),
            "cacert" | "cacertdir" | "cert" | "key" => return Err(format!("`--{name}`: {FILES}")),
            "n" => {
                return Err("`-n`: each key goes into the database that it came from; restore with `redis-restore` and `databaseMap` to change that".to_owned());
            }
            other => return Err(format!("`-{other}` is none of the flags of redis-cli that are known here")),
        }
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_keeps_it() {
        assert_eq!(dump("").expect("none"), DumpFlags::default());
        assert_eq!(dump("-db 1").expect("one").database, Some(1));
        assert_eq!(dump("--db=-1 -filter * -n 50 -s -batchSize=7").expect("all"), DumpFlags::default());
        let flags = dump("-tls --insecure -user backup -filter user:*").expect("flags");
        let expected = DumpFlags {
            filter: Some("user:*".into()),
            user: Some("backup".into()),
            tls: true,
            insecure: true,
            database: None,
        };
        assert_eq!(flags, expected);
        assert_eq!(restore("--pipe-timeout 300").expect("how it works"), RestoreFlags::default());
        assert_eq!(restore("--tls --user me").expect("flags").user.as_deref(), Some("me"));
    }

    #[test]
    fn what_cannot_keep_its_meaning_is_refused() {
        for wrong in
            ["-db", "-db x", "-db -2", "-ttl=false", "-output commands", "-host h", "-cacert f", "-x", "db", "-"]
        {
            assert!(dump(wrong).is_err(), "{wrong}");
        }
        for wrong in ["-n 3", "-a secret", "-h host", "--cacert f", "--what", "--user"] {
            assert!(restore(wrong).is_err(), "{wrong}");
        }
        assert!(!restore("-a secret").expect_err("a password").contains("secret "), "it is not said again");
    }
}
