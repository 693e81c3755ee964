//! Values of every layout, told part by part.
//!
//! Takes an [`Input`] that stands at a value. Tells a [`Visitor`]. Always holds: however long a value or a part of it is,
//! only a piece is held.

use aquifer_engine::failure::Failure;

use super::format::Layout;
use super::input::{Input, Source};
use super::packed::{Element, Form, Packed};
use super::text::Text;
use super::visit::{Role, Visitor};

/// No score that is written as text is longer.
const LONGEST_SCORE: usize = 128;

/// Reads values, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Values {
    pub(super) text: Text,
    pub(super) packed: Packed,
    pub(super) name: Vec<u8>,
}

impl Values {
    /// Tells the value that stands here. A module's value is passed over: nobody but the module knows what is in it.
    ///
    /// # Errors
    /// It is damaged or cut off, or whoever is told ends it.
    pub(crate) async fn tell<S: Source>(
        &mut self,
        layout: Layout,
        input: &mut Input<S>,
        to: &mut impl Visitor,
    ) -> Result<(), Failure> {
        match layout {
            Layout::String => self.text(Role::Whole, input, to).await,
            Layout::List | Layout::Set => {
                for _ in 0..input.number().await? {
                    self.text(Role::Element, input, to).await?;
                }
                Ok(())
            }
            Layout::Zset | Layout::ZsetText => {
                for _ in 0..input.number().await? {
                    self.text(Role::Member, input, to).await?;
                    let score = if layout == Layout::Zset {
                        f64::from_le_bytes(input.array().await?)
                    } else {
                        score_text(input).await?
                    };
                    to.score(checked(score, input)?).await?;
                }
                Ok(())
            }
            Layout::Hash | Layout::HashValkey => {
                for _ in 0..input.number().await? {
                    self.text(Role::Field, input, to).await?;
                    self.text(Role::Value, input, to).await?;
                    if layout == Layout::HashValkey {
                        let at = i64::from_le_bytes(input.array().await?);
                        // -1 says that there is none.
                        to.expires(u64::try_from(at).ok()).await?;
                    }
                }
                Ok(())
            }
            Layout::HashExpiring { relative } => self.expiring(relative, input, to).await,
            Layout::Zipmap => self.pairs(Form::Zipmap { value: false }, false, input, to).await,
            Layout::HashZiplist => self.pairs(Form::Ziplist, false, input, to).await,
            Layout::HashListpack => self.pairs(Form::Listpack, false, input, to).await,
            Layout::HashListpackExpiring { headed } => {
                if headed {
                    input.array::<8>().await?;
                }
                self.pairs(Form::Listpack, true, input, to).await
            }
            Layout::ListZiplist => self.elements(Form::Ziplist, input, to).await,
            Layout::SetListpack => self.elements(Form::Listpack, input, to).await,
            Layout::Intset => self.elements(Form::Intset { width: 0, left: 0 }, input, to).await,
            Layout::ZsetZiplist => self.scored(Form::Ziplist, input, to).await,
            Layout::ZsetListpack => self.scored(Form::Listpack, input, to).await,
            Layout::Quicklist => {
                for _ in 0..input.number().await? {
                    self.elements(Form::Ziplist, input, to).await?;
                }
                Ok(())
            }
            Layout::Quicklist2 => {
                for _ in 0..input.number().await? {
                    match input.number().await? {
                        1 => self.text(Role::Element, input, to).await?,
                        2 => self.elements(Form::Listpack, input, to).await?,
                        other => return Err(input.wrong(format_args!("no node of a list is of the sort {other}"))),
                    }
                }
                Ok(())
            }
            Layout::Stream(version) => self.stream(version, input, to).await,
            Layout::Module => {
                input.number().await?;
                self.module(input).await
            }
        }
    }

    /// Tells a text that stands by itself.
    pub(super) async fn text<S: Source>(
        &mut self,
        role: Role,
        input: &mut Input<S>,
        to: &mut impl Visitor,
    ) -> Result<(), Failure> {
        to.text(role, self.text.begin(input).await?).await?;
        while self.text.left() > 0 {
            to.piece(self.text.next(input).await?).await?;
        }
        to.told().await
    }

    async fn elements<S: Source>(
        &mut self,
        form: Form,
        input: &mut Input<S>,
        to: &mut impl Visitor,
    ) -> Result<(), Failure> {
        self.packed.begin(form, input).await?;
        while let Some(element) = self.packed.next(input).await? {
            self.packed.tell(element, Role::Element, input, to).await?;
        }
        Ok(())
    }

    /// The other half of a pair.
    async fn second<S: Source>(&mut self, input: &mut Input<S>) -> Result<Element, Failure> {
        self.packed.next(input).await?.ok_or_else(|| input.wrong("packed elements end within a pair"))
    }

    /// Fields and values; `timed`: each with an expiry behind it.
    async fn pairs<S: Source>(
        &mut self,
        form: Form,
        timed: bool,
        input: &mut Input<S>,
        to: &mut impl Visitor,
    ) -> Result<(), Failure> {
        self.packed.begin(form, input).await?;
        while let Some(field) = self.packed.next(input).await? {
            self.packed.tell(field, Role::Field, input, to).await?;
            let value = self.second(input).await?;
            self.packed.tell(value, Role::Value, input, to).await?;
            if timed {
                let at = self.packed.number(input).await?;
                to.expires(u64::try_from(at).ok().filter(|at| *at > 0)).await?;
            }
        }
        Ok(())
    }

    async fn scored<S: Source>(
        &mut self,
        form: Form,
        input: &mut Input<S>,
        to: &mut impl Visitor,
    ) -> Result<(), Failure> {
        self.packed.begin(form, input).await?;
        while let Some(member) = self.packed.next(input).await? {
            self.packed.tell(member, Role::Member, input, to).await?;
            let score = match self.second(input).await? {
                Element::Number(number) => number as f64,
                text => parsed(&self.packed.short(text, LONGEST_SCORE, input).await?, input)?,
            };
            to.score(checked(score, input)?).await?;
        }
        Ok(())
    }

    async fn expiring<S: Source>(
        &mut self,
        relative: bool,
        input: &mut Input<S>,
        to: &mut impl Visitor,
    ) -> Result<(), Failure> {
        let least = if relative { u64::from_le_bytes(input.array().await?) } else { 1 };
        for _ in 0..input.number().await? {
            let at = match input.number().await? {
                0 => None,
                // One more than the distance, so that 0 is free for those without.
                at => Some(
                    (at - 1)
                        .checked_add(least)
                        .filter(|at| *at < 1 << 48)
                        .ok_or_else(|| input.wrong("this is no expiry"))?,
                ),
            };
            self.text(Role::Field, input, to).await?;
            self.text(Role::Value, input, to).await?;
            to.expires(at).await?;
        }
        Ok(())
    }

    /// Passes over what a module wrote, up to its end mark.
    ///
    /// # Errors
    /// As [`Values::tell`].
    pub(crate) async fn module<S: Source>(&mut self, input: &mut Input<S>) -> Result<(), Failure> {
        loop {
            match input.number().await? {
                0 => return Ok(()),
                1 | 2 => drop(input.number().await?),
                3 => drop(input.array::<4>().await?),
                4 => drop(input.array::<8>().await?),
                5 => self.text.pass_over(input).await?,
                _ => return Err(input.wrong("no part of a module's value begins like this")),
            }
        }
    }
}

/// A score that is written as text behind its length.
async fn score_text<S: Source>(input: &mut Input<S>) -> Result<f64, Failure> {
    Ok(match input.byte().await? {
        255 => f64::NEG_INFINITY,
        254 => f64::INFINITY,
        253 => f64::NAN,
        length => {
            let length = usize::from(length);
            input.need(length).await?;
            let score = parsed(&input.rest()[..length], input)?;
            input.skip(length);
            score
        }
    })
}

fn parsed<S: Source>(text: &[u8], input: &Input<S>) -> Result<f64, Failure> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| input.wrong(format_args!("{} is no score", crate::redis::wire::resp::show(text))))
}

fn checked<S: Source>(score: f64, input: &Input<S>) -> Result<f64, Failure> {
    if score.is_nan() { Err(input.wrong("a score is not a number")) } else { Ok(score) }
}
