use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    right: bool,
}

impl Cell {
    /// Creates a left-aligned cell.
    pub(crate) fn text(text: impl AsRef<str>) -> Self {
        Self { text: escape_control(text.as_ref()), right: false }
    }

    /// Creates a right-aligned cell.
    pub(crate) fn number(number: impl ToString) -> Self {
        Self { text: number.to_string(), right: true }
    }
}

/// Formats a table, without a line break at the end.
pub(crate) fn table(headers: &[impl AsRef<str>], rows: &[Vec<Cell>]) -> String {
    let headers: Vec<Cell> = headers.iter().map(Cell::text).collect();
    let mut widths: Vec<usize> = headers.iter().map(|header| header.text.width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.width());
        }
    }
    let mut lines = vec![render_row(&headers, &widths)];
    lines.push(widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>().join("  "));
    lines.extend(rows.iter().map(|row| render_row(row, &widths)));
    lines.join("\n")
}

fn render_row(cells: &[Cell], widths: &[usize]) -> String {
    let mut line = String::new();
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let gap = if index == 0 { "" } else { "  " };
        let padding = " ".repeat(width - cell.text.width());
        let (before, after) =
            if cell.right { (padding.as_str(), "") } else { ("", padding.as_str()) };
        write!(line, "{gap}{before}{}{after}", cell.text)
            .expect("a String takes whatever is written");
    }
    line.truncate(line.trim_end().len());
    line
}

/// Stored text must not move the cursor.
pub(crate) fn escape_control(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, character| {
        if character.is_control() {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
        safe
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_control_characters_are_escaped() {
        let rows = [
            vec![Cell::number(7), Cell::text("é\u{1b}[2J")],
            vec![Cell::number(123), Cell::text("帽衫")],
        ];
        assert_eq!(
            table(&["id", "name"], &rows),
            "id   name\n---  ----------\n  7  é\\u{1b}[2J\n123  帽衫"
        );
    }
}
