use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::failure::Failure;
use crate::function::{Call, Function, NoOutputs};
use crate::plan::{LateParams, LateScope, Params, Pipeline, PipelineId, Plan, PlannedStep};
use crate::ports::Open;
use crate::registry::Registry;
use crate::secret::{Secret, SecretUrl};
use crate::stream::{StreamType, Streams};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is looked at")]
struct AnyParams {
    url: Option<SecretUrl>,
    password: Option<Secret>,
    keys: Option<Vec<Secret>>,
    location: Option<Location>,
    plain: Option<Value>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
#[expect(dead_code, reason = "only its schema is looked at")]
enum Location {
    S3 { bucket: String, secret_key: Secret },
}

struct Anything;

impl Function for Anything {
    const NAME: &'static str = "anything";
    const SUMMARY: &'static str = "Does nothing.";
    const REPEAT: &'static str = "Does nothing again.";
    type Params = AnyParams;
    type Ports = Open;
    type Outputs = NoOutputs;

    fn streams(_: Option<&AnyParams>) -> Streams {
        Streams::ANY
    }

    async fn run(&self, _: AnyParams, _: Open, _: &Call) -> Result<NoOutputs, Failure> {
        Ok(NoOutputs {})
    }
}

struct Written(Value);

impl LateParams for Written {
    fn render(&self, _: &LateScope<'_>) -> Result<Value, Failure> {
        Ok(self.0.clone())
    }

    fn as_written(&self) -> Value {
        self.0.clone()
    }
}

fn step(
    name: &str,
    function: &str,
    pipeline: usize,
    stdin: Option<usize>,
    needs: &[usize],
    params: Value,
) -> PlannedStep {
    let registry = Registry::new().with(Anything);
    let late = params.to_string().contains("{{");
    PlannedStep {
        name: name.into(),
        function: function.into(),
        runs: Arc::clone(registry.get("anything").expect("it was added")),
        shown: params.clone(),
        params: if late { Params::Late(Arc::new(Written(params))) } else { Params::Known(params) },
        stdin: stdin.map(StepId),
        needs: needs.iter().copied().map(StepId).collect(),
        streams: Streams::ANY,
        stdout: "application/x-thing+zstd".parse::<StreamType>().expect("a sound type"),
        pipeline: PipelineId(pipeline),
    }
}

fn pipeline(name: &str, steps: &[usize], after: &[usize]) -> Pipeline {
    Pipeline {
        name: name.into(),
        steps: steps.iter().copied().map(StepId).collect(),
        after: after.iter().copied().map(PipelineId).collect(),
        when: When::Success,
        attempts: 1,
        backoff: Duration::from_secs(1),
        timeout: None,
    }
}

fn plan() -> Plan {
    Plan {
        task: "two-stores".into(),
        concurrency: 8,
        steps: vec![
            step("dump", "anything", 0, None, &[], json!({"url": "redis://me:hunter2@h:1", "password": "hunter2"})),
            step(
                "near",
                "store",
                0,
                Some(0),
                &[],
                json!({"keys": ["k1", "k2"], "location": {"s3": {"bucket": "b", "secretKey": "k3"}}, "plain": "a hunter2 b"}),
            ),
            step(
                "far",
                "anything",
                0,
                Some(0),
                &[],
                json!({"plain": {"7": "7", "esc": "a\u{1b}[31m\u{9b}b", "list": [1, "\u{9b}"]}}),
            ),
            step("report", "anything", 1, None, &[1, 2], json!({"plain": "{{ steps.near.outputs.id }}"})),
        ],
        pipelines: vec![
            Pipeline {
                attempts: 3,
                timeout: Some(Duration::from_secs(7200)),
                ..pipeline("dump | near | far", &[0, 1, 2], &[])
            },
            Pipeline { when: When::Always, ..pipeline("report", &[3], &[0]) },
        ],
        secrets: ["hunter2", "k1", "k2", "k3"].map(String::from).to_vec(),
    }
}

#[test]
fn the_text_reads_in_the_order_of_the_data() {
    assert_eq!(
        text(&plan()),
        r#"task two-stores: 4 steps in 2 pipelines, at most 8 at once

1. dump | near | far
   retry: 3 attempts, the second 1s after the first, then twice as long each time
   timeout: 2h for each attempt

   dump  anything
       url: redis://me:***@h:1
       password: ***

   | application/x-thing+zstd from dump
   near  store (anything)
       keys: ["***","***"]
       location:
         s3:
           bucket: b
           secretKey: ***
       plain: a *** b

   | application/x-thing+zstd from dump
   far   anything
       plain:
         "7": "7"
         esc: "a\u001b[31m\u009bb"
         list: [1,"\u009b"]

2. report
   after: 1
   needs: near, far (by report)
   when: always

   report  anything
       plain: {{ steps.near.outputs.id }}
"#
    );
}

#[test]
fn no_form_shows_a_secret() {
    let plan = plan();
    for (form, shown) in
        [("text", text(&plan)), ("json", json(&plan).to_string()), ("mermaid", mermaid(&plan)), ("dot", dot(&plan))]
    {
        for secret in ["hunter2", "k1", "k2", "k3"] {
            assert!(!shown.contains(secret), "{form} shows {secret}: {shown}");
        }
    }
}

#[test]
fn json_names_every_pipeline_step_and_edge() {
    let shown = json(&plan());
    assert_eq!(shown["version"], 1);
    assert_eq!(shown["pipelines"][0]["timeoutSeconds"], 7200.0);
    assert_eq!(shown["pipelines"][1]["after"], json!(["dump | near | far"]));
    assert_eq!(shown["pipelines"][1]["when"], "always");
    assert_eq!(shown["pipelines"][0]["steps"][1]["stdin"], "dump");
    assert_eq!(shown["pipelines"][0]["steps"][0]["stdout"], "application/x-thing+zstd");
    assert_eq!(shown["pipelines"][0]["steps"][1]["stdout"], Value::Null);
    assert_eq!(shown["pipelines"][1]["steps"][0]["needs"], json!(["near", "far"]));
}

#[test]
fn mermaid_draws_pipes_and_needs_apart() {
    assert_eq!(
        mermaid(&plan()),
        r#"flowchart TD
  subgraph p1["dump | near | far · 3 attempts · timeout 2h"]
    direction LR
    s1["dump<br/>anything"]
    s2["near<br/>store (anything)"]
    s3["far<br/>anything"]
    s1 ==>|"application/x-thing+zstd"| s2
    s1 ==>|"application/x-thing+zstd"| s3
  end
  subgraph p2["report"]
    direction LR
    s4["report<br/>anything"]
  end
  s2 -.->|"always"| s4
  s3 -.->|"always"| s4
"#
    );
}

#[test]
fn dot_draws_pipes_and_needs_apart_and_quotes_every_name() {
    let mut plan = plan();
    plan.task = "a\"b\\c".into();
    let shown = dot(&plan);
    assert!(shown.starts_with("digraph \"a\\\"b\\\\c\" {\n"), "{shown}");
    assert!(shown.contains("\"dump\" -> \"far\" [label=\"application/x-thing+zstd\", penwidth=2];"), "{shown}");
    assert!(shown.contains("\"near\" -> \"report\" [style=dashed, label=\"always\"];"), "{shown}");
    assert_eq!(shown.matches('{').count(), shown.matches('}').count());
}
