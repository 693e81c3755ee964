//! Bytes into lines fit for messages.
//!
//! Takes pieces of a command's output as they come. Gives lines as text, one by one. Always holds: a line is at most
//! [`LONGEST`] bytes (what is beyond is left out, and said so), blank ones are left out, and no control character gets through.

/// The longest line that is kept, in bytes.
const LONGEST: usize = 4 << 10;

/// A line that is being collected.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Vec<u8>,
    cut: bool,
}

impl Lines {
    /// Takes a piece and says each line that it completes. A carriage return ends a line too, as progress bars use it.
    pub(super) fn push(&mut self, bytes: &[u8], say: &mut impl FnMut(&str)) {
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.collect(&rest[..at]);
            self.end(say);
            rest = &rest[at + 1..];
        }
        self.collect(rest);
    }

    /// Says what was collected, whole or not.
    pub(super) fn end(&mut self, say: &mut impl FnMut(&str)) {
        let text = String::from_utf8_lossy(&self.line);
        let mut text: String =
            text.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect();
        if self.cut {
            text.push_str(" […]");
        }
        if !text.trim().is_empty() {
            say(text.trim_end());
        }
        self.line.clear();
        self.cut = false;
    }

    fn collect(&mut self, bytes: &[u8]) {
        let room = LONGEST - self.line.len();
        self.cut |= bytes.len() > room;
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_clean_and_bounded() {
        let mut said = Vec::new();
        let mut say = |line: &str| said.push(line.to_owned());
        let mut lines = Lines::default();
        lines.push(b"one\ntw", &mut say);
        lines.push(b"o\r\n\n\x1b[31mred\tthree\xff", &mut say);
        lines.end(&mut say);
        lines.push(&vec![b'x'; LONGEST * 3], &mut say);
        lines.push(b"\nlast", &mut say);
        lines.end(&mut say);
        assert_eq!(said[..3], ["one", "two", "[31mred three\u{fffd}"]);
        assert_eq!(said[3], format!("{} […]", "x".repeat(LONGEST)));
        assert_eq!(said[4..], ["last"]);
    }
}
