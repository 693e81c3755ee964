//! What a session's pod says of its end: a few numbers of the engine's report, in what Kubernetes takes as a container's last words.
//!
//! Takes a report. Gives JSON of at most [`ROOM`] bytes. Always holds: whether it succeeded and what failed first are in it, however much there
//! is to say.

use std::collections::BTreeMap;

use aquifer_engine::event::Status;
use aquifer_engine::failure::Failure;
use aquifer_engine::report::Report;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::advice::in_manifests;
use crate::hooks::STEP;
use crate::session::steps;

/// How many bytes of a container's last words a node passes on.
/// <https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/>
pub const ROOM: usize = 4096;

/// The version of this form.
const VERSION: u32 = 1;

/// How much of an error is kept, in bytes, where not all of it has room.
const LONGEST_ERROR: usize = 600;

/// How long anything takes at the most, in seconds: a hundred years.
const LONGEST: f64 = 3.2e9;

/// How a session's run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The version of this form: 1.
    pub version: u32,
    /// Whether all steps did what they were to do.
    pub succeeded: bool,
    /// Whether it was told to stop.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What failed first, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<StepError>,
    /// The steps by name.
    pub steps: BTreeMap<String, StepOutcome>,
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepError {
    /// Its name.
    pub step: String,
    /// The failure's kind, such as `corrupt`, as in reports.
    pub kind: String,
    /// Why.
    pub message: String,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepOutcome {
    /// How.
    pub status: Status,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The numbers and texts among its outputs.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub outputs: Map<String, Json>,
}

impl Outcome {
    /// That of a report.
    pub fn of(report: &Report) -> Self {
        let step = |step: &aquifer_engine::report::StepReport| {
            let outputs = step.outputs.as_object().into_iter().flatten();
            let outputs = outputs.flat_map(|(name, value)| plain(name, value)).collect();
            (step.step.clone(), StepOutcome { status: step.status, seconds: rounded(step.seconds), outputs })
        };
        let error = report.first_failure.as_ref();
        Self {
            version: VERSION,
            succeeded: report.status == Status::Succeeded,
            stopped: report.stopped,
            seconds: rounded(report.seconds),
            error: error.map(|it| StepError {
                step: it.step.clone(),
                kind: it.failure.kind.to_string(),
                message: told(&it.step, &it.failure),
            }),
            steps: report.steps().map(step).collect(),
        }
    }

    /// That of a run that could not begin.
    pub fn not_begun(message: String) -> Self {
        let error = Some(StepError { step: String::new(), kind: "config".to_owned(), message });
        Self { version: VERSION, succeeded: false, stopped: false, seconds: 0.0, error, steps: BTreeMap::new() }
    }

    /// As JSON that a node passes on whole.
    pub fn text(mut self) -> String {
        let said = |outcome: &Self| serde_json::to_string(outcome).unwrap_or_default();
        let mut text = said(&self);
        if text.len() > ROOM
            && let Some(error) = &mut self.error
        {
            // JSON may write a character as six.
            let mut end = LONGEST_ERROR.min(error.message.len());
            while !error.message.is_char_boundary(end) {
                end -= 1;
            }
            error.message.truncate(end);
            error.message.push('…');
            text = said(&self);
        }
        if text.len() > ROOM {
            // Nothing is read of those of one's own.
            let others = self.steps.iter_mut().filter(|(name, _)| !steps::ALL.contains(&name.as_str()));
            others.for_each(|(_, step)| step.outputs.clear());
            text = said(&self);
        }
        if text.len() > ROOM {
            self.steps.retain(|name, _| name == STEP || steps::ALL.contains(&name.as_str()));
            text = said(&self);
        }
        if text.len() > ROOM {
            self.steps.values_mut().for_each(|step| step.outputs.clear());
            text = said(&self);
        }
        if text.len() > ROOM {
            self.steps.clear();
            text = said(&self);
        }
        text
    }

    /// What a pod said. Nothing where that is no outcome: other programs say other things, and a newer version may have another form.
    pub fn read(text: &str) -> Option<Self> {
        let mut outcome: Self = serde_json::from_str(text).ok()?;
        let is_time = |seconds: f64| (0.0..LONGEST).contains(&seconds);
        if outcome.version != VERSION
            || !is_time(outcome.seconds)
            || !outcome.steps.values().all(|step| is_time(step.seconds))
        {
            return None;
        }
        // A Task of the user's own may run programs in the pod, which can write there, too: what no engine says is left out.
        for step in steps::ALL {
            if let Some(step) = outcome.steps.get_mut(step) {
                step.outputs.retain(|name, value| is_plain(name, value));
            }
        }
        Some(outcome)
    }

    /// A number among a step's outputs.
    pub fn number(&self, step: &str, output: &str) -> Option<i64> {
        self.steps.get(step)?.outputs.get(output)?.as_i64()
    }

    /// A text among a step's outputs.
    pub fn words(&self, step: &str, output: &str) -> Option<&str> {
        self.steps.get(step)?.outputs.get(output)?.as_str()
    }

    /// How a step ended; nothing where there is none.
    pub fn status(&self, step: &str) -> Option<Status> {
        self.steps.get(step).map(|step| step.status)
    }
}

/// Whether this may be an output of a session's step: an amount, words, or a snapshot's id.
fn is_plain(name: &str, value: &Json) -> bool {
    match value {
        Json::String(id) if name == "snapshot" => !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        _ if name == "snapshot" => false,
        Json::Number(number) => number.as_f64().is_some_and(|number| number >= 0.0),
        Json::String(text) => !text.chars().any(char::is_control),
        _ => true,
    }
}

/// All that a failure says, in a line: people read it where there is no report beside it.
fn told(step: &str, failure: &Failure) -> String {
    let causes = failure.causes.iter().map(|cause| format!(": {cause}"));
    let help = failure.help.iter().map(|help| {
        let here = in_manifests(step, help).map(|here| format!(" ({here})")).unwrap_or_default();
        format!("; next: {help}{here}")
    });
    [failure.message.clone()].into_iter().chain(causes).chain(help).collect()
}

/// Numbers, texts and truths; those of a map by its name and theirs.
fn plain(name: &str, value: &Json) -> Vec<(String, Json)> {
    match value {
        Json::Number(_) | Json::Bool(_) | Json::String(_) => vec![(name.to_owned(), value.clone())],
        Json::Object(inner) => inner
            .iter()
            .filter(|(_, value)| value.is_number())
            .map(|(inner, value)| (format!("{name}.{inner}"), value.clone()))
            .collect(),
        Json::Null | Json::Array(_) => Vec::new(),
    }
}

/// To milliseconds.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outcome(message: &str, outputs: usize) -> Outcome {
        let outputs = (0..outputs).map(|number| (format!("output{number}"), json!(number))).collect();
        let step = StepOutcome { status: Status::Succeeded, seconds: 1.5, outputs };
        Outcome {
            error: Some(StepError { step: "push".into(), kind: "rejected".into(), message: message.into() }),
            steps: BTreeMap::from([("push".to_owned(), step)]),
            ..Outcome::not_begun(String::new())
        }
    }

    #[test]
    fn a_failure_is_told_with_its_causes_and_its_next_step() {
        let mut failure = Failure::not_found("no such key").with_help("correct it");
        failure.causes = vec!["NOKEY".to_owned()];
        assert_eq!(told("dump", &failure), "no such key: NOKEY; next: correct it");
        let failure = Failure::not_found("it").with_help("correct `url`");
        assert_eq!(
            told("dump", &failure),
            "it; next: correct `url` (in manifests, `url` is the AppBinding's `clientConfig`)"
        );
        assert_eq!(told("dump", &Failure::internal("alone")), "alone");
    }

    #[test]
    fn what_no_engine_says_is_not_heard() {
        let said = |name: &str, seconds: f64, outputs: Json| {
            let step = json!({"status": "succeeded", "seconds": 1.0, "outputs": outputs});
            let said = json!({"version": 1, "succeeded": true, "seconds": seconds, "steps": {name: step}});
            Outcome::read(&said.to_string()).map(|outcome| json!(outcome.steps[name].outputs))
        };
        let plain = json!({"snapshot": "0a1b", "bytes": 3, "ratio": 0.5, "host": "cart"});
        assert_eq!(said("push", 1.0, plain.clone()), Some(plain));
        assert!(said("push", 1e300, json!({})).is_none() && said("push", -1.0, json!({})).is_none());
        for odd in [json!("\u{1b}]0;x\u{7}"), json!(3), json!("")] {
            assert_eq!(said("push", 1.0, json!({"snapshot": odd, "bytes": -3, "host": "a\nb"})), Some(json!({})));
        }
        // Of steps of one's own nothing is read.
        let own = json!({"lines": -1, "tail": "a\nb"});
        assert_eq!(said("mine", 1.0, own.clone()), Some(own));
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let one = outcome("the disk is full", 3);
        assert_eq!(Outcome::read(&one.clone().text()), Some(one.clone()));
        assert_eq!((one.number("push", "output2"), one.number("push", "none")), (Some(2), None));
        assert_eq!(Outcome::read("panicked at"), None);
        assert_eq!(Outcome::read(&one.text().replace("\"version\":1", "\"version\":2")), None);
    }

    #[test]
    fn steps_of_ones_own_do_not_push_out_what_is_told_of_the_session() {
        let mut one = outcome("", 0);
        one.steps.get_mut("push").expect("there").outputs.insert("snapshot".to_owned(), json!("abcd"));
        let own = outcome("", 20).steps.remove("push").expect("there");
        for (count, stay) in [(10, true), (300, false)] {
            let mut one = one.clone();
            one.steps.extend((0..count).map(|number| (format!("own-{number}"), own.clone())));
            let text = one.text();
            let read = Outcome::read(&text).expect("an outcome");
            assert!(text.len() <= ROOM && read.words("push", "snapshot") == Some("abcd"), "{text}");
            assert_eq!(read.status("own-0").is_some(), stay, "{text}");
        }
    }

    #[test]
    fn however_much_there_is_to_say_it_has_room() {
        for (message, outputs) in [("\u{1}".repeat(9000), 10), ("é".repeat(3000), 10), ("x".to_owned(), 2000)] {
            let text = outcome(&message, outputs).text();
            assert!(text.len() <= ROOM, "{}", text.len());
            let read = Outcome::read(&text).expect("an outcome");
            assert_eq!(read.error.expect("an error").step, "push");
        }
    }
}
