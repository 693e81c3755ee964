//! The functions that an engine has: an explicit, ordered list; nothing registers itself.
//!
//! Takes types that implement [`Function`]. Gives them by name in a form without type parameters, with everything that a
//! plan, a help page and a schema need to know. Always holds: names are unique, and the order is the documentation's.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::Value;

use crate::failure::Failure;
use crate::function::{Call, Function, ParamError};
use crate::ports::{Need, OpenEnds, Ports};
use crate::stream::Streams;

/// What is known of a function without running it.
#[derive(Debug, Clone)]
pub struct FunctionInfo {
    /// Its name.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// What a second run does.
    pub repeat: &'static str,
    /// The schema of its params, with every definition inlined.
    pub params: Schema,
    /// The schema of its outputs, with every definition inlined.
    pub outputs: Schema,
    /// Whether it reads.
    pub stdin: Need,
    /// Whether it writes.
    pub stdout: Need,
    /// Its stream types where params do not matter.
    pub streams: Streams,
}

type Start = Box<dyn FnOnce(OpenEnds, Call) -> BoxFuture<'static, Result<Value, Failure>> + Send>;

/// Params that were checked and typed, ready to run once.
pub struct Prepared {
    /// The stream types that follow from these params.
    pub streams: Streams,
    /// How long it may take to stop.
    pub patience: Duration,
    start: Start,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("streams", &self.streams).finish_non_exhaustive()
    }
}

impl Prepared {
    /// Runs it.
    pub fn run(self, ends: OpenEnds, call: Call) -> BoxFuture<'static, Result<Value, Failure>> {
        (self.start)(ends, call)
    }
}

/// A [`Function`] without its type parameters.
pub trait AnyFunction: Send + Sync {
    /// What is known of it.
    fn info(&self) -> &FunctionInfo;

    /// Checks rendered params and types them.
    ///
    /// # Errors
    /// The param that is wrong and why.
    fn prepare(&self, params: Value) -> Result<Prepared, ParamError>;
}

struct Typed<F> {
    function: Arc<F>,
    info: FunctionInfo,
}

/// A schema without `$ref`s, so that a walker needs no second lookup.
fn inline_schema<T: schemars::JsonSchema>() -> Schema {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    SchemaGenerator::new(settings).into_root_schema_for::<T>()
}

impl<F: Function> AnyFunction for Typed<F> {
    fn info(&self) -> &FunctionInfo {
        &self.info
    }

    fn prepare(&self, params: Value) -> Result<Prepared, ParamError> {
        let params: F::Params = serde_path_to_error::deserialize(params).map_err(|error| {
            let path = error.path().to_string();
            // The path of the root prints as a single dot.
            ParamError::new(if path == "." { String::new() } else { path }, error.into_inner().to_string())
        })?;
        F::check(&params)?;
        let streams = F::streams(Some(&params));
        let patience = F::patience(&params);
        let function = Arc::clone(&self.function);
        let start: Start = Box::new(move |ends, call| {
            async move {
                let ports = F::Ports::take(ends)?;
                let outputs = function.run(params, ports, &call).await?;
                serde_json::to_value(outputs)
                    .map_err(|error| Failure::internal(format!("its outputs are no JSON: {error}")))
            }
            .boxed()
        });
        Ok(Prepared { streams, patience, start })
    }
}

/// An ordered set of functions.
#[derive(Clone, Default)]
pub struct Registry(Vec<Arc<dyn AnyFunction>>);

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|function| function.info().name)).finish()
    }
}

impl Registry {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a function behind those that are there.
    ///
    /// # Panics
    /// Where the name is taken: a mistake in the program's own list, which no input can cause.
    #[must_use]
    pub fn with<F: Function>(mut self, function: F) -> Self {
        assert!(self.get(F::NAME).is_none(), "two functions are called `{}`", F::NAME);
        let info = FunctionInfo {
            name: F::NAME,
            summary: F::SUMMARY,
            repeat: F::REPEAT,
            params: inline_schema::<F::Params>(),
            outputs: inline_schema::<F::Outputs>(),
            stdin: <F::Ports as Ports>::STDIN,
            stdout: <F::Ports as Ports>::STDOUT,
            streams: F::streams(None),
        };
        self.0.push(Arc::new(Typed { function: Arc::new(function), info }));
        self
    }

    /// The function of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn AnyFunction>> {
        self.0.iter().find(|function| function.info().name == name)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn AnyFunction>> {
        self.0.iter()
    }
}
