//! From the draft to the plan: the graph gives the pipelines; what only they show is checked here: ends that are not
//! connected, stream types, settings that stand twice, and outputs that may not be there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::draft::{Draft, Settings, Step};
use super::late::{Late, World};
use super::links::Writer;
use super::names::{Scope, Target};
use super::{LateParams, Params, Pipeline, PipelineId, Plan, PlannedStep, StepId, When};
use crate::catalog::Catalog;
use crate::diagnostic::{Diagnostic, list};
use crate::document::{Body, Document};
use crate::graph::{Knot, Shape, Vertex, shape};
use crate::ports::Need;
use crate::source::Span;
use crate::stream::{Accepts, StreamType};

/// Makes the plan, where nothing stands in its way.
pub(super) fn assemble(
    draft: Draft,
    document: &Document,
    catalog: &Catalog,
    problems: &mut Vec<Diagnostic>,
) -> Option<Plan> {
    let links = link(&draft, problems);
    check_ends(&draft, &links, problems);
    let shape = match shape(&links.vertices) {
        Ok(shape) => shape,
        Err(knots) => {
            problems.extend(knots.iter().map(|knot| describe(&draft, &links, knot)));
            return None;
        }
    };
    let settings: Vec<Settled> = shape.pipelines.iter().map(|group| settle(&draft, &group.steps, problems)).collect();
    let types = flow(&draft, &links, &shape, problems);
    check_whens(&draft, &shape, &settings, problems);
    check_outputs(&draft, &shape, &settings, links.broken, problems);
    if !problems.is_empty() {
        return None;
    }
    let Body::Task { concurrency, .. } = &document.body else { return None };
    build(draft, document, catalog, *concurrency, Parts { links, shape, settings, types })
}

struct Links {
    /// Who each step reads and awaits.
    vertices: Vec<Vertex>,
    /// What each step reads, things outside included; none also where that is broken.
    writers: Vec<Option<Writer>>,
    /// The step that a Function document's own stdout comes from.
    given_out: Option<usize>,
    /// True where a name or a function is wrong: then what follows from a missing link was said already.
    broken: bool,
}

struct Parts {
    links: Links,
    shape: Shape,
    settings: Vec<Settled>,
    types: Vec<StreamType>,
}

fn link(draft: &Draft, problems: &mut Vec<Diagnostic>) -> Links {
    let before = problems.len();
    let mut links = Links { vertices: Vec::new(), writers: Vec::new(), given_out: None, broken: false };
    for step in &draft.steps {
        let writer = step.stdin.as_ref().and_then(|stdin| draft.writer(step.scope, stdin, problems));
        let reads = match (&writer, step.reads) {
            (Some(Writer::Step(read)), Need::Optional | Need::Always) => Some(*read),
            _ => None,
        };
        let needs: BTreeSet<usize> =
            step.needs.iter().flat_map(|(scope, need)| draft.needed(*scope, need, problems)).collect();
        links.vertices.push(Vertex { reads, needs: needs.into_iter().collect() });
        links.writers.push(writer);
    }
    if let Some((scope, Some(stdout))) = &draft.outside
        && let Some(Writer::Step(step)) = draft.writer(*scope, stdout, problems)
    {
        links.given_out = Some(step);
    }
    let target = |scope: &Scope| scope.steps.values().any(|step| matches!(step, Target::Broken));
    links.broken = problems.len() > before || draft.scopes.iter().any(target);
    links
}

fn check_ends(draft: &Draft, links: &Links, problems: &mut Vec<Diagnostic>) {
    let read: BTreeSet<usize> =
        links.vertices.iter().filter_map(|vertex| vertex.reads).chain(links.given_out).collect();
    for (at, step) in draft.steps.iter().enumerate() {
        match (&step.stdin, step.reads) {
            (Some(stdin), Need::Never) => {
                let message = format!("`{}` reads nothing, and step `{}` has a `stdin`", step.function, step.name);
                let problem = Diagnostic::at(stdin.span, "unexpected-stdin", message, "nobody reads this");
                problems.push(problem.help("leave `stdin` out; order without data is `needs`"));
            }
            (None, Need::Always) => {
                let message = format!("`{}` reads a stream, and step `{}` has no `stdin`", step.function, step.name);
                let problem = Diagnostic::at(step.span, "missing-stdin", message, "reads nothing");
                problems.push(problem.help("name the step whose stdout it reads: `stdin: NAME`"));
            }
            _ => {}
        }
        if step.writes == Need::Always && !read.contains(&at) && !links.broken {
            let message = format!("nobody reads what step `{}` writes", step.name);
            let problem =
                Diagnostic::at(step.span, "unread-stdout", message, format!("`{}` writes a stream", step.function));
            problems.push(
                problem
                    .help(format!("add a step with `stdin: {}` that stores it or passes it on", last_name(&step.name))),
            );
        }
    }
}

fn last_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn describe(draft: &Draft, links: &Links, knot: &Knot) -> Diagnostic {
    let name = |step: &usize| draft.steps[*step].name.as_str();
    let span = |step: usize| draft.steps[step].span;
    let verb = |step: usize, other: usize| if links.vertices[step].reads == Some(other) { "reads" } else { "needs" };
    match knot {
        Knot::Cycle(steps) => {
            let mut way: Vec<&str> = steps.iter().map(name).collect();
            way.extend(way.first().copied());
            let message = match way.as_slice() {
                [only, _] => format!("step `{only}` waits for itself"),
                _ => format!("these steps wait for one another: `{}`", way.join("` → `")),
            };
            let pairs = steps.iter().zip(steps.iter().cycle().skip(1));
            let labels = pairs.map(|(step, other)| (span(*step), format!("{} `{}`", verb(*step, *other), name(other))));
            labels
                .fold(Diagnostic::new("cycle", message), |problem, (span, text)| problem.label(span, text))
                .help("take one of these `needs` or `stdin` out")
        }
        Knot::Inside { step, needs } => {
            let (a, b) = (name(step), name(needs));
            let message = format!("step `{a}` needs `{b}`, and both are in one pipeline");
            let text = draft.steps[*step].needs.iter().find(|(_, need)| need.text == last_name(b));
            let place = text.map_or(span(*step), |(_, need)| need.span);
            let problem = Diagnostic::at(place, "needs-inside-pipeline", message, "would wait for ever");
            problem.label(span(*needs), "runs at the same time").help(
                "steps that pipes connect start together: leave this `needs` out, or let a step outside of the pipeline do the work",
            )
        }
        Knot::Deadlock(pairs) => {
            let told: Vec<String> =
                pairs.iter().map(|(step, need)| format!("`{}` needs `{}`", name(step), name(need))).collect();
            let message = format!("these pipelines wait for one another: {}", told.join(", and "));
            let problem = Diagnostic::new("deadlock", message);
            let problem = pairs.iter().fold(problem, |problem, (step, need)| {
                problem
                    .label(span(*step), format!("needs `{}`, and so does everything that is piped to it", name(need)))
            });
            problem.help("steps that pipes connect start together, so a pipeline waits for what any of its steps needs: take one of these `needs` out")
        }
    }
}

/// The settings of one pipeline.
struct Settled {
    when: When,
    when_span: Option<Span>,
    attempts: u32,
    backoff: Duration,
    timeout: Option<Duration>,
}

fn settle(draft: &Draft, steps: &[usize], problems: &mut Vec<Diagnostic>) -> Settled {
    let of = |settings: fn(&Settings) -> Vec<Span>| -> BTreeSet<Span> {
        steps.iter().flat_map(|step| settings(&draft.steps[*step].settings)).collect()
    };
    let mut twice = |field: &str, code: &'static str, spans: BTreeSet<Span>| {
        let mut spans = spans.into_iter();
        if let (Some(first), Some(second)) = (spans.next(), spans.next()) {
            let names: Vec<&str> = steps.iter().map(|step| draft.steps[*step].name.as_str()).collect();
            let message = format!("`{field}` belongs to the whole pipeline {}, and stands twice in it", list(&names));
            let problem = Diagnostic::at(second, code, message, "the second").label(first, "the first");
            problems.push(problem.help("keep one of them, at any step of the pipeline"));
        }
    };
    twice("when", "two-whens", of(|settings| settings.when.iter().map(|(_, span)| *span).collect()));
    twice("retry", "two-retries", of(|settings| settings.retry.iter().map(|(_, span)| *span).collect()));
    twice("timeout", "two-timeouts", of(|settings| settings.timeout.iter().map(|(_, span)| *span).collect()));
    let all = || steps.iter().map(|step| &draft.steps[*step].settings);
    let when = all().find_map(|settings| settings.when.first());
    let retry = all().find_map(|settings| settings.retry.first());
    Settled {
        when: when.map_or(When::Success, |(when, _)| *when),
        when_span: when.map(|(_, span)| *span),
        attempts: retry.map_or(1, |(retry, _)| retry.attempts),
        backoff: retry.map_or(Duration::from_secs(1), |(retry, _)| retry.backoff),
        timeout: all().find_map(|settings| settings.timeout.first()).map(|(timeout, _)| *timeout),
    }
}

/// The type of every stream, each checked where it is read.
fn flow(draft: &Draft, links: &Links, shape: &Shape, problems: &mut Vec<Diagnostic>) -> Vec<StreamType> {
    let mut types = vec![StreamType::unknown(); draft.steps.len()];
    let mut check = |accepts: &Accepts, found: &StreamType, reader: &str, at: Span, writer: Option<&Step>| {
        if let Err(mismatch) = accepts.check(found) {
            let problem =
                Diagnostic::at(at, "stream-type", format!("`{reader}` {mismatch}"), format!("this is `{found}`"));
            let problem = match writer {
                Some(writer) => problem.label(writer.span, "comes from here"),
                None => problem,
            };
            problems.push(problem.maybe_help(mismatch.help));
        }
    };
    for step in shape.pipelines.iter().flat_map(|group| &group.steps) {
        let reader = &draft.steps[*step];
        let (found, writer) = match &links.writers[*step] {
            Some(Writer::Step(from)) => (Some(types[*from].clone()), Some(&draft.steps[*from])),
            Some(Writer::Outside(stream)) => (Some(stream.clone()), None),
            None => (None, None),
        };
        if let (Some(found), Some(stdin)) = (&found, &reader.stdin)
            && reader.reads != Need::Never
        {
            check(&reader.streams.stdin, found, &reader.function, stdin.span, writer);
        }
        types[*step] = reader.streams.stdout.resolve(found.as_ref());
    }
    for promise in &draft.promises {
        let (found, writer) = match draft.writer(promise.scope, &promise.from, &mut Vec::new()) {
            Some(Writer::Step(from)) => (types[from].clone(), Some(&draft.steps[from])),
            Some(Writer::Outside(stream)) => (stream, None),
            None => continue,
        };
        check(&promise.accepts, &found, &promise.composite, promise.from.span, writer);
    }
    types
}

fn check_whens(draft: &Draft, shape: &Shape, settings: &[Settled], problems: &mut Vec<Diagnostic>) {
    for (group, settled) in shape.pipelines.iter().zip(settings) {
        let waits = group.steps.iter().any(|step| !draft.steps[*step].needs.is_empty());
        if let (When::Failure, false, Some(span)) = (settled.when, waits, settled.when_span) {
            let message = "`when: failure` asks how other steps ended, and nothing says which";
            let problem = Diagnostic::at(span, "failure-without-needs", message, "of which steps?");
            problems.push(problem.help("name them: `needs: [NAME]`"));
        }
    }
}

fn check_outputs(draft: &Draft, shape: &Shape, settings: &[Settled], broken: bool, problems: &mut Vec<Diagnostic>) {
    let ancestors = shape.ancestors();
    for (pipeline, group) in shape.pipelines.iter().enumerate() {
        let mut named = Vec::new();
        for step in &group.steps {
            let step = &draft.steps[*step];
            draft.outputs_named(step.tree_scope, &step.tree, &mut named);
        }
        for named in named {
            let of = shape.pipeline_of[named.step];
            if of == pipeline {
                let message = format!(
                    "`{}` is known when step `{}` has ended, and this step runs at the same time",
                    named.text, named.step_text
                );
                let problem = Diagnostic::at(named.span, "not-an-ancestor", message, "in the same pipeline");
                problems.push(problem.help("use it in a step outside of the pipeline that `needs` this one"));
            } else if !ancestors.contains(pipeline, of) && !broken {
                let message =
                    format!("`{}` is used, and nothing says that step `{}` comes before", named.text, named.step_text);
                let problem = Diagnostic::at(named.span, "not-an-ancestor", message, "may not be there yet");
                problems.push(problem.help(format!("add `needs: [{}]` to this step", named.step_text)));
            } else if !named.guarded && (settings[pipeline].when != When::Success || settings[of].when == When::Failure)
            {
                let (message, label) = if settings[pipeline].when == When::Success {
                    (
                        format!(
                            "step `{}` runs only after a failure, and `{}` is null otherwise",
                            named.step_text, named.text
                        ),
                        "null after success",
                    )
                } else {
                    (
                        format!(
                            "this step also runs where `{}` failed or did not run, and `{}` is null then",
                            named.step_text, named.text
                        ),
                        "may be null",
                    )
                };
                let problem = Diagnostic::at(named.span, "unguarded-output", message, label);
                problems.push(problem.help(format!("say what to use then: `{{{{ default {} 'none' }}}}`", named.text)));
            }
        }
    }
}

fn build(draft: Draft, document: &Document, catalog: &Catalog, concurrency: usize, parts: Parts) -> Option<Plan> {
    let Parts { links, shape, settings, types } = parts;
    let order: Vec<usize> = shape.pipelines.iter().flat_map(|group| group.steps.iter().copied()).collect();
    let mut ids = vec![StepId(0); draft.steps.len()];
    for (at, step) in order.iter().enumerate() {
        ids[*step] = StepId(at);
    }
    let pipelines = shape.pipelines.iter().zip(&settings).map(|(group, settled)| {
        let names: Vec<&str> = group.steps.iter().map(|step| draft.steps[*step].name.as_str()).collect();
        Pipeline {
            name: names.join(" | "),
            steps: group.steps.iter().map(|step| ids[*step]).collect(),
            after: group.after.iter().copied().map(PipelineId).collect(),
            when: settled.when,
            attempts: settled.attempts,
            backoff: settled.backoff,
            timeout: settled.timeout,
        }
    });
    let pipelines: Vec<Pipeline> = pipelines.collect();
    let world = Arc::new(World {
        sources: catalog.sources.clone(),
        scopes: draft.scopes,
        task: document.name.text.clone(),
        env: draft.env.unwrap_or_default(),
        ids,
    });
    let mut drafts: Vec<Option<Step>> = draft.steps.into_iter().map(Some).collect();
    let mut steps = Vec::with_capacity(order.len());
    for at in order {
        let step = drafts[at].take()?;
        let params = match step.params {
            Some(value) => Params::Known(value),
            None => {
                let (tree, shown) = (step.tree, step.shown.clone());
                let late: Arc<dyn LateParams> = Arc::new(Late {
                    world: Arc::clone(&world),
                    tree,
                    scope: step.tree_scope,
                    runs: Arc::clone(&step.runs),
                    shown,
                });
                Params::Late(late)
            }
        };
        steps.push(PlannedStep {
            name: step.name,
            function: step.function,
            runs: step.runs,
            params,
            stdin: links.vertices[at].reads.map(|read| world.ids[read]),
            needs: links.vertices[at].needs.iter().map(|need| world.ids[*need]).collect(),
            streams: step.streams,
            stdout: types[at].clone(),
            pipeline: PipelineId(shape.pipeline_of[at]),
            shown: step.shown,
        });
    }
    Some(Plan { task: document.name.text.clone(), concurrency, steps, pipelines, secrets: draft.secrets })
}
