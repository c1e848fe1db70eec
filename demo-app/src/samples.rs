//! Notes to begin with.

use anyhow::Result;
use rusqlite::{Connection, TransactionBehavior};

use crate::notes::{self, NewNote};

const WELCOME: &str = "Ada and Ben each have this note in a SQLite file of their own.

Switch both of them offline. Write something here as Ada, and something else in this same paragraph as Ben. Then switch \
them online again, and watch what becomes of it.

Try also: change the title as both. Make a notebook of one name as both. Press the heart as often as you like.";

/// One note that says what to do, unless there are notes already.
pub(crate) fn welcome(db: &mut Connection) -> Result<()> {
    let some: bool = db.query_row("SELECT EXISTS (SELECT 1 FROM notes)", [], |row| row.get(0))?;
    if some {
        return Ok(());
    }
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let note = NewNote { title: "Pull the plug".into(), body: WELCOME.into(), notebook: None };
    let id = notes::add(&tx, &note)?;
    for item in ["Go offline", "Write in the same paragraph", "Go online"] {
        notes::add_item(&tx, &id, item)?;
    }
    notes::tag(&tx, &id, "start here")?;
    Ok(tx.commit()?)
}

/// So many notes of different lengths, the first of them 200 KB long. Prints how it goes.
pub(crate) fn many(db: &mut Connection, count: u32) -> Result<()> {
    const WORDS: [&str; 16] = [
        "river", "lantern", "copper", "window", "salt", "meadow", "ticket", "harbour", "paper", "violet",
        "engine", "garden", "winter", "bridge", "orange", "letter",
    ];
    let begun = std::time::Instant::now();
    // Always the same text, without a library for chance.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut word = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        WORDS[(state % 16) as usize]
    };
    let mut left = count;
    while left > 0 {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for _ in 0..left.min(500) {
            let bytes = if left == count { 200 << 10 } else { 200 + (left as usize * 37) % 1500 };
            let mut body = String::with_capacity(bytes + 16);
            while body.len() < bytes {
                body += word();
                body += if body.len() % 700 < 8 { "\n\n" } else { " " };
            }
            let title = match left == count {
                true => "A very long note".to_owned(),
                false => format!("{} and {}, no. {left}", word(), word()),
            };
            let id = notes::add(&tx, &NewNote { title, body, notebook: None })?;
            if left.is_multiple_of(5) {
                notes::tag(&tx, &id, word())?;
            }
            left -= 1;
        }
        tx.commit()?;
        eprintln!("{} of {count} sample notes, {:.1} s", count - left, begun.elapsed().as_secs_f64());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    static WAITED_FOR: AtomicBool = AtomicBool::new(false);

    #[test]
    fn the_first_note_waits_for_whoever_is_writing() {
        // A transaction that began with reading (here, for the full-text index) was refused at once while the engine wrote.
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.db");
        let other = Connection::open(&file).expect("opens");
        other.pragma_update(None, "journal_mode", "wal").expect("set");
        other.execute_batch(include_str!("../schema.sql")).expect("valid SQL");
        let mut db = Connection::open(&file).expect("opens");
        db.busy_handler(Some(|_| {
            WAITED_FOR.store(true, Ordering::SeqCst);
            true
        }))
        .expect("set");
        std::thread::scope(|scope| {
            other.execute_batch("BEGIN IMMEDIATE").expect("begins");
            let written = scope.spawn(move || welcome(&mut db));
            while !WAITED_FOR.load(Ordering::SeqCst) && !written.is_finished() {
                std::thread::yield_now();
            }
            other.execute_batch("COMMIT").expect("commits");
            written.join().expect("does not panic").expect("is written");
        });
        assert_eq!(other.query_row("SELECT count(*) FROM notes", [], |row| row.get(0)), Ok(1));
    }
}
