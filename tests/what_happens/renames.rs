//! Renamed columns and tables: one replica before the others, told or not, and nothing of anybody's is lost.
//!
//! Replicas that a case does not name only receive, and have the tables as they were.

use driftless::TableOptions;

use crate::case::{Case, Who::*, case};

const NOTES: &str = "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT, stars INTEGER DEFAULT 0);
                     INSERT INTO notes VALUES ('a', 'one', 1), ('b', 'two', 2)";

/// A case that begins with two notes, whose stars are counted. Its replicas' tables come to differ.
fn notes() -> Case {
    case(NOTES).with("notes", || TableOptions::default().counter("stars")).schemas_differ()
}

#[test]
fn a_rename_that_is_told_first_reaches_those_that_rename_later() {
    let first = ["'a', 'ONE'", "'b', 'TWO'", "'c', 'three'"];
    notes()
        .renames(A, "notes", "Title", "head")
        .a("UPDATE notes SET head = 'ONE' WHERE id = 'a'; INSERT INTO notes VALUES ('c', 'three', 3)")
        .b("UPDATE notes SET title = 'TWO' WHERE id = 'b'")
        .meet()
        .shows_at(A, "SELECT id, head FROM notes ORDER BY id", &first)
        .shows_at(B, "SELECT id, title FROM notes ORDER BY id", &first)
        // The app's own migration, later; then the last one tells it again, as its own migration may.
        .b("ALTER TABLE notes RENAME COLUMN title TO head; UPDATE notes SET head = 'again' WHERE id = 'a'")
        .renames(C, "notes", "title", "head")
        .meet()
        .shows("SELECT id, head FROM notes ORDER BY id", &["'a', 'again'", "'b', 'TWO'", "'c', 'three'"])
        .remarks_nothing_at(A, "notes")
        .holds_of_three();
}

#[test]
fn a_renamed_counter_counts_on() {
    notes()
        .renames(A, "notes", "stars", "likes")
        .a("UPDATE notes SET likes = likes + 1")
        .b("UPDATE notes SET stars = stars + 10")
        .meet()
        .shows_at(A, "SELECT likes FROM notes ORDER BY id", &["12", "13"])
        .shows_at(B, "SELECT stars FROM notes ORDER BY id", &["12", "13"])
        .holds();
}

#[test]
fn a_column_renamed_twice_and_back_is_the_same_column() {
    let mut case = notes();
    for (old, new) in [("title", "head"), ("head", "name"), ("name", "title")] {
        let expected = [&*format!("'as {new}'"), &*format!("'while {new}'")];
        case = case
            .renames(A, "notes", old, new)
            .a(&format!("UPDATE notes SET {new} = 'as {new}' WHERE id = 'a'"))
            .b(&format!("UPDATE notes SET title = 'while {new}' WHERE id = 'b'"))
            .meet()
            .shows_at(A, &format!("SELECT {new} FROM notes ORDER BY id"), &expected)
            .shows_at(B, "SELECT title FROM notes ORDER BY id", &expected);
    }
    case.holds();
}

/// SQLite renames a column in our triggers, too. Until that was read, a rename by the app was a dropped and an added column.
#[test]
fn a_rename_by_the_app_is_known_without_a_word_though_it_was_written_before_and_after() {
    for in_between in [true, false] {
        let mut case = notes()
            .a("UPDATE notes SET title = 'before' WHERE id = 'a'; ALTER TABLE notes RENAME COLUMN title TO head;
                UPDATE notes SET head = head || ', after', stars = stars + 1 WHERE id = 'a'")
            .b("UPDATE notes SET title = 'TWO' WHERE id = 'b'");
        if in_between {
            case = case.settle().shows_at(
                A,
                "SELECT head FROM notes ORDER BY id",
                &["'before, after'", "'TWO'"],
            );
        }
        case = case
            .b("ALTER TABLE notes RENAME COLUMN title TO head")
            .b("UPDATE notes SET stars = stars + 1 WHERE id = 'a'")
            .settle();
        for (who, column) in [(A, "head"), (B, "head"), (C, "title")] {
            let select = format!("SELECT {column}, stars FROM notes ORDER BY id");
            case = case.shows_at(who, &select, &["'before, after', 3", "'TWO', 2"]);
        }
        case.remarks_nothing_at(A, "notes").holds_of_three();
    }
}

/// Beside a renamed column, one that was dropped and added again counted as edited: its default replaced what everybody had.
#[test]
fn a_column_that_is_dropped_and_added_again_beside_a_renamed_one_shows_what_the_space_has() {
    case("CREATE TABLE p (id TEXT PRIMARY KEY, a TEXT, b TEXT, c TEXT); INSERT INTO p VALUES ('1', 'A', 'B', 'C')")
        .schemas_differ()
        .a("ALTER TABLE p DROP COLUMN a; ALTER TABLE p RENAME COLUMN b TO d;
            ALTER TABLE p ADD COLUMN a TEXT DEFAULT '-'")
        .settle()
        .shows_at(A, "SELECT a, d, c FROM p", &["'A', 'B', 'C'"])
        .shows_at(B, "SELECT a, b, c FROM p", &["'A', 'B', 'C'"])
        .holds();
}

/// The command did otherwise than `ALTER TABLE`: the columns' values were exchanged, and a counter was set to another's sum.
#[test]
fn the_command_gives_a_column_a_name_that_another_had_just_as_alter_table_does() {
    let rotate = [("b", "c"), ("n", "b"), ("a", "n")];
    let swap = [("a", "x"), ("b", "a"), ("x", "b"), ("n", "x")];
    for (steps, counter, select) in
        [(&rotate[..], "b", "SELECT n, c, b FROM p"), (&swap, "x", "SELECT b, a, x FROM p")]
    {
        let mut case = case(
            "CREATE TABLE p (id TEXT PRIMARY KEY, a TEXT, b TEXT, n INTEGER DEFAULT 0);
             INSERT INTO p VALUES ('1', 'A', 'B', 100)",
        )
        .with("p", || TableOptions::default().counter("n"))
        .schemas_differ();
        for (old, new) in steps {
            case = case.renames(A, "p", old, new);
        }
        case.settle()
            .a(&format!("UPDATE p SET {counter} = {counter} + 1"))
            .b("UPDATE p SET n = n + 10, a = 'A1'")
            .settle()
            .shows_at(A, select, &["'A1', 'B', 111"])
            .shows_at(B, "SELECT a, b, n FROM p", &["'A1', 'B', 111"])
            .holds();
    }
}

/// Its rows had not shown what another machine had written under the new name, and were taken for edits of that: the other's
/// values were gone everywhere.
#[test]
fn a_column_that_one_machine_adds_under_its_later_name_keeps_what_it_holds() {
    const MORE: &str = "SELECT more FROM notes ORDER BY id";
    for (write, also) in
        [("", ""), ("", "; ALTER TABLE notes ADD COLUMN yet TEXT"), ("UPDATE notes SET stars = 9", "")]
    {
        notes()
            .a("ALTER TABLE notes ADD COLUMN extra TEXT; UPDATE notes SET extra = 'of ' || id;
                ALTER TABLE notes RENAME COLUMN extra TO more")
            .settle()
            .b("ALTER TABLE notes ADD COLUMN extra TEXT")
            .settle()
            .b(&format!("{write}; ALTER TABLE notes RENAME COLUMN extra TO more{also}"))
            .settle()
            .shows_at(A, MORE, &["'of a'", "'of b'"])
            .shows_at(B, MORE, &["'of a'", "'of b'"])
            .holds();
    }
}

/// Django's migrations make the table anew with its columns in another order, and put new ones last. Nothing knew which column
/// was which, and nothing asked.
#[test]
fn a_column_that_a_migration_renames_drops_others_and_moves_is_known_by_its_rows() {
    const MIGRATION: &str = "
        BEGIN; CREATE TABLE new_notes (id TEXT PRIMARY KEY, stars INTEGER DEFAULT 0, v TEXT, head TEXT);
        INSERT INTO new_notes SELECT id, stars, 'new', title FROM notes;
        DROP TABLE notes; ALTER TABLE new_notes RENAME TO notes; COMMIT";
    notes()
        .a("ALTER TABLE notes ADD COLUMN note TEXT")
        .settle()
        .a(MIGRATION)
        .b("UPDATE notes SET title = 'TWO' WHERE id = 'b'")
        .settle()
        .shows_at(A, "SELECT head, v FROM notes ORDER BY id", &["'one', 'new'", "'TWO', 'new'"])
        .a("UPDATE notes SET head = 'ONE' WHERE id = 'a'")
        .b(MIGRATION)
        .settle()
        .shows_at(B, "SELECT head, v FROM notes ORDER BY id", &["'ONE', 'new'", "'TWO', 'new'"])
        .shows_at(C, "SELECT title FROM notes ORDER BY id", &["'ONE'", "'TWO'"])
        .holds_of_three();
}

#[test]
fn a_table_renamed_at_one_replica_and_later_at_the_other_is_one_table() {
    let all = ["'a', 'one'", "'b', 'TWO'", "'c', 'three'"];
    notes()
        .a("ALTER TABLE notes RENAME TO memos; INSERT INTO memos VALUES ('c', 'three', 3)")
        .b("UPDATE notes SET title = 'TWO' WHERE id = 'b'")
        .meet()
        .shows_at(A, "SELECT id, title FROM memos ORDER BY id", &all)
        .shows_at(B, "SELECT id, title FROM notes ORDER BY id", &all)
        .b("ALTER TABLE notes RENAME TO memos; DELETE FROM memos WHERE id = 'a'")
        .meet()
        .shows_at(A, "SELECT id, title FROM memos ORDER BY id", &all[1..])
        .shows_at(B, "SELECT id, title FROM memos ORDER BY id", &all[1..])
        .holds();
}

#[test]
fn two_that_rename_one_column_differently_apart_both_go_on_with_it() {
    notes()
        .renames(A, "notes", "title", "head")
        .renames(B, "notes", "title", "name")
        .a("UPDATE notes SET head = 'ONE' WHERE id = 'a'")
        .b("UPDATE notes SET name = 'TWO' WHERE id = 'b'")
        .settle()
        .shows_at(A, "SELECT head FROM notes ORDER BY id", &["'ONE'", "'TWO'"])
        .shows_at(B, "SELECT name FROM notes ORDER BY id", &["'ONE'", "'TWO'"])
        .holds();
}

/// Django's and Rails' key columns are called `id` until somebody calls them otherwise.
#[test]
fn a_renamed_key_column_is_the_same_key_told_or_not() {
    let expected = ["'b', 'TWO'", "'c', 'three'"];
    notes()
        .a("ALTER TABLE notes RENAME COLUMN id TO uuid; INSERT INTO notes VALUES ('c', 'three', 3)")
        .meet()
        .renames(B, "notes", "id", "uuid")
        .b("UPDATE notes SET title = 'TWO' WHERE uuid = 'b'; DELETE FROM notes WHERE uuid = 'a'")
        .meet()
        .shows_at(A, "SELECT uuid, title FROM notes ORDER BY 1", &expected)
        .shows_at(B, "SELECT uuid, title FROM notes ORDER BY 1", &expected)
        .shows_at(C, "SELECT id, title FROM notes ORDER BY 1", &expected)
        .holds_of_three();
}

#[test]
fn a_renamed_table_and_a_new_one_of_its_name_are_two_everywhere() {
    const MIGRATION: &str = "BEGIN; ALTER TABLE notes RENAME TO memos; CREATE TABLE notes (id TEXT PRIMARY KEY, other TEXT); COMMIT;";
    const MEMOS: &str = "SELECT id, title FROM memos ORDER BY id";
    let memos = ["'a', 'ONE'", "'b', 'two'", "'c', 'three'"];
    notes()
        .a(&format!(
            "{MIGRATION} INSERT INTO notes VALUES ('n', 'new'); UPDATE memos SET title = 'ONE' WHERE id = 'a'"
        ))
        .b(&format!("{MIGRATION} INSERT INTO memos VALUES ('c', 'three', 3)"))
        .meet()
        .shows_at(A, "notes", &["'n', 'new'"])
        .shows_at(B, "notes", &["'n', 'new'"])
        .shows_at(A, MEMOS, &memos)
        .shows_at(B, MEMOS, &memos)
        // The third has the old tables still, and migrates later.
        .shows_at(C, "SELECT id, title FROM notes ORDER BY id", &memos)
        .c(MIGRATION)
        .meet()
        .shows("notes", &["'n', 'new'"])
        .shows(MEMOS, &memos)
        .remarks_at(A, "memos", "it was called 'notes' before")
        .holds_of_three();
}

/// The second rename was taken for a new column, which travelled apart from then on. Machines that had the column under that
/// name lost its values.
#[test]
fn a_column_renamed_twice_is_the_same_where_the_engine_looks_in_between() {
    let expected = ["'a', 'ONE'", "'b', 'TWO'"];
    notes()
        .renames(A, "notes", "title", "head")
        .settle()
        .renames(A, "notes", "head", "name")
        .settle()
        .b("ALTER TABLE notes RENAME COLUMN title TO head")
        .settle()
        .b("ALTER TABLE notes RENAME COLUMN head TO name")
        .settle()
        .b("UPDATE notes SET name = 'ONE' WHERE id = 'a'")
        .a("UPDATE notes SET name = 'TWO' WHERE id = 'b'")
        .meet()
        .shows_at(A, "SELECT id, name FROM notes ORDER BY id", &expected)
        .shows_at(B, "SELECT id, name FROM notes ORDER BY id", &expected)
        .shows_at(C, "SELECT id, title FROM notes ORDER BY id", &expected)
        .holds_of_three();
}

/// Two machines have a column `name` each: on one it is the renamed column, on the other a new column beside that. When the
/// space called `name` a new column, the first machine took its own for neither.
#[test]
fn a_column_goes_on_as_what_it_is_where_another_machine_adds_one_of_its_new_name() {
    let expected = ["'a', 'ONE'", "'b', 'TWO'"];
    notes()
        .renames(A, "notes", "title", "head")
        .settle()
        .b("ALTER TABLE notes RENAME COLUMN title TO head")
        .settle()
        .renames(A, "notes", "head", "name")
        .settle()
        .b("ALTER TABLE notes ADD COLUMN name TEXT DEFAULT 'new'")
        .settle()
        .b("UPDATE notes SET head = 'ONE' WHERE id = 'a'")
        .a("UPDATE notes SET name = 'TWO' WHERE id = 'b'")
        .meet()
        .shows_at(A, "SELECT id, name FROM notes ORDER BY id", &expected)
        .shows_at(
            B,
            "SELECT id, head, name FROM notes ORDER BY id",
            &["'a', 'ONE', 'new'", "'b', 'TWO', 'new'"],
        )
        .shows_at(C, "SELECT id, title FROM notes ORDER BY id", &expected)
        .holds_of_three();
}

/// The defaults of the new columns were written over what everybody had, and a counter was counted down by what it had shown.
#[test]
fn a_column_dropped_and_added_again_in_one_step_shows_what_the_space_has_of_it() {
    const ANEW: &str = "
        BEGIN; ALTER TABLE p DROP COLUMN a; ALTER TABLE p DROP COLUMN n;
        ALTER TABLE p ADD COLUMN a TEXT DEFAULT 'dd'; ALTER TABLE p ADD COLUMN n INTEGER DEFAULT 0; COMMIT;";
    const ALL: &str = "SELECT id, a, n, b FROM p ORDER BY id";
    case(
        "CREATE TABLE p (id TEXT PRIMARY KEY, a TEXT, n INTEGER DEFAULT 0, b TEXT);
          INSERT INTO p VALUES ('1', 'one', 5, 'x'), ('2', 'two', 6, 'y'), ('3', 'three', 7, 'z')",
    )
    .with("p", || TableOptions::default().counter("n"))
    .schemas_differ()
    // The app's later writes count as writes.
    .a(&format!("{ANEW} UPDATE p SET a = 'new', n = n + 4 WHERE id = '2'"))
    .b("UPDATE p SET n = n + 1, b = 'X' WHERE id = '1'")
    .meet()
    .shows(ALL, &["'1', 'one', 6, 'X'", "'2', 'new', 10, 'y'", "'3', 'three', 7, 'z'"])
    .b(ANEW)
    .c(ANEW)
    .meet()
    .c("UPDATE p SET n = n + 10 WHERE id = '3'")
    .meet()
    .shows(ALL, &["'1', 'one', 6, 'X'", "'2', 'new', 10, 'y'", "'3', 'three', 17, 'z'"])
    .holds_of_three();
}
