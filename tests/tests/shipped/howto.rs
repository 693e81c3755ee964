//! The commands in `docs/howto`, run one after the other as somebody would who reads them.
//!
//! Their addresses and paths are examples, and stand for servers and a repository of the test's own.

use std::path::Path;

use aquifer_engine::catalog::Inputs;
use aquifer_engine::event::Status;
use aquifer_tests::redis_server::RedisServer;

use crate::redis::fill;
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
async fn servers_are_migrated() {
    let stage = Stage::new().await;
    for command in commands("migrate-between-servers.md") {
        stage.run(&command).await;
    }
    assert_eq!(count(&stage.new, "5", "shop:*"), count(&stage.old, "0", "*"));
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
