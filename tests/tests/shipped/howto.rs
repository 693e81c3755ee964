//! The commands in `docs/howto`, run one after the other as somebody would who reads them.
//!
//! Their addresses and paths are examples, and stand for servers and a repository of the test's own.

use std::path::Path;

use aquifer_engine::catalog::{Catalog, Inputs};
use aquifer_engine::event::Status;
use aquifer_tests::redis_cluster::RedisCluster;
use aquifer_tests::redis_server::RedisServer;

use crate::redis::{fill, fill_database};
use crate::{catalog, played};

/// The commands of a page's `sh` blocks, as words.
fn commands(page: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/howto").join(page);
    let text = std::fs::read_to_string(path).expect("the page");
    let mut found = Vec::new();
    for block in text.split("```sh\n").skip(1) {
        let block = block.split("```").next().expect("its end").replace("\\\n", " ");
        found.extend(block.lines().filter(|line| !line.trim().is_empty()).map(words));
    }
    assert!(!found.is_empty(), "{page} has no commands");
    found
}

/// Words as a shell sees them; there are single quotes, and nothing else of a shell's.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().expect("one").push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

struct Stage {
    old: RedisServer,
    new: RedisServer,
    folder: tempfile::TempDir,
}

impl Stage {
    /// A server with keys, one without, and a repository that has the first one's.
    async fn new() -> Self {
        let stage = Self {
            old: RedisServer::start(),
            new: RedisServer::start(),
            folder: tempfile::tempdir().expect("a folder"),
        };
        fill(&stage.old);
        let line = "aquifer run redis-backup --set redis=redis://127.0.0.1:6379 --set repository=/backup/redis --set-env password=PASSWORD";
        stage.run(&words(line)).await;
        stage
    }

    /// Runs a command; it has to succeed.
    async fn run(&self, words: &[String]) {
        let [program, verb, task, rest @ ..] = words else { panic!("{words:?}") };
        assert_eq!((program.as_str(), verb.as_str()), ("aquifer", "run"), "{words:?}");
        let mut inputs = Inputs::default();
        for pair in rest.chunks(2) {
            let (name, value) = pair[1].split_once('=').expect("a name and a value");
            let value = value
                .replace("redis://127.0.0.1:6379", &self.old.socket_url())
                .replace("redis://127.0.0.1:6380", &self.new.socket_url())
                .replace("/backup/redis", &self.folder.path().join("repository").display().to_string());
            inputs = match pair[0].as_str() {
                "--set" => inputs.with_text(name, value),
                "--set-env" if value == "NEW_PASSWORD" => inputs.with_text(name, "another horse"),
                "--set-env" => inputs.with_text(name, "correct horse"),
                other => panic!("{other}"),
            };
        }
        let report = played(&catalog(), task, &inputs).await;
        assert_eq!(report.status, Status::Succeeded, "{words:?}: {report:#?}");
    }
}

fn count(server: &RedisServer, database: &str, pattern: &str) -> usize {
    server.cli(&["-n", database, "KEYS", pattern]).lines().filter(|line| !line.trim().is_empty()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_restored() {
    let stage = Stage::new().await;
    let all = commands("restore-a-part.md");
    let users = count(&stage.old, "0", "user:*");
    let keys: Vec<String> = stage.old.cli(&["KEYS", "user:*"]).lines().map(str::to_owned).collect();
    for key in &keys {
        stage.old.cli(&["DEL", key]);
    }
    stage.run(&all[0]).await;
    assert_eq!((count(&stage.old, "0", "user:*"), users > 0), (0, true), "a dry run writes nothing");
    stage.run(&all[1]).await;
    assert_eq!(count(&stage.old, "0", "user:*"), users);
    stage.run(&all[2]).await;
    assert_eq!(count(&stage.new, "3", "old:user:*"), users);
    assert_eq!(count(&stage.new, "3", "old:*:session"), count(&stage.old, "0", "session:*"));
    assert_eq!(count(&stage.new, "3", "*"), count(&stage.new, "3", "old:*"));
    for command in &all[3..] {
        stage.run(command).await;
    }
    assert_eq!(count(&stage.new, "0", "queue:*"), count(&stage.old, "0", "queue:*"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_rehearsed() {
    let stage = Stage::new().await;
    for command in commands("rehearse-a-restore.md") {
        stage.run(&command).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_looked_after() {
    let stage = Stage::new().await;
    for command in commands("look-after-a-repository.md") {
        stage.run(&command).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_migrated() {
    let stage = Stage::new().await;
    for command in commands("migrate-between-servers.md") {
        stage.run(&command).await;
    }
    assert_eq!(count(&stage.new, "5", "shop:*"), count(&stage.old, "0", "*"));
}

/// The tasks of a page, beside the shipped ones.
fn with_tasks_of(page: &str) -> Catalog {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/howto").join(page);
    let text = std::fs::read_to_string(path).expect("the page");
    let mut catalog = catalog();
    for (at, block) in text.split("```yaml\n").skip(1).enumerate() {
        catalog.add_text(&format!("{page}-{at}"), block.split("```").next().expect("its end"));
    }
    catalog
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_backed_up_shard_by_shard_and_brought_back() {
    let catalog = with_tasks_of("clusters.md");
    let (from, to) = (RedisCluster::start(2, false, &[]), RedisCluster::start(3, false, &[]));
    let single = RedisServer::start();
    fill_database(&single, 0);
    let copy = Inputs::default().with_text("from", single.socket_url()).with_text("to", from.url());
    assert_eq!(played(&catalog, "redis-copy", &copy).await.status, Status::Succeeded);
    let folder = tempfile::tempdir().expect("a folder");
    let inputs = |url: String| {
        Inputs::default()
            .with_text("redis", url)
            .with_text("repository", folder.path().join("repository").display().to_string())
            .with_text("password", "correct horse")
    };
    let report = played(&catalog, "shard-by-shard", &inputs(from.url())).await;
    assert_eq!(report.status, Status::Succeeded, "{report:#?}");
    let report = played(&catalog, "restore-shard-by-shard", &inputs(to.url())).await;
    assert_eq!(report.status, Status::Succeeded, "{report:#?}");
    let compared = Inputs::default().with_text("left", from.url()).with_text("right", to.url());
    let report = played(&catalog, "redis-diff", &compared).await;
    assert_eq!(report.status, Status::Succeeded, "{report:#?}");
    assert_eq!(to.keys(), from.keys());
    // Two jobs read two thirds of three shards.
    let report = played(&catalog, "shard-by-shard", &inputs(to.url())).await;
    assert_eq!(report.status, Status::Failed, "{report:#?}");
    let failure = report.first_failure.expect("one").failure;
    assert!(failure.message.contains("the cluster has 3 shards"), "{failure:?}");
    // None of these is a backup of a whole server, and who looks for one hears what there is.
    let report = played(&catalog, "redis-restore", &inputs(single.socket_url())).await;
    let help = report.first_failure.expect("no such snapshot").failure.help.unwrap_or_default();
    assert!(help.contains("`/shard-1.resp`, `/shard-2.resp`"), "{help}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_on_the_pages_are_enough_for_the_shipped_tasks() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let read = |page: &str| std::fs::read_to_string(root.join(page)).expect("the page");
    let managed = read("howto/managed-redis.md");
    let rule = managed.split("ACL SETUSER backup on >PASSWORD ").nth(1).expect("the rule").lines().next().expect("it");
    assert!(read("reference/redis-stream.md").contains(&format!("`{rule}`")), "the pages say the same: {rule}");
    let server = RedisServer::start();
    fill(&server);
    server.cli(&["FUNCTION", "LOAD", "#!lua name=one\nredis.register_function('f', function() return 1 end)"]);
    server.cli(&[&["ACL", "SETUSER", "backup", "on", ">word"], &rule.split(' ').collect::<Vec<_>>()[..]].concat());
    let folder = tempfile::tempdir().expect("a folder");
    let user = || {
        Inputs::default()
            .with_text("redis", server.socket_url())
            .with_text("redisUsername", "backup")
            .with_text("redisPassword", "word")
    };
    let stored = |inputs: Inputs| {
        let repository = folder.path().join("repository").display().to_string();
        inputs.with_text("repository", repository).with_text("password", "correct horse")
    };
    for (task, inputs) in [
        ("redis-backup", stored(user())),
        ("redis-backup-file", user().with_text("path", folder.path().join("f").display().to_string())),
        ("redis-digest", user()),
    ] {
        let report = played(&catalog(), task, &inputs).await;
        assert_eq!(report.status, Status::Succeeded, "{task}: {report:#?}");
    }
    server.cli(&["ACL", "SETUSER", "backup", "-function|list"]);
    assert_eq!(played(&catalog(), "redis-backup", &stored(user())).await.status, Status::Failed);
    let without = stored(user()).with_text("functions", "false");
    let report = played(&catalog(), "redis-backup", &without).await;
    assert_eq!(report.status, Status::Succeeded, "{report:#?}");
}

#[test]
fn the_tasks_on_the_pages_have_no_mistakes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/howto");
    let mut found = 0;
    for page in std::fs::read_dir(folder).expect("the pages") {
        let page = page.expect("a page").path();
        let text = std::fs::read_to_string(&page).expect("text");
        for block in text.split("```yaml\n").skip(1) {
            let mut catalog = catalog();
            catalog.add_text("page.yaml", block.split("```").next().expect("its end"));
            let problems = catalog.problems();
            assert!(problems.is_empty(), "{}: {problems:#?}", page.display());
            found += 1;
        }
    }
    assert!(found >= 3, "{found} tasks");
}
