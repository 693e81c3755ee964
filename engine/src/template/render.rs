//! Rendering: an expression to its value, a text to its characters.

use serde_json::Value as Json;

use super::{Expression, Found, Helper, Kind, Names, Part, Reference, Slot, Template, What, is_true};
use crate::diagnostic::Diagnostic;

/// How long a rendered text may be, in bytes: a text that doubles in each of a few composites would fill any memory.
const MAX_TEXT: usize = 1 << 20;

impl Template {
    /// Renders it. What is wrong goes to `problems`; in its place stands a hole, so that one mistake is one message.
    /// Where `null_is_fine`, a template that is one expression may be null.
    pub fn render(&self, names: &dyn Names, null_is_fine: bool, problems: &mut Vec<Diagnostic>) -> Found {
        if let Some(only) = self.whole() {
            let found = evaluate(only, names, problems);
            // The null that a helper gives was asked for; that of a bare name is an accident.
            if !null_is_fine && found.slot == Slot::Known(Json::Null) && matches!(only.what, What::Name(_)) {
                problems.push(null(only, names));
                return Found { slot: Found::hole(None, false).slot, ..found };
            }
            return found;
        }
        let mut text = String::new();
        let (mut hole, mut late, mut secret, mut too_long) = (false, false, false, false);
        // What is too long is not put together first: thousands of pieces may be of that size each.
        let mut add = |more: &str| {
            too_long |= text.len() + more.len() > MAX_TEXT;
            if !too_long {
                text.push_str(more);
            }
        };
        let mut pending: Vec<&Part> = self.parts.iter().rev().collect();
        while let Some(part) = pending.pop() {
            match part {
                Part::Text(more) => add(more),
                Part::Expression(expression) => {
                    let found = evaluate(expression, names, problems);
                    secret |= found.secret;
                    match piece(expression, &found, names, problems) {
                        Some(piece) => add(&piece),
                        None => {
                            hole = true;
                            late |= matches!(found.slot, Slot::Hole(found) if found.late);
                        }
                    }
                }
                Part::If { condition, then, otherwise } => {
                    let found = evaluate(condition, names, problems);
                    secret |= found.secret;
                    match found.slot {
                        Slot::Known(value) => {
                            pending.extend(if is_true(&value) { then } else { otherwise }.iter().rev());
                        }
                        // Both branches are looked at: either may be the one.
                        Slot::Hole(found) => {
                            hole = true;
                            late |= found.late;
                            pending.extend(then.iter().chain(otherwise).rev());
                        }
                    }
                }
            }
        }
        if too_long {
            let span = self.parts.iter().find_map(|part| match part {
                Part::Expression(expression) | Part::If { condition: expression, .. } => Some(expression.span),
                Part::Text(_) => None,
            });
            let message = format!("this template renders to more than {} MiB", MAX_TEXT >> 20);
            let problem = Diagnostic::new("text-too-long", message).help("pass large data through a pipe");
            problems.push(span.map_or(problem.clone(), |span| problem.label(span, "in this template")));
            hole = true;
        }
        let slot = if hole { Found::hole(Some(Kind::String), late).slot } else { Slot::Known(Json::String(text)) };
        Found { slot, secret }
    }
}

/// An expression's value as a piece of text, or none where it is not known.
fn piece(expression: &Expression, found: &Found, names: &dyn Names, problems: &mut Vec<Diagnostic>) -> Option<String> {
    let collection = |kind: &str| {
        let problem = Diagnostic::at(
            expression.span,
            "list-in-text",
            format!("a {kind} cannot become part of a text"),
            format!("this is a {kind}"),
        );
        problem.help("a value that is one expression and nothing else keeps its type: leave out what stands around it")
    };
    match &found.slot {
        Slot::Known(Json::String(text)) => Some(text.clone()),
        Slot::Known(Json::Bool(value)) => Some(value.to_string()),
        Slot::Known(Json::Number(number)) => Some(number.to_string()),
        Slot::Known(Json::Null) => {
            problems.push(null(expression, names));
            None
        }
        Slot::Known(Json::Array(_)) => {
            problems.push(collection("list"));
            None
        }
        Slot::Known(Json::Object(_)) => {
            problems.push(collection("map"));
            None
        }
        Slot::Hole(hole) => {
            if let Some(kind @ (Kind::List | Kind::Map)) = hole.kind {
                problems.push(collection(kind.name()));
            }
            None
        }
    }
}

/// The problem of an expression that is null.
fn null(expression: &Expression, names: &dyn Names) -> Diagnostic {
    let (what, help) = match &expression.what {
        What::Name(reference) => {
            let what = match reference {
                Reference::Env(name) => format!("the environment variable `{name}` is not set"),
                Reference::Param(name) => format!("param `{name}` has no value"),
                Reference::Output { step, field } => format!("output `{field}` of step `{step}` is null"),
                other => format!("`{other}` is null"),
            };
            (what, names.about_null(reference))
        }
        _ => {
            let help = "give `default` a text as its second argument: `''` for none";
            ("this is null, which cannot become part of a text".to_owned(), help.to_owned())
        }
    };
    Diagnostic::at(expression.span, "null-value", what, "null here").help(help)
}

fn evaluate(expression: &Expression, names: &dyn Names, problems: &mut Vec<Diagnostic>) -> Found {
    match &expression.what {
        What::Literal(value) => Found::known(value.clone()),
        What::Broken => Found::hole(None, false),
        What::Name(reference) => names.look_up(reference, expression.span).unwrap_or_else(|problem| {
            problems.push(*problem);
            Found::hole(None, false)
        }),
        What::Call(helper, arguments) => {
            let found: Vec<Found> = arguments.iter().map(|argument| evaluate(argument, names, problems)).collect();
            let secret = found.iter().any(|found| found.secret);
            Found { slot: call(*helper, found), secret }
        }
    }
}

/// A helper's answer. The number of arguments was checked when the template was compiled.
fn call(helper: Helper, arguments: Vec<Found>) -> Slot {
    let late = arguments.iter().any(|found| matches!(found.slot, Slot::Hole(hole) if hole.late));
    let unknown = Found::hole(Some(Kind::Boolean), late).slot;
    let slots: Vec<Slot> = arguments.into_iter().map(|found| found.slot).collect();
    let truths = || slots.iter().map(|slot| if let Slot::Known(value) = slot { Some(is_true(value)) } else { None });
    match helper {
        Helper::Default => match slots.as_slice() {
            [Slot::Known(Json::Null), other] => other.clone(),
            [Slot::Hole(first), other] => {
                let kind = match other {
                    Slot::Known(Json::Null) => first.kind,
                    Slot::Known(value) => first.kind.filter(|kind| kind.fits(value)),
                    Slot::Hole(other) => first.kind.filter(|kind| other.kind == Some(*kind)),
                };
                Found::hole(kind, late).slot
            }
            [first, ..] => first.clone(),
            [] => Slot::Known(Json::Null),
        },
        Helper::Eq => match slots.as_slice() {
            [Slot::Known(a), Slot::Known(b)] => Slot::Known(same(a, b).into()),
            _ => unknown,
        },
        Helper::And if truths().any(|truth| truth == Some(false)) => Slot::Known(false.into()),
        Helper::And if truths().all(|truth| truth == Some(true)) => Slot::Known(true.into()),
        Helper::Or if truths().any(|truth| truth == Some(true)) => Slot::Known(true.into()),
        Helper::Or if truths().all(|truth| truth == Some(false)) => Slot::Known(false.into()),
        Helper::Not => match slots.first() {
            Some(Slot::Known(value)) => Slot::Known((!is_true(value)).into()),
            _ => unknown,
        },
        Helper::And | Helper::Or => unknown,
    }
}

/// Equal, where `1` and `1.0` are.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) if a.is_f64() || b.is_f64() => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}
