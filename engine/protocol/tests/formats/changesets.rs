//! Changesets and parts of snapshots.

use std::collections::BTreeMap;

use driftless_protocol::changeset::{BodyBuilder, Document};
use driftless_protocol::lane::MAX_COLUMN_BYTES;
use driftless_protocol::{Changeset, Collation, FrameError, RowKey, SnapshotPart, Value};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::damage::damage;
use crate::forged::{forge, plain_body};
use crate::strategies::{Rows, build, header, rows, snapshot};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn bodies_round_trip_through_a_changeset((authors, rows) in rows(), header in header()) {
        let body = build(&authors, &rows);
        let sealed = Changeset::seal(header.clone(), &body);
        let parsed = Changeset::from_bytes(sealed.bytes().clone()).expect("parses");
        prop_assert_eq!(&parsed.header, &header);
        prop_assert_eq!(parsed.checksum(), sealed.checksum());
        let opened = parsed.body().expect("opens");
        prop_assert_eq!(&opened, &body);
        let (read_authors, updates) = opened.open().expect("opens");
        prop_assert_eq!(read_authors.into_iter().collect::<BTreeMap<_, _>>(), authors);
        let updates: Rows = updates
            .map(|row| {
                row.map(|row| {
                    let column = match row.document {
                        Document::Row => None,
                        Document::Text(column) => Some(column.to_owned()),
                    };
                    (row.table.to_owned(), row.key, column, row.update.to_vec())
                })
            })
            .collect::<Result<_, _>>()
            .expect("reads");
        prop_assert_eq!(updates, rows);
    }

    #[test]
    fn a_text_document_names_a_folded_column(column in "[a-zé]{0,2}[A-Z]?", long in any::<bool>()) {
        let column = if long { column.repeat(600) } else { column };
        let mut body = BodyBuilder::new();
        let key = RowKey::encode([(&Value::Integer(7), Collation::Binary)]).expect("a key");
        body.text("notes", &key, &column, &[0, 0]);
        let body = body.finish();
        let (_, mut updates) = body.open().expect("opens");
        let read = updates.next().expect("one update");
        let folded = column.bytes().all(|b| !b.is_ascii_uppercase());
        if !column.is_empty() && column.len() <= MAX_COLUMN_BYTES && folded {
            prop_assert_eq!(read.expect("reads").document, Document::Text(&column));
        } else {
            prop_assert!(matches!(read, Err(FrameError::Body(_))));
        }
    }

    #[test]
    fn a_damaged_changeset_or_snapshot_part_is_refused(
        (authors, rows) in rows(), header in header(), part in snapshot(), damage in damage(),
    ) {
        let changeset = Changeset::seal(header, &build(&authors, &rows));
        prop_assert!(Changeset::from_bytes(damage.to(changeset.bytes()).into()).is_err());
        prop_assert!(SnapshotPart::from_bytes(damage.to(part.bytes()).into()).is_err());
        // And neither is taken for the other.
        prop_assert!(SnapshotPart::from_bytes(changeset.bytes().clone()).is_err());
        prop_assert!(Changeset::from_bytes(part.bytes().clone()).is_err());
    }

    #[test]
    fn a_damaged_body_under_a_right_checksum_never_panics(
        (authors, rows) in rows(), header in header(), damages in vec(damage(), 0..4),
    ) {
        let mut plain = plain_body(&Changeset::seal(header, &build(&authors, &rows)));
        for damage in &damages {
            if !plain.is_empty() {
                plain = damage.to(&plain);
            }
        }
        let changeset = Changeset::from_bytes(forge(&plain, plain.len() as u64)).expect("a right checksum");
        if let Ok((_, updates)) = changeset.body().expect("decompresses").open() {
            // Ends at the first error.
            let errors = updates.skip_while(Result::is_ok).count();
            prop_assert!(errors <= 1);
        }
    }
}
