//! Typing at random: nothing that is typed is lost, and nothing comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use driftless::Config;
use driftless::sim::Replica;
use driftless_tests::{assert_same_tables, connect, create_database, each_seed, query, sql};
use fastrand::Rng;
use rusqlite::params;
use tempfile::TempDir;

use super::{NOTES, body, digests, hasty};

/// Everything that is typed is a character that occurs nowhere else, so that what becomes of it can be told.
struct Typing {
    nodes: Vec<Replica>,
    /// By receiver and author: how many changesets were handed over.
    read: Vec<Vec<usize>>,
    tracked: Vec<bool>,
    /// Whether a text was written since its table ceased to be tracked: its next edit would be seen as one with that.
    edited: Vec<BTreeSet<(String, &'static str)>>,
    next: u32,
    typed: BTreeMap<char, (String, &'static str)>,
    deleted: BTreeSet<char>,
    rng: Rng,
    _folder: TempDir,
}

const COLUMNS: [&str; 2] = ["body", "title"];

impl Typing {
    fn new(mut rng: Rng) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let count = rng.usize(2..=4);
        let nodes: Vec<Replica> = (0..count)
            .map(|n| {
                let path = folder.path().join(format!("{n}.db"));
                create_database(&path, NOTES);
                let mut node = Replica::open(&path, Config::default()).expect("opened");
                node.track(&["notes"], body().text("title")).expect("tracked");
                node
            })
            .collect();
        Self {
            read: vec![vec![0; count]; count],
            tracked: vec![true; count],
            edited: vec![BTreeSet::new(); count],
            nodes,
            next: 0,
            typed: BTreeMap::new(),
            deleted: BTreeSet::new(),
            rng,
            _folder: folder,
        }
    }

    /// A run of characters of one, two or no UTF-16 surrogates that were never typed before.
    fn run(&mut self, place: &(String, &'static str)) -> String {
        let len = self.rng.usize(1..8);
        let begin = if self.rng.bool() { 0x4e00 } else { 0x20000 };
        let run: Vec<char> = (0..len)
            .map(|_| {
                self.next += 1;
                char::from_u32(begin + self.next).expect("a character")
            })
            .collect();
        self.typed.extend(run.iter().map(|char| (*char, place.clone())));
        run.into_iter().collect()
    }

    fn step(&mut self) {
        let at = self.rng.usize(..self.nodes.len());
        match self.rng.u32(..100) {
            0..60 => self.edit(at),
            60..64 => self.insert(at),
            64..67 => {
                let path = self.nodes[at].path();
                sql(path, "UPDATE notes SET done = done + 1");
            }
            67..70 => self.reopen(at),
            70..73 if self.tracked[at] => {
                self.nodes[at].untrack(&["notes"]).expect("untracked");
                self.tracked[at] = false;
                self.edited[at].clear();
            }
            70..76 if !self.tracked[at] => self.track(at),
            76..80 => self.nodes[at].turn(Vec::new()).expect("captured"),
            _ => {
                let from = self.rng.usize(..self.nodes.len());
                let most = self.rng.usize(1..20);
                self.deliver(from, at, most);
            }
        }
    }

    fn edit(&mut self, at: usize) {
        let id = self.rng.choice(["n", "m", "o"]).expect("an id").to_owned();
        let place = (id, COLUMNS[self.rng.usize(..2)]);
        if !self.tracked[at] && !self.edited[at].insert(place.clone()) {
            return;
        }
        let connection = hasty(self.nodes[at].path());
        let select = format!("SELECT {} FROM notes WHERE id = ?1", place.1);
        let Ok(old) = connection.query_row(&select, [&place.0], |row| row.get::<_, String>(0)) else {
            return;
        };
        let mut chars: Vec<char> = old.chars().collect();
        let from = self.rng.usize(..=chars.len());
        let to = if self.rng.bool() { from } else { chars.len().min(from + self.rng.usize(..6)) };
        let insert = if from == to || self.rng.bool() { self.run(&place) } else { String::new() };
        self.deleted.extend(chars.splice(from..to, insert.chars()));
        let update = format!("UPDATE notes SET {} = ?2 WHERE id = ?1", place.1);
        let new: String = chars.into_iter().collect();
        connection.execute(&update, params![place.0, new]).expect("updated");
        if self.tracked[at] {
            // Each edit by itself: of two at once the text between them may be written anew.
            self.nodes[at].turn(Vec::new()).expect("captured");
        }
    }

    /// A row that another may insert, too: then the texts of both are in it.
    fn insert(&mut self, at: usize) {
        if !self.tracked[at] {
            return;
        }
        let id = self.rng.choice(["m", "o"]).expect("an id").to_owned();
        let known = query(self.nodes[at].path(), &format!("SELECT 1 FROM notes WHERE id = '{id}'"));
        if known.is_empty() {
            let texts = COLUMNS.map(|column| self.run(&(id.clone(), column)));
            let insert = "INSERT INTO notes (id, body, title) VALUES (?1, ?2, ?3)";
            let connection = hasty(self.nodes[at].path());
            connection.execute(insert, params![id, texts[0], texts[1]]).expect("inserted");
            self.nodes[at].turn(Vec::new()).expect("captured");
        }
    }

    fn reopen(&mut self, at: usize) {
        let path = self.nodes[at].path().to_owned();
        // One file has one engine.
        let node = self.nodes.remove(at);
        drop(node);
        self.nodes.insert(at, Replica::open(&path, Config::default()).expect("opened again"));
    }

    fn track(&mut self, at: usize) {
        self.nodes[at].track(&["notes"], body().text("title")).expect("tracked again");
        self.tracked[at] = true;
        // So that what was found is shown before the next edit.
        self.nodes[at].turn(Vec::new()).expect("captured");
    }

    fn deliver(&mut self, from: usize, to: usize, most: usize) {
        if from != to {
            let news = self.nodes[from].changesets_after(self.read[to][from] as u64).expect("changesets");
            let news: Vec<_> = news.into_iter().take(most).collect();
            self.read[to][from] += news.len();
            self.nodes[to].turn(news).expect("applied");
        }
    }

    /// Everybody hears of everything.
    fn settle(&mut self) {
        (0..self.nodes.len()).for_each(|at| {
            if !self.tracked[at] {
                self.track(at)
            }
        });
        for _ in 0..3 {
            for node in &mut self.nodes {
                node.turn(Vec::new()).expect("captured");
            }
            for to in 0..self.nodes.len() {
                (0..self.nodes.len()).for_each(|from| self.deliver(from, to, usize::MAX));
            }
        }
        let paths: Vec<&Path> = self.nodes.iter().map(Replica::path).collect();
        assert_same_tables(&paths);
        for path in &paths {
            let conflicts = driftless::conflicts(path).expect("the conflicts");
            assert_eq!(conflicts.iter().find(|conflict| conflict.column != "done"), None);
            assert_eq!(digests(path), digests(paths[0]));
            let status = driftless::status(path).expect("a status");
            assert_eq!((status.waiting, status.quarantined), (0, 0));
        }
    }

    /// What nobody deleted is there, once, in its place; what somebody deleted is nowhere.
    fn check(&self) {
        let mut expected = self.typed.clone();
        expected.retain(|char, _| !self.deleted.contains(char));
        let connection = connect(self.nodes[0].path());
        let mut found = BTreeMap::new();
        for column in COLUMNS {
            let mut select = connection.prepare(&format!("SELECT id, {column} FROM notes")).expect("a query");
            let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
            for row in rows {
                let (id, text): (String, String) = row.expect("a row");
                for char in text.chars().filter(|char| self.typed.contains_key(char)) {
                    let again = found.insert(char, (id.clone(), column));
                    assert_eq!(again, None, "{char:?} is there twice");
                }
            }
        }
        let missing: Vec<_> = expected.keys().filter(|char| !found.contains_key(char)).collect();
        let back: Vec<_> = found.keys().filter(|char| !expected.contains_key(char)).collect();
        assert_eq!((missing, back), (Vec::new(), Vec::new()), "lost, and come back after a deletion");
        assert_eq!(found, expected);
    }
}

#[test]
fn whatever_is_typed_anywhere_is_there_once_unless_somebody_deleted_it() {
    each_seed(0..8, |rng| {
        let mut typing = Typing::new(rng);
        for _ in 0..3 {
            let steps = typing.rng.usize(10..120);
            (0..steps).for_each(|_| typing.step());
            typing.settle();
            typing.check();
        }
    });
}
