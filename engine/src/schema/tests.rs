use jsonschema::Validator;
use serde_json::{Value, json};

use super::*;

fn validator() -> Validator {
    let keep = json!({
        "type": "object",
        "required": ["repository"],
        "additionalProperties": false,
        "properties": {
            "repository": {"type": "string", "format": "uri"},
            "keepLast": {"type": ["integer", "null"], "minimum": 1},
            "tags": {"type": "array", "items": {"type": "integer"}},
            "location": {
                "oneOf": [
                    {"type": "object", "required": ["s3"], "additionalProperties": false,
                     "properties": {"s3": {"type": "object", "required": ["bucket"], "properties": {"bucket": {"type": "string"}}}}},
                    {"type": "object", "required": ["folder"], "additionalProperties": false,
                     "properties": {"folder": {"enum": ["a", "b"]}}},
                ],
            },
        },
    });
    let none = json!({"type": "object"});
    let callables = [
        Callable { name: "keep", summary: "Keeps.", params: &keep },
        Callable { name: "nothing", summary: "Does nothing.", params: &none },
    ];
    let schema = file(&callables);
    jsonschema::meta::validate(&schema).expect("the schema is itself a sound schema");
    jsonschema::validator_for(&schema).expect("the schema has no dangling references")
}

fn task(step: Value) -> Value {
    json!({
        "apiVersion": "aquifer.dev/v1alpha1", "kind": "Task", "metadata": {"name": "t"},
        "spec": {
            "summary": "A task.", "concurrency": 2,
            "params": [{"name": "n", "type": "integer", "default": 7}, {"name": "p", "required": true, "secret": true}],
            "steps": [step],
        },
    })
}

fn function(spec: Value) -> Value {
    json!({"apiVersion": "aquifer.dev/v1alpha1", "kind": "Function", "metadata": {"name": "f"}, "spec": spec})
}

fn step(params: Value) -> Value {
    json!({"name": "s", "function": "keep", "params": params})
}

#[test]
fn what_the_language_allows_is_accepted() {
    let validator = validator();
    for document in [
        task(step(json!({"repository": "r"}))),
        task(step(
            json!({"repository": "{{ params.r }}", "keepLast": "{{ params.n }}", "tags": ["{{ params.n }}", 2]}),
        )),
        task(step(json!({"repository": "r", "tags": "{{ params.tags }}", "location": "{{ params.where }}"}))),
        task(step(json!({"repository": "r", "location": {"folder": "{{ params.where }}"}}))),
        task(step(json!({"repository": "r", "location": {"s3": {"bucket": "b"}}}))),
        task(step(json!([{"name": "repository", "value": "r"}, {"name": "keepLast", "value": 3}]))),
        task(json!({"name": "s", "function": "somebody-elses", "params": {"anything": [1]}})),
        task(json!({
            "name": "s", "function": "nothing", "stdin": "a", "needs": ["b"], "when": "always", "if": "{{ params.n }}",
            "retry": {"attempts": 3, "backoff": "1m 30s"}, "timeout": "2h",
        })),
        function(
            json!({"stdout": "text/csv", "exec": {"command": ["pg_dump", "{{ params.url }}"], "env": {"A": "b"}}}),
        ),
        function(json!({
            "params": [{"name": "recipient", "type": "string", "required": true}],
            "stdin": "any", "stdout": "lock", "outputs": {"id": "{{ steps.lock.outputs.id }}"},
            "steps": [{"name": "lock", "function": "nothing", "stdin": "input"}],
        })),
    ] {
        let problems: Vec<String> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{document}: {problems:?}");
    }
}

#[test]
fn mistakes_are_refused() {
    let validator = validator();
    let with = |mut document: Value, pointer: &str, value: Value| {
        *document.pointer_mut(pointer).expect("the place exists") = value;
        document
    };
    let sound = || task(step(json!({"repository": "r"})));
    for (what, document) in [
        ("another version", with(sound(), "/apiVersion", json!("v1"))),
        ("an unknown kind", with(sound(), "/kind", json!("Job"))),
        ("a name in capitals", with(sound(), "/metadata/name", json!("Task"))),
        ("no steps", with(sound(), "/spec/steps", json!([]))),
        ("no concurrency at all", with(sound(), "/spec/concurrency", json!(0))),
        ("a default of another type", with(sound(), "/spec/params/0/default", json!("seven"))),
        (
            "required with a default",
            with(sound(), "/spec/params/0", json!({"name": "n", "required": true, "default": 1})),
        ),
        ("a secret number", with(sound(), "/spec/params/0", json!({"name": "n", "type": "integer", "secret": true}))),
        ("an unknown field", task(json!({"name": "s", "function": "nothing", "stdout": "x"}))),
        ("a missing param", task(step(json!({"keepLast": 1})))),
        ("no params where one is required", task(json!({"name": "s", "function": "keep"}))),
        ("an unknown param", task(step(json!({"repository": "r", "keepFirst": 1})))),
        ("an unknown param in a list", task(step(json!([{"name": "keepFirst", "value": 1}])))),
        ("a param of another type", task(step(json!({"repository": "r", "keepLast": "three"})))),
        ("a list item of another type", task(step(json!({"repository": "r", "tags": ["one"]})))),
        ("text for params", task(step(json!("repository")))),
        ("an unknown alternative", task(step(json!({"repository": "r", "location": {"gcs": {}}})))),
        ("an unknown when", task(json!({"name": "s", "function": "nothing", "when": "never"}))),
        ("a duration without a unit", task(json!({"name": "s", "function": "nothing", "timeout": "10"}))),
        ("too many attempts", task(json!({"name": "s", "function": "nothing", "retry": {"attempts": 101}}))),
        ("two bodies", function(json!({"builtin": "nothing", "exec": {"command": ["true"]}}))),
        ("no body", function(json!({"summary": "Nothing."}))),
        ("an empty command", function(json!({"exec": {"command": []}}))),
    ] {
        assert!(!validator.is_valid(&document), "{what} was accepted: {document}");
    }
}
