//! The fuzz targets with some thousands of altered inputs, on every run of the tests: what a fuzzer finds at once.

use std::path::Path;

use super::streams::{ALL, found, made, restored, spelling};
use super::*;
use crate::redis::keys::tally::PerType;
use crate::redis::stream::form::ClusterHead;
use crate::redis_verify::ExpiryIn;

/// So many altered files are read, unless `AQUIFER_FUZZ_ROUNDS` says how many.
const ROUNDS: u64 = 3000;

/// Commands of other programs, and forms that no dump has.
const OTHERS: &[u8] = b"SELECT 3\nSET a b PXAT 2000000000000\nSET a b EX 10\nSET c d EXAT 2000000000\nAPPEND c ef\nRPUSH l a b c
EXPIRE l 100\nHMSET h f v g w\nHSET h f x\nHPEXPIREAT h 2000000000000 FIELDS 2 f g\nDEL z\nZADD z 1.5 a -inf b 3 a\nPEXPIREAT z 2000000000000
SADD s a b a\nXADD x 1-1 a b\nXADD x 2 c d\nXSETID x 3-0 ENTRIESADDED 3 MAXDELETEDID 1-0\nXGROUP CREATE x g 0 ENTRIESREAD 1
XGROUP CREATECONSUMER x g me\nXCLAIM x g me 0 1-1 TIME 5 RETRYCOUNT 2 FORCE JUSTID\nXADD e MAXLEN 0 1-1 x y
RESTORE r 0 \\\x00\x01a\x06\x00 REPLACE ABSTTL\nECHO hello\nFUNCTION LOAD REPLACE #!lua\\ name=one\\\nreturn\\ 1";

/// Alters some bytes: another value, one bit, a piece left out, or a piece of the same file put in.
fn alter(bytes: &mut Vec<u8>, mut random: impl FnMut(usize) -> usize) {
    for _ in 0..=random(4) {
        let (at, length) = (random(bytes.len().max(1)), random(16));
        match random(4) {
            _ if bytes.is_empty() => return,
            0 => bytes[at] = [0, 1, 0x3f, 0x7f, 0x80, 0x81, 0xc3, 0xf0, 0xfe, 0xff][random(10)],
            1 => bytes[at] ^= 1 << random(8),
            2 => drop(bytes.drain(at..(at + length).min(bytes.len()))),
            _ => {
                let from = random(bytes.len());
                let piece = bytes[from..(from + length).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

/// Numbers that are the same on every run.
fn numbers() -> impl FnMut(usize) -> usize {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    }
}

fn rounds() -> u64 {
    #[allow(clippy::disallowed_methods, reason = "how long a test runs is no param of a function")]
    let rounds = std::env::var("AQUIFER_FUZZ_ROUNDS");
    rounds.ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

/// Real files that are not long, in an order that does not change.
fn files() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/rdb");
    let mut files: Vec<Vec<u8>> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| std::fs::read(entry.expect("readable").path()).expect("readable"))
        .filter(|bytes| bytes.len() < 6000)
        .collect();
    files.sort();
    files
}

#[test]
fn altered_files_and_streams_are_read_without_panic() {
    let mut files = files();
    files.push(
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nvv\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n:12\r\n+OK\r\n-ERR\r\n".to_vec(),
    );
    let mut random = numbers();
    for round in 0..rounds() {
        let mut bytes = files[random(files.len())].clone();
        alter(&mut bytes, &mut random);
        bytes.insert(0, random(256) as u8);
        match round % 5 {
            0 => resp(&bytes),
            2 => {
                let mut framed = bytes.clone();
                let line =
                    if round % 2 == 0 { "\n$300\r\n".to_owned() } else { format!("$EOF:{}\r\n", "ab".repeat(20)) };
                framed.splice(1..1, line.into_bytes());
                framed.extend(b"ab".repeat(random(22)));
                psync(&framed);
            }
            1 => {
                // A payload begins at a type; most of what stands at any place is none.
                let at = random(bytes.len());
                let mut part = bytes.split_off(at);
                part.insert(0, random(26) as u8);
                part.extend([11, 0]);
                payload(&part);
            }
            _ if round % 2 == 0 => rdb(&bytes),
            _ => written(&bytes),
        }
    }
}

#[test]
fn altered_streams_are_verified_without_panic_however_they_are_cut() {
    let mut streams = vec![OTHERS.to_vec()];
    for file in files() {
        for form in [ValueForm::Native, ValueForm::Logical] {
            let Some(stream) = made(&file, 4096, form) else { continue };
            streams.push(stream.to_vec());
            streams.push(spelling(&stream));
        }
    }
    assert!(streams.len() > 60, "{} streams", streams.len());
    let mut random = numbers();
    // Each is read five times and more.
    for _ in 0..rounds() / 2 {
        let at = random(streams.len());
        let (mut bytes, words) = (streams[at].clone(), !streams[at].starts_with(b"*"));
        alter(&mut bytes, &mut random);
        bytes.insert(0, (random(128) as u8) << 1 | u8::from(words));
        contents(&bytes);
        agree(&bytes);
    }
}

/// What runs of the fuzzer have left: all that they reached, reached again.
#[test]
fn the_inputs_that_runs_have_left_are_read() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    type Target = fn(&[u8]);
    let targets: [(&str, &[Target]); 5] = [
        ("rdb", &[rdb, written]),
        ("payload", &[payload]),
        ("resp", &[resp]),
        ("psync", &[psync]),
        ("streams", &[contents, agree]),
    ];
    for (name, targets) in targets {
        let files: Vec<_> = std::fs::read_dir(corpus.join(name)).expect("the folder is there").collect();
        assert!(files.len() >= 10, "{name} has {} inputs", files.len());
        for file in files {
            let path = file.expect("readable").path();
            let bytes = std::fs::read(&path).expect("readable");
            for target in targets {
                let read = std::panic::catch_unwind(|| target(&bytes));
                assert!(read.is_ok(), "{}", path.display());
            }
        }
    }
}

/// The stream of a shard with these commands, which write one list.
fn shard(shard: u32, shards: u32, lines: &[&str]) -> Vec<u8> {
    let (writer, mut readers) = pipe(1, ALL, &StreamType::unknown(), None);
    let (mut reader, control) = readers.remove(0);
    let cluster = Some(ClusterHead { shards, shard: Some(shard), joined: true, layout: None, functions: None });
    let mut form = Form::begin(writer, &StreamHead { cluster, ..StreamHead::default() }).expect("a head");
    for line in lines {
        form.command(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    }
    block_on(async {
        form.finish(PerType { list: 1, ..PerType::default() }, 0).await.expect("room");
        control.finish();
        let mut stream = Vec::new();
        while let Some(piece) = reader.read().await.expect("finished") {
            stream.extend_from_slice(&piece);
        }
        stream
    })
}

#[test]
fn a_key_ends_with_its_shard() {
    let digest = |stream: &[u8]| {
        let found = found(&Bytes::copy_from_slice(stream), ALL, ALL, ExpiryIn::Exact, true).expect("whole");
        found.split(' ').next().map(str::to_owned)
    };
    let first = ["DEL l", "RPUSH l a"];
    let again = [shard(1, 2, &first), shard(2, 2, &["RPUSH l b"])].concat();
    // What came first stands, and is not added to.
    assert_eq!(digest(&again), digest(&shard(1, 1, &first)));
    let refused = restored(&again.into(), ALL).expect_err("twice");
    assert!(refused.contains("more commands of the key"), "{refused}");
    let other = [shard(1, 2, &first), shard(2, 2, &["DEL m", "RPUSH m b"])].concat();
    restored(&other.into(), ALL).expect("two keys");
}
