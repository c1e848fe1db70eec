//! What people type apart from each other, into texts of all kinds.

use driftless::Value;
use driftless_tests::{Replicas, query, sql};
use fastrand::Rng;

use super::nodes::{assert_body, edit, meet, replicas, set, standing};
use super::{NOTES, body, text};

#[test]
fn what_three_type_into_one_paragraph_is_all_in_it_and_what_one_deletes_is_gone() {
    let mut nodes = replicas(3, NOTES, &body());
    edit(&mut nodes, 0, "quick", "quick brown");
    edit(&mut nodes, 1, "fox", "fox jumps");
    edit(&mut nodes, 2, "The", "See! The");
    meet(&mut nodes);
    assert_body(&nodes, "See! The quick brown fox jumps.");
    edit(&mut nodes, 0, "quick brown ", "");
    edit(&mut nodes, 1, "brown", "reddish brown");
    edit(&mut nodes, 2, "jumps", "leaps");
    meet(&mut nodes);
    assert_body(&nodes, "See! The reddish fox leaps.");
}

#[test]
fn a_row_that_is_inserted_twice_with_one_text_has_it_once_and_goes_on_from_it() {
    let mut nodes = replicas(2, NOTES, &body());
    for node in 0..2 {
        nodes.write(node, "INSERT INTO notes (id, body) VALUES ('m', 'the same'), ('o', '')");
    }
    nodes.write(0, "UPDATE notes SET body = 'the very same' WHERE id = 'm'");
    nodes.write(1, "UPDATE notes SET body = 'the same here' WHERE id = 'm'");
    meet(&mut nodes);
    assert_eq!(text(nodes.path(0), "m").as_deref(), Some("the very same here"));
    assert_eq!(text(nodes.path(0), "o").as_deref(), Some(""));
    assert_eq!(standing(&nodes), []);
}

#[test]
fn of_a_row_that_is_inserted_twice_with_two_texts_both_are_in_it() {
    let mut nodes = replicas(2, NOTES, &body());
    nodes.write(0, "INSERT INTO notes (id, body) VALUES ('m', 'one. ')");
    nodes.write(1, "INSERT INTO notes (id, body) VALUES ('m', 'two. ')");
    meet(&mut nodes);
    let both = text(nodes.path(0), "m").expect("a text");
    assert!(both == "one. two. " || both == "two. one. ", "{both}");
}

#[test]
fn null_and_empty_texts_come_and_go() {
    let mut nodes = replicas(2, NOTES, &body());
    for (node, written, shown) in [
        (0, "NULL", None),
        (1, "'again'", Some("again")),
        (1, "''", Some("")),
        (0, "NULL", None),
        (0, "''", Some("")),
        (1, "'third'", Some("third")),
    ] {
        nodes.write(node, &format!("UPDATE notes SET body = {written}"));
        meet(&mut nodes);
        assert_eq!(text(nodes.path(1 - node), "n").as_deref(), shown, "after {written}");
        assert_eq!(standing(&nodes), []);
    }
    edit(&mut nodes, 0, "third", "the third");
    edit(&mut nodes, 1, "third", "third time");
    meet(&mut nodes);
    assert_body(&nodes, "the third time");
}

#[test]
fn what_is_typed_into_a_text_that_another_makes_null_is_kept_beside_the_null() {
    let mut nodes = replicas(2, NOTES, &body());
    edit(&mut nodes, 0, "fox", "fox runs");
    nodes.write(1, "UPDATE notes SET body = NULL");
    meet(&mut nodes);
    let mut standing = standing(&nodes);
    standing.sort_by_key(ToString::to_string);
    assert_eq!(standing, [Value::text("The quick fox runs."), Value::Null]);
    // Typing goes on where the text shows; where it does not, a text is written.
    nodes.write(0, "UPDATE notes SET body = 'The quick fox runs on.'");
    meet(&mut nodes);
    assert_body(&nodes, "The quick fox runs on.");
}

#[test]
fn what_is_no_text_is_a_plain_value_in_a_text_column() {
    let mut nodes = replicas(
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
        meet(&mut nodes);
        assert_eq!(query(nodes.path(1), "SELECT body FROM notes"), [shown]);
        nodes.write(1, "UPDATE notes SET body = 'a text again'");
        meet(&mut nodes);
        edit(&mut nodes, 0, "text", "long text");
        edit(&mut nodes, 1, "again", "now");
        meet(&mut nodes);
        assert_body(&nodes, "a long text now");
    }
    // Beside a text that is edited it is a conflict.
    nodes.write(0, "UPDATE notes SET body = 7");
    edit(&mut nodes, 1, "now", "here");
    meet(&mut nodes);
    let mut standing = standing(&nodes);
    standing.sort_by_key(ToString::to_string);
    assert_eq!(standing, [Value::text("a long text here"), Value::Integer(7)]);
}

#[test]
fn nul_line_ends_and_characters_of_all_lengths_arrive_as_they_are() {
    let odd = "\0NUL\0 \r\nCRLF\r\n\tü日𝄞 👩‍👩‍👧‍👦 e\u{301} \u{feff}\u{fffd}\u{10ffff} '\"\\\0";
    let mut nodes = replicas(3, NOTES, &body());
    set(&mut nodes, 0, odd);
    meet(&mut nodes);
    assert_body(&nodes, odd);
    edit(&mut nodes, 0, "\0NUL", "\0\0NUL");
    edit(&mut nodes, 1, "👩‍👩‍👧‍👦", "👩‍👩‍👧‍👦👨‍👦");
    edit(&mut nodes, 2, "\r\n\t", "\n\t𝄞");
    meet(&mut nodes);
    let expected = odd.replacen("\0NUL", "\0\0NUL", 1).replace("👩‍👩‍👧‍👦", "👩‍👩‍👧‍👦👨‍👦").replace("\r\n\t", "\n\t𝄞");
    assert_body(&nodes, &expected);
}

#[test]
fn a_row_that_is_deleted_while_others_type_comes_back_with_all_that_they_typed() {
    let mut nodes = replicas(3, NOTES, &body());
    nodes.write(0, "DELETE FROM notes");
    edit(&mut nodes, 1, "quick", "quick brown");
    edit(&mut nodes, 2, "fox", "fox lives");
    meet(&mut nodes);
    assert_body(&nodes, "The quick brown fox lives.");
    // Where the delete wins nobody sees it, and it is whole when the row is written again.
    let mut nodes = replicas(2, NOTES, &body().deletes_win());
    nodes.write(0, "DELETE FROM notes");
    edit(&mut nodes, 1, "fox", "fox lives");
    meet(&mut nodes);
    assert_eq!(query(nodes.path(1), "SELECT * FROM notes"), [""; 0]);
    nodes.write(0, "INSERT INTO notes (id, body) VALUES ('n', 'A quick fox.')");
    meet(&mut nodes);
    assert_body(&nodes, "A quick fox.");
}

#[test]
fn a_text_goes_on_being_edited_while_its_row_is_parked() {
    let statements = "CREATE TABLE notes (id TEXT PRIMARY KEY, nick TEXT UNIQUE, body TEXT UNIQUE)";
    let mut nodes = replicas(3, statements, &body());
    nodes.write(0, "INSERT INTO notes VALUES ('a', 'x', 'the first')");
    nodes.write(1, "INSERT INTO notes VALUES ('n', 'x', 'One.')");
    edit(&mut nodes, 1, "One.", "One. Two.");
    let parked = |nodes: &Replicas| -> Vec<String> {
        let parked = (0..3).map(|n| driftless::parked(nodes.path(n)).expect("the parked rows"));
        parked
            .flatten()
            .map(|row| {
                row.row.into_iter().find(|(column, _)| column == "body").expect("a body").1.to_string()
            })
            .collect()
    };
    // It is still in the table of the third, that has not heard of the other.
    let log = nodes.node(1).changesets_after(0).expect("changesets");
    nodes.node(2).turn(log).expect("applied");
    nodes.carry_among(2);
    assert_eq!(parked(&nodes), ["'One. Two.'"; 2]);
    edit(&mut nodes, 2, "One.", "Zero. One.");
    meet(&mut nodes);
    assert_eq!(parked(&nodes), ["'Zero. One. Two.'"; 3]);
    // A UNIQUE text: the one becomes what the other is by merging.
    nodes.write(2, "UPDATE notes SET nick = 'y', body = 'One. Two!' WHERE id = 'a'");
    meet(&mut nodes);
    assert_body(&nodes, "Zero. One. Two.");
    edit(&mut nodes, 0, "Zero. ", "");
    edit(&mut nodes, 1, "Two.", "Two!");
    meet(&mut nodes);
    assert_eq!(parked(&nodes), ["'One. Two!'"; 3]);
    nodes.write(2, "UPDATE notes SET body = 'Other.' WHERE id = 'a'");
    meet(&mut nodes);
    edit(&mut nodes, 0, "One", "1");
    edit(&mut nodes, 2, "Two", "2");
    meet(&mut nodes);
    assert_body(&nodes, "1. 2!");
}

#[test]
fn what_changes_beside_a_text_neither_reads_its_document_nor_writes_it() {
    let mut nodes = replicas(2, NOTES, &body());
    edit(&mut nodes, 0, "quick", "quick brown");
    meet(&mut nodes);
    for node in 0..2 {
        sql(nodes.path(node), "UPDATE _driftless_text_updates SET body = x'ff'");
    }
    nodes.write(0, "UPDATE notes SET done = 1");
    nodes.write(1, "UPDATE notes SET title = 'other'");
    meet(&mut nodes);
    assert_body(&nodes, "The quick brown fox.");
    nodes.write(1, "DELETE FROM notes");
    meet(&mut nodes);
    // And what does ask it says so, and is captured anew.
    sql(nodes.path(0), "INSERT INTO notes (id, body) VALUES ('n', 'anew')");
    nodes.node(0).turn(Vec::new()).expect("captured");
    let repaired = driftless::status(nodes.path(0)).expect("a status").repaired;
    assert!(repaired.is_some_and(|repaired| repaired.contains("notes ['n'] could not be read")));
    assert_eq!(text(nodes.path(0), "n").as_deref(), Some("anew"));
}

#[test]
fn a_text_that_two_edit_thousands_of_times_stays_small() {
    let edits: usize = std::env::var("DRIFTLESS_EDITS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let mut nodes = replicas(2, NOTES, &body());
    let mut rng = Rng::with_seed(7);
    let words = ["river", "stone", "lantern", "quiet", "orbit", "meadow", "𝄞", "größer", "日本"];
    set(&mut nodes, 0, &words.repeat(40).join(" "));
    meet(&mut nodes);
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
        set(&mut nodes, node, &chars.into_iter().collect::<String>());
        if n % (edits / 6) == 49 {
            meet(&mut nodes);
        }
    }
    meet(&mut nodes);
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
