//! Strings with `{{ … }}`: parsed once by handlebars, turned into a small tree of our own, and rendered with types kept.
//!
//! Takes a string leaf of a document. Gives a [`Template`] whose expressions know their places in the file, and
//! [`render`](Template::render), which asks a [`Names`] for every reference and works with what it answers: a value, or
//! the knowledge that there will be one (a [`Hole`]). Always holds: a name that does not exist, a null in a text and a
//! list in a text are problems at their place, never an empty string; a value that depends on a secret says so.
//! Why not handlebars' own renderer stands in `docs/decisions/0006-templates.md`.

mod compile;
mod render;
mod tree;

use serde_json::Value as Json;

use crate::diagnostic::Diagnostic;
use crate::source::Span;

pub(crate) use compile::compile;
pub use tree::{Given, GivenValue, Tree, TreeValue};

/// The type of a value, as params are declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A list.
    List,
    /// A map.
    Map,
}

impl Kind {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 6] = [
        ("string", Self::String),
        ("integer", Self::Integer),
        ("number", Self::Number),
        ("boolean", Self::Boolean),
        ("list", Self::List),
        ("map", Self::Map),
    ];

    /// Its name in documents.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("string", |(name, _)| name)
    }

    /// Its name in JSON Schema.
    pub fn schema_name(self) -> &'static str {
        match self {
            Self::List => "array",
            Self::Map => "object",
            other => other.name(),
        }
    }

    /// The kind that a JSON Schema's `type` names.
    pub fn of_schema(schema: &Json) -> Option<Self> {
        let named = |name: &str| Self::ALL.iter().map(|(_, kind)| *kind).find(|kind| kind.schema_name() == name);
        match schema.get("type")? {
            Json::String(name) => named(name),
            Json::Array(names) => {
                let mut names = names.iter().filter_map(Json::as_str).filter(|name| *name != "null");
                let only = names.next()?;
                names.next().is_none().then(|| named(only)).flatten()
            }
            _ => None,
        }
    }

    /// True where a value is of this kind.
    pub fn fits(self, value: &Json) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Integer => is_integer(value),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::List => value.is_array(),
            Self::Map => value.is_object(),
        }
    }
}

/// True for `7` and for `7.0`, which JSON Schema takes for the same.
pub(crate) fn is_integer(value: &Json) -> bool {
    value.is_i64() || value.is_u64()
}

/// What an expression may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `params.NAME`.
    Param(String),
    /// `env.NAME`.
    Env(String),
    /// `task.name`.
    TaskName,
    /// `run.id`.
    RunId,
    /// `run.started`.
    RunStarted,
    /// `steps.NAME.outputs.FIELD`.
    Output {
        /// The step.
        step: String,
        /// The field.
        field: String,
    },
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Param(name) => write!(f, "params.{name}"),
            Self::Env(name) => write!(f, "env.{name}"),
            Self::TaskName => f.write_str("task.name"),
            Self::RunId => f.write_str("run.id"),
            Self::RunStarted => f.write_str("run.started"),
            Self::Output { step, field } => write!(f, "steps.{step}.outputs.{field}"),
        }
    }
}

/// A value that is not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// What it will be, where that is known.
    pub kind: Option<Kind>,
    /// True where a run fills it; false where the inputs of a plan do.
    pub late: bool,
}

/// A value, or a hole.
#[derive(Debug, Clone, PartialEq)]
pub enum Slot {
    /// The value.
    Known(Json),
    /// The hole.
    Hole(Hole),
}

/// What a name or an expression stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Its value.
    pub slot: Slot,
    /// True where a secret went into it.
    pub secret: bool,
}

impl Found {
    /// A value that may be shown.
    pub fn known(value: impl Into<Json>) -> Self {
        Self { slot: Slot::Known(value.into()), secret: false }
    }

    /// A value that is not there yet.
    pub fn hole(kind: Option<Kind>, late: bool) -> Self {
        Self { slot: Slot::Hole(Hole { kind, late }), secret: false }
    }
}

/// What knows the names of a place in a document.
pub trait Names {
    /// What a reference stands for.
    ///
    /// # Errors
    /// There is no such name.
    fn look_up(&self, reference: &Reference, span: Span) -> Result<Found, Box<Diagnostic>>;

    /// What to do about a reference that turned out to be null.
    fn about_null(&self, reference: &Reference) -> String {
        match reference {
            Reference::Param(name) => format!(
                "give it with `--set {name}=…`, or say what to use instead: `{{{{ default {reference} 'something' }}}}`, or `{{{{ default {reference} null }}}}` to leave the field out"
            ),
            Reference::Env(name) => format!(
                "set `{name}` in the environment, or say what to use instead: `{{{{ default {reference} 'something' }}}}`"
            ),
            _ => format!("say what to use instead: `{{{{ default {reference} 'something' }}}}`"),
        }
    }
}

/// A string with expressions.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// As it was written, YAML's own quoting taken off.
    pub written: String,
    pub(crate) parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Part {
    Text(String),
    Expression(Expression),
    If { condition: Expression, then: Vec<Part>, otherwise: Vec<Part> },
}

/// One expression with its place in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    /// Where it is written.
    pub span: Span,
    pub(crate) what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    Literal(Json),
    Name(Reference),
    Call(Helper, Vec<Expression>),
    /// Something that was reported already.
    Broken,
}

/// The helpers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Helper {
    Default,
    Eq,
    And,
    Or,
    Not,
}

impl Helper {
    pub(crate) const ALL: [(&'static str, Self); 5] =
        [("default", Self::Default), ("eq", Self::Eq), ("and", Self::And), ("or", Self::Or), ("not", Self::Not)];
}

/// A reference with what surrounds it.
#[derive(Debug, Clone, Copy)]
pub struct Use<'t> {
    /// Where it is written.
    pub span: Span,
    /// What it names.
    pub reference: &'t Reference,
    /// True where it is an argument of a helper or a condition, which may ask about a null.
    pub guarded: bool,
}

impl Template {
    /// Calls `found` for every reference in it.
    pub fn references<'t>(&'t self, found: &mut impl FnMut(Use<'t>)) {
        walk(&self.parts, found);
    }

    /// The expression, where the template is one expression and nothing else.
    pub fn whole(&self) -> Option<&Expression> {
        match self.parts.as_slice() {
            [Part::Expression(only)] => Some(only),
            _ => None,
        }
    }
}

fn walk<'t>(parts: &'t [Part], found: &mut impl FnMut(Use<'t>)) {
    for part in parts {
        match part {
            Part::Text(_) => {}
            Part::Expression(expression) => walk_expression(expression, false, found),
            Part::If { condition, then, otherwise } => {
                walk_expression(condition, true, found);
                walk(then, found);
                walk(otherwise, found);
            }
        }
    }
}

fn walk_expression<'t>(expression: &'t Expression, guarded: bool, found: &mut impl FnMut(Use<'t>)) {
    match &expression.what {
        What::Literal(_) | What::Broken => {}
        What::Name(reference) => found(Use { span: expression.span, reference, guarded }),
        What::Call(_, arguments) => arguments.iter().for_each(|argument| walk_expression(argument, true, found)),
    }
}

/// What counts as true: everything but false, null, an empty text, an empty list and an empty map.
pub fn is_true(value: &Json) -> bool {
    match value {
        Json::Null => false,
        Json::Bool(value) => *value,
        Json::Number(_) => true,
        Json::String(text) => !text.is_empty(),
        Json::Array(items) => !items.is_empty(),
        Json::Object(fields) => !fields.is_empty(),
    }
}
