//! What may be secret in a text of which only the lines are known: by the names before the colons, and passwords in URLs.

use super::Mask;
use crate::secret::url_password;

impl Mask<'_> {
    /// Everything behind a secret's name, to the end of the line, and the lines below that are indented more.
    pub(super) fn rough(&mut self, start: usize, end: usize) {
        let Some(text) = self.text.get(start..end) else { return };
        let declares = text.contains("secret");
        let (mut at, mut below, mut item) = (start, None, false);
        for line in text.split_inclusive('\n') {
            let content = line.trim_start();
            let indent = line.len() - content.len();
            if below.is_some_and(|outer| indent <= outer) && !content.is_empty() {
                below = None;
            }
            if below.is_some() {
                self.found.push((at + indent, at + line.trim_end().len().max(indent)));
            } else {
                item = self.names(content) || (item && !content.starts_with('-'));
                let value = ["value", "default", "enum"].into_iter();
                let other = value.filter(|name| item || (declares && *name != "value"));
                let names = self.known.names.iter().copied().chain(other);
                if let Some(from) = names.flat_map(|name| behind(line, name)).min() {
                    self.found.push((at + from, at + line.trim_end().len().max(from)));
                    below = Some(indent);
                }
            }
            at += line.len();
        }
    }

    /// Whether this line of a list of `{name, value}` names a secret.
    fn names(&self, line: &str) -> bool {
        behind(line, "name").any(|from| {
            let name = line[from..].trim_start_matches(['"', '\'']);
            let end = name.find(|c: char| !word(c)).unwrap_or(name.len());
            self.known.names.contains(&name[..end])
        })
    }

    /// Passwords in anything that looks like a URL, comments included.
    pub(super) fn urls(&mut self) {
        for (mark, _) in self.text.match_indices("://") {
            let rest = &self.text[mark..];
            let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')).unwrap_or(rest.len());
            if let Some((from, to)) = url_password(&rest[..end]).filter(|(from, to)| !rest[*from..*to].contains("{{")) {
                self.found.push((mark + from, mark + to));
            }
        }
    }
}

fn word(c: char) -> bool {
    c.is_alphanumeric() || c == '-' || c == '_'
}

/// Where values behind `name:` begin in a line.
fn behind<'l>(line: &'l str, name: &'l str) -> impl Iterator<Item = usize> + 'l {
    line.match_indices(name).filter_map(move |(at, _)| {
        if line[..at].chars().next_back().is_some_and(word) {
            return None;
        }
        let rest = line[at + name.len()..].trim_start_matches(['"', '\'']).trim_start();
        let value = rest.strip_prefix(':')?.trim_start();
        Some(line.len() - value.len())
    })
}
