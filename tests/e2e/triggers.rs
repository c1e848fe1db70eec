//! The user's own triggers, on rows that are merged: they run, and what they write into tracked tables is not counted
//! twice.

use driftless::sim::Replica;
use driftless::{Config, TableOptions};
use driftless_tests::{connect, create_database, query};
use tempfile::TempDir;

/// Replicas of one schema that exchange everything when they meet.
struct Nodes {
    nodes: Vec<Replica>,
    read: Vec<Vec<u64>>,
    tracked: Vec<String>,
    _folder: TempDir,
}

impl Nodes {
    fn new(count: usize, schema: &str, tracked: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let open = |n| {
            let path = folder.path().join(format!("{n}.db"));
            create_database(&path, schema);
            let mut replica = Replica::open(&path, Config::default()).expect("opened");
            replica.track(tracked, TableOptions::integer_key()).expect("tracked");
            replica
        };
        let nodes = (0..count).map(open).collect();
        let mut all = Self {
            nodes,
            read: vec![vec![0; count]; count],
            tracked: tracked.iter().map(|&name| name.to_owned()).collect(),
            _folder: folder,
        };
        all.meet();
        all
    }

    fn sql(&self, node: usize, statements: &str) {
        connect(self.nodes[node].path()).execute_batch(statements).expect("valid SQL");
    }

    fn query(&self, node: usize, select: &str) -> Vec<String> {
        query(self.nodes[node].path(), select)
    }

    /// Everybody gets everything; then all tables are equal and nothing is left to capture.
    fn meet(&mut self) {
        for node in &mut self.nodes {
            node.turn(Vec::new()).expect("captured");
        }
        for to in 0..self.nodes.len() {
            for from in (0..self.nodes.len()).filter(|from| *from != to) {
                let news = self.nodes[from].changesets_after(self.read[to][from]).expect("changesets");
                self.read[to][from] += news.len() as u64;
                self.nodes[to].turn(news).expect("applied");
            }
        }
        let tracked = |node: &Replica| -> Vec<Vec<String>> {
            let all = |table: &String| query(node.path(), &format!("SELECT * FROM {table} ORDER BY 1"));
            self.tracked.iter().map(all).collect()
        };
        for node in &self.nodes[1..] {
            assert_eq!(tracked(node), tracked(&self.nodes[0]));
        }
        for (n, node) in self.nodes.iter_mut().enumerate() {
            node.turn(Vec::new()).expect("captured");
            let last: Vec<u64> = self.read.iter().map(|read| read[n]).collect();
            let news = node.changesets_after(*last.iter().max().expect("a number")).expect("changesets");
            assert_eq!(news.len(), 0, "merging is no writing");
        }
    }

    fn warning(&self, table: &str) -> Option<String> {
        let status = driftless::status(self.nodes[0].path()).expect("a status");
        status.tables.into_iter().find(|known| known.table == table).expect("tracked").reason
    }
}

const SEARCHED: &str = "
CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT NOT NULL, body TEXT, nick TEXT UNIQUE);
CREATE VIRTUAL TABLE found USING fts5 (title, body, content='notes');
CREATE TRIGGER notes_ai AFTER INSERT ON notes BEGIN
  INSERT INTO found (rowid, title, body) VALUES (NEW.rowid, NEW.title, NEW.body);
END;
CREATE TRIGGER notes_ad AFTER DELETE ON notes BEGIN
  INSERT INTO found (found, rowid, title, body) VALUES ('delete', OLD.rowid, OLD.title, OLD.body);
END;
CREATE TRIGGER notes_au AFTER UPDATE ON notes BEGIN
  INSERT INTO found (found, rowid, title, body) VALUES ('delete', OLD.rowid, OLD.title, OLD.body);
  INSERT INTO found (rowid, title, body) VALUES (NEW.rowid, NEW.title, NEW.body);
END;
";

#[test]
fn a_full_text_index_kept_by_triggers_finds_merged_rows_on_every_replica() {
    let mut nodes = Nodes::new(3, SEARCHED, &["notes"]);
    let search =
        "SELECT id FROM notes WHERE rowid IN (SELECT rowid FROM found WHERE found MATCH '%') ORDER BY id";
    let check = |nodes: &Nodes, word: &str, expected: &[&str]| {
        for node in 0..3 {
            nodes.sql(node, "INSERT INTO found (found, rank) VALUES ('integrity-check', 1)");
            assert_eq!(nodes.query(node, &search.replace('%', word)), expected, "{word} on {node}");
        }
    };
    nodes.sql(
        0,
        "INSERT INTO notes VALUES ('a', 'heron', 'stands in water', 'h'), ('b', 'heron too', 'flies', NULL)",
    );
    nodes.sql(1, "INSERT INTO notes VALUES ('c', 'kingfisher', 'dives into water', 'k')");
    nodes.meet();
    check(&nodes, "water", &["'a'", "'c'"]);
    check(&nodes, "heron", &["'a'", "'b'"]);

    nodes.sql(0, "UPDATE notes SET body = 'waits' WHERE id = 'a'; DELETE FROM notes WHERE id = 'b'");
    nodes.sql(2, "UPDATE notes SET title = 'a grey heron' WHERE id = 'a'");
    nodes.meet();
    check(&nodes, "water", &["'c'"]);
    check(&nodes, "grey AND waits", &["'a'"]);

    // Two rows trade a UNIQUE value, so that both leave the table and come back; one is parked and found no more.
    nodes.sql(1, "UPDATE notes SET nick = NULL; UPDATE notes SET nick = 'k' WHERE id = 'a'; UPDATE notes SET nick = 'h' WHERE id = 'c'");
    nodes.meet();
    check(&nodes, "grey", &["'a'"]);
    check(&nodes, "kingfisher", &["'c'"]);
    nodes.sql(0, "INSERT INTO notes VALUES ('d', 'osprey', '', 'o')");
    nodes.sql(1, "INSERT INTO notes VALUES ('e', 'osprey', '', 'o')");
    nodes.meet();
    check(&nodes, "osprey", &["'d'"]);
    nodes.sql(2, "DELETE FROM notes WHERE id = 'd'");
    nodes.meet();
    check(&nodes, "osprey", &["'e'"]);
    assert_eq!(nodes.warning("notes"), None);
}

#[test]
fn a_trigger_that_sets_the_time_of_a_change_sets_it_for_its_author_alone() {
    let schema = "
        CREATE TABLE t (k TEXT PRIMARY KEY, v, changed REAL DEFAULT 0);
        CREATE TRIGGER touch AFTER UPDATE OF v ON t BEGIN
          UPDATE t SET changed = julianday('now') + abs(random() % 1000) WHERE k = NEW.k;
        END;
        CREATE TRIGGER made AFTER INSERT ON t BEGIN UPDATE t SET changed = random() WHERE k = NEW.k; END;";
    let mut nodes = Nodes::new(3, schema, &["t"]);
    nodes.sql(0, "INSERT INTO t (k, v) VALUES ('a', 1), ('b', 2)");
    nodes.meet();
    nodes.sql(1, "UPDATE t SET v = 3 WHERE k = 'a'");
    nodes.sql(
        2,
        "UPDATE t SET v = 4 WHERE k = 'b'; DELETE FROM t WHERE k = 'a'; INSERT INTO t (k, v) VALUES ('c', 5)",
    );
    nodes.meet();
    assert_eq!(nodes.query(0, "SELECT k, v FROM t ORDER BY k"), ["'a', 3", "'b', 4", "'c', 5"]);
    assert!(
        nodes
            .warning("t")
            .is_some_and(|warning| warning.contains("triggers write into the tracked table 't'"))
    );
}

#[test]
fn what_a_trigger_writes_into_another_tracked_table_is_written_once() {
    let schema = "
        CREATE TABLE post (k TEXT PRIMARY KEY, likes INTEGER DEFAULT 0, nick TEXT UNIQUE);
        CREATE TABLE liked (k TEXT PRIMARY KEY, post TEXT REFERENCES post);
        CREATE TABLE log (k TEXT PRIMARY KEY, what TEXT);
        CREATE TRIGGER liked_ai AFTER INSERT ON liked BEGIN
          UPDATE post SET likes = likes + 1 WHERE k = NEW.post;
          INSERT INTO log VALUES (hex(randomblob(8)), 'liked ' || NEW.post);
        END;
        CREATE TRIGGER liked_ad AFTER DELETE ON liked BEGIN
          UPDATE post SET likes = likes - 1 WHERE k = OLD.post;
          DELETE FROM log WHERE what = 'liked ' || OLD.post;
        END;";
    let mut nodes = Nodes::new(3, schema, &["post", "liked", "log"]);
    nodes.sql(
        0,
        "INSERT INTO post (k, nick) VALUES ('p', 'x'), ('q', 'y'); INSERT INTO liked VALUES ('l1', 'p')",
    );
    nodes.meet();
    assert_eq!(nodes.query(2, "SELECT k, likes FROM post ORDER BY k"), ["'p', 1", "'q', 0"]);
    assert_eq!(nodes.query(2, "SELECT count(*) FROM log"), ["1"]);
    nodes.sql(1, "INSERT INTO liked VALUES ('l2', 'p'), ('l3', 'q')");
    nodes.meet();
    assert_eq!(nodes.query(0, "SELECT k, likes FROM post ORDER BY k"), ["'p', 2", "'q', 1"]);
    nodes.sql(2, "DELETE FROM liked WHERE k = 'l2'");
    nodes.meet();
    assert_eq!(nodes.query(0, "SELECT k, likes FROM post ORDER BY k"), ["'p', 1", "'q', 1"]);
    assert_eq!(nodes.query(0, "SELECT what FROM log"), ["'liked q'"]);
    // What the trigger of a new like does to its post is an edit, and wins over the delete of the post.
    nodes.sql(0, "DELETE FROM liked WHERE k = 'l3'; DELETE FROM post WHERE k = 'q'");
    nodes.sql(1, "INSERT INTO liked VALUES ('l4', 'q')");
    nodes.meet();
    assert_eq!(nodes.query(2, "SELECT k FROM liked ORDER BY k"), ["'l1'", "'l4'"]);
    assert!(
        nodes.warning("liked").is_some_and(|warning| warning.contains("'post'") && warning.contains("'log'"))
    );
}

#[test]
fn a_trigger_that_raises_parks_the_row_and_holds_nothing_up() {
    let schema = "
        CREATE TABLE t (k TEXT PRIMARY KEY, v);
        CREATE TRIGGER never BEFORE INSERT ON t WHEN NEW.v = 'bad' BEGIN SELECT RAISE(ABORT, 'no bad ones'); END;";
    let mut nodes = Nodes::new(2, schema, &["t"]);
    nodes.sql(0, "INSERT INTO t VALUES ('a', 'good'), ('b', 'good')");
    nodes.meet();
    nodes.sql(1, "DROP TRIGGER never; INSERT INTO t VALUES ('c', 'bad'), ('d', 'good')");
    let (news, a) =
        (nodes.nodes[1].turn(Vec::new()).map(|()| nodes.nodes[1].changesets_after(nodes.read[0][1])), 0);
    nodes.nodes[a].turn(news.expect("captured").expect("changesets")).expect("applied");
    assert_eq!(nodes.query(a, "SELECT k FROM t ORDER BY k"), ["'a'", "'b'", "'d'"]);
    assert_eq!(
        nodes.query(a, "SELECT \"key\", rule, reason FROM driftless_parked"),
        ["''c'', 'TRIGGER', 'no bad ones'"]
    );
    nodes.sql(a, "DROP TRIGGER never");
    nodes.nodes[a].turn(Vec::new()).expect("a turn");
    assert_eq!(nodes.query(a, "SELECT k FROM t ORDER BY k"), ["'a'", "'b'", "'c'", "'d'"]);
}
