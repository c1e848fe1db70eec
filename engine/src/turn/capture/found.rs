//! Rows and columns that were found rather than written: nobody knows when, and others may have found them too.

use std::collections::BTreeSet;

use driftless_protocol::lane::{Content, Seen};
use driftless_protocol::{ReplicaId, RowKey, Value, WriterId};
use rusqlite::Transaction;

use super::{Kind, counters};
use crate::config::ColumnKind;
use crate::document;
use crate::document::row::diff::Current;
use crate::document::row::resolve::RowState;
use crate::document::row::{ColumnNames, Lanes, RowDocument};
use crate::error::Result;
use crate::schema::{Column, Tracked};
use crate::store::dirty::Why;
use crate::store::writers;

/// Whether a document shows just this row.
pub(super) fn says_all(tracked: &Tracked, state: &RowState<'_>, current: Option<&[Current<'_>]>) -> bool {
    let Some(columns) = current else { return !state.alive };
    let shows = |(now, column): (&Current<'_>, &Column)| match state.column(now.column) {
        Some(held) => held.shows(&now.value),
        None => now.implied.or(column.default.as_ref()).is_some_and(|implied| *implied == now.value),
    };
    state.alive && columns.iter().zip(&tracked.table.columns).all(shows)
}

/// Why a row is captured, and what is known of it.
#[derive(Clone, Copy)]
pub(super) struct Cause<'a> {
    pub(super) kind: Kind,
    pub(super) why: Why,
    /// Set if its new columns do not show yet what the document holds.
    pub(super) unshown: Option<&'a Unshown>,
    /// The document that the row is compared with, unless there is none.
    pub(super) shown: Option<&'a Lanes<'a>>,
}

/// A row of which new columns do not show yet what the document holds.
pub(super) struct Unshown {
    /// The writers of what stands in the document that are this replica's.
    pub(super) own: BTreeSet<WriterId>,
    /// The new counters, and what they show.
    pub(super) counters: Vec<(String, i64)>,
}

/// Changes of columns that have just appeared here, to be written apart from the rest of the row.
#[derive(Default)]
pub(super) struct Fresh<'a> {
    /// Values that were found: neither a default nor what the document holds under the name that the column had before.
    pub(super) beside: Vec<document::row::Change<'a>>,
    /// Values that the app wrote before the table showed those of the document: they stand beside these, as writes.
    pub(super) unseeing: Unseeing<'a>,
}

/// Takes out of `columns` those that have just appeared here and that the document has a value for: the document is
/// to be shown, not the table to be captured. Columns that the app has written stay in once the row has shown their values, and
/// counters with what was added to them on top of what others counted.
pub(super) fn set_fresh_apart<'a>(
    tracked: &Tracked,
    state: &RowState<'_>,
    columns: &mut Vec<Current<'a>>,
    cause: Cause<'_>,
) -> Fresh<'a> {
    let mut fresh = Fresh::default();
    if tracked.fresh.is_empty() {
        return fresh;
    }
    let Fresh { beside, unseeing } = &mut fresh;
    columns.retain_mut(|now| {
        let fate = fate(tracked, state, now, cause);
        let set = || document::row::Change::set(now.column, now.value.clone());
        match fate {
            Fate::Captured | Fate::Shown => {}
            Fate::FoundBeside => beside.push(set()),
            Fate::WrittenBeside => {
                unseeing.changes.push(set());
                let held = state.column(now.column).into_iter();
                let standing = held.flat_map(|held| std::iter::once(&held.shown).chain(&held.kept));
                let writers = standing.map(|value| value.writer);
                unseeing.writers.extend(
                    writers
                        .filter(|writer| !cause.unshown.is_some_and(|unshown| unshown.own.contains(writer))),
                );
            }
        }
        fate == Fate::Captured
    });
    fresh
}

/// How the value of a column is treated that may have just appeared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is compared with the document, as that of any other column.
    Captured,
    /// It gives way to the document's.
    Shown,
    /// It was found, and is written beside the document's.
    FoundBeside,
    /// The app wrote it without having seen the document's, and it is written beside that.
    WrittenBeside,
}

fn fate(tracked: &Tracked, state: &RowState<'_>, now: &mut Current<'_>, cause: Cause<'_>) -> Fate {
    let Cause { kind, why, .. } = cause;
    let is_unshown = cause.unshown.is_some();
    if !tracked.fresh.iter().any(|fresh| fresh == now.column) {
        return Fate::Captured;
    }
    let Some(held) = state.column(now.column) else {
        // When the value of a column that has just come was written, as by a rename, is not known.
        let is_found = kind == Kind::Found && now.implied != Some(&now.value);
        return if is_found { Fate::FoundBeside } else { Fate::Captured };
    };
    if is_unshown && !cause.shown.is_some_and(|shown| counters::is_as_shown(shown, now.column)) {
        let start = counter_start(tracked, state, now, cause);
        if counters::count_on(now, held, start) {
            return if held.shows(&now.value) { Fate::Shown } else { Fate::Captured };
        }
    }
    if held.shows(&now.value) {
        return Fate::Captured;
    }
    let is_default = now.implied.is_some_and(|default| *default == now.value);
    let is_new_here = tracked.new_here.iter().any(|new| new == now.column);
    match kind {
        // The user wrote this row since the column appeared: what is no default is theirs.
        Kind::Written if is_default => Fate::Shown,
        // But what others had written in the column had never shown here, as where all machines run one migration that fills it.
        Kind::Written if is_unshown && is_new_here && now.kind == ColumnKind::Register => {
            // A value that the column showed under its old name was not written under the new one.
            let before = asked_other(tracked, now.column).and_then(|other| state.value(other));
            if before == Some(&now.value) { Fate::Shown } else { Fate::WrittenBeside }
        }
        Kind::Written => Fate::Captured,
        // If the app has added to it since, that was captured as a write.
        Kind::Found if now.kind == ColumnKind::Counter && why != Why::Rebuilt => Fate::Shown,
        Kind::Found if is_default || is_under_another_name(tracked, state, &now.value) => Fate::Shown,
        Kind::Found => Fate::FoundBeside,
    }
}

/// The column that a new one may be under a new name.
fn asked_other<'t>(tracked: &'t Tracked, column: &str) -> Option<&'t str> {
    tracked.asked.iter().find(|(asked, _)| asked == column).map(|(_, other)| &**other)
}

/// The value that a new counter began with, in a row that does not show yet what others counted in it: the one that it showed under
/// its old name, or else its default. `None` where nobody added to it.
fn counter_start<'s>(
    tracked: &Tracked,
    state: &'s RowState<'_>,
    now: &Current<'s>,
    cause: Cause<'_>,
) -> Option<&'s Value<'s>> {
    match asked_other(tracked, now.column) {
        Some(other) if cause.kind == Kind::Written || cause.why == Why::Rebuilt => state.value(other),
        None if cause.kind == Kind::Written => now.implied.filter(|default| **default != now.value),
        _ => None,
    }
}

/// Whether a document has a value under a name by which no column of the table travels.
fn is_under_another_name(tracked: &Tracked, state: &RowState<'_>, value: &Value<'_>) -> bool {
    let is_here = |name: &str| tracked.table.columns.iter().any(|known| known.name == name);
    state.columns.iter().any(|column| column.shown.value == *value && !is_here(&column.name))
}

/// What is to be written of new columns that may be older ones under new names.
#[derive(Default)]
pub(super) struct Renamed<'a> {
    /// The value that each new column began with: what the older column showed.
    pub(super) begun: Vec<document::row::Change<'a>>,
    /// The changes that the app, or the migration that renamed the column, made to that value.
    pub(super) edits: Vec<document::row::Change<'a>>,
}

/// Takes new columns out of `columns` that may be older ones under new names, if the document has no value for them yet. Once the
/// table shows what the documents hold, a column without a value never began with the older one's: what others have written there
/// since shows under that name alone.
pub(super) fn take_renamed<'a>(
    tracked: &Tracked,
    state: &RowState<'_>,
    columns: &mut Vec<Current<'a>>,
) -> Renamed<'a> {
    let mut renamed = Renamed::default();
    columns.retain(|now| {
        let other = tracked.asked.iter().find(|(asked, _)| asked == now.column);
        let Some(other) = other.and_then(|(_, other)| state.column(other)) else { return true };
        let is_fresh = tracked.fresh.iter().any(|fresh| fresh == now.column);
        if !is_fresh
            || state.column(now.column).is_some()
            || now.kind == ColumnKind::Text
            || other.shown.in_text
        {
            return true;
        }
        // Nobody filled a column that has its default.
        if now.implied == Some(&now.value) && !other.shows(&now.value) {
            return true;
        }
        let before = match (now.kind, &now.value) {
            (ColumnKind::Counter, Value::Integer(_)) => {
                match other.sum().and_then(|sum| i64::try_from(sum).ok()) {
                    Some(sum) => Value::Integer(sum),
                    None => return true,
                }
            }
            (ColumnKind::Counter, _) => return true,
            _ => other.shown.value.clone().into_owned(),
        };
        if now.value != before {
            renamed.edits.push(match (now.kind, &now.value, &before) {
                (ColumnKind::Counter, Value::Integer(value), Value::Integer(before)) => {
                    let by = i128::from(*value) - i128::from(*before);
                    document::row::Change::Add { column: now.column.into(), by }
                }
                _ => document::row::Change::set(now.column, now.value.clone()),
            });
        }
        renamed.begun.push(document::row::Change::set(now.column, before));
        false
    });
    renamed
}

/// Writes of columns by somebody who has not seen what some writers wrote there: those writes stay beside these.
#[derive(Default)]
pub(super) struct Unseeing<'a> {
    pub(super) changes: Vec<document::row::Change<'a>>,
    /// The writers of what was not seen.
    pub(super) writers: Vec<WriterId>,
}

/// Takes those columns out of `columns` that other replicas wrote while another column of this file had their name. Writes of
/// this file under such a name were for that other column, and give way. Writes of others may have been for either column: nobody
/// knows, so they stay beside.
/// `document`: what the table showed of the row.
pub(super) fn take_told<'a>(
    tx: &Transaction<'_>,
    tracked: &Tracked,
    document: &RowDocument<'_>,
    columns: &mut Vec<Current<'a>>,
    own: ReplicaId,
) -> Result<Unseeing<'a>> {
    let as_written = RowDocument::read(document.bytes, ColumnNames::default())?.lanes;
    let mut told = Unseeing::default();
    for now in std::mem::take(columns) {
        let namesake = namesake(tracked, now.column).filter(|_| now.kind == ColumnKind::Register);
        let unseen = match namesake {
            Some(namesake) => written_by_others(tx, (&as_written, &document.lanes), &now, namesake, own)?,
            None => Vec::new(),
        };
        if unseen.is_empty() {
            columns.push(now);
            continue;
        }
        told.writers.extend(unseen);
        told.changes.push(document::row::Change::set(now.column, now.value));
    }
    Ok(told)
}

/// The other column of the table that has the name by which this one travels.
fn namesake<'t>(tracked: &'t Tracked, travels: &str) -> Option<&'t Column> {
    let called = &tracked.table.columns[tracked.table.called(travels)?];
    (called.name != travels).then_some(called)
}

/// The writers at other replicas of values that stand in a column and cannot come from this file: it does not show them, did not
/// write them in the column of the same name, and they are not that column's default. `lanes`: as written, and renamed.
fn written_by_others(
    tx: &Transaction<'_>,
    (as_written, renamed): (&Lanes<'_>, &Lanes<'_>),
    now: &Current<'_>,
    namesake: &Column,
    own: ReplicaId,
) -> Result<Vec<WriterId>> {
    let mut known = vec![Content::Value(now.value.clone())];
    known.extend(namesake.default.clone().map(Content::Value));
    for (name, lane) in as_written.iter() {
        if let Some(cell) = lane.cell(now.column)
            && writers::replica_of(tx, name.writer)? == Some(own)
        {
            known.push(cell.content.clone());
        }
    }
    let mut others = Vec::new();
    for (writer, content) in renamed.standing(now.column) {
        let is_others = writers::replica_of(tx, writer)?.is_some_and(|replica| replica != own);
        if is_others && !known.contains(content) {
            others.push(writer);
        }
    }
    Ok(others)
}

/// The writer of a row that was found rather than written: drawn from the row itself, so that two copies of one file
/// that are tracked apart make the very same document of a row that they share, and neither's edits collide with
/// what the other found. Different contents draw different writers, as Yrs needs. `seen`: what it names as seen.
pub(super) fn finder(
    table: &str,
    key: &RowKey,
    changes: &[document::row::Change<'_>],
    texts: &[(String, String)],
    seen: &[Seen],
) -> WriterId {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(b"driftless: a row found when its table was tracked, 1");
    part(table.as_bytes());
    part(key.as_bytes());
    // By column name: the order of the columns may differ between copies.
    let mut sorted: Vec<_> = changes.iter().collect();
    sorted.sort_by(|a, b| a.column().cmp(b.column()));
    for change in sorted {
        part(change.column().as_bytes());
        match change {
            document::row::Change::Set { value, .. } => part(&value.to_bytes()),
            document::row::Change::Add { by, .. } => part(&[&[5], &by.to_le_bytes()[..]].concat()),
            document::row::Change::SetText { column } => {
                let text = texts.iter().find(|(known, _)| known == column).map(|(_, text)| text.as_bytes());
                part(&[&[6], text.unwrap_or_default()].concat());
            }
        }
    }
    for seen in seen {
        part(&seen.writer.get().to_le_bytes());
        part(&[&[u8::from(seen.large)], &seen.number.to_le_bytes()[..]].concat());
    }
    let mut bits = [0; 8];
    bits.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    WriterId::from_bits(u64::from_le_bytes(bits))
}
