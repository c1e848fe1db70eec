//! The second stage: of rows with one UNIQUE value the one with the smallest key keeps it.

use std::collections::BTreeMap;

use driftless_protocol::{RowKey, Value};
use rusqlite::params_from_iter;

use super::park::{Refused, by_itself, refused};
use super::{Materializer, Queue, Step, references, shadow, waits};
use crate::document::row::resolve::RowState;
use crate::error::{Doing, Error};
use crate::schema::Tracked;
use crate::store::limits::{self, Bounds};
use crate::store::parked::{self, Reason, Stage};
use crate::store::{Bind, claims, documents, quote};

impl Materializer<'_> {
    /// Takes the rows out of the table that stand in a row's way, if it comes before all of them; they are judged again
    /// in their turn. Otherwise the reason why the row is parked.
    pub(super) fn make_way(
        &mut self,
        tracked: &Tracked,
        key: &RowKey,
        key_values: &[Value<'static>],
        state: &RowState<'_>,
        queue: &mut Queue,
    ) -> Step<Option<Reason>> {
        let bounds = Bounds::begin(self.tx, self.row_time(tracked.id)).doing("judging a row")?;
        let held = self.shadows.unique_values(self.tx, tracked, key_values, state)?;
        drop(bounds);
        let held = match held {
            Ok(held) => held,
            Err(error) => {
                return match refused(tracked, error)? {
                    Refused::Itself(reason) => Ok(Some(reason)),
                    Refused::Unique => Ok(Some(by_itself("a UNIQUE constraint refuses it".to_owned(), None))),
                };
            }
        };
        let mut in_the_way: BTreeMap<RowKey, String> = BTreeMap::new();
        for (unique, values) in tracked.table.unique.iter().zip(&held) {
            let Some(values) = values else { continue };
            let equal = unique.terms.iter().enumerate().map(|(n, term)| format!("{} = ?{}", term.sql, n + 1));
            let sql = format!(
                "SELECT {} FROM main.{} WHERE {} AND ({}\n)",
                tracked.table.key_columns(),
                quote(&tracked.table.spelled),
                equal.collect::<Vec<_>>().join(" AND "),
                unique.filter.as_deref().unwrap_or("1"),
            );
            let doing = "looking for the row that holds a UNIQUE value";
            let mut select = self.tx.prepare_cached(&sql).doing(doing)?;
            let mut rows = select.query(params_from_iter(values.iter().map(Bind))).doing(doing)?;
            while let Some(row) = rows.next().doing(doing)? {
                match references::key_of(tracked, row)? {
                    Some(holder) if holder == *key => {}
                    Some(holder) if documents::get(self.tx, tracked.id, holder.as_bytes())?.is_some() => {
                        in_the_way.entry(holder).or_insert_with(|| unique.rule.clone());
                    }
                    // Nobody wrote it: a trigger has just made it, and it would be taken out at the end of the turn.
                    Some(holder) if tracked.watched && !parked::is_listed(self.tx, tracked.id, &holder)? => {
                        in_the_way.entry(holder).or_insert_with(|| unique.rule.clone());
                    }
                    _ => {
                        return Ok(Some(Reason {
                            stage: Stage::Unique,
                            rule: Some(unique.rule.clone()),
                            sentence: format!(
                                "{}: a row that cannot travel and stays in this file holds the value",
                                unique.rule
                            ),
                            clash: None,
                            waits: None,
                        }));
                    }
                }
            }
        }
        for (smallest, rule) in &in_the_way {
            if (smallest < key || planted!(UniqueByArrival))
                && documents::get(self.tx, tracked.id, smallest.as_bytes())?.is_some()
            {
                return Ok(Some(taken(tracked.id, rule, smallest)));
            }
        }
        for (holder, _) in in_the_way {
            self.take_out(tracked, &holder)?;
            self.push(tracked, holder.as_bytes(), queue)?;
        }
        Ok(None)
    }

    /// Whether a parked row that waits for its parent holds one of the row's values. One with a smaller key keeps it;
    /// one with a greater is judged again.
    pub(super) fn claimed(
        &mut self,
        tracked: &Tracked,
        key: &RowKey,
        key_values: &[Value<'static>],
        state: &RowState<'_>,
        queue: &mut Queue,
    ) -> Step<Option<Reason>> {
        let bounds = Bounds::begin(self.tx, self.row_time(tracked.id)).doing("judging a row")?;
        let held = self.shadows.unique_values(self.tx, tracked, key_values, state)?;
        drop(bounds);
        let held = match held {
            Ok(held) => held,
            Err(source) if limits::took_too_long(&source) => {
                return Err(Error::Sqlite { doing: "judging a row", source }.into());
            }
            // What is refused by itself, SQLite will say.
            Err(_) => return Ok(None),
        };
        for (unique, values) in tracked.table.unique.iter().zip(&held) {
            let Some(bytes) = values.as_ref().and_then(|values| shadow::bytes(unique, values)) else {
                continue;
            };
            for holder in claims::holders(self.tx, tracked.id, &unique.name, &bytes)? {
                if *holder < *key.as_bytes() {
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

fn taken(table: i64, rule: &str, holder: &RowKey) -> Reason {
    Reason {
        stage: Stage::Unique,
        rule: Some(rule.to_owned()),
        sentence: format!("{rule}: the row with the key {holder} holds the value"),
        clash: Some(holder.to_string()),
        waits: Some((table, waits::on_row(holder))),
    }
}
