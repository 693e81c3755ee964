//! A text of an RDB: as it is, compressed, or a number; given in pieces.
//!
//! Takes an [`Input`] that stands at one. Gives its length at once and its bytes bit by bit. Always holds: a text has as
//! many bytes as it said at first.

use aquifer_engine::failure::Failure;

use super::input::{Input, Source};
use super::lzf::Lzf;

/// How much of a text is given at once.
const AT_ONCE: usize = 64 << 10;

/// A length, or what stands in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// A number.
    Plain(u64),
    /// A text that is written in another way.
    Encoded(u8),
}

/// Where the bytes of a text come from.
#[derive(Debug, Default, Clone, Copy)]
enum From {
    #[default]
    Raw,
    Lzf,
    /// A number, as text.
    Number([u8; 11]),
}

/// A text being read; one after the other.
#[derive(Debug, Default)]
pub(crate) struct Text {
    length: u64,
    left: u64,
    from: From,
    lzf: Lzf,
}

impl Text {
    /// Begins with the next text.
    ///
    /// # Errors
    /// What stands there is no text, or it is cut off.
    pub(crate) async fn begin<S: Source>(&mut self, input: &mut Input<S>) -> Result<u64, Failure> {
        (self.length, self.from) = match input.length().await? {
            Length::Plain(length) => (length, From::Raw),
            Length::Encoded(0) => number(i32::from(input.array::<1>().await?[0] as i8)),
            Length::Encoded(1) => number(i32::from(i16::from_le_bytes(input.array().await?))),
            Length::Encoded(2) => number(i32::from_le_bytes(input.array().await?)),
            Length::Encoded(3) => {
                let (packed, length) = (input.number().await?, input.number().await?);
                // The best that LZF does is 264 bytes for three.
                if length > packed.saturating_mul(88) || (length == 0) != (packed == 0) {
                    return Err(input.wrong("a compressed text has an impossible length"));
                }
                self.lzf.begin(packed);
                (length, From::Lzf)
            }
            Length::Encoded(other) => return Err(input.wrong(format_args!("no text is written in the way {other}"))),
        };
        self.left = self.length;
        Ok(self.length)
    }

    /// Bytes that are still to come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Some of the bytes that are still to come, at least one; they are passed over. Empty where there are none.
    ///
    /// # Errors
    /// The text is damaged or cut off.
    pub(crate) async fn next<'a, S: Source>(&'a mut self, input: &'a mut Input<S>) -> Result<&'a [u8], Failure> {
        if self.left == 0 {
            return Ok(&[]);
        }
        match &self.from {
            From::Raw => {
                input.need(1).await?;
                let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(AT_ONCE);
                let taken = input.take(most);
                self.left -= taken.len() as u64;
                Ok(taken)
            }
            From::Lzf => {
                let piece = self.lzf.next(self.left, input).await?;
                self.left -= piece.len() as u64;
                Ok(piece)
            }
            From::Number(digits) => {
                self.left = 0;
                Ok(&digits[..self.length as usize])
            }
        }
    }

    /// Passes over the next text.
    ///
    /// # Errors
    /// As [`Text::begin`] and [`Text::next`].
    pub(crate) async fn pass_over<S: Source>(&mut self, input: &mut Input<S>) -> Result<(), Failure> {
        self.begin(input).await?;
        while self.left > 0 {
            self.next(input).await?;
        }
        Ok(())
    }

    /// All of the text, where it has at most so many bytes.
    ///
    /// # Errors
    /// It is longer, damaged or cut off.
    pub(crate) async fn whole<S: Source>(
        &mut self,
        input: &mut Input<S>,
        most: u64,
        what: &str,
        into: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        into.clear();
        let length = self.begin(input).await?;
        if length > most {
            return Err(Failure::rejected(format!(
                "at byte {} of {}: {what} has {length} bytes, and is not read above {most}",
                input.offset(),
                input.name()
            )));
        }
        while self.left > 0 {
            into.extend_from_slice(self.next(input).await?);
        }
        Ok(())
    }
}

fn number(value: i32) -> (u64, From) {
    let mut digits = [0; 11];
    let text = value.to_string();
    digits[..text.len()].copy_from_slice(text.as_bytes());
    (text.len() as u64, From::Number(digits))
}

impl<S: Source> Input<S> {
    /// A length, or what stands in its place.
    ///
    /// # Errors
    /// What stands there is none, or it is cut off.
    pub(crate) async fn length(&mut self) -> Result<Length, Failure> {
        let first = self.byte().await?;
        Ok(match first >> 6 {
            0 => Length::Plain(u64::from(first)),
            1 => Length::Plain(u64::from(first & 63) << 8 | u64::from(self.byte().await?)),
            2 if first == 0x80 => Length::Plain(u64::from(u32::from_be_bytes(self.array().await?))),
            2 if first == 0x81 => Length::Plain(u64::from_be_bytes(self.array().await?)),
            3 => Length::Encoded(first & 63),
            _ => return Err(self.wrong("this is no length")),
        })
    }

    /// A length that is a number.
    ///
    /// # Errors
    /// As [`Input::length`].
    pub(crate) async fn number(&mut self) -> Result<u64, Failure> {
        match self.length().await? {
            Length::Plain(number) => Ok(number),
            Length::Encoded(_) => Err(self.wrong("expected a number")),
        }
    }
}
