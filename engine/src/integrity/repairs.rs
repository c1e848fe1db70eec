//! Applies repairs, and says what was done. Nothing here decides a value: rows are listed to be captured or shown, and the engine's
//! own turn does the rest.

use driftless_protocol::{RowKey, Value};

use crate::env::now;
use crate::error::Result;
use crate::replica::Replica;
use crate::replica::repair::{self, Part};
use crate::store::backlog;
use crate::store::dirty::Why;

/// The repair of a difference.
#[derive(Debug, Clone)]
pub(super) enum Repair {
    /// A row of a table says what its document does not: somebody wrote it, so it is captured.
    Capture { table: i64, key: Vec<Value<'static>> },
    /// A document says what its table does not: it is shown again.
    Show { table: i64, key: RowKey },
    /// A part of the side tables does not fit the rest: it is rebuilt.
    Rebuild(Part),
}

/// Applies repairs, lets the engine do its part, and tries again what was set aside. Returns what was done, a sentence each.
pub(super) fn apply(replica: &mut Replica, repairs: &[Repair]) -> Result<Vec<String>> {
    let (mut captured, mut shown, mut rebuilt) = (0_u64, 0_u64, Rebuilt::default());
    let path = replica.path().to_owned();
    replica.repair(|tx| {
        for repair in repairs {
            match repair {
                Repair::Capture { table, key } => {
                    captured += 1;
                    backlog::look_at(tx, *table, key, Why::Again, now())?;
                }
                Repair::Show { table, key } => {
                    shown += 1;
                    backlog::refresh(tx, *table, key)?;
                }
                Repair::Rebuild(part) if rebuilt.has(part) => {}
                Repair::Rebuild(part) => rebuilt.add(part, repair::rebuild(tx, &path, part)?),
            }
        }
        Ok(())
    })?;
    replica.capture_settled()?;
    let applied = replica.try_again()? as u64;
    let counted = [
        (captured, "captured what the tables say of rows: "),
        (shown, "showed again what documents say of rows: "),
        (applied, "applied what was set aside: "),
    ];
    let counted = counted.into_iter().filter(|(count, _)| *count > 0);
    Ok(counted.map(|(count, what)| format!("{what}{count}")).chain(rebuilt.sentences()).collect())
}

/// The parts that were rebuilt.
#[derive(Debug, Default)]
struct Rebuilt<'a> {
    parts: Vec<&'a Part>,
    /// The sentences about what was done, and how often each applies.
    done: Vec<(String, u64)>,
}

impl<'a> Rebuilt<'a> {
    /// Whether a part was rebuilt before. The documents of a row are named once.
    fn has(&self, part: &Part) -> bool {
        self.parts.contains(&part)
    }

    fn add(&mut self, part: &'a Part, done: String) {
        if !matches!(part, Part::Documents { .. }) {
            self.parts.push(part);
        }
        match self.done.iter_mut().find(|(known, _)| *known == done) {
            Some((_, count)) => *count += 1,
            None => self.done.push((done, 1)),
        }
    }

    fn sentences(self) -> impl Iterator<Item = String> {
        self.done.into_iter().map(|(done, count)| if count == 1 { done } else { format!("{done}: {count}") })
    }
}
