//! The keys of a repository: who can open it, by restic's judgement.

use aquifer_engine::alone::{Input, run_alone};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_functions::restic_key::ResticKey;
use serde_json::{Value as Json, json};

use crate::rig::{PASSWORD, Repository, noise, pull, push};

const NEW: &str = "battery staple";

async fn key(repository: &Repository, params: Json) -> Result<Json, Failure> {
    run_alone(ResticKey, repository.params(params), Input::None).await.result
}

/// Whether a password opens it, by restic.
fn opens(repository: &Repository, password: &str) -> bool {
    let tried =
        repository.newest_command(&["cat", "config"]).env("RESTIC_PASSWORD", password).output().expect("restic");
    // 12 is restic's word for a wrong password; anything else that is wrong is not what is asked here.
    assert!(tried.status.success() || tried.status.code() == Some(12), "{tried:?}");
    tried.status.success()
}

fn ids(outputs: &Json) -> Vec<String> {
    let keys = outputs["keys"].as_array().expect("a list");
    keys.iter().map(|key| key["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_takes_the_place_of_the_old_one() {
    for version in [1, 2] {
        let repository = Repository::made_by_restic(version);
        let bytes = noise(100_000, 1);
        push(&repository, &bytes, json!({})).await.expect("stored");
        let before = ids(&key(&repository, json!({"action": "list"})).await.expect("listed"));
        let rotate = json!({"action": "rotate", "newPassword": NEW});
        let outputs = key(&repository, rotate.clone()).await.expect("rotated");
        assert_eq!(outputs["removed"], json!(before));
        assert_eq!(ids(&outputs), [outputs["added"].as_str().expect("an id")]);
        assert_eq!(outputs["keys"][0]["current"], json!(true));
        assert!(opens(&repository, NEW) && !opens(&repository, PASSWORD));
        let refused = pull(&repository, json!({})).await.result.expect_err("the old one");
        assert_eq!(refused.kind, FailureKind::Unauthorized, "{refused:?}");
        assert!(pull(&repository, json!({"password": NEW})).await.stdout == bytes);
        // Once more: it finds that it is done. With a wrong one besides, it is not.
        let again = key(&repository, rotate).await.expect("done already");
        assert_eq!((&again["added"], &again["removed"], ids(&again)), (&Json::Null, &json!([]), ids(&outputs)));
        let wrong = key(&repository, json!({"action": "rotate", "newPassword": "a third"})).await.expect_err("neither");
        assert_eq!(wrong.kind, FailureKind::Unauthorized, "{wrong:?}");
        assert_eq!(repository.locks().len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_keys_of_the_old_password_go_and_those_of_others_stay() {
    let repository = Repository::made_by_restic(2);
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("{text}\n")).expect("written");
        path.display().to_string()
    };
    let (same, other) = (file("same", PASSWORD), file("other", "of a friend"));
    repository.newest_restic(&["key", "add", "--new-password-file", &same]);
    repository.newest_restic(&["key", "add", "--new-password-file", &other]);
    let params = json!({"action": "rotate", "newPasswordFile": file("new", NEW)});
    let outputs = key(&repository, params).await.expect("rotated");
    assert_eq!(outputs["removed"].as_array().map(Vec::len), Some(2), "{outputs}");
    assert!(opens(&repository, NEW) && opens(&repository, "of a friend") && !opens(&repository, PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_added_listed_and_removed() {
    let repository = Repository::made_by_restic(2);
    let added = key(&repository, json!({"action": "add", "newPassword": NEW})).await.expect("added");
    let new = added["added"].as_str().expect("an id").to_owned();
    assert!(opens(&repository, NEW) && opens(&repository, PASSWORD));
    let again = key(&repository, json!({"action": "add", "newPassword": NEW})).await.expect("there already");
    assert_eq!((&again["added"], ids(&again).len()), (&Json::Null, 2));
    // restic lists the same, with who made them.
    let theirs: Json = serde_json::from_slice(&repository.newest_restic(&["key", "list", "--json"])).expect("JSON");
    let listed = key(&repository, json!({"action": "list"})).await.expect("listed");
    for one in theirs.as_array().expect("a list") {
        let mut ours = listed["keys"].as_array().expect("a list").iter();
        let ours =
            ours.find(|ours| ours["id"].as_str().is_some_and(|id| id.starts_with(one["id"].as_str().expect("an id"))));
        let ours = ours.expect("the same key");
        assert_eq!((&ours["current"], &ours["host"]), (&one["current"], &one["hostName"]));
        assert_eq!(ours["username"], one["userName"]);
        assert!(one["created"].as_str().is_some_and(|time| !time.starts_with("0001")), "{one}");
    }
    let current = ids(&listed).into_iter().find(|id| *id != new).expect("the first one");
    for (which, kind, told) in
        [(current.as_str(), FailureKind::Config, "opened with"), ("0123456789abcdef0", FailureKind::NotFound, "no key")]
    {
        let refused = key(&repository, json!({"action": "remove", "key": which})).await.expect_err("refused");
        assert!(refused.kind == kind && refused.message.contains(told) && refused.help.is_some(), "{refused:?}");
    }
    assert_eq!(repository.files("keys").len(), 2);
    let removed = key(&repository, json!({"action": "remove", "key": &new[..12]})).await.expect("removed");
    assert_eq!((&removed["removed"], ids(&removed)), (&json!([new]), vec![current.clone()]));
    assert!(!opens(&repository, NEW) && opens(&repository, PASSWORD));
    // The last one is always the one that it was opened with.
    key(&repository, json!({"action": "remove", "key": current})).await.expect_err("the last one");
    assert!(opens(&repository, PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_and_no_password_is_shown() {
    let repository = Repository::made_by_restic(2);
    for params in [
        json!({"action": "rotate"}),
        json!({"action": "add", "newPassword": ""}),
        json!({"action": "add", "newPassword": NEW, "newPasswordFile": "/somewhere"}),
        json!({"action": "list", "newPassword": NEW}),
        json!({"action": "remove"}),
        json!({"action": "remove", "key": "x/../y"}),
        json!({"action": "remove", "key": "abc", "newPassword": NEW}),
        json!({"action": "add", "newPassword": NEW, "key": "abc"}),
        json!({"action": "rotate", "newPassword": PASSWORD}),
        json!({"action": "change"}),
    ] {
        let refused = key(&repository, params.clone()).await.expect_err("refused");
        assert_eq!(refused.kind, FailureKind::Config, "{params}: {refused:?}");
        let told = format!("{refused:?}");
        assert!(!told.contains(PASSWORD) && !told.contains(NEW), "{told}");
    }
    assert_eq!(repository.files("keys").len(), 1);
    assert!(opens(&repository, PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_absurd_key_shuts_nobody_out() {
    let repository = Repository::made_by_restic(2);
    let bytes = noise(100_000, 2);
    push(&repository, &bytes, json!({})).await.expect("stored");
    let real = repository.files("keys").pop().expect("a key");
    let text = std::fs::read(&real).expect("read");
    let other = real.with_file_name("0".repeat(64));
    let changed = |field: &str, value: Json| {
        let mut key: Json = serde_json::from_slice(&text).expect("JSON");
        key[field] = value;
        key.to_string().into_bytes()
    };
    for bad in [
        text[..text.len() / 2].to_vec(),
        Vec::new(),
        changed("N", json!(0)),
        changed("N", json!(1_u64 << 31)),
        changed("r", json!(u32::MAX)),
        changed("p", json!(1 << 30)),
        changed("salt", json!("AAAA")),
        changed("data", json!("AAAA")),
        changed("kdf", json!("argon")),
    ] {
        std::fs::write(&other, &bad).expect("written");
        let within = std::time::Duration::from_secs(60);
        let pulled = tokio::time::timeout(within, pull(&repository, json!({}))).await.expect("no hang");
        assert!(pulled.result.is_ok() && pulled.stdout == bytes, "{}", String::from_utf8_lossy(&bad));
        let wrong = pull(&repository, json!({"password": "wrong"})).await.result.expect_err("a wrong one");
        assert_eq!(wrong.kind, FailureKind::Unauthorized, "{wrong:?}");
        // Alone, it says what is wrong.
        let hidden = real.with_extension("hidden");
        std::fs::rename(&real, &hidden).expect("moved");
        let told = pull(&repository, json!({})).await.result.expect_err("no key");
        let is_short = bad == changed("data", json!("AAAA"));
        let kind = if is_short { FailureKind::Unauthorized } else { FailureKind::Corrupt };
        assert!(told.kind == kind && told.help.is_some(), "{told:?}");
        assert!(is_short || told.message.contains("000000"), "{told:?}");
        std::fs::rename(&hidden, &real).expect("moved");
    }
    // That of another repository with the same password, as who makes one at the same moment leaves it when killed.
    let elsewhere = Repository::made_by_restic(2);
    std::fs::copy(elsewhere.files("keys").pop().expect("a key"), &other).expect("copied");
    let pulled = pull(&repository, json!({})).await;
    assert!(pulled.result.is_ok() && pulled.stdout == bytes, "{:?}", pulled.result);
    push(&repository, &bytes, json!({})).await.expect("stored");
    // It is listed and can be removed.
    std::fs::write(&other, b"{").expect("written");
    assert_eq!(ids(&key(&repository, json!({"action": "list"})).await.expect("listed")).len(), 2);
    let removed = key(&repository, json!({"action": "remove", "key": "000"})).await.expect("removed");
    assert_eq!(removed["removed"], json!(["0".repeat(64)]));
    assert!(!other.exists() && opens(&repository, PASSWORD));
}
