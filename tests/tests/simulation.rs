//! Ten thousand random tasks on a paused clock, every promise held against each. A seed that breaks one prints its Task.
//!
//! `AQUIFER_SEEDS=100000..200000` runs other seeds; `AQUIFER_SIM_TASK=FILE` repeats a printed Task.
#![expect(clippy::disallowed_methods, reason = "a test binary is steered by its environment")]

use std::panic;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use aquifer_tests::simulation::check::broken_promises;
use aquifer_tests::simulation::{SimTask, generate, play};

/// Plays one task; what broke, in words.
fn verdict(task: &SimTask) -> Vec<String> {
    match play(task) {
        Ok(trace) => broken_promises(task, &trace),
        Err(refused) => vec![refused],
    }
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(range) = std::env::var("AQUIFER_SEEDS") else { return 0..10_000 };
    let (from, to) = range.split_once("..").expect("AQUIFER_SEEDS is written as FROM..TO");
    from.parse().expect("FROM is a number")..to.parse().expect("TO is a number")
}

#[test]
fn no_seed_breaks_a_promise() {
    if let Ok(file) = std::env::var("AQUIFER_SIM_TASK") {
        let text = std::fs::read_to_string(&file).expect("AQUIFER_SIM_TASK names a file");
        let task = SimTask::from_yaml(&text).expect("the file is a simulated task");
        assert_eq!(verdict(&task), Vec::<String>::new());
        return;
    }
    // Doubles panic by order, thousands of times: only what is not theirs may print.
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let told = info.payload().downcast_ref::<String>().is_some_and(|text| text.starts_with("told to panic"));
        if !told {
            usual(info);
        }
    }));
    let seeds = seeds();
    let next = AtomicU64::new(seeds.start);
    let broken = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let task = generate::task(seed);
                    let verdict = verdict(&task);
                    if !verdict.is_empty() {
                        broken.lock().expect("no test thread panics").push((seed, verdict, task));
                    }
                }
            });
        }
    });
    let mut broken = broken.into_inner().expect("no test thread panics");
    // The smallest one is the easiest to read.
    broken.sort_by_key(|(seed, _, task)| (task.steps.len(), *seed));
    if let Some((seed, verdict, task)) = broken.first() {
        panic!(
            "{} of the seeds broke a promise; the smallest, {seed}:\n{}\n\n{}",
            broken.len(),
            verdict.join("\n"),
            task.to_yaml()
        );
    }
}

#[test]
fn a_printed_task_repeats_its_seed() {
    for seed in 0..200 {
        let task = generate::task(seed);
        let again = SimTask::from_yaml(&task.to_yaml()).expect("what was printed is read");
        assert_eq!(again.to_yaml(), task.to_yaml());
    }
}
