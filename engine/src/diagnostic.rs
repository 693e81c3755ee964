//! What is wrong with a definition or an input: a stable code, a message, marked places and what to write instead.
//!
//! Takes problems from the rooms that check. Gives an ordered list that the caller renders, as [`miette`] reports or as
//! JSON; nothing here prints or knows a colour. Always holds: the order depends on the sources alone, and no problem is
//! in the list twice.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use miette::{LabeledSpan, NamedSource, SourceCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::secret::Redactor;
use crate::source::{Sources, Span};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Nothing runs.
    Error,
    /// It runs, and somebody should look.
    Warning,
}

/// A marked place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What is there, in a few words.
    pub text: String,
}

/// One problem. Its first label is where it is; the others say what it has to do with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What sort of problem: kebab-case, never changed once published.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, as a lower-case clause.
    pub message: String,
    /// Where.
    pub labels: Vec<Label>,
    /// What to do next.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error that has no place in a text.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, severity: Severity::Error, message: message.into(), labels: Vec::new(), help: None }
    }

    /// An error at a place.
    pub fn at(span: Span, code: &'static str, message: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(code, message).label(span, text)
    }

    /// Marks one more place.
    #[must_use]
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says what to do next, where that is known.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// Where it is.
    pub fn span(&self) -> Option<Span> {
        self.labels.first().map(|label| label.span)
    }
}

/// The name nearest to what was written, if it is near enough to be what was meant.
pub fn nearest<'n>(written: &str, known: impl IntoIterator<Item = &'n str> + Clone) -> Option<&'n str> {
    let folded = written.to_lowercase().replace(['-', '_'], "");
    let mut best: Option<(usize, &str)> = None;
    for name in known.clone() {
        let distance = strsim::damerau_levenshtein(&folded, &name.to_lowercase().replace(['-', '_'], ""));
        // A third of the letters may differ: more than that, and a suggestion is a guess.
        let length = folded.chars().count().max(name.chars().count());
        let near = distance * 3 <= length.max(3) && distance < length;
        if near && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, name));
        }
    }
    // `int` is not near `integer`, and clearly means it.
    let begins = |name: &&'n str| folded.len() >= 3 && name.to_lowercase().starts_with(&folded);
    best.map(|(_, name)| name).or_else(|| known.into_iter().find(begins))
}

/// `did you mean …?`, or what there is to choose from.
pub fn suggest<'n>(written: &str, what: &str, known: impl IntoIterator<Item = &'n str> + Clone) -> String {
    if let Some(name) = nearest(written, known.clone()) {
        return format!("did you mean `{name}`?");
    }
    let mut names: Vec<&str> = known.into_iter().collect();
    names.sort_unstable();
    match names.len() {
        0 => format!("there are no {what} here"),
        1..=12 => format!("the {what} are {}", list(&names)),
        more => format!("the {what} are {} and {} more", list(&names[..12]), more - 12),
    }
}

/// Names in backticks, joined by commas.
pub fn list<T: AsRef<str>>(names: &[T]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// All problems, with the texts that they are in.
#[derive(Clone)]
pub struct Diagnostics {
    sources: Arc<Sources>,
    all: Vec<Diagnostic>,
}

impl fmt::Debug for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all.iter().map(|one| self.line(one))).finish()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, one) in self.all.iter().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&self.line(one))?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

impl Diagnostics {
    /// Puts problems into their order and drops repeated ones.
    pub fn new(sources: Arc<Sources>, mut all: Vec<Diagnostic>) -> Self {
        all.sort_by(|a, b| (a.span(), a.severity, a.code, &a.message).cmp(&(b.span(), b.severity, b.code, &b.message)));
        let mut seen = BTreeSet::new();
        all.retain(|one| seen.insert((one.code, one.span(), one.message.clone())));
        Self { sources, all }
    }

    /// These, and those of `others` that are not about the same thing at the same place.
    #[must_use]
    pub(crate) fn or(mut self, others: &Self) -> Self {
        let known: BTreeSet<_> = self.all.iter().filter_map(|one| one.span().map(|span| (one.code, span))).collect();
        let new = others.all.iter().filter(|one| one.span().is_none_or(|span| !known.contains(&(one.code, span))));
        self.all.extend(new.cloned());
        Self::new(self.sources, self.all)
    }

    /// Puts others of the same length in the place of the texts that it points into.
    #[must_use]
    pub(crate) fn with_texts(mut self, with: impl Fn(&str) -> String) -> Self {
        let shown: BTreeSet<_> = self.all.iter().flat_map(|one| &one.labels).map(|label| label.span.source).collect();
        let mut sources = Sources::clone(&self.sources);
        shown.into_iter().for_each(|source| sources.rewrite(source, &with));
        self.sources = Arc::new(sources);
        self
    }

    /// Takes known secrets out of every message and every text.
    #[must_use]
    pub(crate) fn redacted(mut self, secrets: &Redactor) -> Self {
        self = self.with_texts(|text| secrets.stars(text));
        for one in &mut self.all {
            one.message = secrets.redact(&one.message).into_owned();
            one.help = one.help.take().map(|help| secrets.redact(&help).into_owned());
            for label in &mut one.labels {
                label.text = secrets.redact(&label.text).into_owned();
            }
        }
        self
    }

    /// True where anything stops a run.
    pub fn has_errors(&self) -> bool {
        self.all.iter().any(|one| one.severity == Severity::Error)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// True where nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.all.iter()
    }

    /// The texts that they are in.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// One line: place, message, help.
    fn line(&self, one: &Diagnostic) -> String {
        let place = one.span().map(|span| format!("{}: ", self.sources.describe(span))).unwrap_or_default();
        let help = one.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        format!("{place}{} [{}]{help}", one.message, one.code)
    }

    /// Each problem as a report with its own text and marks, for [`miette`]'s handlers.
    pub fn reports(&self) -> impl Iterator<Item = Box<dyn miette::Diagnostic + Send + Sync + 'static>> {
        self.all.iter().map(|one| -> Box<dyn miette::Diagnostic + Send + Sync> { Box::new(self.report(one)) })
    }

    fn report(&self, one: &Diagnostic) -> Report {
        let home = one.span().map(|span| span.source);
        let (here, elsewhere): (Vec<&Label>, Vec<&Label>) =
            one.labels.iter().partition(|label| Some(label.span.source) == home);
        let related = elsewhere.into_iter().map(|label| Report {
            one: Diagnostic { code: "", message: label.text.clone(), labels: Vec::new(), help: None, ..one.clone() },
            severity: miette::Severity::Advice,
            text: Some(self.named(label.span)),
            marks: vec![mark(label.span, None, true)],
            related: Vec::new(),
        });
        Report {
            severity: match one.severity {
                Severity::Error => miette::Severity::Error,
                Severity::Warning => miette::Severity::Warning,
            },
            text: one.span().map(|span| self.named(span)),
            marks: here.iter().enumerate().map(|(at, label)| mark(label.span, Some(&label.text), at == 0)).collect(),
            related: related.collect(),
            one: one.clone(),
        }
    }

    fn named(&self, span: Span) -> NamedSource<Arc<String>> {
        let source = self.sources.get(span.source);
        NamedSource::new(&source.name, Arc::clone(&source.text))
    }

    /// The problems as data: stable, for programs.
    pub fn to_json(&self) -> Vec<JsonDiagnostic> {
        let place = |label: &Label| {
            let at = self.sources.place(label.span);
            JsonLabel {
                file: self.sources.get(label.span.source).name.clone(),
                line: at.line,
                column: at.column,
                text: label.text.clone(),
            }
        };
        self.all
            .iter()
            .map(|one| JsonDiagnostic {
                code: one.code.to_owned(),
                severity: one.severity,
                message: one.message.clone(),
                labels: one.labels.iter().map(place).collect(),
                help: one.help.clone(),
            })
            .collect()
    }
}

fn mark(span: Span, text: Option<&str>, primary: bool) -> LabeledSpan {
    let text = text.filter(|text| !text.is_empty()).map(str::to_owned);
    let range = span.start as usize..span.end as usize;
    if primary { LabeledSpan::new_primary_with_span(text, range) } else { LabeledSpan::new_with_span(text, range) }
}

/// One problem as data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JsonDiagnostic {
    /// What sort of problem.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// Where; the first is the place itself. Empty for a problem with an input.
    pub labels: Vec<JsonLabel>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// A marked place as data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JsonLabel {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is there.
    pub text: String,
}

/// A problem that carries its text.
#[derive(Debug)]
struct Report {
    one: Diagnostic,
    severity: miette::Severity,
    text: Option<NamedSource<Arc<String>>>,
    marks: Vec<LabeledSpan>,
    related: Vec<Report>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.one.message)
    }
}

impl std::error::Error for Report {}

impl miette::Diagnostic for Report {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        (!self.one.code.is_empty()).then(|| Box::new(self.one.code) as Box<dyn fmt::Display>)
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.one.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.text.as_ref().map(|text| text as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.marks.is_empty()).then(|| Box::new(self.marks.iter().cloned()) as Box<dyn Iterator<Item = _>>)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        let related =
            || Box::new(self.related.iter().map(|one| one as &dyn miette::Diagnostic)) as Box<dyn Iterator<Item = _>>;
        (!self.related.is_empty()).then(related)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        let known = ["redis-dump", "redis-restore", "compress"];
        assert_eq!(nearest("redisdump", known), Some("redis-dump"));
        assert_eq!(nearest("redis_restor", known), Some("redis-restore"));
        assert_eq!(nearest("upload", known), None);
        assert_eq!(nearest("comp", known), Some("compress"));
        assert_eq!(suggest("x", "functions", ["b", "a"]), "the functions are `a`, `b`");
    }

    #[test]
    fn problems_stand_in_the_order_of_their_places_and_once() {
        let mut sources = Sources::default();
        let (a, b) = (sources.add("a", "xy"), sources.add("b", "z"));
        let problem = |source, start| Diagnostic::at(Span::new(source, start, start + 1), "c", "m", "");
        let all = vec![problem(b, 0), problem(a, 1), problem(a, 0), problem(a, 1), Diagnostic::new("c", "m")];
        let all = Diagnostics::new(Arc::new(sources), all);
        assert_eq!(format!("{all}"), "m [c]\na:1:1: m [c]\na:1:2: m [c]\nb:1:1: m [c]");
        assert!(all.has_errors());
        assert_eq!(all.to_json()[2].labels[0].column, 2);
    }
}
