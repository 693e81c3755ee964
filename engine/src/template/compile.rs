//! Compiling: handlebars' parser reads the text; what comes out is checked against what the language has, and every
//! expression gets its place in the file.

use std::cell::Cell;

use super::{Expression, Helper, Part, Reference, Template, What};
use crate::diagnostic::{Diagnostic, list, suggest};
use crate::source::Span;
use handlebars::template::{HelperTemplate, Parameter, Template as Parsed, TemplateElement};
use handlebars::{Path, PathSeg};

/// How deep parentheses and blocks may be nested: handlebars' parser recurses.
const MAX_NESTING: usize = 16;

/// The most that expressions times bytes of one text may come to: handlebars counts lines from the beginning for each
/// expression, so its time grows with this product. Six thousand expressions of seven bytes each are within it.
const MOST_WORK: usize = 256 << 20;

/// Reads a string leaf. `span` is the leaf's place and `source` the file's text.
pub(crate) fn compile(text: &str, span: Span, source: &str, problems: &mut Vec<Diagnostic>) -> Template {
    let written = source.get(span.start as usize..span.end as usize).unwrap_or_default();
    let starts = |text: &str| text.match_indices("{{").map(|(at, _)| at).collect::<Vec<_>>();
    let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let (tags, written_tags) = (starts(text), starts(written));
    let mut compiler =
        Compiler { text, span, written, problems, tags, written_tags, lines, last: Cell::new((0, 0, 0)) };
    let parts = compiler.all();
    Template { written: text.to_owned(), parts }
}

struct Compiler<'t> {
    text: &'t str,
    span: Span,
    written: &'t str,
    problems: &'t mut Vec<Diagnostic>,
    /// Where `{{` stands in the text, and in the leaf as written. All that is asked often is looked up: a template may have
    /// tens of thousands of tags.
    tags: Vec<usize>,
    written_tags: Vec<usize>,
    /// Where the text's lines begin.
    lines: Vec<usize>,
    /// The line, the column and the offset that were asked for last: the parser's places go forward.
    last: Cell<(usize, usize, usize)>,
}

/// A tag's place: where it begins in the text, and in the leaf as written.
#[derive(Clone, Copy)]
struct Tag {
    in_text: usize,
    written: (usize, usize),
}

impl Compiler<'_> {
    fn all(&mut self) -> Vec<Part> {
        if let Some(at) = self.too_deep() {
            let tag = self.tag(at);
            let message = format!("this template is nested more than {MAX_NESTING} deep");
            self.problem(tag, "template-syntax", message, "divide it into several params");
            return self.broken();
        }
        if self.tags.len().saturating_mul(self.text.len()) > MOST_WORK {
            let message = format!(
                "this text has {} expressions in {} bytes, too many for one text",
                self.tags.len(),
                self.text.len()
            );
            self.problem(self.tag(0), "template-syntax", message, "divide it into several params");
            return self.broken();
        }
        match Parsed::compile(self.text) {
            Ok(parsed) => {
                let whole = self.tag(0);
                self.parts(&parsed, whole)
            }
            Err(error) => {
                use handlebars::TemplateErrorReason as Reason;
                let (line, column) = error.pos().unwrap_or((1, 1));
                let tag = self.tag_before(self.offset(line, column));
                let message = match error.reason() {
                    Reason::MismatchingClosedHelper(open, close) => {
                        format!("`{{{{#{open}}}}}` is closed by `{{{{/{close}}}}}`")
                    }
                    _ => "this template cannot be read".to_owned(),
                };
                let help = "an expression is `{{ params.NAME }}`, or a helper with its arguments, `{{ default params.NAME 'none' }}`; every `{{` needs its `}}`, every `{{#if …}}` its `{{/if}}`; two braces as a text are `\\{{`";
                self.problem(tag, "template-syntax", message, help);
                self.broken()
            }
        }
    }

    /// What stands for a template that was reported.
    fn broken(&self) -> Vec<Part> {
        vec![Part::Expression(Expression { span: self.span, what: What::Broken })]
    }

    /// Where the nesting passes the limit, if it does.
    fn too_deep(&self) -> Option<usize> {
        let (mut brackets, mut blocks) = (0_usize, 0_usize);
        for (at, c) in self.text.char_indices() {
            let rest = &self.text[at..];
            if rest.starts_with("{{#") || rest.starts_with("{{~#") {
                blocks += 1;
            } else if rest.starts_with("{{/") || rest.starts_with("{{~/") {
                blocks = blocks.saturating_sub(1);
            } else if rest.starts_with("{{else") || rest.starts_with("{{^") {
                // An `{{else if}}` nests as deep as a block does.
                blocks += 1;
            }
            match c {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets = brackets.saturating_sub(1),
                _ => {}
            }
            if brackets > MAX_NESTING || blocks > 2 * MAX_NESTING {
                return Some(at);
            }
        }
        None
    }

    /// The offset of a line and column, both from 1, the column in characters.
    fn offset(&self, line: usize, column: usize) -> usize {
        let start = self.lines.get(line.max(1) - 1).copied().unwrap_or(self.text.len());
        let (mut from, mut left) = (start, column.saturating_sub(1));
        let (last_line, last_column, last) = self.last.get();
        if last_line == line && last_column <= column {
            (from, left) = (last, column - last_column);
        }
        let rest = &self.text[from..];
        let found = from + rest.char_indices().nth(left).map_or(rest.len(), |(at, _)| at);
        self.last.set((line, column.max(1), found));
        found
    }

    /// The tag that begins at or behind an offset of the text. YAML's quoting and folding move offsets, but leave braces
    /// alone: the third `{{` of the text is the third as written.
    fn tag(&self, in_text: usize) -> Tag {
        let nth = self.tags.partition_point(|at| *at < in_text);
        let same = self.tags.len() == self.written_tags.len();
        let start = self.written_tags.get(nth).copied().filter(|_| same);
        let written = match start {
            Some(start) => {
                let end = self.written[start..].find("}}").map_or(self.written.len(), |end| start + end + 2);
                // `}}}` ends what `{{{` began.
                (start, end + self.written[end..].bytes().take_while(|b| *b == b'}').count())
            }
            None => (0, self.written.len()),
        };
        Tag { in_text, written }
    }

    /// The last tag that begins at or before an offset.
    fn tag_before(&self, in_text: usize) -> Tag {
        let before = self.tags.partition_point(|at| *at <= in_text).checked_sub(1);
        self.tag(before.map_or(0, |nth| self.tags[nth]))
    }

    fn place(&self, (start, end): (usize, usize)) -> Span {
        Span::new(self.span.source, self.span.start as usize + start, self.span.start as usize + end)
    }

    /// Where a name stands in a tag.
    fn place_of(&self, name: &str, tag: Tag) -> Span {
        let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || "-_.$:@/".contains(c));
        let from = tag.written.0;
        let found = self.written[from..].match_indices(name).map(|(at, _)| from + at).find(|at| {
            let (before, behind) =
                (self.written[..*at].chars().next_back(), self.written[at + name.len()..].chars().next());
            !name.is_empty() && !inside(before) && !inside(behind)
        });
        self.place(found.map_or(tag.written, |at| (at, at + name.len())))
    }

    fn problem(&mut self, tag: Tag, code: &'static str, message: impl Into<String>, help: impl Into<String>) {
        let span = self.place(tag.written);
        self.problems.push(Diagnostic::at(span, code, message, "here").help(help));
    }

    fn parts(&mut self, parsed: &Parsed, around: Tag) -> Vec<Part> {
        let mut parts = Vec::new();
        for (nth, element) in parsed.elements.iter().enumerate() {
            let at = parsed.mapping.get(nth).map(|at| self.offset(at.0, at.1));
            // Chained `{{else if}}` blocks have no place of their own.
            let tag = at.map_or(around, |at| self.tag(at.max(around.in_text)));
            match element {
                TemplateElement::RawString(text) => parts.push(Part::Text(text.clone())),
                TemplateElement::Expression(expression) => {
                    let expression = self.expression(expression, tag);
                    parts.push(Part::Expression(expression));
                }
                TemplateElement::HelperBlock(block) => parts.extend(self.block(block, tag)),
                TemplateElement::Comment(_) => {
                    if !self.text[tag.in_text..].trim_start().starts_with("{{!--") {
                        self.problem(tag, "template-not-allowed", "comments are written `{{!-- … --}}`", "write it so");
                    }
                }
                TemplateElement::HtmlExpression(_) => {
                    let message = "`{{{` and `{{&` are not part of the language";
                    self.problem(tag, "template-not-allowed", message, "write two braces: nothing is escaped anyway");
                }
                TemplateElement::PartialExpression(_) | TemplateElement::PartialBlock(_) => {
                    let help = "a Function with `steps` is how parts are shared";
                    self.problem(tag, "template-not-allowed", "partials (`{{>`) are not part of the language", help);
                }
                TemplateElement::DecoratorExpression(_) | TemplateElement::DecoratorBlock(_) => {
                    let message = "decorators (`{{*`) are not part of the language";
                    self.problem(tag, "template-not-allowed", message, "leave it out; two braces as a text are `\\{{`");
                }
                // A later version of handlebars may know more than we do.
                _ => self.problem(tag, "template-not-allowed", "this is not part of the language", "leave it out"),
            }
        }
        parts
    }

    fn block(&mut self, block: &HelperTemplate, tag: Tag) -> Vec<Part> {
        let name = block.name.as_name().unwrap_or_default();
        let tag_text = &self.written[tag.written.0..tag.written.1];
        if tag_text.starts_with("{{{{") || !matches!(name, "if" | "unless") {
            let message = format!("the block `{{{{#{name}}}}}` is not part of the language");
            let help = "the blocks are `{{#if …}}` and `{{#unless …}}`; lists and maps are written in YAML";
            self.problem(tag, "template-not-allowed", message, help);
            return Vec::new();
        }
        let [condition] = block.params.as_slice() else {
            let message = format!("`{{{{#{name}}}}}` takes one condition, and has {}", block.params.len());
            let help = "join several with `and` or `or`: `{{#if (and params.a params.b)}}`";
            self.problem(tag, "template-arguments", message, help);
            return Vec::new();
        };
        if !block.hash.is_empty() || block.block_param.is_some() {
            let help = "write `{{#if params.NAME}}…{{else}}…{{/if}}`";
            self.problem(tag, "template-arguments", format!("`{{{{#{name}}}}}` takes nothing but a condition"), help);
        }
        let condition = self.parameter(condition, tag);
        let mut branch =
            |parsed: &Option<Parsed>| parsed.as_ref().map(|parsed| self.parts(parsed, tag)).unwrap_or_default();
        let (then, otherwise) = (branch(&block.template), branch(&block.inverse));
        let (then, otherwise) = if name == "if" { (then, otherwise) } else { (otherwise, then) };
        vec![Part::If { condition, then, otherwise }]
    }

    fn expression(&mut self, written: &HelperTemplate, tag: Tag) -> Expression {
        if !written.hash.is_empty() {
            let mut names: Vec<&String> = written.hash.keys().collect();
            names.sort();
            let message = format!("helpers take no named arguments, and this one has {}", list(&names));
            self.problem(tag, "template-arguments", message, "write the arguments one after the other");
        }
        if written.params.is_empty() {
            return self.parameter(&written.name, tag);
        }
        let name = written.name.as_name().unwrap_or_default().to_owned();
        let arguments: Vec<Expression> = written.params.iter().map(|param| self.parameter(param, tag)).collect();
        self.call(&name, arguments, tag)
    }

    fn call(&mut self, name: &str, arguments: Vec<Expression>, tag: Tag) -> Expression {
        let span = self.place_of(name, tag);
        let unknown = Expression { span, what: What::Broken };
        let Some((_, helper)) = Helper::ALL.iter().find(|(known, _)| *known == name) else {
            let helpers = Helper::ALL.iter().map(|(known, _)| *known).chain(["if", "unless"]);
            let help = match name {
                "if" | "unless" => format!("as a block it has a `#`: `{{{{#{name} …}}}}…{{{{/{name}}}}}`"),
                _ => suggest(name, "helpers", helpers),
            };
            let problem =
                Diagnostic::at(span, "unknown-helper", format!("there is no helper `{name}`"), "not a helper");
            self.problems.push(problem.help(help));
            return unknown;
        };
        let (wanted, takes) = match helper {
            Helper::Default | Helper::Eq => (2..=2, "two arguments"),
            Helper::Not => (1..=1, "one argument"),
            Helper::And | Helper::Or => (2..=usize::MAX, "at least two arguments"),
        };
        if !wanted.contains(&arguments.len()) {
            let message = format!("`{name}` takes {takes}, and has {}", arguments.len());
            let help = match helper {
                Helper::Default => "write what to use instead of a null behind it: `{{ default params.NAME 'none' }}`",
                _ => "put nested helpers in parentheses: `{{#if (and (eq params.a 'x') params.b)}}`",
            };
            self.problems.push(Diagnostic::at(span, "template-arguments", message, "here").help(help));
            return unknown;
        }
        // A call covers its tag: what is wrong with its value is wrong with all of it.
        Expression { span: self.place(tag.written), what: What::Call(*helper, arguments) }
    }

    fn parameter(&mut self, parameter: &Parameter, tag: Tag) -> Expression {
        match parameter {
            Parameter::Literal(value) => {
                Expression { span: self.place(tag.written), what: What::Literal(value.clone()) }
            }
            Parameter::Name(name) => self.reference(name, &[PathSeg::Named(name.clone())], tag),
            Parameter::Path(Path::Relative((segments, raw))) => self.reference(raw, segments, tag),
            Parameter::Path(Path::Local((_, _, raw))) => self.reference(raw, &[], tag),
            Parameter::Subexpression(inner) => match inner.as_element() {
                TemplateElement::Expression(inner) => self.expression(inner, tag),
                _ => Expression { span: self.place(tag.written), what: What::Broken },
            },
            // A later version of handlebars may know more than we do.
            _ => {
                self.problem(tag, "template-not-allowed", "this is not part of the language", "leave it out");
                Expression { span: self.place(tag.written), what: What::Broken }
            }
        }
    }

    fn reference(&mut self, raw: &str, segments: &[PathSeg], tag: Tag) -> Expression {
        let span = self.place_of(raw, tag);
        let names: Option<Vec<&str>> = segments
            .iter()
            .map(|segment| if let PathSeg::Named(name) = segment { Some(name.as_str()) } else { None })
            .collect();
        let (message, help) = match names.as_deref().unwrap_or_default() {
            ["params", name] => return Expression { span, what: What::Name(Reference::Param((*name).to_owned())) },
            ["env", name] => return Expression { span, what: What::Name(Reference::Env((*name).to_owned())) },
            ["task", "name"] => return Expression { span, what: What::Name(Reference::TaskName) },
            ["run", "id"] => return Expression { span, what: What::Name(Reference::RunId) },
            ["run", "started"] => return Expression { span, what: What::Name(Reference::RunStarted) },
            ["steps", step, "outputs", field] => {
                let (step, field) = ((*step).to_owned(), (*field).to_owned());
                return Expression { span, what: What::Name(Reference::Output { step, field }) };
            }
            ["params" | "env", ..] => {
                let message = format!("`{raw}` does not name one value");
                (message, "write `params.NAME` or `env.NAME`; a list or map is used as a whole".to_owned())
            }
            ["steps", ..] => {
                (format!("`{raw}` does not name an output"), "write `steps.NAME.outputs.FIELD`".to_owned())
            }
            ["task", ..] => (format!("there is no `{raw}`"), "of a task there is `task.name`".to_owned()),
            ["run", ..] => (format!("there is no `{raw}`"), "of a run there are `run.id` and `run.started`".to_owned()),
            [first, ..] => {
                let roots = ["params", "env", "task", "run", "steps"];
                let help = match suggest(first, "names that an expression can begin with", roots) {
                    help if segments.len() == 1 && !help.starts_with("did") => {
                        format!("a param is `params.{first}`; a text in an expression needs quotes: `'{first}'`")
                    }
                    help => help,
                };
                (format!("there is nothing called `{raw}`"), help)
            }
            [] => {
                let help = "names begin with `params`, `env`, `task`, `run` or `steps`".to_owned();
                (format!("`{raw}` is not part of the language"), help)
            }
        };
        self.problems.push(Diagnostic::at(span, "unknown-name", message, "not known").help(help));
        Expression { span, what: What::Broken }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;
    use crate::source::Sources;
    use crate::template::{Found, Names, Slot};

    /// Compiles a text as it stands in a file.
    fn read(written: &str, text: &str) -> (Template, Vec<(&'static str, String)>, Sources) {
        let mut sources = Sources::default();
        let id = sources.add("t.yaml", written);
        let mut problems = Vec::new();
        let template = compile(text, Span::new(id, 0, written.len()), written, &mut problems);
        let problems = problems.iter().map(|one| (one.code, sources.slice(one.labels[0].span).to_owned())).collect();
        (template, problems, sources)
    }

    struct Few;

    impl Names for Few {
        fn look_up(&self, reference: &Reference, _: Span) -> Result<Found, Box<Diagnostic>> {
            Ok(match reference {
                Reference::Param(name) if name == "seven" => Found::known(7),
                Reference::Param(name) if name == "word" => Found::known("w"),
                Reference::Param(name) if name == "yes" => Found::known(true),
                Reference::Param(name) if name == "list" => Found::known(vec![1, 2]),
                Reference::Param(name) if name == "secret" => Found { secret: true, ..Found::known("s") },
                Reference::Param(_) => Found::known(Json::Null),
                _ => Found::hole(None, true),
            })
        }
    }

    fn render(text: &str) -> (Found, Vec<&'static str>) {
        let (template, problems, _) = read(text, text);
        assert!(problems.is_empty(), "{text}: {problems:?}");
        let mut problems = Vec::new();
        let found = template.render(&Few, false, &mut problems);
        (found, problems.iter().map(|one| one.code).collect())
    }

    #[test]
    fn values_keep_their_types_and_texts_are_joined() {
        for (text, wanted) in [
            ("{{ params.seven }}", Json::from(7)),
            ("{{params.list}}", Json::from(vec![1, 2])),
            ("a {{ params.seven }} <{{params.word}}>", Json::from("a 7 <w>")),
            ("{{ default params.none 'x' }}", Json::from("x")),
            ("{{ default params.none null }}", Json::Null),
            ("{{ default params.seven 1 }}", Json::from(7)),
            ("{{ eq params.seven 7.0 }}", Json::from(true)),
            ("{{ and params.yes (not params.none) (or params.none params.word) }}", Json::from(true)),
            ("{{#if params.yes}}a{{else}}b{{/if}}c", Json::from("ac")),
            ("{{#unless params.yes}}a{{else}}b{{/unless}}", Json::from("b")),
            ("{{#if params.none}}a{{else if (eq params.word 'w')}}b{{else}}c{{/if}}", Json::from("b")),
            ("{{#if params.none}}a{{else if params.none}}b{{else if params.none}}d{{else}}c{{/if}}", Json::from("c")),
            ("a{{!-- x --}}b", Json::from("ab")),
            (r"\{{ x }}", Json::from("{{ x }}")),
            ("a {{~ params.word ~}} b", Json::from("awb")),
        ] {
            let (found, problems) = render(text);
            assert_eq!((found.slot, problems), (Slot::Known(wanted), vec![]), "{text}");
        }
    }

    #[test]
    fn nulls_lists_and_secrets_are_noticed() {
        for (text, codes) in [
            ("{{ params.none }}", vec!["null-value"]),
            ("x{{ params.none }}", vec!["null-value"]),
            ("x{{ default params.none null }}", vec!["null-value"]),
            ("x{{ params.list }}", vec!["list-in-text"]),
            ("{{#if params.yes}}{{ params.none }}{{/if}}", vec!["null-value"]),
        ] {
            assert_eq!(render(text).1, codes, "{text}");
        }
        for text in [
            "{{ params.secret }}",
            "a{{ params.secret }}",
            "{{#if params.secret}}a{{/if}}",
            "{{ eq params.secret 's' }}",
        ] {
            assert!(render(text).0.secret, "{text}");
        }
        assert_eq!(render("{{ steps.a.outputs.b }}").0, Found::hole(None, true));
        assert_eq!(render("{{ or params.yes steps.a.outputs.b }}").0, Found::known(true));
    }

    #[test]
    fn mistakes_are_marked_where_they_are_written() {
        for (text, code, place) in [
            ("a {{ foo }} b", "unknown-name", "foo"),
            ("{{ params.a }} {{ default parms.b 1 }}", "unknown-name", "parms.b"),
            ("{{ defalt params.b 1 }}", "unknown-helper", "defalt"),
            ("x {{{ params.a }}}", "template-not-allowed", "{{{ params.a }}}"),
            ("{{> part }}", "template-not-allowed", "{{> part }}"),
            ("{{#each params.a}}x{{/each}}", "template-not-allowed", "{{#each params.a}}"),
            ("{{! no }}", "template-not-allowed", "{{! no }}"),
            ("{{&params.a}}", "template-not-allowed", "{{&params.a}}"),
            ("{{{{raw}}}} x {{{{/raw}}}}", "template-not-allowed", "{{{{raw}}}}"),
            ("{{ default params.a }}", "template-arguments", "default"),
            ("{{ default params.a b=1 }}", "template-arguments", "{{ default params.a b=1 }}"),
            ("{{#if params.a params.b}}{{/if}}", "template-arguments", "{{#if params.a params.b}}"),
            ("ok {{ params.a", "template-syntax", "{{ params.a"),
            ("{{#if params.a}}x", "template-syntax", "{{#if params.a}}"),
            ("{{ this }}", "unknown-name", "this"),
            ("{{ ../params.a }}", "unknown-name", "../params.a"),
            ("{{ @root.params.a }}", "unknown-name", "@root.params.a"),
            ("{{ params }}", "unknown-name", "params"),
            ("{{ params.a.b }}", "unknown-name", "params.a.b"),
            ("{{ steps.a.b }}", "unknown-name", "steps.a.b"),
            ("{{#if params.a}}{{else if foo}}{{/if}}", "unknown-name", "foo"),
        ] {
            let (_, problems, _) = read(text, text);
            assert_eq!(problems.first(), Some(&(code, place.to_owned())), "{text}: {problems:?}");
        }
        let (_, problems, _) = read("\"a\\n\\\"{{ foo }}\"", "a\n\"{{ foo }}");
        assert_eq!(problems, [("unknown-name", "foo".to_owned())]);
        let (_, problems, _) = read("|\n    one\n    {{ params.ok }} {{ foo }}\n", "one\n{{ params.ok }} {{ foo }}\n");
        assert_eq!(problems, [("unknown-name", "foo".to_owned())]);
    }

    #[test]
    fn a_text_with_too_many_expressions_ends_in_a_message() {
        let many = "{{ params.a }} ".repeat(30_000);
        let (_, problems, _) = read(&many, &many);
        assert_eq!(problems.iter().map(|(code, _)| *code).collect::<Vec<_>>(), ["template-syntax"]);
        let some = "{{ params.text }} ".repeat(1_000);
        let (_, problems, _) = read(&some, &some);
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn deep_nesting_ends_in_a_message() {
        for text in [
            format!("{{{{ {} }}}}", "(not ".repeat(9000)),
            "{{#if params.a}}".repeat(9000),
            format!("{{{{ eq {} 1 }}}}", "[".repeat(9000)),
        ] {
            assert_eq!(read(&text, &text).1[0].0, "template-syntax");
        }
    }
}
