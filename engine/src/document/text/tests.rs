//! Text documents: two people in one paragraph, long texts, and what is refused.

use super::*;
use driftless_protocol::{Collation, Value};
use proptest::prelude::*;

/// Who has items in an update.
fn writers(update: &[u8]) -> Vec<WriterId> {
    validate::text_update(update).expect("valid").writers().collect()
}

fn writer(id: u64) -> WriterId {
    WriterId::new(id).expect("a writer id")
}

fn key(id: &str) -> RowKey {
    RowKey::encode([(&Value::text(id), Collation::Binary)]).expect("a key")
}

/// One copy of a document.
#[derive(Debug, Clone, Default)]
struct Copy {
    parts: Vec<Vec<u8>>,
}

impl Copy {
    fn seeded(content: &str) -> Self {
        Self { parts: vec![seed("notes", &key("n1"), "body", content).1] }
    }

    fn parts(&self) -> Vec<&[u8]> {
        self.parts.iter().map(|part| &part[..]).collect()
    }

    fn content(&self) -> String {
        content(&self.parts()).expect("reads")
    }

    /// Types; the update.
    fn write(&mut self, by: u64, new: &str) -> Vec<u8> {
        let written = write(&self.parts(), writer(by), new).expect("writes").expect("something changed");
        self.parts.push(written.update.clone());
        assert_eq!(self.content(), new);
        written.update
    }

    fn merge(&mut self, update: &[u8]) {
        if let Some(merged) = merge(&self.parts(), update).expect("merges") {
            let whole = content(&[&merged.document]).expect("reads");
            self.parts.push(merged.update);
            assert_eq!((&whole, &self.content()), (&merged.content, &merged.content));
        }
    }
}

/// What comes of two people who make `old` into `a` and `b`, apart from each other.
#[track_caller]
fn both(old: &str, a: &str, b: &str) -> String {
    let (mut left, mut right) = (Copy::seeded(old), Copy::seeded(old));
    assert_eq!(left.parts, right.parts, "found apart, it is the same document");
    let (of_left, of_right) = (left.write(8, a), right.write(9, b));
    left.merge(&of_right);
    right.merge(&of_left);
    assert_eq!(left.content(), right.content());
    assert_eq!(compact(&left.parts()).expect("reads"), compact(&right.parts()).expect("reads"));
    left.content()
}

#[test]
fn two_people_in_one_paragraph_both_have_their_edits() {
    let old = "The quick brown fox jumps over the lazy dog.";
    let merged = both(old, &old.replace("quick", "slow"), &old.replace("lazy", "sleepy"));
    assert_eq!(merged, "The slow brown fox jumps over the sleepy dog.");
    let merged = both(old, &format!("{old} It sleeps."), &format!("Look! {old}"));
    assert_eq!(merged, "Look! The quick brown fox jumps over the lazy dog. It sleeps.");
}

#[test]
fn what_two_people_write_in_place_of_the_same_word_is_there_whole_and_once() {
    let merged = both("a big dog", "a small dog", "a huge dog");
    assert!(["a smallhuge dog", "a hugesmall dog"].contains(&&merged[..]), "{merged}");
}

#[test]
fn what_two_people_insert_in_one_place_stands_side_by_side() {
    let merged = both("ab", "a one b", "a two b");
    assert!(["a one  two b", "a two  one b"].contains(&&merged[..]), "{merged}");
    let merged = both("", "first", "second");
    assert!(["firstsecond", "secondfirst"].contains(&&merged[..]), "{merged}");
}

#[test]
fn what_is_typed_into_a_paragraph_that_another_deletes_stays() {
    let old = "One.\nTwo and two.\nThree.\n";
    let merged = both(old, "One.\nThree.\n", &old.replace("and", "and, surely,"));
    assert_eq!(merged, "One.\n, surely,Three.\n");
    assert_eq!(both("gone", "", "gone \u{1f980}"), " \u{1f980}");
}

proptest! {
    /// Runs that are inserted are told apart by their letters, which the old text has none of.
    #[test]
    fn no_run_that_anybody_inserts_is_lost_or_doubled(
        old in "[a-f \n]{0,40}",
        edits in prop::collection::vec((0..3usize, any::<prop::sample::Index>(), 0..12usize, any::<bool>()), 1..16),
    ) {
        let mut copies = vec![Copy::seeded(&old); 3];
        let mut sent: Vec<(usize, Vec<u8>)> = Vec::new();
        let mut read = [0; 3];
        for (n, (who, at, removed, reads)) in edits.iter().enumerate() {
            let copy = &mut copies[*who];
            if *reads {
                for (from, update) in &sent[read[*who]..] {
                    if from != who {
                        copy.merge(update);
                    }
                }
                read[*who] = sent.len();
            }
            let mut text: Vec<char> = copy.content().chars().collect();
            let from = at.index(text.len() + 1);
            let until = (from + removed).min(text.len());
            // Nothing that somebody inserted is deleted again.
            let until = (from..until).find(|&at| !text[at].is_ascii() || text[at].is_ascii_uppercase()).unwrap_or(until);
            let run = char::from_u32(0x1f980 + n as u32).expect("a char");
            text.splice(from..until, ['[', run, ']'].map(|c| if c == run { c } else { run }));
            let update = copy.write(10 + *who as u64, &text.into_iter().collect::<String>());
            sent.push((*who, update));
        }
        for (who, copy) in copies.iter_mut().enumerate() {
            for (from, update) in &sent[read[who]..] {
                if *from != who {
                    copy.merge(update);
                }
            }
            // And again: nothing is new.
            for (_, update) in &sent {
                prop_assert!(merge(&copy.parts(), update).expect("merges").is_none());
            }
        }
        let content = copies[0].content();
        for copy in &copies[1..] {
            prop_assert_eq!(&copy.content(), &content);
        }
        for n in 0..edits.len() {
            let run = char::from_u32(0x1f980 + n as u32).expect("a char");
            prop_assert_eq!(content.chars().filter(|&char| char == run).count(), 3, "run {}: {}", n, content);
        }
    }

    #[test]
    fn any_text_can_become_any_other(texts in prop::collection::vec(any::<String>(), 1..6)) {
        let mut copy = Copy::seeded(&texts[0]);
        let mut reader = copy.clone();
        prop_assert_eq!(copy.content(), &texts[0][..]);
        for (n, text) in texts.iter().enumerate() {
            if *text == copy.content() {
                prop_assert!(write(&copy.parts(), writer(7), text).expect("writes").is_none());
            } else {
                let update = copy.write(1 + n as u64 % 2, text);
                reader.merge(&update);
            }
            prop_assert_eq!(&reader.content(), text);
        }
        let whole = compact(&copy.parts()).expect("compacts");
        prop_assert_eq!(content(&[&whole]).expect("reads"), copy.content());
        prop_assert!(validate::text_update(&whole).is_ok_and(|facts| facts.is_self_contained()));
    }
}

#[test]
fn a_seed_has_the_bytes_that_yrs_would_write() {
    let (writer, update) = seed("notes", &key("n1"), "body", "a \u{1f980}");
    let doc = Doc::with_client_id(writer.get());
    let text = doc.get_or_insert_text(TEXT_ROOT);
    text.insert(&mut doc.transact_mut(), 0, "a \u{1f980}");
    assert_eq!(update, doc.transact().encode_state_as_update_v1(&StateVector::default()));
}

#[test]
fn seeds_differ_by_all_that_they_are_drawn_from() {
    let seeds = [
        seed("notes", &key("n1"), "body", "a"),
        seed("notes", &key("n1"), "body", "b"),
        seed("notes", &key("n1"), "title", "a"),
        seed("notes", &key("n2"), "body", "a"),
        seed("tags", &key("n1"), "body", "a"),
    ];
    let drawn: std::collections::BTreeSet<WriterId> = seeds.iter().map(|(writer, _)| *writer).collect();
    assert_eq!(drawn.len(), seeds.len());
    assert_eq!(writers(&seeds[0].1), [seeds[0].0]);
}

#[test]
fn an_empty_text_is_a_document_like_any_other() {
    let (_, update) = seed("notes", &key("n1"), "body", "");
    assert!(writers(&update).is_empty());
    assert_eq!(content(&[&update]).expect("reads"), "");
    assert_eq!(content(&[]).expect("reads"), "");
    assert!(merge(&[], &update).expect("merges").is_none());
    assert_eq!(compact(&[&update]).expect("compacts"), update);
    assert_eq!(both("", "a", "a\u{1f980}").chars().filter(|&char| char == 'a').count(), 2);
}

#[test]
fn an_update_whose_predecessor_is_missing_is_refused_and_changes_nothing() {
    let mut author = Copy::seeded("one");
    let first = author.write(1, "one two");
    let second = author.write(1, "one two three");
    let deleting = author.write(2, "two three");
    assert!(matches!(merge(&[], &first), Err(TextDocError::Pending)));
    let reader = Copy::seeded("one");
    assert!(matches!(merge(&reader.parts(), &second), Err(TextDocError::Pending)));
    assert!(matches!(merge(&Copy::seeded("two").parts(), &deleting), Err(TextDocError::Pending)));
    assert_eq!(reader.content(), "one");
}

#[test]
fn an_update_that_the_validator_refuses_is_refused() {
    let copy = Copy::seeded("one");
    for bad in [&[][..], &[1], &[1, 1, 1, 0, 0x84, 1, 1], &[0, 1, 1, 1, 0, 0]] {
        assert!(matches!(merge(&copy.parts(), bad), Err(TextDocError::Invalid(_))), "{bad:?}");
    }
}

/// A megabyte of prose, a paragraph a line.
fn prose() -> String {
    let words =
        ["lorem", "ipsum", "dolor", "sit", "amet", "consetetur", "sadipscing", "elitr", "sed", "diam"];
    let mut dice = fastrand::Rng::with_seed(1);
    let mut text = String::new();
    while text.len() < 1_000_000 {
        for _ in 0..90 {
            text.push_str(words[dice.usize(..words.len())]);
            text.push(' ');
        }
        text.push('\n');
    }
    text
}

#[test]
fn one_word_changed_in_a_megabyte_is_a_small_update() {
    let old = prose();
    let at = old[500_000..].find(" dolor ").expect("a word") + 500_000;
    let new = format!("{} changed {}", &old[..at], &old[at + 7..]);
    let mut copy = Copy::seeded(&old);
    let update = copy.write(5, &new);
    assert!(update.len() < 200, "{} bytes", update.len());
    let mut reader = Copy::seeded(&old);
    reader.merge(&update);
    assert_eq!(reader.content(), new);
}

#[test]
fn an_edit_by_sql_of_a_long_text_stays_well_below_what_others_refuse() {
    let old = prose();
    let update = Copy::seeded(&old).write(5, &old.replace("dolor", "changed"));
    let mut reader = Copy::seeded(&old);
    // The same writer's text has become twice as long elsewhere.
    let (_, seed) = seed("notes", &key("n1"), "body", &old);
    let doc = load(&[&seed], writers(&seed).first().copied()).expect("loads");
    doc.1.insert(&mut doc.0.transact_mut(), old.len() as u32, &old);
    reader.parts = vec![doc.0.transact().encode_state_as_update_v1(&StateVector::default())];
    reader.merge(&update);
    assert_eq!(reader.content().matches("changed").count(), old.matches("dolor").count());
}

#[test]
fn a_text_edited_in_thousands_of_places_is_still_merged_and_sent() {
    let mut copy = Copy::seeded(&prose());
    for n in 0..8 {
        let old = copy.content();
        let (doc, text) = load(&copy.parts(), writer(5)).expect("loads");
        let mut txn = doc.transact_mut();
        let edits = (0..500)
            .flat_map(|n| [Delta::Retain(1500 + n % 7, None), Delta::Inserted(Inserted("new"), None)]);
        text.apply_delta(&mut txn, edits);
        let update = txn.encode_update_v1();
        drop(txn);
        copy.merge(&update);
        assert_eq!(copy.content().len(), old.len() + 1500, "round {n}");
    }
    let whole = compact(&copy.parts()).expect("reads");
    assert!(validate::text_update(&whole).expect("is accepted").items() > 4_000);
}
