//! The kinds of a table's columns, and how the definitions of the space write them down: as a JSON object of column and
//! kind, registers left out. Format 1 wrote lines of `kind column`, which are still read.

use std::collections::BTreeMap;

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
    let object = kinds.iter().map(|(column, kind)| (column.clone(), kind.name().into()));
    serde_json::Value::Object(object.collect()).to_string()
}

/// From what is written down. Others may have written it, so what says nothing that is known here is passed over.
pub(crate) fn from_text(text: &str) -> Kinds {
    let mut kinds = Kinds::new();
    let mut add = |column: &str, kind: &str| {
        if let Ok(kind) = kind.parse() {
            set(&mut kinds, column.to_owned(), kind);
        }
    };
    match serde_json::from_str::<BTreeMap<String, serde_json::Value>>(text) {
        Ok(object) => {
            object.iter().for_each(|(column, kind)| add(column, kind.as_str().unwrap_or_default()));
        }
        Err(_) => {
            let lines = text.lines().filter_map(|line| line.split_once(' '));
            lines.for_each(|(kind, column)| add(column, kind));
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
            ("b\nc", ColumnKind::Text),
            ("a", ColumnKind::Register),
            ("z", ColumnKind::Counter),
            ("b\nc", ColumnKind::Counter),
        ] {
            set(&mut kinds, column.to_owned(), kind);
        }
        assert_eq!(to_text(&kinds), r#"{"b\nc":"counter","z":"counter"}"#);
        assert_eq!(from_text(&to_text(&kinds)), kinds);
        let odd = r#"{"b":"set","m":"register","n":"text","o":7}"#;
        assert_eq!(from_text(odd), [("n".to_owned(), ColumnKind::Text)]);
        assert_eq!(of(&kinds, "z"), ColumnKind::Counter);
        assert_eq!(of(&kinds, "a"), ColumnKind::Register);
    }

    #[test]
    fn the_lines_of_format_1_are_still_read() {
        let lines = "counter\n\nset b\ncounter n\nregister m\ntext n";
        assert_eq!(from_text(lines), [("n".to_owned(), ColumnKind::Text)]);
    }
}
