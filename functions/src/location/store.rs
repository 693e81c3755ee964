//! An opened location: objects by name, and failures in the project's own terms.
//!
//! Always holds: a single request that fails for a passing reason is sent again a few times, within bounds; a server that
//! cannot be reached is known within a minute; nothing is created for a store that is only read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::function::Call;
use opendal::layers::{RetryLayer, TimeoutLayer};
use opendal::{Buffer, ErrorKind, Operator};

use super::Location;
use super::kind::{Door, Opened};
use super::part::Part;
use super::transport::SENDING;

/// How long one request may take that carries no data, or brings some.
const REQUEST: Duration = Duration::from_secs(60);

/// What a step may have under way at once, in bytes, where a rate bounds it.
const AT_ONCE: u64 = 256 << 20;

/// How long one step of a large object's writing may take at the very most. A step may wait for any of its parts, and how
/// long a part may take is bounded where it is sent, by its size.
const PART: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Reading only: what is not there is an error, and is not made.
    Read,
    /// Reading and writing what must be there already.
    Update,
    /// Reading and writing: a missing folder is made.
    Write,
}

/// An opened location.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    operator: Operator,
    once: Operator,
    shown: String,
    folder: Option<PathBuf>,
    conditional: bool,
    marks: bool,
    versions: bool,
    flows: bool,
    connections: Option<usize>,
    keys: &'static str,
}

impl Store {
    /// Opens a location. Nothing is sent to a server yet.
    ///
    /// # Errors
    /// A folder that does not exist or cannot be made; credentials that cannot be read or are not complete.
    pub(crate) fn open(location: &Location, purpose: Purpose, call: &Call) -> Result<Self, Failure> {
        let kind = location.kind();
        let Opened { operator, folder, conditional } = kind.open(&Door::new(kind, purpose, call)?)?;
        let moving = if purpose != Purpose::Read { SENDING } else { REQUEST };
        let moving = moving + kind.http().map_or(Duration::ZERO, |http| http.patience(AT_ONCE));
        let once = operator.clone().layer(TimeoutLayer::new().with_timeout(REQUEST).with_io_timeout(PART));
        let operator = operator
            .layer(TimeoutLayer::new().with_timeout(REQUEST).with_io_timeout(moving))
            .layer(RetryLayer::new().with_max_times(4).with_min_delay(Duration::from_millis(200)).with_jitter());
        let can = operator.info().capability();
        Ok(Self {
            operator,
            once,
            shown: location.to_string(),
            folder,
            conditional: conditional && can.write_with_if_not_exists,
            marks: can.write_with_user_metadata,
            versions: can.write_with_if_version_match,
            flows: kind.flows(),
            connections: kind.http().and_then(|http| http.connections),
            keys: kind.keys(),
        })
    }

    /// The library's handle.
    pub(crate) fn operator(&self) -> &Operator {
        &self.operator
    }

    /// The library's handle for sending a large object in parts, which sends nothing a second time by itself. A writer made
    /// with it survives that one of its futures is dropped, and can then still be aborted; one made with
    /// [`Self::operator`] cannot.
    pub(crate) fn once(&self) -> &Operator {
        &self.once
    }

    /// Whether a write may be made to fail where there is an object already.
    pub(crate) fn is_conditional(&self) -> bool {
        self.conditional
    }

    /// Whether an object may carry a mark that tells whose it is.
    pub(crate) fn can_mark(&self) -> bool {
        self.marks
    }

    /// Whether a write may be made to replace the very object that was seen, and no other.
    pub(crate) fn knows_versions(&self) -> bool {
        self.versions
    }

    /// Whether a read's answer is handed on as it arrives, however long it is.
    pub(crate) fn flows(&self) -> bool {
        self.flows
    }

    /// How many requests may be under way at once, where that is bounded.
    pub(crate) fn connections(&self) -> Option<usize> {
        self.connections
    }

    /// An error of this store as a failure; `doing` says what was tried.
    pub(crate) fn failed(&self, error: &opendal::Error, doing: &str) -> Failure {
        failure(error, doing, self.keys)
    }

    /// Where an object lies, for messages.
    pub(crate) fn shown(&self, name: &str) -> String {
        if name.is_empty() { self.shown.clone() } else { format!("{}/{name}", self.shown.trim_end_matches('/')) }
    }

    /// The folder, where it is one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Writes a small object, whole and durable, or not at all. Into a folder it is written to its end even where nobody waits any
    /// more, so that no part of a file stays behind.
    ///
    /// # Errors
    /// The store refused it or cannot be reached.
    pub(crate) async fn put(&self, name: &str, content: Buffer) -> Result<(), Failure> {
        let doing = format!("writing `{}`", self.shown(name));
        let Some(folder) = self.folder.clone() else {
            return self.operator.write(name, content).await.map(drop).map_err(|error| self.failed(&error, &doing));
        };
        let name = name.to_owned();
        let written = tokio::task::spawn_blocking(move || put_file(&folder, &name, content, true)).await;
        written
            .map_err(|_| Failure::cancelled("the program is ending"))?
            .map_err(|error| Failure::from_io(error, doing))
    }

    /// Writes a small object, whole and durable, unless there is one of its name.
    ///
    /// # Errors
    /// There is one, or the store refused it or cannot be reached.
    pub(crate) async fn put_new(&self, name: &str, content: Buffer) -> Result<(), Failure> {
        let doing = format!("writing `{}`", self.shown(name));
        let Some(folder) = self.folder.clone() else {
            let write = self.operator.write_with(name, content).if_not_exists(self.is_conditional());
            return write.await.map(drop).map_err(|error| self.failed(&error, &doing));
        };
        let name = name.to_owned();
        let written = tokio::task::spawn_blocking(move || put_file(&folder, &name, content, false)).await;
        written
            .map_err(|_| Failure::cancelled("the program is ending"))?
            .map_err(|error| Failure::from_io(error, doing))
    }

    /// Makes sure that a name which was just written is on the disk too: a rename alone may be lost with the power, and so
    /// may the folders between that were made for it.
    ///
    /// # Errors
    /// A folder cannot be synchronized.
    pub(crate) async fn sync_name(&self, name: &str) -> Result<(), Failure> {
        let Some(root) = self.folder.clone() else { return Ok(()) };
        let path = root.join(name);
        let synced = tokio::task::spawn_blocking(move || {
            let between = path.ancestors().skip(1).take_while(|folder| folder.starts_with(&root));
            for folder in between {
                std::fs::File::open(folder)
                    .and_then(|open| open.sync_all())
                    .map_err(|error| Failure::from_io(error, format!("synchronizing `{}`", folder.display())))?;
            }
            Ok(())
        });
        synced.await.map_err(|_| Failure::cancelled("the program is ending"))?
    }
}

/// Writes a file beside its place first, then gives it its name.
fn put_file(folder: &Path, name: &str, content: Buffer, replace: bool) -> std::io::Result<()> {
    let mut part = Part::begin(folder)?;
    for piece in content {
        part.write(&piece)?;
    }
    part.place(name, replace)
}

/// What servers call a bucket or container that is not there.
const NO_BUCKET: [&str; 2] = ["NoSuchBucket", "ContainerNotFound"];

/// What servers call credentials that they do not know, where their status is not "forbidden".
const NO_KEYS: [&str; 4] = ["authError", "required", "NoAuthenticationInformation", "InvalidAuthenticationInfo"];

/// What servers call a request that was signed too long ago, or is yet to be.
const CLOCK: [&str; 2] = ["RequestTimeTooSkewed", "RequestExpired"];

/// A store's error as a failure; `doing` says what was tried, `keys` where its credentials come from.
pub(super) fn failure(error: &opendal::Error, doing: &str, keys: &str) -> Failure {
    let (code, said) = answer(error.message());
    let kind = match error.kind() {
        _ if code.is_some_and(|code| NO_BUCKET.contains(&code)) => FailureKind::NotFound,
        _ if code.is_some_and(|code| NO_KEYS.contains(&code)) => FailureKind::Unauthorized,
        // There are no keys at all: nothing was sent.
        _ if error.message().contains("signing http request") => FailureKind::Unauthorized,
        ErrorKind::NotFound => FailureKind::NotFound,
        ErrorKind::PermissionDenied => FailureKind::Unauthorized,
        ErrorKind::ConfigInvalid => FailureKind::Config,
        ErrorKind::AlreadyExists
        | ErrorKind::ConditionNotMatch
        | ErrorKind::IsADirectory
        | ErrorKind::NotADirectory
        | ErrorKind::Unsupported => FailureKind::Rejected,
        // Asked for bytes that are not there: the object is shorter than what names it says.
        ErrorKind::RangeNotSatisfied => FailureKind::Corrupt,
        _ => FailureKind::Unavailable,
    };
    let said = match (said, error.kind()) {
        ("", ErrorKind::PermissionDenied) => "the server does not allow it",
        ("", ErrorKind::NotFound) => "it is not there",
        ("", kind) => kind.into_static(),
        (said, _) => said,
    };
    let failure = match code {
        Some(code) => Failure::new(kind, format!("{doing}: {} (`{code}`)", said.trim_end_matches('.'))),
        None => Failure::new(kind, format!("{doing}: {said}")),
    };
    let failure = if code.is_some_and(|code| CLOCK.contains(&code)) {
        failure.with_help("this machine's clock and the server's differ by too much: set this one's by NTP")
    } else if kind == FailureKind::Unauthorized {
        failure.with_help(keys)
    } else if code.is_some_and(|code| NO_BUCKET.contains(&code)) {
        failure.with_help("make the bucket or container first, or correct its name: none is made here")
    } else if kind == FailureKind::NotFound && (doing.starts_with("listing") || doing.starts_with("writing")) {
        // Neither asks for anything else that could be missing.
        failure.with_help("make the bucket or container first, or correct its name: none is made here")
    } else if format!("{error:?}").contains("InvalidContentType") {
        failure
            .with_help("the server does not speak TLS: write `http://` in its address, such as `s3:http://HOST:PORT/BUCKET` or `rest:http://HOST:PORT/`")
    } else {
        failure
    };
    match std::error::Error::source(error) {
        Some(source) => failure.caused_by(source),
        None => failure,
    }
}

/// The code and the message of a server's answer, which the library prints as one Rust value, or as it came; of anything
/// else its first line.
fn answer(message: &str) -> (Option<&str>, &str) {
    let quoted = |name: &str| {
        let (_, rest) = message.split_once(&format!("{name}: \""))?;
        rest.split_once('"').map(|(value, _)| value)
    };
    let element = |name: &str| {
        let (_, rest) = message.split_once(&format!("<{name}>"))?;
        rest.split_once('<').map(|(value, _)| value)
    };
    let printed = message
        .split_once(" {")
        .is_some_and(|(name, _)| matches!(name, "S3Error" | "AzblobError" | "GcsErrorResponse"));
    let (code, said) = match (printed, message.trim_start().starts_with('<')) {
        // Google's codes are the status again; its reason says more.
        (true, _) => (quoted("code").or_else(|| quoted("reason")), quoted("message")),
        (_, true) => (element("Code"), element("Message")),
        _ => (None, None),
    };
    let code = code.filter(|code| !code.is_empty());
    (code, said.unwrap_or_else(|| if code.is_some() { "" } else { message }).lines().next().unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_answer_is_told_without_the_librarys_brackets() {
        let text = r#"S3Error { code: "NoSuchBucket", message: "It is not there.", resource: "", request_id: "x" }"#;
        let told = failure(&opendal::Error::new(ErrorKind::ConfigInvalid, text), "opening `b`", "");
        assert_eq!(told.message, "opening `b`: It is not there (`NoSuchBucket`)");
        assert_eq!(told.kind, FailureKind::NotFound);
        let told = failure(&opendal::Error::new(ErrorKind::Unexpected, "line\nother"), "opening `b`", "");
        assert_eq!(told.message, "opening `b`: line");
    }
}
