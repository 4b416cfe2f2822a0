//! Aligned columns without lines between them.

use comfy_table::{ContentArrangement, Table, presets};

/// Lays out rows under a header. Lines are not broken: they can be cut, piped and searched.
pub(super) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    for row in rows {
        table.add_row(row.map(|cell| one_line(&cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// What a node or Azure said may have line breaks, or colours of its own.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_where_their_text_does() {
        let rows = [["n1".to_owned(), "alive".to_owned()], ["node-2".to_owned(), "-\n".to_owned()]];
        assert_eq!(table(["NODE", "STATE"], rows), "NODE    STATE\nn1      alive\nnode-2  -");
    }
}
