//! A function's page as text for a terminal: the same facts, wrapped to its width.

use std::fmt::Write as _;

use super::{Field, Reference};

/// Narrower than this, text is let run over the edge instead of being cut into slivers.
const NARROWEST: usize = 40;

pub(super) fn page(function: &Reference, columns: usize) -> String {
    let columns = columns.max(NARROWEST);
    let mut out = format!("{} ({})\n", function.name, function.shape());
    wrapped(&mut out, &function.summary, 2, columns);
    out.push('\n');
    let _ = writeln!(out, "stdin    {}", function.stdin.as_deref().unwrap_or("none"));
    let _ = writeln!(out, "stdout   {}", function.stdout.as_deref().unwrap_or("none"));
    section(&mut out, "params", &function.params, columns);
    section(&mut out, "outputs", &function.outputs, columns);
    if let Some(repeat) = &function.repeat {
        out.push_str("\nrun again\n");
        wrapped(&mut out, repeat, 2, columns);
    }
    out
}

fn section(out: &mut String, title: &str, fields: &[Field], columns: usize) {
    if fields.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{title}");
    for field in fields {
        let need = match field.need() {
            need if need.is_empty() || field.required => need,
            need => format!("default {need}"),
        };
        let facts = [field.type_words(), need];
        let facts: Vec<&str> = facts.iter().map(String::as_str).filter(|fact| !fact.is_empty()).collect();
        let _ = writeln!(out, "  {}  ({})", field.path, facts.join("; "));
        wrapped(out, &field.description, 6, columns);
    }
}

/// Words in lines of at most this many columns.
fn wrapped(out: &mut String, text: &str, indent: usize, columns: usize) {
    let mut used = 0;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if used > 0 && used + 1 + width > columns {
            out.push('\n');
            used = 0;
        }
        if used == 0 {
            let _ = write!(out, "{:indent$}{word}", "");
            used = indent + width;
        } else {
            let _ = write!(out, " {word}");
            used += 1 + width;
        }
    }
    if used > 0 {
        out.push('\n');
    }
}
