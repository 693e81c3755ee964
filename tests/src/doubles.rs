//! Functions that do exactly what a test tells them, mostly wrong, and a ledger of what they really did.
//!
//! Takes their orders as params, so that a Task file alone repeats a test. Gives a [`Ledger`] to hold the report
//! against. Always holds: a sink commits only what it saw finished, byte for byte what its source was to write; the
//! ledger knows of every double that is still alive.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::function::{Call, Function};
use aquifer_engine::pipe::{Reader, Writer};
use aquifer_engine::ports::{Action, Sink, Source, Transform};
use aquifer_engine::registry::Registry;
use aquifer_engine::secret::Secret;
use aquifer_engine::stream::Streams;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a double is told to do.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Orders {
    /// How many bytes a source writes, and a sink expects.
    #[serde(skip_serializing_if = "is_default")]
    pub size: u64,
    /// How many bytes at a time.
    #[serde(skip_serializing_if = "is_default")]
    pub chunk: usize,
    /// Milliseconds to wait for each piece; for an action, in all.
    #[serde(skip_serializing_if = "is_default")]
    pub pace: u64,
    /// What it does wrong; nothing unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrong: Option<Wrong>,
    /// After how many bytes.
    #[serde(skip_serializing_if = "is_default")]
    pub after: u64,
    /// It does wrong only in its first attempts, so many of them; in all of them where 0.
    #[serde(skip_serializing_if = "is_default")]
    pub attempts: u32,
    /// What it does wrong in all attempts after those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub then: Option<Wrong>,
    /// A message as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shout: Option<String>,
    /// What it says in every text it can.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "exposed")]
    pub say: Option<Secret>,
    /// A number from an earlier step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<serde_json::Value>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn exposed<S: serde::Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_some(&secret.as_ref().map(Secret::expose))
}

impl Default for Orders {
    fn default() -> Self {
        Self {
            size: 0,
            chunk: 4096,
            pace: 0,
            wrong: None,
            after: 0,
            attempts: 0,
            then: None,
            shout: None,
            say: None,
            number: None,
        }
    }
}

/// Ways to misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Wrong {
    /// Fails in a way that may pass.
    Unavailable,
    /// Fails in a way that stays.
    Rejected,
    /// Panics.
    Panic,
    /// Does nothing more until it is told to stop.
    Hang,
    /// Does nothing more, and does not listen.
    Deaf,
    /// Returns success without reading on.
    CloseEarly,
    /// Drops its ends, lingers, then fails.
    DropEnds,
    /// Takes a broken input for a finished one.
    Swallow,
}

/// What the doubles of one run really did.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<Page>>);

/// The ledger's content.
#[derive(Debug, Default)]
pub struct Page {
    /// How often each step was started.
    pub starts: BTreeMap<String, u32>,
    /// The attempts in which each step did wrong by itself (failed, panicked, closed early).
    pub wrongs: Vec<(String, u32)>,
    /// The attempts in which each sink committed.
    pub commits: Vec<(String, u32)>,
    /// Commits of something else than the source was to write, in words.
    pub bad_commits: Vec<String>,
    /// Doubles that have started and are not dropped yet.
    pub alive: usize,
}

impl Ledger {
    /// The content.
    pub fn page(&self) -> MutexGuard<'_, Page> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A registry of the doubles that write into this ledger.
    pub fn registry(&self) -> Registry {
        Registry::new()
            .with(TestSource(self.clone()))
            .with(TestTransform(self.clone()))
            .with(TestSink(self.clone()))
            .with(TestAction(self.clone()))
    }

    fn start(&self, orders: &Orders, call: &Call) -> Stage {
        let mut page = self.page();
        page.alive += 1;
        let attempt = page.starts.entry(call.step.to_string()).or_default();
        *attempt += 1;
        let attempt = *attempt;
        drop(page);
        let armed = orders.attempts == 0 || attempt <= orders.attempts;
        if let Some(word) = &orders.say {
            call.info(format!("it is {}", word.expose()));
            call.note(word.expose());
        }
        if let Some(text) = &orders.shout {
            call.info(text);
        }
        let wrong = if armed { orders.wrong } else { orders.then };
        Stage { ledger: self.clone(), step: call.step.to_string(), attempt, wrong, orders: orders.clone() }
    }
}

/// One double at work; dropping it strikes it off the living.
struct Stage {
    ledger: Ledger,
    step: String,
    attempt: u32,
    wrong: Option<Wrong>,
    orders: Orders,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.ledger.page().alive -= 1;
    }
}

/// The byte that stands at each place of every double's stream.
fn byte_at(place: u64) -> u8 {
    u8::try_from(place % 251).unwrap_or_default()
}

impl Stage {
    fn word(&self) -> &str {
        self.orders.say.as_ref().map_or("nothing", Secret::expose)
    }

    fn blame_self(&self) {
        self.ledger.page().wrongs.push((self.step.clone(), self.attempt));
    }

    /// Does what it was told to do wrong at this place; `Some` where it has to return now.
    async fn misbehave(&self, done: u64, call: &Call, drop_ends: impl FnOnce()) -> Option<Result<(), Failure>> {
        let wrong = self.wrong.filter(|wrong| *wrong != Wrong::Swallow && done >= self.orders.after)?;
        let failure = |kind| Failure::new(kind, format!("told to fail, {}", self.word())).with_help(self.word());
        Some(match wrong {
            Wrong::Unavailable => {
                self.blame_self();
                Err(failure(FailureKind::Unavailable))
            }
            Wrong::Rejected => {
                self.blame_self();
                Err(failure(FailureKind::Rejected))
            }
            Wrong::Panic => {
                self.blame_self();
                std::panic::panic_any(format!("told to panic, {}", self.word()))
            }
            Wrong::Hang => {
                call.cancelled().await;
                Err(failure(FailureKind::Cancelled))
            }
            Wrong::Deaf => std::future::pending().await,
            Wrong::CloseEarly => {
                self.blame_self();
                Ok(())
            }
            Wrong::DropEnds => {
                drop_ends();
                tokio::time::sleep(Duration::from_millis(self.orders.pace)).await;
                self.blame_self();
                Err(failure(FailureKind::Rejected))
            }
            Wrong::Swallow => return None,
        })
    }

    async fn pace(&self) {
        if self.orders.pace > 0 {
            tokio::time::sleep(Duration::from_millis(self.orders.pace)).await;
        }
    }

    async fn read(&self, stdin: &mut Reader) -> Result<Option<Bytes>, Failure> {
        match stdin.read().await {
            Err(_) if self.wrong == Some(Wrong::Swallow) => Ok(None),
            other => other,
        }
    }
}

/// What a double puts out.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Done {
    /// Bytes that went through it.
    pub bytes: u64,
    /// The word that it was told to say.
    pub word: String,
}

fn done(stage: &Stage, bytes: u64) -> Done {
    Done { bytes, word: stage.word().to_owned() }
}

struct TestSource(Ledger);
struct TestTransform(Ledger);
struct TestSink(Ledger);
struct TestAction(Ledger);

impl Function for TestSource {
    const NAME: &'static str = "test-source";
    const SUMMARY: &'static str = "Writes a known pattern, or does wrong.";
    const REPEAT: &'static str = "Writes it again.";
    type Params = Orders;
    type Ports = Source;
    type Outputs = Done;

    fn streams(_: Option<&Orders>) -> Streams {
        Streams::ANY
    }

    async fn run(&self, orders: Orders, ports: Source, call: &Call) -> Result<Done, Failure> {
        let stage = self.0.start(&orders, call);
        let mut stdout = Some(ports.stdout);
        let mut written = 0;
        loop {
            if let Some(end) = stage.misbehave(written, call, || stdout = None).await {
                return end.map(|()| done(&stage, written));
            }
            let Some(writer) = stdout.as_mut().filter(|_| written < orders.size) else { break };
            let piece = (orders.size - written).min(orders.chunk.max(1) as u64);
            let bytes: Bytes = (written..written + piece).map(byte_at).collect();
            writer.write(bytes).await?;
            written += piece;
            stage.pace().await;
        }
        Ok(done(&stage, written))
    }
}

async fn pass_on(stdout: &mut Option<Writer>, bytes: Bytes) -> Result<(), Failure> {
    match stdout {
        Some(stdout) => stdout.write(bytes).await,
        None => Ok(()),
    }
}

impl Function for TestTransform {
    const NAME: &'static str = "test-transform";
    const SUMMARY: &'static str = "Passes its input on, or does wrong.";
    const REPEAT: &'static str = "Passes it on again.";
    type Params = Orders;
    type Ports = Transform;
    type Outputs = Done;

    fn streams(_: Option<&Orders>) -> Streams {
        Streams::ANY
    }

    async fn run(&self, orders: Orders, ports: Transform, call: &Call) -> Result<Done, Failure> {
        let stage = self.0.start(&orders, call);
        let (mut stdin, mut stdout) = (ports.stdin, Some(ports.stdout));
        let mut through = 0;
        loop {
            if let Some(end) = stage.misbehave(through, call, || stdout = None).await {
                return end.map(|()| done(&stage, through));
            }
            let Some(bytes) = stage.read(&mut stdin).await? else { break };
            through += bytes.len() as u64;
            pass_on(&mut stdout, bytes).await?;
            stage.pace().await;
        }
        Ok(done(&stage, through))
    }
}

impl Function for TestSink {
    const NAME: &'static str = "test-sink";
    const SUMMARY: &'static str = "Reads to the end and commits, or does wrong.";
    const REPEAT: &'static str = "Commits again.";
    type Params = Orders;
    type Ports = Sink;
    type Outputs = Done;

    fn streams(_: Option<&Orders>) -> Streams {
        Streams::ANY
    }

    async fn run(&self, orders: Orders, ports: Sink, call: &Call) -> Result<Done, Failure> {
        let stage = self.0.start(&orders, call);
        let mut stdin = ports.stdin;
        let mut place = 0;
        let mut sound = true;
        loop {
            if let Some(end) = stage.misbehave(place, call, || {}).await {
                return end.map(|()| done(&stage, place));
            }
            // A sink that takes a broken stream for a finished one lies to its store; no engine can stop it from that.
            let Some(bytes) = stdin.read().await? else { break };
            for byte in &bytes {
                sound &= *byte == byte_at(place);
                place += 1;
            }
            stage.pace().await;
        }
        // A commit takes its time, and may be told to stop while it does.
        stage.pace().await;
        let mut page = stage.ledger.page();
        page.commits.push((stage.step.clone(), stage.attempt));
        if !sound || place != orders.size {
            page.bad_commits
                .push(format!("`{}` committed {place} bytes of {}, sound: {sound}", stage.step, orders.size));
        }
        drop(page);
        Ok(done(&stage, place))
    }
}

impl Function for TestAction {
    const NAME: &'static str = "test-action";
    const SUMMARY: &'static str = "Waits a while, or does wrong.";
    const REPEAT: &'static str = "Waits again.";
    type Params = Orders;
    type Ports = Action;
    type Outputs = Done;

    fn streams(_: Option<&Orders>) -> Streams {
        Streams::ANY
    }

    async fn run(&self, orders: Orders, _: Action, call: &Call) -> Result<Done, Failure> {
        let stage = self.0.start(&orders, call);
        call.or_cancelled(stage.pace()).await?;
        match stage.misbehave(u64::MAX, call, || {}).await {
            // An action has no input that it could leave unread.
            Some(Ok(())) | None => Ok(done(&stage, 0)),
            Some(Err(failure)) => Err(failure),
        }
    }
}
