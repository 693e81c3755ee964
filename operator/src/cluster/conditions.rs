//! A status's conditions.
//!
//! Always holds: there is one of each type; the time says when its status last changed, and not when it was last looked at.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::resources::condition::{Condition, ConditionStatus};

/// How long a message may be, in bytes: those of a whole history are kept, and watched, together.
const LONGEST: usize = 2048;

/// A text that is not longer than messages may be.
pub(super) fn bounded(mut text: String) -> String {
    const CUT: &str = " …";
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST - CUT.len()));
        text.push_str(CUT);
    }
    text
}

/// Says whether something is so, where that is asked; nothing else says it.
pub(super) fn judge_or_drop(
    all: &mut Vec<Condition>,
    kind: &str,
    reasons: (&str, &str),
    is: Option<Result<String, String>>,
) {
    match is {
        Some(is) => judge(all, kind, reasons, is),
        None => all.retain(|one| one.r#type != kind),
    }
}

/// Says that something is so, or is not, and why.
pub(super) fn set(
    all: &mut Vec<Condition>,
    kind: &str,
    status: ConditionStatus,
    reason: &str,
    message: impl Into<String>,
) {
    let message = bounded(message.into());
    let (reason, message) = (Some(reason.to_owned()), Some(message).filter(|text| !text.is_empty()));
    match all.iter_mut().find(|one| one.r#type == kind) {
        Some(one) => {
            if one.status != status {
                one.last_transition_time = Some(Time(Timestamp::now()));
            }
            (one.status, one.reason, one.message) = (status, reason, message);
        }
        None => all.push(Condition {
            r#type: kind.to_owned(),
            status,
            observed_generation: None,
            last_transition_time: Some(Time(Timestamp::now())),
            severity: None,
            reason,
            message,
        }),
    }
}

/// What was found out: that it is so, or why not.
pub(super) fn judge(all: &mut Vec<Condition>, kind: &str, reasons: (&str, &str), found: Result<String, String>) {
    match found {
        Ok(message) => set(all, kind, ConditionStatus::True, reasons.0, message),
        Err(message) => set(all, kind, ConditionStatus::False, reasons.1, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_a_bound_and_is_not_cut_in_a_letter() {
        let mut all = Vec::new();
        set(&mut all, "Found", ConditionStatus::False, "Missing", format!("x{}", "\u{e9}".repeat(LONGEST)));
        let said = all[0].message.clone().expect("a message");
        assert!(said.len() <= LONGEST && said.len() > LONGEST - 8 && said.ends_with("\u{e9} …"), "{said}");
        assert_eq!(bounded("x".repeat(LONGEST)).len(), LONGEST);
    }

    #[test]
    fn the_time_is_that_of_the_last_change() {
        let mut all = Vec::new();
        set(&mut all, "Found", ConditionStatus::False, "Missing", "not there");
        let then = Some(Time(Timestamp::UNIX_EPOCH));
        all[0].last_transition_time = then.clone();
        set(&mut all, "Found", ConditionStatus::False, "Missing", "still not there");
        assert_eq!((all.len(), &all[0].last_transition_time), (1, &then));
        assert_eq!(all[0].message.as_deref(), Some("still not there"));
        set(&mut all, "Found", ConditionStatus::True, "Found", "");
        assert_ne!(all[0].last_transition_time, then);
        assert!(all[0].status == ConditionStatus::True && all[0].message.is_none());
    }
}
