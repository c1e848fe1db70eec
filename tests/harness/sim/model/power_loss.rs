//! A loss of power takes back captures that were committed and had not reached the disk. The engine had sent nothing of them, so
//! their numbers are free again, and the app's writes wait to be captured once more.

use rusqlite::Connection;

use super::super::always::unreadable;
use super::super::world::Checked;
use super::Model;
use super::shown::{Known, state};

/// What was known before a capture.
#[derive(Debug)]
pub(super) struct Earlier {
    node: usize,
    known: Known,
    /// How many ops there were.
    ops: usize,
}

impl Model {
    /// The engine of a node works until the power fails.
    pub(in super::super) fn power_fails(&mut self) {
        self.earlier = Some(Vec::new());
    }

    /// A capture is about to be recorded.
    pub(super) fn keep_earlier(&mut self, node: usize, known: &Known) {
        let ops = self.ops.len();
        if let Some(earlier) = &mut self.earlier {
            earlier.push(Earlier { node, known: known.clone(), ops });
        }
    }

    /// The power has failed. `app` reads what the disk has kept.
    pub(in super::super) fn lost_power(&mut self, n: usize, app: &Connection) -> Checked {
        let Some(mut earlier) = self.earlier.take() else { return Ok(()) };
        let Some(name) = self.nodes.get(&n).and_then(|known| known.name) else { return Ok(()) };
        let (_, vector, _) = state(app).map_err(unreadable)?;
        while let Some(last) = earlier.pop() {
            let is_lost = self.nodes.get(&n).is_some_and(|now| vector.get(name) < now.vector.get(name));
            if last.node != n || !is_lost {
                break;
            }
            self.ops.truncate(last.ops);
            self.nodes.insert(n, Known { attempt: None, ..last.known });
        }
        let ops = self.ops.len();
        self.cells.values_mut().for_each(|writes| writes.retain(|write| write.op < ops));
        self.lives.values_mut().for_each(|lives| lives.retain(|life| life.op < ops));
        Ok(())
    }
}
