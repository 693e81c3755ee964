//! Compression and encryption: both ways with the formats' own tools, and every way in which an input can be broken.

use std::process::Command;

use aquifer_engine::alone::{Input, Outcome, run_alone};
use aquifer_engine::failure::{Failure, FailureKind};
use aquifer_engine::registry::Registry;
use aquifer_functions::checksum::Checksum;
use aquifer_functions::compress::Compress;
use aquifer_functions::decompress::Decompress;
use aquifer_functions::decrypt::Decrypt;
use aquifer_functions::encrypt::Encrypt;
use aquifer_functions::throttle::Throttle;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::rig::{failure, pieces, sample, stalled, tool};

const FORMATS: [&str; 3] = ["zstd", "gzip", "lz4"];

async fn compress(params: Value, input: &[u8]) -> Vec<u8> {
    let outcome = run_alone(Compress, params, pieces(input)).await;
    let outputs = outcome.result.expect("compresses");
    assert_eq!(outputs, json!({"bytesIn": input.len(), "bytesOut": outcome.stdout.len()}));
    outcome.stdout
}

async fn decompress(input: &[u8]) -> Outcome {
    run_alone(Decompress, json!({}), pieces(input)).await
}

struct Keys {
    folder: tempfile::TempDir,
    recipient: String,
    identity: String,
}

impl Keys {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        let made =
            Command::new("age-keygen").arg("-o").arg(&file).output().expect("`age-keygen` is needed by this test");
        assert!(made.status.success());
        let text = std::fs::read_to_string(&file).expect("the key");
        let find =
            |begin: &str| text.lines().find_map(|line| line.strip_prefix(begin)).expect("in the file").to_owned();
        let identity = format!("AGE-SECRET-KEY-1{}", find("AGE-SECRET-KEY-1"));
        Self { recipient: find("# public key: "), identity, folder }
    }

    fn file(&self) -> String {
        self.folder.path().join("key").display().to_string()
    }
}

#[tokio::test]
async fn every_format_goes_both_ways_with_its_own_tool() {
    for length in [0, 1, 100_000, 5_000_001] {
        let plain = sample(length);
        for format in FORMATS {
            let ours = compress(json!({"format": format}), &plain).await;
            assert!(tool(&[format, "-d", "-c"], &ours) == plain, "{format} reads ours, {length}");
            let back = decompress(&ours).await;
            assert_eq!(back.result.expect("decompresses")["format"], format);
            assert!(back.stdout == plain, "ours reads ours, {format} {length}");
            let theirs = decompress(&tool(&[format, "-c"], &plain)).await;
            theirs.result.expect("decompresses");
            assert!(theirs.stdout == plain, "ours reads {format}'s, {length}");
        }
    }
}

#[tokio::test]
async fn levels_are_the_formats_own() {
    let plain = sample(300_000);
    for (format, low, high) in [("zstd", 1, 19), ("gzip", 1, 9)] {
        let low = compress(json!({"format": format, "level": low}), &plain).await;
        let high = compress(json!({"format": format, "level": high}), &plain).await;
        assert!(high.len() < low.len(), "{format}: {} {}", high.len(), low.len());
    }
    let registry = Registry::new().with(Compress);
    let compress = registry.get("compress").expect("registered");
    for wrong in [
        json!({"level": 0}),
        json!({"level": 23}),
        json!({"format": "gzip", "level": 10}),
        json!({"format": "lz4", "level": 1}),
    ] {
        assert_eq!(compress.prepare(wrong).expect_err("refused").path, "level");
    }
}

#[tokio::test]
async fn frames_that_follow_one_another_are_one_stream() {
    let (one, two) = (sample(70_000), sample(9));
    for format in FORMATS {
        let mut both = tool(&[format, "-c"], &one);
        both.extend(compress(json!({"format": format}), &two).await);
        both.extend(tool(&[format, "-c"], b""));
        let outcome = decompress(&both).await;
        assert_eq!(outcome.result.expect("decompresses")["bytesIn"], both.len(), "{format}");
        assert!(outcome.stdout == [&one[..], &two].concat(), "{format}");
    }
}

#[tokio::test]
async fn every_cut_of_a_compressed_stream_is_noticed() {
    let plain = sample(600);
    for format in FORMATS {
        let mut whole = vec![compress(json!({"format": format}), &plain).await, tool(&[format, "-c"], &plain)];
        if format == "lz4" {
            whole.push(tool(&["lz4", "-c", "--no-frame-crc"], &plain));
            whole.push(tool(&["lz4", "-c", "-BX", "-BD", "--content-size"], &plain));
        }
        for whole in whole {
            for cut in 0..whole.len() {
                let outcome = decompress(&whole[..cut]).await;
                failure(&outcome, FailureKind::Corrupt);
            }
        }
    }
}

#[tokio::test]
async fn a_cut_between_two_blocks_of_lz4_is_noticed() {
    // 64 KiB blocks without any checksum: each block's header says where the next one begins.
    let whole = tool(&["lz4", "-c", "-B4", "--no-frame-crc"], &sample(300_000));
    let (mut at, mut cuts) = (7, 0);
    loop {
        let size = u32::from_le_bytes(whole[at..at + 4].try_into().expect("four bytes")) & 0x7fff_ffff;
        failure(&decompress(&whole[..at]).await, FailureKind::Corrupt);
        cuts += 1;
        if size == 0 {
            break;
        }
        at += 4 + size as usize;
    }
    assert_eq!(cuts, 6, "five blocks and the end mark");
    // A block without content is none of an encoder's, but it must not pass for the end mark either.
    let mut hollow = whole[..7].to_vec();
    hollow.extend([0, 0, 0, 0x80]);
    failure(&decompress(&hollow).await, FailureKind::Corrupt);
}

#[tokio::test]
async fn a_cut_after_the_first_frame_is_noticed() {
    for format in FORMATS {
        let first = tool(&[format, "-c"], &sample(50));
        let both = [first.clone(), first.clone()].concat();
        for cut in first.len() + 1..both.len() {
            failure(&decompress(&both[..cut]).await, FailureKind::Corrupt);
        }
    }
}

#[tokio::test]
async fn what_follows_a_compressed_stream_is_refused() {
    for format in FORMATS {
        let whole = tool(&[format, "-c"], &sample(50));
        for tail in [&b"\0"[..], b"x", b"\0\0\0\0\0\0\0\0", b"garbage that follows the frame"] {
            failure(&decompress(&[&whole[..], tail].concat()).await, FailureKind::Corrupt);
        }
    }
}

#[tokio::test]
async fn no_flipped_byte_gives_other_bytes() {
    let plain = sample(600);
    for format in FORMATS {
        let whole = compress(json!({"format": format}), &plain).await;
        let mut noticed = 0;
        for at in 0..whole.len() {
            for flip in [0x01, 0x80] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                let outcome = decompress(&damaged).await;
                if outcome.result.is_ok() {
                    // gzip's header has a date and an operating system that nothing depends on.
                    assert!(outcome.stdout == plain, "{format}: byte {at} changed the content unnoticed");
                } else {
                    failure(&outcome, FailureKind::Corrupt);
                    noticed += 1;
                }
            }
        }
        assert!(noticed > whole.len(), "{format}: {noticed} of {}", whole.len() * 2);
    }
}

#[tokio::test]
async fn what_is_not_compressed_is_told_so() {
    let outcome = decompress(b"").await;
    assert!(failure(&outcome, FailureKind::Corrupt).message.contains("empty"));
    let outcome = decompress(b"age-encryption.org/v1\n").await;
    assert!(failure(&outcome, FailureKind::Corrupt).help.as_ref().is_some_and(|help| help.contains("`decrypt`")));
    let gzip = tool(&["gzip", "-c"], b"x");
    let outcome = run_alone(Decompress, json!({"format": "zstd"}), Input::bytes(gzip)).await;
    assert_eq!(failure(&outcome, FailureKind::Corrupt).message, "the stream is gzip and not zstd");
}

#[tokio::test]
async fn a_zstd_window_that_takes_too_much_memory_is_refused() {
    let zeros = vec![0; 1000];
    let wide = tool(&["zstd", "-c", "--long=30", "--zstd=wlog=30"], &zeros);
    failure(&decompress(&wide).await, FailureKind::Corrupt);
    decompress(&tool(&["zstd", "-c", "--long=27"], &zeros)).await.result.expect("the default of zstd itself");
}

#[tokio::test]
async fn a_small_stream_with_huge_content_is_only_long() {
    let bomb = tool(&["sh", "-c", "head -c 200000000 /dev/zero | zstd -c"], b"");
    assert!(bomb.len() < 50_000);
    let outcome = decompress(&bomb).await;
    assert_eq!(outcome.result.expect("decompresses")["bytesOut"], 200_000_000);
}

#[tokio::test]
async fn a_broken_pipe_is_the_failure_it_broke_with() {
    let keys = Keys::new();
    let lost = Failure::unavailable("the server went away");
    let broken = |bytes: Vec<u8>| Input::Broken(vec![Bytes::from(bytes)], lost.clone());
    let sealed = run_alone(Encrypt, json!({"recipients": [keys.recipient]}), pieces(&sample(9000))).await.stdout;
    for outcome in [
        run_alone(Compress, json!({}), broken(sample(9000))).await,
        run_alone(Decompress, json!({}), broken(tool(&["zstd", "-c"], &sample(9000)))).await,
        run_alone(Decompress, json!({}), broken(tool(&["lz4", "-c"], &sample(9000)))).await,
        run_alone(Decompress, json!({}), broken(tool(&["gzip", "-c"], &sample(9000)))).await,
        run_alone(Encrypt, json!({"recipients": [keys.recipient]}), broken(sample(9000))).await,
        run_alone(Decrypt, json!({"identities": [keys.identity]}), broken(sealed)).await,
    ] {
        assert_eq!(outcome.result.expect_err("broken"), lost);
    }
}

#[tokio::test]
async fn a_stopped_codec_ends_soon() {
    let keys = Keys::new();
    let (zstd, plain) = (tool(&["zstd", "-c"], &sample(9000)), sample(9000));
    let sealed = tool(&["age", "-r", &keys.recipient], &plain);
    let soon = async || {};
    for result in [
        stalled(Compress, json!({}), plain.clone(), soon).await,
        stalled(Decompress, json!({}), zstd[..zstd.len() / 2].to_vec(), soon).await,
        stalled(Encrypt, json!({"recipients": [keys.recipient]}), plain.clone(), soon).await,
        stalled(Decrypt, json!({"identities": [keys.identity]}), sealed[..sealed.len() / 2].to_vec(), soon).await,
        stalled(Throttle, json!({"rate": 1}), plain.clone(), soon).await,
        stalled(Checksum, json!({}), plain, soon).await,
    ] {
        assert_eq!(result.expect_err("stopped").kind, FailureKind::Cancelled);
    }
}

#[tokio::test]
async fn encryption_goes_both_ways_with_age() {
    let keys = Keys::new();
    for length in [0, 1, 64 << 10, 128 << 10, 3_000_001] {
        let plain = sample(length);
        let ours = run_alone(Encrypt, json!({"recipients": [keys.recipient]}), pieces(&plain)).await;
        assert_eq!(ours.result.expect("encrypts")["bytesOut"], ours.stdout.len());
        assert!(tool(&["age", "-d", "-i", &keys.file()], &ours.stdout) == plain, "age reads ours, {length}");
        let theirs = tool(&["age", "-r", &keys.recipient], &plain);
        for params in [json!({"identities": [keys.identity]}), json!({"identityFile": keys.file()})] {
            for sealed in [&theirs, &ours.stdout] {
                let back = run_alone(Decrypt, params.clone(), pieces(sealed)).await;
                assert_eq!(back.result.expect("decrypts"), json!({"bytesIn": sealed.len(), "bytesOut": length}));
                assert!(back.stdout == plain, "{length}");
            }
        }
    }
}

#[tokio::test]
async fn a_passphrase_decrypts_what_it_encrypted() {
    let params = json!({"passphrase": "correct horse", "workFactor": 10});
    let sealed = run_alone(Encrypt, params, Input::bytes("secret")).await.stdout;
    let back = run_alone(Decrypt, json!({"passphrase": "correct horse"}), Input::bytes(sealed.clone())).await;
    back.result.expect("decrypts");
    assert_eq!(back.stdout, b"secret");
    let wrong = run_alone(Decrypt, json!({"passphrase": "battery staple"}), Input::bytes(sealed.clone())).await;
    let refused = failure(&wrong, FailureKind::Unauthorized);
    assert!(!format!("{refused:?}").contains("battery"));
    let keys = Keys::new();
    let wrong = run_alone(Decrypt, json!({"identities": [keys.identity]}), Input::bytes(sealed)).await;
    failure(&wrong, FailureKind::Unauthorized);
}

#[tokio::test]
async fn the_wrong_key_is_refused_before_a_byte_comes_out() {
    let (keys, others) = (Keys::new(), Keys::new());
    let sealed = tool(&["age", "-r", &keys.recipient], b"secret");
    let outcome = run_alone(Decrypt, json!({"identities": [others.identity]}), Input::bytes(sealed.clone())).await;
    failure(&outcome, FailureKind::Unauthorized);
    assert!(outcome.stdout.is_empty());
    let both = json!({"identities": [others.identity], "identityFile": keys.file()});
    run_alone(Decrypt, both, Input::bytes(sealed)).await.result.expect("one of the keys fits");
}

#[tokio::test]
async fn every_cut_and_flip_of_an_encrypted_stream_is_noticed() {
    let keys = Keys::new();
    let whole = run_alone(Encrypt, json!({"recipients": [keys.recipient]}), Input::bytes("secret")).await.stdout;
    let decrypt =
        async |bytes: Vec<u8>| run_alone(Decrypt, json!({"identities": [keys.identity]}), Input::bytes(bytes)).await;
    for cut in 0..whole.len() {
        failure(&decrypt(whole[..cut].to_vec()).await, FailureKind::Corrupt);
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x01;
        // A stanza that was changed no longer fits the key.
        let failure = decrypt(damaged).await.result.expect_err("noticed");
        assert!(
            matches!(failure.kind, FailureKind::Corrupt | FailureKind::Unauthorized | FailureKind::Rejected),
            "{failure:?}"
        );
    }
    failure(&decrypt([&whole[..], b"x"].concat()).await, FailureKind::Corrupt);
}

#[tokio::test]
async fn a_cut_between_two_pieces_of_an_encrypted_stream_is_noticed() {
    let keys = Keys::new();
    let sealed = tool(&["age", "-r", &keys.recipient], &sample(192 << 10));
    let piece = (64 << 10) + 16;
    for pieces in 1..3 {
        let cut = sealed.len() - pieces * piece;
        let outcome =
            run_alone(Decrypt, json!({"identities": [keys.identity]}), Input::bytes(sealed[..cut].to_vec())).await;
        failure(&outcome, FailureKind::Corrupt);
    }
    let outcome =
        run_alone(Decrypt, json!({"identities": [keys.identity]}), Input::bytes([&sealed[..], b"more"].concat())).await;
    failure(&outcome, FailureKind::Corrupt);
}

#[tokio::test]
async fn what_is_no_age_is_told_so() {
    let keys = Keys::new();
    let decrypt =
        async |bytes: Vec<u8>| run_alone(Decrypt, json!({"identities": [keys.identity]}), Input::bytes(bytes)).await;
    let armored = tool(&["age", "-a", "-r", &keys.recipient], b"x");
    assert!(failure(&decrypt(armored).await, FailureKind::Corrupt).message.contains("armor"));
    failure(&decrypt(b"plain text, of no special kind".to_vec()).await, FailureKind::Corrupt);
    let mut endless = b"age-encryption.org/v1\n-> X25519 ".to_vec();
    endless.resize(3 << 20, b'a');
    assert!(failure(&decrypt(endless).await, FailureKind::Corrupt).message.contains("longer than 64 KiB"));
}

#[test]
fn wrong_keys_are_refused_at_their_place_and_never_repeated() {
    let keys = Keys::new();
    let registry = Registry::new().with(Encrypt).with(Decrypt);
    for (function, params, path) in [
        ("encrypt", json!({}), ""),
        ("encrypt", json!({"recipients": [keys.recipient], "passphrase": "x"}), "passphrase"),
        ("encrypt", json!({"passphrase": ""}), "passphrase"),
        ("encrypt", json!({"recipients": [keys.recipient, "age1nonsense"]}), "recipients.1"),
        ("encrypt", json!({"recipients": [keys.identity]}), "recipients.0"),
        ("encrypt", json!({"recipients": [keys.recipient], "workFactor": 12}), "workFactor"),
        ("encrypt", json!({"passphrase": "x", "workFactor": 40}), "workFactor"),
        ("decrypt", json!({}), ""),
        ("decrypt", json!({"identities": [keys.recipient]}), "identities.0"),
        ("decrypt", json!({"identities": [keys.identity, "hunter2hunter2"]}), "identities.1"),
        ("decrypt", json!({"identities": [keys.identity], "passphrase": "x"}), "passphrase"),
    ] {
        let error = registry.get(function).expect("registered").prepare(params.clone()).expect_err("refused");
        assert_eq!(error.path, path, "{params}: {error}");
        let shown = format!("{error:?}");
        assert!(!shown.contains(&keys.identity) && !shown.contains("hunter2"), "{shown}");
    }
}
