//! What fits, and what is said of what does not.

use serde_json::json;

use super::*;
use crate::document::node::parse;
use crate::source::Sources;
use crate::template::{Found, Names, Reference, Tree};

/// `params.secret` is one; `params.integer` and the like will be of that type; nothing else is known.
struct Holes;

impl Names for Holes {
    fn look_up(&self, reference: &Reference, _: Span) -> Result<Found, Box<Diagnostic>> {
        let Reference::Param(name) = reference else { return Ok(Found::hole(None, true)) };
        let kind = Kind::ALL.iter().find(|(known, _)| known == name).map(|(_, kind)| *kind);
        Ok(Found { secret: name == "secret", ..Found::hole(kind, true) })
    }
}

fn codes(schema: &Json, text: &str) -> Vec<(&'static str, String)> {
    let mut sources = Sources::default();
    let id = sources.add("t.yaml", text);
    let mut problems = Vec::new();
    let nodes = parse(id, text, &mut problems);
    let given = Tree::compile(&nodes[0], text, &mut problems).render(&Holes, &mut problems).fitted(schema);
    check(Taker { name: "f", span: Span::new(id, 0, 1) }, schema, &given, &mut problems);
    problems.iter().map(|one| (one.code, sources.slice(one.labels[0].span).to_owned())).collect()
}

fn schema() -> Json {
    json!({
        "type": "object", "additionalProperties": false, "required": ["name"],
        "properties": {
            "name": {"type": "string"},
            "size": {"type": ["integer", "null"], "minimum": 1},
            "share": {"type": "number"},
            "mode": {"anyOf": [{"oneOf": [{"const": "a"}, {"const": "b"}]}, {"type": "null"}]},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "keys": {"type": "array", "items": {"type": "string", "x-secret": true}},
            "url": {"anyOf": [{"type": "string", "x-secret": "userinfo"}, {"type": "null"}]},
            "to": {"oneOf": [
                {"type": "object", "required": ["s3"], "additionalProperties": false, "properties": {"s3": {"type": "object", "required": ["bucket"], "properties": {"bucket": {"type": "string"}}}}},
                {"type": "object", "required": ["file"], "additionalProperties": false, "properties": {"file": {"type": "string"}}},
            ]},
            "tagged": {"oneOf": [
                {"type": "object", "required": ["type", "x"], "properties": {"type": {"const": "one"}, "x": {"type": "integer"}}},
                {"type": "object", "required": ["type", "y"], "properties": {"type": {"const": "two"}, "y": {"type": "integer"}}},
            ]},
            "either": {"type": ["string", "integer"]},
            "any": true,
        },
    })
}

#[test]
fn what_fits_passes() {
    for text in [
        "{name: n}",
        "{name: n, size: null, mode: ~}",
        "{name: n, size: 3, share: 2, mode: b, labels: {a: b}, keys: [k], url: u, to: {file: f}, tagged: {type: two, y: 1}, either: 7, any: [1, {}]}",
        "{name: '{{ params.integer }}', size: '{{ params.number }}', share: '{{ params.integer }}', mode: '{{ params.string }}', keys: ['{{ params.secret }}'], url: 'x://:{{ params.secret }}@h', to: '{{ params.map }}', any: '{{ run.id }}'}",
    ] {
        assert_eq!(codes(&schema(), text), [], "{text}");
    }
}

#[test]
fn what_does_not_fit_is_marked() {
    for (text, code, place) in [
        ("{}", "missing-param", "{"),
        ("{name: null}", "missing-param", "{"),
        ("{name: 7}", "wrong-type", "7"),
        ("{name: n, Size: 1}", "unknown-param", "Size"),
        ("{name: n, size: 0}", "out-of-range", "0"),
        ("{name: n, size: 1.5}", "wrong-type", "1.5"),
        ("{name: n, mode: c}", "unknown-value", "c"),
        ("{name: n, mode: 1}", "wrong-type", "1"),
        ("{name: n, mode: [a]}", "wrong-type", "[a]"),
        ("{name: n, labels: {a: 1}}", "wrong-type", "1"),
        ("{name: n, labels: [a]}", "wrong-type", "[a]"),
        ("{name: n, to: {s3: {}}}", "missing-param", "{}"),
        ("{name: n, to: {s3: {bucket: b}, file: f}}", "two-values", "{s3: {bucket: b}, file: f}"),
        ("{name: n, to: {}}", "unknown-value", "{}"),
        ("{name: n, to: text}", "wrong-type", "text"),
        ("{name: n, tagged: {type: one, x: a}}", "wrong-type", "a"),
        ("{name: n, size: '{{ params.list }}'}", "wrong-type", "'{{ params.list }}'"),
        ("{name: n, size: '{{ params.string }}'}", "wrong-type", "'{{ params.string }}'"),
        ("{name: '{{ params.secret }}'}", "secret-shown", "'{{ params.secret }}'"),
        ("{name: n, labels: {a: 'x{{ params.secret }}'}}", "secret-shown", "'x{{ params.secret }}'"),
        ("[a]", "wrong-type", "[a]"),
    ] {
        assert_eq!(
            codes(&schema(), text).first(),
            Some(&(code, place.to_owned())),
            "{text}: {:?}",
            codes(&schema(), text)
        );
    }
}
