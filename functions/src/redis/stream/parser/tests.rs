//! Streams cut into pieces in every way, and what is no stream of commands.

use aquifer_engine::pipe::{DEFAULT_BUDGET, pipe};
use aquifer_engine::stream::StreamType;

use super::*;

/// Reads a stream that comes in pieces of this size; gives each command's offset and arguments.
async fn read(bytes: &[u8], piece: usize) -> Result<(Vec<(u64, Vec<Bytes>)>, u64), Failure> {
    let (mut writer, mut ends) = pipe(1, DEFAULT_BUDGET, &StreamType::unknown(), None);
    let (reader, control) = ends.remove(0);
    let all = bytes.to_vec();
    let feeding = tokio::spawn(async move {
        for chunk in all.chunks(piece) {
            if writer.write(Bytes::copy_from_slice(chunk)).await.is_err() {
                return;
            }
        }
        control.finish();
    });
    let mut parser = Parser::new(reader);
    let mut found = Vec::new();
    let outcome = loop {
        match parser.next().await {
            Ok(Next::End) => break Ok((found, parser.checksum())),
            Ok(Next::Command(command)) => {
                found.push((command.offset, (0..command.len()).map(|place| command.bytes(place)).collect()));
            }
            Ok(Next::Large(large)) => {
                let mut args = large.args.to_vec();
                while let Some(mut left) = parser.argument().await? {
                    let mut arg = BytesMut::new();
                    loop {
                        arg.extend_from_slice(&parser.piece(&mut left).await?);
                        if left == 0 {
                            break;
                        }
                    }
                    args.push(arg.freeze());
                }
                assert_eq!(large.count, args.len() as u64);
                found.push((large.offset, args));
            }
            Err(failure) => break Err(failure),
        }
    };
    feeding.abort();
    outcome
}

fn sample() -> (Vec<u8>, Vec<Vec<Bytes>>) {
    let mut out = BytesMut::new();
    let big = vec![b'\n'; 3 * WHOLE];
    let commands: Vec<Vec<&[u8]>> = vec![
        vec![b"PING"],
        vec![b"SET", b"", b"\r\n*1\r\n"],
        vec![b"SET", b"big", &big, b"", b"PXAT"],
        vec![b"RPUSH", b"k", b"a", b"b"],
    ];
    for command in &commands {
        resp::command(&mut out, command);
    }
    let expected = commands.iter().map(|args| args.iter().map(|arg| Bytes::copy_from_slice(arg)).collect()).collect();
    (out.to_vec(), expected)
}

#[tokio::test]
async fn pieces_of_any_size_make_the_same_commands_and_checksum() {
    let (bytes, expected) = sample();
    for piece in [7, 1000, 65_536, 1 << 22] {
        let (found, checksum) = read(&bytes, piece).await.expect("sound");
        let args: Vec<_> = found.iter().map(|(_, args)| args.clone()).collect();
        assert!(args == expected, "pieces of {piece}");
        assert_eq!(checksum, xxhash_rust::xxh3::xxh3_64(&bytes), "pieces of {piece}");
        assert_eq!(found[1].0, b"*1\r\n$4\r\nPING\r\n".len() as u64);
    }
    let (small, _) = bytes.split_at(40);
    assert!(read(small, 1).await.is_err());
}

#[tokio::test]
async fn whatever_is_no_command_is_refused_with_its_place() {
    for (bytes, place) in [
        ("HTTP/1.1 200 OK\r\n\r\n", "byte 0"),
        ("REDIS0011\u{fa}", "byte 0"),
        ("*0\r\n", "byte 0"),
        ("*-1\r\n", "byte 0"),
        ("*1048577\r\n", "byte 0"),
        ("*1\r\n+OK\r\n", "byte 4"),
        ("*1\r\n$-1\r\n", "byte 4"),
        ("*1\r\n$99999999999\r\n", "byte 4"),
        ("*1\r\n$4\r\nPINGx\r\n", "byte 12"),
        ("*1\r\n$4\r\nPING\r\nSET a b\r\n", "byte 14"),
        ("*00000000000000000000000000000000000001\r\n", "byte 0"),
        ("*1\r\n$4\r\nPIN", "byte 11"),
        ("*2\r\n$3\r\nGET\r\n$536870912\r\nshort", "byte 30"),
        ("*1\r\n$400000000\r\n", "byte 4"),
    ] {
        for piece in [1, 100] {
            let failure = read(bytes.as_bytes(), piece).await.expect_err(bytes);
            assert_eq!(failure.kind, aquifer_engine::failure::FailureKind::Corrupt);
            assert!(failure.message.contains(place), "{bytes:?}: {}", failure.message);
        }
    }
}

/// Reads a stream that comes in two pieces, cut at this place; gives each command's arguments, and for a long one how
/// many were given whole.
async fn read_cut(bytes: &[u8], cut: usize) -> Vec<(Option<usize>, Vec<Bytes>)> {
    let (mut writer, mut ends) = pipe(1, DEFAULT_BUDGET, &StreamType::unknown(), None);
    let (reader, control) = ends.remove(0);
    let (first, second) = (Bytes::copy_from_slice(&bytes[..cut]), Bytes::copy_from_slice(&bytes[cut..]));
    let feeding = tokio::spawn(async move {
        for piece in [first, second] {
            writer.write(piece).await.expect("it is read");
        }
        control.finish();
    });
    let (mut parser, mut found) = (Parser::new(reader), Vec::new());
    loop {
        match parser.next().await.expect("sound") {
            Next::End => break,
            Next::Command(command) => {
                found.push((None, (0..command.len()).map(|place| command.bytes(place)).collect()));
            }
            Next::Large(large) => {
                let (whole, mut args) = (large.args.len(), large.args.to_vec());
                for _ in whole as u64..large.count {
                    args.push(parser.short(u64::MAX).await.expect("sound"));
                }
                assert_eq!(parser.argument().await.expect("sound"), None);
                found.push((Some(whole), args));
            }
        }
    }
    feeding.await.expect("no panic");
    assert_eq!(parser.checksum(), xxhash_rust::xxh3::xxh3_64(bytes), "cut at {cut}");
    found
}

#[tokio::test]
async fn where_a_piece_ends_says_nothing_about_what_is_given_whole() {
    let long = vec![b'v'; WHOLE + 10];
    let (long, half) = (&long[..], &long[..WHOLE / 2 + 10]);
    let commands: [&[&[u8]]; 9] = [
        &[b"SET", b"k", long, b"PXAT", b"1999999999999"],
        &[b"SET", b"k", long],
        &[b"RESTORE", b"k", b"1999999999999", long, b"REPLACE", b"ABSTTL"],
        &[b"XADD", b"k", b"1-1", b"f", long, b"g", b"w"],
        &[b"RPUSH", b"k", half, half, b"tail"],
        &[b"HSET", b"k", b"f", long, b"", b""],
        &[b"FUNCTION", b"LOAD", b"REPLACE", long],
        // Names are held whole in any case.
        &[b"xgroup", b"CREATE", long, b"g", b"0"],
        &[b"PEXPIREAT", long, b"1999999999999"],
    ];
    for args in commands {
        let mut bytes = BytesMut::new();
        resp::command(&mut bytes, args);
        resp::command(&mut bytes, &[b"PING"]);
        let expected = vec![
            (
                Some(2).filter(|_| ![&b"PEXPIREAT"[..], b"xgroup"].contains(&args[0])),
                args.iter().map(|arg| Bytes::copy_from_slice(arg)).collect(),
            ),
            (None, vec![Bytes::from_static(b"PING")]),
        ];
        for cut in (1..70).chain(WHOLE / 2..WHOLE / 2 + 80).chain(WHOLE..bytes.len()) {
            let found = read_cut(&bytes, cut).await;
            assert!(found == expected, "{} cut at {cut} of {}", show(args[0]), bytes.len());
        }
    }
}
