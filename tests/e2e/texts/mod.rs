//! Text columns, which merge by character: what people type apart from each other is all in the text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use driftless::sim::Replica;
use driftless::{ColumnKind, Config, SyncConfig, TableOptions, Value};
use driftless_tests::{
    Courier, Node, PATIENCE, TestRelay, agree, assert_same_tables, connect, create_database, each_seed,
    query, sql,
};
use fastrand::Rng;
use rusqlite::{Connection, params};
use tempfile::TempDir;

const NOTES: &str = "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT, body TEXT, done INTEGER DEFAULT 0);
    INSERT INTO notes VALUES ('n', 'title', 'The quick fox.', 0)";

/// The digest of the empty text, of which some files have a document and others none.
const EMPTY: &str = "AF1349B9F5F9A1A6A0404DEA36DCC949";

fn body() -> TableOptions {
    TableOptions::default().text("body")
}

/// Replicas without a relay, that exchange everything when they meet.
struct Nodes {
    nodes: Vec<Replica>,
    courier: Courier,
    folder: TempDir,
}

impl Nodes {
    /// Replicas that have met, all with these tables.
    fn new(count: usize, statements: &str, options: &TableOptions) -> Self {
        let mut nodes = Self {
            nodes: Vec::new(),
            courier: Courier::new(),
            folder: tempfile::tempdir().expect("a folder"),
        };
        for _ in 0..count {
            nodes.join(statements);
            nodes.nodes.last_mut().expect("joined").track(&["notes"], options.clone()).expect("tracked");
        }
        nodes.meet();
        nodes
    }

    /// One more replica, that tracks nothing yet.
    fn join(&mut self, statements: &str) {
        self.join_with(statements, Config::default());
    }

    fn join_with(&mut self, statements: &str, config: Config) {
        let path = self.folder.path().join(format!("{}.db", self.nodes.len()));
        create_database(&path, statements);
        self.nodes.push(Replica::open(&path, config).expect("opened"));
    }

    fn path(&self, node: usize) -> &Path {
        self.nodes[node].path()
    }

    /// One write, captured by itself.
    fn write(&mut self, node: usize, statements: &str) {
        sql(self.path(node), statements);
        self.capture(node);
    }

    fn capture(&mut self, node: usize) {
        self.nodes[node].turn(Vec::new()).expect("captured");
    }

    /// Puts this in the place of `from` in the body of the note 'n', and captures it.
    fn edit(&mut self, node: usize, from: &str, to: &str) {
        let old = text(self.path(node), "n").expect("a text");
        assert!(old.contains(from), "{old:?} has no {from:?}");
        self.set(node, &old.replacen(from, to, 1));
    }

    fn set(&mut self, node: usize, new: &str) {
        let set = hasty(self.path(node)).execute("UPDATE notes SET body = ?1 WHERE id = 'n'", [new]);
        set.expect("updated");
        self.capture(node);
    }

    /// Everybody gets everything: then all is equal everywhere.
    #[track_caller]
    fn meet(&mut self) {
        self.exchange();
        let paths: Vec<&Path> = self.nodes.iter().map(Replica::path).collect();
        assert_same_tables(&paths);
    }

    /// Everybody gets everything; tables that are not tracked everywhere may differ.
    #[track_caller]
    fn exchange(&mut self) {
        self.courier.carry(&mut self.nodes.iter_mut().collect::<Vec<_>>());
        let conflicts = |node: &Replica| driftless::conflicts(node.path()).expect("the conflicts");
        for node in &self.nodes {
            assert_eq!(conflicts(node), conflicts(&self.nodes[0]), "{}", node.path().display());
            assert_eq!(digests(node.path()), digests(self.path(0)), "{}", node.path().display());
            let status = driftless::status(node.path()).expect("a status");
            assert_eq!((status.waiting, status.quarantined), (0, 0), "{}", node.path().display());
        }
    }

    /// Only what is handed on, where files differ in what they track.
    fn exchange_documents(&mut self) {
        self.courier.carry(&mut self.nodes.iter_mut().collect::<Vec<_>>());
    }

    /// What the body of the note 'n' is everywhere, without a conflict.
    #[track_caller]
    fn assert_body(&self, expected: &str) {
        for node in &self.nodes {
            assert_eq!(text(node.path(), "n").as_deref(), Some(expected), "{}", node.path().display());
            assert_eq!(driftless::conflicts(node.path()).expect("the conflicts"), []);
        }
    }

    /// The values that stand in the body of the note 'n': first the one shown.
    fn standing(&self) -> Vec<Value<'static>> {
        let conflicts = driftless::conflicts(self.path(0)).expect("the conflicts");
        let of_body = conflicts.into_iter().filter(|conflict| conflict.column == "body");
        of_body
            .flat_map(|conflict| std::iter::once(conflict.shown).chain(conflict.kept))
            .map(|written| written.value)
            .collect()
    }
}

/// A connection that does not wait for the disk: these tests write often.
fn hasty(path: &Path) -> Connection {
    let connection = connect(path);
    connection.pragma_update(None, "synchronous", "OFF").expect("set");
    connection
}

fn text(path: &Path, id: &str) -> Option<String> {
    connect(path)
        .query_row("SELECT body FROM notes WHERE id = ?1", [id], |row| row.get(0))
        .expect("the note is there")
}

/// What the file takes the texts to hold, by table, key and column.
fn digests(path: &Path) -> Vec<String> {
    let select = format!(
        "SELECT t.name, hex(d.key), d.col, hex(d.digest) FROM _driftless_texts d JOIN _driftless_tables t
         ON t.id = d.tbl WHERE hex(d.digest) <> '{EMPTY}' ORDER BY 1, 2, 3"
    );
    query(path, &select)
}

#[test]
fn what_three_type_into_one_paragraph_is_all_in_it_and_what_one_deletes_is_gone() {
    let mut nodes = Nodes::new(3, NOTES, &body());
    nodes.edit(0, "quick", "quick brown");
    nodes.edit(1, "fox", "fox jumps");
    nodes.edit(2, "The", "See! The");
    nodes.meet();
    nodes.assert_body("See! The quick brown fox jumps.");
    nodes.edit(0, "quick brown ", "");
    nodes.edit(1, "brown", "reddish brown");
    nodes.edit(2, "jumps", "leaps");
    nodes.meet();
    nodes.assert_body("See! The reddish fox leaps.");
}

#[test]
fn a_row_that_is_inserted_twice_with_one_text_has_it_once_and_goes_on_from_it() {
    let mut nodes = Nodes::new(2, NOTES, &body());
    for node in 0..2 {
        nodes.write(node, "INSERT INTO notes (id, body) VALUES ('m', 'the same'), ('o', '')");
    }
    nodes.write(0, "UPDATE notes SET body = 'the very same' WHERE id = 'm'");
    nodes.write(1, "UPDATE notes SET body = 'the same here' WHERE id = 'm'");
    nodes.meet();
    assert_eq!(text(nodes.path(0), "m").as_deref(), Some("the very same here"));
    assert_eq!(text(nodes.path(0), "o").as_deref(), Some(""));
    assert_eq!(nodes.standing(), []);
}

#[test]
fn of_a_row_that_is_inserted_twice_with_two_texts_both_are_in_it() {
    let mut nodes = Nodes::new(2, NOTES, &body());
    nodes.write(0, "INSERT INTO notes (id, body) VALUES ('m', 'one. ')");
    nodes.write(1, "INSERT INTO notes (id, body) VALUES ('m', 'two. ')");
    nodes.meet();
    let both = text(nodes.path(0), "m").expect("a text");
    assert!(both == "one. two. " || both == "two. one. ", "{both}");
}

#[test]
fn null_and_empty_texts_come_and_go() {
    let mut nodes = Nodes::new(2, NOTES, &body());
    for (node, written, shown) in [
        (0, "NULL", None),
        (1, "'again'", Some("again")),
        (1, "''", Some("")),
        (0, "NULL", None),
        (0, "''", Some("")),
        (1, "'third'", Some("third")),
    ] {
        nodes.write(node, &format!("UPDATE notes SET body = {written}"));
        nodes.meet();
        assert_eq!(text(nodes.path(1 - node), "n").as_deref(), shown, "after {written}");
        assert_eq!(nodes.standing(), []);
    }
    nodes.edit(0, "third", "the third");
    nodes.edit(1, "third", "third time");
    nodes.meet();
    nodes.assert_body("the third time");
}

#[test]
fn what_is_typed_into_a_text_that_another_makes_null_is_kept_beside_the_null() {
    let mut nodes = Nodes::new(2, NOTES, &body());
    nodes.edit(0, "fox", "fox runs");
    nodes.write(1, "UPDATE notes SET body = NULL");
    nodes.meet();
    let mut standing = nodes.standing();
    standing.sort_by_key(ToString::to_string);
    assert_eq!(standing, [Value::text("The quick fox runs."), Value::Null]);
    // Typing goes on where the text shows; where it does not, a text is written.
    nodes.write(0, "UPDATE notes SET body = 'The quick fox runs on.'");
    nodes.meet();
    nodes.assert_body("The quick fox runs on.");
}

#[test]
fn what_is_no_text_is_a_plain_value_in_a_text_column() {
    let mut nodes = Nodes::new(
        2,
        "CREATE TABLE notes (id TEXT PRIMARY KEY, body BLOB);
        INSERT INTO notes VALUES ('n', 'text')",
        &body(),
    );
    for (written, shown) in [
        ("x'00ff'", "x'00ff'"),
        ("42", "42"),
        ("CAST(x'ff41' AS TEXT)", "text x'ff41'"),
        ("4.5", "4.5"),
        ("x''", "x''"),
    ] {
        nodes.write(0, &format!("UPDATE notes SET body = {written}"));
        nodes.meet();
        assert_eq!(query(nodes.path(1), "SELECT body FROM notes"), [shown]);
        nodes.write(1, "UPDATE notes SET body = 'a text again'");
        nodes.meet();
        nodes.edit(0, "text", "long text");
        nodes.edit(1, "again", "now");
        nodes.meet();
        nodes.assert_body("a long text now");
    }
    // Beside a text that is edited it is a conflict.
    nodes.write(0, "UPDATE notes SET body = 7");
    nodes.edit(1, "now", "here");
    nodes.meet();
    let mut standing = nodes.standing();
    standing.sort_by_key(ToString::to_string);
    assert_eq!(standing, [Value::text("a long text here"), Value::Integer(7)]);
}

#[test]
fn nul_line_ends_and_characters_of_all_lengths_arrive_as_they_are() {
    let odd = "\0NUL\0 \r\nCRLF\r\n\tü日𝄞 👩‍👩‍👧‍👦 e\u{301} \u{feff}\u{fffd}\u{10ffff} '\"\\\0";
    let mut nodes = Nodes::new(3, NOTES, &body());
    nodes.set(0, odd);
    nodes.meet();
    nodes.assert_body(odd);
    nodes.edit(0, "\0NUL", "\0\0NUL");
    nodes.edit(1, "👩‍👩‍👧‍👦", "👩‍👩‍👧‍👦👨‍👦");
    nodes.edit(2, "\r\n\t", "\n\t𝄞");
    nodes.meet();
    let expected = odd.replacen("\0NUL", "\0\0NUL", 1).replace("👩‍👩‍👧‍👦", "👩‍👩‍👧‍👦👨‍👦").replace("\r\n\t", "\n\t𝄞");
    nodes.assert_body(&expected);
}

#[test]
fn a_row_that_is_deleted_while_others_type_comes_back_with_all_that_they_typed() {
    let mut nodes = Nodes::new(3, NOTES, &body());
    nodes.write(0, "DELETE FROM notes");
    nodes.edit(1, "quick", "quick brown");
    nodes.edit(2, "fox", "fox lives");
    nodes.meet();
    nodes.assert_body("The quick brown fox lives.");
    // Where the delete wins nobody sees it, and it is whole when the row is written again.
    let mut nodes = Nodes::new(2, NOTES, &body().deletes_win());
    nodes.write(0, "DELETE FROM notes");
    nodes.edit(1, "fox", "fox lives");
    nodes.meet();
    assert_eq!(query(nodes.path(1), "SELECT * FROM notes"), [""; 0]);
    nodes.write(0, "INSERT INTO notes (id, body) VALUES ('n', 'A quick fox.')");
    nodes.meet();
    nodes.assert_body("A quick fox.");
}

#[test]
fn a_text_goes_on_being_edited_while_its_row_is_parked() {
    let statements = "CREATE TABLE notes (id TEXT PRIMARY KEY, nick TEXT UNIQUE, body TEXT UNIQUE)";
    let mut nodes = Nodes::new(3, statements, &body());
    nodes.write(0, "INSERT INTO notes VALUES ('a', 'x', 'the first')");
    nodes.write(1, "INSERT INTO notes VALUES ('n', 'x', 'One.')");
    nodes.edit(1, "One.", "One. Two.");
    let parked = |nodes: &Nodes| -> Vec<String> {
        let parked = (0..3).map(|n| driftless::parked(nodes.path(n)).expect("the parked rows"));
        parked
            .flatten()
            .map(|row| {
                row.row.into_iter().find(|(column, _)| column == "body").expect("a body").1.to_string()
            })
            .collect()
    };
    // It is still in the table of the third, that has not heard of the other.
    let log = nodes.nodes[1].changesets_after(0).expect("changesets");
    nodes.nodes[2].turn(log).expect("applied");
    nodes.courier.carry(&mut nodes.nodes[..2].iter_mut().collect::<Vec<_>>());
    assert_eq!(parked(&nodes), ["'One. Two.'"; 2]);
    nodes.edit(2, "One.", "Zero. One.");
    nodes.meet();
    assert_eq!(parked(&nodes), ["'Zero. One. Two.'"; 3]);
    // A UNIQUE text: the one becomes what the other is by merging.
    nodes.write(2, "UPDATE notes SET nick = 'y', body = 'One. Two!' WHERE id = 'a'");
    nodes.meet();
    nodes.assert_body("Zero. One. Two.");
    nodes.edit(0, "Zero. ", "");
    nodes.edit(1, "Two.", "Two!");
    nodes.meet();
    assert_eq!(parked(&nodes), ["'One. Two!'"; 3]);
    nodes.write(2, "UPDATE notes SET body = 'Other.' WHERE id = 'a'");
    nodes.meet();
    nodes.edit(0, "One", "1");
    nodes.edit(2, "Two", "2");
    nodes.meet();
    nodes.assert_body("1. 2!");
}

#[test]
fn a_register_that_becomes_a_text_goes_on_from_what_it_showed() {
    let mut nodes = Nodes::new(3, NOTES, &TableOptions::default());
    driftless::set_kind(nodes.path(0), "notes", "body", ColumnKind::Text).expect("a text");
    nodes.meet();
    nodes.edit(0, "quick", "quick brown");
    nodes.edit(1, "fox", "fox jumps");
    nodes.meet();
    nodes.assert_body("The quick brown fox jumps.");
    // One that has not heard of it yet writes the column as a register: a conflict, and nothing is lost.
    let mut nodes = Nodes::new(2, NOTES, &TableOptions::default());
    driftless::set_kind(nodes.path(0), "notes", "body", ColumnKind::Text).expect("a text");
    nodes.edit(0, "quick", "quick brown");
    nodes.edit(1, "fox", "fox jumps");
    nodes.meet();
    let mut standing = nodes.standing();
    standing.sort_by_key(ToString::to_string);
    assert_eq!(standing, [Value::text("The quick brown fox."), Value::text("The quick fox jumps.")]);
    nodes.set(1, "The quick brown fox jumps.");
    nodes.meet();
    nodes.edit(0, "jumps", "jumps high");
    nodes.edit(1, "The", "A");
    nodes.meet();
    nodes.assert_body("A quick brown fox jumps high.");
}

#[test]
fn a_text_that_becomes_a_register_is_one_and_a_text_again_goes_on_from_what_that_showed() {
    let mut nodes = Nodes::new(2, NOTES, &body());
    nodes.edit(0, "quick", "quick brown");
    nodes.meet();
    driftless::set_kind(nodes.path(0), "notes", "body", ColumnKind::Register).expect("a register");
    nodes.edit(0, "quick", "QUICK");
    nodes.edit(1, "fox", "fox types on");
    nodes.meet();
    let mut standing = nodes.standing();
    standing.sort_by_key(ToString::to_string);
    assert_eq!(standing, [Value::text("The QUICK brown fox."), Value::text("The quick brown fox types on.")]);
    nodes.write(1, "UPDATE notes SET done = 1");
    nodes.set(1, "Now it is a register.");
    nodes.meet();
    nodes.assert_body("Now it is a register.");
    nodes.set(0, "one");
    nodes.set(1, "two");
    nodes.meet();
    assert_eq!(nodes.standing().len(), 2);
    nodes.set(0, "A register, in which there is much.");
    nodes.meet();
    driftless::set_kind(nodes.path(0), "notes", "body", ColumnKind::Text).expect("a text");
    nodes.meet();
    nodes.edit(0, "much", "very much");
    nodes.edit(1, "A register", "A text");
    nodes.meet();
    nodes.assert_body("A text, in which there is very much.");
}

#[test]
fn a_text_that_is_edited_here_and_by_others_while_its_table_is_not_tracked_has_both_edits() {
    let mut nodes = Nodes::new(2, NOTES, &body());
    nodes.nodes[1].untrack(&["notes"]).expect("untracked");
    for (theirs, ours, merged) in [
        (("quick", "quick brown"), ("fox", "fox jumps"), "The quick brown fox jumps."),
        (("The", "A"), ("jumps", "leaps high"), "A quick brown fox leaps high."),
    ] {
        nodes.edit(0, theirs.0, theirs.1);
        nodes.exchange();
        nodes.edit(1, ours.0, ours.1);
        nodes.edit(0, ".", ". More.");
        nodes.exchange();
        nodes.nodes[1].track(&["notes"], body()).expect("tracked again");
        nodes.meet();
        nodes.assert_body(&merged.replacen('.', ". More.", 1));
        nodes.edit(0, " More.", "");
        nodes.meet();
        // And again when the table was dropped and made anew, with what it showed.
        sql(
            nodes.path(1),
            "CREATE TEMP TABLE kept AS SELECT * FROM notes; DROP TABLE notes; CREATE TABLE unrelated (a)",
        );
        nodes.capture(1);
        sql(nodes.path(1), "DROP TABLE unrelated");
        create_database(nodes.path(1), &NOTES.replace("The quick fox.", merged));
        nodes.capture(1);
        nodes.meet();
        nodes.assert_body(merged);
        nodes.nodes[1].untrack(&["notes"]).expect("untracked");
    }
}

#[test]
fn what_others_type_while_a_table_is_dropped_shows_when_it_is_made_again() {
    let mut nodes = Nodes::new(2, NOTES, &body());
    nodes.write(1, "DROP TABLE notes");
    nodes.edit(0, "quick", "quick brown");
    nodes.exchange();
    nodes.write(1, &NOTES.replace("quick fox", "quick fox now"));
    nodes.meet();
    nodes.assert_body("The quick brown fox now.");
}

#[test]
fn a_column_that_becomes_a_text_while_the_table_is_not_tracked_goes_on_from_what_it_showed() {
    let mut nodes = Nodes::new(2, NOTES, &TableOptions::default());
    nodes.nodes[1].untrack(&["notes"]).expect("untracked");
    driftless::set_kind(nodes.path(0), "notes", "body", ColumnKind::Text).expect("a text");
    nodes.edit(0, "quick", "quick brown");
    nodes.exchange();
    nodes.edit(1, "fox", "fox jumps");
    nodes.nodes[1].track(&["notes"], TableOptions::default()).expect("tracked again");
    nodes.meet();
    nodes.assert_body("The quick brown fox jumps.");
}

/// The base was given up at the first capture, and what the user wrote before the row was shown counted as written by
/// somebody who had seen it all: so that it took back what others had typed.
#[test]
fn a_table_that_is_tracked_again_may_be_written_while_its_rows_are_still_looked_at() {
    let mut nodes = Nodes::new(1, NOTES, &body());
    let mut slow = Config::default();
    slow.turn_rows = 1;
    nodes.join_with(NOTES, slow);
    nodes.nodes[1].track(&["notes"], body()).expect("tracked");
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
        INSERT INTO notes (id, body) SELECT 'row ' || i, 'text ' || i FROM n";
    nodes.write(0, many);
    nodes.meet();
    nodes.nodes[1].untrack(&["notes"]).expect("untracked");
    nodes.write(0, "UPDATE notes SET body = 'A ' || body, title = 'by the other'");
    nodes.exchange();
    nodes.write(1, "UPDATE notes SET body = body || ' here', done = 1");
    driftless::track(nodes.path(1), driftless::Selection::Named(&["notes"]), body()).expect("tracked");
    let writer = connect(nodes.path(1));
    let mut turns = 0;
    for n in 0..50 {
        // Between two turns of the engine, as an app does.
        turns += usize::from(nodes.nodes[1].one_turn().expect("a turn"));
        let set = "UPDATE notes SET body = body || ?1 WHERE id IN ('n', 'row 1', 'row 100', 'row 200')";
        writer.execute(set, [format!("{n},")]).expect("updated");
    }
    assert!(turns > 10, "{turns} turns left something to do");
    nodes.meet();
    let typed: String = (0..50).map(|n| format!("{n},")).collect();
    for (id, text) in
        [("n", "The quick fox."), ("row 1", "text 1"), ("row 100", "text 100"), ("row 200", "text 200")]
    {
        assert_eq!(self::text(nodes.path(0), id), Some(format!("A {text} here{typed}")), "{id}");
    }
    assert_eq!(
        query(nodes.path(0), "SELECT count(*) FROM notes WHERE title = 'by the other' AND done = 1"),
        ["201"]
    );
}

#[test]
fn what_others_type_in_a_column_that_comes_later_shows_and_a_default_does_not_win() {
    let without = "CREATE TABLE notes (id TEXT PRIMARY KEY); INSERT INTO notes VALUES ('n'), ('m')";
    let mut nodes = Nodes::new(3, without, &TableOptions::default());
    nodes.write(0, "ALTER TABLE notes ADD COLUMN body TEXT DEFAULT 'nothing yet'");
    driftless::set_kind(nodes.path(0), "notes", "body", ColumnKind::Text).expect("a text");
    nodes.set(0, "Typed early.");
    nodes.exchange();
    nodes.write(1, "ALTER TABLE notes ADD COLUMN body TEXT DEFAULT 'nothing yet'");
    nodes.edit(0, "early", "very early");
    nodes.edit(1, "Typed", "Also typed");
    nodes.exchange();
    // One writes it before the engine has looked.
    sql(nodes.path(2), "ALTER TABLE notes ADD COLUMN body TEXT DEFAULT 'nothing yet'");
    nodes.set(2, "nothing yet. By the third.");
    nodes.meet();
    let body = text(nodes.path(0), "n").expect("a text");
    for part in ["Also typed very early.", "By the third."] {
        assert!(body.contains(part), "{body}");
    }
    assert_eq!(body.matches("typed").count(), 1, "{body}");
    assert_eq!(text(nodes.path(0), "m").as_deref(), Some("nothing yet"));
    nodes.write(0, "UPDATE notes SET body = 'not ' || body WHERE id = 'm'");
    nodes.write(1, "UPDATE notes SET body = body || '!' WHERE id = 'm'");
    nodes.meet();
    assert_eq!(text(nodes.path(2), "m").as_deref(), Some("not nothing yet!"));
}

/// What stood in the table took the place of what others had typed, as though its writer had seen that.
#[test]
fn a_text_that_is_found_where_others_have_typed_already_is_kept_beside_theirs() {
    let mut nodes = Nodes::new(1, NOTES, &body());
    nodes.edit(0, "quick", "quick brown");
    // The first text is the one that the other found, too: it goes on from there. The second is another.
    nodes.write(0, "INSERT INTO notes (id, body) VALUES ('m', 'theirs. ')");
    nodes.join(&format!("{NOTES}; INSERT INTO notes (id, body) VALUES ('m', 'ours. ')"));
    nodes.exchange_documents();
    nodes.nodes[1].track(&["notes"], body()).expect("tracked");
    nodes.meet();
    assert_eq!(text(nodes.path(1), "n").as_deref(), Some("The quick brown fox."));
    assert_eq!(text(nodes.path(1), "m").as_deref(), Some("theirs. "));
    let conflicts = driftless::conflicts(nodes.path(0)).expect("the conflicts");
    let [conflict] = &conflicts[..] else { panic!("{conflicts:#?}") };
    assert_eq!((&*conflict.key, &conflict.kept[0].value), ("'m'", &Value::text("ours. ")));
}

#[test]
fn what_changes_beside_a_text_neither_reads_its_document_nor_writes_it() {
    let mut nodes = Nodes::new(2, NOTES, &body());
    nodes.edit(0, "quick", "quick brown");
    nodes.meet();
    for node in 0..2 {
        sql(nodes.path(node), "UPDATE _driftless_text_updates SET body = x'ff'");
    }
    nodes.write(0, "UPDATE notes SET done = 1");
    nodes.write(1, "UPDATE notes SET title = 'other'");
    nodes.meet();
    nodes.assert_body("The quick brown fox.");
    nodes.write(1, "DELETE FROM notes");
    nodes.meet();
    // And what does ask it says so, and is captured anew.
    sql(nodes.path(0), "INSERT INTO notes (id, body) VALUES ('n', 'anew')");
    nodes.nodes[0].turn(Vec::new()).expect("captured");
    let mended = driftless::status(nodes.path(0)).expect("a status").mended;
    assert!(mended.is_some_and(|mended| mended.contains("notes ['n'] could not be read")));
    assert_eq!(text(nodes.path(0), "n").as_deref(), Some("anew"));
}

/// Replicas with engines and a relay between them.
struct Online {
    nodes: Vec<Node>,
    relay: TestRelay,
    folder: TempDir,
}

impl Online {
    fn new(count: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let relay = TestRelay::in_memory();
        let nodes = (0..count).map(|n| {
            let path = folder.path().join(format!("{n}.db"));
            create_database(&path, NOTES);
            let node = Node::open(&path);
            node.track_all(body());
            node
        });
        let mut online = Self { nodes: nodes.collect(), relay, folder };
        online.meet();
        online
    }

    #[track_caller]
    fn meet(&mut self) {
        let url = self.relay.url("texts");
        self.nodes.iter_mut().for_each(|node| node.go_online(&url));
        agree(&self.nodes.iter().collect::<Vec<_>>());
        for node in &self.nodes[1..] {
            assert_eq!(digests(node.path()), digests(self.nodes[0].path()));
        }
    }

    fn part(&mut self) {
        self.nodes.iter_mut().for_each(Node::go_offline);
    }

    fn edit(&self, node: usize, from: &str, to: &str) {
        let node = &self.nodes[node];
        let old = text(node.path(), "n").expect("a text");
        assert!(old.contains(from), "{old:?} has no {from:?}");
        let new = old.replacen(from, to, 1);
        let set = connect(node.path()).execute("UPDATE notes SET body = ?1 WHERE id = 'n'", [new]);
        set.expect("updated");
        node.engine().capture().expect("captured");
    }
}

#[test]
fn a_clone_and_a_relay_that_lost_its_data_have_the_texts_and_typing_goes_on() {
    let mut online = Online::new(2);
    online.part();
    online.edit(0, "quick", "quick brown");
    online.edit(1, "fox", "fox jumps");
    online.meet();
    online.part();
    // All that it kept is gone; the files refill it.
    online.relay.stop();
    online.relay.restart();
    online.meet();
    let path = online.folder.path().join("clone.db");
    let url = online.relay.url("texts");
    driftless::clone(&path, SyncConfig::new(url), Config::default(), PATIENCE).expect("cloned");
    assert_eq!(text(&path, "n").as_deref(), Some("The quick brown fox jumps."));
    online.nodes.push(Node::open(&path));
    online.part();
    for (node, from, to) in [(0, "The", "A"), (1, "jumps", "jumps high"), (2, "brown", "red")] {
        online.edit(node, from, to);
    }
    online.meet();
    assert_eq!(text(&path, "n").as_deref(), Some("A quick red fox jumps high."));
}

#[test]
fn copies_of_a_file_type_on_and_what_both_type_is_in_the_text() {
    let mut online = Online::new(1);
    online.edit(0, "quick", "quick brown");
    let path = online.folder.path().join("copy.db");
    connect(online.nodes[0].path()).execute("VACUUM INTO ?1", [path.to_str()]).expect("copied");
    online.nodes.push(Node::open(&path));
    // And one that is only noticed when it meets the relay: the same file, put back to what it was.
    let backup = std::fs::read(&path).expect("the copy");
    online.part();
    for round in 0..3 {
        online.edit(0, ".", &format!(". 0-{round}."));
        online.edit(1, "The", &format!("1-{round} The"));
    }
    online.meet();
    let both = "1-0 1-1 1-2 The quick brown fox. 0-2. 0-1. 0-0.";
    assert_eq!(text(&path, "n").as_deref(), Some(both));
    online.nodes[1].close();
    for suffix in ["-wal", "-shm"] {
        // The last connection may have removed it.
        let _ = std::fs::remove_file(online.folder.path().join(format!("copy.db{suffix}")));
    }
    std::fs::write(&path, backup).expect("restored");
    online.nodes[1].reopen();
    online.edit(1, "fox", "fox restored");
    online.meet();
    let all = both.replace("fox", "fox restored");
    assert_eq!(text(&path, "n").as_deref(), Some(&*all));
}

#[test]
fn a_text_that_two_edit_thousands_of_times_stays_small() {
    let edits: usize = std::env::var("DRIFTLESS_EDITS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let mut nodes = Nodes::new(2, NOTES, &body());
    let mut rng = Rng::with_seed(7);
    let words = ["river", "stone", "lantern", "quiet", "orbit", "meadow", "𝄞", "größer", "日本"];
    nodes.set(0, &words.repeat(40).join(" "));
    nodes.meet();
    for n in 0..edits {
        let node = n / 7 % 2;
        let mut chars: Vec<char> = text(nodes.path(node), "n").expect("a text").chars().collect();
        let at = rng.usize(..chars.len());
        if chars.len() > 2_000 {
            chars.drain(at..(at + 8).min(chars.len()));
        } else {
            let word = rng.choice(words).expect("a word");
            chars.splice(at..at, word.chars().take(rng.usize(1..6)));
        }
        nodes.set(node, &chars.into_iter().collect::<String>());
        if n % (edits / 6) == 49 {
            nodes.meet();
        }
    }
    nodes.meet();
    let size = |select: &str| query(nodes.path(0), select).concat().parse::<usize>().expect("a number");
    let documents = size("SELECT sum(length(body)) FROM _driftless_text_updates");
    let row = size("SELECT sum(length(body)) FROM _driftless_documents");
    println!(
        "{edits} edits: text {} B, its document {documents} B, row documents {row} B",
        text(nodes.path(0), "n").expect("a text").len()
    );
    // An item that stands for itself takes some 15 bytes, deleted or not.
    assert!(documents < 30 * edits + 10_000, "{documents} bytes");
    assert!(row < 4_000, "{row} bytes");
}

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
