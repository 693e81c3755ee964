//! Seeds to tasks. Takes a number, gives a [`SimTask`] of up to thirty steps that the planner accepts.
//!
//! Always holds: a step stands behind what it reads and needs; every stream has a reader; a sink expects just what its
//! source is to write.

use super::{SimRetry, SimStep, SimTask};
use crate::doubles::{Orders, Wrong};

/// A splitmix64 generator (Steele, Lea and Flood, 2014): ours, so that a seed means the same task for good.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall the same way for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`, which is at least 1.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { of.get(usize::try_from(self.below(of.len() as u64)).ok()?) }
    }
}

const MOST_STEPS: usize = 30;

/// Ways in which anything may go wrong, and how a writer or reader may.
const WRONGS: [Wrong; 8] = [
    Wrong::Unavailable,
    Wrong::Rejected,
    Wrong::Panic,
    Wrong::Hang,
    Wrong::Deaf,
    Wrong::CloseEarly,
    Wrong::DropEnds,
    Wrong::Swallow,
];

/// The task of a seed.
pub fn task(seed: u64) -> SimTask {
    let mut dice = Dice::new(seed);
    let most = 1 + usize::try_from(dice.below(MOST_STEPS as u64)).unwrap_or(0);
    // One task in four has nothing wrong in it: promises about success need cases too.
    let trouble = if dice.chance(25) { 0 } else { 5 + dice.below(30) };
    let mut steps: Vec<SimStep> = Vec::new();
    while steps.len() < most {
        let room = most - steps.len();
        let before = steps.len();
        pipeline(&mut dice, &mut steps, room, trouble);
        settings(&mut dice, &mut steps, before);
    }
    let stop_at = dice.chance(25).then(|| dice.below(4_000));
    let stop_again_at = stop_at.filter(|_| dice.chance(40)).map(|_| dice.below(6_000));
    SimTask {
        concurrency: 1 + usize::try_from(dice.below(6)).unwrap_or(0),
        budget: 1 << (8 + dice.below(10)),
        stop_at,
        stop_again_at,
        steps,
    }
}

fn orders(dice: &mut Dice, trouble: u64, size: u64) -> Orders {
    let wrong = dice.chance(trouble).then(|| dice.pick(&WRONGS).copied()).flatten();
    Orders {
        size,
        chunk: usize::try_from(500 + dice.below(20_000)).unwrap_or(500),
        pace: if dice.chance(60) { 0 } else { dice.below(60) },
        wrong,
        after: if dice.chance(30) { 0 } else { dice.below(size + 1) },
        attempts: u32::try_from(dice.below(4)).unwrap_or(0),
        say: dice.chance(30).then(|| aquifer_engine::secret::Secret::new("{{ params.word }}")),
        ..Orders::default()
    }
}

fn step(steps: &[SimStep], kind: &str, stdin: Option<String>, params: Orders) -> SimStep {
    SimStep {
        name: format!("s{}", steps.len()),
        function: format!("test-{kind}"),
        stdin,
        needs: Vec::new(),
        when: None,
        retry: None,
        timeout: None,
        params,
    }
}

/// Adds one pipeline of at most `room` steps: an action, or a source with a tree of readers.
fn pipeline(dice: &mut Dice, steps: &mut Vec<SimStep>, room: usize, trouble: u64) {
    if room < 2 || dice.chance(30) {
        let params = orders(dice, trouble, 0);
        steps.push(step(steps, "action", None, params));
        return;
    }
    let size = if dice.chance(10) { 0 } else { dice.below(150_000) };
    let end = steps.len() + room;
    let mut params = orders(dice, trouble, size);
    // A source that says it is done after half of its data is a shorter source: nobody can know better.
    params.wrong = params.wrong.filter(|wrong| *wrong != Wrong::CloseEarly);
    steps.push(step(steps, "source", None, params));
    let mut unread = vec![steps.len() - 1];
    let mut open = unread.clone();
    // Every unread stream still needs one sink: keep room for them.
    while steps.len() + unread.len() < end && dice.chance(75) {
        let Some(from) = dice.pick(&open).copied() else { break };
        let adds_unread = !unread.contains(&from);
        if steps.len() + unread.len() + usize::from(adds_unread) >= end {
            break;
        }
        let stdin = Some(steps[from].name.clone());
        unread.retain(|other| *other != from);
        let params = orders(dice, trouble, size);
        if dice.chance(65) {
            steps.push(step(steps, "transform", stdin, params));
            unread.push(steps.len() - 1);
            open.push(steps.len() - 1);
        } else {
            steps.push(step(steps, "sink", stdin, params));
        }
    }
    for from in unread {
        let params = orders(dice, trouble, size);
        let stdin = Some(steps[from].name.clone());
        steps.push(step(steps, "sink", stdin, params));
    }
}

/// Gives the pipeline that starts at `first` its needs, and what belongs to a pipeline as a whole.
fn settings(dice: &mut Dice, steps: &mut [SimStep], first: usize) {
    let earlier: Vec<String> = steps[..first].iter().map(|step| step.name.clone()).collect();
    let mut needed = Vec::new();
    for step in &mut steps[first..] {
        while dice.chance(25) {
            let Some(need) = dice.pick(&earlier) else { break };
            if !step.needs.contains(need) {
                step.needs.push(need.clone());
                needed.push(need.clone());
            }
        }
        if let Some(need) = dice.pick(&needed).filter(|_| step.params.number.is_none()) {
            step.params.number = Some(format!("{{{{ default steps.{need}.outputs.bytes 0 }}}}").into());
        }
    }
    let length = (steps.len() - first) as u64;
    let any = |dice: &mut Dice| first + usize::try_from(dice.below(length)).unwrap_or(0);
    if dice.chance(40) {
        let at = any(dice);
        let attempts = 2 + u32::try_from(dice.below(3)).unwrap_or(0);
        steps[at].retry = Some(SimRetry { attempts, backoff: format!("{}ms", 1 + dice.below(2_000)) });
    }
    // What hangs without a timeout hangs for good, and nobody has promised anything else.
    let hangs = |step: &SimStep| matches!(step.params.wrong, Some(Wrong::Hang | Wrong::Deaf));
    if dice.chance(40) || steps[first..].iter().any(hangs) {
        let at = any(dice);
        steps[at].timeout = Some(format!("{}ms", 1 + dice.below(3_000)));
    }
    if dice.chance(35) {
        let at = any(dice);
        let when = if needed.is_empty() || dice.chance(50) { "always" } else { "failure" };
        steps[at].when = Some(when.to_owned());
    }
}
