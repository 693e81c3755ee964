//! What becomes of each form of a command; whole streams are restored in `tests/tests/redis/options.rs`.

use serde_json::{from_value, json};

use super::*;
use crate::redis::keys::filter::Keep;
use crate::redis::keys::lifetimes::{ExpiryRule, When};
use crate::redis::keys::rename::RenameRule;
use crate::redis::stream::command::Command;

fn statement(line: &str) -> Statement {
    let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    Statement::read(Command::new(0, &args)).expect("sound")
}

/// A statement as the command that says the same.
fn line(statement: &Statement) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let expiry = |when: &When, at: &str, left: &str| match when {
        When::At(moment) => (at.to_owned(), *moment),
        When::Left(time) => (left.to_owned(), *time),
    };
    match &statement.act {
        Act::Select(index) => format!("SELECT {index}"),
        Act::Begin { key } => format!("DEL {}", text(key)),
        Act::Set { key, value, expiry: None } => format!("SET {} {}", text(key), text(value)),
        Act::Set { key, value, expiry: Some(when) } => {
            let (word, number) = expiry(when, "PXAT", "PX");
            format!("SET {} {} {word} {number}", text(key), text(value))
        }
        Act::Restore { key, expiry: None, .. } => format!("RESTORE {} 0", text(key)),
        Act::Restore { key, expiry: Some(when), .. } => {
            let (word, number) = expiry(when, " ABSTTL", "");
            format!("RESTORE {} {number}{word}", text(key))
        }
        Act::Part(part) => part.args(&part.key).map(text).collect::<Vec<_>>().join(" "),
        Act::Expire { key, when } => {
            let (word, number) = expiry(when, "PEXPIREAT", "PEXPIRE");
            format!("{word} {} {number}", text(key))
        }
        Act::ExpireFields { key, when, fields } => {
            let (word, number) = expiry(when, "HPEXPIREAT", "HPEXPIRE");
            let fields: Vec<_> = fields.iter().map(|field| text(field)).collect();
            format!("{word} {} {number} FIELDS {} {}", text(key), fields.len(), fields.join(" "))
        }
        Act::Functions { .. } => "FUNCTION".to_owned(),
    }
}

fn changed(changes: Changes, lines: &[&str]) -> Result<(Vec<String>, Rewriter), Failure> {
    let mut rewriter = Rewriter::new(changes);
    let mut out = Vec::new();
    for given in lines {
        let passed = rewriter.change(statement(given))?;
        out.extend(passed.statements.iter().map(line));
    }
    rewriter.close();
    Ok((out, rewriter))
}

fn lines(changes: Changes, lines: &[&str]) -> Vec<String> {
    changed(changes, lines).expect("sound").0
}

fn filter(text: serde_json::Value) -> KeyFilter {
    from_value::<Keep>(text).expect("sound").filter("filter").expect("sound")
}

#[test]
fn every_form_of_an_expiry_is_moved_or_dropped() {
    let forms = [
        "SET k v PXAT 5000",
        "SET k v EXAT 5",
        "SET k v PX 10",
        "SET k v EX 1",
        "SET k v",
        "RESTORE k 5000 \u{0}p REPLACE ABSTTL",
        "RESTORE k 10 \u{0}p",
        "RESTORE k 0 \u{0}p ABSTTL",
        "PEXPIREAT k 5000",
        "EXPIREAT k 5",
        "PEXPIRE k 10",
        "EXPIRE k 1",
        "HPEXPIREAT k 5000 FIELDS 1 f",
        "HEXPIREAT k 5 FIELDS 1 f",
        "HPEXPIRE k 10 FIELDS 1 f",
        "HEXPIRE k 1 FIELDS 1 f",
    ];
    let by = |rule: ExpiryRule| Changes { lifetimes: rule.at(100_000).expect("sound"), ..Changes::default() };
    let kept = [
        "SET k v PXAT 5000",
        "SET k v PXAT 5000",
        "SET k v PX 10",
        "SET k v PX 1000",
        "SET k v",
        "RESTORE k 5000 ABSTTL",
        "RESTORE k 10",
        "RESTORE k 0",
        "PEXPIREAT k 5000",
        "PEXPIREAT k 5000",
        "PEXPIRE k 10",
        "PEXPIRE k 1000",
        "HPEXPIREAT k 5000 FIELDS 1 f",
        "HPEXPIREAT k 5000 FIELDS 1 f",
        "HPEXPIRE k 10 FIELDS 1 f",
        "HPEXPIRE k 1000 FIELDS 1 f",
    ];
    assert_eq!(lines(by(ExpiryRule::Keep), &forms), kept);
    let shifted = [
        "SET k v PXAT 7000",
        "SET k v PXAT 7000",
        "SET k v PXAT 102010",
        "SET k v PXAT 103000",
        "SET k v",
        "RESTORE k 7000 ABSTTL",
        "RESTORE k 102010 ABSTTL",
        "RESTORE k 0",
        "PEXPIREAT k 7000",
        "PEXPIREAT k 7000",
        "PEXPIREAT k 102010",
        "PEXPIREAT k 103000",
        "HPEXPIREAT k 7000 FIELDS 1 f",
        "HPEXPIREAT k 7000 FIELDS 1 f",
        "HPEXPIREAT k 102010 FIELDS 1 f",
        "HPEXPIREAT k 103000 FIELDS 1 f",
    ];
    assert_eq!(lines(by(ExpiryRule::Shift(2000)), &forms), shifted);
    let dropped = ["SET k v", "SET k v", "SET k v", "SET k v", "SET k v"];
    let dropped = dropped.into_iter().chain(["RESTORE k 0"; 3]);
    assert_eq!(lines(by(ExpiryRule::Drop), &forms), dropped.collect::<Vec<_>>());
}

#[test]
fn all_commands_of_a_key_have_one_fate() {
    let hashes = || Changes { filter: filter(json!({"types": ["hash"]})), ..Changes::default() };
    let stream = [
        "DEL h",
        "HSET h f v",
        "HSET h g w",
        "PEXPIREAT h 9", // wanted
        "DEL l",
        "RPUSH l a",
        "RPUSH l b",
        "PEXPIREAT l 9", // not
        "DEL gone",      // nothing at all
        "DEL was",
        "RPUSH was a",
        "DEL was",
        "HSET was f v", // a list first
        "DEL is",
        "HSET is f v",
        "DEL is",
        "RPUSH is a", // a hash first
        "SET s v",
        "PEXPIREAT s 9",
    ];
    let (out, rewriter) = changed(hashes(), &stream).expect("sound");
    let expected = [
        "DEL h",
        "HSET h f v",
        "HSET h g w",
        "PEXPIREAT h 9",
        "DEL was",
        "HSET was f v",
        "DEL is",
        "HSET is f v",
        "DEL is",
    ];
    assert_eq!(out, expected);
    let left = rewriter.left_out;
    assert_eq!((left.list, left.string, left.hash), (2, 1, 0));
    let failure = changed(hashes(), &["PEXPIREAT lonely 9"]).map(drop).expect_err("its type is not known");
    assert!(failure.message.contains("`lonely`"), "{}", failure.message);
}

#[test]
fn a_stream_without_select_goes_where_its_database_goes() {
    let databases = |map: &[(u32, u32)]| Databases::new(None, &map.iter().copied().collect(), false).expect("sound");
    let changes = Changes { databases: databases(&[(0, 3), (1, 0)]), ..Changes::default() };
    let stream = ["SET a 1", "DEL h", "HSET h f v", "SELECT 1", "SET b 1", "SELECT 0", "SET c 1"];
    let expected = ["SELECT 3", "SET a 1", "DEL h", "HSET h f v", "SELECT 0", "SET b 1", "SELECT 3", "SET c 1"];
    assert_eq!(lines(changes, &stream), expected);
    let one = Changes { databases: databases(&[(0, 3)]), ..Changes::default() };
    let failure = changed(one, &["SET a 1", "SELECT 3"]).map(drop).expect_err("two into one");
    assert!(failure.message.contains("0 and 3"), "{}", failure.message);
}

#[test]
fn keys_get_names_and_reserved_ones_are_refused() {
    let rules = json!([{"from": "a:", "to": "b:"}, {"from": "x", "to": "aquifer:restore:part:"}]);
    let changes = || Changes {
        renames: Renames::new(&from_value::<Vec<RenameRule>>(rules.clone()).expect("sound"), "rename").expect("sound"),
        ..Changes::default()
    };
    let stream = ["SET a:1 v", "DEL a:2", "XADD a:2 1-1 f v", "XGROUP CREATE a:2 g 0", "PEXPIREAT a:2 9", "SET c v"];
    let (out, rewriter) = changed(changes(), &stream).expect("sound");
    let expected = ["SET b:1 v", "DEL b:2", "XADD b:2 1-1 f v", "XGROUP CREATE b:2 g 0", "PEXPIREAT b:2 9", "SET c v"];
    assert_eq!((out, rewriter.renamed), (expected.map(str::to_owned).to_vec(), 2));
    assert!(changed(changes(), &["SET a:1 v", "SET b:1 v"]).is_err());
    assert!(changed(changes(), &["DEL a:1", "SADD a:1 v", "DEL b:1", "SADD b:1 v"]).is_err());
    assert!(changed(changes(), &["SET a:1 v", "SET a:1 v"]).is_ok());
    let failure = changed(changes(), &["SET x1 v"]).map(drop).expect_err("reserved");
    assert!(failure.message.contains("reserved"), "{}", failure.message);
    assert!(changed(changes(), &["SET aquifer:restore:open v"]).is_err());
}

#[tokio::test]
async fn expiries_of_fields_are_changed_inside_a_payload_too() {
    // `DUMP` of Redis 7.4: the field `f` with the value `v` expires at 9999999999999, `g` with `w` does not.
    let payload = b"\x19\xff\x9frN\x18\t\0\0\x1f\x1f\0\0\0\x06\0\x81f\x02\x81v\x02\xf4\xff\x9frN\x18\t\0\0\t\x81g\x02\x81w\x02\0\x01\xff\x0c\0\xfe\xec\xfb\xd7X\xd6\x1dB";
    let restore = |ttl: &[u8], payload: &[u8]| {
        Statement::read(Command::new(7, &[b"RESTORE", b"h", ttl, payload, b"ABSTTL"])).expect("sound")
    };
    let words =
        |statements: Option<Vec<Statement>>| -> Vec<String> { statements.expect("a hash").iter().map(line).collect() };
    let earlier = ExpiryRule::Shift(-999).at(0).expect("sound");
    let moved = fields::plain(earlier, &restore(b"5000", payload)).await.expect("sound");
    let expected = ["DEL h", "HSET h f v g w", "HPEXPIREAT h 9999999999000 FIELDS 1 f", "PEXPIREAT h 5000"];
    assert_eq!(words(moved), expected);
    let dropped = fields::plain(Lifetimes::Drop, &restore(b"0", payload)).await.expect("sound");
    assert_eq!(words(dropped), ["DEL h", "HSET h f v g w"]);
    let mut altered = payload.to_vec();
    altered[20] ^= 1;
    assert!(fields::plain(earlier, &restore(b"0", &altered)).await.is_err());
    assert!(fields::plain(earlier, &statement("SET k v")).await.expect("sound").is_none());
    assert!(fields::refuse_long(earlier, b"h", Some(25), 0).is_err());
    assert!(fields::refuse_long(Lifetimes::Keep, b"h", Some(25), 0).is_ok());
}
