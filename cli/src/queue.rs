//! What is to be printed during a run, and the thread that prints it, so that a stderr that takes nothing holds no run up.
//!
//! Takes events and notes; gives them to a sink on its own thread, in order. Always holds: taking one never waits. Where the
//! thread falls behind, progress is dropped first (the newest replaces what waits, and none is printed after a later end of a step or the run), and then messages of functions, of which
//! at most [`MOST_MESSAGES`] wait; how many of a step's were left out is said as soon as there is room. What starts and
//! ends, and what this program itself says, is never dropped: a plan bounds how much that can be.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aquifer_engine::event::{Event, EventSink, Level, What};

use crate::print::Screen;

/// How many messages may wait: a few megabytes of the longest ones.
const MOST_MESSAGES: usize = 1000;

/// How long the end of the run waits for a stderr that takes nothing at all.
const PATIENCE: Duration = Duration::from_secs(2);

enum Job {
    Event(Box<Event>),
    Note(String),
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// How many of these are messages.
    messages: usize,
    progress: Option<Event>,
    /// How many messages were left out since one was taken, and the last of them.
    left_out: Option<(u64, Event)>,
    /// How many jobs were begun, to see whether there is any headway.
    begun: u64,
    busy: bool,
}

/// The waiting line.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

impl Queue {
    /// Starts the thread that hands everything to `sink`.
    pub(crate) fn start(sink: Arc<dyn EventSink>, screen: Screen) -> std::io::Result<Arc<Self>> {
        let queue = Arc::new(Self::default());
        let own = Arc::clone(&queue);
        std::thread::Builder::new().name("aquifer-print".into()).spawn(move || own.print(&*sink, &screen))?;
        Ok(queue)
    }

    /// A line of this program's own.
    pub(crate) fn note(&self, text: impl Into<String>) {
        self.lock().jobs.push_back(Job::Note(text.into()));
        self.changed.notify_all();
    }

    /// Waits until all is printed; gives up, and says so, where nothing at all gets through for a while.
    pub(crate) fn drain(&self) -> bool {
        let mut state = self.lock();
        while state.busy || !state.jobs.is_empty() || state.left_out.is_some() {
            let begun = state.begun;
            let waited = self.changed.wait_timeout(state, PATIENCE);
            let (now, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = now;
            if timeout.timed_out() && state.begun == begun {
                return false;
            }
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn print(&self, sink: &dyn EventSink, screen: &Screen) {
        loop {
            match self.next() {
                Job::Event(event) => sink.emit(&event),
                Job::Note(text) => screen.note(&text),
            }
            self.lock().busy = false;
            self.changed.notify_all();
        }
    }

    fn next(&self) -> Job {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.next() {
                state.begun += 1;
                state.busy = true;
                return job;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn take(&mut self, event: Event) {
        match &event.what {
            What::Progress { .. } => self.progress = Some(event),
            What::Message { .. } if self.messages >= MOST_MESSAGES => {
                let before = self.left_out.as_ref().map_or(0, |(count, _)| *count);
                self.left_out = Some((before + 1, event));
            }
            What::Message { .. } => {
                self.say_what_is_left_out();
                self.messages += 1;
                self.jobs.push_back(Job::Event(Box::new(event)));
            }
            what => {
                // It waits behind all jobs: printed after this one, it would tell of a step that has ended.
                if matches!(what, What::StepEnded { .. } | What::RunEnded { .. }) {
                    self.progress = None;
                }
                self.jobs.push_back(Job::Event(Box::new(event)));
            }
        }
    }

    fn next(&mut self) -> Option<Job> {
        if self.jobs.is_empty() {
            self.say_what_is_left_out();
        }
        let job = self.jobs.pop_front();
        if let Some(Job::Event(event)) = &job
            && matches!(event.what, What::Message { .. })
        {
            self.messages = self.messages.saturating_sub(1);
        }
        job.or_else(|| self.progress.take().map(|event| Job::Event(Box::new(event))))
    }

    /// In the form of a message of the last one's step, so that programs that read events hear it too.
    fn say_what_is_left_out(&mut self) {
        let Some((count, mut event)) = self.left_out.take() else { return };
        if let What::Message { level, text, .. } = &mut event.what {
            *level = Level::Warning;
            *text = format!("{count} messages were left out here: they came faster than they could be printed");
        }
        self.messages += 1;
        self.jobs.push_back(Job::Event(Box::new(event)));
    }
}

impl EventSink for Queue {
    fn emit(&self, event: &Event) {
        self.lock().take(event.clone());
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(what: What) -> Event {
        Event { version: 1, run: "r".into(), at: "2026-11-23T10:00:00Z".parse().expect("a time"), what }
    }

    #[test]
    fn progress_goes_first_then_messages_and_never_what_starts_and_ends() {
        let mut state = State::default();
        let message = |text: String| event(What::Message { step: "a".into(), level: Level::Info, text });
        for round in 0..3000 {
            state.take(event(What::Progress { steps: Vec::new() }));
            state.take(message(round.to_string()));
            state.take(event(What::StepStarted { step: round.to_string() }));
        }
        let (mut started, mut said, mut progress) = (0, Vec::new(), 0);
        while let Some(Job::Event(event)) = state.next() {
            match event.what {
                What::StepStarted { .. } => started += 1,
                What::Message { text, .. } => said.push(text),
                _ => progress += 1,
            }
        }
        assert_eq!((started, said.len(), progress), (3000, MOST_MESSAGES + 1, 1));
        assert_eq!(said[0], "0");
        assert!(said[MOST_MESSAGES].starts_with("2000 messages were left out"), "{}", said[MOST_MESSAGES]);
    }
    #[test]
    fn no_progress_is_printed_after_a_later_end() {
        use aquifer_engine::event::Status;

        let ended = event(What::RunEnded { status: Status::Succeeded, seconds: 1.0 });
        let step = event(What::StepEnded {
            step: "a".into(),
            status: Status::Succeeded,
            failure: None,
            seconds: 1.0,
            bytes_in: 0,
            bytes_out: 0,
            outputs: serde_json::Value::Null,
        });
        for end in [step, ended] {
            let mut state = State::default();
            state.take(event(What::Progress { steps: Vec::new() }));
            state.take(end.clone());
            assert!(matches!(state.next(), Some(Job::Event(event)) if *event == end));
            assert!(state.next().is_none(), "progress after {end:?}");
            // What came after a step's end is of the other steps, and is printed.
            state.take(end);
            state.take(event(What::Progress { steps: Vec::new() }));
            assert!(state.next().is_some() && state.next().is_some());
        }
    }
}
