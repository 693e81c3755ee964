//! Figures as a table for people and as JSON for comparison. Always holds: every row has a value for every column.

use std::fmt;
use std::time::{Duration, Instant};

/// A titled table.
#[derive(Debug)]
pub(crate) struct Table {
    title: String,
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>, columns: &[&'static str]) -> Self {
        Self { title: title.into(), columns: columns.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: &[String]) {
        let mut cells = cells.to_vec();
        cells.resize(self.columns.len(), String::new());
        self.rows.push(cells);
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        let row = |cells: &Vec<String>| {
            self.columns
                .iter()
                .map(|name| (*name).to_owned())
                .zip(cells.iter().map(|cell| cell.as_str().into()))
                .collect()
        };
        serde_json::json!({"title": self.title, "rows": self.rows.iter().map(row).collect::<Vec<serde_json::Map<_, _>>>()})
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            self.rows
                .iter()
                .map(|row| row[column].chars().count())
                .chain([self.columns[column].len()])
                .max()
                .unwrap_or(0)
        };
        writeln!(f, "## {}", self.title)?;
        let line = |f: &mut fmt::Formatter<'_>, cells: &[String]| {
            for (column, cell) in cells.iter().enumerate() {
                write!(f, "{}{cell:<width$}", if column == 0 { "" } else { " | " }, width = width(column))?;
            }
            writeln!(f)
        };
        line(f, &self.columns.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        self.rows.iter().try_for_each(|row| line(f, row))
    }
}

/// The median wall time of three runs of each side, in turn, so that both see the same machine.
pub(crate) fn in_turn<E>(
    mut ours: impl FnMut() -> Result<(), E>,
    mut theirs: impl FnMut() -> Result<(), E>,
) -> Result<(Duration, Duration), E> {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        a.push(timed(&mut ours)?);
        b.push(timed(&mut theirs)?);
    }
    Ok((median(a), median(b)))
}

pub(crate) fn timed<E>(mut work: impl FnMut() -> Result<(), E>) -> Result<Duration, E> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed())
}

pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}
