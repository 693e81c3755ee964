//! Metrics in Prometheus' text form.
//!
//! Takes samples. Gives text in which each family stands once and together. Always holds: what labels hold is escaped.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::collections::BTreeMap;
use std::fmt::Write;

/// Families of samples, by name.
#[derive(Debug, Default, Clone)]
pub(super) struct Exposition {
    families: BTreeMap<String, Family>,
}

#[derive(Debug, Default, Clone)]
struct Family {
    kind: &'static str,
    help: &'static str,
    samples: Vec<(String, f64)>,
}

/// A label and its value.
pub(super) type Label<'l> = (&'l str, &'l str);

impl Exposition {
    /// Adds a sample of a gauge.
    pub(super) fn gauge(&mut self, name: &str, help: &'static str, labels: &[Label<'_>], value: f64) {
        self.add("gauge", name, help, labels, value);
    }

    /// Adds a sample of a counter.
    pub(super) fn counter(&mut self, name: &str, help: &'static str, labels: &[Label<'_>], value: f64) {
        self.add("counter", name, help, labels, value);
    }

    fn add(&mut self, kind: &'static str, name: &str, help: &'static str, labels: &[Label<'_>], value: f64) {
        let family = self.families.entry(name.to_owned()).or_default();
        (family.kind, family.help) = (kind, help);
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        family.samples.push((labels, value));
    }

    /// The text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (name, family) in &self.families {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {}", family.help, family.kind);
            for (labels, value) in &family.samples {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        }
        text
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_stands_once_and_values_are_escaped() {
        let mut all = Exposition::default();
        all.gauge("b", "About b.", &[("name", "a\"b\\c\nd")], 1.5);
        all.counter("a_total", "About a.", &[], 3.0);
        all.gauge("b", "About b.", &[], 0.0);
        let expected = "# HELP a_total About a.\n# TYPE a_total counter\na_total 3\n\
            # HELP b About b.\n# TYPE b gauge\nb{name=\"a\\\"b\\\\c\\nd\"} 1.5\nb 0\n";
        assert_eq!(all.text(), expected);
    }
}
