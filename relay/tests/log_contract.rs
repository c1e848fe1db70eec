//! The contract of the log: one suite, run on every store.

use std::sync::Arc;

use driftless_protocol::{Changeset, RelayMessage, Seq, SpaceName, StateVector};
use driftless_relay::Error;
use driftless_relay::log::memory::MemoryStore;
use driftless_relay::log::sqlite::SqliteStore;
use driftless_relay::log::{Item, LogError, LogStore, SnapshotRef, UploadId, UploadLimits};
use tempfile::TempDir;

use crate::support::{changeset, changeset_of, large_changeset, part, replica, seq, space, space_id, vector};

const LIMITS: UploadLimits = UploadLimits { snapshot: 10_000, unfinished: 15_000 };

/// A store, and the space `s` in it.
struct Bed {
    store: Arc<dyn LogStore>,
    space: SpaceName,
    _folder: Option<TempDir>,
}

/// Runs each test on each store.
macro_rules! on_every_store {
    ($($test:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $test() { super::$test(super::Bed::memory().await).await; })*
        }
        mod sqlite {
            $(#[tokio::test] async fn $test() { super::$test(super::Bed::sqlite().await).await; })*
        }
    };
}

on_every_store! {
    a_space_keeps_the_id_it_was_made_with,
    what_is_not_there_is_not_made_unasked,
    a_changeset_stored_twice_is_there_once,
    a_gap_is_refused_and_what_came_before_it_is_kept,
    other_content_under_the_same_seq_is_a_fork,
    a_reader_gets_what_it_lacks_in_order_page_by_page,
    a_reader_who_comes_back_starts_at_what_it_lacks,
    spaces_do_not_see_each_other,
    heads_are_the_union_of_log_and_snapshots,
    a_replica_goes_on_after_what_only_a_snapshot_has,
    a_snapshot_is_not_there_before_its_last_part,
    a_snapshot_that_brings_nothing_is_acknowledged_and_thrown_away,
    snapshots_that_a_new_one_covers_are_dropped,
    only_readers_who_need_snapshots_begin_with_them,
    a_snapshot_is_seen_by_who_reads_on,
    parts_of_a_snapshot_come_in_pages,
    a_part_out_of_place_drops_its_upload,
    uploads_are_bounded,
    an_upload_ends_with_its_connection,
    subscribers_hear_of_every_append,
    a_reader_who_claims_the_impossible_gets_nothing_and_breaks_nothing,
    a_closed_store_says_so,
}

impl Bed {
    async fn with(store: Arc<dyn LogStore>, folder: Option<TempDir>) -> Self {
        let space = space("s");
        store.open(&space, None, Some(space_id(1))).await.expect("opens");
        Self { store, space, _folder: folder }
    }

    async fn memory() -> Self {
        Self::with(Arc::new(MemoryStore::new(LIMITS)), None).await
    }

    async fn sqlite() -> Self {
        let folder = TempDir::new().expect("a folder");
        let store = SqliteStore::open(folder.path(), LIMITS).expect("opens");
        Self::with(Arc::new(store), Some(folder)).await
    }

    async fn append(&self, changesets: Vec<Changeset>) -> Result<(), LogError> {
        let appended = self.store.append(&self.space, changesets).await?;
        appended.refused.map_or(Ok(()), Err)
    }

    async fn fill(&self, r: u8, seqs: std::ops::RangeInclusive<u64>) {
        self.append(seqs.map(|s| changeset(r, s)).collect()).await.expect("stored");
    }

    async fn put(&self, id: u8, counts: &[(u8, u64)]) {
        for index in 0..2 {
            let whole =
                self.store.put_snapshot(&self.space, UploadId(u64::from(id)), part(id, index, 2, counts));
            assert_eq!(whole.await.expect("stored"), index == 1);
        }
    }

    async fn heads(&self) -> StateVector {
        self.store.heads(&self.space).await.expect("heads")
    }

    /// Everything that a reader with `have` is given after `after`: (replica's byte, seq), 0 for a snapshot.
    async fn read_from(&self, mut after: u64, have: &[(u8, u64)], limit: usize) -> Vec<(u8, u64)> {
        let mut got = Vec::new();
        loop {
            let page = self.store.read(&self.space, after, vector(have), limit).await.expect("a page");
            for item in &page.items {
                got.push(match item {
                    Item::Changeset(entry) => (entry.replica.as_bytes()[0], entry.seq.get()),
                    Item::Snapshot { .. } => (0, 0),
                });
            }
            if page.after == after {
                return got;
            }
            after = page.after;
        }
    }

    /// The snapshots and the changesets that a reader with `have` is given.
    async fn read(&self, have: &[(u8, u64)]) -> (Vec<SnapshotRef>, Vec<(u8, u64)>) {
        let start = self.store.start(&self.space, vector(have)).await.expect("a start");
        (start.snapshots, self.read_from(start.after, have, 1 << 20).await)
    }
}

async fn a_space_keeps_the_id_it_was_made_with(bed: Bed) {
    let again = bed.store.open(&bed.space, None, Some(space_id(2))).await;
    assert_eq!(again.expect("opens"), space_id(1));
    bed.store.open(&bed.space, Some(space_id(1)), None).await.expect("the same");
    match bed.store.open(&bed.space, Some(space_id(2)), None).await {
        Err(LogError::WrongSpace { stored, known, .. }) => {
            assert_eq!((stored, known), (space_id(1), space_id(2)));
        }
        other => panic!("{other:?}"),
    }
    // Whoever mistypes the name is told the right one, and no space is made.
    let mistyped = space("mistyped");
    match bed.store.open(&mistyped, Some(space_id(1)), None).await {
        Err(LogError::OtherName { known_as, .. }) => assert_eq!(known_as, bed.space),
        other => panic!("{other:?}"),
    }
    assert!(bed.store.heads(&mistyped).await.is_err(), "made all the same");
    let other = space("other");
    bed.store.open(&other, None, Some(space_id(3))).await.expect("made");
    match bed.store.open(&other, Some(space_id(1)), None).await {
        Err(error @ LogError::WrongSpace { .. }) => {
            let said = error.to_string();
            assert!(said.starts_with(&format!("did you mean '{}'?", bed.space)), "{said}");
        }
        other => panic!("{other:?}"),
    }
    // A relay that lost its data gets the space back under the id that the files remember.
    let lost = bed.store.open(&space("lost"), Some(space_id(7)), Some(space_id(8))).await;
    assert_eq!(lost.expect("opens"), space_id(7));
}

async fn what_is_not_there_is_not_made_unasked(bed: Bed) {
    let absent = space("absent");
    let missing = |error| assert!(matches!(error, LogError::NoSuchSpace(_)), "{error:?}");
    missing(bed.store.open(&absent, None, None).await.expect_err("absent"));
    missing(bed.store.append(&absent, vec![changeset(1, 1)]).await.expect_err("absent"));
    missing(bed.store.put_snapshot(&absent, UploadId(1), part(1, 0, 1, &[])).await.expect_err("absent"));
    missing(bed.store.heads(&absent).await.expect_err("absent"));
    missing(bed.store.start(&absent, StateVector::new()).await.expect_err("absent"));
    missing(bed.store.subscribe(&absent).await.expect_err("absent"));
}

async fn a_changeset_stored_twice_is_there_once(bed: Bed) {
    bed.fill(1, 1..=3).await;
    bed.fill(1, 1..=4).await;
    assert_eq!(bed.read(&[]).await.1, [(1, 1), (1, 2), (1, 3), (1, 4)]);
    assert_eq!(bed.heads().await, vector(&[(1, 4)]));
}

async fn a_gap_is_refused_and_what_came_before_it_is_kept(bed: Bed) {
    let batch = vec![changeset(1, 1), changeset(1, 3), changeset(1, 2)];
    let appended = bed.store.append(&bed.space, batch).await.expect("an answer");
    assert_eq!(appended.stored, 1);
    match appended.refused {
        Some(LogError::Gap { replica: r, held, got }) => assert_eq!((r, held, got), (replica(1), 1, seq(3))),
        other => panic!("{other:?}"),
    }
    assert_eq!(bed.read(&[]).await.1, [(1, 1)]);
    assert!(matches!(bed.append(vec![changeset(1, Seq::MAX)]).await, Err(LogError::Gap { .. })));
    assert!(matches!(bed.append(vec![changeset(2, 2)]).await, Err(LogError::Gap { .. })));
}

async fn other_content_under_the_same_seq_is_a_fork(bed: Bed) {
    bed.fill(1, 1..=2).await;
    match bed.append(vec![changeset_of(1, 2, 99)]).await {
        Err(LogError::Forked { replica: r, seq: s }) => assert_eq!((r, s), (replica(1), seq(2))),
        other => panic!("{other:?}"),
    }
    let head = bed.store.head(&bed.space, replica(1)).await.expect("an answer").expect("a head");
    assert_eq!((head.seq, head.checksum), (seq(2), Some(changeset(1, 2).checksum())));
    assert_eq!(bed.store.head(&bed.space, replica(9)).await.expect("an answer"), None);
}

async fn a_reader_gets_what_it_lacks_in_order_page_by_page(bed: Bed) {
    let mut all = Vec::new();
    for s in 1..=10 {
        for r in 1..=3 {
            bed.append(vec![large_changeset(r, s, 500)]).await.expect("stored");
            all.push((r, s));
        }
    }
    let have = [(2, 10), (3, 4)];
    all.retain(|&(r, s)| r == 1 || (r == 3 && s > 4));
    for limit in [1, 700, 3000, 1 << 20] {
        assert_eq!(bed.read_from(0, &have, limit).await, all, "with pages of {limit} bytes");
    }
    let page = bed.store.read(&bed.space, 0, vector(&[]), 1).await.expect("a page");
    assert_eq!(page.items.len(), 1);
    let Item::Changeset(entry) = &page.items[0] else { panic!("a changeset") };
    match RelayMessage::decode(entry.frame.clone()).expect("a frame") {
        RelayMessage::Changeset(stored) => assert_eq!(stored.bytes(), large_changeset(1, 1, 500).bytes()),
        other => panic!("{other:?}"),
    }
}

async fn a_reader_who_comes_back_starts_at_what_it_lacks(bed: Bed) {
    bed.fill(1, 1..=500).await;
    bed.fill(2, 1..=3).await;
    bed.fill(1, 501..=502).await;
    let start = bed.store.start(&bed.space, vector(&[(1, 500), (2, 1)])).await.expect("a start");
    let page = bed.store.read(&bed.space, start.after, StateVector::new(), 1 << 20).await.expect("a page");
    // Read as someone who has nothing, to see what lies after the start: not one of the first 500.
    assert_eq!(page.items.len(), 4);
    let whole = bed.store.start(&bed.space, vector(&[(1, 502), (2, 3)])).await.expect("a start");
    assert_eq!((whole.after, whole.snapshots.len()), (page.after, 0));
}

async fn spaces_do_not_see_each_other(bed: Bed) {
    let other = space("other");
    bed.store.open(&other, None, Some(space_id(2))).await.expect("opens");
    bed.fill(1, 1..=2).await;
    bed.store.append(&other, vec![changeset_of(1, 1, 5)]).await.expect("the same seq, another space");
    bed.fill(2, 1..=1).await;
    assert_eq!(bed.read(&[]).await.1, [(1, 1), (1, 2), (2, 1)]);
    assert_eq!(bed.store.heads(&other).await.expect("heads"), vector(&[(1, 1)]));
}

async fn heads_are_the_union_of_log_and_snapshots(bed: Bed) {
    bed.fill(1, 1..=5).await;
    bed.put(1, &[(1, 3), (2, 7)]).await;
    bed.put(2, &[(3, 2), (2, 1)]).await;
    assert_eq!(bed.heads().await, vector(&[(1, 5), (2, 7), (3, 2)]));
    let head = bed.store.head(&bed.space, replica(2)).await.expect("an answer").expect("a head");
    assert_eq!((head.seq, head.checksum), (seq(7), None));
    // Neither covers the other: a newcomer needs both.
    let (snapshots, log) = bed.read(&[]).await;
    assert_eq!(snapshots.len(), 2);
    assert_eq!(log.iter().filter(|&&(r, _)| r == 1).count(), 5);
}

async fn a_replica_goes_on_after_what_only_a_snapshot_has(bed: Bed) {
    bed.put(1, &[(1, 3)]).await;
    bed.append(vec![changeset(1, 2)]).await.expect("a duplicate that nobody can compare");
    assert!(matches!(bed.append(vec![changeset(1, 5)]).await, Err(LogError::Gap { held: 3, .. })));
    bed.fill(1, 4..=5).await;
    let (snapshots, log) = bed.read(&[]).await;
    assert_eq!((snapshots.len(), log), (1, vec![(1, 4), (1, 5)]));
}

async fn a_snapshot_is_not_there_before_its_last_part(bed: Bed) {
    bed.store.put_snapshot(&bed.space, UploadId(1), part(1, 0, 2, &[(1, 3)])).await.expect("stored");
    assert_eq!(bed.heads().await, vector(&[]));
    assert_eq!(bed.read(&[]).await, (vec![], vec![]));
}

async fn a_snapshot_that_brings_nothing_is_acknowledged_and_thrown_away(bed: Bed) {
    bed.fill(1, 1..=5).await;
    bed.put(1, &[(1, 5)]).await;
    assert_eq!(bed.read_from(0, &[(1, 5)], 1 << 20).await, []);
}

async fn snapshots_that_a_new_one_covers_are_dropped(bed: Bed) {
    bed.put(1, &[(1, 3)]).await;
    bed.put(2, &[(2, 3)]).await;
    let older = bed.read(&[]).await.0;
    assert_eq!(older.len(), 2);
    bed.put(3, &[(1, 4), (2, 1)]).await;
    let (left, _) = bed.read(&[]).await;
    let vectors: Vec<_> = left.iter().map(|snapshot| (*snapshot.vector).clone()).collect();
    assert_eq!(vectors, [vector(&[(2, 3)]), vector(&[(1, 4), (2, 1)])]);
    // Who was reading the dropped one learns that it is gone.
    assert_eq!(bed.store.parts(&bed.space, older[0].key, 1, 1).await.expect("an answer"), None);
    assert_eq!(bed.heads().await, vector(&[(1, 4), (2, 3)]));
}

async fn only_readers_who_need_snapshots_begin_with_them(bed: Bed) {
    bed.put(1, &[(1, 3), (2, 2)]).await;
    bed.fill(1, 4..=6).await;
    assert_eq!(bed.read(&[(1, 2), (2, 2)]).await.0.len(), 1, "lacks a changeset that only the snapshot has");
    let (snapshots, log) = bed.read(&[(1, 3), (2, 2)]).await;
    assert_eq!((snapshots.len(), log), (0, vec![(1, 4), (1, 5), (1, 6)]));
    let (snapshots, log) = bed.read(&[(1, 5), (2, 2), (9, 1)]).await;
    assert_eq!((snapshots.len(), log), (0, vec![(1, 6)]));
    let (snapshots, _) = bed.read(&[(1, 6)]).await;
    assert_eq!(snapshots.len(), 1, "lacks all of replica 2");
}

async fn a_snapshot_is_seen_by_who_reads_on(bed: Bed) {
    bed.fill(1, 1..=2).await;
    let after = bed.store.start(&bed.space, vector(&[(1, 2)])).await.expect("a start").after;
    bed.put(1, &[(2, 5)]).await;
    bed.fill(2, 6..=6).await;
    assert_eq!(bed.read_from(after, &[(1, 2)], 1).await, [(0, 0), (2, 6)]);
}

async fn parts_of_a_snapshot_come_in_pages(bed: Bed) {
    let parts: Vec<_> = (0..5).map(|index| part(1, index, 5, &[(1, 3)])).collect();
    for part in &parts {
        bed.store.put_snapshot(&bed.space, UploadId(1), part.clone()).await.expect("stored");
    }
    let key = bed.read(&[]).await.0[0].key;
    for limit in [1, 1000, 1 << 20] {
        let mut frames = Vec::new();
        loop {
            let page = bed.store.parts(&bed.space, key, frames.len() as u32, limit).await.expect("a page");
            let page = page.expect("the snapshot is there");
            assert!(!page.frames.is_empty());
            frames.extend(page.frames);
            if page.last {
                break;
            }
        }
        let sent: Vec<_> =
            parts.iter().map(|part| RelayMessage::SnapshotPart(part.clone()).encode()).collect();
        assert_eq!(frames, sent, "with pages of {limit} bytes");
    }
    assert_eq!(bed.store.parts(&space("s"), key + 1, 0, 1).await.expect("an answer"), None);
}

async fn a_part_out_of_place_drops_its_upload(bed: Bed) {
    let put = |part| bed.store.put_snapshot(&bed.space, UploadId(1), part);
    let out_of_place = |answer| assert!(matches!(answer, Err(LogError::Snapshot(_))), "{answer:?}");
    out_of_place(put(part(1, 1, 3, &[(1, 3)])).await);
    put(part(1, 0, 3, &[(1, 3)])).await.expect("the first part");
    out_of_place(put(part(1, 2, 3, &[(1, 3)])).await);
    out_of_place(put(part(1, 1, 3, &[(1, 3)])).await);
    put(part(1, 0, 3, &[(1, 3)])).await.expect("begun anew");
    out_of_place(put(part(2, 1, 3, &[(1, 3)])).await);
    put(part(1, 0, 3, &[(1, 3)])).await.expect("begun anew");
    out_of_place(put(part(1, 1, 3, &[(1, 4)])).await);
    // A first part drops what was begun before.
    put(part(1, 0, 3, &[(1, 3)])).await.expect("begun");
    put(part(2, 0, 2, &[(1, 2)])).await.expect("begun anew");
    assert!(put(part(2, 1, 2, &[(1, 2)])).await.expect("the last part"));
    assert_eq!(bed.heads().await, vector(&[(1, 2)]));
}

async fn uploads_are_bounded(bed: Bed) {
    let put =
        |upload, index| bed.store.put_snapshot(&bed.space, UploadId(upload), part(1, index, 99, &[(1, 3)]));
    let mut stored = 0;
    let refused = loop {
        match put(1, stored).await {
            Ok(_) => stored += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, LogError::SnapshotTooLarge { limit: 10_000 }), "{refused:?}");
    assert!((8..=12).contains(&stored), "{stored} parts of about 900 bytes");
    // The refused one no longer counts: another has all of the room, and two have it between them.
    for index in 0..stored {
        put(2, index).await.expect("there is room");
    }
    let mut index = 0;
    let refused = loop {
        match put(3, index).await {
            Ok(_) => index += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, LogError::UploadsFull), "{refused:?}");
}

async fn an_upload_ends_with_its_connection(bed: Bed) {
    let put = |index| bed.store.put_snapshot(&bed.space, UploadId(1), part(1, index, 2, &[(1, 3)]));
    put(0).await.expect("begun");
    bed.store.end_upload(UploadId(1)).await.expect("ended");
    assert!(matches!(put(1).await, Err(LogError::Snapshot(_))));
}

async fn subscribers_hear_of_every_append(bed: Bed) {
    bed.fill(1, 1..=2).await;
    let mut grown = bed.store.subscribe(&bed.space).await.expect("subscribed");
    let before = *grown.borrow_and_update();
    assert_eq!(bed.read_from(before, &[], 1 << 20).await, []);
    bed.fill(1, 3..=3).await;
    grown.changed().await.expect("it grew");
    let first = *grown.borrow_and_update();
    assert!(first > before);
    bed.put(1, &[(2, 1)]).await;
    grown.changed().await.expect("it grew");
    let second = *grown.borrow_and_update();
    assert!(second > first);
    let late = bed.store.subscribe(&bed.space).await.expect("subscribed");
    assert_eq!(*late.borrow(), second);
    // Neither a duplicate nor a refusal is news.
    bed.fill(1, 1..=3).await;
    assert!(bed.append(vec![changeset(1, 9)]).await.is_err());
    bed.store.ready().await.expect("ready");
    assert!(!grown.has_changed().expect("open"));
}

async fn a_reader_who_claims_the_impossible_gets_nothing_and_breaks_nothing(bed: Bed) {
    bed.fill(1, 1..=2).await;
    let (snapshots, log) = bed.read(&[(1, Seq::MAX), (7, Seq::MAX)]).await;
    assert_eq!((snapshots.len(), log), (0, vec![]));
}

async fn a_closed_store_says_so(bed: Bed) {
    bed.store.ready().await.expect("ready");
    bed.store.close().await;
    assert!(matches!(bed.store.ready().await, Err(LogError::Closed)));
    assert!(matches!(bed.append(vec![changeset(1, 1)]).await, Err(LogError::Closed)));
}

/// What only a store on disk can be asked.
mod on_disk {
    use super::*;

    fn open(folder: &TempDir) -> Result<SqliteStore, Error> {
        SqliteStore::open(folder.path(), LIMITS)
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_there_after_a_kill() {
        let folder = TempDir::new().expect("a folder");
        let bed = Bed::with(Arc::new(open(&folder).expect("opens")), None).await;
        bed.fill(1, 1..=50).await;
        bed.put(1, &[(2, 4)]).await;
        bed.store.put_snapshot(&bed.space, UploadId(5), part(5, 0, 2, &[(3, 3)])).await.expect("begun");
        bed.store.kill();
        let bed = Bed::with(Arc::new(open(&folder).expect("opens")), None).await;
        let db = rusqlite::Connection::open(folder.path().join("relay.db")).expect("opens");
        let left = "SELECT (SELECT count(*) FROM snapshot), (SELECT count(*) FROM snapshot_part)";
        let left: (i64, i64) = db.query_row(left, [], |row| Ok((row.get(0)?, row.get(1)?))).expect("counted");
        assert_eq!(left, (1, 2), "the unfinished upload is cleared away");
        assert_eq!(bed.heads().await, vector(&[(1, 50), (2, 4)]));
        assert_eq!(bed.read(&[]).await.1.len(), 51, "50 changesets and where the snapshot became active");
        // Numbers of uploads begin again with the process: the new number 5 is not the old one.
        let second = bed.store.put_snapshot(&bed.space, UploadId(5), part(5, 1, 2, &[(3, 3)])).await;
        assert!(matches!(second, Err(LogError::Snapshot(_))), "an unfinished upload outlived the process");
        bed.fill(1, 51..=51).await;
    }

    #[tokio::test]
    async fn offsets_go_on_after_a_restart() {
        let folder = TempDir::new().expect("a folder");
        let bed = Bed::with(Arc::new(open(&folder).expect("opens")), None).await;
        bed.fill(1, 1..=3).await;
        let before = *bed.store.subscribe(&bed.space).await.expect("subscribed").borrow();
        bed.store.close().await;
        let bed = Bed::with(Arc::new(open(&folder).expect("opens")), None).await;
        let grown = bed.store.subscribe(&bed.space).await.expect("subscribed");
        assert_eq!(*grown.borrow(), before);
        bed.fill(1, 4..=4).await;
        assert!(*grown.borrow() > before);
    }

    #[tokio::test]
    async fn a_folder_has_one_relay_at_a_time() {
        let folder = TempDir::new().expect("a folder");
        let first = open(&folder).expect("opens");
        match open(&folder) {
            Err(Error::Locked(path)) => assert_eq!(path, folder.path()),
            other => panic!("{other:?}"),
        }
        drop(first);
        open(&folder).expect("free again");
    }

    #[test]
    fn a_file_that_is_not_a_log_is_named_and_left_alone() {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("relay.db");
        let garbage = b"this is not a database, and long enough to have a header of one hundred bytes, which it has not";
        std::fs::write(&path, garbage.repeat(50)).expect("written");
        let error = open(&folder).expect_err("garbage");
        assert!(matches!(error, Error::Foreign { .. }), "{error:?}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert_eq!(std::fs::read(&path).expect("read"), garbage.repeat(50));

        std::fs::remove_file(&path).expect("removed");
        let other = rusqlite::Connection::open(&path).expect("opens");
        other.execute_batch("CREATE TABLE mine (a)").expect("made");
        drop(other);
        let error = open(&folder).expect_err("another program's");
        assert!(matches!(error, Error::Foreign { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_log_of_a_newer_relay_or_cut_short_is_refused() {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("relay.db");
        let bed = Bed::with(Arc::new(open(&folder).expect("opens")), None).await;
        bed.append((1..=20).map(|s| large_changeset(1, s, 5000)).collect()).await.expect("stored");
        bed.store.close().await;
        let whole = std::fs::read(&path).expect("read");
        std::fs::write(&path, &whole[..whole.len() / 2]).expect("written");
        let error = open(&folder).expect_err("cut short");
        assert!(matches!(error, Error::Store { .. }), "{error:?}");
        std::fs::write(&path, &whole).expect("written");
        let db = rusqlite::Connection::open(&path).expect("opens");
        db.pragma_update(None, "user_version", 2).expect("set");
        drop(db);
        assert!(matches!(open(&folder), Err(Error::Format { found: 2, known: 1, .. })));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn nothing_is_acknowledged_into_a_file_that_was_removed() {
        let folder = TempDir::new().expect("a folder");
        let bed = Bed::with(Arc::new(open(&folder).expect("opens")), None).await;
        bed.fill(1, 1..=1).await;
        std::fs::remove_file(folder.path().join("relay.db")).expect("removed");
        let answer = bed.append(vec![changeset(1, 2)]).await;
        assert!(matches!(answer, Err(LogError::FileGone)), "{answer:?}");
    }

    #[tokio::test]
    async fn many_who_append_at_once_all_get_their_answer() {
        let folder = TempDir::new().expect("a folder");
        let bed = Arc::new(Bed::with(Arc::new(open(&folder).expect("opens")), None).await);
        let writers = (1..=50).map(|r| {
            let bed = Arc::clone(&bed);
            tokio::spawn(async move {
                for s in 1..=20 {
                    bed.fill(r, s..=s).await;
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.expect("no panic");
        }
        assert_eq!(bed.read(&[]).await.1.len(), 1000);
    }
}
