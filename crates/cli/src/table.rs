//! Aligned columns of text.

/// A column's heading and side.
#[derive(Debug, Clone, Copy)]
pub enum Column {
    /// Text, flush left.
    Left(&'static str),
    /// Figures, flush right.
    Right(&'static str),
}

impl Column {
    fn heading(self) -> &'static str {
        match self {
            Self::Left(heading) | Self::Right(heading) => heading,
        }
    }

    fn pad(self, cell: &str, width: usize) -> String {
        let fill = " ".repeat(width.saturating_sub(width_of(cell)));
        match self {
            Self::Left(_) => format!("{cell}{fill}"),
            Self::Right(_) => format!("{fill}{cell}"),
        }
    }
}

/// The lines of a table: the headings first, then a line a row, two blanks between columns.
pub fn lines(columns: &[Column], rows: &[Vec<String>]) -> Vec<String> {
    let width = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| width_of(cell));
        cells.chain([width_of(columns[index].heading())]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = cells
            .zip(columns.iter().zip(&widths))
            .map(|(cell, (column, width))| column.pad(cell, *width))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut columns.iter().map(|column| column.heading()))];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines
}

/// Our texts are Latin: a character is a column.
fn width_of(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".into(), "10 µs".into()], vec!["long".into(), "1 s".into()]];
        assert_eq!(
            lines(&[Column::Left("NAME"), Column::Right("T")], &rows),
            ["NAME      T", "a     10 µs", "long    1 s"]
        );
    }
}
