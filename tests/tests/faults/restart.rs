//! A server that is ended in the middle of a backup, and comes again.

use aquifer_tests::gate::{Direction, gate};
use aquifer_tests::stores::rest_server::RestServer;
use serde_json::json;

use crate::rig::Repository;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_again_in_the_middle_costs_at_most_that_backup() {
    let folder = tempfile::tempdir().expect("a folder");
    let served = folder.path().join("served");
    std::fs::create_dir(&served).expect("made");
    let mut server = RestServer::over(&served).await;
    let at = |port: u16| json!({"rest": {"url": format!("http://127.0.0.1:{port}/r/")}});
    let mut repository = Repository::at(at(server.port())).await;
    for mark in [100, 1 << 20, 3 << 20] {
        // The connection that reaches the mark is held up until the server is gone and there again.
        let (reached, is_reached) = std::sync::mpsc::channel::<()>();
        let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
        let way = gate(server.port(), Direction::ToServer, mark, move || {
            reached.send(()).expect("somebody waits");
            goes_on.recv().expect("told");
        });
        let restarting = async {
            tokio::task::spawn_blocking(move || is_reached.recv()).await.expect("no panic").expect("reached");
            server.end();
            server.start().await;
            go_on.send(()).expect("it waits");
        };
        let way = at(way);
        let (pushed, ()) = tokio::join!(repository.push(&way, "restarted"), restarting);
        pushed.expect("what was lost is sent once more");
    }
    repository.assert_whole().await;
}
