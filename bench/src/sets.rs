//! The data sets that the Redis part measures with, the same ones every time.
//!
//! Takes a server and a scale. Leaves the server filled. The sets, at scale 1: `a` a million small strings; `b` 200,000 keys of
//! every type, a fifth of them expiring, of some 700 bytes each as plain commands (as those of which the project's goals were
//! measured); `c` a sorted set and a hash of a million members each; `d` 1 GiB of strings of
//! 100 KiB that hold JSON lines; `e` as `b`, without streams.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::Path;
use std::process::Stdio;

use crate::options::Options;
use crate::server::{Server, create, run};

/// How many elements a value of set `b` or `e` has at most.
const MOST_ELEMENTS: &str = "90";

/// How long a string of set `d` is.
const LONG: usize = 100 << 10;

/// What a set is called in tables.
pub(crate) fn name(set: char, options: &Options) -> String {
    let count = |full| options.scaled(full);
    match set {
        'a' => format!("a: {} small strings", count(1_000_000)),
        'b' => format!("b: {} mixed keys with streams", count(200_000)),
        'c' => format!("c: a sorted set and a hash of {} members each", count(1_000_000)),
        'd' => format!("d: {} strings of 100 KiB", count((1 << 30) / LONG as u64)),
        _ => format!("e: {} mixed keys", count(200_000)),
    }
}

/// Fills an empty server.
pub(crate) fn load(set: char, server: &Server, options: &Options) -> Result<(), String> {
    match set {
        'a' => server.feed(|out| strings(out, 0..options.scaled(1_000_000), "v")),
        'b' => mixed(server, 0..options.scaled(200_000), "all"),
        'c' => server.feed(|out| members(out, options.scaled(1_000_000))),
        'd' => server.feed(|out| long_strings(out, options.scaled((1 << 30) / LONG as u64))),
        _ => mixed(server, 0..options.scaled(200_000), "no-streams"),
    }
}

/// Keys of every type in database 0, by the script that the demo uses too.
pub(crate) fn mixed(server: &Server, keys: Range<u64>, streams: &str) -> Result<(), String> {
    const AT_ONCE: u64 = 5_000;
    for from in keys.clone().step_by(AT_ONCE as usize) {
        let (first, number) = (from.to_string(), AT_ONCE.min(keys.end - from).to_string());
        run(server
            .cli()
            .args(["--eval", "scripts/fill.lua", ",", &first, &number, "1900000000000", streams, MOST_ELEMENTS])
            .stdout(Stdio::null()))?;
    }
    Ok(())
}

fn command(out: &mut impl Write, args: &[&[u8]]) -> std::io::Result<()> {
    write!(out, "*{}\r\n", args.len())?;
    for arg in args {
        write!(out, "${}\r\n", arg.len())?;
        out.write_all(arg)?;
        out.write_all(b"\r\n")?;
    }
    Ok(())
}

/// `SET key:000001 value…` for these keys, with a value of some 50 bytes that follows from the key and `salt`.
fn strings(out: &mut impl Write, keys: impl Iterator<Item = u64>, salt: &str) -> std::io::Result<()> {
    for key in keys {
        let name = format!("key:{key:08}");
        let value = format!("{salt}{:0>40x}", u128::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        command(out, &[b"SET", name.as_bytes(), value.as_bytes()])?;
    }
    Ok(())
}

/// The same, into a file.
pub(crate) fn write_strings(path: &Path, keys: impl Iterator<Item = u64>, salt: &str) -> Result<(), String> {
    let mut file: BufWriter<File> = BufWriter::new(create(path)?);
    strings(&mut file, keys, salt).and_then(|()| file.flush()).map_err(|error| error.to_string())
}

fn members(out: &mut impl Write, count: u64) -> std::io::Result<()> {
    const AT_ONCE: u64 = 500;
    for from in (0..count).step_by(AT_ONCE as usize) {
        let numbers = from..count.min(from + AT_ONCE);
        let board: Vec<String> = numbers
            .clone()
            .flat_map(|n| [format!("{}", n.wrapping_mul(2_654_435_761) % 1_000_003), format!("player:{n:07}")])
            .collect();
        let table: Vec<String> = numbers.flat_map(|n| [format!("field:{n:07}"), format!("value {n:020}")]).collect();
        for (name, key, parts) in [("ZADD", "board", &board), ("HSET", "table", &table)] {
            let mut args: Vec<&[u8]> = vec![name.as_bytes(), key.as_bytes()];
            args.extend(parts.iter().map(String::as_bytes));
            command(out, &args)?;
        }
    }
    Ok(())
}

fn long_strings(out: &mut impl Write, count: u64) -> std::io::Result<()> {
    let mut dice = 1u64;
    for key in 0..count {
        let mut value = String::with_capacity(LONG + 200);
        while value.len() < LONG {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (id, amount, hash) = (dice >> 44, (dice >> 20) % 100_000, dice >> 32);
            value += &format!(
                "{{\"id\":{id},\"customer\":\"customer {}\",\"amount\":{amount},\"currency\":\"EUR\",\"etag\":\"{hash:08x}\"}}\n",
                id % 1000
            );
        }
        command(out, &[b"SET", format!("document:{key:06}").as_bytes(), &value.as_bytes()[..LONG]])?;
    }
    Ok(())
}
