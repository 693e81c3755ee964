//! Streams of shards behind each other: which are whole, and what is said of all others.

use aquifer_engine::failure::FailureKind;
use aquifer_engine::pipe::{DEFAULT_BUDGET, pipe};
use aquifer_engine::stream::StreamType;
use bytes::{Bytes, BytesMut};

use super::*;
use crate::redis::keys::tally::PerType;
use crate::redis::stream::form::{ClusterHead, Form};

/// The stream of a shard with so many keys; `joined`: one of several.
async fn shard(shard: u32, shards: u32, keys: u64, joined: bool, layout: &str) -> Vec<u8> {
    let layout = joined.then(|| layout.to_owned());
    let functions = joined.then(|| "0".to_owned());
    let cluster = ClusterHead { shards, shard: Some(shard), joined, layout, functions };
    let mut lines: Vec<String> = (0..keys).map(|key| format!("SET key:{shard}:{key} value")).collect();
    lines.insert(0, "SELECT 0".to_owned());
    if shard == 1 {
        lines.insert(0, "FUNCTION LOAD REPLACE #!lua".to_owned());
    }
    written(cluster, &lines, PerType { string: keys, ..PerType::default() }, u64::from(shard == 1)).await
}

/// A stream of these commands.
async fn written(cluster: ClusterHead, lines: &[String], types: PerType, functions: u64) -> Vec<u8> {
    let (redis, source, cluster) = ("7.4.1".into(), "scan".into(), Some(cluster));
    let head = StreamHead { redis, source, cluster, ..StreamHead::default() };
    let (writer, mut ends) = pipe(1, DEFAULT_BUDGET, &StreamType::unknown(), None);
    let (mut reader, control) = ends.remove(0);
    let mut form = Form::begin(writer, &head).expect("a head");
    for line in lines {
        form.command(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    }
    form.finish(types, functions).await.expect("room");
    control.finish();
    let mut stream = Vec::new();
    while let Some(piece) = reader.read().await.expect("finished") {
        stream.extend_from_slice(&piece);
    }
    stream
}

async fn part(number: u32, shards: u32) -> Vec<u8> {
    shard(number, shards, u64::from(number), true, "a").await
}

/// A pipe with a stream in it, in small pieces.
fn piped(stream: &[u8]) -> Reader {
    let (mut writer, mut ends) = pipe(1, DEFAULT_BUDGET, &StreamType::unknown(), None);
    let (reader, control) = ends.remove(0);
    let mut all = BytesMut::from(stream).freeze();
    tokio::spawn(async move {
        while !all.is_empty() {
            let piece: Bytes = all.split_to(all.len().min(7));
            if writer.write(piece).await.is_err() {
                return;
            }
        }
        control.finish();
    });
    reader
}

/// Reads to the end; gives the numbers of heads, commands, libraries and bytes.
async fn read(stream: &[u8], require_trailer: bool) -> Result<[u64; 4], Failure> {
    let (mut reader, mut heads) = (StreamReader::new(piped(stream), require_trailer), 0);
    loop {
        match reader.next().await? {
            Said::Head(_) | Said::Another(_) => heads += 1,
            Said::End => return Ok([heads, reader.commands(), reader.functions, reader.parser.offset()]),
            Said::Statement(_) | Said::Long(_) => {}
        }
    }
}

/// The stream must be refused, whether or not a trailer is asked for, and these words be said.
async fn refused(stream: &[u8], says: &str) {
    for require_trailer in [true, false] {
        let failure = read(stream, require_trailer).await.expect_err(says);
        assert_eq!(failure.kind, FailureKind::Corrupt, "{failure:?}");
        assert!(failure.message.contains(says) && failure.help.is_some(), "{says}: {failure:?}");
    }
}

#[tokio::test]
async fn the_streams_of_all_shards_in_order_are_one_stream() {
    for shards in 1..=4 {
        let mut all = Vec::new();
        for number in 1..=shards {
            all.extend(part(number, shards).await);
        }
        let n = u64::from(shards);
        // Of each its head, `SELECT` and trailer; of the first a library.
        let expected = [n, 3 * n + 1 + n * (n + 1) / 2, 1, all.len() as u64];
        for require_trailer in [true, false] {
            assert_eq!(read(&all, require_trailer).await.expect("whole"), expected, "{shards}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_ends_before_its_last_shard_is_cut_off_wherever_that_is() {
    let (one, two, three) = (part(1, 3).await, part(2, 3).await, part(3, 3).await);
    refused(&one, "behind shard 1 of 3").await;
    refused(&[&one[..], &two].concat(), "behind shard 2 of 3").await;
    let all = [&one[..], &two, &three].concat();
    for cut in 1..all.len() {
        for require_trailer in [true, false] {
            let failure = read(&all[..cut], require_trailer).await.expect_err("cut off");
            assert!(failure.message.contains("cut off"), "{cut}: {failure:?}");
        }
    }
    let last = all.windows(12).rposition(|part| part == b"*2\r\n$4\r\nECHO").expect("a trailer");
    refused(&all[..last], "shard 3 of 3: the stream is cut off").await;
    assert!(read(&all, true).await.is_ok());
}

#[tokio::test]
async fn another_stream_than_that_of_the_next_shard_is_refused() {
    let (one, two, three) = (part(1, 3).await, part(2, 3).await, part(3, 3).await);
    let join = |parts: &[&Vec<u8>]| parts.iter().flat_map(|part| part.iter().copied()).collect::<Vec<u8>>();
    refused(&join(&[&two, &three]), "it begins with shard 2 of 3").await;
    refused(&join(&[&one, &three, &two]), "shard 2 of 3 has to follow here, and there is shard 3 of 3").await;
    refused(&join(&[&one, &one, &two, &three]), "there is shard 1 of 3").await;
    refused(&join(&[&one, &two, &two, &three]), "shard 3 of 3 has to follow here, and there is shard 2 of 3").await;
    let of_four = part(2, 4).await;
    refused(&join(&[&one, &of_four, &three]), "there is shard 2 of 4").await;
    let alone = shard(2, 3, 2, false, "").await;
    refused(&join(&[&one, &alone, &three]), "a dump that is none of several").await;
    let ping = b"*1\r\n$4\r\nPING\r\n".to_vec();
    refused(&join(&[&one, &ping, &two, &three]), "no head of a dump").await;
    let long = [&b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2000000\r\n"[..], &vec![b'x'; 2_000_000], b"\r\n"].concat();
    refused(&join(&[&one, &long, &two, &three]), "no head of a dump").await;
    let moved = shard(2, 3, 2, true, "b").await;
    refused(&join(&[&one, &moved, &three]), "distributed otherwise").await;
    let loaded = String::from_utf8(two.clone()).expect("text").replace("\"functions\":\"0\"", "\"functions\":\"1\"");
    refused(&join(&[&one, &loaded.into_bytes(), &three]), "other functions than shard 1").await;
    for more in [&one, &three, &alone, &ping] {
        refused(&join(&[&one, &two, &three, more]), "there is more behind the trailer").await;
    }
    // What is one of several is so only by its own head, and only where there is such a shard.
    refused(&join(&[&alone, &two, &three]), "there is more behind the trailer").await;
    refused(&shard(0, 3, 1, true, "a").await, "damaged").await;
    refused(&shard(4, 3, 1, true, "a").await, "damaged").await;
}

#[tokio::test]
async fn each_shard_is_held_to_its_own_trailer() {
    let (one, two, three) = (part(1, 3).await, part(2, 3).await, part(3, 3).await);
    let value = b"\r\n$5\r\nvalue\r\n";
    for altered in 0..3 {
        let mut parts = [one.clone(), two.clone(), three.clone()];
        let at = parts[altered].windows(value.len()).position(|part| part == value).expect("a value");
        parts[altered][at + 6] ^= 1;
        refused(&parts.concat(), &format!("shard {} of 3: the stream is damaged", altered + 1)).await;
    }
    // A shard's keys under another's trailer.
    let trailer = |stream: &[u8]| stream.windows(12).rposition(|part| part == b"*2\r\n$4\r\nECHO").expect("a trailer");
    let exchanged = [&two[..trailer(&two)], &three[trailer(&three)..]].concat();
    refused(&[&one[..], &exchanged, &three].concat(), "shard 2 of 3: the stream is damaged").await;
    refused(&[&one[..trailer(&one)], &two, &three].concat(), "shard 1 of 3: the stream is damaged").await;
}

#[tokio::test]
async fn beginnings_say_whether_all_shards_are_there() {
    let parts = [part(1, 3).await, part(2, 3).await, part(3, 3).await];
    let all = |order: &[usize]| {
        let beginnings: Vec<&[u8]> = order.iter().map(|at| &parts[*at][..300]).collect();
        Joined::all(&beginnings)
    };
    assert!(all(&[0, 1, 2]).expect("in order"));
    for (order, says) in [
        (&[0, 1][..], "shard 3 of 3 is missing"),
        (&[1, 0, 2], "begins with shard 2"),
        (&[0, 2, 1], "part 2 of 3: "),
        (&[0, 1, 2, 2], "was the last one"),
    ] {
        let failure = all(order).expect_err(says);
        assert!(failure.message.contains(says), "{failure:?}");
    }
    let alone = shard(1, 1, 1, false, "").await;
    assert!(!Joined::all(&[&alone]).expect("none of several"));
    assert!(!Joined::all(&[&b"some text"[..], b"more"]).expect("no dump"));
    assert!(Joined::all(&[&parts[0][..], b"no head"]).is_err());
    assert!(!Joined::all(&[&parts[0][..40], &parts[1][..40]]).expect("no whole head"));
}
