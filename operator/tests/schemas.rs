//! What an API server takes by our schemas, the operator can read: it can do nothing for what it cannot.
//!
//! Always holds: the resources are made from the schemas alone, some thousands of each kind, and the same each time.

use aquifer_operator::crds;
use aquifer_operator::resources::app_binding::AppBinding;
use aquifer_operator::resources::backup::BackupConfiguration;
use aquifer_operator::resources::backup_session::BackupSession;
use aquifer_operator::resources::blueprint::BackupBlueprint;
use aquifer_operator::resources::own::{OwnFunction, OwnTask};
use aquifer_operator::resources::repository::Repository;
use aquifer_operator::resources::restore::RestoreSession;
use aquifer_operator::resources::task::{Function, Task};
use kube::CustomResourceExt;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json, json};

/// How many of each kind.
const TIMES: u64 = 2000;

/// How deep what has no schema goes here. The reader of JSON has an end at 128 levels, and the API server takes more.
const DEEPEST: u32 = 40;

/// Numbers that look like chance and are the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn one_of(&mut self, all: &[Json]) -> Json {
        all[usize::try_from(self.below(all.len() as u64)).expect("small")].clone()
    }
}

/// Something that the API server takes where this schema stands.
fn taken(schema: &Json, chance: &mut Chance) -> Json {
    let is = |name: &str| schema[name] == json!(true);
    if is("nullable") && chance.below(6) == 0 {
        return Json::Null;
    }
    if let Some(all) = schema["enum"].as_array() {
        return chance.one_of(all);
    }
    if is("x-kubernetes-int-or-string") {
        let number = integer(schema, (i64::MIN, i64::MAX), chance);
        return chance.one_of(&[number, json!("http"), json!("")]);
    }
    match schema["type"].as_str() {
        Some("boolean") => json!(chance.below(2) == 0),
        Some("integer") => {
            let is_short = schema["format"] == "int32";
            let all = if is_short { (i64::from(i32::MIN), i64::from(i32::MAX)) } else { (i64::MIN, i64::MAX) };
            integer(schema, all, chance)
        }
        Some("number") => chance.one_of(&[json!(0.5), json!(-1), json!(1e300)]),
        Some("string") => match schema["format"].as_str() {
            Some("byte") => chance.one_of(&[json!(""), json!("QQ=="), json!("QUJD")]),
            Some("date-time") => {
                chance.one_of(&[json!("2026-01-02T03:04:05Z"), json!("2026-01-02T03:04:05.123456+02:00")])
            }
            Some("duration") => chance.one_of(&[json!("1h"), json!("90s"), json!("1m30s")]),
            None => {
                let long = "x".repeat(usize::try_from(chance.below(300)).expect("small"));
                chance.one_of(&[json!(""), json!("none"), json!("-1"), json!("é\n\u{0}\u{1f4a7}"), json!(long)])
            }
            Some(other) => panic!("a format that this test does not know: {other}"),
        },
        Some("array") => (0..chance.below(3)).map(|_| taken(&schema["items"], chance)).collect(),
        Some("object") | None => object(schema, chance),
        Some(other) => panic!("a type that this test does not know: {other}"),
    }
}

fn integer(schema: &Json, (least, most): (i64, i64), chance: &mut Chance) -> Json {
    #[expect(clippy::cast_possible_truncation, reason = "schemas have whole numbers, and small ones")]
    let bound = |name: &str| schema[name].as_f64().map(|bound| bound as i64);
    let (least, most) = (bound("minimum").unwrap_or(least), bound("maximum").unwrap_or(most));
    let some = json!(0.clamp(least, most));
    chance.one_of(&[json!(least), json!(most), some, json!(1.clamp(least, most))])
}

fn object(schema: &Json, chance: &mut Chance) -> Json {
    let mut made = Map::new();
    if let Some(properties) = schema["properties"].as_object() {
        let required = |name: &str| schema["required"].as_array().is_some_and(|all| all.contains(&json!(name)));
        for (name, of) in properties {
            if required(name) || chance.below(3) == 0 {
                made.insert(name.clone(), taken(of, chance));
            }
        }
    } else if schema["additionalProperties"].is_object() {
        for number in 0..chance.below(3) {
            made.insert(format!("k{number}"), taken(&schema["additionalProperties"], chance));
        }
    } else if schema["x-kubernetes-preserve-unknown-fields"] == json!(true) {
        let mut deep = json!({"a": [1, "x", null, 0.5]});
        for _ in 0..chance.below(u64::from(DEEPEST)) {
            deep = json!({"a": deep});
        }
        return deep;
    }
    Json::Object(made)
}

/// All that can be made of a kind's schema is read.
fn all_are_read<K: CustomResourceExt + DeserializeOwned>() {
    let own = serde_json::to_value(K::crd()).expect("JSON")["metadata"]["name"].clone();
    let all = crds::all().into_iter().map(|one| serde_json::to_value(one).expect("JSON"));
    let definition = all.into_iter().find(|one| one["metadata"]["name"] == own).expect("each kind has one");
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut chance = Chance(7);
    for _ in 0..TIMES {
        let mut one = taken(schema, &mut chance);
        // That is the API server's own to check.
        one["metadata"] = json!({"name": "one", "namespace": "there"});
        (one["apiVersion"], one["kind"]) = (json!("v1"), json!("Kind"));
        let text = one.to_string();
        if let Err(error) = serde_json::from_str::<K>(&text) {
            let place = serde_json::from_str::<Json>(&text).map(|one| format!("{one:#}")).unwrap_or(text);
            panic!("{own}: {error}: {}", place.chars().take(20_000).collect::<String>());
        }
    }
}

#[test]
fn what_the_api_server_takes_can_be_read() {
    all_are_read::<AppBinding>();
    all_are_read::<BackupBlueprint>();
    all_are_read::<BackupConfiguration>();
    all_are_read::<BackupSession>();
    all_are_read::<Function>();
    all_are_read::<Repository>();
    all_are_read::<RestoreSession>();
    all_are_read::<Task>();
    all_are_read::<OwnFunction>();
    all_are_read::<OwnTask>();
}
