//! The end of a run: all faults cease, everybody meets everybody, and then everything is compared.

use std::collections::BTreeMap;

use driftless::VerifyOptions;
use driftless_protocol::StateVector;

use super::always::{Shown, unreadable};
use super::read;
use super::schema::{REVIVED, REVIVED_AT, quote};
use super::world::{Checked, World, broken};

/// So many times everybody meets every relay, at the most, until everybody has everything (I10).
const MOST_ROUNDS: usize = 8;

impl World {
    /// Heals and compares. `thoroughly`: proves each file and makes a new one from a relay, too.
    pub(super) fn finish(&mut self, thoroughly: bool) -> Checked {
        self.trace.line(|| "-- everything is healed".to_owned());
        self.forget_old_wires();
        for n in 0..self.nodes.len() {
            self.open(n)?;
            self.look_at(n)?;
        }
        self.agree_on_schema()?;
        self.meet()?;
        if self.is_joined_by_some() {
            for n in (0..self.nodes.len()).filter(|n| self.nodes[*n].joined).collect::<Vec<_>>() {
                self.make_tables(n)?;
            }
            self.meet()?;
        }
        self.compare()?;
        self.check_witnesses()?;
        if let Some(model) = &self.always.model
            && let Some(app) = &self.nodes[0].app
            && let Some(engine) = &self.nodes[0].engine
        {
            let vector = engine.vector().map_err(unreadable)?;
            let parked = super::model::parked(model, &self.nodes[0].path)?;
            model.check(app, &parked, &vector, self.always.witnesses.forgetful)?;
            super::admitted::check(app, &parked, &self.tables)?;
        }
        if thoroughly {
            self.newcomer()?;
            self.prove()?;
        }
        Ok(())
    }

    fn is_joined_by_some(&self) -> bool {
        self.nodes.iter().any(|node| node.joined)
    }

    /// Everybody makes the changes of the schema that they lack.
    fn agree_on_schema(&mut self) -> Checked {
        for n in 0..self.nodes.len() {
            while let Some(change) = self.changes.get(self.nodes[n].changed).cloned() {
                if !self.alter(n, &change)? {
                    // An index that does not hold here, or a default that breaks a CHECK: without rows they do.
                    let Some(app) = &self.nodes[n].app else { break };
                    let mut sql = "PRAGMA foreign_keys = 0;".to_owned();
                    for table in super::sql::look(app) {
                        sql += &format!("DELETE FROM {};", quote(&table.name));
                    }
                    app.execute_batch(&sql).map_err(unreadable)?;
                    if !self.alter(n, &change)? {
                        return broken("the schema can be changed everywhere", format!("{n}: {change:?}"));
                    }
                }
                self.engine(n, false, |engine, _| engine.turn(Vec::new()))?;
            }
            self.engine(n, false, |engine, _| engine.turn(Vec::new()))?;
        }
        Ok(())
    }

    /// Everybody meets every relay until nobody lacks anything.
    fn meet(&mut self) -> Checked {
        for round in 0..MOST_ROUNDS {
            let cut_off = self.cut_off;
            for relay in 0..self.relays.len() {
                for n in 0..self.nodes.len() {
                    self.connect(n, relay)?;
                }
                self.pump_all()?;
                // Who had to take another name, or was broken off, comes back.
                for n in 0..self.nodes.len() {
                    if self.nodes[n].link.is_none() {
                        self.connect(n, relay)?;
                    }
                }
                self.pump_all()?;
            }
            if self.agrees()? {
                self.trace.line(|| format!("-- agreed after {} rounds", round + 1));
                return self.asks();
            }
            // Where all meet at one place and nobody has to come back, once is enough.
            if self.relays.len() == 1 && self.cut_off == cut_off {
                return self.no_agreement("everybody was connected and nobody was cut off");
            }
        }
        self.no_agreement(&format!("all met {MOST_ROUNDS} times"))
    }

    fn no_agreement(&self, after: &str) -> Checked {
        let mut found = String::new();
        for (n, node) in self.nodes.iter().enumerate() {
            let vector =
                node.engine.as_ref().map(|engine| engine.vector().map_err(unreadable)).transpose()?;
            found +=
                &format!("\n{n}: {vector:?} link {:?}", node.link.as_ref().map(|link| link.link.is_live()));
        }
        broken("everything drains (I10)", format!("no agreement, though {after}: {found}"))
    }

    fn agrees(&self) -> Checked<bool> {
        let mut vectors = Vec::new();
        for node in &self.nodes {
            if let Some(engine) = &node.engine {
                if !engine.is_idle().map_err(unreadable)? {
                    return Ok(false);
                }
                vectors.push(engine.vector().map_err(unreadable)?);
            }
        }
        let equal = vectors.windows(2).all(|pair| pair[0] == pair[1]);
        let held = |vector: &StateVector| self.relays.iter().all(|relay| relay.heads().covers(vector));
        Ok(equal && vectors.first().is_none_or(held))
    }

    /// Who asks whether both sides agree is told so.
    fn asks(&mut self) -> Checked {
        for node in &mut self.nodes {
            if let Some(conversation) = &mut node.link {
                conversation.link.ask(1);
            }
        }
        self.pump_all()?;
        for (n, node) in self.nodes.iter_mut().enumerate() {
            let link = format!("{:?}", node.link);
            let settled = node.link.as_mut().map(|conversation| conversation.link.take_settled());
            if settled.as_deref() != Some(&[1][..]) {
                return broken(
                    "everything drains (I10)",
                    format!("{n} asked and was told {settled:?}: {link}"),
                );
            }
        }
        Ok(())
    }

    /// All files show, park and list the same.
    fn compare(&mut self) -> Checked {
        let mut first: Option<(usize, [Vec<String>; 3])> = None;
        for (n, node) in self.nodes.iter().enumerate() {
            let Some(app) = &node.app else { continue };
            let shown = shown(app, &node.path)?;
            let aside = read::lines(app, "SELECT count(*) FROM _driftless_quarantine").map_err(unreadable)?;
            if aside != ["0"] {
                return broken("nothing is set aside", format!("{n} has set {aside:?} changesets aside"));
            }
            let waiting = "SELECT i.seq FROM _driftless_inbox i JOIN _driftless_progress p USING (replica) WHERE i.seq <= p.seq";
            let waiting = read::lines(app, waiting).map_err(unreadable)?;
            if !waiting.is_empty() {
                return broken(
                    "everything drains (I10)",
                    format!("{n} keeps {waiting:?}, which are applied, in its inbox"),
                );
            }
            let Some((one, expected)) = &first else {
                first = Some((n, shown));
                continue;
            };
            for (what, (left, right)) in
                ["rows", "parked rows", "conflicts"].iter().zip(expected.iter().zip(&shown))
            {
                if left != right {
                    let lacks = |these: &[String], those: &[String]| {
                        these.iter().filter(|line| !those.contains(line)).cloned().collect::<Vec<_>>()
                    };
                    return broken(
                        "equal vectors mean equal tables (I1)",
                        format!(
                            "{what} differ: only in {one}: {:#?}, only in {n}: {:#?}",
                            lacks(left, right),
                            lacks(right, left)
                        ),
                    );
                }
            }
        }
        Ok(())
    }

    /// Nothing that was committed to a witness is missing, and nothing is there that nobody wrote.
    fn check_witnesses(&self) -> Checked {
        let Some(app) = &self.nodes[0].app else { return Ok(()) };
        let (known, shown) = (&self.always.witnesses, Shown::read(app).map_err(unreadable)?);
        let strangers: Vec<_> = shown.left.difference(&known.tokens).collect();
        let lost: Vec<_> = known.tokens.difference(&shown.left).collect();
        // A row that was written without triggers is no part of its transaction, and is lost if its file is put back before it is found.
        let is_excused = |token: &&String| known.forgetful && known.loose.contains(*token);
        if shown.left.symmetric_difference(&shown.right).any(|token| !is_excused(&token)) {
            return broken(
                "a transaction is there whole or not at all (I3)",
                format!("in the end: {shown:?}"),
            );
        }
        if !strangers.is_empty() || !lost.is_empty() && !known.forgetful {
            return broken(
                "no committed write is lost (I2)",
                format!("lost {lost:?}, made up {strangers:?}"),
            );
        }
        let mut sums = shown.sums.clone();
        if let Some(sum) = sums.remove(REVIVED)
            && !(REVIVED_AT..=REVIVED_AT + known.added).contains(&sum)
        {
            return broken(
                "counters are exact (I4)",
                format!("one came back with {REVIVED_AT}, {} was added to it, it shows {sum}", known.added),
            );
        }
        if sums != known.sums && !known.forgetful {
            return broken(
                "counters are exact (I4)",
                format!("they show {sums:?}, what was added comes to {:?}", known.sums),
            );
        }
        let mut times: BTreeMap<char, usize> = BTreeMap::new();
        for letter in shown.letters() {
            *times.entry(letter).or_default() += 1;
        }
        let twice: Vec<_> = times.iter().filter(|(_, count)| **count > 1).map(|(letter, _)| letter).collect();
        let strangers: Vec<_> = times.keys().filter(|letter| !known.typed.contains(letter)).collect();
        let lost: Vec<_> = known
            .typed
            .iter()
            .filter(|letter| !known.deleted.contains(letter) && !times.contains_key(letter))
            .collect();
        let back: Vec<_> = known.deleted.iter().filter(|letter| times.contains_key(letter)).collect();
        if !twice.is_empty()
            || !strangers.is_empty()
            || !(known.forgetful || lost.is_empty() && back.is_empty())
        {
            return broken(
                "what is typed is there once unless deleted (I5)",
                format!(
                    "twice {twice:?}, made up {strangers:?}, lost {lost:?}, come back {back:?}; {shown:?}"
                ),
            );
        }
        Ok(())
    }

    /// A new file gets from a relay what all have.
    fn newcomer(&mut self) -> Checked {
        // It makes its tables from the newest definitions: in these, generated columns may be spelled otherwise than in the others'
        // files, or a table may have a passing name.
        if !self.changes.is_empty() || self.misnamed {
            return Ok(());
        }
        self.join_at(0)?;
        self.meet()?;
        let n = self.nodes.len() - 1;
        self.make_tables(n)?;
        self.meet()?;
        self.compare()
    }

    /// Each file proves itself.
    fn prove(&mut self) -> Checked {
        for n in 0..self.nodes.len() {
            let node = &mut self.nodes[n];
            (node.link, node.engine) = (None, None);
            let path = node.path.clone();
            self.set_clock(n);
            let verified = driftless::verify(&path, &VerifyOptions::default()).map_err(unreadable)?;
            if !verified.is_well() {
                return broken("a file proves itself", format!("{n}: {:#?}", verified.checks));
            }
        }
        Ok(())
    }
}

/// What a file shows, lists as parked, and lists as conflicts.
fn shown(app: &rusqlite::Connection, path: &std::path::Path) -> Checked<[Vec<String>; 3]> {
    let mut rows = Vec::new();
    for table in read::tables(app).map_err(unreadable)? {
        let all = read::lines(app, &format!("SELECT * FROM {}", quote(&table))).map_err(unreadable)?;
        rows.extend(all.into_iter().map(|row| format!("{table}: {row}")));
    }
    let parked = driftless::parked(path).map_err(unreadable)?.into_iter();
    let mut parked: Vec<String> =
        parked.map(|row| format!("{} [{}] {:?}", row.table, row.key, row.row)).collect();
    let conflicts = driftless::conflicts(path).map_err(unreadable)?.into_iter();
    // A renamed column is listed as each table calls it, and is the same one.
    let travels = "SELECT c.travels FROM _driftless_columns c JOIN _driftless_tables t ON t.id = c.tbl
                   WHERE lower(t.spelled) = lower(?1) AND c.name = lower(?2)";
    let mut conflicts: Vec<String> = conflicts
        .map(|mut conflict| {
            let names = (&conflict.table, &conflict.column);
            if let Ok(name) = app.query_row(travels, names, |row| row.get(0)) {
                conflict.column = name;
            }
            format!("{conflict:?}")
        })
        .collect();
    rows.sort();
    parked.sort();
    conflicts.sort();
    Ok([rows, parked, conflicts])
}
