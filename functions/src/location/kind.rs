//! What a kind of store has to say about itself, and what it is handed when it is opened.
//!
//! Always holds: what one kind says is all that the rest knows of it; nothing outside of its own file asks which one it is.

use std::fmt;
use std::path::PathBuf;

use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, ParamError};
use opendal::{HttpTransporter, OperationContext, Operator};

use super::http::Http;
use super::store::Purpose;
use super::transport::{Line, transport};

/// How a kind of store is written.
pub(super) trait Written: Sized {
    /// Its field in the map form.
    const KEY: &'static str;

    /// Its text forms, as examples.
    const FORMS: &'static [&'static str];

    /// Reads a text form; none where the text is of another kind.
    ///
    /// # Errors
    /// What is wrong with it.
    fn of_text(text: &str) -> Option<Result<Self, String>>;
}

/// A kind of store: what a location of it holds.
pub(super) trait Kind: fmt::Display {
    /// What stands in front of the fields' names in messages: the map's field, or nothing for what has none.
    fn key(&self) -> &'static str;

    /// Checks what types cannot say; paths of fields are those below its own.
    ///
    /// # Errors
    /// The field, and what is wrong with it.
    fn check(&self) -> Result<(), ParamError>;

    /// How its server is reached, where it speaks HTTP.
    fn http(&self) -> Option<&Http> {
        None
    }

    /// Whether an answer is handed on as it arrives, however long it is, rather than once all of it is there.
    fn flows(&self) -> bool {
        false
    }

    /// Whether it holds restic repositories and nothing else.
    fn only_repositories(&self) -> bool {
        false
    }

    /// Sets up the client; nothing is sent yet.
    ///
    /// # Errors
    /// Credentials cannot be read or are not complete.
    fn open(&self, door: &Door<'_>) -> Result<Opened, Failure>;

    /// Where credentials come from and what they must allow: the next step where the server refuses them.
    fn keys(&self) -> &'static str;
}

/// What a kind is handed when it is opened.
pub(super) struct Door<'a> {
    pub(super) purpose: Purpose,
    pub(super) call: &'a Call,
    /// Where the kind speaks HTTP.
    transport: Option<(HttpTransporter, Line)>,
}

impl<'a> Door<'a> {
    /// # Errors
    /// The client of an HTTP store cannot be set up.
    pub(super) fn new(kind: &dyn Kind, purpose: Purpose, call: &'a Call) -> Result<Self, Failure> {
        let transport = match kind.http() {
            None => None,
            Some(http) => {
                if http.insecure {
                    call.warn(format!(
                        "the certificate of `{kind}` is not checked (`insecure`): whoever stands between can read and change everything"
                    ));
                }
                Some(transport(http)?)
            }
        };
        Ok(Self { purpose, call, transport })
    }

    /// A store of the library's, over our transport.
    pub(super) fn dressed(&self, operator: Operator) -> Operator {
        match &self.transport {
            Some((transport, _)) => {
                operator.with_context(OperationContext::new().with_http_transport(transport.clone()))
            }
            None => operator,
        }
    }

    /// The transport and the line below it, for a protocol of our own.
    ///
    /// # Errors
    /// The kind does not speak HTTP.
    pub(super) fn transport(&self) -> Result<(HttpTransporter, Line), Failure> {
        self.transport.clone().ok_or_else(|| Failure::internal("the store has no transport"))
    }
}

/// A kind that is open.
pub(super) struct Opened {
    pub(super) operator: Operator,
    /// The folder, where it is one on this machine.
    pub(super) folder: Option<PathBuf>,
    /// Whether the server can be trusted with "only if there is none", where the protocol knows it.
    pub(super) conditional: bool,
}

impl From<Operator> for Opened {
    fn from(operator: Operator) -> Self {
        Self { operator, folder: None, conditional: true }
    }
}
