//! Columns that are renamed again and again, with `ALTER TABLE` or by making the table anew, by each machine when it likes, while
//! everybody writes them; and told early, late and in any order, though nobody has to. When all have renamed them, the columns are
//! one everywhere: no write is gone that nobody replaced, and counters have counted everything once.

use std::collections::BTreeSet;

use driftless::TableOptions;
use driftless_tests::{Replicas, each_seed};
use fastrand::Rng;

/// The names that a register has, one after the other, and those of a counter.
const NAMES: [[&str; 3]; 2] = [["title", "head", "name"], ["stars", "likes", "hits"]];
const ROWS: [&str; 2] = ["a", "b"];
/// Rows that nobody writes. Where a table is made anew they tell that a column was renamed.
const OTHERS: &str = ", ('c', 'three', 3, ''), ('d', 'four', 4, ''), ('e', 'five', 5, '')";

/// What a test knows of its machines.
struct Machines {
    replicas: Replicas,
    /// Which of its names each column has, on each machine.
    called: Vec<[usize; 2]>,
    /// The writes of the register that each machine may have seen: row and value.
    known: Vec<BTreeSet<(usize, u32)>>,
    /// The writes that somebody replaced who may have seen them.
    replaced: BTreeSet<(usize, u32)>,
    sums: [i64; 2],
    written: u32,
    steps: Vec<String>,
    /// Whether migrations make the table anew; `None` if only some do.
    makes_anew: Option<bool>,
    /// Whether the next rename makes the table anew.
    anew: bool,
}

impl Machines {
    fn new(count: usize, makes_anew: Option<bool>) -> Self {
        let schema = format!(
            "CREATE TABLE t (id TEXT PRIMARY KEY, title TEXT, stars INTEGER DEFAULT 0, v);
             INSERT INTO t VALUES ('a', '0', 1, ''), ('b', '0', 2, ''){OTHERS}"
        );
        Self {
            replicas: Replicas::new(count, &schema, &["t"], &TableOptions::default().counter("stars")),
            called: vec![[0; 2]; count],
            known: vec![BTreeSet::from([(0, 0), (1, 0)]); count],
            replaced: BTreeSet::new(),
            sums: [1, 2],
            written: 0,
            steps: Vec::new(),
            makes_anew,
            anew: false,
        }
    }

    fn sql(&mut self, machine: usize, statement: &str) {
        self.steps.push(format!("{machine}: {statement}"));
        self.replicas.sql(machine, statement);
    }

    fn write(&mut self, machine: usize, row: usize) {
        self.written += 1;
        let column = NAMES[0][self.called[machine][0]];
        let (value, id) = (self.written, ROWS[row]);
        self.sql(machine, &format!("UPDATE t SET {column} = '{value}' WHERE id = '{id}'"));
        let known = &mut self.known[machine];
        self.replaced.extend(known.iter().filter(|(known, _)| *known == row));
        known.insert((row, value));
    }

    fn add(&mut self, machine: usize, row: usize, by: i64) {
        let column = NAMES[1][self.called[machine][1]];
        let id = ROWS[row];
        self.sql(machine, &format!("UPDATE t SET {column} = {column} + {by} WHERE id = '{id}'"));
        self.sums[row] += by;
    }

    /// Makes the table anew with another name of a column, as a migration does.
    fn anew(&self, machine: usize, column: usize, new: &str) -> String {
        let old = [0, 1].map(|column| NAMES[column][self.called[machine][column]]);
        let mut names = old;
        names[column] = new;
        let ([title, stars], [before, counted]) = (names, old);
        format!(
            "BEGIN; CREATE TABLE x (id TEXT PRIMARY KEY, {title} TEXT, {stars} INTEGER DEFAULT 0, v);
             INSERT INTO x SELECT id, {before}, {counted}, v FROM t; DROP TABLE t; ALTER TABLE x RENAME TO t; COMMIT"
        )
    }

    fn draw_anew(&mut self, rng: &mut Rng) {
        self.anew = self.makes_anew.unwrap_or_else(|| rng.bool());
    }

    fn rename(&mut self, machine: usize, column: usize) {
        let at = self.called[machine][column];
        if let Some(new) = NAMES[column].get(at + 1) {
            let old = NAMES[column][at];
            let rename = if self.anew {
                self.anew(machine, column, new)
            } else {
                format!("ALTER TABLE t RENAME COLUMN {old} TO {new}")
            };
            self.sql(machine, &rename);
            self.called[machine][column] += 1;
        }
    }

    /// Tells of a rename that a machine has made. It may be told before, or be unknown to an engine that did not look between two.
    fn tell(&mut self, machine: usize, column: usize, (old, new): (usize, usize)) {
        let (old, new) = (NAMES[column][old], NAMES[column][new]);
        let told = driftless::rename_column(self.replicas.path(machine), "t", old, new);
        self.steps.push(format!("{machine}: tell {old} {new}: {told:?}"));
    }

    fn look(&mut self, machine: usize) {
        self.replicas.capture(machine);
        self.steps.push(format!("{machine}: look"));
    }

    fn fetch(&mut self, to: usize, from: usize) {
        self.steps.push(format!("{to} fetches from {from}"));
        self.replicas.fetch(to, from);
        let news = self.known[from].clone();
        self.known[to].extend(news);
    }

    fn step(&mut self, rng: &mut Rng) {
        let count = self.called.len();
        let (machine, row, column) = (rng.usize(..count), rng.usize(..ROWS.len()), rng.usize(..2));
        match rng.u8(..12) {
            0..3 => self.write(machine, row),
            3..5 => self.add(machine, row, i64::from(rng.u8(1..4)) * 10),
            5 => {
                self.draw_anew(rng);
                self.rename(machine, column);
            }
            6 if self.called[machine][column] > 0 => {
                let new = rng.usize(1..=self.called[machine][column]);
                self.tell(machine, column, (rng.usize(..new), new));
            }
            6..8 => self.look(machine),
            _ => {
                let from = rng.usize(..count);
                if from != machine {
                    self.fetch(machine, from);
                }
            }
        }
    }

    /// Every machine makes all renames, and somebody tells of those that are left.
    fn end(&mut self, rng: &mut Rng) {
        let count = self.called.len();
        for machine in 0..count {
            for column in [0, 1, 0, 1] {
                self.draw_anew(rng);
                self.rename(machine, column);
                if rng.bool() {
                    self.look(machine);
                }
            }
        }
        self.replicas.settle();
        for machine in 0..count {
            let mut pairs = vec![(0, 1), (1, 2), (0, 2)];
            rng.shuffle(&mut pairs);
            for pair in pairs {
                (0..2).for_each(|column| self.tell(machine, column, pair));
            }
            if rng.bool() {
                self.replicas.settle();
            }
        }
        self.replicas.settle();
    }

    fn check(&self) -> Result<(), String> {
        let ask = |machine, select: &str| self.replicas.query(machine, select);
        let all = ask(0, "SELECT * FROM t ORDER BY id");
        for machine in 0..self.called.len() {
            let theirs = ask(machine, "SELECT * FROM t ORDER BY id");
            if theirs != all {
                return Err(format!("{machine} has {theirs:?}, and 0 has {all:?}"));
            }
            let hits = ask(machine, "SELECT hits FROM t ORDER BY id LIMIT 2");
            if hits != self.sums.map(|sum| sum.to_string()) {
                return Err(format!("{machine} counted {hits:?}, not {:?}", self.sums));
            }
        }
        for (row, id) in ROWS.iter().enumerate() {
            let stands = ask(
                0,
                &format!("SELECT name FROM t WHERE id = '{id}' UNION SELECT value FROM driftless_conflicts"),
            );
            let unreplaced =
                self.known.iter().flatten().filter(|write| write.0 == row && !self.replaced.contains(write));
            for (_, value) in unreplaced {
                if !stands.contains(&format!("'{value}'")) {
                    return Err(format!("{value} in row {id} is gone; there are {stands:?}"));
                }
            }
        }
        Ok(())
    }
}

#[test]
fn columns_that_are_renamed_at_any_time_and_told_at_any_other_lose_nothing() {
    each_seed(0..60, |mut rng| {
        if let Err(what) = history(&mut rng) {
            panic!("{what}");
        }
    });
}

fn history(rng: &mut Rng) -> Result<(), String> {
    let makes_anew = [None, Some(false), Some(true)][rng.usize(..3)];
    let mut machines = Machines::new(rng.usize(2..4), makes_anew);
    for _ in 0..rng.usize(3..24) {
        machines.step(rng);
    }
    machines.end(rng);
    machines.check().map_err(|what| format!("{what}\n{}", machines.steps.join("\n")))
}
