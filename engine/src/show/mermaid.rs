//! The plan as a Mermaid flowchart: a box per pipeline, pipes as thick arrows with the stream's type, `needs` as dotted ones.
//! Syntax: <https://mermaid.js.org/syntax/flowchart.html>.

use std::fmt::Write as _;

use super::{function, number};
use crate::plan::{Pipeline, PipelineId, Plan, StepId, When};

/// A flowchart to paste into Markdown between ` ```mermaid ` fences.
pub fn mermaid(plan: &Plan) -> String {
    let mut out = String::from("flowchart TD\n");
    for (place, pipeline) in plan.pipelines.iter().enumerate() {
        let _ = writeln!(out, "  subgraph p{}[\"{}\"]", number(PipelineId(place)), label(&title(pipeline)));
        let _ = writeln!(out, "    direction LR");
        for id in &pipeline.steps {
            let step = plan.step(*id);
            let _ = writeln!(out, "    {}[\"{}<br/>{}\"]", node(*id), label(&step.name), label(&function(step)));
        }
        for id in &pipeline.steps {
            if let Some(from) = plan.step(*id).stdin {
                let _ = writeln!(
                    out,
                    "    {} ==>|\"{}\"| {}",
                    node(from),
                    label(&plan.step(from).stdout.to_string()),
                    node(*id)
                );
            }
        }
        let _ = writeln!(out, "  end");
    }
    for (place, step) in plan.steps.iter().enumerate() {
        let word = match plan.pipeline(step.pipeline).when {
            When::Success => String::new(),
            other => format!("|\"{}\"|", super::when(other)),
        };
        for need in &step.needs {
            let _ = writeln!(out, "  {} -.->{word} {}", node(*need), node(StepId(place)));
        }
    }
    out
}

fn node(id: StepId) -> String {
    format!("s{}", id.0 + 1)
}

/// The pipeline's place, and what is said about its attempts.
fn title(pipeline: &Pipeline) -> String {
    let mut title = pipeline.name.clone();
    if pipeline.attempts > 1 {
        let _ = write!(title, " · {} attempts", pipeline.attempts);
    }
    if let Some(timeout) = pipeline.timeout {
        let _ = write!(title, " · timeout {}", super::duration(timeout));
    }
    title
}

/// Text inside quotes, with what Mermaid reads as syntax written as its entity codes.
fn label(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '"' | '#' | '&' | '<' | '>' | ';' | '`' | '\\' => {
                let _ = write!(out, "#{};", u32::from(c));
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
        out
    })
}
