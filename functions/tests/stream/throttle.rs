//! `throttle` on a paused clock.

use std::time::Duration;

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::pipe::{DEFAULT_BUDGET, pipe};
use aquifer_engine::ports::OpenEnds;
use aquifer_engine::registry::Registry;
use aquifer_engine::stream::StreamType;
use aquifer_functions::throttle::Throttle;
use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::rig::{begun, call, pieces, sample};

#[tokio::test(start_paused = true)]
async fn a_stream_takes_as_long_as_its_rate_says() {
    for (rate, length, seconds) in [("1MiB", 10 << 20, 10.0), ("10B", 35, 3.5), ("1GiB", 1 << 20, 0.001)] {
        let plain = sample(length);
        let start = Instant::now();
        let outcome = run_alone(Throttle, json!({"rate": rate}), pieces(&plain)).await;
        let took = start.elapsed().as_secs_f64();
        assert_eq!(outcome.result.expect("passes")["bytes"], length);
        assert!(outcome.stdout == plain);
        assert!((seconds - 0.002..=seconds + 0.12).contains(&took), "{rate}: {took} s and not {seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_large_piece_is_spread_as_well() {
    let start = Instant::now();
    let input = Input::Finished(vec![Bytes::from(vec![0; 5 << 20])]);
    run_alone(Throttle, json!({"rate": "1MiB"}), input).await.result.expect("passes");
    assert!((4.99..5.1).contains(&start.elapsed().as_secs_f64()));
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_not_caught_up_with_a_burst() {
    let registry = Registry::new().with(Throttle);
    let prepared = registry.get("throttle").expect("registered").prepare(json!({"rate": "1MiB"})).expect("sound");
    let open = || pipe(1, DEFAULT_BUDGET, &StreamType::unknown(), None);
    let ((mut writer, mut input), (stdout, mut output)) = (open(), open());
    let ((stdin, input), (mut passed, _)) = (input.remove(0), output.remove(0));
    let ends = OpenEnds { stdin: Some(stdin), stdout: Some(stdout) };
    let running = tokio::spawn(prepared.run(ends, call(begun(), CancellationToken::new())));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let start = Instant::now();
    writer.write(Bytes::from(vec![0; 1 << 20])).await.expect("room");
    input.finish();
    running.await.expect("no panic").expect("passes");
    let took = start.elapsed().as_secs_f64();
    assert!((0.89..1.01).contains(&took), "{took} s");
    assert!(passed.read().await.expect("sound").is_some_and(|piece| piece.len() <= (1 << 20) / 20));
}

#[test]
fn a_rate_of_nothing_is_refused() {
    let registry = Registry::new().with(Throttle);
    for wrong in [json!({"rate": 0}), json!({"rate": "0MiB"}), json!({"rate": "fast"}), json!({"rate": -1})] {
        assert_eq!(registry.get("throttle").expect("registered").prepare(wrong).expect_err("refused").path, "rate");
    }
}
