//! Text documents.

use std::time::{Duration, Instant};

use driftless_protocol::WriterId;
use driftless_protocol::canonical::Writer;
use driftless_protocol::lane::TEXT_ROOT;
use driftless_protocol::validate::{self, InvalidUpdate};
use yrs::updates::decoder::Decode;
use yrs::{Doc, ReadTxn, StateVector, Text, Transact, Update};

use crate::dice::Dice;
use crate::layout::{Content, Layout, mangle};
use crate::{gate, on_a_small_stack};

const PIECES: [&str; 6] =
    ["a", "bc", "é", "\u{1f980}", "long enough to be cut in two or three", "x\u{1f980}y"];

/// An offset between two characters, in UTF-16 code units.
fn boundary(text: &str, dice: &mut Dice) -> u32 {
    let chars = dice.below(text.chars().count() + 1);
    text.chars().take(chars).map(|c| c.len_utf16() as u32).sum()
}

/// Several people typing into copies of one text, and exchanging now and then. Everything that yrs wrote.
pub(crate) fn session(dice: &mut Dice) -> Vec<Vec<u8>> {
    let mut written = Vec::new();
    let ids = [1, 2, 0x1234_5678_9abc, (1 << 53) - 1];
    let mut copies: Vec<(Doc, u64)> =
        (0..1 + dice.below(4)).map(|at| (gate::document_of(ids[at]), ids[at])).collect();
    for _ in 0..2 + dice.below(24) {
        let at = dice.below(copies.len());
        let (doc, id) = copies[at].clone();
        match dice.below(8) {
            0..=4 => {
                let text = doc.get_or_insert_text(TEXT_ROOT);
                let now = gate::text(&doc);
                let (a, b) = (boundary(&now, dice), boundary(&now, dice));
                let mut txn = doc.transact_mut();
                if dice.one_in(3) && a != b {
                    text.remove_range(&mut txn, a.min(b), a.max(b) - a.min(b));
                } else {
                    text.insert(&mut txn, a, dice.pick::<&str>(&PIECES));
                }
                written.push(txn.encode_update_v1());
                written.push(txn.encode_state_as_update_v1(&StateVector::default()));
            }
            5 | 6 => {
                let other = copies[dice.below(copies.len())].0.clone();
                let vector = doc.transact().state_vector();
                let diff = other.transact().encode_diff_v1(&vector);
                let mut txn = doc.transact_mut();
                txn.apply_update(Update::decode_v1(&diff).expect("an update")).expect("applies");
                written.push(txn.encode_update_v1());
                written.push(diff);
            }
            _ => {
                let fresh = gate::document_of(id);
                gate::apply(&fresh, &gate::state(&doc));
                copies[at].0 = fresh;
            }
        }
        written.push(gate::state(&doc));
    }
    written
}

#[test]
fn whatever_yrs_writes_of_text_documents_is_accepted() {
    on_a_small_stack(Duration::from_secs(10), |case| {
        for seed in 0..400 {
            let written = session(&mut Dice::new(seed));
            let bases = [written[written.len() - 1].clone()];
            for (at, update) in written.iter().enumerate() {
                case(format!("seed {seed}, update {at}"), update);
                if let Err(error) = validate::text_update(update) {
                    panic!("seed {seed}: refused as {error}: {:?}", Layout::read(update));
                }
                assert!(gate::text_update(update, &bases));
            }
            let (doc, copy) = (gate::document(), gate::document());
            written.iter().for_each(|update| gate::apply(&doc, update));
            written.iter().rev().for_each(|update| gate::apply(&copy, update));
            assert_eq!(gate::text(&doc), gate::text(&copy), "seed {seed}: the order does not matter");
        }
    });
}

#[test]
fn whatever_is_accepted_of_text_documents_leaves_yrs_alive() {
    on_a_small_stack(Duration::from_secs(10), |case| {
        let (mut accepted, mut refused) = (0u64, 0u64);
        let contents: Vec<Vec<u8>> = PIECES.iter().map(|piece| piece.as_bytes().to_vec()).collect();
        for seed in 0..5_000 {
            let dice = &mut Dice::new(seed);
            let written = session(dice);
            let bases = [dice.pick(&written).clone(), written[written.len() - 1].clone()];
            for _ in 0..8 {
                let mut update = dice.pick(&written).clone();
                if dice.one_in(3) {
                    for _ in 0..1 + dice.below(3) {
                        let other = dice.pick(&written).clone();
                        mangle(&mut update, dice, &other);
                    }
                } else {
                    let mut layout = Layout::read(&update);
                    for _ in 0..1 + dice.below(4) {
                        layout.mutate(dice, &contents);
                    }
                    update = layout.write();
                }
                case(format!("seed {seed}"), &update);
                if gate::text_update(&update, &bases) { accepted += 1 } else { refused += 1 }
            }
        }
        println!("{accepted} accepted, {refused} refused");
        assert!(accepted > 5_000 && refused > 5_000, "{accepted} accepted, {refused} refused");
    });
}

#[test]
fn accepted_text_updates_in_any_number_and_order_leave_yrs_alive() {
    on_a_small_stack(Duration::from_secs(10), |case| {
        for seed in 0..1_500 {
            let dice = &mut Dice::new(seed ^ 0xfeed);
            let written = session(dice);
            let mut doc = gate::document();
            for _ in 0..12 {
                let mut layout = Layout::read(dice.pick::<Vec<u8>>(&written));
                for _ in 0..dice.below(3) {
                    layout.mutate(dice, &[b"new".to_vec()]);
                }
                let update = layout.write();
                let Ok(facts) = validate::text_update(&update) else { continue };
                if !gate::covers(&doc, facts.needs()) {
                    continue;
                }
                case(format!("seed {seed}"), &update);
                gate::apply(&doc, &update);
                gate::text(&doc);
                if !gate::is_whole_text(&gate::state(&doc)) {
                    doc = gate::document();
                }
            }
        }
    });
}

fn writer(id: u64) -> WriterId {
    WriterId::new(id).expect("a writer")
}

/// Writer 1 wrote "a🦀b".
fn sample() -> Layout {
    let doc = gate::document_of(1);
    let text = doc.get_or_insert_text(TEXT_ROOT);
    let mut txn = doc.transact_mut();
    text.insert(&mut txn, 0, "a\u{1f980}b");
    Layout::read(&txn.encode_update_v1())
}

#[test]
fn a_character_is_never_cut_in_two_within_one_update() {
    for (range, cut) in [((1, 2), false), ((0, 2), true), ((2, 1), true), ((2, 2), true), ((3, 1), false)] {
        let mut layout = sample();
        layout.deletions = vec![(1, vec![range])];
        let result = validate::text_update(&layout.write()).map(drop);
        let expected = if cut { Err(InvalidUpdate::CutCharacter(writer(1))) } else { Ok(()) };
        assert_eq!(result, expected, "{range:?}");
    }
    for (left, right, cut) in [(Some(0), None, false), (Some(1), None, true), (None, Some(2), true)] {
        let mut layout = sample();
        let mut item = layout.runs[0].items[0].clone();
        item.info = 4 | if left.is_some() { 0x80 } else { 0x40 };
        (item.left, item.right, item.place) = (left.map(|at| (1, at)), right.map(|at| (1, at)), None);
        layout.runs[0].items.push(item);
        let result = validate::text_update(&layout.write()).map(drop);
        let expected = if cut { Err(InvalidUpdate::CutCharacter(writer(1))) } else { Ok(()) };
        assert_eq!(result, expected, "{left:?} {right:?}");
    }
}

#[test]
fn items_that_wait_for_each_other_are_refused() {
    let mut layout = sample();
    let mut other = layout.runs[0].clone();
    other.client = 2;
    for (run, origin) in [(&mut other, (1, 0)), (&mut layout.runs[0], (2, 0))] {
        run.items[0].left = Some(origin);
        run.items[0].place = None;
        run.items[0].info = 0x84;
    }
    layout.runs.insert(0, other);
    assert!(matches!(validate::text_update(&layout.write()), Err(InvalidUpdate::Origin(_))));
}

#[test]
fn a_string_is_utf8_and_not_empty_and_there_is_nothing_but_strings() {
    let mut layout = sample();
    layout.runs[0].items[0].content = Content::Bytes(vec![0xff]);
    assert!(matches!(validate::text_update(&layout.write()), Err(InvalidUpdate::Bytes(_))));
    layout.runs[0].items[0].content = Content::Bytes(Vec::new());
    assert_eq!(validate::text_update(&layout.write()), Err(InvalidUpdate::Empty(writer(1))));
    for info in [0, 10, 2, 3, 5, 6, 7, 8, 9, 0x24, 0x14] {
        let mut layout = sample();
        layout.runs[0].items[0].info = info;
        assert_eq!(validate::text_update(&layout.write()), Err(InvalidUpdate::Kind(info)));
    }
    let mut layout = sample();
    layout.runs[0].items[0].place = Some((b"row".to_vec(), None));
    assert_eq!(validate::text_update(&layout.write()), Err(InvalidUpdate::Root(writer(1))));
}

#[test]
fn an_origin_elsewhere_is_needed() {
    let mut layout = sample();
    layout.runs[0].items[0].left = Some((7, 4));
    layout.runs[0].items[0].right = Some((1, 2));
    layout.runs[0].items[0].place = None;
    layout.runs[0].items[0].info = 0xc4;
    layout.runs[0].clock = 3;
    let bytes = layout.write();
    let facts = validate::text_update(&bytes).expect("accepted");
    assert_eq!(facts.needs(), [(writer(1), 3), (writer(7), 5)]);
    assert!(!facts.is_self_contained());
}

/// An update of one writer after the other; each writer's items are given.
fn update(runs: &[(u64, Vec<RawItem<'_>>)], deletions: &[(u64, u64)]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.varint(runs.len() as u64);
    for (client, items) in runs {
        writer.varint(items.len() as u64);
        writer.varint(*client);
        writer.varint(0);
        for (left, right, text) in items {
            writer.byte(4 | if left.is_some() { 0x80 } else { 0 } | if right.is_some() { 0x40 } else { 0 });
            for (client, clock) in left.iter().chain(right) {
                writer.varint(*client);
                writer.varint(*clock);
            }
            if left.is_none() && right.is_none() {
                writer.byte(1);
                writer.block(TEXT_ROOT.as_bytes());
            }
            writer.block(text.as_bytes());
        }
    }
    writer.varint(u64::from(!deletions.is_empty()));
    if !deletions.is_empty() {
        writer.varint(1);
        writer.varint(deletions.len() as u64);
        for (clock, len) in deletions {
            writer.varint(*clock);
            writer.varint(*len);
        }
    }
    writer.finish()
}

type RawItem<'a> = (Option<(u64, u64)>, Option<(u64, u64)>, &'a str);

/// Runs both sides of a limit: at `fits` yrs must be quick, at `exceeds` the validator must refuse, quickly.
fn limit(name: &'static str, fits: usize, exceeds: usize, make: fn(usize) -> Vec<u8>) {
    let big = make(exceeds);
    let start = Instant::now();
    assert!(validate::text_update(&big).is_err(), "{name}: {exceeds} should be refused");
    assert!(start.elapsed() < Duration::from_secs(5), "{name}: refusing took {:?}", start.elapsed());
    on_a_small_stack(Duration::from_secs(10), move |case| {
        let bytes = make(fits);
        case(format!("{name} with {fits}"), &[]);
        let start = Instant::now();
        let result = validate::text_update(&bytes).map(drop);
        assert_eq!(result, Ok(()), "{name}: {fits} should be accepted");
        let checked = start.elapsed();
        let doc = gate::document();
        gate::apply(&doc, &bytes);
        gate::text(&doc);
        println!(
            "{name} with {fits}: {} bytes, checked in {checked:?}, applied in {:?}",
            bytes.len(),
            start.elapsed() - checked
        );
    });
}

/// 20,000 overflowed a stack of 2 MB: yrs passes over writers without items by recursion.
#[test]
fn a_long_chain_of_writers_does_not_overflow_the_stack() {
    limit("a chain of writers", 8_000, 9_000, |n| {
        let item = |client| (client > 1).then(|| (client - 1, 0));
        let runs: Vec<_> =
            (1..=n as u64).rev().map(|client| (client, vec![(item(client), None, "a")])).collect();
        update(&runs, &[])
    });
}

/// 16,000 took a minute: yrs hashes client ids with the identity.
#[test]
fn ids_that_collide_in_hash_tables_are_refused() {
    limit("colliding ids", 200, 4_000, |n| {
        let runs: Vec<_> =
            (1..=n as u64).rev().map(|client| (client << 30, vec![(None, None, "a")])).collect();
        update(&runs, &[])
    });
    limit("random ids", 16_000, 40_000, |n| {
        let mut ids: Vec<u64> = (1..=n as u64).map(|at| Dice::new(at).bits() >> 11).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        let runs: Vec<_> = ids.into_iter().map(|client| (client, vec![(None, None, "a")])).collect();
        update(&runs, &[])
    });
}

/// 8,000 took ten seconds: items with one origin and different right origins are compared with each other.
#[test]
fn a_crowd_of_items_in_one_place_is_refused() {
    limit("a crowd", 1_000, 4_000, |n| {
        let n = n as u64;
        let line = (0..n).map(|at| (at.checked_sub(1).map(|before| (1, before)), None, "a"));
        let crowd = (0..n).map(|at| (None, Some((1, n - 1 - at)), "b"));
        update(&[(1, line.chain(crowd).collect())], &[])
    });
}

/// 20,000 took 0.7 s, 100,000 13 s: the joined text is copied for every keystroke.
#[test]
fn keystrokes_not_yet_joined_are_limited() {
    limit("keystrokes", 16_000, 20_000, |n| {
        let items = (0..n as u64).map(|at| (at.checked_sub(1).map(|before| (1, before)), None, "a"));
        update(&[(1, items.collect())], &[])
    });
}

/// 5,000 cuts in a megabyte took 4 s: the rest of the string is copied for each.
#[test]
fn cuts_in_a_long_string_are_limited() {
    limit("cuts", 500, 1_000, |n| {
        let text = "a".repeat(1_000_000);
        let cuts = (1..n as u64).rev().map(|at| (Some((1, at * 900)), None, "b"));
        let items = std::iter::once((None, None, text.as_str())).chain(cuts);
        update(&[(1, items.collect())], &[])
    });
    limit("deletions", 250, 1_000, |n| {
        let text = "a".repeat(1_000_000);
        let deletions: Vec<_> = (1..n as u64).map(|at| (at * 900, 1)).collect();
        update(&[(1, vec![(None, None, text.as_str())])], &deletions)
    });
}

/// An update that is cheap by itself, and onto a document was cheap to send but not to apply: each item without origins
/// goes through all that is there.
#[test]
fn an_update_that_would_search_the_whole_document_for_each_item_is_refused() {
    let items = (0..10_000u64)
        .map(|at| (at.checked_sub(1).map(|before| (5, before)), (at > 0).then_some((9, 0)), "a"));
    let document = update(&[(9, vec![(None, None, "z")]), (5, items.collect())], &[]);
    assert!(validate::text_update(&document).is_ok());
    let searching = |n: usize| update(&[(7, vec![(None, None, "b"); n])], &[]);
    for n in [100, 1_000] {
        let update = searching(n);
        assert!(validate::text_update(&update).is_ok());
        let start = Instant::now();
        let fits = validate::text_update_onto(&document, &update);
        let expected = if n == 100 { Ok(()) } else { Err(InvalidUpdate::TooCostly) };
        assert_eq!(fits, expected, "{n} items");
        assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
        if fits.is_ok() {
            on_a_small_stack(Duration::from_secs(10), {
                let document = document.clone();
                move |case| {
                    case("searching".into(), &update);
                    let doc = gate::document();
                    gate::apply(&doc, &document);
                    gate::apply(&doc, &update);
                }
            });
        }
    }
}

#[test]
fn an_update_that_goes_beyond_a_document_or_cuts_its_characters_is_refused_onto_it() {
    let document = sample().write();
    let later = |left, clock| {
        let mut layout = sample();
        layout.runs[0].clock = clock;
        layout.runs[0].items[0].left = Some((1, left));
        layout.runs[0].items[0].place = None;
        layout.runs[0].items[0].info = 0x84;
        layout.write()
    };
    assert_eq!(validate::text_update_onto(&document, &later(3, 4)), Ok(()));
    assert_eq!(
        validate::text_update_onto(&document, &later(1, 4)),
        Err(InvalidUpdate::CutCharacter(writer(1)))
    );
    assert_eq!(validate::text_update_onto(&document, &later(3, 5)), Err(InvalidUpdate::Origin(writer(1))));
    assert_eq!(
        validate::text_update_onto(&document, &document),
        Ok(()),
        "what is known already is no matter"
    );
}

/// What yrs wrote in sessions is accepted onto every document that holds what it needs.
#[test]
fn whatever_yrs_writes_is_accepted_onto_what_it_goes_on_from() {
    on_a_small_stack(Duration::from_secs(10), |case| {
        let mut checked = 0;
        for seed in 0..150 {
            let written = session(&mut Dice::new(seed ^ 0xbeef));
            let documents: Vec<&Vec<u8>> =
                written.iter().filter(|update| gate::is_whole_text(update)).collect();
            for document in documents.iter().step_by(5) {
                let doc = gate::document();
                gate::apply(&doc, document);
                for update in &written {
                    let facts = validate::text_update(update).expect("accepted");
                    if gate::covers(&doc, facts.needs()) {
                        case(format!("seed {seed}"), update);
                        assert_eq!(validate::text_update_onto(document, update), Ok(()), "seed {seed}");
                        checked += 1;
                    }
                }
            }
        }
        assert!(checked > 5_000, "{checked}");
    });
}
