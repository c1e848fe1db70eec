//! Rows that are parked ahead of those that they refer to, a few in each turn, so that a long cascade has been done by the
//! time that it begins: the last first, and each turn ends without a row that lacks its parent.
//!
//! The list of these rows, and their order, were made before. The list is complete as long as no other row has begun to refer to
//! one of them. If one may have, each turn looks for rows that refer to those it parks, and parks them too.

use driftless_protocol::RowKey;

use super::doomed::Doomed;
use super::references::{self, Orphan};
use super::{Limit, Materializer, Step, Unit};
use crate::error::Result;
use crate::store::parked;
use crate::store::parked::Stage;

/// The rows that one turn parked ahead.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// How many units are dealt with, from the end.
    pub(crate) units: usize,
    /// The rows that were parked, including those that were not on the list.
    pub(crate) rows: Vec<(i64, RowKey)>,
}

impl Materializer<'_> {
    /// Parks rows whose parents are about to go, the last of `units` first, as many as there is time for. Rows that are not
    /// what they were when they were listed are left alone. `changed`: other rows may refer to them by now.
    pub(crate) fn park_ahead(&mut self, units: &[Unit], limit: Limit, changed: bool) -> Step<Ahead> {
        self.announce()?;
        let ahead =
            if changed { self.park_with_others(units, limit)? } else { self.park_listed(units, limit)? };
        self.renounce()?;
        Ok(ahead)
    }

    fn park_listed(&mut self, units: &[Unit], limit: Limit) -> Step<Ahead> {
        let (mut ahead, mut rows) = (Ahead::default(), 0);
        for unit in units.iter().rev() {
            if limit.left(rows) == 0 {
                break;
            }
            ahead.units += 1;
            rows += unit.len();
            for orphan in unit {
                if self.is_as_listed(orphan)? {
                    self.release(orphan)?;
                    self.expel(orphan.clone())?;
                    ahead.rows.push((orphan.table, orphan.key.clone()));
                }
            }
        }
        Ok(ahead)
    }

    /// Parks rows together with all rows that refer to them. If there are too many of those, none is parked: they need several
    /// turns themselves, and are on the next list.
    fn park_with_others(&mut self, units: &[Unit], limit: Limit) -> Step<Ahead> {
        let (mut ahead, mut listed) = (Ahead::default(), Vec::new());
        for unit in units.iter().rev() {
            if limit.left(listed.len()) == 0 {
                break;
            }
            ahead.units += 1;
            for orphan in unit {
                if self.is_as_listed(orphan)? {
                    listed.push(orphan.clone());
                }
            }
        }
        // However late it is: else an app that goes on writing could keep a busy machine from getting anywhere.
        let room = limit.besides(listed.len());
        let Some(doomed) = Doomed::new(self.tx, self.catalog, room).find(listed)? else {
            return Ok(Ahead::default());
        };
        for orphan in &doomed {
            self.release(orphan)?;
        }
        for orphan in doomed.into_iter().rev() {
            ahead.rows.push((orphan.table, orphan.key.clone()));
            self.expel(orphan)?;
        }
        Ok(ahead)
    }

    /// Whether a row still refers to what it was listed for.
    fn is_as_listed(&self, orphan: &Orphan) -> Result<bool> {
        let Some(tracked) = self.catalog.get(orphan.table) else { return Ok(false) };
        if orphan.reference >= tracked.table.references.len() {
            return Ok(false);
        }
        let values = references::referring_values(self.tx, tracked, orphan.reference, &orphan.key)?;
        Ok(values.as_ref() == Some(&orphan.values))
    }

    /// Whether a row that was parked ahead is parked for good: what it waits for is not there.
    pub(crate) fn is_rightly_parked(&self, table: i64, key: &RowKey) -> Result<bool> {
        let Some((stage, waits)) = parked::waits(self.tx, table, key)? else { return Ok(true) };
        let Some((above, waits)) = waits.filter(|_| stage == Stage::Reference as i64) else {
            return Ok(stage != Stage::Reference as i64);
        };
        let Some(parent) = self.catalog.get(above) else { return Ok(false) };
        match parent.values_waited_for(&waits) {
            Some((target, values)) => Ok(!references::has_values(self.tx, parent, target, &values)?),
            None => Ok(false),
        }
    }
}
