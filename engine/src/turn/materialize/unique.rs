//! The second stage: if several rows have the same UNIQUE value, the one with the smallest key keeps it.

use std::collections::BTreeMap;

use driftless_protocol::{RowKey, Value};
use rusqlite::params_from_iter;

use super::judge::Wanted;
use super::park::{Refused, by_itself, refused};
use super::shadow::{self, UniqueValues};
use super::{Materializer, Queue, Step, references, waits};
use crate::error::{Doing, Error, Result};
use crate::schema::Tracked;
use crate::schema::constraints::Unique;
use crate::store::limits::{self, Bounds};
use crate::store::parked::{self, Reason, Stage};
use crate::store::{Bind, claims, documents, quote};

impl Materializer<'_> {
    /// If a row comes before all the rows that stand in its way, takes those out of the table and adds them to
    /// `queue`, to be judged again. Otherwise returns the reason why the row is parked.
    pub(super) fn make_way(&mut self, row: Wanted<'_>, queue: &mut Queue) -> Step<Option<Reason>> {
        let tracked = row.tracked;
        let held = match self.unique_values(row)? {
            Ok(held) => held,
            Err(error) => {
                return match refused(tracked, error)? {
                    Refused::Itself(reason) => Ok(Some(reason)),
                    Refused::Unique => Ok(Some(by_itself("a UNIQUE constraint refuses it".to_owned(), None))),
                };
            }
        };
        let mut in_the_way = InTheWay::new();
        for (unique, values) in tracked.table.unique.iter().zip(&held) {
            let Some(values) = values else { continue };
            if !self.add_holders(row, unique, values, &mut in_the_way)? {
                return Ok(Some(stays_here(unique)));
            }
        }
        for (smallest, rule) in &in_the_way {
            if smallest < row.key && documents::get(self.tx, tracked.id, smallest.as_bytes())?.is_some() {
                return Ok(Some(taken(tracked.id, rule, smallest)));
            }
        }
        for (holder, _) in in_the_way {
            self.take_out(tracked, &holder)?;
            self.push(tracked, holder.as_bytes(), queue)?;
        }
        Ok(None)
    }

    /// What the row would hold in each UNIQUE index. The inner error is SQLite's: it refuses the row by itself.
    fn unique_values(&mut self, row: Wanted<'_>) -> Result<rusqlite::Result<UniqueValues>> {
        let _bounds = Bounds::begin(self.tx, self.row_time(row.tracked.id)).doing("judging a row")?;
        self.shadows.unique_values(self.tx, row.tracked, row.key_values, row.state)
    }

    /// Finds the rows of the table that hold a row's values of one UNIQUE index. Returns whether all of them can make
    /// way: a row that cannot travel stays.
    fn add_holders(
        &self,
        row: Wanted<'_>,
        unique: &Unique,
        values: &[Value<'static>],
        in_the_way: &mut InTheWay,
    ) -> Result<bool> {
        let (doing, tracked) = ("looking for the row that holds a UNIQUE value", row.tracked);
        let mut select = self.tx.prepare_cached(&select_holders(tracked, unique)).doing(doing)?;
        let mut rows = select.query(params_from_iter(values.iter().map(Bind))).doing(doing)?;
        while let Some(found) = rows.next().doing(doing)? {
            match references::key_of(tracked, found)? {
                Some(holder) if holder == *row.key => {}
                Some(holder) if documents::get(self.tx, tracked.id, holder.as_bytes())?.is_some() => {
                    in_the_way.entry(holder).or_insert_with(|| unique.rule.clone());
                }
                // Nobody wrote it: a trigger has just made it, and it would be taken out at the end of the turn.
                Some(holder) if tracked.watched && !parked::is_listed(self.tx, tracked.id, &holder)? => {
                    in_the_way.entry(holder).or_insert_with(|| unique.rule.clone());
                }
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Looks for rows that are parked for lack of a parent and hold one of the row's values. If one with a smaller
    /// key does, it keeps the value, and the reason is returned why this row is parked. Those with greater keys are
    /// judged again.
    pub(super) fn claimed(&mut self, row: Wanted<'_>, queue: &mut Queue) -> Step<Option<Reason>> {
        let tracked = row.tracked;
        let held = match self.unique_values(row)? {
            Ok(held) => held,
            Err(source) if limits::took_too_long(&source) => {
                return Err(Error::Sqlite { doing: "judging a row", source }.into());
            }
            // The row is refused by itself: SQLite will say so when the row is written.
            Err(_) => return Ok(None),
        };
        for (unique, values) in tracked.table.unique.iter().zip(&held) {
            let Some(bytes) = values.as_ref().and_then(|values| shadow::bytes(unique, values)) else {
                continue;
            };
            for holder in claims::holders(self.tx, tracked.id, &unique.name, &bytes)? {
                if *holder < *row.key.as_bytes() {
                    let holder = RowKey::from_bytes(&holder).map_err(|error| Error::Damaged {
                        table: "_driftless_claims",
                        what: error.to_string(),
                    })?;
                    return Ok(Some(taken(tracked.id, &unique.rule, &holder)));
                }
                self.push(tracked, &holder, queue)?;
            }
        }
        Ok(None)
    }
}

/// The rows that hold a UNIQUE value which another row wants, each with the rule that makes it unique.
type InTheWay = BTreeMap<RowKey, String>;

/// Selects the keys of the rows that hold values of a UNIQUE index.
fn select_holders(tracked: &Tracked, unique: &Unique) -> String {
    let equal = unique.terms.iter().enumerate().map(|(n, term)| format!("{} = ?{}", term.sql, n + 1));
    format!(
        "SELECT {} FROM main.{} WHERE {} AND ({}\n)",
        tracked.table.key_columns(),
        quote(&tracked.table.spelled),
        equal.collect::<Vec<_>>().join(" AND "),
        unique.filter.as_deref().unwrap_or("1"),
    )
}

/// The reason for parking a row whose UNIQUE value is held by a row that never leaves this file.
fn stays_here(unique: &Unique) -> Reason {
    let rule = &unique.rule;
    Reason {
        stage: Stage::Unique,
        rule: Some(rule.clone()),
        sentence: format!("{rule}: a row that cannot travel and stays in this file holds the value"),
        clash: None,
        waits: None,
    }
}

fn taken(table: i64, rule: &str, holder: &RowKey) -> Reason {
    Reason {
        stage: Stage::Unique,
        rule: Some(rule.to_owned()),
        sentence: format!("{rule}: the row with the key {holder} holds the value"),
        clash: Some(holder.to_string()),
        waits: Some((table, waits::on_row(holder))),
    }
}
