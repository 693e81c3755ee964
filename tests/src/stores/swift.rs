//! Swift's own servers as Debian has them, signed in at by their own way; and something that answers as Keystone does, in front of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::watched::{Watched, below, encoded, free_port};
use super::{Later, StoreServer};
use crate::proxy;

const USER: &str = "tests:somebody";
const KEY: &str = "hunter2-of-swift";
const CONTAINER: &str = "backups";

/// Makes the ring of one kind of server: one device, one copy.
const RING: &str = "import sys
from swift.common.ring import RingBuilder
for kind, port in zip(('account', 'container', 'object'), sys.argv[2:]):
    ring = RingBuilder(2, 1, 1)
    ring.add_dev(dict(id=0, region=1, zone=1, ip='127.0.0.1', port=int(port), device='disk', weight=1.0))
    ring.rebalance()
    ring.get_ring().save('%s/%s.ring.gz' % (sys.argv[1], kind))
";

/// Which of the two ways the locations lead.
#[derive(Debug, Clone, Copy)]
enum Way {
    Own,
    Keystone(u16),
}

/// The processes.
struct Servers {
    port: u16,
    /// Where tokens are kept.
    memory: u16,
    _running: Vec<Watched>,
    _folder: TempDir,
}

pub(super) struct Swift {
    called: &'static str,
    servers: Arc<Servers>,
    way: Way,
}

fn config(at: &Path, name: &str, port: u16, rest: &str) -> String {
    let shown = at.display();
    // Others cannot become another user.
    let user = Command::new("id").arg("-un").output().expect("id is there").stdout;
    let user = String::from_utf8_lossy(&user);
    let text = format!(
        "[DEFAULT]\nswift_dir = {shown}\ndevices = {shown}\nmount_check = false\nbind_ip = 127.0.0.1\nbind_port = {port}\nworkers = 0\n\
         user = {user}fallocate_reserve = 0\n{rest}"
    );
    let file = at.join(format!("{name}.conf"));
    std::fs::write(&file, text).expect("written");
    file.display().to_string()
}

async fn servers() -> Servers {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    std::fs::create_dir(at.join("disk")).expect("made");
    let hash = "[swift-hash]\nswift_hash_path_prefix = a\nswift_hash_path_suffix = b\n[storage-policy:0]\nname = only\ndefault = yes\n";
    std::fs::write(at.join("swift.conf"), hash).expect("written");
    let kinds = ["account", "container", "object"].map(|kind| (kind, free_port()));
    let mut ring = Command::new("/usr/bin/python3");
    ring.args(["-c", RING]).arg(at).args(kinds.map(|(_, port)| port.to_string()));
    let made = ring.output().expect("python3 is there");
    assert!(made.status.success(), "Swift: `./test` installs it: {}", String::from_utf8_lossy(&made.stderr));
    let (port, memory) = (free_port(), free_port());
    let (mut starting, mut running) = (Vec::new(), Vec::new());
    let shown = memory.to_string();
    let log = at.join("log of memcached");
    // It starts as no root.
    let args = ["-l", "127.0.0.1", "-p", &shown, "-U", "0", "-u", "nobody"];
    starting.push((Watched::start("memcached", &args, &[], &log), memory, log));
    for (kind, port) in kinds {
        let rest = format!("[pipeline:main]\npipeline = {kind}-server\n[app:{kind}-server]\nuse = egg:swift#{kind}\n");
        let (file, log) = (config(at, kind, port, &rest), at.join(format!("log of {kind}")));
        starting.push((Watched::start(&format!("swift-{kind}-server"), &[&file], &[], &log), port, log));
    }
    let (account, user) = USER.split_once(':').expect("two parts");
    let rest = format!(
        "[pipeline:main]\npipeline = catch_errors gatekeeper cache listing_formats tempauth slo proxy-server\n\
         [app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n\
         [filter:catch_errors]\nuse = egg:swift#catch_errors\n[filter:gatekeeper]\nuse = egg:swift#gatekeeper\n\
         [filter:cache]\nuse = egg:swift#memcache\nmemcache_servers = 127.0.0.1:{memory}\n\
         [filter:listing_formats]\nuse = egg:swift#listing_formats\n[filter:slo]\nuse = egg:swift#slo\n\
         [filter:tempauth]\nuse = egg:swift#tempauth\nuser_{account}_{user} = {KEY} .admin\n"
    );
    let (file, log) = (config(at, "proxy", port, &rest), at.join("log of proxy"));
    starting.push((Watched::start("swift-proxy-server", &[&file], &[], &log), port, log));
    for (server, port, log) in starting {
        running.push(server.listens(port, &log).await);
    }
    let servers = Servers { port, memory, _running: running, _folder: folder };
    let made = servers.ask("PUT", "").await;
    assert_eq!(made.status(), StatusCode::CREATED);
    servers
}

/// The same servers by both ways.
pub(super) async fn start() -> [Swift; 2] {
    let servers = Arc::new(servers().await);
    let keystone = keystone(Arc::clone(&servers));
    [
        Swift { called: "Swift", servers: Arc::clone(&servers), way: Way::Own },
        Swift { called: "Swift by Keystone's protocol", servers, way: Way::Keystone(keystone) },
    ]
}

impl Servers {
    fn auth(&self) -> String {
        format!("http://127.0.0.1:{}/auth/v1.0", self.port)
    }

    /// A token and the account's address.
    async fn token(&self) -> (String, String) {
        let asked = Client::new().get(self.auth()).header("X-Auth-User", USER).header("X-Auth-Key", KEY).send().await;
        let answer = asked.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        let get = |name: &str| answer.headers()[name].to_str().expect("a text").to_owned();
        (get("x-auth-token"), get("x-storage-url"))
    }

    /// Asks for what is below the container.
    async fn ask(&self, method: &str, path: &str) -> Response {
        let (token, account) = self.token().await;
        let method = method.parse().expect("a method");
        let request = Client::new().request(method, format!("{account}/{CONTAINER}{path}"));
        request.header("X-Auth-Token", token).header("Content-Length", "0").send().await.expect("an answer")
    }

    async fn json(&self, path: &str) -> Value {
        let answer = self.ask("GET", path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        serde_json::from_slice(&answer.bytes().await.expect("whole")).expect("JSON")
    }
}

/// Something that answers requests for tokens as Keystone's reference says, with tokens of Swift's own.
fn keystone(servers: Arc<Servers>) -> u16 {
    proxy::open(move |mut client| {
        let asked = body(&mut client)?;
        let asked: Value = serde_json::from_slice(&asked).ok()?;
        let identity = &asked["auth"]["identity"];
        let of_user = json!({"name": USER, "domain": {"name": "Default"}, "password": KEY});
        let project = json!({"name": "tests", "domain": {"name": "Default"}});
        let known = identity["methods"] == json!(["password"])
            && identity["password"]["user"] == of_user
            && asked["auth"]["scope"]["project"] == project
            || identity["methods"] == json!(["application_credential"])
                && identity["application_credential"]["id"] == "an-application"
                && identity["application_credential"]["secret"] == KEY;
        let (status, token, text) = if known {
            // That of the test which started it may have ended.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            let (token, account) = runtime.block_on(servers.token());
            let end = json!({"interface": "public", "region": "here", "region_id": "here", "url": account, "id": "e"});
            let store = json!({"type": "object-store", "name": "swift", "id": "s", "endpoints": [end]});
            let issued = json!({"token": {"methods": identity["methods"], "expires_at": "2099-01-01T00:00:00.000000Z", "catalog": [store]}});
            ("201 Created", format!("X-Subject-Token: {token}\r\n"), issued.to_string())
        } else {
            let why = json!({"error": {"code": 401, "title": "Unauthorized", "message": "The request you have made requires authentication."}});
            ("401 Unauthorized", String::new(), why.to_string())
        };
        let length = text.len();
        let head = "Content-Type: application/json\r\nConnection: close\r\n";
        write!(client, "HTTP/1.1 {status}\r\n{head}{token}Content-Length: {length}\r\n\r\n{text}").ok()
    })
}

/// The body of a request.
fn body(client: &mut TcpStream) -> Option<Vec<u8>> {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(at) = all.windows(4).position(|end| end == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&all[..at]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())?;
            let body = &all[at + 4..];
            if body.len() >= length {
                return Some(body[..length].to_vec());
            }
        }
        match client.read(&mut piece).ok()? {
            0 => return None,
            count => all.extend_from_slice(&piece[..count]),
        }
    }
}

impl StoreServer for Swift {
    fn called(&self) -> &'static str {
        self.called
    }

    fn location(&self, place: &str) -> Value {
        let way = match self.way {
            Way::Own => json!({"authUrl": self.servers.auth(), "username": USER, "password": KEY}),
            Way::Keystone(port) => json!({
                "authUrl": format!("http://127.0.0.1:{port}/v3"), "username": USER, "password": KEY, "project": "tests", "region": "here",
            }),
        };
        let mut location = json!({"swift": {"container": CONTAINER, "prefix": place}});
        location["swift"].as_object_mut().expect("a map").extend(way.as_object().expect("a map").clone());
        location
    }

    fn names<'a>(&'a self, place: &'a str) -> Later<'a, Vec<String>> {
        Box::pin(async move {
            let prefix = encoded(&format!("{place}/"), false);
            let listed = self.servers.json(&format!("?format=json&limit=10000&prefix={prefix}")).await;
            let listed = listed.as_array().expect("a list");
            let name = |entry: &Value| entry["name"].as_str().expect("a name").to_owned();
            // The parts of complete objects belong to them.
            let mut left: Vec<String> = listed
                .iter()
                .filter(|entry| entry["slo_etag"].is_string())
                .map(name)
                .filter(|name| !name.contains("/.aquifer-parts/"))
                .collect();
            let mut parts = Vec::new();
            while let Some(next) = left.pop() {
                let manifest = self.servers.json(&format!("/{}?multipart-manifest=get", encoded(&next, true))).await;
                for part in manifest.as_array().expect("a list") {
                    let path = name(part).trim_start_matches(&format!("/{CONTAINER}/")).to_owned();
                    if part["sub_slo"] == json!(true) {
                        left.push(path.clone());
                    }
                    parts.push(path);
                }
            }
            let names = listed.iter().map(name).filter(|name| !parts.contains(name)).collect();
            let pending =
                |name: String| if name.starts_with(".aquifer-parts/") { format!("pending {name}") } else { name };
            let mut names: Vec<String> = below(names, place).into_iter().map(pending).collect();
            names.sort();
            names
        })
    }

    fn bytes<'a>(&'a self, place: &'a str, name: &'a str) -> Later<'a, Vec<u8>> {
        Box::pin(async move {
            let answer = self.servers.ask("GET", &format!("/{}", encoded(&format!("{place}/{name}"), true))).await;
            assert_eq!(answer.status(), StatusCode::OK, "{name}");
            answer.bytes().await.expect("whole").to_vec()
        })
    }

    fn port(&self) -> Option<u16> {
        Some(match self.way {
            Way::Own => self.servers.port,
            Way::Keystone(port) => port,
        })
    }

    fn refused(&self, place: &str) -> Vec<Value> {
        let mut location = self.location(place);
        location["swift"]["password"] = json!("hunter2-another");
        vec![location]
    }

    fn missing(&self) -> Option<Value> {
        let mut location = self.location("n");
        location["swift"]["container"] = json!("no-such-container");
        Some(location)
    }

    fn restic(&self, place: &str) -> Option<Vec<(&'static str, String)>> {
        let mut found = vec![("RESTIC_REPOSITORY", format!("swift:{CONTAINER}:/{place}"))];
        found.extend(self.text(place)?.1);
        Some(found)
    }

    fn text(&self, place: &str) -> Option<(String, Vec<(&'static str, String)>)> {
        let keys = match self.way {
            Way::Own => {
                vec![("ST_AUTH", self.servers.auth()), ("ST_USER", USER.to_owned()), ("ST_KEY", KEY.to_owned())]
            }
            Way::Keystone(port) => vec![
                ("OS_AUTH_URL", format!("http://127.0.0.1:{port}/v3")),
                ("OS_APPLICATION_CREDENTIAL_ID", "an-application".to_owned()),
                ("OS_APPLICATION_CREDENTIAL_SECRET", KEY.to_owned()),
            ],
        };
        Some((format!("swift://{CONTAINER}/{place}"), keys))
    }

    fn is_other_way(&self) -> bool {
        matches!(self.way, Way::Keystone(_))
    }

    fn forgets_tokens(&self) -> bool {
        let asked = TcpStream::connect(("127.0.0.1", self.servers.memory)).and_then(|mut memory| {
            memory.write_all(b"flush_all\r\n")?;
            let mut said = [0; 4];
            memory.read_exact(&mut said).map(|()| said == *b"OK\r\n")
        });
        asked.expect("memcached answers")
    }
}
