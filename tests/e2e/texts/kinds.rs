//! Columns that become texts or cease to be, and tables that are not tracked or not there for a while.

use driftless::{ColumnKind, TableOptions, Value};
use driftless_tests::{connect, create_database, query, sql};

use super::nodes::{assert_body, at_once, edit, exchange, meet, replicas, set, standing};
use super::{NOTES, body, text};

#[test]
fn a_register_that_becomes_a_text_goes_on_from_what_it_showed() {
    let mut nodes = replicas(3, NOTES, &TableOptions::default());
    driftless::set_kind(nodes.path(0), "notes", "body", ColumnKind::Text).expect("a text");
    meet(&mut nodes);
    edit(&mut nodes, 0, "quick", "quick brown");
    edit(&mut nodes, 1, "fox", "fox jumps");
    meet(&mut nodes);
    assert_body(&nodes, "The quick brown fox jumps.");
    // One that has not heard of it yet writes the column as a register: a conflict, and nothing is lost.
    let mut nodes = replicas(2, NOTES, &TableOptions::default());
    driftless::set_kind(nodes.path(0), "notes", "body", ColumnKind::Text).expect("a text");
    edit(&mut nodes, 0, "quick", "quick brown");
    edit(&mut nodes, 1, "fox", "fox jumps");
    meet(&mut nodes);
    let mut both = standing(&nodes);
    both.sort_by_key(ToString::to_string);
    assert_eq!(both, [Value::text("The quick brown fox."), Value::text("The quick fox jumps.")]);
    set(&mut nodes, 1, "The quick brown fox jumps.");
    meet(&mut nodes);
    edit(&mut nodes, 0, "jumps", "jumps high");
    edit(&mut nodes, 1, "The", "A");
    meet(&mut nodes);
    assert_body(&nodes, "A quick brown fox jumps high.");
}

#[test]
fn a_text_that_becomes_a_register_is_one_and_a_text_again_goes_on_from_what_that_showed() {
    let mut nodes = replicas(2, NOTES, &body());
    edit(&mut nodes, 0, "quick", "quick brown");
    meet(&mut nodes);
    driftless::set_kind(nodes.path(0), "notes", "body", ColumnKind::Register).expect("a register");
    edit(&mut nodes, 0, "quick", "QUICK");
    edit(&mut nodes, 1, "fox", "fox types on");
    meet(&mut nodes);
    let mut both = standing(&nodes);
    both.sort_by_key(ToString::to_string);
    assert_eq!(both, [Value::text("The QUICK brown fox."), Value::text("The quick brown fox types on.")]);
    nodes.write(1, "UPDATE notes SET done = 1");
    set(&mut nodes, 1, "Now it is a register.");
    meet(&mut nodes);
    assert_body(&nodes, "Now it is a register.");
    set(&mut nodes, 0, "one");
    set(&mut nodes, 1, "two");
    meet(&mut nodes);
    assert_eq!(standing(&nodes).len(), 2);
    set(&mut nodes, 0, "A register, in which there is much.");
    meet(&mut nodes);
    driftless::set_kind(nodes.path(0), "notes", "body", ColumnKind::Text).expect("a text");
    meet(&mut nodes);
    edit(&mut nodes, 0, "much", "very much");
    edit(&mut nodes, 1, "A register", "A text");
    meet(&mut nodes);
    assert_body(&nodes, "A text, in which there is very much.");
}

#[test]
fn a_text_that_is_edited_here_and_by_others_while_its_table_is_not_tracked_has_both_edits() {
    let mut nodes = replicas(2, NOTES, &body());
    nodes.node(1).untrack(&["notes"]).expect("untracked");
    for (theirs, ours, merged) in [
        (("quick", "quick brown"), ("fox", "fox jumps"), "The quick brown fox jumps."),
        (("The", "A"), ("jumps", "leaps high"), "A quick brown fox leaps high."),
    ] {
        edit(&mut nodes, 0, theirs.0, theirs.1);
        exchange(&mut nodes);
        edit(&mut nodes, 1, ours.0, ours.1);
        edit(&mut nodes, 0, ".", ". More.");
        exchange(&mut nodes);
        nodes.node(1).track(&["notes"], body()).expect("tracked again");
        meet(&mut nodes);
        assert_body(&nodes, &merged.replacen('.', ". More.", 1));
        edit(&mut nodes, 0, " More.", "");
        meet(&mut nodes);
        // And again when the table was dropped and made anew, with what it showed.
        sql(
            nodes.path(1),
            "CREATE TEMP TABLE kept AS SELECT * FROM notes; DROP TABLE notes; CREATE TABLE unrelated (a)",
        );
        nodes.capture(1);
        sql(nodes.path(1), "DROP TABLE unrelated");
        create_database(nodes.path(1), &NOTES.replace("The quick fox.", merged));
        nodes.capture(1);
        meet(&mut nodes);
        assert_body(&nodes, merged);
        nodes.node(1).untrack(&["notes"]).expect("untracked");
    }
}

#[test]
fn what_others_type_while_a_table_is_dropped_shows_when_it_is_made_again() {
    let mut nodes = replicas(2, NOTES, &body());
    nodes.write(1, "DROP TABLE notes");
    edit(&mut nodes, 0, "quick", "quick brown");
    exchange(&mut nodes);
    nodes.write(1, &NOTES.replace("quick fox", "quick fox now"));
    meet(&mut nodes);
    assert_body(&nodes, "The quick brown fox now.");
}

#[test]
fn a_column_that_becomes_a_text_while_the_table_is_not_tracked_goes_on_from_what_it_showed() {
    let mut nodes = replicas(2, NOTES, &TableOptions::default());
    nodes.node(1).untrack(&["notes"]).expect("untracked");
    driftless::set_kind(nodes.path(0), "notes", "body", ColumnKind::Text).expect("a text");
    edit(&mut nodes, 0, "quick", "quick brown");
    exchange(&mut nodes);
    edit(&mut nodes, 1, "fox", "fox jumps");
    nodes.node(1).track(&["notes"], TableOptions::default()).expect("tracked again");
    meet(&mut nodes);
    assert_body(&nodes, "The quick brown fox jumps.");
}

/// The base was given up at the first capture, and what the user wrote before the row was shown counted as written by
/// somebody who had seen it all: so that it took back what others had typed.
#[test]
fn a_table_that_is_tracked_again_may_be_written_while_its_rows_are_still_looked_at() {
    let mut nodes = replicas(1, NOTES, &body());
    let mut slow = at_once();
    slow.turn_rows = 1;
    nodes.join_with(slow, NOTES);
    nodes.node(1).track(&["notes"], body()).expect("tracked");
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
        INSERT INTO notes (id, body) SELECT 'row ' || i, 'text ' || i FROM n";
    nodes.write(0, many);
    meet(&mut nodes);
    nodes.node(1).untrack(&["notes"]).expect("untracked");
    nodes.write(0, "UPDATE notes SET body = 'A ' || body, title = 'by the other'");
    exchange(&mut nodes);
    nodes.write(1, "UPDATE notes SET body = body || ' here', done = 1");
    driftless::track(nodes.path(1), driftless::Selection::Named(&["notes"]), body()).expect("tracked");
    let writer = connect(nodes.path(1));
    let mut turns = 0;
    for n in 0..50 {
        // Between two turns of the engine, as an app does.
        turns += usize::from(nodes.node(1).one_turn().expect("a turn"));
        let set = "UPDATE notes SET body = body || ?1 WHERE id IN ('n', 'row 1', 'row 100', 'row 200')";
        writer.execute(set, [format!("{n},")]).expect("updated");
    }
    assert!(turns > 10, "{turns} turns left something to do");
    meet(&mut nodes);
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
    let mut nodes = replicas(3, without, &TableOptions::default());
    nodes.write(0, "ALTER TABLE notes ADD COLUMN body TEXT DEFAULT 'nothing yet'");
    driftless::set_kind(nodes.path(0), "notes", "body", ColumnKind::Text).expect("a text");
    set(&mut nodes, 0, "Typed early.");
    exchange(&mut nodes);
    nodes.write(1, "ALTER TABLE notes ADD COLUMN body TEXT DEFAULT 'nothing yet'");
    edit(&mut nodes, 0, "early", "very early");
    edit(&mut nodes, 1, "Typed", "Also typed");
    exchange(&mut nodes);
    // One writes it before the engine has looked.
    sql(nodes.path(2), "ALTER TABLE notes ADD COLUMN body TEXT DEFAULT 'nothing yet'");
    set(&mut nodes, 2, "nothing yet. By the third.");
    meet(&mut nodes);
    let body = text(nodes.path(0), "n").expect("a text");
    for part in ["Also typed very early.", "By the third."] {
        assert!(body.contains(part), "{body}");
    }
    assert_eq!(body.matches("typed").count(), 1, "{body}");
    assert_eq!(text(nodes.path(0), "m").as_deref(), Some("nothing yet"));
    nodes.write(0, "UPDATE notes SET body = 'not ' || body WHERE id = 'm'");
    nodes.write(1, "UPDATE notes SET body = body || '!' WHERE id = 'm'");
    meet(&mut nodes);
    assert_eq!(text(nodes.path(2), "m").as_deref(), Some("not nothing yet!"));
}

/// What stood in the table took the place of what others had typed, as though its writer had seen that.
#[test]
fn a_text_that_is_found_where_others_have_typed_already_is_kept_beside_theirs() {
    let mut nodes = replicas(1, NOTES, &body());
    edit(&mut nodes, 0, "quick", "quick brown");
    // The first text is the one that the other found, too: it goes on from there. The second is another.
    nodes.write(0, "INSERT INTO notes (id, body) VALUES ('m', 'theirs. ')");
    nodes.join(&format!("{NOTES}; INSERT INTO notes (id, body) VALUES ('m', 'ours. ')"));
    nodes.carry();
    nodes.node(1).track(&["notes"], body()).expect("tracked");
    meet(&mut nodes);
    assert_eq!(text(nodes.path(1), "n").as_deref(), Some("The quick brown fox."));
    assert_eq!(text(nodes.path(1), "m").as_deref(), Some("theirs. "));
    let conflicts = driftless::conflicts(nodes.path(0)).expect("the conflicts");
    let [conflict] = &conflicts[..] else { panic!("{conflicts:#?}") };
    assert_eq!((&*conflict.key, &conflict.kept[0].value), ("'m'", &Value::text("ours. ")));
}
