//! Params as written, with their templates compiled once ([`Tree`]), and as rendered in one place ([`Given`]).

use serde_json::Value as Json;

use super::{Found, Hole, Kind, Names, Slot, Template, Use, compile};
use crate::diagnostic::Diagnostic;
use crate::document::node::{Key, Node, Value};
use crate::secret::{MASK, Place, SecretUrl};
use crate::source::Span;

/// A value as written: templates compiled, everything else as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// Where it is written.
    pub span: Span,
    /// What it is.
    pub value: TreeValue,
}

/// What a [`Tree`] is.
#[derive(Debug, Clone, PartialEq)]
pub enum TreeValue {
    /// A value without expressions that is neither list nor map.
    Plain(Json),
    /// A text with expressions.
    Template(Template),
    /// A list.
    List(Vec<Tree>),
    /// A map.
    Map(Vec<(Key, Tree)>),
    /// Something that was reported already.
    Broken,
}

/// A value as rendered, each part with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// Where it is written.
    pub span: Span,
    /// What it is.
    pub value: GivenValue,
    /// True where a secret went into it; a collection is not secret for its parts.
    pub secret: bool,
    /// True where an expression made it: then a number or a boolean becomes a text where only a text fits.
    pub rendered: bool,
}

/// What a [`Given`] is.
#[derive(Debug, Clone, PartialEq)]
pub enum GivenValue {
    /// A value that is neither list nor map.
    Plain(Json),
    /// A list.
    List(Vec<Given>),
    /// A map. Fields that rendered to null are not in it.
    Map(Vec<(Key, Given)>),
    /// Not known yet; with the template as it was written.
    Hole(Hole, String),
}

impl Tree {
    /// Compiles the templates in a node.
    pub fn compile(node: &Node, source: &str, problems: &mut Vec<Diagnostic>) -> Self {
        let value = match &node.value {
            Value::Text(text) if text.contains("{{") => TreeValue::Template(compile(text, node.span, source, problems)),
            Value::List(items) => {
                TreeValue::List(items.iter().map(|item| Self::compile(item, source, problems)).collect())
            }
            Value::Map(fields) => {
                let field = |(key, node): &(Key, Node)| (key.clone(), Self::compile(node, source, problems));
                TreeValue::Map(fields.iter().map(field).collect())
            }
            Value::Broken => TreeValue::Broken,
            plain => TreeValue::Plain(plain.to_json()),
        };
        Self { span: node.span, value }
    }

    /// A map without fields.
    pub fn empty(span: Span) -> Self {
        Self { span, value: TreeValue::Map(Vec::new()) }
    }

    /// The fields, where it is a map.
    pub fn fields(&self) -> &[(Key, Self)] {
        if let TreeValue::Map(fields) = &self.value { fields } else { &[] }
    }

    /// Renders it.
    pub fn render(&self, names: &dyn Names, problems: &mut Vec<Diagnostic>) -> Given {
        let (value, secret) = match &self.value {
            TreeValue::Plain(value) => (GivenValue::Plain(value.clone()), false),
            TreeValue::Broken => (GivenValue::Hole(Hole { kind: None, late: false }, String::new()), false),
            TreeValue::List(items) => {
                (GivenValue::List(items.iter().map(|item| item.render(names, problems)).collect()), false)
            }
            TreeValue::Map(fields) => {
                let fields = fields.iter().map(|(key, tree)| (key.clone(), tree.render(names, problems)));
                (GivenValue::Map(fields.filter(|(_, given)| !given.is_null()).collect()), false)
            }
            TreeValue::Template(template) => {
                let Found { slot, secret } = template.render(names, false, problems);
                return match slot {
                    Slot::Known(value) => Given::from_json(self.span, value, secret),
                    Slot::Hole(hole) => Given {
                        span: self.span,
                        value: GivenValue::Hole(hole, template.written.clone()),
                        secret,
                        rendered: true,
                    },
                };
            }
        };
        Given { span: self.span, value, secret, rendered: false }
    }

    /// Calls `found` for every reference in it.
    pub fn references<'t>(&'t self, found: &mut dyn FnMut(Use<'t>)) {
        match &self.value {
            TreeValue::Plain(_) | TreeValue::Broken => {}
            TreeValue::Template(template) => template.references(&mut |used| found(used)),
            TreeValue::List(items) => items.iter().for_each(|item| item.references(found)),
            TreeValue::Map(fields) => fields.iter().for_each(|(_, tree)| tree.references(found)),
        }
    }
}

impl Given {
    /// A value that stands at one place as a whole.
    pub fn from_json(span: Span, value: Json, secret: bool) -> Self {
        let value = match value {
            Json::Array(items) => {
                GivenValue::List(items.into_iter().map(|item| Self::from_json(span, item, secret)).collect())
            }
            Json::Object(fields) => {
                let field = |(text, value)| (Key { span, text }, Self::from_json(span, value, secret));
                GivenValue::Map(fields.into_iter().map(field).filter(|(_, given)| !given.is_null()).collect())
            }
            plain => GivenValue::Plain(plain),
        };
        Self { span, value, secret, rendered: true }
    }

    /// How many bytes its texts have.
    pub fn text_len(&self) -> usize {
        match &self.value {
            GivenValue::Plain(Json::String(text)) => text.len(),
            GivenValue::Plain(_) | GivenValue::Hole(..) => 0,
            GivenValue::List(items) => items.iter().map(Self::text_len).sum(),
            GivenValue::Map(fields) => fields.iter().map(|(_, given)| given.text_len()).sum(),
        }
    }

    /// True where it is a null that is known.
    pub fn is_null(&self) -> bool {
        self.value == GivenValue::Plain(Json::Null)
    }

    /// Its value; none where a part of it is not known.
    pub fn to_json(&self) -> Option<Json> {
        match &self.value {
            GivenValue::Plain(value) => Some(value.clone()),
            GivenValue::List(items) => items.iter().map(Self::to_json).collect::<Option<Vec<_>>>().map(Json::Array),
            GivenValue::Map(fields) => fields
                .iter()
                .map(|(key, given)| Some((key.text.clone(), given.to_json()?)))
                .collect::<Option<serde_json::Map<_, _>>>()
                .map(Json::Object),
            GivenValue::Hole(..) => None,
        }
    }

    /// Its value, with nulls for what is not known.
    pub fn known_json(&self) -> Json {
        match &self.value {
            GivenValue::Plain(value) => value.clone(),
            GivenValue::List(items) => items.iter().map(Self::known_json).collect(),
            GivenValue::Map(fields) => {
                Json::Object(fields.iter().map(|(key, given)| (key.text.clone(), given.known_json())).collect())
            }
            GivenValue::Hole(..) => Json::Null,
        }
    }

    /// The fields, where it is a map.
    pub fn fields(&self) -> &[(Key, Self)] {
        if let GivenValue::Map(fields) = &self.value { fields } else { &[] }
    }

    /// Turns rendered numbers and booleans into texts where the schema takes only a text: `"{{ params.port }}"` is an
    /// integer, and an argument of a command all the same.
    #[must_use]
    pub fn fitted(self, schema: &Json) -> Self {
        self.fitted_to(&Place::of(schema))
    }

    fn fitted_to(self, place: &Place<'_>) -> Self {
        let value = match self.value {
            GivenValue::Plain(value) if self.rendered && (value.is_number() || value.is_boolean()) => {
                let takes = |kind: Kind| place.schemas().iter().any(|schema| takes(schema, kind));
                let own =
                    if value.is_boolean() { takes(Kind::Boolean) } else { takes(Kind::Number) || takes(Kind::Integer) };
                GivenValue::Plain(if takes(Kind::String) && !own { value.to_string().into() } else { value })
            }
            GivenValue::List(items) => {
                let place = place.item();
                GivenValue::List(items.into_iter().map(|item| item.fitted_to(&place)).collect())
            }
            GivenValue::Map(fields) => {
                let field = |(key, given): (Key, Self)| {
                    let given = given.fitted_to(&place.field(&key.text));
                    (key, given)
                };
                GivenValue::Map(fields.into_iter().map(field).collect())
            }
            other => other,
        };
        Self { value, ..self }
    }

    /// Its value for printing: what is not known as it was written, and secrets masked by the schema of what takes it.
    pub fn shown(&self, schema: &Json) -> Json {
        self.shown_at(&Place::of(schema))
    }

    fn shown_at(&self, place: &Place<'_>) -> Json {
        if place.is_secret() || (self.secret && !place.is_url()) {
            return MASK.into();
        }
        match &self.value {
            GivenValue::Plain(Json::String(text)) if place.is_url() => SecretUrl::new(text.as_str()).to_string().into(),
            GivenValue::Hole(_, written) => written.clone().into(),
            GivenValue::Plain(value) => value.clone(),
            GivenValue::List(items) => {
                let place = place.item();
                items.iter().map(|item| item.shown_at(&place)).collect()
            }
            GivenValue::Map(fields) => {
                let field = |(key, given): &(Key, Self)| (key.text.clone(), given.shown_at(&place.field(&key.text)));
                Json::Object(fields.iter().map(field).collect())
            }
        }
    }

    /// True where a secret went into it or a part of it.
    pub fn is_secret(&self) -> bool {
        self.secret
            || match &self.value {
                GivenValue::List(items) => items.iter().any(Self::is_secret),
                GivenValue::Map(fields) => fields.iter().any(|(_, given)| given.is_secret()),
                _ => false,
            }
    }

    /// True where a run fills a hole in it.
    pub fn is_late(&self) -> bool {
        match &self.value {
            GivenValue::Plain(_) => false,
            GivenValue::List(items) => items.iter().any(Self::is_late),
            GivenValue::Map(fields) => fields.iter().any(|(_, given)| given.is_late()),
            GivenValue::Hole(hole, _) => hole.late,
        }
    }

    /// The part at a path such as `a.b[0].c` or `a.b.0.c`; the nearest part around it, where it ends earlier.
    pub fn at_path(&self, path: &str) -> &Self {
        let mut here = self;
        for name in path.split(['.', '[', ']']).filter(|name| !name.is_empty()) {
            let next = match &here.value {
                GivenValue::Map(fields) => fields.iter().find(|(key, _)| key.text == name).map(|(_, given)| given),
                GivenValue::List(items) => name.parse::<usize>().ok().and_then(|at| items.get(at)),
                _ => None,
            };
            match next {
                Some(next) => here = next,
                None => break,
            }
        }
        here
    }
}

/// True where a schema names this type.
fn takes(schema: &Json, kind: Kind) -> bool {
    match schema.get("type") {
        Some(Json::String(name)) => name == kind.schema_name(),
        Some(Json::Array(names)) => names.iter().any(|name| name == kind.schema_name()),
        _ => false,
    }
}
