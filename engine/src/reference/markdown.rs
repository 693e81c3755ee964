//! A function's page in Markdown, as it stands in `docs/reference/functions/`.

use std::fmt::Write as _;

use super::{Field, Reference};

pub(super) fn page(function: &Reference) -> String {
    let mut out = format!("# {}\n\n{}\n\n", function.name, function.summary);
    let _ = writeln!(out, "| end | |\n|---|---|");
    let _ = writeln!(out, "| stdin | {} |", cell(function.stdin.as_deref().unwrap_or("none")));
    let _ = writeln!(out, "| stdout | {} |", cell(function.stdout.as_deref().unwrap_or("none")));
    out.push_str("\n## Params\n\n");
    if function.params.is_empty() {
        out.push_str("None.\n");
    } else {
        out.push_str("| name | type | default | meaning |\n|---|---|---|---|\n");
        for field in &function.params {
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {} |",
                field.path,
                cell(&field.type_words()),
                default(field),
                cell(&field.description)
            );
        }
    }
    out.push_str("\n## Outputs\n\n");
    if function.outputs.is_empty() {
        out.push_str("None.\n");
    } else {
        out.push_str("| name | type | meaning |\n|---|---|---|\n");
        for field in &function.outputs {
            let _ =
                writeln!(out, "| `{}` | {} | {} |", field.path, cell(&field.type_words()), cell(&field.description));
        }
    }
    if let Some(repeat) = &function.repeat {
        let _ = write!(out, "\n## Run again\n\n{repeat}\n");
    }
    out
}

fn default(field: &Field) -> String {
    match field.need() {
        need if field.required => format!("**{need}**"),
        need if need.is_empty() => need,
        need => format!("`{}`", cell(&need)),
    }
}

/// Text that stays inside its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
