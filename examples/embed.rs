//! Embeds the engine: two functions of our own, a Task that connects them, one run. `cargo run --example embed`

use std::sync::Arc;

use aquifer_engine::catalog::{Catalog, Inputs};
use aquifer_engine::failure::Failure;
use aquifer_engine::function::{Call, Function, NoOutputs};
use aquifer_engine::ports::{Sink, Source};
use aquifer_engine::registry::Registry;
use aquifer_engine::run::{RunOptions, run};
use aquifer_engine::stream::Streams;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const TASK: &str = r#"
apiVersion: aquifer.dev/v1alpha1
kind: Task
metadata: {name: sum}
spec:
  params: [{name: upTo, type: integer, default: 100}]
  steps:
    - {name: numbers, function: count, params: {upTo: "{{ params.upTo }}"}}
    - {name: total, function: add-up, stdin: numbers}
"#;

struct Count; // writes the numbers 1, 2, 3 …, one a line

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CountParams {
    /// The last number.
    up_to: u32,
}

impl Function for Count {
    const NAME: &'static str = "count";
    const SUMMARY: &'static str = "Writes numbers, one a line.";
    const REPEAT: &'static str = "Writes them again.";
    type Params = CountParams;
    type Ports = Source;
    type Outputs = NoOutputs;

    fn streams(_: Option<&CountParams>) -> Streams {
        Streams::ANY
    }

    async fn run(&self, params: CountParams, mut ports: Source, _: &Call) -> Result<NoOutputs, Failure> {
        for number in 1..=params.up_to {
            ports.stdout.write(format!("{number}\n").into()).await?;
        }
        Ok(NoOutputs {})
    }
}

struct AddUp; // adds up what it reads, once it knows that it has read all of it

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoParams {}

#[derive(Serialize, JsonSchema)]
struct Sum {
    /// The sum.
    sum: u64,
}

impl Function for AddUp {
    const NAME: &'static str = "add-up";
    const SUMMARY: &'static str = "Adds up numbers.";
    const REPEAT: &'static str = "Adds them up again.";
    type Params = NoParams;
    type Ports = Sink;
    type Outputs = Sum;

    fn streams(_: Option<&NoParams>) -> Streams {
        Streams::ANY
    }

    async fn run(&self, _: NoParams, mut ports: Sink, _: &Call) -> Result<Sum, Failure> {
        let mut text = Vec::new();
        while let Some(bytes) = ports.stdin.read().await? {
            text.extend_from_slice(&bytes);
        }
        let text = String::from_utf8(text).map_err(|_| Failure::corrupt("the input is no text"))?;
        let numbers = text
            .lines()
            .map(|line| line.parse::<u64>().map_err(|_| Failure::corrupt(format!("`{line}` is no number"))));
        Ok(Sum { sum: numbers.sum::<Result<u64, _>>()? })
    }
}

#[tokio::main]
async fn main() -> Result<(), String> {
    let mut catalog = Catalog::new(Registry::new().with(Count).with(AddUp));
    catalog.add_text("sum.yaml", TASK);
    let inputs = Inputs::default().with_text("upTo", "1000");
    let plan = catalog.plan("sum", &inputs).map_err(|problems| format!("{problems:?}"))?;
    let report = run(Arc::new(plan), RunOptions::default()).await;
    println!(
        "{:?}: {}",
        report.status,
        report.steps().map(|step| step.outputs.to_string()).collect::<Vec<_>>().join(", ")
    );
    Ok(())
}
