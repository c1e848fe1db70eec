//! From standing cells to what a user sees: the value shown, the values kept beside it, alive or not.
//!
//! What was added to a column counts whenever its value is an INTEGER, no matter which kind of column anybody takes
//! it for: so replicas that disagree about the kind for a while still show the same.

use std::borrow::Cow;

use driftless_protocol::lane::{Cell, Content, LIFE, LaneName};
use driftless_protocol::{Value, WriterId};

use super::Lanes;

/// A value that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing<'a> {
    /// If it is an INTEGER, what was added is counted in. If no INTEGER holds the sum, it is the nearest one.
    pub(crate) value: Value<'a>,
    /// Whether the value is what the column's text document holds. It is NULL until [`RowState::fill_text`] sets it.
    pub(crate) in_text: bool,
    pub(crate) time: i64,
    pub(crate) writer: WriterId,
}

/// One column as the merged row has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column<'a> {
    /// Folded to ASCII lower case.
    pub(crate) name: Cow<'a, str>,
    /// Of the cells that stand, the one with the greatest (time, writer).
    pub(crate) shown: Standing<'a>,
    /// Those that stand beside it with another value: kept until somebody writes the column again.
    pub(crate) kept: Vec<Standing<'a>>,
    /// What was added to it, all in all; it counts while the value is an INTEGER.
    pub(crate) added: i128,
    /// The column's sum, if no INTEGER of SQLite holds it.
    pub(crate) overflow: Option<i128>,
}

impl Column<'_> {
    /// The INTEGER that it shows, or the sum that overflows.
    pub(crate) fn sum(&self) -> Option<i128> {
        match (self.overflow, &self.shown.value) {
            (Some(sum), _) => Some(sum),
            (None, &Value::Integer(shown)) => Some(shown.into()),
            _ => None,
        }
    }

    /// Whether a user who sees the column sees this value.
    pub(crate) fn shows(&self, value: &Value<'_>) -> bool {
        self.overflow.is_none() && self.shown.value == *value
    }
}

/// A merged row.
///
/// If a column's value stands in its text document, it must be [filled](Self::fill_text) from there before anything
/// else is asked of the row: [`texts`](Self::texts) names these columns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RowState<'a> {
    pub(crate) alive: bool,
    /// Ascending by name; without the life register.
    pub(crate) columns: Vec<Column<'a>>,
}

impl<'a> RowState<'a> {
    /// A column; `None` if nobody ever wrote it.
    pub(crate) fn column(&self, name: &str) -> Option<&Column<'a>> {
        let at = self.columns.binary_search_by(|known| known.name.as_ref().cmp(name)).ok()?;
        Some(&self.columns[at])
    }

    /// The value shown in `column`; `None` if nobody ever wrote it.
    pub(crate) fn value(&self, column: &str) -> Option<&Value<'a>> {
        self.column(column).map(|column| &column.shown.value)
    }

    /// Whether any column has values beside the one shown.
    pub(crate) fn is_in_conflict(&self) -> bool {
        self.columns.iter().any(|column| !column.kept.is_empty())
    }

    /// The time of the latest write among the values that show.
    pub(crate) fn latest(&self) -> i64 {
        self.columns.iter().map(|column| column.shown.time).max().unwrap_or(0)
    }

    /// A column whose sum no INTEGER holds, and the sum. A row with such a column cannot be shown.
    pub(crate) fn overflow(&self) -> Option<(&str, i128)> {
        self.columns.iter().find_map(|column| Some((&*column.name, column.overflow?)))
    }

    /// The columns that have a value, shown or kept, in their text document.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        let in_text =
            |column: &&Column<'_>| column.shown.in_text || column.kept.iter().any(|kept| kept.in_text);
        self.columns.iter().filter(in_text).map(|column| &*column.name)
    }

    /// Says what the text document of one of [`texts`](Self::texts) holds.
    pub(crate) fn fill_text(&mut self, column: &str, text: String) {
        let Ok(at) = self.columns.binary_search_by(|known| known.name.as_ref().cmp(column)) else { return };
        let Column { shown, kept, .. } = &mut self.columns[at];
        let text = Value::Text(text.into_bytes().into());
        for standing in
            std::iter::once(&mut *shown).chain(kept.iter_mut()).filter(|standing| standing.in_text)
        {
            standing.value = text.clone();
        }
        // Equal values are no conflict, wherever they stand.
        kept.retain(|kept| kept.value != shown.value);
    }
}

impl<'a> Lanes<'a> {
    /// What the lanes show together. A row lives while any life cell that stands says alive, whatever the times;
    /// with `deletes_win`, while none says dead.
    pub(crate) fn state(&self, deletes_win: bool) -> RowState<'a> {
        let floors = self.floors();
        let mut cells: Vec<_> = self
            .iter()
            .flat_map(|(name, lane)| lane.cells.iter().map(move |cell| (name, cell)))
            // With one lane nothing can be superseded: nobody else could have seen or floored it.
            .filter(|(name, cell)| self.len() == 1 || !self.is_superseded(&floors, name, cell))
            .collect();
        // By column; within one, the cell to show last.
        cells.sort_by(|(a_name, a), (b_name, b)| {
            (&a.column, a.time, a_name).cmp(&(&b.column, b.time, b_name))
        });
        let mut state = RowState { alive: false, columns: Vec::with_capacity(cells.len()) };
        for column in cells.chunk_by(|(_, a), (_, b)| a.column == b.column) {
            let Some((last, others)) = column.split_last() else { continue };
            let name = &last.1.column;
            if name == LIFE {
                let alive = Content::Value(Value::Integer(1));
                let mut says_alive = column.iter().map(|(_, cell)| cell.content == alive);
                state.alive =
                    if deletes_win { says_alive.all(|alive| alive) } else { says_alive.any(|alive| alive) };
                continue;
            }
            let added = self.added(name);
            let standing = |&(name, cell): &(&LaneName<'a>, &Cell<'a>)| standing(name, cell, added);
            let overflow = match last.1.content {
                Content::Value(Value::Integer(base)) => overflow(added.saturating_add(base.into())),
                _ => None,
            };
            let kept =
                others.iter().filter(|(_, cell)| cell.content != last.1.content).map(standing).collect();
            state.columns.push(Column { name: name.clone(), shown: standing(last), kept, added, overflow });
        }
        self.add_counters(&mut state);
        state
    }

    /// Puts in the columns that something was added to and that nobody ever wrote: they count from 0.
    fn add_counters(&self, state: &mut RowState<'a>) {
        for (lane, content) in self.iter() {
            for counter in &content.counters {
                let column = state.columns.binary_search_by(|known| known.name.cmp(&counter.column));
                let Err(at) = column else { continue };
                let added = self.added(&counter.column);
                let shown = Standing { value: nearest(added), in_text: false, time: 0, writer: lane.writer };
                let (name, overflow) = (counter.column.clone(), overflow(added));
                state.columns.insert(at, Column { name, shown, kept: Vec::new(), added, overflow });
            }
        }
    }
}

fn standing<'a>(name: &LaneName<'a>, cell: &Cell<'a>, added: i128) -> Standing<'a> {
    let (value, in_text) = match &cell.content {
        Content::Value(Value::Integer(base)) => (nearest(added.saturating_add((*base).into())), false),
        Content::Value(value) => (value.clone(), false),
        Content::InText => (Value::Null, true),
    };
    Standing { value, in_text, time: cell.time, writer: name.writer }
}

fn nearest(sum: i128) -> Value<'static> {
    Value::Integer(sum.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
}

fn overflow(sum: i128) -> Option<i128> {
    i64::try_from(sum).is_err().then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::super::{Change, lanes, merge, write};
    use super::*;

    fn writer(id: u64) -> WriterId {
        WriterId::new(id).expect("a writer id")
    }

    /// The document after a write, and the update that is the write.
    fn written(document: Option<&[u8]>, by: u64, time: i64, changes: Vec<Change<'_>>) -> (Vec<u8>, Vec<u8>) {
        let life = Change::set(LIFE, Value::Integer(1));
        let changes = std::iter::once(life).chain(changes).collect();
        let written = write(document, writer(by), time, changes).expect("written");
        (written.document, written.update)
    }

    fn set(value: Value<'_>) -> Vec<Change<'_>> {
        vec![Change::set("n", value)]
    }

    fn add(by: i128) -> Vec<Change<'static>> {
        vec![Change::Add { column: "n".into(), by }]
    }

    fn column(document: &[u8]) -> Column<'static> {
        let state = lanes(document).expect("lanes").state(false);
        let column = state.column("n").expect("a column").clone();
        Column {
            name: column.name.into_owned().into(),
            shown: Standing { value: column.shown.value.into_owned(), ..column.shown },
            kept: column.kept.into_iter().map(|k| Standing { value: k.value.into_owned(), ..k }).collect(),
            ..column
        }
    }

    #[test]
    fn what_is_added_apart_is_counted_beside_a_value_that_is_set_apart() {
        let (start, _) = written(None, 1, 1, set(Value::Integer(10)));
        let (_, three) = written(Some(&start), 2, 2, add(3));
        let (_, two) = written(Some(&start), 3, 2, add(2));
        let (_, hundred) = written(Some(&start), 4, 1, set(Value::Integer(100)));
        let all = [three, two, hundred]
            .iter()
            .fold(start, |doc, update| merge(Some(&doc), update).expect("merged"));
        assert_eq!(column(&all).shown.value, Value::Integer(105));
        let (_, other) = written(Some(&all), 5, 9, set(Value::Integer(1)));
        let (last, _) = written(Some(&all), 6, 10, set(Value::Integer(2)));
        let both = column(&merge(Some(&last), &other).expect("merged"));
        assert_eq!(both.shown.value, Value::Integer(7));
        let kept: Vec<_> = both.kept.iter().map(|kept| &kept.value).collect();
        assert_eq!(kept, [&Value::Integer(6)]);
    }

    #[test]
    fn what_is_added_stays_hidden_under_a_value_that_is_no_integer_and_counts_again_afterwards() {
        let (start, _) = written(None, 1, 1, set(Value::Null));
        let (added, _) = written(Some(&start), 2, 2, add(5));
        assert_eq!((column(&added).shown.value, column(&added).sum()), (Value::Null, None));
        let (real, _) = written(Some(&added), 2, 3, set(Value::Real(0.5)));
        assert_eq!(column(&real).shown.value, Value::Real(0.5));
        let (again, _) = written(Some(&real), 1, 4, set(Value::Integer(-7)));
        assert_eq!(column(&again).shown.value, Value::Integer(-2));
    }

    #[test]
    fn a_column_that_nobody_wrote_counts_from_nothing() {
        let (one, _) = written(None, 1, 1, add(5));
        let (both, _) = written(Some(&one), 2, 2, add(-9));
        assert_eq!(column(&both).shown.value, Value::Integer(-4));
        let (none, _) = written(Some(&one), 1, 2, add(-5));
        assert_eq!(lanes(&none).expect("lanes").state(false).value("n"), None, "nothing is left to tell");
    }

    #[test]
    fn a_sum_that_no_integer_holds_is_told_with_the_nearest_that_does() {
        let (start, _) = written(None, 1, 1, set(Value::Integer(i64::MAX)));
        let (over, _) = written(Some(&start), 2, 2, add(2));
        let state = column(&over);
        let sum = i128::from(i64::MAX) + 2;
        assert_eq!((&state.shown.value, state.overflow), (&Value::Integer(i64::MAX), Some(sum)));
        assert_eq!(state.sum(), Some(sum));
        assert!(!state.shows(&Value::Integer(i64::MAX)));
        assert_eq!(lanes(&over).expect("lanes").state(false).overflow(), Some(("n", sum)));
        let (back, _) = written(Some(&over), 3, 3, add(-2));
        assert_eq!(lanes(&back).expect("lanes").state(false).overflow(), None);
        assert_eq!(column(&back).shown.value, Value::Integer(i64::MAX));
        let (under, _) = written(Some(&back), 3, 4, add(-(1 << 70)));
        assert_eq!(column(&under).overflow, Some(i128::from(i64::MAX) - (1 << 70)));
        assert_eq!(column(&under).shown.value, Value::Integer(i64::MIN));
    }

    #[test]
    fn texts_that_stand_side_by_side_are_one_text_and_are_filled_from_the_document() {
        let in_text = || vec![Change::SetText { column: "n".into() }];
        let (start, _) = written(None, 1, 1, set(Value::Null));
        let (_, one) = written(Some(&start), 2, 2, in_text());
        let (two, _) = written(Some(&start), 3, 3, in_text());
        let both = merge(Some(&two), &one).expect("merged");
        let parsed = lanes(&both).expect("lanes");
        let mut state = parsed.state(false);
        assert!(!state.is_in_conflict());
        assert_eq!(state.texts().collect::<Vec<_>>(), ["n"]);
        state.fill_text("n", "hello".into());
        assert_eq!(state.value("n"), Some(&Value::text("hello")));
        // A plain value that was written concurrently is kept beside the text, or shows and the text is kept.
        let (_, plain) = written(Some(&start), 4, 9, set(Value::text("plain")));
        let all = merge(Some(&both), &plain).expect("merged");
        let parsed = lanes(&all).expect("lanes");
        let mut state = parsed.state(false);
        assert_eq!(state.texts().collect::<Vec<_>>(), ["n"]);
        state.fill_text("n", "hello".into());
        assert_eq!(state.value("n"), Some(&Value::text("plain")));
        assert!(state.is_in_conflict());
        state.fill_text("n", "plain".into());
        assert!(!state.is_in_conflict(), "equal values are no conflict");
    }
}
