//! Rows of words as aligned text. Always holds: no row ends in blanks; nothing in one acts on a terminal.

use crate::print::plain;

/// Rows below a head, each with the lines that stand below it.
pub(crate) struct Table {
    rows: Vec<(Vec<String>, Vec<String>)>,
}

impl Table {
    /// One with this head.
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![(head.iter().map(|word| (*word).to_owned()).collect(), Vec::new())] }
    }

    /// A row; nothing is written as `-`.
    pub(crate) fn row(&mut self, cells: Vec<Option<String>>, below: Vec<String>) {
        let cells = cells.into_iter().map(|cell| cell.filter(|cell| !cell.is_empty()));
        let cells = cells.map(|cell| cell.map_or_else(|| "-".to_owned(), |cell| plain(&cell)));
        self.rows.push((cells.collect(), below.iter().map(|line| plain(line)).collect()));
    }

    /// Itself as text; nothing where there are no rows.
    pub(crate) fn text(&self) -> String {
        if self.rows.len() == 1 {
            return String::new();
        }
        let columns = self.rows.iter().map(|(cells, _)| cells.len()).max().unwrap_or(0);
        let wide = |column: usize| {
            self.rows
                .iter()
                .filter_map(|(cells, _)| cells.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(wide).collect();
        let mut text = String::new();
        for (cells, below) in &self.rows {
            let cells: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
            below.iter().for_each(|line| text.push_str(&format!("    {}\n", line.trim_end())));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acts_on_a_terminal() {
        let mut table = Table::new(&["NAME"]);
        table.row(vec![Some("a\u{1b}[2Jb\nc".to_owned())], vec!["\u{7}why\u{9b}".to_owned()]);
        assert_eq!(table.text(), "NAME\na [2Jb c\n     why\n");
    }

    #[test]
    fn columns_stand_below_each_other() {
        let mut table = Table::new(&["NAME", "SIZE"]);
        assert_eq!(table.text(), "");
        table.row(vec![Some("größer".to_owned()), None], vec!["why".to_owned()]);
        table.row(vec![Some("b".to_owned()), Some("2".to_owned())], Vec::new());
        assert_eq!(table.text(), "NAME    SIZE\ngrößer  -\n    why\nb       2\n");
    }
}
