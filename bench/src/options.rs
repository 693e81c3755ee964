//! What the command line of the benchmarks says: the parts to run, and how the Redis part is made.
//!
//! Takes arguments. Gives [`Options`]. Always holds: a word that means nothing here is refused with what does.

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Options {
    /// The parts to run; all of them where it is empty.
    pub(crate) parts: Vec<String>,
    /// The data sets' sizes are multiplied by it: `0.01` for a try.
    pub(crate) scale: f64,
    /// The data sets of the Redis part, `a` to `e`.
    pub(crate) sets: String,
    /// How often each way is measured; the median counts.
    pub(crate) rounds: usize,
    /// Ways whose name has none of these in it are left out; all are measured where it is empty.
    pub(crate) ways: Vec<String>,
}

pub(crate) const USAGE: &str = "[plans] [pipes] [redis] [increments] [repositories] [binary] [--scale 1.0] [--sets abcde] [--rounds 3] [--ways replication,scan…]";

impl Options {
    /// # Errors
    /// A word that is no part and no option.
    pub(crate) fn read(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { parts: Vec::new(), scale: 1.0, sets: "abcde".to_owned(), rounds: 3, ways: Vec::new() };
        let mut words = words;
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--") else {
                options.parts.push(word);
                continue;
            };
            let value = words.next().ok_or_else(|| format!("`--{name}` needs a value"))?;
            let wrong = || format!("`--{name} {value}` makes no sense");
            match name {
                "scale" => {
                    options.scale =
                        value.parse().ok().filter(|scale| *scale > 0.0 && *scale <= 100.0).ok_or_else(wrong)?;
                }
                "sets" if value.chars().all(|set| ('a'..='e').contains(&set)) => options.sets.clone_from(&value),
                "rounds" => options.rounds = value.parse().ok().filter(|rounds| *rounds > 0).ok_or_else(wrong)?,
                "ways" => options.ways = value.split(',').map(str::to_owned).collect(),
                _ => return Err(format!("`--{name} {value}` is not known; there are: {USAGE}")),
            }
        }
        Ok(options)
    }

    /// A count of the full size, scaled; at least one.
    pub(crate) fn scaled(&self, count: u64) -> u64 {
        ((count as f64 * self.scale) as u64).max(1)
    }

    /// True where this way is to be measured.
    pub(crate) fn wants(&self, way: &str) -> bool {
        self.ways.is_empty() || self.ways.iter().any(|part| way.contains(part.as_str()))
    }
}
