//! Streams, told part by part.
//!
//! A stream stands as nodes, each an id and a listpack of entries whose ids are differences to it and whose fields are
//! those of the node's first entry unless they say otherwise; then its state; then its groups, each with all that it has
//! pending, and then its consumers with the ids of what they have pending.
//!
//! Always holds: of the entries only a piece is held, of a node the names of its fields, up to [`LONGEST_NAMES`].

use aquifer_engine::failure::Failure;

use super::input::{Input, Source};
use super::packed::{Form, Packed};
use super::pending::{Consumers, Delivered, MOST_PENDING, Pending, Present};
use super::text::Text;
use super::value::Values;
use super::visit::{Id, MoreState, Role, State, Stream, Visitor};

/// How long the names of a node's fields may be, together.
const LONGEST_NAMES: usize = 8 << 20;

/// How many of them there may be.
const MOST_NAMES: i64 = 1 << 20;

/// How long the name of a group or consumer may be.
const LONGEST_NAME: u64 = 1 << 20;

/// The marks of an entry.
const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

impl Values {
    /// Tells a stream of this version of the layout.
    pub(super) async fn stream<S: Source>(
        &mut self,
        version: u8,
        input: &mut Input<S>,
        to: &mut impl Visitor,
    ) -> Result<(), Failure> {
        let mut present = Present::default();
        for _ in 0..input.number().await? {
            self.text.whole(input, 16, "the id of a stream's node", &mut self.name).await?;
            let Ok(id) = <[u8; 16]>::try_from(&self.name[..]) else {
                return Err(input.wrong("the id of a stream's node has not 16 bytes"));
            };
            self.node(raw_id(id), &mut present, input, to).await?;
        }
        let state = State {
            length: input.number().await?,
            last: id(input).await?,
            more: match version {
                0..=1 => None,
                _ => {
                    Some(MoreState { first: id(input).await?, deleted: id(input).await?, added: input.number().await? })
                }
            },
        };
        to.stream(Stream::State(state)).await?;
        for _ in 0..input.number().await? {
            self.group(version, &present, input, to).await?;
        }
        Ok(())
    }

    async fn node<S: Source>(
        &mut self,
        base: Id,
        present: &mut Present,
        input: &mut Input<S>,
        to: &mut impl Visitor,
    ) -> Result<(), Failure> {
        let packed = &mut self.packed;
        packed.begin(Form::Listpack, input).await?;
        // How many are there and how many are deleted; the entries say it themselves.
        packed.number(input).await?;
        packed.number(input).await?;
        let names = packed.number(input).await?;
        if names > MOST_NAMES {
            let (place, file) = (input.offset(), input.name());
            return Err(Failure::rejected(format!(
                "at byte {place} of {file}: an entry of a stream has {names} fields, and more than {MOST_NAMES} are not read one by one"
            ))
            .with_help("read the server by `SCAN` (`redis-dump`), or leave the stream out by a filter"));
        }
        if names < 0 {
            return Err(input.wrong(format_args!("an entry of {names} fields")));
        }
        let (mut held, mut ends) = (Vec::new(), Vec::new());
        for _ in 0..names {
            let element = packed.next(input).await?.ok_or_else(|| input.wrong("a stream's node ends too early"))?;
            let name = packed.short(element, LONGEST_NAMES.saturating_sub(held.len()), input).await?;
            held.extend_from_slice(&name);
            ends.push(held.len());
        }
        // The end of the node's own fields.
        packed.number(input).await?;
        let mut first = true;
        while let Some(marks) = packed.next(input).await? {
            let marks = match marks {
                super::packed::Element::Number(marks) => marks,
                super::packed::Element::Text(_) => return Err(input.wrong("expected the marks of an entry")),
            };
            let milliseconds = base.0.wrapping_add_signed(packed.number(input).await?);
            let id = (milliseconds, base.1.wrapping_add_signed(packed.number(input).await?));
            let same = marks & SAME_FIELDS != 0;
            let fields = if same { names } else { packed.number(input).await? };
            let deleted = marks & DELETED != 0;
            let Some(fields) = u64::try_from(fields).ok().filter(|fields| *fields > 0 || deleted) else {
                return Err(input.wrong(format_args!("an entry of {fields} fields")));
            };
            present.add(id, std::mem::take(&mut first), deleted);
            if deleted {
                entry(packed, fields, same.then_some((&held[..], &ends[..])), input, &mut super::visit::Nobody).await?;
            } else {
                to.stream(Stream::Entry { id, fields }).await?;
                entry(packed, fields, same.then_some((&held[..], &ends[..])), input, to).await?;
            }
            // How many elements the entry has, for those who go backwards.
            packed.number(input).await?;
        }
        Ok(())
    }

    async fn group<S: Source>(
        &mut self,
        version: u8,
        present: &Present,
        input: &mut Input<S>,
        to: &mut impl Visitor,
    ) -> Result<(), Failure> {
        name(&mut self.text, input, &mut self.name).await?;
        let last = id(input).await?;
        // -1 stands for what is not known, written as any other length.
        let read = if version >= 2 { Some(input.number().await? as i64) } else { None };
        to.stream(Stream::Group { name: &self.name, last, read }).await?;
        let mut pending = Pending::default();
        let count = input.number().await?;
        if count > MOST_PENDING {
            return Err(too_many(&format!("{count} pending entries, and more than {MOST_PENDING}"), input));
        }
        for _ in 0..count {
            let id = raw_id(input.array().await?);
            let at = i64::from_le_bytes(input.array().await?);
            let times = input.number().await?;
            if !pending.push(Delivered { id, at, times }) {
                return Err(input.wrong("the pending entries of a group are not in order"));
            }
            if pending.too_many() {
                return Err(too_many(&format!("{count} pending entries of unusual size, and so many"), input));
            }
        }
        let mut consumers = Consumers::default();
        for _ in 0..input.number().await? {
            name(&mut self.text, input, &mut self.name).await?;
            let seen = i64::from_le_bytes(input.array().await?);
            let active = if version >= 3 { Some(i64::from_le_bytes(input.array().await?)) } else { None };
            to.stream(Stream::Consumer { name: &self.name, seen, active }).await?;
            let owned = input.number().await?;
            let held = if owned > 0 { consumers.hold(&self.name) } else { None };
            for _ in 0..owned {
                let id = raw_id(input.array().await?);
                let Some((place, delivered)) = pending.find(id) else {
                    return Err(input.wrong("a consumer has pending what its group has not"));
                };
                match held {
                    Some(consumer) => pending.belongs(place, consumer),
                    None => to.stream(told(&delivered, &self.name, present)).await?,
                }
            }
        }
        for (place, delivered) in pending.all() {
            if let Some(name) = pending.owner(place).and_then(|consumer| consumers.name(consumer)) {
                to.stream(told(&delivered, name, present)).await?;
            }
        }
        Ok(())
    }
}

/// Why a group is not read.
fn too_many<S: Source>(what: &str, input: &Input<S>) -> Failure {
    let (place, file) = (input.offset(), input.name());
    Failure::rejected(format!("at byte {place} of {file}: a group of a stream has {what} are not read one by one"))
        .with_help(
            "acknowledge what nobody will ask for any more (`XACK`), or read the server by `SCAN` (`redis-dump`)",
        )
}

fn told<'n>(delivered: &Delivered, consumer: &'n [u8], present: &Present) -> Stream<'n> {
    let Delivered { id, at, times } = *delivered;
    Stream::Pending { id, consumer, delivered: at, times, there: present.has(id) }
}

/// Tells the fields and values of an entry; the fields are those that the node has, or stand before each value.
async fn entry<S: Source>(
    packed: &mut Packed,
    fields: u64,
    names: Option<(&[u8], &[usize])>,
    input: &mut Input<S>,
    to: &mut impl Visitor,
) -> Result<(), Failure> {
    let mut from = 0;
    for at in 0..fields {
        match names {
            Some((held, ends)) => {
                let end = ends.get(at as usize).copied().unwrap_or(from);
                to.text(Role::Field, (end - from) as u64).await?;
                if end > from {
                    to.piece(&held[from..end]).await?;
                }
                to.told().await?;
                from = end;
            }
            None => {
                let field = packed.next(input).await?.ok_or_else(|| input.wrong("an entry ends too early"))?;
                packed.tell(field, Role::Field, input, to).await?;
            }
        }
        let value = packed.next(input).await?.ok_or_else(|| input.wrong("an entry ends too early"))?;
        packed.tell(value, Role::Value, input, to).await?;
    }
    Ok(())
}

async fn name<S: Source>(text: &mut Text, input: &mut Input<S>, into: &mut Vec<u8>) -> Result<(), Failure> {
    text.whole(input, LONGEST_NAME, "the name of a stream's group or consumer", into).await
}

async fn id<S: Source>(input: &mut Input<S>) -> Result<Id, Failure> {
    Ok((input.number().await?, input.number().await?))
}

/// An id as it stands in keys of the server's tables.
fn raw_id(bytes: [u8; 16]) -> Id {
    let both = u128::from_be_bytes(bytes);
    ((both >> 64) as u64, both as u64)
}
