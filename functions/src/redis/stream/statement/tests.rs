//! Each form of a command, read or refused.

use super::*;

fn read(line: &str) -> Result<Act, Failure> {
    let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    Statement::read(Command::new(7, &args)).map(|statement| statement.act)
}

/// What was read, in short.
fn told(line: &str) -> String {
    match read(line).unwrap_or_else(|failure| panic!("{line}: {failure:?}")) {
        Act::Select(index) => format!("select {index}"),
        Act::Begin { .. } => "begin".to_owned(),
        Act::Set { expiry, .. } => format!("string {expiry:?}"),
        Act::Restore { expiry, hint, .. } => {
            format!("value {expiry:?} {:?}", hint.map(|hint| (hint.word, hint.number)))
        }
        Act::Part(part) => format!("{:?} +{:?} {:?}", part.kind, part.elements(), part.change),
        Act::Expire { when, .. } => format!("{when:?}"),
        Act::ExpireFields { when, fields, .. } => format!("{when:?} {fields:?}"),
        Act::Functions { code, all } => format!("{code:?} {all}"),
    }
}

#[test]
fn every_form_of_a_command_means_one_thing() {
    for (line, expected) in [
        ("select 300", "select 300"),
        ("DEL k", "begin"),
        ("SET k v", "string None"),
        ("set k v pxat 5", "string Some(At(5))"),
        ("SET k v EXAT 5", "string Some(At(5000))"),
        ("SET k v PX 5", "string Some(Left(5))"),
        ("SET k v EX 5", "string Some(Left(5000))"),
        ("RESTORE k 0 p", "value None None"),
        ("RESTORE k 5 p", "value Some(Left(5)) None"),
        ("RESTORE k 5 p REPLACE absttl FREQ 7", "value Some(At(5)) Some((\"FREQ\", b\"7\"))"),
        ("RPUSH k a b", "List +Some(2) Texts"),
        ("SADD k a", "Set +Some(1) Texts"),
        ("HMSET k f v", "Hash +Some(2) Texts"),
        ("APPEND k more", "String +Some(4) Texts"),
        ("ZADD k 1 a -inf b 1e3 c", "SortedSet +Some(3) Scores([1.0, -inf, 1000.0])"),
        ("PEXPIREAT k 5", "At(5)"),
        ("EXPIREAT k 5", "At(5000)"),
        ("PEXPIRE k 5", "Left(5)"),
        ("EXPIRE k 5", "Left(5000)"),
        ("HPEXPIREAT k 5 FIELDS 2 f g", "At(5) [b\"f\", b\"g\"]"),
        ("HEXPIREAT k 5 FIELDS 1 f", "At(5000) [b\"f\"]"),
        ("HPEXPIRE k 5 FIELDS 1 f", "Left(5) [b\"f\"]"),
        ("HEXPIRE k 5 FIELDS 1 f", "Left(5000) [b\"f\"]"),
        ("FUNCTION LOAD code", "b\"code\" false"),
        ("FUNCTION LOAD REPLACE code", "b\"code\" false"),
        ("FUNCTION RESTORE payload FLUSH", "b\"payload\" true"),
        ("XADD k 5-1 f v", "Stream +Some(1) Stream(Entry((5, 1)))"),
        ("XADD k MAXLEN 0 5-1 f v", "Stream +None Stream(Trimmed((5, 1)))"),
        ("XGROUP CREATE k g 5-1 MKSTREAM ENTRIESREAD -1", "Stream +Some(0) Stream(Group { last: (5, 1), read: None })"),
        ("XGROUP CREATE k g 5 ENTRIESREAD 3", "Stream +Some(0) Stream(Group { last: (5, 0), read: Some(3) })"),
        ("XGROUP CREATECONSUMER k g c", "Stream +Some(0) Stream(Consumer)"),
        (
            "XCLAIM k g c 0 5-1 5-2 TIME 9 RETRYCOUNT 2 FORCE JUSTID",
            "Stream +Some(0) Stream(Claim { ids: [(5, 1), (5, 2)], times: 2, moves: false })",
        ),
        (
            "XCLAIM k g c 0 5-1 RETRYCOUNT 2 FORCE LASTID 6-0",
            "Stream +Some(0) Stream(Claim { ids: [(5, 1)], times: 2, moves: true })",
        ),
    ] {
        assert_eq!(told(line), expected, "{line}");
    }
}

#[test]
fn what_no_dump_holds_is_refused_with_its_place() {
    for line in [
        "PING",
        "FLUSHALL",
        "SELECT -1",
        "SELECT 4294967296",
        "DEL a b",
        "SET k",
        "SET k v NX",
        "SET k v NX PX",
        "SET k v PXAT x",
        "SET k v PX 5 PXAT 6",
        "RESTORE k -1 p",
        "RESTORE k 0 p FREQ",
        "RESTORE k 0 p FREQ x",
        "RESTORE k 0 p FREQ 1 IDLETIME 2",
        "RESTORE k 0 p KEEPTTL",
        "RESTORE k 0 p ABSTTL ABSTTL",
        "HSET k f",
        "HSET k f v g",
        "APPEND k a b",
        "ZADD k NX 1 a",
        "ZADD k 1",
        "ZADD k nan a",
        "ZADD k 1 a 2",
        "EVAL code 0",
        "PEXPIREAT k 5 NX",
        "PEXPIREAT k -5",
        "HPEXPIREAT k 5 FIELDS 2 f",
        "HPEXPIREAT k 5 NX FIELDS 1 f",
        "FUNCTION DELETE lib",
        "FUNCTION LOAD WHATEVER code",
        "XADD k * f v",
        "XADD k 5-* f v",
        "XADD k NOMKSTREAM 5-1 f v",
        "XADD k MAXLEN 1 5-1 f v",
        "XADD k 5-1 f",
        "XADD k +5-1 f v",
        "XSETID k $",
        "XSETID k 5-1 ENTRIESADDED",
        "XGROUP CREATE k g $",
        "XGROUP CREATE k g",
        "XGROUP SETID k g 0",
        "XGROUP CREATECONSUMER k g",
        "XCLAIM k g c 0 5-1 FORCE",
        "XCLAIM k g c 0 5-1 RETRYCOUNT 1",
        "XCLAIM k g c 0 RETRYCOUNT 1",
        "XCLAIM k g c 0 5-1 RETRYCOUNT 1 FORCE LASTID x",
    ] {
        let failure = read(line).map(drop).expect_err(line);
        assert!(failure.message.contains("at byte 7"), "{line}: {}", failure.message);
    }
}
