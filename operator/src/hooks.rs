//! Hooks: what is done before and after a session.
//!
//! Takes a hook and what is known of the session. Gives a step of the engine's own language, or the command that is to be run in a pod. Always holds: a hook that cannot be done is found when its
//! session is looked over, and not when a backup has already been made; a text that templates make is whole or an error.

mod functions;
mod template;

use k8s_openapi::api::core::v1::{HTTPHeader, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Map, Value as Json, json};

pub use template::Summary;
pub(crate) use template::render;

use crate::resources::hooks::{ExecutionPolicy, Handler, PostHandler};
use crate::session::texts;

/// The name of a hook's step.
pub const STEP: &str = "hook";

/// What a hook is for: where that can be found, and why not.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    /// Its host, for a hook that names none.
    pub(crate) host: Result<String, String>,
    /// The Service that its pods are behind.
    pub(crate) service: Result<String, String>,
}

/// What a hook does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// A step of the engine's.
    Step(Json),
    /// A command in a pod.
    Command(Command),
}

/// A command in a pod of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// The container; the pod's own choice unless said.
    pub container: Option<String>,
    /// The Service whose pods it may be run in.
    pub service: String,
}

/// How many words a command may have: each may be a template.
const MOST_WORDS: usize = 100;

/// What a hook does, filled in with what is known of the session.
///
/// # Errors
/// It does nothing, several things, or what cannot be done here. Said for people.
pub(crate) fn action(handler: &Handler, database: &Database, summary: &Summary) -> Result<Action, String> {
    let Handler { exec, http_get, http_post, tcp_socket, container_name } = handler;
    if exec.iter().flat_map(|exec| &exec.command).map(Vec::len).sum::<usize>() > MOST_WORDS {
        return Err(format!("its `command` has more than {MOST_WORDS} words"));
    }
    let Some(exec) = exec else { return step(handler, &database.host, summary).map(Action::Step) };
    if http_get.is_some() || http_post.is_some() || tcp_socket.is_some() {
        return Err(SEVERAL.to_owned());
    }
    let words = exec.command.iter().flatten().map(|word| render(word, summary)).collect::<Result<Vec<_>, _>>()?;
    if words.first().is_none_or(String::is_empty) {
        return Err("its `exec` has no `command`".to_owned());
    }
    Ok(Action::Command(Command { words, container: container_name.clone(), service: database.service.clone()? }))
}

/// What is said of a hook that does more than one thing.
const SEVERAL: &str = "it says several things that are to be done: one is possible";

/// The step that does what a hook says which is no command; `host` is the target's, for a hook that names none.
fn step(handler: &Handler, host: &Result<String, String>, summary: &Summary) -> Result<Json, String> {
    let Handler { exec: _, http_get, http_post, tcp_socket, container_name: _ } = handler;
    let mut all = Vec::new();
    if let Some(get) = http_get {
        let url = url(get.scheme.as_deref(), get.host.as_deref(), host, &get.port, get.path.as_deref())?;
        all.push(request("GET", url, get.http_headers.as_deref().unwrap_or_default(), Map::new()));
    }
    if let Some(post) = http_post {
        let url = url(post.scheme.as_deref(), post.host.as_deref(), host, &post.port, post.path.as_deref())?;
        let mut more = Map::new();
        if let Some(body) = &post.body {
            more.insert("body".to_owned(), json!(render(body, summary)?));
        }
        let fields = post.form.iter().flat_map(|field| field.values.iter().map(move |value| (&field.key, value)));
        let fields: Vec<Json> = fields.map(|(name, value)| json!({"name": name, "value": value})).collect();
        if !fields.is_empty() {
            more.insert("form".to_owned(), fields.into());
        }
        all.push(request("POST", url, &post.http_headers, more));
    }
    if let Some(TCPSocketAction { host: own, port }) = tcp_socket {
        let host = own.clone().filter(|host| !host.is_empty()).map_or_else(|| host.clone(), Ok)?;
        all.push(json!({"function": "tcp-connect", "params": {"host": host, "port": number(port)?}}));
    }
    let mut step = match (all.pop(), all.is_empty()) {
        (Some(step), true) => step,
        (None, _) => return Err("it says nothing that is to be done".to_owned()),
        (Some(_), false) => return Err(SEVERAL.to_owned()),
    };
    step["name"] = json!(STEP);
    // The engine would fill it in from what else the session knows, its passwords too.
    let mut wrong = None;
    texts(&step, &mut |text| wrong = wrong.or_else(|| text.contains("{{").then_some(text)));
    if let Some(text) = wrong {
        return Err(format!("`{text}` has `{{{{` in it once it is filled in: only a `body` may have templates"));
    }
    Ok(step)
}

/// Whether something is done after a session that ended like this; `final_time` where it is not tried again.
pub fn is_due(hook: &PostHandler, succeeded: bool, final_time: bool) -> bool {
    match hook.execution_policy {
        ExecutionPolicy::Always => true,
        ExecutionPolicy::OnSuccess => succeeded,
        ExecutionPolicy::OnFailure => !succeeded,
        ExecutionPolicy::OnFinalRetryFailure => !succeeded && final_time,
    }
}

fn request(method: &str, url: String, headers: &[HTTPHeader], more: Map<String, Json>) -> Json {
    let headers: Vec<Json> = headers.iter().map(|header| json!({"name": header.name, "value": header.value})).collect();
    let mut params = Map::from_iter([("url".to_owned(), json!(url)), ("method".to_owned(), json!(method))]);
    if !headers.is_empty() {
        params.insert("headers".to_owned(), headers.into());
    }
    params.extend(more);
    json!({"function": "http-request", "params": params})
}

fn url(
    scheme: Option<&str>,
    own: Option<&str>,
    host: &Result<String, String>,
    port: &IntOrString,
    path: Option<&str>,
) -> Result<String, String> {
    let scheme = scheme.filter(|scheme| !scheme.is_empty()).unwrap_or("HTTP").to_ascii_lowercase();
    let host = own.filter(|host| !host.is_empty()).map_or_else(|| host.clone(), |own| Ok(own.to_owned()))?;
    // An IPv6 address stands in brackets in an address of HTTP.
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
    let path = path.unwrap_or_default().trim_start_matches('/');
    Ok(format!("{scheme}://{host}:{}/{path}", number(port)?))
}

/// A port; names of ports are a pod's, which is not looked at.
fn number(port: &IntOrString) -> Result<u16, String> {
    let wrong = || format!("the port `{port:?}` is no number between 1 and 65535");
    let port = match port {
        IntOrString::Int(number) => u16::try_from(*number).map_err(|_| wrong()),
        IntOrString::String(text) => text.parse().map_err(|_| format!("the port `{text}` is a name: say its number")),
    }?;
    if port == 0 { Err(wrong()) } else { Ok(port) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action_of(handler: Json) -> Result<Action, String> {
        let handler: Handler = serde_json::from_value(handler).expect("a handler");
        let database = Database { host: Ok("db.shop.svc".to_owned()), service: Ok("db".to_owned()) };
        action(&handler, &database, &template::tests::summary("Failed", "disk \"full\""))
    }

    fn made(handler: Json) -> Result<Json, String> {
        match action_of(handler)? {
            Action::Step(step) => Ok(step),
            Action::Command(command) => panic!("{command:?}"),
        }
    }

    #[test]
    fn a_command_of_very_many_words_is_refused_before_any_is_filled_in() {
        let of = |words: usize| json!({"exec": {"command": vec!["{{ .Name }}"; words]}});
        assert!(action_of(of(100)).is_ok());
        assert!(action_of(of(60_000)).expect_err("too many").contains("more than 100 words"));
    }

    #[test]
    fn each_kind_is_a_step() {
        let get =
            json!({"httpGet": {"port": 8080, "path": "/freeze", "httpHeaders": [{"name": "X-Who", "value": "me"}]}});
        let made_get = made(get).expect("a step");
        assert_eq!(made_get["params"]["url"], "http://db.shop.svc:8080/freeze");
        assert_eq!(made_get["params"]["headers"][0]["value"], "me");
        let post = json!({"httpPost": {"host": "::1", "port": "443", "scheme": "HTTPS", "path": "hook?a=b", "body": "{{ .Status.Error | toJson }}"}});
        let made_post = made(post).expect("a step");
        assert_eq!(made_post["params"]["url"], "https://[::1]:443/hook?a=b");
        assert_eq!(made_post["params"]["body"], "\"disk \\\"full\\\"\"");
        let form = json!({"httpPost": {"port": 1, "form": [{"key": "a", "values": ["1", "2"]}]}});
        let fields = json!([{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]);
        assert_eq!(made(form).expect("a step")["params"]["form"], fields);
        let socket = json!({"tcpSocket": {"port": 6379}});
        let params = json!({"host": "db.shop.svc", "port": 6379});
        assert_eq!(made(socket).expect("a step")["params"], params);
        let words = ["redis-cli", "SET", "{{ .Status.Phase | lower }}", "{{ params.redisPassword"];
        let why = action_of(json!({"exec": {"command": words}})).expect_err("no template");
        assert!(why.contains("template"), "{why}");
        let command = json!({"exec": {"command": &words[..3]}, "containerName": "redis"});
        let words = ["redis-cli", "SET", "failed"].map(str::to_owned).to_vec();
        let wanted = Command { words, container: Some("redis".to_owned()), service: "db".to_owned() };
        assert_eq!(action_of(command), Ok(Action::Command(wanted)));
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        for (hook, word) in [
            (json!({}), "nothing"),
            (json!({"exec": {"command": []}}), "no `command`"),
            (json!({"exec": {}}), "no `command`"),
            (json!({"exec": {"command": ["true"]}, "tcpSocket": {"port": 1}}), "several"),
            (json!({"httpGet": {"port": 1}, "tcpSocket": {"port": 1}}), "several"),
            (json!({"tcpSocket": {"port": "redis"}}), "name"),
            (json!({"tcpSocket": {"port": 0}}), "number"),
            (json!({"httpPost": {"port": 1, "body": "{{ .Nothing }}"}}), "Nothing"),
            (json!({"httpPost": {"port": 1, "body": "{{ if }}"}}), "template"),
            (json!({"httpPost": {"port": 1, "body": "{{ \"{{\" }} params.redisPassword }}"}}), "only a `body`"),
            (
                json!({"httpPost": {"port": 1, "form": [{"key": "a", "values": ["{{ params.redisPassword }}"]}]}}),
                "only a",
            ),
            (
                json!({"httpGet": {"port": 1, "httpHeaders": [{"name": "X", "value": "{{ params.redisPassword }}"}]}}),
                "only a",
            ),
            (json!({"tcpSocket": {"host": "{{ params.redisPassword }}", "port": 1}}), "only a"),
        ] {
            let why = made(hook.clone()).expect_err("refused");
            assert!(why.contains(word), "{hook}: {why}");
        }
        let alone: Handler = serde_json::from_value(json!({"tcpSocket": {"port": 1}})).expect("a handler");
        let nowhere = Err("there is no host".to_owned());
        assert_eq!(step(&alone, &nowhere, &template::tests::summary("", "")), Err("there is no host".to_owned()));
    }

    #[test]
    fn a_policy_says_when() {
        let due = |policy: &str, succeeded, final_time| {
            let hook = json!({"tcpSocket": {"port": 1}, "executionPolicy": policy});
            is_due(&serde_json::from_value(hook).expect("a hook"), succeeded, final_time)
        };
        let all = |policy: &str| [due(policy, true, true), due(policy, false, false), due(policy, false, true)];
        assert_eq!(all("Always"), [true, true, true]);
        assert_eq!(all("OnSuccess"), [true, false, false]);
        assert_eq!(all("OnFailure"), [false, true, true]);
        assert_eq!(all("OnFinalRetryFailure"), [false, false, true]);
    }
}
