//! How a server frames the RDB that it sends to a replica: by its length, or by a mark behind it.
//!
//! Takes the bytes that came behind `FULLRESYNC`. Gives those of the RDB, as they are. Always holds: what is handed out is
//! never more than the RDB: with a mark, as many bytes are held back as may be the mark's beginning, wherever two reads of
//! the socket are cut; the end is said only once the length is full or the whole mark was seen.

use bytes::{Bytes, BytesMut};

use crate::redis::wire::resp::{self, show};

/// How long the mark is.
const MARK: usize = 40;

/// The longest line that may announce an RDB.
const LONGEST_LINE: usize = 128;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Some of the RDB.
    Piece(Bytes),
    /// More has to be read first.
    More,
    /// The RDB is complete.
    End,
}

/// A framed RDB, as far as it was read.
#[derive(Debug)]
pub(crate) enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    /// It goes on until this mark.
    Mark(Box<Mark>),
    /// All of it has come.
    Ended,
}

/// A mark, and how far a search may jump for each byte that it meets (Horspool).
#[derive(Debug)]
pub(crate) struct Mark {
    text: [u8; MARK],
    jumps: [u8; 256],
}

impl Mark {
    fn new(text: [u8; MARK]) -> Self {
        let mut jumps = [MARK as u8; 256];
        for (at, byte) in text[..MARK - 1].iter().enumerate() {
            jumps[usize::from(*byte)] = (MARK - 1 - at) as u8;
        }
        Self { text, jumps }
    }

    /// Where the mark stands.
    fn find(&self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(window) = bytes.get(at..at + MARK) {
            if window == self.text {
                return Some(at);
            }
            at += usize::from(self.jumps[usize::from(window[MARK - 1])]);
        }
        None
    }
}

/// Takes the line feeds off that a server sends to say that it is still there.
pub(crate) fn skip_signs_of_life(input: &mut BytesMut) {
    let signs = input.iter().take_while(|byte| **byte == b'\n').count();
    let _ = input.split_to(signs);
}

impl Framing {
    /// Takes the line that announces an RDB off the input; `None` where it has not come whole yet.
    ///
    /// # Errors
    /// What stands there instead, as a clause.
    pub(crate) fn announced(input: &mut BytesMut) -> Result<Option<Self>, String> {
        skip_signs_of_life(input);
        let Some(end) = input.iter().take(LONGEST_LINE).position(|byte| *byte == b'\n') else {
            return if input.len() < LONGEST_LINE { Ok(None) } else { Err("no line that announces an RDB".to_owned()) };
        };
        let line = input.split_to(end + 1);
        let strange = || Err(format!("{}, which announces no RDB", show(&line)));
        let [b'$', rest @ .., b'\r', b'\n'] = &line[..] else { return strange() };
        if let Some(mark) = rest.strip_prefix(b"EOF:") {
            return match mark.try_into() {
                Ok(mark) => Ok(Some(Self::Mark(Box::new(Mark::new(mark))))),
                Err(_) => strange(),
            };
        }
        match resp::number(rest).and_then(|length| u64::try_from(length).ok()) {
            Some(length) => Ok(Some(Self::Length(length))),
            None => strange(),
        }
    }

    /// Takes what can be taken off the input.
    pub(crate) fn next(&mut self, input: &mut BytesMut) -> Next {
        match self {
            Self::Ended => Next::End,
            Self::Length(0) => {
                *self = Self::Ended;
                Next::End
            }
            Self::Length(_) if input.is_empty() => Next::More,
            Self::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= taken as u64;
                Next::Piece(input.split_to(taken).freeze())
            }
            Self::Mark(mark) => match mark.find(input) {
                Some(0) => {
                    let _ = input.split_to(MARK);
                    *self = Self::Ended;
                    Next::End
                }
                // The mark stays for the next call.
                Some(at) => Next::Piece(input.split_to(at).freeze()),
                None if input.len() < MARK => Next::More,
                None => Next::Piece(input.split_to(input.len() - (MARK - 1)).freeze()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8; MARK] = b"0123456789abcdefghijklmnopqrstuvwxyzABCD";

    /// Reads a framed RDB that comes in pieces of this size; what is left behind it comes back too.
    fn read(framed: &[u8], size: usize) -> Result<Option<(Vec<u8>, usize)>, String> {
        let (mut input, mut framing, mut rdb, mut given) = (BytesMut::new(), None, Vec::new(), 0);
        for piece in framed.chunks(size) {
            input.extend_from_slice(piece);
            given += piece.len();
            if framing.is_none() {
                framing = Framing::announced(&mut input)?;
            }
            let Some(framing) = &mut framing else { continue };
            loop {
                match framing.next(&mut input) {
                    Next::Piece(piece) => rdb.extend_from_slice(&piece),
                    Next::More => break,
                    Next::End => return Ok(Some((rdb, framed.len() - given + input.len()))),
                }
            }
        }
        Ok(None)
    }

    #[test]
    fn both_frames_end_where_the_rdb_ends_however_it_is_cut() {
        let mut rdb: Vec<u8> = b"REDIS0010".to_vec();
        // Beginnings of the mark, one behind the other, are not the mark.
        (0..MARK).for_each(|length| rdb.extend_from_slice(&TEXT[..length]));
        let by_length = [format!("\n\n\n${}\r\n", rdb.len()).as_bytes(), &rdb].concat();
        let by_mark = [b"\n$EOF:", &TEXT[..], b"\r\n", &rdb, TEXT].concat();
        for framed in [by_length, by_mark] {
            for size in (1..200).chain([framed.len(), framed.len() + 7]) {
                let all = [&framed[..], b"*1\r\n$4\r\nPING\r\n"].concat();
                assert_eq!(read(&framed, size), Ok(Some((rdb.clone(), 0))), "in pieces of {size}");
                assert_eq!(read(&all, size).map(|found| found.map(|(rdb, _)| rdb)), Ok(Some(rdb.clone())));
                assert_eq!(read(&framed[..framed.len() - 1], size), Ok(None), "cut off, in pieces of {size}");
            }
        }
        assert_eq!(read(b"$0\r\n", 9), Ok(Some((Vec::new(), 0))));
        assert_eq!(read(&[b"$EOF:", &TEXT[..], b"\r\n", TEXT].concat(), 50), Ok(Some((Vec::new(), 0))));
    }

    #[test]
    fn what_announces_no_rdb_is_said() {
        for wrong in ["+OK\r\n", "$-1\r\n", "$EOF:short\r\n", "$x\r\n", "$12\n", "$99999999999999999999\r\n", "\r\n"] {
            assert!(read(wrong.as_bytes(), 3).is_err(), "{wrong:?}");
        }
        assert!(read(&[b'x'; 500], 7).is_err());
        assert_eq!(read(&[b'\n'; 500], 7), Ok(None));
    }
}
