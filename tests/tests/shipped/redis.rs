//! The main job by its shipped tasks: backup, loss, restore, proof; and the rehearsal of a restore.

use aquifer_engine::catalog::Inputs;
use aquifer_engine::event::Status;
use aquifer_engine::report::Report;
use aquifer_tests::redis_server::{Certificates, RedisServer};
use serde_json::{Value as Json, json};

use crate::{catalog, played};

/// Keys of each type, some with an expiry, in two databases.
pub(crate) fn fill(server: &RedisServer) {
    fill_database(server, 0);
    fill_database(server, 3);
}

/// 400 keys of each type, some with an expiry.
pub(crate) fn fill_database(server: &RedisServer, index: u32) {
    let mut client = server.client();
    redis::cmd("SELECT").arg(index).exec(&mut client).expect("selected");
    let script = redis::Script::new(include_str!("../../../scripts/fill.lua"));
    let now = jiff::Timestamp::now().as_millisecond();
    let from = if index == 0 { 0 } else { 400 };
    script.arg(from).arg(400).arg(now).invoke::<()>(&mut client).expect("filled");
}

fn output(report: &Report, step: &str, name: &str) -> Json {
    let outputs = &report.steps().find(|one| one.step == step).expect("the step").outputs;
    outputs[name].clone()
}

fn succeeded(report: Report) -> Report {
    assert_eq!(report.status, Status::Succeeded, "{report:#?}");
    report
}

/// Whether a server is running that was started in this folder.
fn runs_in(folder: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("Linux").flatten();
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .any(|line| String::from_utf8_lossy(&line).contains(&format!("{folder}/redis.sock")))
}

struct Place {
    server: RedisServer,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { server: RedisServer::start(), folder: tempfile::tempdir().expect("a folder") };
        fill(&place.server);
        place
    }

    fn inputs(&self) -> Inputs {
        Inputs::default()
            .with_text("redis", self.server.socket_url())
            .with_text("repository", self.folder.path().join("repository").display().to_string())
            .with_text("password", "correct horse")
    }

    async fn digest(&self) -> Json {
        let inputs = Inputs::default().with_text("redis", self.server.socket_url());
        output(&succeeded(played(&catalog(), "redis-digest", &inputs).await), "digest", "digest")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_server_comes_back_whole() {
    let place = Place::new();
    let before = place.digest().await;
    let first = succeeded(played(&catalog(), "redis-backup", &place.inputs().with_text("keepLast", "1")).await);
    assert_eq!(output(&first, "push", "created"), json!(true));
    assert_eq!(output(&first, "dump", "keys"), json!(800));
    let second = succeeded(played(&catalog(), "redis-backup", &place.inputs().with_text("keepLast", "1")).await);
    assert_eq!(output(&second, "push", "newBytes"), json!(0), "an unchanged server adds nothing");
    assert_eq!(output(&second, "forget", "removed"), json!(1));
    redis::cmd("FLUSHALL").exec(&mut place.server.client()).expect("lost");
    succeeded(played(&catalog(), "redis-restore", &place.inputs()).await);
    assert_eq!(place.digest().await, before);
    // Again: the keys are there now.
    let again = played(&catalog(), "redis-restore", &place.inputs()).await;
    assert_eq!(again.status, Status::Failed);
    assert_eq!(place.digest().await, before, "and nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_rehearsed_and_leaves_nothing() {
    let place = Place::new();
    succeeded(played(&catalog(), "redis-backup", &place.inputs()).await);
    let report = succeeded(played(&catalog(), "redis-drill", &place.inputs()).await);
    assert_eq!(output(&report, "restored", "digest"), place.digest().await);
    let folder = output(&report, "folder", "stdout");
    let folder = folder.as_str().expect("a path");
    assert!(!std::path::Path::new(folder).exists(), "the scratch server's folder is gone");
    assert!(!runs_in(folder), "the scratch server has ended");

    // A key that was changed since is a difference, and the scratch server goes away all the same.
    redis::cmd("SET").arg("session:0").arg("other").exec(&mut place.server.client()).expect("changed");
    let report = played(&catalog(), "redis-drill", &place.inputs()).await;
    assert_eq!(report.status, Status::Failed);
    let first = report.first_failure.clone().expect("a difference");
    assert_eq!(first.step, "compare");
    assert!(format!("{first:?}").contains("differ: 1 with another value"), "{first:?}");
    let folder = output(&report, "folder", "stdout");
    let folder = folder.as_str().expect("a path");
    assert!(!std::path::Path::new(folder).exists() && !runs_in(folder));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_valkey_holds_is_rehearsed_in_a_valkey() {
    let place = Place { server: RedisServer::valkey(&[]), folder: tempfile::tempdir().expect("a folder") };
    fill(&place.server);
    // Redis 7.0 has no expiries of fields, and reads no payload of so new a server.
    let mut client = place.server.client();
    redis::cmd("HSETEX").arg(&["timed", "EX", "9999", "FIELDS", "1", "f", "v"]).exec(&mut client).expect("Valkey 9");
    succeeded(played(&catalog(), "redis-backup", &place.inputs()).await);
    let report = played(&catalog(), "redis-drill", &place.inputs()).await;
    assert_eq!(report.first_failure.as_ref().map(|first| first.step.as_str()), Some("restore"), "{report:#?}");
    let inputs = place.inputs().with_text("server", "valkey-server");
    let report = succeeded(played(&catalog(), "redis-drill", &inputs).await);
    assert_eq!(output(&report, "restored", "keys"), json!(801));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_certificates_is_backed_up_and_written() {
    let certificates = Certificates::new();
    let server = RedisServer::tls(&certificates, &["--tls-auth-clients", "yes"]);
    server.cli(&["ACL", "SETUSER", "backup", "on", ">word", "~*", "+@all"]);
    fill(&server);
    let folder = tempfile::tempdir().expect("a folder");
    let [ca, cert, key] = ["ca.crt", "server.crt", "server.key"].map(|name| certificates.path(name));
    let signed_in = |prefix: &str, inputs: Inputs| {
        let (user, tls) = match prefix {
            "" => ("redis".to_owned(), "tls".to_owned()),
            _ => (prefix.to_owned(), format!("{prefix}Tls")),
        };
        inputs
            .with_text(format!("{user}Username"), "backup")
            .with_text(format!("{user}Password"), "word")
            .with_text(tls, json!({"caFile": ca, "certFile": cert, "keyFile": key}).to_string())
            .with_text(user, format!("rediss://127.0.0.1:{}", server.port()))
    };
    let path = |name: &str| folder.path().join(name).display().to_string();
    let stored =
        |inputs: Inputs| inputs.with_text("repository", path("repository")).with_text("password", "correct horse");
    let filed = |inputs: Inputs| inputs.with_text("path", path("file"));
    let object = |inputs: Inputs| inputs.with_text("location", path("objects")).with_text("name", "one");
    let replaced = |inputs: Inputs| inputs.with_text("onConflict", "replace");
    let both = signed_in("from", signed_in("to", Inputs::default()));
    let diffed = signed_in("left", signed_in("right", Inputs::default()));
    let here = || signed_in("", Inputs::default());
    for (task, inputs) in [
        ("redis-backup", stored(here()).with_text("form", "logical")),
        ("redis-backup-file", filed(here())),
        ("redis-backup-file", filed(here()).with_text("overwrite", "true").with_text("form", "logical")),
        ("redis-backup-object", object(here()).with_text("functions", "false")),
        ("redis-restore", replaced(stored(here())).with_text("checkFirst", "true")),
        ("redis-restore-file", replaced(filed(here()))),
        ("redis-restore-object", replaced(object(here()))),
        ("redis-copy", replaced(both)),
        ("redis-diff", diffed),
        ("redis-digest", here()),
        ("redis-drill", stored(here())),
    ] {
        let report = played(&catalog(), task, &inputs).await;
        assert_eq!(report.status, Status::Succeeded, "{task}: {report:#?}");
    }
    let report = played(&catalog(), "redis-backup-file", &filed(here())).await;
    assert_eq!(report.status, Status::Failed, "a file is not overwritten unless that is said");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_checked_first_writes_nothing_of_what_it_would_not_finish() {
    let place = Place::new();
    succeeded(played(&catalog(), "redis-backup", &place.inputs()).await);
    let inputs = Inputs::default()
        .with_text("repository", place.folder.path().join("repository").display().to_string())
        .with_text("password", "correct horse");
    let verified = succeeded(played(&catalog(), "redis-verify", &inputs).await);
    assert_eq!(output(&verified, "verify", "digest"), place.digest().await);
    // All but one are gone, so a restore would write many before it meets that one.
    let mut client = place.server.client();
    let value: String = redis::cmd("GET").arg("session:392").query(&mut client).expect("there");
    redis::cmd("FLUSHALL").exec(&mut client).expect("lost");
    redis::cmd("SET").arg("session:392").arg(&value).exec(&mut client).expect("one");
    let report = played(&catalog(), "redis-restore", &place.inputs().with_text("checkFirst", "true")).await;
    assert_eq!(report.first_failure.as_ref().map(|first| first.step.as_str()), Some("check"), "{report:#?}");
    let size: u64 = redis::cmd("DBSIZE").query(&mut client).expect("a size");
    assert_eq!(size, 1, "nothing was written");
    let inputs = place.inputs().with_text("checkFirst", "true").with_text("onConflict", "replace");
    let report = succeeded(played(&catalog(), "redis-restore", &inputs).await);
    assert_eq!(output(&report, "check", "keys"), output(&report, "restore", "keys"));
    assert_eq!(output(&report, "check", "existing"), json!(1));
    assert_eq!(place.digest().await, output(&verified, "verify", "digest"));
}

/// What a restore leaves behind is told, also where it was another step that failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_whose_source_breaks_says_what_it_has_written() {
    let place = Place::new();
    let path = place.folder.path().join("dump");
    let inputs = || Inputs::default().with_text("redis", place.server.socket_url());
    // Enough that much of it was written before the end is missing.
    let mut state = 7_u64;
    let mut noise = || (state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1), state.to_be_bytes()).1;
    for n in 0..40 {
        let value: Vec<u8> = (0..64 << 10).flat_map(|_| noise()).collect();
        redis::cmd("SET").arg(format!("noise:{n}")).arg(value).exec(&mut place.server.client()).expect("room");
    }
    succeeded(played(&catalog(), "redis-backup-file", &inputs().with_text("path", path.display().to_string())).await);
    let whole = std::fs::read(&path).expect("written");
    std::fs::write(&path, &whole[..whole.len() * 9 / 10]).expect("cut");
    let restore = inputs().with_text("path", path.display().to_string()).with_text("onConflict", "replace");
    let report = played(&catalog(), "redis-restore-file", &restore).await;
    assert_eq!(report.first_failure.as_ref().map(|first| first.step.as_str()), Some("unzip"), "{report:#?}");
    let step = report.steps().find(|one| one.step == "restore").expect("the step");
    assert_eq!(step.status, Status::Cancelled);
    let causes = step.failure.as_ref().expect("why").causes.join(" ");
    assert!(causes.contains("keys had been written"), "{causes}");
}
