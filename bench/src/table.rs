//! Figures as a table for people and as JSON for comparison. Always holds: every row has a value for every column.

use std::fmt;
use std::time::{Duration, Instant};

/// A titled table.
#[derive(Debug)]
pub(crate) struct Table {
    title: String,
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    /// What belongs to a row beside its cells: the same figures as numbers.
    figures: Vec<Option<serde_json::Value>>,
    /// What stands below the table.
    notes: Vec<String>,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>, columns: &[&'static str]) -> Self {
        Self {
            title: title.into(),
            columns: columns.to_vec(),
            rows: Vec::new(),
            figures: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: &[String]) {
        let mut cells = cells.to_vec();
        cells.resize(self.columns.len(), String::new());
        self.rows.push(cells);
        self.figures.push(None);
    }

    /// A row whose figures are stored as numbers too.
    pub(crate) fn row_of(&mut self, cells: &[String], figures: serde_json::Value) {
        self.row(cells);
        if let Some(last) = self.figures.last_mut() {
            *last = Some(figures);
        }
    }

    /// A line below the table.
    pub(crate) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        let row = |(cells, figures): (&Vec<String>, &Option<serde_json::Value>)| {
            let names = self.columns.iter().map(|name| (*name).to_owned());
            let mut row: serde_json::Map<_, _> = names.zip(cells.iter().map(|cell| cell.as_str().into())).collect();
            if let Some(figures) = figures {
                row.insert("figures".to_owned(), figures.clone());
            }
            row
        };
        let rows: Vec<_> = self.rows.iter().zip(&self.figures).map(row).collect();
        serde_json::json!({"title": self.title, "rows": rows, "notes": self.notes})
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
        self.rows.iter().try_for_each(|row| line(f, row))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
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
