//! The way to each of the servers breaks while a backup is sent.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aquifer_tests::faulty::{Fault, faulty};
use aquifer_tests::flaky::{Fate, proxy};
use aquifer_tests::gate::Direction::{FromServer, ToServer};
use aquifer_tests::stores::{StoreServer, all, place};
use serde_json::Value as Json;

use crate::rig::Repository;

/// The same location by another port.
fn by(location: &Json, from: u16, to: u16) -> Json {
    let text = location.to_string();
    let (from, colon) = (from.to_string(), text.contains(&format!(":{from}")));
    assert!(colon, "the location names its port");
    serde_json::from_str(&text.replace(&format!(":{from}"), &format!(":{to}"))).expect("JSON")
}

/// The first connections break, and then the way is good: a run may fail, or send it once more.
fn first(count: usize, fault: Fault) -> impl Fn(usize) -> Fault + Send + Sync + 'static {
    move |number| if number < count { fault } else { Fault::None }
}

/// A rule for requests: those whose number says so are answered with a status.
fn burst(
    status: u16,
    fails: impl Fn(usize) -> bool + Send + Sync + 'static,
) -> impl Fn(&str, &str) -> Fate + Send + Sync {
    let seen = AtomicUsize::new(0);
    move |_, _| if fails(seen.fetch_add(1, Ordering::SeqCst)) { Fate::Answered(status) } else { Fate::Passes }
}

async fn every_fault(server: &'static dyn StoreServer) {
    let Some(port) = server.port() else { return };
    let name = place();
    let location = server.location(&name);
    let mut repository = Repository::at(location.clone()).await;

    for (what, fault) in [
        ("cut while sending", Fault::Cut(ToServer, 700_000)),
        ("cut at once", Fault::Cut(ToServer, 1)),
        ("cut while answering", Fault::Cut(FromServer, 300)),
    ] {
        let way = by(&location, port, faulty(port, first(3, fault)));
        // It is over soon: what is sent once more arrives. Over SSH there is one connection, which is not made again.
        let pushed = repository.push(&way, what).await;
        assert!(pushed.is_ok() || server.called() == "OpenSSH", "{what} of {}: {pushed:?}", server.called());
    }
    for (what, fault) in
        [("slow", Fault::Slow(64 << 10, Duration::from_secs(2))), ("far away", Fault::Late(Duration::from_millis(5)))]
    {
        let way = by(&location, port, faulty(port, move |_| fault));
        let pushed = repository.push(&way, what).await;
        pushed.unwrap_or_else(|failure| panic!("{what} of {}: {failure:?}", server.called()));
    }
    for (what, good) in [("gone at once", 0), ("gone in the middle", 3)] {
        let gone = move |number| if number < good { Fault::Cut(ToServer, 1_500_000) } else { Fault::Refused };
        let way = by(&location, port, faulty(port, gone));
        let failure = repository.push(&way, what).await.expect_err(what);
        assert!(failure.message.contains('`'), "it says what at which place: {failure:?}");
    }
    // Nothing comes any more, and nobody says so: the step's own bound ends it.
    for after in [100, 900_000] {
        let way = by(&location, port, faulty(port, move |_| Fault::Silent(ToServer, after)));
        repository.push_for_seconds(&way, 3).await;
    }
    repository.assert_whole().await;
}

async fn every_status(server: &'static dyn StoreServer) {
    let Some(port) = server.port().filter(|_| server.called() != "OpenSSH") else { return };
    let name = place();
    let location = server.location(&name);
    let mut repository = Repository::at(location.clone()).await;
    for status in [429, 500, 503] {
        let way = by(&location, port, proxy(port, burst(status, |number| matches!(number % 16, 5 | 6))));
        let pushed = repository.push(&way, &format!("{status} now and then")).await;
        pushed.unwrap_or_else(|failure| panic!("{status} of {}: {failure:?}", server.called()));
    }
    let way = by(&location, port, proxy(port, burst(503, |number| number >= 9)));
    let failure = repository.push(&way, "503 for good").await.expect_err("refused for good");
    assert!(failure.message.contains('`'), "it says what at which place: {failure:?}");
    repository.assert_whole().await;
}

/// One after the other on each server, and the servers beside each other: most of it is waiting.
async fn on_all(test: impl AsyncFn(&'static dyn StoreServer)) {
    // A second opinion on a protocol is not asked for here; and where a sign-in tells the place, the way there is another one.
    let is_meant = |called: &str| !called.starts_with("rclone") && called != "Swift by Keystone's protocol";
    let servers = all().await.iter().filter(|server| is_meant(server.called()));
    let servers = servers.map(|server| test(&**server));
    futures::future::join_all(servers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_breaks_costs_no_backup_and_feigns_none() {
    on_all(every_fault).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_overloaded_are_asked_again_and_then_given_up() {
    on_all(every_status).await;
}
