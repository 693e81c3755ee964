//! What there is to know of a function, for people: the page of the reference, and the same as text for a terminal.
//!
//! Takes a [`FunctionInfo`], or the same facts from a Function document. Gives a [`Reference`] that both forms are printed
//! from. Always holds: nothing in it is written by hand; a field that the declaration has is on the page, with the
//! declaration's own words.

mod field;
mod markdown;
mod text;

use crate::ports::Need;
use crate::registry::FunctionInfo;
use crate::stream::{Accepts, Produces};

pub use field::{Field, fields};

/// A function, described.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// Its name.
    pub name: String,
    /// One sentence.
    pub summary: String,
    /// What it reads, as a clause; `None` where it reads nothing.
    pub stdin: Option<String>,
    /// What it writes, as a clause; `None` where it writes nothing.
    pub stdout: Option<String>,
    /// Its params.
    pub params: Vec<Field>,
    /// What it gives to later steps.
    pub outputs: Vec<Field>,
    /// What a second run does, where that is known.
    pub repeat: Option<String>,
}

impl Reference {
    /// Describes a built-in.
    pub fn of(info: &FunctionInfo) -> Self {
        Self {
            name: info.name.to_owned(),
            summary: info.summary.to_owned(),
            stdin: end(info.stdin, accepts(&info.streams.stdin)),
            stdout: end(info.stdout, produces(&info.streams.stdout)),
            params: fields(info.params.as_value()),
            outputs: fields(info.outputs.as_value()),
            repeat: Some(info.repeat.to_owned()),
        }
    }

    /// A source, transform, sink or action: what one may connect to it.
    pub fn shape(&self) -> &'static str {
        match (&self.stdin, &self.stdout) {
            (None, None) => "action",
            (None, Some(_)) => "source",
            (Some(_), Some(_)) => "transform",
            (Some(_), None) => "sink",
        }
    }

    /// A page in Markdown.
    pub fn markdown(&self) -> String {
        markdown::page(self)
    }

    /// Text for a terminal of this many columns.
    pub fn text(&self, columns: usize) -> String {
        text::page(self, columns)
    }
}

fn end(need: Need, what: String) -> Option<String> {
    match need {
        Need::Never => None,
        Need::Always => Some(what),
        Need::Optional => Some(format!("{what}; may be left unconnected")),
    }
}

fn accepts(stdin: &Accepts) -> String {
    match stdin {
        Accepts::Any => "any bytes".to_owned(),
        Accepts::Only(stream) => format!("`{stream}`"),
        Accepts::Wrapped(wraps) => {
            let wraps: Vec<String> = wraps.iter().map(|wrap| format!("`+{wrap}`")).collect();
            format!("anything wrapped in {}", wraps.join(" or "))
        }
    }
}

fn produces(stdout: &Produces) -> String {
    match stdout {
        Produces::Exactly(stream) if stream.is_unknown() => "bytes of an unknown kind".to_owned(),
        Produces::Exactly(stream) => format!("`{stream}`"),
        Produces::Same => "what it reads".to_owned(),
        Produces::Adds(wrap) => format!("what it reads, as `+{wrap}`"),
        Produces::TakesOff => "what it reads, with the outermost wrap taken off".to_owned(),
        Produces::Stored => "what was stored, of the type that was stored with it".to_owned(),
    }
}

#[cfg(test)]
mod tests;
