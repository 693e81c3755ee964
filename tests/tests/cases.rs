//! The cases in `tests/cases`: what is wrong in each of `invalid` and exactly how that is said, and what each of `valid`
//! makes. `UPDATE_CASES=1` writes the expected texts anew; read the difference before you keep it.
//!
//! A case is planned as a user would: its first task, or every document by itself where it holds no task. Comments say
//! with what: `# set NAME=TEXT`, `# values NAME=JSON`, `# env NAME=TEXT`, `# task NAME`. Where a case holds several
//! mistakes it says `# mistakes NUMBER`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use aquifer_engine::catalog::{Catalog, Inputs};
use aquifer_engine::diagnostic::Diagnostics;
use aquifer_engine::plan::{Params, Plan, When};
use aquifer_tests::case_functions;
use miette::{GraphicalReportHandler, GraphicalTheme};

struct Case {
    name: String,
    text: String,
    catalog: Catalog,
    task: Option<String>,
    inputs: Inputs,
    mistakes: usize,
}

fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases").join(kind)
}

fn cases(kind: &str) -> Vec<Case> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder(kind))
        .expect("the folder of cases is there")
        .map(|entry| entry.expect("it is listed").path())
        .collect();
    files.sort();
    for text in files.iter().filter(|file| file.extension().is_some_and(|end| end == "txt")) {
        assert!(text.with_extension("yaml").exists(), "{} has no case", text.display());
    }
    files.retain(|file| file.extension().is_some_and(|end| end == "yaml"));
    files.iter().map(|file| case(file)).collect()
}

fn case(file: &Path) -> Case {
    let name = file.file_name().expect("a file has a name").to_string_lossy().into_owned();
    let text = String::from_utf8(fs::read(file).expect("the case can be read")).expect("a case is text");
    let (catalog, task, inputs, mistakes) = load(&name, &text, &text);
    Case { name, text, catalog, task, inputs, mistakes }
}

/// Loads a text with the words of a case's first comments.
fn load(name: &str, text: &str, words: &str) -> (Catalog, Option<String>, Inputs, usize) {
    let mut catalog = Catalog::new(case_functions::registry());
    catalog.add_text(name, text);
    let (mut inputs, mut task, mut mistakes) = (Inputs::default(), None, 1);
    for line in words.lines().take_while(|line| line.starts_with('#')) {
        let (what, rest) = line.trim_start_matches("# ").split_once(' ').unwrap_or_default();
        let (key, value) = rest.split_once('=').unwrap_or_default();
        match what {
            "set" => inputs = inputs.with_text(key, value),
            "values" => {
                inputs = inputs.with_value(
                    key,
                    serde_json::from_str::<serde_json::Value>(value).expect("a case's values are JSON"),
                );
            }
            "env" => inputs = inputs.with_env(key, value),
            "task" => task = Some(rest.to_owned()),
            "mistakes" => mistakes = rest.parse().expect("the number of mistakes is a number"),
            _ => {}
        }
    }
    let first = || catalog.tasks().first().map(|task| task.name.clone());
    let task = task.or_else(first);
    (catalog, task, inputs, mistakes)
}

fn planned(case: &Case) -> Result<Option<Plan>, Diagnostics> {
    match &case.task {
        Some(task) => case.catalog.plan(task, &case.inputs).map(Some),
        None if case.catalog.problems().is_empty() => Ok(None),
        None => Err(case.catalog.problems()),
    }
}

fn rendered(problems: &Diagnostics) -> String {
    let handler =
        GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100).with_links(false);
    let mut text = String::new();
    for report in problems.reports() {
        handler.render_report(&mut text, report.as_ref()).expect("a report can be rendered");
        text.push('\n');
    }
    // Trailing spaces are invisible in a review.
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>().trim_end().to_owned() + "\n"
}

/// A plan as text: everything that a change could silently alter.
fn told(plan: &Plan) -> String {
    let mut text = format!("task {} (at most {} pipelines at once)\n", plan.task, plan.concurrency);
    for (at, pipeline) in plan.pipelines.iter().enumerate() {
        write!(text, "\npipeline {at}: {}", pipeline.name).expect("a string takes it");
        let after: Vec<String> = pipeline.after.iter().map(|id| id.0.to_string()).collect();
        if !after.is_empty() {
            write!(text, ", after {}", after.join(", ")).expect("a string takes it");
        }
        if pipeline.when != When::Success {
            write!(text, ", when {:?}", pipeline.when).expect("a string takes it");
        }
        if pipeline.attempts > 1 {
            write!(text, ", {} attempts from {:?}", pipeline.attempts, pipeline.backoff).expect("a string takes it");
        }
        if let Some(timeout) = pipeline.timeout {
            write!(text, ", timeout {timeout:?}").expect("a string takes it");
        }
        text.push('\n');
        for id in &pipeline.steps {
            let step = plan.step(*id);
            assert_eq!(step.pipeline.0, at, "a step knows its pipeline");
            write!(text, "  {} {}: {}", id.0, step.name, step.function).expect("a string takes it");
            if let Some(stdin) = step.stdin {
                assert!(stdin < *id, "a step stands behind the one that it reads");
                write!(text, ", reads {}", stdin.0).expect("a string takes it");
            }
            if !step.needs.is_empty() {
                let needs: Vec<String> = step.needs.iter().map(|need| need.0.to_string()).collect();
                write!(text, ", needs {}", needs.join(", ")).expect("a string takes it");
            }
            let late = if matches!(step.params, Params::Late(_)) { " (late)" } else { "" };
            writeln!(text, ", {}{late}\n    {}", step.stdout, step.shown_params()).expect("a string takes it");
        }
    }
    text
}

/// Holds a text against the file beside the case, or writes that file.
fn compare(kind: &str, case: &Case, found: &str, wrong: &mut Vec<String>) {
    let file = folder(kind).join(&case.name).with_extension("txt");
    if std::env::var_os("UPDATE_CASES").is_some() {
        fs::write(&file, found).expect("the expected text can be written");
        return;
    }
    match fs::read_to_string(&file) {
        Ok(wanted) if wanted == found => {}
        Ok(wanted) => wrong.push(format!("{kind}/{}: expected\n{wanted}\nand found\n{found}", case.name)),
        Err(error) => wrong.push(format!("{kind}/{}: {} ({error}); found\n{found}", case.name, file.display())),
    }
}

#[test]
fn every_mistake_is_said_as_expected() {
    let mut wrong = Vec::new();
    let cases = cases("invalid");
    assert!(cases.len() >= 46, "cases were lost: {}", cases.len());
    for case in &cases {
        match planned(case) {
            Ok(_) => wrong.push(format!("invalid/{}: nothing was found wrong with it", case.name)),
            Err(problems) => {
                if problems.len() != case.mistakes {
                    wrong.push(format!(
                        "invalid/{}: {} mistakes expected, {} found\n{problems}",
                        case.name,
                        case.mistakes,
                        problems.len()
                    ));
                }
                compare("invalid", case, &rendered(&problems), &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases differ\n\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn every_valid_case_makes_its_plan() {
    let mut wrong = Vec::new();
    for case in &cases("valid") {
        match planned(case) {
            Ok(plan) => {
                let text = plan.as_ref().map_or_else(|| "no task\n".to_owned(), told);
                compare("valid", case, &text, &mut wrong);
            }
            Err(problems) => wrong.push(format!("valid/{}:\n{}", case.name, rendered(&problems))),
        }
    }
    assert!(wrong.is_empty(), "{} cases differ\n\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn a_problem_across_two_files_shows_both() {
    let mut catalog = Catalog::new(case_functions::registry());
    let text = fs::read_to_string(folder("valid").join("fan-out.yaml")).expect("the case can be read");
    catalog.add_text("one.yaml", &text);
    catalog.add_text("two.yaml", &text);
    let told = rendered(&catalog.problems());
    assert!(told.contains("two.yaml:4:9") && told.contains("one.yaml:4:9"), "{told}");
    let data = serde_json::to_value(catalog.problems().to_json()).expect("it is plain data");
    assert_eq!(data[0]["labels"][1]["file"], "one.yaml");
    assert_eq!((&data[0]["labels"][0]["line"], &data[0]["labels"][0]["column"]), (&4.into(), &9.into()));
}

/// Every problem can be drawn and printed as data; a span outside of its text would fail here.
fn survives(case: &Case, text: &str) {
    let (catalog, task, inputs, _) = load(&case.name, text, &case.text);
    let problems = catalog.problems();
    rendered(&problems);
    problems.to_json();
    if let Some(Err(problems)) = task.map(|task| catalog.plan(&task, &inputs)) {
        rendered(&problems);
    }
}

/// Numbers that are the same on every machine: splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % (limit.max(1) as u64)).unwrap_or(0)
    }
}

#[test]
fn no_damaged_text_makes_it_panic() {
    let cases: Vec<Case> = cases("valid").into_iter().chain(cases("invalid")).collect();
    let mut dice = Dice(20_261_123);
    for case in cases.iter().filter(|case| case.text.len() < 20_000) {
        let ends: Vec<usize> = case.text.char_indices().map(|(at, _)| at).collect();
        // Every prefix of the small ones, every few bytes of the others.
        for end in ends.iter().step_by(1 + case.text.len() / 200) {
            survives(case, &case.text[..*end]);
        }
        for _ in 0..60 {
            let mut bytes = case.text.clone().into_bytes();
            for _ in 0..=dice.below(4) {
                let (at, other) = (dice.below(bytes.len()), dice.below(bytes.len()));
                match dice.below(6) {
                    0 => bytes[at] ^= 1 << dice.below(7),
                    1 => bytes[at] = b"{}[]:#&*!|>'\"%@`\t\n -,?"[dice.below(22)],
                    2 => drop(bytes.remove(at)),
                    3 => bytes.insert(at, b"{}()#/.~\n "[dice.below(10)]),
                    4 => bytes.swap(at, other),
                    _ => {
                        let piece = bytes[at.min(other)..at.max(other).min(at.min(other) + 40)].to_vec();
                        bytes.splice(at..at, piece);
                    }
                }
            }
            survives(case, &String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn a_thousand_steps_are_planned_in_no_time() {
    let mut text = "apiVersion: aquifer.dev/v1alpha1\nkind: Task\nmetadata: {name: big}\nspec:\n  params: [{name: url, default: 'redis://h'}]\n  steps:\n".to_owned();
    for at in 0..250 {
        let needs = if at == 0 { String::new() } else { format!(", needs: [c{}]", at - 1) };
        let snapshot =
            if at == 0 { "none".to_owned() } else { format!("{{{{ steps.c{}.outputs.snapshot }}}}", at - 1) };
        write!(
            text,
            "    - {{name: a{at}, function: redis-dump, params: {{url: \"{{{{ params.url }}}}\"}}{needs}}}
    - {{name: b{at}, function: compress, stdin: a{at}}}
    - {{name: c{at}, function: restic-push, stdin: b{at}, params: {{repository: r, password: p, tags: [\"{snapshot}\"]}}}}
    - {{name: d{at}, function: exec, needs: [c{at}], params: {{command: [echo, \"{{{{ steps.c{at}.outputs.bytes }}}}\"]}}}}
"
        )
        .expect("a string takes it");
    }
    let started = std::time::Instant::now();
    let (catalog, ..) = load("big.yaml", &text, "");
    let plan = catalog.plan("big", &Inputs::default()).unwrap_or_else(|problems| panic!("{problems}"));
    let took = started.elapsed();
    assert_eq!((plan.steps.len(), plan.pipelines.len()), (1000, 500));
    // Not a measurement (the benchmark makes those): only what grows with the square of the steps takes this long.
    assert!(took.as_secs() < 20, "it took {took:?}, in a debug build");
}

#[test]
fn one_input_makes_one_plan() {
    for case in cases("valid") {
        if let (Some(task), Ok(Some(first))) = (&case.task, planned(&case)) {
            let (catalog, _, inputs, _) = load(&case.name, &case.text, &case.text);
            let second = catalog.plan(task, &inputs).expect("it was planned before");
            assert_eq!(told(&first), told(&second));
        }
    }
}
