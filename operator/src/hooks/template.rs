//! Go's templates in what a hook says, over what is known of its session.
//!
//! Always holds: whatever the text is, it ends soon, takes little memory, and takes no more than its own thread down: who writes hooks is not
//! always who runs the operator. So each action is carried out at most once (nothing of a session is a list to go through), and no function
//! is given or makes a long text.

use std::collections::HashMap;

use gtmpl::{Context, Template, Value};

use super::functions::FUNCTIONS;
use crate::resources::target::TargetRef;

/// The longest text, in bytes.
const LONGEST: usize = 64 << 10;

/// How much of an error it is given, in bytes.
const LONGEST_ERROR: usize = 4 << 10;

/// How many `{{` and how many `(` it may have: each may be inside of the one before.
const DEEPEST: usize = 200;

/// How much stack a rendering has, in bytes.
const STACK: usize = 8 << 20;

/// What templates know of a session: Stash's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The session's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The kind of what asks for it.
    pub invoker_kind: String,
    /// The name of that.
    pub invoker_name: String,
    /// What is backed up or restored.
    pub target: Option<TargetRef>,
    /// How it ended: `Succeeded` or `Failed`; `Running` before.
    pub phase: String,
    /// How long it took, such as `1m12s`.
    pub duration: String,
    /// Why it failed.
    pub error: String,
    /// How often it is tried again.
    pub retry_left: i32,
}

impl Summary {
    fn value(&self) -> Value {
        let map = |fields: Vec<(&str, Value)>| {
            let fields: HashMap<String, Value> =
                fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            Value::Object(fields)
        };
        let text = |text: &str| Value::from(text);
        let target = |field: fn(&TargetRef) -> &str| text(self.target.as_ref().map_or("", field));
        let home = self.target.as_ref().and_then(|target| target.namespace.as_deref()).unwrap_or(&self.namespace);
        map(vec![
            ("Name", text(&self.name)),
            ("Namespace", text(&self.namespace)),
            (
                "Invoker",
                map(vec![
                    ("APIGroup", text("stash.appscode.com")),
                    ("Kind", text(&self.invoker_kind)),
                    ("Name", text(&self.invoker_name)),
                ]),
            ),
            (
                "Target",
                map(vec![
                    ("APIVersion", target(|target| &target.api_version)),
                    ("Kind", target(|target| &target.kind)),
                    ("Name", target(|target| &target.name)),
                    ("Namespace", text(home)),
                ]),
            ),
            (
                "Status",
                map(vec![
                    ("Phase", text(&self.phase)),
                    ("Duration", text(&self.duration)),
                    ("Error", text(start(&self.error))),
                ]),
            ),
            ("RetryLeft", Value::from(self.retry_left)),
        ])
    }
}

/// As much of an error as a template is given.
fn start(error: &str) -> &str {
    &error[..error.floor_char_boundary(LONGEST_ERROR)]
}

/// The text with its templates filled in.
///
/// # Errors
/// It is no template, or it asks for what is not there. Said for people.
pub(crate) fn render(text: &str, summary: &Summary) -> Result<String, String> {
    if !text.contains("{{") {
        return Ok(text.to_owned());
    }
    if text.len() > LONGEST || text.matches("{{").count() > DEEPEST || text.matches('(').count() > DEEPEST {
        return Err(format!("its template is longer than {LONGEST} bytes, or has more than {DEEPEST} `{{{{` or `(`"));
    }
    // Templates that call each other may never end, and turns in turns are as good as that.
    if let Some(word) = ["define", "block", "template", "range"].iter().find(|word| calls(text, word)) {
        return Err(format!("its template has a `{word}`, which hooks cannot have"));
    }
    let (text, value) = (text.to_owned(), summary.value());
    let rendering = std::thread::Builder::new().stack_size(STACK).spawn(move || {
        let mut template = Template::default();
        template.add_funcs(FUNCTIONS);
        template.parse(text).map_err(|error| format!("its template is wrong: {error}"))?;
        let made = template.render(&Context::from(value));
        let made = made.map_err(|error| format!("its template cannot be filled in: {error}"))?;
        if made.len() > LONGEST {
            return Err(format!("its template makes a text of more than {LONGEST} bytes"));
        }
        Ok(made)
    });
    let ended = rendering.map_err(|error| format!("no thread can be started: {error}"))?.join();
    ended.unwrap_or_else(|_| Err("its template is wrong".to_owned()))
}

/// Whether one of its actions begins with this word.
fn calls(text: &str, word: &str) -> bool {
    text.split("{{").skip(1).any(|action| {
        let action = action.trim_start_matches('-').trim_start();
        action.strip_prefix(word).is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric()))
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn summary(phase: &str, error: &str) -> Summary {
        Summary {
            name: "nightly-1".into(),
            namespace: "shop".into(),
            invoker_kind: "BackupConfiguration".into(),
            invoker_name: "nightly".into(),
            target: Some(TargetRef {
                api_version: "appcatalog.appscode.com/v1alpha1".into(),
                kind: "AppBinding".into(),
                name: "cart".into(),
                namespace: None,
            }),
            phase: phase.into(),
            duration: "3s".into(),
            error: error.into(),
            retry_left: 2,
        }
    }

    #[test]
    fn what_people_write_to_their_chat() {
        let text = r#"{"text": "{{ if eq .Status.Phase "Succeeded" }}:tada: {{ .Namespace }}/{{.Target.Name}} in {{ .Status.Duration }}{{else}}{{ .Target.Namespace }}: {{.Status.Error | trunc 8 | upper}}, {{ .RetryLeft }} left{{end}}"}"#;
        assert_eq!(render(text, &summary("Succeeded", "")).as_deref(), Ok(r#"{"text": ":tada: shop/cart in 3s"}"#));
        let failed = render(text, &summary("Failed", "the disk is full"));
        assert_eq!(failed.as_deref(), Ok(r#"{"text": "shop: THE DISK, 2 left"}"#));
        let invoker =
            "{{ .Invoker.APIGroup }}/{{ .Invoker.Kind }}/{{ .Invoker.Name }} {{ .Target.APIVersion }} {{ .Name }}";
        let all = "stash.appscode.com/BackupConfiguration/nightly appcatalog.appscode.com/v1alpha1 nightly-1";
        assert_eq!(render(invoker, &summary("", "")).as_deref(), Ok(all));
        assert_eq!(render("{\"a\": {}}", &summary("", "")).as_deref(), Ok("{\"a\": {}}"), "no template");
        let error = render("{{ .Status.Error | default \"none\" | quote }}", &summary("", ""));
        assert_eq!(error.as_deref(), Ok("\"none\""));
        let printed = render(r#"{{ printf "%s: %d" .Name 3 }}{{ print 1 2 }}{{ urlquery "a b" }}"#, &summary("", ""));
        assert_eq!(printed.as_deref(), Ok("nightly-1: 31 2a%20b"));
        let long = render("{{ .Status.Error | toJson }}", &summary("Failed", &"é".repeat(10_000))).expect("a text");
        assert_eq!(long, format!("\"{}\"", "é".repeat(2048)));
    }

    #[test]
    fn what_is_wrong_is_an_error_and_ends() {
        let deep = "{{ ".to_owned() + &"(".repeat(100_000) + " }}";
        let many = "{{ if true }}".repeat(5000);
        let doubled =
            format!("{{{{ $a := \"{}\" }}}}", "x".repeat(32)) + &"{{ $a := print $a $a }}".repeat(26) + "{{ len $a }}";
        let replaced = format!("{{{{ len (replace \"\" \"{}\" \"{}\") }}}}", "x".repeat(10_000), "y".repeat(10_000));
        for text in [
            "{{ .Status.Phse }}",
            "{{ nothing }}",
            "{{ if .Name }}",
            "{{ range .Name }}{{ end }}",
            "{{ range $a, $b := . }}{{ end }}",
            "{{-  range . }}x{{ end }}",
            "{{ $c }}",
            "{{ printf \"%9d\" 1 }}",
            "{{ printf \"%.9f\" 1.0 }}",
            &doubled,
            &replaced,
            "{{ define \"a\" }}{{ template \"a\" }}{{ end }}{{ template \"a\" }}",
            "{{- template \"a\" }}",
            "{{ trunc }}",
            "{{ index .Name 3 }}",
            "{{ printf \"%d\" }}",
            "{{",
            "{{ '' }}",
            "{{ 99999999999999999999999 }}",
            &deep,
            &many,
        ] {
            let made = render(text, &summary("Failed", "x"));
            assert!(made.is_err(), "{}: {made:?}", &text[..text.len().min(60)]);
        }
    }
}
