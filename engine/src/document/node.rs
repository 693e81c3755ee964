//! YAML text to a tree in which every key and value knows its place.
//!
//! Takes a text, gives one [`Node`] for each document in it. Always holds: scalars follow YAML 1.2's core schema (`yes`
//! is a text); a key that stands twice is reported with both places; the tree is never deeper than [`MAX_DEPTH`] nor,
//! with every alias written out, larger than [`MAX_NODES`], so that what comes later may recurse and copy.

use std::collections::BTreeMap;

use serde_json::{Number, Value as Json};
use serde_saphyr::granit_parser::{self as yaml, ErrorKind, Event, Parser, ScalarStyle, ScanError, StructureStyle};

use super::scalar;
use crate::diagnostic::Diagnostic;
use crate::source::{SourceId, Span};

/// How deep lists and maps may be nested.
pub const MAX_DEPTH: usize = 48;

/// How many values one file may hold, aliases written out: ten thousand steps with twenty each.
pub const MAX_NODES: usize = 200_000;

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it is written.
    pub span: Span,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text, quoted or not.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in its order; no key stands twice.
    Map(Vec<(Key, Node)>),
    /// Something that was reported already and stands for nothing.
    Broken,
}

/// A key with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Where it is written.
    pub span: Span,
    /// The key itself; numbers and the like as they are written.
    pub text: String,
}

impl Node {
    /// What it is, for messages: `the text "x"`, `a list`.
    pub fn found(&self) -> String {
        match &self.value {
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            scalar => found(&scalar.to_json()),
        }
    }

    /// Its value as JSON.
    pub fn to_json(&self) -> Json {
        self.value.to_json()
    }
}

impl Value {
    /// The value as JSON.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Null | Self::Broken => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Number(number) => Json::Number(number.clone()),
            Self::Text(text) => Json::String(text.clone()),
            Self::List(items) => items.iter().map(Node::to_json).collect(),
            Self::Map(fields) => {
                Json::Object(fields.iter().map(|(key, node)| (key.text.clone(), node.to_json())).collect())
            }
        }
    }
}

/// What a JSON value is, for messages. Long texts are cut.
pub fn found(value: &Json) -> String {
    match value {
        Json::Null => "nothing".to_owned(),
        Json::Bool(value) => format!("the boolean `{value}`"),
        Json::Number(number) => format!("the number `{number}`"),
        Json::String(text) if text.chars().count() > 40 => {
            format!("the text `{}…`", text.chars().take(40).collect::<String>().escape_debug())
        }
        Json::String(text) => format!("the text `{}`", text.escape_debug()),
        Json::Array(_) => "a list".to_owned(),
        Json::Object(_) => "a map".to_owned(),
    }
}

/// Reads all documents of a text. Empty documents are left out; behind a mistake in the YAML itself nothing is read.
pub fn parse(source: SourceId, text: &str, problems: &mut Vec<Diagnostic>) -> Vec<Node> {
    let mut options = yaml::options! {
        block_nesting_limit: MAX_DEPTH, flow_nesting_limit: MAX_DEPTH, emit_unresolved_aliases: true,
    };
    options.set_emit_comments(false);
    let mut builder =
        Builder { source, text, problems, open: Vec::new(), anchors: BTreeMap::new(), done: Vec::new(), nodes: 0 };
    for event in Parser::new_from_str_with_options(text, options) {
        let taken = match event {
            Ok((event, span)) => {
                let range = span.byte_range().unwrap_or(0..0);
                let tag = span.tag_span().and_then(|tag| tag.byte_range());
                let tag = tag.map(|tag| Span::new(source, tag.start, tag.end));
                builder.take(event, Span::new(source, range.start, range.end), tag)
            }
            Err(error) => Err(builder.syntax(&error)),
        };
        if let Err(problem) = taken {
            builder.problems.push(*problem);
            break;
        }
    }
    builder.done
}

/// A collection that has begun.
struct Open {
    span: Span,
    flow: bool,
    anchor: usize,
    parts: Parts,
}

enum Parts {
    List(Vec<Node>),
    Map { fields: Vec<(Key, Node)>, known: BTreeMap<String, Span>, key: Option<Key>, broken: bool },
}

struct Builder<'t> {
    source: SourceId,
    text: &'t str,
    problems: &'t mut Vec<Diagnostic>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    done: Vec<Node>,
    nodes: usize,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Span, tag: Option<Span>) -> Result<(), Box<Diagnostic>> {
        let core = |tag: Option<&yaml::Tag>| tag.and_then(|tag| tag.core_suffix().map(str::to_owned));
        match event {
            Event::DocumentStart(..) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tagged) => {
                let as_text = core(tagged.as_deref()).as_deref() == Some("str");
                if tagged.is_some() && !as_text {
                    self.refuse_tag(tag.unwrap_or(span));
                }
                let plain = style == ScalarStyle::Plain && !as_text;
                // A key is asked for as it is written: `on:` and `1:` are as good as texts.
                if plain && self.wants_key() {
                    return self.put(Node { span, value: Value::Text(text.into_owned()) }, anchor);
                }
                let value = if plain { self.plain(&text, span) } else { Value::Text(text.into_owned()) };
                let span = self.trimmed(span);
                self.put(Node { span, value }, anchor)?;
            }
            Event::SequenceStart(style, anchor, tagged) => {
                if tagged.is_some() {
                    self.refuse_tag(tag.unwrap_or(span));
                }
                let flow = style == StructureStyle::Flow;
                self.open.push(Open { span, flow, anchor, parts: Parts::List(Vec::new()) });
            }
            Event::MappingStart(style, anchor, tagged) => {
                if tagged.is_some() {
                    self.refuse_tag(tag.unwrap_or(span));
                }
                let parts = Parts::Map { fields: Vec::new(), known: BTreeMap::new(), key: None, broken: false };
                let flow = style == StructureStyle::Flow;
                self.open.push(Open { span, flow, anchor, parts });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let value = match open.parts {
                        Parts::List(items) => Value::List(items),
                        Parts::Map { broken: true, .. } => Value::Broken,
                        Parts::Map { fields, .. } => Value::Map(fields),
                    };
                    // A block ends where its last part does; what the parser counts to it are comments and blank lines.
                    let last = match &value {
                        Value::List(items) => items.last(),
                        Value::Map(fields) => fields.last().map(|(_, node)| node),
                        _ => None,
                    };
                    let end = last.map(|last| last.span).filter(|_| span.start == span.end).unwrap_or(span);
                    let span = self.trimmed(open.span.to(end));
                    self.put(Node { span, value }, open.anchor)?;
                }
            }
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id).cloned() else {
                    let problem = Diagnostic::at(span, "yaml-alias", "this alias stands inside what it names", "here");
                    return Err(Box::new(problem.help("an anchor can be used once its value has ended")));
                };
                let size = size(&node);
                self.count(size, span)?;
                self.put(node, 0)?;
            }
            Event::UnresolvedAlias(name) => {
                let message = format!("there is no anchor `&{name}` before this alias");
                let problem = Diagnostic::at(span, "yaml-alias", message, "names nothing");
                self.problems.push(problem.help("a text that begins with `*` needs quotes"));
                self.put(Node { span, value: Value::Broken }, 0)?;
            }
            // The stream's own events, comments, and anchors' names.
            _ => {}
        }
        Ok(())
    }

    /// A mistake in the YAML itself, in words that say what to do.
    fn syntax(&self, error: &ScanError) -> Box<Diagnostic> {
        let text = self.text;
        let at = error.marker().byte_offset().unwrap_or_default().min(text.len());
        let at = (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        // The parser may stop at the line before the tab, or behind it.
        let mut lines = text[line_start..].split_inclusive('\n').take(2).scan(line_start, |start, line| {
            let here = *start;
            *start += line.len();
            Some((here, line))
        });
        let tab = lines.find_map(|(start, line)| {
            let indentation = line.len() - line.trim_start().len();
            line[..indentation].find('\t').map(|tab| start + tab)
        });
        let said = error.info();
        if let Some(tab) = tab {
            let span = Span::new(self.source, tab, tab + 1);
            let problem = Diagnostic::at(span, "yaml-tab", "a tab indents this line", "this is a tab");
            return Box::new(problem.help("YAML takes only spaces for indentation: write two for each level"));
        }
        let line_end = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
        let line = &text[line_start..line_end];
        // A mark at the very end has nothing to point at: point at the line that is there.
        let start = if at == line_end { line_start + line.len() - line.trim_start().len() } else { at };
        let end = text[start..line_end].char_indices().nth(60).map_or(line_end, |(more, _)| start + more);
        let span = Span::new(self.source, start, end);
        if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) || said.contains("recursion") {
            let message = format!("lists and maps are nested more than {MAX_DEPTH} deep");
            let problem = Diagnostic::at(span, "yaml-too-deep", message, "here the limit is passed");
            return Box::new(problem.help("nothing in the language needs that many levels"));
        }
        let problem = Diagnostic::at(span, "yaml-syntax", format!("this is not YAML: {said}"), "here");
        let bracket = self.open.last().filter(|open| open.flow);
        Box::new(match bracket {
            Some(open) => {
                let first = Span::new(self.source, open.span.start as usize, open.span.start as usize + 1);
                let help = "close the bracket, or put a text that holds one of `{ } [ ] ,` in quotes";
                problem.label(first, "this bracket is still open").help(help)
            }
            None => problem.help("look at the indentation and quotes of this line and the one before it; a text that holds `: ` or ` #`, or begins with one of `{ [ * & ! % @`, needs quotes"),
        })
    }

    fn refuse_tag(&mut self, span: Span) {
        let problem = Diagnostic::at(span, "yaml-tag", "tags have no meaning here", "this is a tag");
        self.problems.push(problem.help("leave it out; a number becomes a text by putting it in quotes"));
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { parts: Parts::Map { key: None, .. }, .. }))
    }

    fn count(&mut self, more: usize, span: Span) -> Result<(), Box<Diagnostic>> {
        self.nodes += more;
        if self.nodes <= MAX_NODES {
            return Ok(());
        }
        let message = format!("this file holds more than {MAX_NODES} values, with every alias written out");
        let problem = Diagnostic::at(span, "yaml-too-large", message, "here the limit is passed");
        Err(Box::new(problem.help("divide it into several files, or use fewer aliases of aliases")))
    }

    /// Puts a finished node where it belongs: into the collection that is open, or among the documents.
    fn put(&mut self, node: Node, anchor: usize) -> Result<(), Box<Diagnostic>> {
        self.count(1, node.span)?;
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.parts) {
            None if node.value == Value::Null => {}
            None => self.done.push(node),
            Some(Parts::List(items)) => items.push(node),
            Some(Parts::Map { fields, known, key, broken }) => match key.take() {
                Some(name) => {
                    if name.text == "<<" {
                        let problem =
                            Diagnostic::at(name.span, "yaml-merge-key", "merge keys have no meaning here", "this key");
                        self.problems.push(problem.help("write the fields out, or use an alias for a whole value"));
                    } else if let Some(first) = known.get(&name.text) {
                        let message = format!("`{}` stands twice in one map", name.text);
                        let problem = Diagnostic::at(name.span, "duplicate-key", message, "the second");
                        self.problems.push(problem.label(*first, "the first").help("keep one of them"));
                    } else {
                        known.insert(name.text.clone(), name.span);
                        fields.push((name, node));
                    }
                }
                None => {
                    let text = match &node.value {
                        Value::Text(text) => text.clone(),
                        Value::Broken => String::new(),
                        Value::List(_) | Value::Map(_) => {
                            let problem =
                                Diagnostic::at(node.span, "yaml-key", "a list or map cannot be a key", "this key");
                            let help =
                                "an unquoted value that begins with `{{` is a map to YAML: put templates in quotes";
                            self.problems.push(problem.help(help));
                            *broken = true;
                            String::new()
                        }
                        scalar => scalar.to_json().to_string(),
                    };
                    *key = Some(Key { span: node.span, text });
                }
            },
        }
        Ok(())
    }

    /// A span without the white space and line ends that the parser counts to a block's end.
    fn trimmed(&self, span: Span) -> Span {
        let text = self.text.get(span.start as usize..span.end as usize).unwrap_or_default();
        Span::new(self.source, span.start as usize, span.start as usize + text.trim_end().len())
    }

    /// A plain scalar's value.
    fn plain(&mut self, text: &str, span: Span) -> Value {
        scalar::plain(text).unwrap_or_else(|| {
            let message = format!("`{text}` is no number that fits into 64 bits");
            let problem = Diagnostic::at(span, "yaml-number", message, "this number");
            self.problems.push(problem.help("put it in quotes if it is a text"));
            Value::Broken
        })
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(fields) => fields.iter().map(|(_, node)| size(node)).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Sources;

    fn read(text: &str) -> (Vec<Node>, Vec<Diagnostic>, Sources) {
        let mut sources = Sources::default();
        let id = sources.add("t.yaml", text);
        let mut problems = Vec::new();
        (parse(id, text, &mut problems), problems, sources)
    }

    fn json(text: &str) -> Json {
        let (nodes, problems, _) = read(text);
        assert!(problems.is_empty(), "{text}: {problems:?}");
        nodes.iter().map(Node::to_json).collect()
    }

    #[test]
    fn scalars_follow_yaml_1_2() {
        let text = "[yes, on, true, False, ~, null, 010, 0o10, 0x1F, -5, 1.5, 1e3, .5, 1.2.3, 18446744073709551615, '7', \"a\\tb\", 1_000, 12:30]";
        let wanted = serde_json::json!([[
            "yes",
            "on",
            true,
            false,
            null,
            null,
            10,
            8,
            31,
            -5,
            1.5,
            1000.0,
            0.5,
            "1.2.3",
            18446744073709551615_u64,
            "7",
            "a\tb",
            "1_000",
            "12:30"
        ]]);
        assert_eq!(json(text), wanted);
        for text in ["a: .inf", "a: -.INF", "a: .nan", "a: 99999999999999999999", "a: 1e999"] {
            assert_eq!(read(text).1[0].code, "yaml-number", "{text}");
        }
    }

    #[test]
    fn every_value_knows_its_place() {
        let text = "a: one\nb:\n  - \"two\"\n  - {c: three}\n# end\nd: |\n  four\n  five\n---\ne: 6\n";
        let (nodes, problems, sources) = read(text);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(nodes.len(), 2);
        let Value::Map(fields) = &nodes[0].value else { panic!("a map") };
        assert_eq!(sources.slice(fields[0].0.span), "a");
        assert_eq!(sources.slice(fields[0].1.span), "one");
        assert_eq!(sources.slice(fields[1].1.span), "- \"two\"\n  - {c: three}");
        let Value::List(items) = &fields[1].1.value else { panic!("a list") };
        assert_eq!(sources.slice(items[0].span), "\"two\"");
        assert_eq!(sources.slice(items[1].span), "{c: three}");
        assert!(sources.slice(fields[2].1.span).ends_with("five"), "{:?}", sources.slice(fields[2].1.span));
    }

    #[test]
    fn a_key_twice_is_marked_twice_and_the_first_stays() {
        let (nodes, problems, sources) = read("a: 1\nb: 2\na: 3\n");
        assert_eq!(nodes[0].to_json(), serde_json::json!({"a": 1, "b": 2}));
        let places: Vec<_> = problems[0].labels.iter().map(|label| sources.place(label.span).line).collect();
        assert_eq!(places, [3, 1]);
    }

    #[test]
    fn aliases_are_written_out_and_bombs_are_refused() {
        assert_eq!(json("a: &x [1, 2]\nb: *x"), serde_json::json!([{"a": [1, 2], "b": [1, 2]}]));
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let inner = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", vec![inner; 10].join(", "));
        }
        assert_eq!(read(&bomb).1.last().map(|problem| problem.code), Some("yaml-too-large"));
        assert_eq!(read("a: &x [*x]").1[0].code, "yaml-alias");
        assert_eq!(read("a: *x").1[0].code, "yaml-alias");
    }

    #[test]
    fn deep_nesting_is_refused() {
        for text in ["[".repeat(5000), "{a: ".repeat(5000), "- ".repeat(5000), "? ".repeat(5000)] {
            assert!(!read(&text).1.is_empty(), "{}", &text[..10]);
        }
    }

    #[test]
    fn a_tab_is_named() {
        let (_, problems, sources) = read("a:\n\tb: 1\n");
        assert_eq!(problems[0].code, "yaml-tab");
        assert_eq!(sources.place(problems[0].labels[0].span).line, 2);
    }

    #[test]
    fn tags_merge_keys_and_odd_keys_are_refused() {
        for (text, code) in
            [("a: !x 1", "yaml-tag"), ("a: {<<: {b: 1}}", "yaml-merge-key"), ("a: {{ params.x }}", "yaml-key")]
        {
            assert_eq!(read(text).1[0].code, code, "{text}");
        }
        assert_eq!(json("a: !!str 7"), serde_json::json!([{"a": "7"}]));
        assert_eq!(json("1: a\ntrue: b"), serde_json::json!([{"1": "a", "true": "b"}]));
    }
}
