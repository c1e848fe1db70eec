//! The kinds of a table's columns as they are written down: lines of `kind column`, sorted, registers left out.

use crate::config::ColumnKind;

/// Columns, folded, that are no registers, by name.
pub(crate) type Kinds = Vec<(String, ColumnKind)>;

/// The kind of a column.
pub(crate) fn of(kinds: &[(String, ColumnKind)], column: &str) -> ColumnKind {
    kinds.iter().find(|(known, _)| known == column).map_or(ColumnKind::Register, |(_, kind)| *kind)
}

/// Makes a column of this kind.
pub(crate) fn set(kinds: &mut Kinds, column: String, kind: ColumnKind) {
    kinds.retain(|(known, _)| *known != column);
    if kind != ColumnKind::Register {
        kinds.push((column, kind));
        kinds.sort();
    }
}

/// As they are written down.
pub(crate) fn to_text(kinds: &[(String, ColumnKind)]) -> String {
    let mut lines: Vec<String> = kinds.iter().map(|(column, kind)| format!("{kind} {column}")).collect();
    lines.sort();
    lines.join("\n")
}

/// From what is written down. Others may have written it, so lines that say nothing that is known here are passed over.
pub(crate) fn from_text(text: &str) -> Kinds {
    let mut kinds = Kinds::new();
    for (kind, column) in text.lines().filter_map(|line| line.split_once(' ')) {
        if let Ok(kind) = kind.parse() {
            set(&mut kinds, column.to_owned(), kind);
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_read_as_they_were_written_and_what_says_nothing_is_passed_over() {
        let mut kinds = Kinds::new();
        for (column, kind) in [
            ("b c", ColumnKind::Text),
            ("a", ColumnKind::Register),
            ("z", ColumnKind::Counter),
            ("b c", ColumnKind::Counter),
        ] {
            set(&mut kinds, column.to_owned(), kind);
        }
        assert_eq!(to_text(&kinds), "counter b c\ncounter z");
        assert_eq!(from_text(&to_text(&kinds)), kinds);
        let odd = "counter\n\nset b\ncounter n\nregister m\ntext n";
        assert_eq!(from_text(odd), [("n".to_owned(), ColumnKind::Text)]);
        assert_eq!(of(&kinds, "z"), ColumnKind::Counter);
        assert_eq!(of(&kinds, "a"), ColumnKind::Register);
    }
}
