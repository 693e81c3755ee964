//! What a step warned of, for the report. Always holds: at most [`MOST`] texts are kept, and how many more there were is counted.

/// How many warnings of a step are kept.
const MOST: usize = 100;

/// The warnings of one attempt of a step.
#[derive(Debug, Clone)]
pub(super) struct Warnings {
    first: Vec<String>,
    more: u64,
}

impl Warnings {
    pub(super) const NONE: Self = Self { first: Vec::new(), more: 0 };

    /// Keeps one.
    pub(super) fn add(&mut self, text: &str) {
        if self.first.len() < MOST {
            self.first.push(text.to_owned());
        } else {
            self.more += 1;
        }
    }

    /// Those that were kept, and a word about the others.
    pub(super) fn told(&self) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        self.first.iter().cloned().chain(more).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_there_are_a_hundred_are_kept() {
        let mut warnings = Warnings::NONE;
        assert!(warnings.told().is_empty());
        (0..1000).for_each(|n| warnings.add(&n.to_string()));
        let told = warnings.told();
        assert_eq!((told.len(), told[99].as_str(), told[100].as_str()), (101, "99", "and 900 more"));
    }
}
