//! A cluster with an operator, to try things on by hand:
//! `cargo test --workspace --test kubernetes a_cluster_to_try -- --ignored --nocapture`.
//!
//! Says where its kubeconfig, the operator's page and the Pushgateway are. Always holds: it is there until its stdin ends.

use super::operator::rig::operated;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it is there for as long as somebody wants it"]
#[expect(clippy::print_stdout, reason = "what it says is what it is for")]
async fn a_cluster_to_try_things_on() {
    let (rig, _, ports) = operated("try").await;
    println!("export KUBECONFIG={}", rig.cluster.kubeconfig().display());
    println!(
        "The operator: http://127.0.0.1:{}/metrics, the Pushgateway: http://127.0.0.1:{}",
        ports.operator, ports.gateway
    );
    println!("End this program's stdin (Ctrl-D), and it is gone.");
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()))
        .await
        .expect("no panic")
        .expect("a stdin");
}
