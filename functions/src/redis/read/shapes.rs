//! What keys of one shape have been so far: names such as `session:81ab` and `session:93cd` are mostly of one type.
//!
//! Takes names and the types that they turned out to have. Gives guesses, which save a question for each key. Always holds: a
//! guess is only how a key is asked for first, and whoever is wrong finds out; a shape that was wrong once is never guessed
//! again; the table has a fixed size.

use xxhash_rust::xxh3::xxh3_64;

/// Shapes that are known at once.
const PLACES: usize = 1024;

/// How much of a name is looked at.
const LOOKED_AT: usize = 64;

/// So many keys of one shape in a row are believed.
const BELIEVED: u8 = 16;

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    shape: u64,
    string: bool,
    /// 0 where there was none, [`u8::MAX`] where the shape has several types.
    seen: u8,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Shapes(Vec<Place>);

impl Shapes {
    pub(crate) fn new() -> Self {
        Self(vec![Place::default(); PLACES])
    }

    /// Whether a key of this name is a string, if that can be guessed.
    pub(crate) fn guess(&self, key: &[u8]) -> Option<bool> {
        let shape = shape(key);
        let place = &self.0[shape as usize % PLACES];
        (place.shape == shape && (BELIEVED..u8::MAX).contains(&place.seen)).then_some(place.string)
    }

    /// Remembers what a key of this shape turned out to be.
    pub(crate) fn learn(&mut self, shape: u64, string: bool) {
        let place = &mut self.0[shape as usize % PLACES];
        if place.shape != shape || place.seen == 0 {
            *place = Place { shape, string, seen: 1 };
        } else if place.string != string {
            place.seen = u8::MAX;
        } else if place.seen < BELIEVED {
            place.seen += 1;
        }
    }
}

/// A name's beginning, with one mark for each number, in hexadecimal too.
pub(super) fn shape(key: &[u8]) -> u64 {
    let key = &key[..key.len().min(LOOKED_AT)];
    let (mut text, mut length, mut at) = ([0; LOOKED_AT], 0, 0);
    while at < key.len() {
        let run = key[at..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let number = run > 1 && key[at..at + run].iter().any(u8::is_ascii_digit);
        let part: &[u8] = if number { b"#" } else { &key[at..at + run.max(1)] };
        text[length..length + part.len()].copy_from_slice(part);
        length += part.len();
        at += run.max(1);
    }
    xxh3_64(&text[..length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_matter_and_all_else_does() {
        for (one, other) in [("user:12", "user:981"), ("s:9f86d081-a3", "s:0045abcd-01"), ("a:12:b", "a:13:b")] {
            assert_eq!(shape(one.as_bytes()), shape(other.as_bytes()), "{one} {other}");
        }
        for (one, other) in [("user:12", "users:12"), ("a:1", "a:2"), ("cafe", "face"), ("", "1"), ("a:12:b", "a:12:c")]
        {
            assert_ne!(shape(one.as_bytes()), shape(other.as_bytes()), "{one} {other}");
        }
        shape(&[b'7'; 1000]);
        shape(&[0xff; 1000]);
    }

    #[test]
    fn a_shape_that_was_wrong_once_is_never_guessed_again() {
        let mut shapes = Shapes::new();
        for n in 10..10 + u32::from(BELIEVED) {
            assert_eq!(shapes.guess(b"user:99"), None);
            shapes.learn(shape(format!("user:{n}").as_bytes()), true);
        }
        assert_eq!(shapes.guess(b"user:99"), Some(true));
        shapes.learn(shape(b"user:98"), false);
        for n in 10..1000 {
            assert_eq!(shapes.guess(b"user:99"), None);
            shapes.learn(shape(format!("user:{n}").as_bytes()), true);
        }
    }
}
