//! The ends of a function, as types: a sink has nothing to write to, so it cannot.
//!
//! Takes the ends that the engine opened for a stage. Gives the one shape that the function asked for. Always holds:
//! the plan reads [`Ports::STDIN`] and [`Ports::STDOUT`] of the same type that `run` later gets, so a stage is never
//! started with an end missing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::pipe::{Reader, Writer};

/// Whether a function has an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// It has no such end.
    Never,
    /// It has one when the task connects it.
    Optional,
    /// It cannot run without.
    Always,
}

/// What the engine opened for one stage.
#[derive(Debug, Default)]
pub struct OpenEnds {
    /// The pipe that it reads.
    pub stdin: Option<Reader>,
    /// The pipes that it writes.
    pub stdout: Option<Writer>,
}

/// One of the six shapes below.
pub trait Ports: Sized + Send + 'static {
    /// Whether it reads.
    const STDIN: Need;
    /// Whether it writes.
    const STDOUT: Need;

    /// Takes its shape from what was opened.
    ///
    /// # Errors
    /// An end is missing, which the plan does not let happen.
    fn take(ends: OpenEnds) -> Result<Self, Failure>;
}

/// Writes only.
#[derive(Debug)]
pub struct Source {
    /// Where it writes.
    pub stdout: Writer,
}

/// Reads and writes.
#[derive(Debug)]
pub struct Transform {
    /// What it reads.
    pub stdin: Reader,
    /// Where it writes.
    pub stdout: Writer,
}

/// Reads only.
#[derive(Debug)]
pub struct Sink {
    /// What it reads.
    pub stdin: Reader,
}

/// Reads, and passes on where somebody reads it.
#[derive(Debug)]
pub struct Tap {
    /// What it reads.
    pub stdin: Reader,
    /// Where it writes, if anybody reads it.
    pub stdout: Option<Writer>,
}

/// Reads where the task connects it, and writes nothing.
#[derive(Debug)]
pub struct Probe {
    /// What it reads, if connected.
    pub stdin: Option<Reader>,
}

/// Neither reads nor writes.
#[derive(Debug)]
pub struct Action;

/// Reads and writes whatever the task connects.
#[derive(Debug)]
pub struct Open {
    /// What it reads, if connected.
    pub stdin: Option<Reader>,
    /// Where it writes, if anybody reads it.
    pub stdout: Option<Writer>,
}

fn missing(end: &str) -> Failure {
    Failure::internal(format!("the stage was started without its {end}"))
}

impl Ports for Source {
    const STDIN: Need = Need::Never;
    const STDOUT: Need = Need::Always;

    fn take(ends: OpenEnds) -> Result<Self, Failure> {
        Ok(Self { stdout: ends.stdout.ok_or_else(|| missing("stdout"))? })
    }
}

impl Ports for Transform {
    const STDIN: Need = Need::Always;
    const STDOUT: Need = Need::Always;

    fn take(ends: OpenEnds) -> Result<Self, Failure> {
        Ok(Self {
            stdin: ends.stdin.ok_or_else(|| missing("stdin"))?,
            stdout: ends.stdout.ok_or_else(|| missing("stdout"))?,
        })
    }
}

impl Ports for Sink {
    const STDIN: Need = Need::Always;
    const STDOUT: Need = Need::Never;

    fn take(ends: OpenEnds) -> Result<Self, Failure> {
        Ok(Self { stdin: ends.stdin.ok_or_else(|| missing("stdin"))? })
    }
}

impl Ports for Tap {
    const STDIN: Need = Need::Always;
    const STDOUT: Need = Need::Optional;

    fn take(ends: OpenEnds) -> Result<Self, Failure> {
        Ok(Self { stdin: ends.stdin.ok_or_else(|| missing("stdin"))?, stdout: ends.stdout })
    }
}

impl Ports for Probe {
    const STDIN: Need = Need::Optional;
    const STDOUT: Need = Need::Never;

    fn take(ends: OpenEnds) -> Result<Self, Failure> {
        Ok(Self { stdin: ends.stdin })
    }
}

impl Ports for Action {
    const STDIN: Need = Need::Never;
    const STDOUT: Need = Need::Never;

    fn take(_: OpenEnds) -> Result<Self, Failure> {
        Ok(Self)
    }
}

impl Ports for Open {
    const STDIN: Need = Need::Optional;
    const STDOUT: Need = Need::Optional;

    fn take(ends: OpenEnds) -> Result<Self, Failure> {
        Ok(Self { stdin: ends.stdin, stdout: ends.stdout })
    }
}
