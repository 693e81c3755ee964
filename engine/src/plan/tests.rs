//! Plans of functions that do nothing: what late params become, what is secret, what a catalog holds.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::{LateScope, Params, Plan, StepId};
use crate::catalog::{Catalog, Inputs, Origin};
use crate::diagnostic::Diagnostics;
use crate::failure::{Failure, FailureKind};
use crate::function::{Call, Function, RunInfo};
use crate::ports::Action;
use crate::registry::Registry;
use crate::secret::{Secret, SecretUrl};
use crate::stream::Streams;

/// Takes one of everything.
struct Note;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only checked, never run")]
struct NoteParams {
    text: Option<String>,
    number: Option<i64>,
    words: Option<Vec<String>>,
    url: Option<SecretUrl>,
    password: Option<Secret>,
    env: Option<BTreeMap<String, Secret>>,
}

#[derive(Serialize, JsonSchema)]
struct NoteOutputs {
    text: String,
    number: i64,
}

impl Function for Note {
    const NAME: &'static str = "note";
    const SUMMARY: &'static str = "Does nothing.";
    const REPEAT: &'static str = "Does nothing again.";
    type Params = NoteParams;
    type Ports = Action;
    type Outputs = NoteOutputs;

    fn streams(_: Option<&NoteParams>) -> Streams {
        Streams::ANY
    }

    async fn run(&self, _: NoteParams, _: Action, _: &Call) -> Result<NoteOutputs, Failure> {
        Err(Failure::internal("never run"))
    }
}

fn catalog(text: &str) -> Catalog {
    let mut catalog = Catalog::new(Registry::new().with(Note));
    catalog.add_text("t.yaml", text);
    catalog
}

fn document(kind: &str, name: &str, spec: &str) -> String {
    format!("apiVersion: aquifer.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n{spec}\n---\n")
}

fn plan(text: &str, inputs: &Inputs) -> Plan {
    catalog(text).plan("t", inputs).unwrap_or_else(|problems| panic!("{problems}"))
}

fn codes(problems: &Diagnostics) -> Vec<&'static str> {
    problems.iter().map(|one| one.code).collect()
}

/// A step's params as a run would render them.
fn rendered(plan: &Plan, step: &str, outputs: &dyn Fn(&str) -> Json) -> Result<Json, Failure> {
    let started: Timestamp = "2026-11-23T10:00:00.987Z".parse().expect("a time");
    let run = RunInfo { id: "r1".into(), task: "t".into(), started };
    let outputs = |id: StepId| outputs(&plan.step(id).name);
    let step = plan.steps.iter().find(|planned| planned.name == step).expect("the step is planned");
    match &step.params {
        Params::Known(value) => Ok(value.clone()),
        Params::Late(late) => late.render(&LateScope { run: &run, outputs: &outputs }),
    }
}

#[test]
fn late_params_are_rendered_in_the_scope_in_which_they_were_written() {
    let text = document(
        "Function",
        "inner",
        "  params: [{name: p, required: true}, {name: n, type: integer}]\n  steps:\n    - {name: a, function: note, params: {text: \"<{{ params.p }}>\", number: \"{{ default params.n null }}\"}}\n    - {name: b, function: note, needs: [a], params: {text: \"{{ steps.a.outputs.text }}\"}}\n  outputs: {both: \"{{ steps.a.outputs.text }}+{{ steps.b.outputs.text }}\"}",
    ) + &document(
        "Function",
        "outer",
        "  params: [{name: p, required: true}]\n  steps:\n    - {name: a, function: inner, params: {p: \"{{ params.p }}!\", n: \"{{ default null 5 }}\"}}\n  outputs: {it: \"{{ steps.a.outputs.both }}\"}",
    ) + &document(
        "Task",
        "t",
        "  steps:\n    - {name: first, function: note}\n    - {name: mid, function: outer, needs: [first], params: {p: \"{{ steps.first.outputs.number }} of {{ run.id }} at {{ run.started }}\"}}\n    - {name: last, function: note, needs: [mid], params: {text: \"{{ steps.mid.outputs.it }}\", words: [\"{{ steps.first.outputs.number }}\"]}}",
    );
    let plan = plan(&text, &Inputs::default());
    let names: Vec<&str> = plan.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["first", "mid/a/a", "mid/a/b", "last"]);
    let outputs = |step: &str| json!({"text": step.to_uppercase(), "number": 7});
    let of = |step| rendered(&plan, step, &outputs).expect("it is rendered");
    assert_eq!(of("mid/a/a"), json!({"text": "<7 of r1 at 2026-11-23T10:00:00Z!>", "number": 5}));
    assert_eq!(of("mid/a/b"), json!({"text": "MID/A/A"}));
    // A number becomes a text where only a text fits, also late.
    assert_eq!(of("last"), json!({"text": "MID/A/A+MID/A/B", "words": ["7"]}));
}

#[test]
fn a_late_null_names_its_place_and_default_asks_about_it() {
    let text = document(
        "Task",
        "t",
        "  steps:\n    - {name: a, function: note}\n    - {name: b, function: note, needs: [a], params: {text: \"{{ steps.a.outputs.text }}\"}}\n    - {name: c, function: note, needs: [a], params: {text: \"{{ default steps.a.outputs.text 'none' }}\", number: \"{{ default steps.a.outputs.number null }}\"}}",
    );
    let plan = plan(&text, &Inputs::default());
    let failure = rendered(&plan, "b", &|_| Json::Null).expect_err("there is no output");
    assert_eq!(failure.kind, FailureKind::Config);
    assert!(failure.message.starts_with("t.yaml:7:64: output `text` of step `a` is null"), "{}", failure.message);
    assert!(failure.help.is_some());
    assert_eq!(rendered(&plan, "c", &|_| Json::Null), Ok(json!({"text": "none"})));
}

#[test]
fn secrets_are_collected_and_shown_nowhere() {
    let text = document(
        "Function",
        "f",
        "  params: [{name: pw, secret: true}]\n  builtin: {function: note, params: {password: \"{{ params.pw }}\", url: \"redis://:{{ params.pw }}@h\"}}",
    ) + &document(
        "Task",
        "t",
        "  params: [{name: word, secret: true, required: true}]\n  steps:\n    - {name: a, function: f, params: {pw: \"x{{ params.word }}\"}}\n    - {name: b, function: note, needs: [a], params: {url: \"redis://u:in-a-url@h\", password: as-written, env: {A: in-a-map}, text: \"{{ steps.a.outputs.text }}\"}}",
    );
    let plan = plan(&text, &Inputs::default().with_text("word", "hush-hush"));
    for secret in ["hush-hush", "xhush-hush", "in-a-url", "as-written", "in-a-map"] {
        assert!(plan.secrets.iter().any(|known| known == secret), "{secret} is not among {:?}", plan.secrets);
        for step in &plan.steps {
            assert!(!step.shown_params().to_string().contains(secret), "{}", step.shown_params());
        }
        assert!(!format!("{plan:?}").contains(secret));
    }
    assert_eq!(plan.steps[1].shown_params()["url"], "redis://u:***@h");
    assert_eq!(rendered(&plan, "a", &|_| Json::Null).expect("known")["url"], "redis://:xhush-hush@h");
}

#[test]
fn a_secret_is_in_no_message() {
    let text = document(
        "Task",
        "t",
        "  params: [{name: pin, secret: true, enum: [\"1111\", \"2222\"]}, {name: pw, secret: true}]\n  steps:\n    - {name: a, function: note, params: {number: \"{{ params.pw }}\", words: \"{{ params.pw }}\"}}",
    );
    let inputs = Inputs::default().with_text("pin", "pin-hush").with_text("pw", "pw-hush");
    let problems = catalog(&text).plan("t", &inputs).expect_err("it is wrong");
    let told =
        format!("{problems}{:?}{}", problems, serde_json::to_string(&problems.to_json()).expect("it is plain data"));
    assert!(!told.contains("-hush"), "{told}");
    assert_eq!(codes(&problems), ["wrong-input", "secret-shown", "secret-shown"]);
    assert!(!format!("{inputs:?}").contains("-hush"));
}

#[test]
fn everything_is_checked_whether_used_or_not() {
    let text = document(
        "Function",
        "unused",
        "  params: [{name: p, type: list, required: true}]\n  builtin: {function: note, params: {text: \"{{ params.p }}\", nmuber: 1}}",
    ) + &document("Task", "other", "  steps: [{name: a, function: nope}]")
        + &document("Task", "t", "  steps: [{name: a, function: note}]");
    let catalog = catalog(&text);
    assert_eq!(codes(&catalog.problems()), ["wrong-type", "unknown-param", "unknown-function"]);
    assert_eq!(codes(&catalog.plan("t", &Inputs::default()).expect_err("the files are wrong")).len(), 3);
}

#[test]
fn a_users_task_hides_a_built_in_one_and_files_are_read_from_folders() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &[u8]| std::fs::write(folder.path().join(name), text).expect("it is written");
    write("b.yml", document("Task", "t", "  summary: Mine.\n  steps: [{name: a, function: note}]").as_bytes());
    write("a.yaml", document("Function", "f", "  builtin: note").as_bytes());
    write("notes.txt", b"not looked at");
    for mine_first in [true, false] {
        let mut catalog = Catalog::new(Registry::new().with(Note));
        let theirs = document("Task", "t", "  steps: [{name: a, function: note}]");
        if mine_first {
            catalog.add_path(folder.path());
            catalog.add_builtin("t", &theirs);
        } else {
            catalog.add_builtin("t", &theirs);
            catalog.add_path(folder.path());
        }
        assert_eq!(codes(&catalog.problems()), Vec::<&str>::new());
        let tasks = catalog.tasks();
        assert_eq!((tasks.len(), tasks[0].origin, tasks[0].summary.as_str()), (1, Origin::User, "Mine."));
        let functions: Vec<String> = catalog.functions().into_iter().map(|function| function.name).collect();
        assert_eq!(functions, ["note", "f"]);
    }
    write("c.yaml", b"\xff\xfe");
    let mut catalog = Catalog::new(Registry::new().with(Note));
    catalog.add_path(folder.path());
    catalog.add_path(&folder.path().join("missing.yaml"));
    let empty = tempfile::tempdir().expect("a folder");
    catalog.add_path(empty.path());
    assert_eq!(codes(&catalog.problems()), ["empty-folder", "unreadable", "unreadable"]);
    assert!(catalog.plan("t", &Inputs::default()).is_err(), "a file that was given and cannot be read is an error");
}

#[test]
fn a_broken_built_in_document_is_found_by_the_programs_own_test() {
    let mut catalog = Catalog::new(Registry::new().with(Note));
    catalog.add_builtin("t", &document("Task", "t", "  steps: [{name: a, function: nope}]"));
    assert_eq!(codes(&catalog.problems()), Vec::<&str>::new());
    assert_eq!(codes(&catalog.builtin_problems()), ["unknown-function"]);
}

#[test]
fn the_environment_is_what_the_inputs_say() {
    let text = document("Task", "t", "  steps: [{name: a, function: note, params: {text: \"{{ env.PATH }}\"}}]");
    assert_eq!(codes(&catalog(&text).plan("t", &Inputs::default()).expect_err("it is not set")), ["null-value"]);
    let plan = plan(&text, &Inputs::default().with_env("PATH", "/x"));
    assert_eq!(plan.steps[0].shown_params(), &json!({"text": "/x"}));
}

#[test]
fn steps_that_are_left_out_hold_nothing_back() {
    let text = document(
        "Task",
        "t",
        "  params: [{name: on, type: boolean, default: false}]\n  steps:\n    - {name: a, function: note, if: \"{{ params.on }}\"}\n    - {name: b, function: note, needs: [a], params: {text: \"{{ default steps.a.outputs.text 'none' }}\"}}\n    - {name: c, function: note, needs: [b], if: \"{{#if params.on}}true{{else}}false{{/if}}\"}\n    - {name: d, function: note, needs: [c], if: true}",
    );
    let names = |inputs: &Inputs| plan(&text, inputs).steps.iter().map(|step| step.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&Inputs::default()), ["b", "d"]);
    assert_eq!(names(&Inputs::default().with_text("on", "true")), ["a", "b", "c", "d"]);
    let off = plan(&text, &Inputs::default());
    assert_eq!(off.steps[0].shown_params(), &json!({"text": "none"}));
    assert!(off.pipelines[1].after.is_empty());
}

/// `levels` functions, each of which uses the one before `width` times, with a text that is `times` as long.
fn nested(levels: usize, width: usize, times: usize) -> String {
    let mut text = "apiVersion: aquifer.dev/v1alpha1\nkind: Function\nmetadata: {name: f0}\nspec: {params: [{name: p}], builtin: {function: note, params: {text: \"{{ default params.p '' }}\"}}}\n".to_owned();
    let p = "{{ default params.p 0 }}".repeat(times);
    for level in 1..=levels {
        let step = |at| format!("{{name: s{at}, function: f{}, params: {{p: '{p}'}}}}", level - 1);
        let steps: Vec<String> = (0..width).map(step).collect();
        text += &format!(
            "---\napiVersion: aquifer.dev/v1alpha1\nkind: Function\nmetadata: {{name: f{level}}}\nspec: {{params: [{{name: p}}], steps: [{}]}}\n",
            steps.join(", ")
        );
    }
    text + &format!(
        "---\napiVersion: aquifer.dev/v1alpha1\nkind: Task\nmetadata: {{name: t}}\nspec: {{steps: [{{name: a, function: f{levels}, params: {{p: xxxxxxxxxx}}}}]}}\n"
    )
}

#[test]
fn composites_that_grow_beyond_all_bounds_are_not_unfolded_first() {
    // Ten thousand million steps, and texts of gigabytes: it ends, or this test does not.
    for (text, code) in [(nested(10, 10, 1), "too-many-steps"), (nested(14, 2, 2), "too-much-text")] {
        let mut catalog = Catalog::new(Registry::new().with(Note));
        catalog.add_text("nested.yaml", &text);
        let problems = catalog.plan("t", &Inputs::default()).expect_err("too much").to_string();
        assert!(problems.contains(code), "{code}: {}", &problems[..problems.len().min(2000)]);
    }
}
