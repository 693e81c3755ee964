//! What every built-in function keeps to, asked of whatever is registered: names, sentences, schemas, secrets, files.
//!
//! A rule that a function has a reason not to keep is waived in [`WAIVERS`], with the reason; a waiver that is not needed
//! (any more) fails too.

use std::collections::BTreeSet;
use std::path::Path;

use aquifer_engine::registry::FunctionInfo;
use aquifer_engine::secret::SCHEMA_KEY;
use aquifer_functions::builtins;
use serde_json::{Map, Value, json};

/// `(function, rule and place, reason)`.
const WAIVERS: &[(&str, &str, &str)] = &[
    ("upload", "synonym params.location.folder:", BESIDE_S3),
    ("download", "synonym params.location.folder:", BESIDE_S3),
    ("restic-push", "synonym params.repository.folder:", BESIDE_S3),
    ("restic-pull", "synonym params.repository.folder:", BESIDE_S3),
    ("restic-join", "synonym params.repository.folder:", BESIDE_S3),
    ("restic-forget", "synonym params.repository.folder:", BESIDE_S3),
    ("restic-check", "synonym params.repository.folder:", BESIDE_S3),
    ("restic-snapshots", "synonym params.repository.folder:", BESIDE_S3),
    ("restic-stats", "synonym params.repository.folder:", BESIDE_S3),
    ("restic-key", "synonym params.repository.folder:", BESIDE_S3),
    ("restic-unlock", "synonym params.repository.folder:", BESIDE_S3),
    ("restic-wipe", "synonym params.repository.folder:", BESIDE_S3),
    ("restic-prune", "synonym params.repository.folder:", BESIDE_S3),
    ("restic-copy", "synonym params.from.repository.folder:", BESIDE_S3),
    ("restic-copy", "synonym params.to.repository.folder:", BESIDE_S3),
];

const BESIDE_S3: &str = "it says which kind of place it is, beside `s3`";

/// What a param is called, and what it is therefore not called.
const CANONICAL: &[(&str, &[&str])] = &[
    ("url", &["uri", "address", "addr", "endpointUrl", "connection", "connectionString"]),
    ("path", &["file", "filePath", "pathname"]),
    ("dir", &["directory", "folder", "cwd", "workdir", "workingDir"]),
    ("repository", &["repo"]),
    ("username", &["user", "login", "userName"]),
    ("password", &["pass", "passwd", "pwd"]),
    ("timeout", &["timeoutSeconds", "deadline", "timeLimit"]),
    ("recipients", &["recipient"]),
    ("caFile", &["ca", "caCert", "cacert", "caPath"]),
    ("certFile", &["cert", "clientCert"]),
    ("keyFile", &["clientKey"]),
    ("overwrite", &["force", "replaceExisting"]),
    ("dryRun", &["dry", "noop"]),
    ("env", &["environment", "envs"]),
];

/// One broken rule.
type Problem = String;

fn is_secret_name(name: &str) -> bool {
    let lower = name.to_lowercase();
    // A file's name, and how something about a secret is done, are no secrets.
    if lower.ends_with("file") || lower.ends_with("path") || lower.ends_with("command") {
        return false;
    }
    ["password", "passphrase", "secret", "token", "identities", "credential", "privatekey", "accesskey"]
        .iter()
        .any(|part| lower.contains(part))
        // Names of keys, as users have names.
        && !matches!(&*lower, "accesskeyid" | "applicationcredentialid")
}

/// Walks a schema; `place` is the path to it.
fn walk(schema: &Value, place: &str, inputs: bool, problems: &mut Vec<Problem>) {
    let Some(schema) = schema.as_object() else { return };
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        if inputs && schema.get("additionalProperties") != Some(&json!(false)) {
            problems.push(format!("open {place}: an unknown key would be taken without a word"));
        }
        for (name, property) in properties {
            let place = format!("{place}.{name}");
            if !is_tag(property) && text(property, "description").is_none_or(str::is_empty) {
                problems.push(format!("description {place}: there is none"));
            }
            if !is_camel(name) {
                problems.push(format!("case {place}: not camelCase"));
            }
            if inputs {
                if let Some((canonical, _)) = CANONICAL.iter().find(|(_, others)| others.contains(&name.as_str())) {
                    problems.push(format!("synonym {place}: elsewhere it is called `{canonical}`"));
                }
                if is_secret_name(name) && !holds_secret(property) {
                    problems.push(format!("secret {place}: it would be shown (`{SCHEMA_KEY}` is missing)"));
                }
            } else if is_secret_name(name) {
                problems.push(format!("secret {place}: outputs are shown"));
            }
            walk(property, &place, inputs, problems);
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(key) {
            walk(inner, &format!("{place}[]"), inputs, problems);
        }
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        for inner in schema.get(key).and_then(Value::as_array).into_iter().flatten() {
            walk(inner, place, inputs, problems);
        }
    }
    if schema.contains_key("$ref") {
        problems.push(format!("ref {place}: definitions must be inlined"));
    }
}

fn text<'v>(schema: &'v Value, key: &str) -> Option<&'v str> {
    schema.get(key).and_then(Value::as_str)
}

/// The discriminator of a tagged enum: one constant, which the variant's own description explains.
fn is_tag(property: &Value) -> bool {
    property.get("const").is_some()
}

fn is_camel(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(|c| c.is_ascii_alphanumeric())
}

/// True where the value, or each value in the list, map or choice, is marked.
fn holds_secret(schema: &Value) -> bool {
    let marked = |schema: &Map<String, Value>| schema.get(SCHEMA_KEY) == Some(&json!(true));
    let Some(object) = schema.as_object() else { return false };
    let inner = ["items", "additionalProperties"].iter().filter_map(|key| object.get(*key));
    let choices = ["anyOf", "oneOf"].iter().filter_map(|key| object.get(*key)).filter_map(Value::as_array).flatten();
    marked(object)
        || inner.into_iter().any(holds_secret)
        || choices.filter(|choice| text(choice, "type") != Some("null")).any(holds_secret)
        // A whole group of fields: each of those that are secret is asked by itself.
        || object.contains_key("properties")
        || text(schema, "type") == Some("boolean")
}

fn sentences(info: &FunctionInfo, problems: &mut Vec<Problem>) {
    for (what, sentence) in [("summary", info.summary), ("repeat", info.repeat)] {
        if sentence.len() < 10 || !sentence.ends_with('.') || sentence.contains('\n') {
            problems.push(format!("{what} : `{sentence}` is not one sentence with a full stop"));
        }
        if !sentence.starts_with(|c: char| c.is_uppercase()) {
            problems.push(format!("{what} : `{sentence}` begins without a capital"));
        }
    }
}

fn file(info: &FunctionInfo, problems: &mut Vec<Problem>) {
    let path = format!("src/{}.rs", info.name.replace('-', "_"));
    if !Path::new(env!("CARGO_MANIFEST_DIR")).join(&path).is_file() {
        problems.push(format!("file : there is no `functions/{path}`"));
    }
    let parts_are_words =
        info.name.split('-').all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()));
    if !parts_are_words {
        problems.push(format!("name : `{}` is not lower-case words joined by hyphens", info.name));
    }
}

#[test]
fn every_function_keeps_the_contract() {
    let registry = builtins();
    let (mut broken, mut used) = (Vec::new(), BTreeSet::new());
    for function in registry.iter() {
        let info = function.info();
        let mut problems = Vec::new();
        file(info, &mut problems);
        sentences(info, &mut problems);
        walk(info.params.as_value(), "params", true, &mut problems);
        walk(info.outputs.as_value(), "outputs", false, &mut problems);
        let unknown = json!({"noSuchParam": 1});
        match function.prepare(unknown) {
            Err(error) if error.message.contains("noSuchParam") => {}
            Err(error) => problems.push(format!("unknown : an unknown key is refused, but not by its name: {error}")),
            Ok(_) => problems.push("unknown : an unknown key is taken without a word".to_owned()),
        }
        if function.prepare(json!("text")).is_ok() || function.prepare(json!(1)).is_ok() {
            problems.push("shape : params that are no map are taken".to_owned());
        }
        for problem in problems {
            let waived = WAIVERS.iter().position(|(name, rule, _)| *name == info.name && problem.starts_with(rule));
            match waived {
                Some(at) => drop(used.insert(at)),
                None => broken.push(format!("{}: {problem}", info.name)),
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let unused: Vec<_> = WAIVERS.iter().enumerate().filter(|(at, _)| !used.contains(at)).collect();
    assert!(unused.is_empty(), "these waivers are not needed: {unused:?}");
    assert!(WAIVERS.iter().all(|(_, _, reason)| !reason.is_empty()));
}

#[test]
fn the_walk_sees_what_it_is_for() {
    let bad = json!({
        "type": "object",
        "properties": {
            "uri": {"type": "string", "description": "Where."},
            "password": {"type": ["string", "null"], "description": "Shown."},
            "nested_one": {"anyOf": [{"type": "object", "properties": {"token": {"type": "string"}}}, {"type": "null"}]},
        },
    });
    let mut problems = Vec::new();
    walk(&bad, "params", true, &mut problems);
    for rule in [
        "open params:",
        "synonym params.uri:",
        "secret params.password:",
        "description params.nested_one:",
        "case params.nested_one:",
        "open params.nested_one:",
        "description params.nested_one.token:",
        "secret params.nested_one.token:",
    ] {
        assert!(problems.iter().any(|problem| problem.starts_with(rule)), "{rule} {problems:#?}");
    }
    assert_eq!(problems.len(), 8, "{problems:#?}");
    let good = json!({"type": "object", "additionalProperties": false, "properties": {
        "password": {"description": "Hidden.", "type": ["string", "null"], "x-secret": true},
        "identities": {"description": "Hidden.", "type": "array", "items": {"type": "string", "x-secret": true}},
        "passwordFile": {"description": "A file's name.", "type": "string"},
    }});
    let mut problems = Vec::new();
    walk(&good, "params", true, &mut problems);
    assert!(problems.is_empty(), "{problems:#?}");
}
