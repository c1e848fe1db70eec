//! (merged row, row as it is in the table) → what to write into the document.
//!
//! Here alone it matters what kind a column is of: what an app writes into a counter is what it adds. Everything else
//! follows from what was written.

use driftless_protocol::Value;
use driftless_protocol::lane::LIFE;

use super::Change;
use super::resolve::{Column, RowState};
use crate::config::ColumnKind;

/// One column of a row as it is in the table.
#[derive(Debug)]
pub(crate) struct Current<'a> {
    /// Folded to ASCII lower case.
    pub(crate) column: &'a str,
    pub(crate) kind: ColumnKind,
    /// Its value now.
    pub(crate) value: Value<'a>,
    /// What the row document implies when nobody wrote the column: the value that the row key gives back, or the
    /// column's DEFAULT. `None` where that is not known, and then the value is written.
    pub(crate) implied: Option<&'a Value<'a>>,
}

impl Current<'_> {
    /// The text that goes into a document of its own: of a column of that kind, unless it holds something else, or text
    /// that is not UTF-8.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(bytes) if self.kind == ColumnKind::Text => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }
}

/// What a write of this row has to change; empty if the document says all of it already. `current` is `None`
/// when the row is not in the table; `found`, when it was there before anybody watched. Every write restates life, so
/// that an edit wins over a concurrent delete.
pub(crate) fn changes<'a>(
    state: Option<&RowState<'_>>,
    current: Option<Vec<Current<'a>>>,
    found: bool,
) -> Vec<Change<'a>> {
    let alive = state.is_some_and(|state| state.alive);
    let life = |alive: bool| Change::set(LIFE, Value::Integer(alive.into()));
    let Some(current) = current else {
        return if alive { vec![life(false)] } else { Vec::new() };
    };
    let mut changes = vec![life(true)];
    for now in current {
        match state.and_then(|state| state.column(now.column)) {
            Some(before) if before.shows(&now.value) => {}
            Some(before) => write(&mut changes, now, before, alive),
            // A new row states every column, so that it is whole wherever the defaults differ; only what the key
            // itself says need not be said again.
            None if now.implied == Some(&now.value) => {}
            None => write_first(&mut changes, now, alive, state.is_none(), found),
        }
    }
    if changes.len() == 1 && alive { Vec::new() } else { changes }
}

/// What to write, beside what a document holds, for a row that was inserted while the document's was in no table: whoever
/// inserted it need not have known of that one. Columns that are as the document has them say nothing new.
pub(crate) fn inserted_over<'a>(state: &RowState<'_>, current: Vec<Current<'a>>) -> Vec<Change<'a>> {
    let mut changes = vec![Change::set(LIFE, Value::Integer(1))];
    for now in current {
        match state.column(now.column) {
            Some(before) if before.shows(&now.value) => {}
            // Written into the text's document it would replace what stands there.
            Some(_) if now.text().is_some() => changes.push(Change::set(now.column, now.value)),
            // Not counted on from what a counter of the other row had.
            Some(before) => write(&mut changes, now, before, false),
            None if now.implied == Some(&now.value) => {}
            None => write_first(&mut changes, now, false, false, false),
        }
    }
    if changes.len() == 1 { Vec::new() } else { changes }
}

/// A column that shows something else in the document.
fn write<'a>(changes: &mut Vec<Change<'a>>, now: Current<'a>, before: &Column<'_>, alive: bool) {
    if now.text().is_some() {
        changes.push(Change::SetText { column: now.column.into() });
        return;
    }
    let &Value::Integer(wanted) = &now.value else {
        changes.push(Change::set(now.column, now.value));
        return;
    };
    let wanted = i128::from(wanted);
    match before.sum() {
        // A row that comes back is not counted on from what it had: two that bring it back apart mean one row.
        Some(sum) if now.kind == ColumnKind::Counter && alive => {
            changes.push(Change::Add { column: now.column.into(), by: wanted - sum });
        }
        _ => set_integer(changes, now.column, wanted, before.added),
    }
}

/// Sets a column to an integer. What was added to it before stays, so the value is what is left to say beside that.
fn set_integer<'a>(changes: &mut Vec<Change<'a>>, column: &'a str, wanted: i128, added: i128) {
    match i64::try_from(wanted - added) {
        Ok(base) => changes.push(Change::set(column, Value::Integer(base))),
        Err(_) => {
            changes.push(Change::set(column, Value::Integer(0)));
            changes.push(Change::Add { column: column.into(), by: wanted - added });
        }
    }
}

/// What says once more that a column has the value that it shows.
pub(crate) fn restated<'a>(now: &Current<'a>, before: &Column<'_>) -> Vec<Change<'a>> {
    let mut changes = Vec::new();
    match now.value {
        Value::Integer(shown) => set_integer(&mut changes, now.column, shown.into(), before.added),
        _ => changes.push(Change::set(now.column, now.value.clone())),
    }
    changes
}

/// A column that the document says nothing of. `new`: it says nothing at all; `found`: the row was there before anybody
/// watched. What was found is a plain value, of a text too: found apart in two copies that differ, it is a conflict and
/// not one text with both in it.
fn write_first<'a>(changes: &mut Vec<Change<'a>>, now: Current<'a>, alive: bool, new: bool, found: bool) {
    if now.text().is_some() && !found {
        changes.push(Change::SetText { column: now.column.into() });
        return;
    }
    match (now.kind, now.implied, &now.value) {
        // The column came to a row that was there and had its DEFAULT: everybody counts from that.
        (ColumnKind::Counter, Some(&Value::Integer(default)), &Value::Integer(wanted)) if alive => {
            changes.push(Change::set(now.column, Value::Integer(default)));
            let by = i128::from(wanted) - i128::from(default);
            changes.push(Change::Add { column: now.column.into(), by });
        }
        // Two that insert the same row and count it apart, as upserts do, have both counted.
        (ColumnKind::Counter, _, &Value::Integer(wanted)) if new && !found => {
            changes.push(Change::set(now.column, Value::Integer(0)));
            if wanted != 0 {
                changes.push(Change::Add { column: now.column.into(), by: wanted.into() });
            }
        }
        _ => changes.push(Change::set(now.column, now.value)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Lanes, lanes, write};
    use super::*;
    use driftless_protocol::WriterId;

    /// Writes of one row by one writer, as they would be captured one after the other.
    #[derive(Default)]
    struct Row {
        document: Option<Vec<u8>>,
        time: i64,
    }

    impl Row {
        fn lanes(&self) -> Lanes<'_> {
            lanes(self.document.as_deref().expect("a document")).expect("lanes")
        }

        /// Captures the row with this value in its column `n` (`None`: without the row) and says what that changed,
        /// life aside.
        fn capture(&mut self, kind: ColumnKind, value: Option<Value<'static>>) -> Vec<Change<'static>> {
            self.capture_with_default(kind, value, None)
        }

        fn capture_with_default(
            &mut self,
            kind: ColumnKind,
            value: Option<Value<'static>>,
            default: Option<Value<'static>>,
        ) -> Vec<Change<'static>> {
            let current = value
                .clone()
                .map(|value| vec![Current { column: "n", kind, value, implied: default.as_ref() }]);
            let lanes = self.document.as_deref().map(|document| lanes(document).expect("lanes"));
            let state = lanes.as_ref().map(|lanes| lanes.state(false));
            let changes: Vec<Change<'static>> = changes(state.as_ref(), current, true)
                .into_iter()
                .map(|change| match change {
                    Change::Set { column, value } => Change::set(column.into_owned(), value.into_owned()),
                    Change::Add { column, by } => Change::Add { column: column.into_owned().into(), by },
                    Change::SetText { column } => Change::SetText { column: column.into_owned().into() },
                })
                .collect();
            self.time += 1;
            let writer = WriterId::new(7).expect("a writer id");
            let written =
                write(self.document.as_deref(), writer, self.time, changes.clone()).expect("written");
            if !changes.is_empty() {
                self.document = Some(written.document);
            }
            if let Some(value) = value {
                assert!(self.lanes().state(false).column("n").is_none_or(|n| n.shows(&value)), "{value}");
            }
            changes.into_iter().filter(|change| change.column() != LIFE).collect()
        }
    }

    fn set(value: Value<'static>) -> Vec<Change<'static>> {
        vec![Change::set("n", value)]
    }

    fn add(by: i128) -> Vec<Change<'static>> {
        vec![Change::Add { column: "n".into(), by }]
    }

    #[test]
    fn a_new_row_sets_its_counter_and_every_later_write_adds_the_difference() {
        let mut row = Row::default();
        let mut capture = |n| row.capture(ColumnKind::Counter, Some(Value::Integer(n)));
        assert_eq!(capture(5), set(Value::Integer(5)));
        assert_eq!(capture(6), add(1));
        assert_eq!(capture(6), []);
        assert_eq!(capture(-4), add(-10));
        let wide = i128::from(i64::MAX) + 4;
        assert_eq!(capture(i64::MAX), add(wide));
        assert_eq!(capture(i64::MIN), add(-i128::from(u64::MAX)));
    }

    #[test]
    fn null_and_other_values_are_set_and_an_integer_after_them_comes_out_as_it_is() {
        let mut row = Row::default();
        let mut capture = |value| row.capture(ColumnKind::Counter, Some(value));
        capture(Value::Integer(0));
        capture(Value::Integer(9));
        assert_eq!(capture(Value::Null), set(Value::Null));
        assert_eq!(capture(Value::Integer(2)), set(Value::Integer(-7)), "9 were added before");
        assert_eq!(capture(Value::Integer(3)), add(1));
        assert_eq!(capture(Value::Real(1e300)), set(Value::Real(1e300)));
        assert_eq!(capture(Value::Integer(i64::MIN)), {
            let rest = i128::from(i64::MIN) - 10;
            [set(Value::Integer(0)), add(rest)].concat()
        });
    }

    #[test]
    fn a_register_that_was_a_counter_shows_what_is_written() {
        let mut row = Row::default();
        row.capture(ColumnKind::Counter, Some(Value::Integer(0)));
        row.capture(ColumnKind::Counter, Some(Value::Integer(9)));
        let mut capture = |n| row.capture(ColumnKind::Register, Some(Value::Integer(n)));
        assert_eq!(capture(9), []);
        assert_eq!(capture(100), set(Value::Integer(91)));
        assert_eq!(capture(i64::MIN), [set(Value::Integer(0)), add(i128::from(i64::MIN) - 9)].concat());
    }

    #[test]
    fn a_row_that_comes_back_sets_its_counter() {
        let mut row = Row::default();
        let mut capture = |value| row.capture(ColumnKind::Counter, value);
        capture(Some(Value::Integer(0)));
        capture(Some(Value::Integer(9)));
        capture(None);
        assert_eq!(capture(Some(Value::Integer(4))), set(Value::Integer(-5)));
        assert_eq!(capture(Some(Value::Integer(5))), add(1));
    }

    #[test]
    fn a_column_that_came_to_the_row_later_counts_from_its_default() {
        let mut row = Row::default();
        let mut capture = |n, default| {
            row.capture_with_default(
                ColumnKind::Counter,
                Some(Value::Integer(n)),
                Some(Value::Integer(default)),
            )
        };
        assert_eq!(capture(3, 3), [], "a row of nothing else, for this test");
        assert_eq!(capture(5, 3), [set(Value::Integer(3)), add(2)].concat());
    }
}
