//! The plan in Graphviz's language: a cluster per pipeline, pipes as solid arrows with the stream's type, `needs` as dashed
//! ones. Grammar: <https://graphviz.org/doc/info/lang.html>.

use std::fmt::Write as _;

use super::{function, number};
use crate::plan::{PipelineId, Plan, StepId, When};

/// A digraph for `dot -Tsvg`.
pub fn dot(plan: &Plan) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "digraph {} {{", quoted(&plan.task));
    let _ = writeln!(out, "  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];");
    let _ = writeln!(out, "  edge [fontname=\"sans-serif\", fontsize=10];");
    for (place, pipeline) in plan.pipelines.iter().enumerate() {
        let _ = writeln!(out, "  subgraph cluster_{} {{", number(PipelineId(place)));
        let _ = writeln!(out, "    label={};", quoted(&pipeline.name));
        for id in &pipeline.steps {
            let step = plan.step(*id);
            let _ = writeln!(
                out,
                "    {} [label={}];",
                quoted(&step.name),
                quoted(&format!("{}\n{}", step.name, function(step)))
            );
        }
        for id in &pipeline.steps {
            let step = plan.step(*id);
            if let Some(from) = step.stdin.map(|from| plan.step(from)) {
                let _ = writeln!(
                    out,
                    "    {} -> {} [label={}, penwidth=2];",
                    quoted(&from.name),
                    quoted(&step.name),
                    quoted(&from.stdout.to_string())
                );
            }
        }
        let _ = writeln!(out, "  }}");
    }
    for (place, step) in plan.steps.iter().enumerate() {
        let word = match plan.pipeline(step.pipeline).when {
            When::Success => String::new(),
            other => format!(", label={}", quoted(super::when(other))),
        };
        for need in &step.needs {
            let to = &plan.step(StepId(place)).name;
            let _ = writeln!(out, "  {} -> {} [style=dashed{word}];", quoted(&plan.step(*need).name), quoted(to));
        }
    }
    out.push_str("}\n");
    out
}

/// A double-quoted id: only the quote and the backslash mean anything inside, and a line break is written `\n`.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
