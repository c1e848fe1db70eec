//! Bugs that a test plants, to find out whether it would notice them: feature `planted`, off by default, and
//! no part of the public API. Nothing that is released is built with it; see ARCHITECTURE.md.
//!
//! One bug at a time is switched on, for the thread that asks: tests that run beside each other do not
//! disturb each other, and an engine's own thread is never wrong. Each stands in one line where somebody
//! could have made it, behind `planted!(Name)`, which without the feature is the word `false`.
//!
//! Each says what is wrong, what a user would see, and which invariant breaks:
//!
//! | | |
//! |---|---|
//! | I1 | equal state vectors mean equal tables, value for value and type for type |
//! | I2 | no committed write is lost: it is there, superseded, kept as a conflict or parked |
//! | I3 | another replica shows all of a transaction or none of it |
//! | I4 | counters are exact |
//! | I5 | every inserted piece of text is there once unless deleted |
//! | I6 | declared constraints hold in every readable state |
//! | I7 | (replica, seq) never has two contents; vectors never run backwards |
//! | I10 | once faults stop, everything drains in bounded time |
//!
//! Where a promise of README.md breaks that is none of these, it is named.

use std::cell::Cell;

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Switches a bug on for this thread, and whatever was on before off. `None` switches all off.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this bug is on.
pub(crate) fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// The enum, all of it as a list, and the names, from one list.
macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $bug:ident,)+) => {
        /// What can be planted in the engine.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Bug {
            $($(#[doc = $doc])+ $bug,)+
        }

        impl Bug {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$bug),+];

            /// Its name, as it stands here.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$bug => stringify!($bug),)+
                }
            }
        }
    };
}

bugs! {
    /// An opening finds the own number before the last, unless the last still waits in the outbox, and gives
    /// the last again. At the next welcome the relay tells and the file takes another name, so mostly only
    /// its own vector and outbox show it: a user sees a file that becomes a new replica each time. Where the
    /// relay has the last one from a snapshot, with no content to compare, what was written under the number
    /// is never sent. Needs a confirmed outbox and a reopening. I7; I1, I2 after a snapshot.
    ReusedSeq,
    /// The next seq follows the greater of the outbox and what was acknowledged, which falls when a relay has
    /// lost its data: what is written then gets numbers that others count already, is never sent, and shows
    /// on no other copy. I7, I1, I2.
    SeqFromAcknowledged,
    /// A copied file keeps its name: neither the inode nor what the relay holds makes it take another. Of
    /// what the two write, one half never shows on the other copies, or syncing ends with a refusal each
    /// time. I7, I1, I2.
    CopyKeepsName,
    /// A file goes on writing under the writer id of its first opening, and so does a copy of it. Both write
    /// one row apart, and each of them keeps its own for ever. I1.
    WriterReused,
    /// A delete of a row that is in conflict is not captured: somebody has yet to settle it. The row is gone
    /// where it was deleted and stays everywhere else. I1, I2.
    SwallowedDelete,
    /// What `INSERT OR REPLACE` evicts through a UNIQUE column is not marked, since no DELETE trigger fires
    /// for it. The evicted row lives on in the documents: other copies park the new row, or this one gets the
    /// old one back. I1, I2.
    EvictionUnmarked,
    /// Parts of a large transaction are applied as they come: somebody reads a half. Needs a transaction of
    /// several changesets. I3.
    HalfTransaction,
    /// What others wrote is applied although marks are left in the log: an edit that is not captured yet is
    /// overwritten in its table and then captured as it was not. Needs more marks than a turn takes. I2.
    AppliedBeforeCapture,
    /// Of two values that were written at the same time, apart, the table keeps the one that it has. Copies
    /// show different ones for ever. Needs a tie of the clocks. I1.
    OwnValueWins,
    /// `seen` counts one write too far: what another writer adds to the row next, apart, is taken for seen,
    /// and vanishes without being listed as a conflict. All copies agree about it. Where both did it to each
    /// other the column falls back to what it was. I2.
    ConflictForgotten,
    /// A lane that is removed leaves no floor. What its writer carries over in a later write of another
    /// column can stand again: a value that was replaced comes back beside the one that replaced it, or over
    /// it if its clock was ahead; and its write numbers begin again, so that a new value can be taken for an
    /// old one. All copies agree. That of two writes the one stands whose author had seen the other; I2.
    FloorForgotten,
    /// What is written into a counter is captured as a value, not as what it adds: of additions made apart
    /// one counts, the others are listed as conflicts. I4.
    CounterSet,
    /// A changeset is applied, and counted, although those before it have not come; they are taken for old
    /// when they do. What was in them never shows here. Needs a changeset that overtakes another. I1, I2, I7.
    VectorPastGap,
    /// A changeset is applied before what its author had applied: an answer shows before its question, and an
    /// edit of a row that is not here is set aside. Needs authors that are delivered in another order than
    /// they wrote in. That nothing shows before what its author had seen; I1 where something was set aside.
    AnswerBeforeQuestion,
    /// Of two rows with one UNIQUE value the one that is in the table stays: copies that were handed them in
    /// another order show another. I1.
    UniqueByArrival,
    /// A row that is parked for another's UNIQUE value is not judged again when that one is deleted. It stays
    /// away from the copies that had parked it, and is in the tables of others, that were handed the delete
    /// first. I1, I2.
    ParkedStays,
    /// A row that is parked for its parent lets go of its UNIQUE values: another one takes them, and who
    /// shows what depends on what came first. Needs a table with a UNIQUE column and a foreign key. I1.
    ClaimForgotten,
    /// The children of a row that itself refers to something are not looked for when it goes: grandchildren
    /// stay behind in the table, referring to nothing. I6, I1.
    CascadeNotFollowed,
    /// An edit of a text counts its offsets in characters, not in UTF-16 units: behind an emoji everybody
    /// else's text is cut in the wrong place, and where that is within a character the changeset is refused
    /// and set aside. Needs an edit behind a character beyond U+FFFF. I1, I5.
    TextOffsetsInCharacters,
    /// A text that was edited is replaced as a whole. Edited by two apart, what both had stands there twice.
    /// I5.
    TextReplacedWhole,
    /// A whole number is captured as an INTEGER, though it is a REAL: 1.0 is 1 on the other copies. Shows in
    /// columns without a type. I1.
    TypeLost,
    /// A write bears the time at which it was captured: of two made apart, the one wins whose file was opened
    /// later. All copies agree. That the later value shows.
    TimeOfCapture,
    /// The outbox is emptied by the acknowledgement, and a relay that lost its data is not sent a snapshot:
    /// what it had acknowledged and lost never comes back, or the conversation breaks off again and again
    /// over the gap. Needs a relay that loses data. I2, I10.
    OutboxEmptiedEarly,
    /// The vector of a snapshot counts what waits in the inbox, which is not in it. Who takes it never gets
    /// that. Needs a relay that lost its data and is refilled while something waits. I1, I2.
    SnapshotCountsWaiting,
    /// Taking a snapshot sets the vector to what the snapshot counts, even where more was held. What follows
    /// then waits behind a gap until the file connects anew. I7, I10.
    SnapshotLowersVector,
    /// The engine commits with `synchronous=OFF`. A machine that loses power forgets what was sent already,
    /// and gives its numbers to something else; or its file is torn. Only a loss of power tells. I7, I2.
    UnsyncedCommits,
    /// With `deletes_win`, a delete that comes to where a concurrent edit is in the table already is not
    /// obeyed; where the edit comes last, the row is gone. I1.
    DeletesWinTooLate,
    /// Keys are taken as they are written, whatever their collation: 'Key' and 'KEY', one row to SQLite, are
    /// two that take turns in one place of the table. Needs a key with NOCASE or RTRIM. I1.
    KeyNotFolded,
    /// What the app's triggers do to other tables while merged rows are written is not undone but captured:
    /// it counts once for each copy. Needs a trigger that writes into a tracked table. I4, and that merging
    /// is no writing.
    TriggerCountsTwice,
    /// A table that was made anew is filled again from the documents, whatever it holds: what the app deleted, inserted and
    /// edited there is undone. Needs a rebuilt table, or dropped triggers, and writes that no trigger saw. I2, I4, I5.
    RebuiltRefilled,
    /// A table that was made anew says only what is in it: rows that are missing come back, as though nobody could have
    /// deleted them. That what a rebuilt table holds is what counts; I2.
    RebuiltKeepsDeleted,
    /// A row that was written just before its table was dropped and made again empty counts as deleted, everywhere, while the
    /// others come back. That an empty table is filled again; I2.
    LostMarksKept,
    /// An engine does not notice that its open file was restored to an earlier state, and goes on under its name: what is written
    /// then gets numbers that others hold already with other content, and shows nowhere else. I7, I1, I2.
    RestoreUnnoticed,
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use driftless_protocol::message::Welcome;
    use driftless_protocol::{SpaceId, StateVector};
    use rusqlite::Connection;

    use super::*;
    use crate::replica::{Replica, Verdict};
    use crate::store;
    use crate::{Config, TableOptions};

    #[test]
    fn one_bug_at_a_time_is_on_and_on_no_other_thread() {
        assert!(Bug::ALL.iter().all(|bug| !is(*bug)));
        for &bug in Bug::ALL {
            plant(Some(bug));
            let on: Vec<_> = Bug::ALL.iter().filter(|known| is(**known)).collect();
            assert_eq!(on, [&bug], "{}", bug.name());
        }
        let elsewhere = std::thread::spawn(|| Bug::ALL.iter().any(|bug| is(*bug)));
        assert!(!elsewhere.join().expect("ends"));
        plant(None);
        assert!(Bug::ALL.iter().all(|bug| !is(*bug)));
    }

    fn database(path: &Path) {
        let app = Connection::open(path).expect("a new database");
        app.execute_batch("CREATE TABLE t (id TEXT PRIMARY KEY); INSERT INTO t VALUES ('1')")
            .expect("a table");
    }

    /// Acknowledges what a file has captured, loses the relay's data and welcomes the file anew. Returns the
    /// verdict, and how many changesets are left.
    fn after_a_loss(path: &Path) -> (Verdict, usize) {
        let mut replica = Replica::open(path, Config::default()).expect("opened");
        replica.track(&["t"], TableOptions::default()).expect("tracked");
        replica.capture_all().expect("captured");
        let empty = Welcome { space: SpaceId::random(), heads: StateVector::new(), own: None };
        replica.welcome(replica.id(), &empty, "here").expect("welcomed");
        let (own, last) = (replica.id(), replica.last_seq().expect("a seq"));
        replica.note_acknowledged(own, last);
        replica.write_notes().expect("written");
        let verdict = replica.welcome(replica.id(), &empty, "here").expect("welcomed");
        (verdict, replica.outgoing(0, usize::MAX).expect("an outbox").len())
    }

    #[test]
    fn an_outbox_that_is_emptied_early_leaves_a_relay_that_lost_its_data_with_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let (right, wrong) = (folder.path().join("a.db"), folder.path().join("b.db"));
        database(&right);
        assert_eq!(after_a_loss(&right), (Verdict::Proceed { send_after: 0, snapshot: false }, 2));
        database(&wrong);
        plant(Some(Bug::OutboxEmptiedEarly));
        assert_eq!(after_a_loss(&wrong), (Verdict::Proceed { send_after: 0, snapshot: false }, 0));
        plant(None);
    }

    #[test]
    fn commits_that_are_not_synced_are_only_that() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.db");
        database(&path);
        let synchronous = || {
            let connection = store::open(&path, Duration::ZERO).expect("opened");
            connection.query_row("PRAGMA synchronous", [], |row| row.get::<_, i64>(0)).expect("a pragma")
        };
        assert_eq!(synchronous(), 2);
        plant(Some(Bug::UnsyncedCommits));
        assert_eq!(synchronous(), 0);
        plant(None);
    }
}
