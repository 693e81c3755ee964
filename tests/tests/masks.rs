//! Promise 6 for what is written out in a definition: a message about a mistake shows the line it is in, and a secret that
//! stands on that line is masked.

use aquifer_engine::catalog::{Catalog, Inputs};
use miette::{GraphicalReportHandler, GraphicalTheme};

const SECRET: &str = "hunter2";

/// What a person sees of the problems with a text.
fn told(text: &str) -> String {
    let mut catalog = Catalog::new(aquifer_functions::builtins());
    catalog.add_text("it.yaml", text);
    let task = catalog.tasks().first().map(|task| task.name.clone()).unwrap_or_default();
    let problems = catalog.plan(&task, &Inputs::default()).expect_err("there is a mistake");
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(200);
    let mut told = format!("{problems:?}\n{:?}\n", problems.to_json());
    for report in problems.reports() {
        handler.render_report(&mut told, report.as_ref()).expect("it can be rendered");
    }
    told
}

fn task(params: &str, steps: &str) -> String {
    format!(
        "apiVersion: aquifer.dev/v1alpha1\nkind: Task\nmetadata: {{name: it}}\nspec:\n  params: [{params}]\n  steps:\n{steps}\n"
    )
}

/// `hunter2` is masked, and the line that it stands on is shown.
fn masked(what: &str, text: &str) {
    let told = told(text);
    assert!(!told.contains(SECRET), "{what}: {told}");
    assert!(told.contains("****"), "{what}: nothing was masked, so this proves nothing: {told}");
}

#[test]
fn secrets_of_steps_are_masked() {
    let cases = [
        (
            "a misspelt param beside it",
            "{name: s, function: redis-digest, params: {url: redis://h, password: hunter2, databsaes: [1]}}",
        ),
        ("a type error at it", "{name: s, function: redis-digest, params: {url: redis://h, password: [hunter2]}}"),
        ("its own name misspelt", "{name: s, function: redis-digest, params: {url: redis://h, pasword: hunter2}}"),
        (
            "as a list of params",
            "{name: s, function: redis-digest, params: [{name: password, value: hunter2}, {name: x, value: 1}]}",
        ),
        ("an unknown function", "{name: s, function: redis-digset, params: {url: redis://h, password: hunter2}}"),
        ("no function", "{name: s, params: {password: hunter2}}"),
        ("no name", "{function: redis-digest, params: {password: hunter2}}"),
        (
            "a key that stands twice",
            "{name: s, function: redis-digest, params: {password: hunter2, password: hunter2}}",
        ),
        ("a whole step that is wrong", "{name: s, name: s, function: redis-digest, params: {password: hunter2}}"),
        ("a URL", "{name: s, function: redis-digest, params: {url: 'redis://u:hunter2@h', databsaes: [1]}}"),
        ("a URL with a slash", "{name: s, function: redis-digest, params: {url: 'redis://u:/hunter2@h', x: [1]}}"),
        (
            "a URL with an @ and a slash",
            "{name: s, function: redis-digest, params: {url: 'redis://u:x@y/hunter2@h', databases: [1]}}",
        ),
        ("a URL that is none", "{name: s, function: redis-digest, params: {url: 'rdis://u:hunter2@h'}}"),
        ("a comment", "{name: s, function: redis-digset} # redis://u:hunter2@h"),
        ("an environment", "{name: s, function: exec, params: {command: [x], env: {A: hunter2, B: 1}, comand: []}}"),
        (
            "inside a template",
            "{name: s, function: redis-digest, params: {url: redis://h, password: \"{{ default params.p 'hunter2' }}\", x: 1}}",
        ),
        (
            "around a template",
            "{name: s, function: redis-digest, params: {url: redis://h, password: \"a{{ params.p }}hunter2\", x: 1}}",
        ),
        (
            "by an alias",
            "{name: s, function: redis-digest, if: &p hunter2, params: {url: redis://h, password: *p, x: 1}}",
        ),
    ];
    for (what, step) in cases {
        masked(what, &task("{name: p}", &format!("    - {step}")));
    }
    let block = "    - name: s\n      function: redis-digest\n      params:\n        password: |\n          hunter2\n          hunter2\n        x: 1";
    masked("a block", &task("", block));
}

#[test]
fn declared_secrets_are_masked() {
    let step = "    - {name: s, function: redis-digest, params: {url: redis://h, password: '{{ params.p }}'}}";
    for (what, param) in [
        ("a field beside it", "{name: p, secret: true, default: hunter2, sumary: x}"),
        ("its type", "{name: p, secret: true, type: integer, default: hunter2}"),
        ("its values", "{name: p, secret: true, enum: [hunter2], default: other}"),
        ("`secret` misspelt", "{name: p, secert: true, default: hunter2}"),
        ("`default` misspelt", "{name: p, secret: true, defualt: hunter2}"),
        ("not declared, and used as one", "{name: p, default: hunter2, sumary: x}"),
    ] {
        masked(what, &task(param, step));
    }
}

#[test]
fn a_text_that_is_no_yaml_is_masked_by_its_lines() {
    for (what, text) in [
        ("a bracket", "{name: s, function: redis-digest, params: {password: hunter2, databases: [1}}"),
        ("a quote", "{name: s, function: redis-digest, params: {password: \"hunter2}}"),
        ("a second colon", "{name: s, function: redis-digest, params: {password: hunter2: x}}"),
        ("a list", "{name: s, function: redis-digest, params: [{name: password, value: hunter2: x}]}"),
    ] {
        masked(what, &task("", &format!("    - {text}")));
    }
    masked("a block", &task("", "    - password:\n        hunter2\n      x: ]"));
    masked("a declaration", "spec:\n  params: [{name: p, secret: true, default: hunter2}]]\n");
}

#[test]
fn what_is_no_secret_is_shown() {
    let text = task(
        "{name: p, secret: true}",
        "    - {name: s, function: redis-digest, params: {url: redis://host, password: '{{ params.p }}', x: 1}}",
    );
    let told = told(&text);
    assert!(told.contains("url: redis://host, password: '{{ params.p }}', x: 1") && !told.contains('*'), "{told}");
}
