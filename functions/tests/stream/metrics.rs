//! `metrics-push` to a real Pushgateway.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::event::Status;
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::ports::OpenEnds;
use aquifer_engine::registry::Registry;
use aquifer_engine::report::{PipelineReport, Report, StepReport};
use aquifer_functions::metrics_push::MetricsPush;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::rig::{begun, call, failure, wait_for};

/// A gateway of its own for each test.
pub(crate) struct Gateway {
    process: Child,
    address: String,
}

impl Gateway {
    async fn start() -> Self {
        Self::with(&[]).await
    }

    /// A gateway with more on its command line.
    pub(crate) async fn with(settings: &[String]) -> Self {
        // The port is free again for a moment; nothing else here asks for that very one.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let process = Command::new("prometheus-pushgateway")
            .arg(format!("--web.listen-address={free}"))
            // Debian's keeps what was pushed in a file of the system's, which is not for tests.
            .arg("--persistence.file=")
            .args(settings)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("`prometheus-pushgateway` is needed by this test");
        let gateway = Self { process, address: free.to_string() };
        wait_for("the gateway", || std::net::TcpStream::connect(free).is_ok()).await;
        gateway
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The samples of our families, without the gateway's own empty `instance` label.
    async fn samples(&self) -> Vec<String> {
        let page = reqwest::get(format!("{}/metrics", self.url())).await.expect("answers").text().await.expect("text");
        let ours = page.lines().filter(|line| line.starts_with("aquifer_"));
        ours.map(|line| line.replace("instance=\"\",", "")).collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Nothing can be done about a process that is gone already.
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

fn step(name: &str, status: Status, outputs: Value) -> StepReport {
    let failure = (status == Status::Failed).then(|| Failure::unavailable("lost"));
    let function = format!("{name}-function");
    let (warnings, bytes_in, bytes_out) = (Vec::new(), 10, 20);
    StepReport { step: name.into(), function, status, seconds: 1.5, warnings, bytes_in, bytes_out, failure, outputs }
}

fn pipeline(status: Status, steps: Vec<StepReport>) -> PipelineReport {
    let name = steps.iter().map(|step| step.step.as_str()).collect::<Vec<_>>().join(" | ");
    PipelineReport { pipeline: name, status, attempts: 2, seconds: 3.25, retried: Vec::new(), failure: None, steps }
}

fn report(status: Status) -> Report {
    let outputs = json!({"keys": 12, "ratio": 0.5, "snapshot": "abc", "nested": {"n": 1}});
    let mut report = begun();
    report.pipelines = vec![
        pipeline(status, vec![step("dump", Status::Succeeded, outputs), step("push", status, Value::Null)]),
        pipeline(Status::Running, vec![step("report", Status::Running, Value::Null)]),
    ];
    report
}

async fn push(params: Value, report: Report) -> Result<Value, Failure> {
    let registry = Registry::new().with(MetricsPush);
    let prepared = registry.get("metrics-push").expect("registered").prepare(params).expect("sound params");
    prepared.run(OpenEnds::default(), call(report, CancellationToken::new())).await
}

#[tokio::test]
async fn a_run_is_pushed_with_its_pipelines_and_steps() {
    let gateway = Gateway::start().await;
    let params = json!({"url": gateway.url(), "job": "nightly", "labels": {"zone": "eu/1", "empty": ""}});
    let outputs = push(params, report(Status::Succeeded)).await.expect("pushed");
    let samples = gateway.samples().await;
    assert_eq!(outputs["samples"], samples.len(), "{samples:#?}");
    let has = |name: &str, labels: &[&str], value: &str| {
        let found = samples.iter().any(|line| {
            line.starts_with(&format!("{name}{{"))
                && labels.iter().chain(&["job=\"nightly\"", "zone=\"eu/1\""]).all(|label| line.contains(label))
                && line.ends_with(&format!(" {value}"))
        });
        assert!(found, "{name} {labels:?} {value} is not in {samples:#?}");
    };
    has("aquifer_run_success", &[], "1");
    has("aquifer_run_duration_seconds", &[], "12.5");
    has("aquifer_run_start_timestamp_seconds", &[], "1.795428e+09");
    has("aquifer_run_steps", &["status=\"succeeded\""], "2");
    has("aquifer_pipeline_attempts", &["pipeline=\"dump | push\""], "2");
    has("aquifer_pipeline_duration_seconds", &["pipeline=\"dump | push\""], "3.25");
    has("aquifer_pipeline_success", &["pipeline=\"dump | push\""], "1");
    has("aquifer_step_status", &["step=\"dump\"", "function=\"dump-function\"", "status=\"succeeded\""], "1");
    has("aquifer_step_duration_seconds", &["step=\"push\""], "1.5");
    has("aquifer_step_read_bytes", &["step=\"push\""], "10");
    has("aquifer_step_written_bytes", &["step=\"push\""], "20");
    has("aquifer_step_output", &["step=\"dump\"", "output=\"keys\""], "12");
    has("aquifer_step_output", &["step=\"dump\"", "output=\"ratio\""], "0.5");
    assert!(!samples.iter().any(|line| line.contains("snapshot") || line.contains("step=\"report\"")), "{samples:#?}");

    let page = include_str!("../../../docs/reference/metrics.md");
    for sample in &samples {
        let name = sample.split('{').next().expect("a name");
        assert!(page.contains(&format!("`{name}`")), "docs/reference/metrics.md does not tell of `{name}`");
    }
}

#[tokio::test]
async fn a_failed_run_keeps_the_time_of_the_last_success() {
    let gateway = Gateway::start().await;
    let params = json!({"url": gateway.url(), "job": "nightly"});
    let find = |samples: &[String], name: &str| samples.iter().find(|line| line.starts_with(name)).cloned();
    push(params.clone(), report(Status::Failed)).await.expect("pushed");
    assert_eq!(find(&gateway.samples().await, "aquifer_last_success"), None);
    push(params.clone(), report(Status::Succeeded)).await.expect("pushed");
    let success = find(&gateway.samples().await, "aquifer_last_success").expect("pushed");
    let mut stopped = report(Status::Succeeded);
    stopped.stopped = true;
    for bad in [report(Status::Failed), report(Status::Cancelled), stopped] {
        push(params.clone(), bad).await.expect("pushed");
        let samples = gateway.samples().await;
        assert_eq!(find(&samples, "aquifer_run_success").as_deref(), Some("aquifer_run_success{job=\"nightly\"} 0"));
        assert_eq!(find(&samples, "aquifer_last_success"), Some(success.clone()));
    }
}

#[tokio::test]
async fn names_of_any_kind_arrive_as_they_are() {
    let gateway = Gateway::start().await;
    let mut odd = report(Status::Succeeded);
    odd.pipelines[0].steps[0].step = "quote\" back\\slash\nline".into();
    let params = json!({"url": gateway.url(), "job": "a/b..%20ü", "labels": {"dots": ".."}});
    push(params, odd).await.expect("pushed");
    let samples = gateway.samples().await;
    assert!(
        samples.iter().all(|line| line.contains("job=\"a/b..%20ü\"") && line.contains("dots=\"..\"")),
        "{samples:#?}"
    );
    assert!(samples.iter().any(|line| line.contains(r#"step="quote\" back\\slash\nline""#)), "{samples:#?}");
}

#[tokio::test]
async fn a_gateway_that_refuses_or_is_not_there_is_told_apart() {
    let gateway = Gateway::start().await;
    let missing = json!({"url": format!("{}/prefix", gateway.url()), "job": "x"});
    failure(&run_alone(MetricsPush, missing, Input::None).await, FailureKind::NotFound);
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let nobody = json!({"url": format!("http://me:hunter2@{closed}"), "job": "x"});
    let outcome = run_alone(MetricsPush, nobody, Input::None).await;
    let failed = failure(&outcome, FailureKind::Unavailable);
    assert!(failed.message.contains("cannot be reached") && !format!("{failed:?}").contains("hunter2"), "{failed:?}");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("bound");
    let params = json!({"url": format!("http://{address}"), "job": "x", "timeout": "100ms"});
    let outcome = run_alone(MetricsPush, params, Input::None).await;
    assert!(failure(&outcome, FailureKind::Unavailable).message.contains("in time"));
}

#[tokio::test]
async fn credentials_are_sent_and_refusals_told() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let serving = tokio::spawn(async move {
        let mut heads = Vec::new();
        for answer in ["401 Unauthorized", "503 Service Unavailable", "400 Bad Request"] {
            let (mut peer, _) = listener.accept().await.expect("a peer");
            let mut head = vec![0; 64 << 10];
            let count = peer.read(&mut head).await.expect("a request");
            heads.push(String::from_utf8_lossy(&head[..count]).into_owned());
            let answer = format!("HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 12\r\n\r\nwhy\nand more");
            peer.write_all(answer.as_bytes()).await.expect("sent");
        }
        heads
    });
    let params = json!({"url": format!("http://{address}"), "job": "x", "username": "me", "password": "hunter2"});
    for kind in [FailureKind::Unauthorized, FailureKind::Unavailable, FailureKind::Rejected] {
        let outcome = run_alone(MetricsPush, params.clone(), Input::None).await;
        assert!(failure(&outcome, kind).message.ends_with(": why"), "{outcome:?}");
    }
    for head in serving.await.expect("no panic") {
        assert!(head.starts_with("POST /metrics/job/x HTTP/1.1"), "{head}");
        assert!(head.contains("authorization: Basic bWU6aHVudGVyMg=="), "{head}");
    }
}

#[test]
fn wrong_params_are_refused_at_their_place() {
    let registry = Registry::new().with(MetricsPush);
    for (params, path) in [
        (json!({"url": "not a url", "job": "x"}), "url"),
        (json!({"url": "ftp://h", "job": "x"}), "url"),
        (json!({"url": "http://h?x=1", "job": "x"}), "url"),
        (json!({"url": "http://h", "job": ""}), "job"),
        (json!({"url": "http://h", "job": "x", "labels": {"a-b": "1"}}), "labels.a-b"),
        (json!({"url": "http://h", "job": "x", "labels": {"step": "1"}}), "labels.step"),
        (json!({"url": "http://h", "job": "x", "password": "p"}), "password"),
        (json!({"url": "http://u:hunter2@h", "job": "x", "username": "me"}), "username"),
        (json!({"url": "http://h", "job": "x", "tls": {"verify": false}}), "tls.verify"),
    ] {
        let error = registry.get("metrics-push").expect("registered").prepare(params.clone()).expect_err("refused");
        assert_eq!(error.path, path, "{params}: {error}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
