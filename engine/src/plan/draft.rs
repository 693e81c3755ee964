//! A plan in the making: steps that built-in functions do, with names that still have to be followed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;

use super::When;
use super::names::{Scope, ScopeId};
use crate::diagnostic::Diagnostic;
use crate::document::{Retry, Text};
use crate::ports::Need;
use crate::registry::AnyFunction;
use crate::source::Span;
use crate::stream::{Accepts, Streams};
use crate::template::Tree;

/// A plan in the making.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) steps: Vec<Step>,
    pub(super) scopes: Vec<Scope>,
    pub(super) problems: Vec<Diagnostic>,
    pub(super) secrets: Vec<String>,
    pub(super) env: Option<BTreeMap<String, String>>,
    /// How many steps and scopes there are, those left out counted: no way through the names is longer.
    pub(super) size: usize,
    /// Types that composites declare for what they read.
    pub(super) promises: Vec<Promise>,
    /// Where a Function document is checked by itself: its scope, and the step whose stdout is its own.
    pub(super) outside: Option<(ScopeId, Option<Text>)>,
}

/// A composite's word about what it reads, to be held against what it gets.
pub(super) struct Promise {
    pub(super) accepts: Accepts,
    pub(super) scope: ScopeId,
    pub(super) from: Text,
    pub(super) composite: String,
}

/// One step that a built-in function does.
pub(super) struct Step {
    pub(super) name: String,
    pub(super) function: String,
    pub(super) span: Span,
    pub(super) runs: Arc<dyn AnyFunction>,
    /// None where a run has to fill something in, or where a document is checked by itself.
    pub(super) params: Option<Json>,
    pub(super) shown: Json,
    pub(super) tree: Arc<Tree>,
    /// The scope of `tree`.
    pub(super) tree_scope: ScopeId,
    /// The scope of `stdin` and `needs`.
    pub(super) scope: ScopeId,
    pub(super) stdin: Option<Text>,
    pub(super) needs: Vec<(ScopeId, Text)>,
    pub(super) streams: Streams,
    pub(super) reads: Need,
    pub(super) writes: Need,
    pub(super) settings: Settings,
}

/// What belongs to a pipeline and was written at one of its steps, or at a composite around it.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    pub(super) when: Vec<(When, Span)>,
    pub(super) retry: Vec<(Retry, Span)>,
    pub(super) timeout: Vec<(Duration, Span)>,
}
