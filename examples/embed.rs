//! Embeds the engine: a function of our own beside the built-in ones, and a run of a Task. `cargo run --example embed`

use aquifer_engine::ports::Sink;
use aquifer_engine::{Call, Catalog, Failure, Function, Inputs, NoParams, RunOptions, run};
use schemars::JsonSchema;
use serde::Serialize;

const TASK: &str = r#"
apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: count}
spec:
  params: [{name: upTo, type: integer, default: 100}]
  steps:
    - {name: numbers, function: exec, params: {command: [seq, "{{ params.upTo }}"]}}
    - {name: lines, function: count-lines, stdin: numbers}
"#;

/// A function that reads (its ports are a `Sink`'s), takes no params and puts out a number.
struct CountLines;

#[derive(Serialize, JsonSchema)]
struct Count {
    /// How many line breaks the stream holds.
    count: usize,
}

impl Function for CountLines {
    const NAME: &'static str = "count-lines";
    const SUMMARY: &'static str = "Counts the lines of a stream.";
    const REPEAT: &'static str = "Counts them again.";
    type Params = NoParams;
    type Ports = Sink;
    type Outputs = Count;

    async fn run(&self, _: NoParams, mut ports: Sink, _: &Call) -> Result<Count, Failure> {
        let mut count = 0;
        while let Some(bytes) = ports.stdin.read().await? {
            count += bytes.iter().filter(|byte| **byte == b'\n').count();
        }
        // Only here is it known that the writer succeeded and that this was all of its stream.
        Ok(Count { count })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut catalog = Catalog::new(aquifer_functions::builtins().with(CountLines));
    catalog.add_text("count.yaml", TASK);
    let plan = catalog.plan("count", &Inputs::default().with_text("upTo", "1000"))?;
    let report = run(plan, RunOptions::default()).await;
    println!("{:?}: {} lines", report.status, report.output("lines", "count"));
    Ok(())
}
