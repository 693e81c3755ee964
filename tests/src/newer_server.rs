//! A stand-in for a server that is newer than the one on the machine: it holds one big hash whose fields have expiries, and
//! answers as Redis 7.4 documents it.
//!
//! Takes nothing. Gives a url. Always holds: a command that it does not know is an error reply, as on any server.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

/// Fields of the hash.
pub const FIELDS: usize = 1000;

/// When the field of this number expires, in milliseconds of Unix time; most never do.
pub fn expiry(field: usize) -> Option<u64> {
    field.is_multiple_of(3).then_some(1_999_999_000_000 + (field % 2) as u64)
}

/// Starts it; it ends with the test's process.
pub fn start() -> String {
    start_showing(1)
}

/// Starts one whose `SCAN` shows the key so often, as one does whose table shrinks; and that holds as many keys, all but one of which have
/// expired, so that nobody is shown them.
pub fn start_showing(times: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("redis://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || serve(client, times));
        }
    });
    url
}

fn serve(client: TcpStream, times: usize) -> Option<()> {
    let mut input = BufReader::new(client.try_clone().ok()?);
    let mut output = client;
    let mut queued: Option<Vec<Vec<String>>> = None;
    loop {
        let command = read(&mut input)?;
        let reply = match (&command[0].to_ascii_uppercase()[..], &mut queued) {
            ("MULTI", _) => {
                queued = Some(Vec::new());
                "+OK\r\n".to_owned()
            }
            ("EXEC", Some(commands)) => {
                let replies: String = commands.iter().map(|command| answer(command, times)).collect();
                let reply = format!("*{}\r\n{replies}", commands.len());
                queued = None;
                reply
            }
            (_, Some(commands)) => {
                commands.push(command);
                "+QUEUED\r\n".to_owned()
            }
            _ => answer(&command, times),
        };
        output.write_all(reply.as_bytes()).ok()?;
    }
}

fn read(input: &mut impl BufRead) -> Option<Vec<String>> {
    let mut line = String::new();
    let mut number = |input: &mut dyn BufRead| -> Option<usize> {
        line.clear();
        input.read_line(&mut line).ok().filter(|read| *read > 0)?;
        line.get(1..)?.trim().parse().ok()
    };
    let count = number(input)?;
    let mut words = Vec::new();
    for _ in 0..count {
        let length = number(input)?;
        let mut word = vec![0; length + 2];
        input.read_exact(&mut word).ok()?;
        word.truncate(length);
        words.push(String::from_utf8_lossy(&word).into_owned());
    }
    Some(words)
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn array(items: impl ExactSizeIterator<Item = String>) -> String {
    format!("*{}\r\n{}", items.len(), items.collect::<String>())
}

/// The number in a field's name.
fn field(name: &str) -> Option<usize> {
    name.strip_prefix('f')?.parse().ok().filter(|number| *number < FIELDS)
}

fn answer(command: &[String], times: usize) -> String {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    match &words[..] {
        ["CLIENT" | "SELECT", ..] => "+OK\r\n".to_owned(),
        ["WATCH" | "UNWATCH", ..] => "+OK\r\n".to_owned(),
        ["PING"] => "+PONG\r\n".to_owned(),
        ["INFO", "server"] => bulk("redis_version:7.4.0\r\nredis_mode:standalone\r\nrun_id:1\r\n"),
        ["INFO", "keyspace"] => bulk("# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0,subexpiry=1\r\n"),
        ["INFO", "replication"] => bulk("role:master\r\nconnected_slaves:0\r\nmaster_repl_offset:0\r\n"),
        ["ROLE"] => format!("*3\r\n{}:0\r\n*0\r\n", bulk("master")),
        ["FUNCTION", "LIST", ..] => "*0\r\n".to_owned(),
        ["PEXPIRETIME", key] => if *key == "h" { ":-1\r\n" } else { ":-2\r\n" }.to_owned(),
        ["SCAN", ..] => format!("*2\r\n{}{}", bulk("0"), array(vec![bulk("h"); times].into_iter())),
        ["DBSIZE"] => format!(":{times}\r\n"),
        ["TYPE", "h"] => "+hash\r\n".to_owned(),
        ["MEMORY", "USAGE", "h"] => format!(":{}\r\n", 8 << 20),
        ["HLEN", "h"] => format!(":{FIELDS}\r\n"),
        // Cursors are the number of the next field; the last page also shows a field that has just gone.
        ["HSCAN", "h", cursor, "COUNT", count, "NOVALUES"] => {
            let from: usize = cursor.parse().unwrap_or(0);
            let to = (from + count.parse().unwrap_or(10)).min(FIELDS);
            let next = if to < FIELDS { to.to_string() } else { "0".to_owned() };
            let names: Vec<String> = (from..to + usize::from(to == FIELDS)).map(|n| bulk(&format!("f{n}"))).collect();
            format!("*2\r\n{}{}", bulk(&next), array(names.into_iter()))
        }
        ["HPEXPIRETIME", "h", "FIELDS", _, names @ ..] => {
            let one = |name: &&str| match field(name) {
                Some(number) => format!(":{}\r\n", expiry(number).map_or(-1, |at| at as i64)),
                None => ":-2\r\n".to_owned(),
            };
            array(names.iter().map(one).collect::<Vec<_>>().into_iter())
        }
        ["HMGET", "h", names @ ..] => {
            let one = |name: &&str| match field(name) {
                Some(number) => bulk(&format!("value {number}")),
                None => "$-1\r\n".to_owned(),
            };
            array(names.iter().map(one).collect::<Vec<_>>().into_iter())
        }
        [name, ..] => format!("-ERR unknown command '{name}', with args beginning with: \r\n"),
        [] => "-ERR Protocol error\r\n".to_owned(),
    }
}
