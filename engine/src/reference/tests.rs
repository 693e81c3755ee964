use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;
use crate::failure::Failure;
use crate::function::{Call, Function};
use crate::ports::Transform;
use crate::registry::Registry;
use crate::secret::{Secret, SecretUrl};
use crate::stream::Streams;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is looked at")]
struct Params {
    /// Where to
    /// connect.
    url: SecretUrl,
    /// The password.
    #[serde(default)]
    password: Option<Secret>,
    /// How hard.
    #[serde(default = "three")]
    level: u8,
    /// Where it goes.
    location: Location,
    /// The way.
    #[serde(default)]
    mode: Mode,
    /// Who may | read.
    #[serde(default)]
    readers: Vec<Reader>,
}

fn three() -> u8 {
    3
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is looked at")]
enum Location {
    /// A folder.
    Folder {
        /// Its path.
        path: String,
    },
    /// A bucket.
    S3 {
        /// Its name.
        bucket: String,
        /// Its key.
        secret_key: Secret,
    },
}

#[derive(Deserialize, Serialize, JsonSchema, Default)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// Quick.
    #[default]
    Fast,
    /// Kind.
    Gentle,
}

#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "only its schema is looked at")]
struct Reader {
    /// Their name.
    name: String,
}

#[derive(Serialize, JsonSchema)]
struct Outputs {
    /// How many.
    count: u64,
}

struct Wrap;

impl Function for Wrap {
    const NAME: &'static str = "wrap";
    const SUMMARY: &'static str = "Wraps things.";
    const REPEAT: &'static str = "Wraps them again.";
    type Params = Params;
    type Ports = Transform;
    type Outputs = Outputs;

    fn streams(_: Option<&Params>) -> Streams {
        Streams { stdin: Accepts::Any, stdout: Produces::Adds("wrap") }
    }

    async fn run(&self, _: Params, _: Transform, _: &Call) -> Result<Outputs, Failure> {
        Ok(Outputs { count: 1 })
    }
}

fn described() -> Reference {
    Reference::of(Registry::new().with(Wrap).get("wrap").expect("it was added").info())
}

#[test]
fn every_field_is_listed_with_its_type_default_and_meaning() {
    let reference = described();
    let rows: Vec<String> = reference
        .params
        .iter()
        .map(|field| format!("{}: {} [{}] {}", field.path, field.type_words(), field.need(), field.description))
        .collect();
    assert_eq!(
        rows,
        [
            "url: URL [required] Where to connect.",
            "password: string, secret [] The password.",
            "level: integer [3] How hard.",
            "location: map with one of `folder` or `s3` [required] Where it goes.",
            "location.folder: map [] A folder.",
            "location.folder.path: string [required] Its path.",
            "location.s3: map [] A bucket.",
            "location.s3.bucket: string [required] Its name.",
            "location.s3.secretKey: string, secret [required] Its key.",
            "mode: `fast` or `gentle` [fast] The way. `fast`: Quick. `gentle`: Kind.",
            "readers: list of map [] Who may | read.",
            "readers[].name: string [required] Their name.",
        ]
    );
}

/// A text, or a map with one key: how places for objects are written.
#[test]
fn a_short_form_stands_beside_the_keys_of_the_long_one() {
    let bucket = serde_json::json!({
        "type": "object", "description": "How to reach it.", "required": ["bucket"],
        "properties": {"bucket": {"type": "string", "description": "Its name."}},
    });
    let branch = |tag: &str, words: &str, inner: &serde_json::Value| serde_json::json!({"type": "object", "description": words, "required": [tag], "properties": {tag: inner}});
    let schema = serde_json::json!({"required": ["place"], "properties": {"place": {
        "description": "Where to.",
        "anyOf": [
            {"type": "string", "examples": ["/a", "s3://b"]},
            branch("folder", "A folder.", &serde_json::json!({"type": "string", "description": "Its path."})),
            branch("s3", "A bucket.", &bucket),
        ],
    }}});
    let rows: Vec<String> = fields(&schema)
        .iter()
        .map(|field| format!("{}: {} [{}] {}", field.path, field.type_words(), field.need(), field.description))
        .collect();
    assert_eq!(
        rows,
        [
            "place: string or map with one of `folder` or `s3` [required] Where to. As a string: `/a`, `s3://b`.",
            "place.folder: string [] A folder.",
            "place.s3: map [] A bucket.",
            "place.s3.bucket: string [required] Its name.",
        ]
    );
}

#[test]
fn the_page_keeps_bars_inside_their_cells() {
    let page = described().markdown();
    assert!(page.starts_with("# wrap\n\nWraps things.\n"), "{page}");
    assert!(page.contains("| stdout | what it reads, as `+wrap` |"), "{page}");
    assert!(page.contains(r"| `readers` | list of map |  | Who may \| read. |"), "{page}");
    assert!(page.contains("| `url` | URL | **required** | Where to connect. |"), "{page}");
    assert!(page.contains("## Run again\n\nWraps them again.\n"), "{page}");
}

#[test]
fn the_text_is_wrapped_to_the_terminal() {
    let text = described().text(50);
    assert!(text.starts_with("wrap (transform)\n  Wraps things.\n"), "{text}");
    assert!(text.contains("\n  level  (integer; default 3)\n      How hard.\n"), "{text}");
    let long: Vec<&str> = text.lines().filter(|line| line.len() > 50 && !line.contains('(')).collect();
    assert!(long.is_empty(), "{long:?}");
}
