//! The grammar of documents as in `docs/language.md`, without what depends on the functions there are.

use serde_json::{Map, Value, json};

/// The outermost object: one document.
pub(super) fn root() -> Map<String, Value> {
    let kind = |kind: &str, spec: &str| {
        json!({
            "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
            "then": {"properties": {"spec": {"$ref": format!("#/$defs/{spec}")}}},
        })
    };
    object(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Aquifer Task or Function",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": false,
        "properties": {
            "apiVersion": {"const": "aquifer.dev/v1alpha1"},
            "kind": {"enum": ["Task", "Function"]},
            "metadata": {"$ref": "#/$defs/metadata"},
            "spec": {"type": "object"},
        },
        "allOf": [kind("Task", "task"), kind("Function", "function")],
    }))
}

/// A name of a task, function or step.
pub(super) fn name() -> Value {
    json!({"type": "string", "pattern": "^[a-z0-9-]{1,63}$"})
}

/// Everything that [`root`] refers to, but for what depends on the functions there are.
pub(super) fn definitions() -> Map<String, Value> {
    object(json!({
        "template": {
            "type": "string",
            "pattern": "\\{\\{",
            "description": "A template: its value is known when the plan is made, or when the step starts.",
        },
        "duration": {
            "type": "string",
            "pattern": "^ *[0-9]+ *[A-Za-zµ]+( *[0-9]+ *[A-Za-zµ]+)* *$",
            "examples": ["10s", "5m", "1h 30m"],
        },
        "metadata": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": false,
            "properties": {
                "name": described(name(), "Lower-case letters, digits and hyphens, at most 63 characters."),
                "labels": {"type": "object", "description": "Kept, and not looked at."},
                "annotations": {"type": "object", "description": "Kept, and not looked at."},
            },
        },
        "task": task(),
        "function": function(),
        "param": param(),
        "step": step(),
        "writtenParams": {
            "type": ["object", "array"],
            "description": "The function's params: a map, or a list of `{name, value}`.",
        },
        "streamType": {
            "type": "string",
            "description": "A media type and what wraps it.",
            "examples": ["application/octet-stream", "text/csv+zstd"],
        },
    }))
}

fn task() -> Value {
    json!({
        "type": "object",
        "required": ["steps"],
        "additionalProperties": false,
        "properties": {
            "summary": {"type": "string", "description": "One sentence for lists."},
            "params": {"type": "array", "items": {"$ref": "#/$defs/param"}, "description": "What a user may set."},
            "steps": steps(),
            "concurrency": {
                "type": "integer", "minimum": 1, "default": 8,
                "description": "How many pipelines may run at once.",
            },
        },
    })
}

fn steps() -> Value {
    json!({"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/step"}})
}

fn param() -> Value {
    // A default, and each value in `enum`, must be of the declared type; a template is none of the language's defaults.
    let typed = ["integer", "number", "boolean", "list", "map"].map(|name| {
        let json_type = match name {
            "list" => "array",
            "map" => "object",
            other => other,
        };
        json!({
            "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
            "then": {"properties": {"default": {"type": json_type}, "enum": {"items": {"type": json_type}}}},
        })
    });
    let mut rules = typed.to_vec();
    rules.push(json!({
        "if": {"properties": {"required": {"const": true}}, "required": ["required"]},
        "then": {"properties": {"default": false}},
    }));
    rules.push(json!({
        "if": {"properties": {"secret": {"const": true}}, "required": ["secret"]},
        "then": {"properties": {"type": {"const": "string"}}},
    }));
    json!({
        "type": "object",
        "required": ["name"],
        "additionalProperties": false,
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "type": {"enum": ["string", "integer", "number", "boolean", "list", "map"], "default": "string"},
            "default": {"description": "What holds where it is not given."},
            "required": {"type": "boolean", "default": false},
            "enum": {"type": "array", "minItems": 1, "description": "The only values that it may have."},
            "secret": {
                "type": "boolean", "default": false,
                "description": "Its value is never shown; only places that never show it may use it.",
            },
            "summary": {"type": "string"},
        },
        "allOf": rules,
    })
}

fn step() -> Value {
    json!({
        "type": "object",
        "required": ["name", "function"],
        "additionalProperties": false,
        "properties": {
            "name": described(name(), "Unique within the task."),
            "function": {"$ref": "#/$defs/functionName"},
            "params": {"$ref": "#/$defs/writtenParams"},
            "stdin": described(name(), "The step whose stdout it reads; inside a composite Function also `input`."),
            "needs": {
                "type": "array", "items": {"type": "string"},
                "description": "The steps that it waits for.",
            },
            "when": {
                "enum": ["success", "failure", "always"], "default": "success",
                "description": "Of what it depends on: none failed, one failed, or all have ended.",
            },
            "if": {
                "description": "A template; where it renders to false, null or nothing, the step is left out of the plan.",
            },
            "retry": {
                "type": "object",
                "additionalProperties": false,
                "description": "Of the whole pipeline.",
                "properties": {
                    "attempts": {
                        "type": "integer", "minimum": 1, "maximum": 100,
                        "description": "How many there are, the first one counted.",
                    },
                    "backoff": {
                        "$ref": "#/$defs/duration", "default": "1s",
                        "description": "Before the second attempt; doubles after each, up to an hour.",
                    },
                },
            },
            "timeout": {"$ref": "#/$defs/duration", "description": "Of one attempt of the whole pipeline."},
        },
        "allOf": [{"$ref": "#/$defs/paramsByFunction"}],
    })
}

fn function() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "summary": {"type": "string", "description": "One sentence for lists."},
            // Of a built-in's: its params as a step writes them. They share the key with the Function's own declarations,
            // which are always a list of maps with a `name`, so the alternatives below tell them apart.
            "params": {"type": ["array", "object"]},
            "builtin": {"$ref": "#/$defs/functionName"},
            "exec": exec(),
            "steps": steps(),
            "stdin": described(json!({"$ref": "#/$defs/streamType"}), "What it reads; `any` takes everything."),
            "stdout": {
                "type": "string",
                "description": "With `exec`: the type of what it writes. With `steps`: the step inside whose stdout is its own.",
            },
            "outputs": {
                "type": "object",
                "additionalProperties": true,
                "description": "What inner steps put out, for later steps.",
            },
        },
        "oneOf": [{"required": ["builtin"]}, {"required": ["exec"]}, {"required": ["steps"]}],
    })
}

fn exec() -> Value {
    json!({
        "type": "object",
        "required": ["command"],
        "additionalProperties": false,
        "properties": {
            "command": {
                "type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean"]},
                "description": "The program and its arguments; no shell reads them.",
            },
            "env": {"type": "object", "description": "Environment variables to add; secrets go here."},
            "dir": {"type": "string", "description": "The folder to run in."},
        },
    })
}

fn described(mut schema: Value, description: &str) -> Value {
    schema["description"] = description.into();
    schema
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
