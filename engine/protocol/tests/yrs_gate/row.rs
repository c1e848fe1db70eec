//! Row documents.

use std::time::Duration;

use driftless_protocol::lane::{Cell, Lane, LaneName, ROW_ROOT};
use driftless_protocol::validate::{self, InvalidUpdate};
use driftless_protocol::{Value, WriterId};
use yrs::block::{ItemContent, Prelim, Unused};
use yrs::branch::BranchPtr;
use yrs::updates::decoder::Decode;
use yrs::{Doc, Map, ReadTxn, StateVector, Transact, TransactionMut, Update};

use crate::dice::Dice;
use crate::layout::{Content, Item, Layout, Run, mangle};
use crate::{gate, on_a_small_stack};

pub(crate) fn lane(number: u64) -> Vec<u8> {
    let cell = Cell {
        column: "title".into(),
        content: Value::Integer(number as i64).into(),
        time: 1,
        number,
        seen: Vec::new(),
    };
    Lane { cells: vec![cell], ..Lane::default() }.to_bytes()
}

/// A binary value of a map, as the engine writes its lanes.
pub(crate) struct Binary(pub(crate) Vec<u8>);

impl Prelim for Binary {
    type Return = Unused;

    fn into_content(self, _txn: &mut TransactionMut<'_>) -> (ItemContent, Option<Self>) {
        (ItemContent::Binary(self.0), None)
    }

    fn integrate(self, _txn: &mut TransactionMut<'_>, _inner_ref: BranchPtr) {}
}

/// Several writers with a copy each, writing, removing and exchanging for a while.
/// Everything that yrs wrote along the way.
pub(crate) fn session(dice: &mut Dice) -> Vec<Vec<u8>> {
    let mut written = Vec::new();
    let ids = [1, 2, 0x1234_5678_9abc, (1 << 53) - 1];
    let mut copies: Vec<(Doc, u64)> =
        (0..1 + dice.below(4)).map(|at| (gate::document_of(ids[at]), ids[at])).collect();
    for step in 0..2 + dice.below(24) {
        let at = dice.below(copies.len());
        let (doc, id) = copies[at].clone();
        match dice.below(8) {
            0..=3 => {
                let map = doc.get_or_insert_map(ROW_ROOT);
                let mut txn = doc.transact_mut();
                for _ in 0..1 + dice.below(3) {
                    let writer = WriterId::new(id).expect("a writer");
                    let mut name = LaneName::main(writer);
                    if dice.one_in(3) {
                        name.column = Some((*dice.pick(&["body", "image"])).into());
                    }
                    if dice.one_in(4) {
                        let keys: Vec<String> = map.keys(&txn).map(str::to_owned).collect();
                        if !keys.is_empty() {
                            map.remove(&mut txn, dice.pick::<String>(&keys));
                        }
                    } else {
                        map.insert(&mut txn, name.to_string(), Binary(lane(1 + step as u64)));
                    }
                }
                written.push(txn.encode_update_v1());
                written.push(txn.encode_state_as_update_v1(&StateVector::default()));
            }
            4 | 5 => {
                let other = copies[dice.below(copies.len())].0.clone();
                let vector = doc.transact().state_vector();
                let diff = other.transact().encode_diff_v1(&vector);
                let mut txn = doc.transact_mut();
                txn.apply_update(Update::decode_v1(&diff).expect("an update")).expect("applies");
                written.push(txn.encode_update_v1());
                written.push(txn.encode_state_as_update_v1(&StateVector::default()));
                written.push(diff);
            }
            6 => {
                // Loaded again from what was stored, as for every changeset.
                let fresh = gate::document_of(id);
                gate::apply(&fresh, &gate::state(&doc));
                copies[at].0 = fresh;
            }
            _ => {
                // Against a vector that may lie anywhere.
                let vector: StateVector = doc
                    .transact()
                    .state_vector()
                    .iter()
                    .map(|(&client, &clock)| (client, dice.below(clock as usize + 1) as u32))
                    .collect();
                written.push(doc.transact().encode_diff_v1(&vector));
            }
        }
        written.push(gate::state(&doc));
    }
    written
}

#[test]
fn whatever_yrs_writes_of_row_documents_is_accepted() {
    on_a_small_stack(Duration::from_secs(10), |case| {
        for seed in 0..400 {
            let written = session(&mut Dice::new(seed));
            let bases = [written[written.len() - 1].clone()];
            for (at, update) in written.iter().enumerate() {
                case(format!("seed {seed}, update {at}"), update);
                if let Err(error) = validate::row_update(update) {
                    panic!("seed {seed}: refused as {error}: {:?}", Layout::read(update));
                }
                assert!(gate::row(update, &bases));
            }
        }
    });
}

#[test]
fn whatever_is_accepted_of_row_documents_leaves_yrs_alive() {
    on_a_small_stack(Duration::from_secs(10), |case| {
        let (mut accepted, mut refused) = (0u64, 0u64);
        let contents: Vec<Vec<u8>> =
            vec![lane(1), lane(2), lane(u64::MAX >> 1), b"no lane".to_vec(), Vec::new()];
        for seed in 0..6_000 {
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
                if gate::row(&update, &bases) { accepted += 1 } else { refused += 1 }
            }
        }
        println!("{accepted} accepted, {refused} refused");
        assert!(accepted > 5_000 && refused > 5_000, "{accepted} accepted, {refused} refused");
    });
}

/// One update after the other onto one document, as the engine does it.
#[test]
fn accepted_updates_in_any_number_and_order_leave_yrs_alive() {
    on_a_small_stack(Duration::from_secs(10), |case| {
        for seed in 0..1_500 {
            let dice = &mut Dice::new(seed ^ 0xfeed);
            let written = session(dice);
            let mut doc = gate::document();
            for _ in 0..12 {
                let mut layout = Layout::read(dice.pick::<Vec<u8>>(&written));
                for _ in 0..dice.below(3) {
                    layout.mutate(dice, &[lane(7)]);
                }
                let update = layout.write();
                let Ok(facts) = validate::row_update(&update) else { continue };
                if !gate::covers(&doc, facts.needs()) {
                    continue;
                }
                case(format!("seed {seed}"), &update);
                gate::apply(&doc, &update);
                gate::lanes(&doc);
                if !gate::is_whole_row(&gate::state(&doc)) {
                    doc = gate::document();
                }
            }
        }
    });
}

fn refused(layout: &Layout) -> InvalidUpdate {
    validate::row_update(&layout.write()).expect_err("refused")
}

/// Two writes by writer 1, one under each of two names, then one that follows the first.
fn sample() -> Layout {
    let doc = gate::document_of(1);
    let map = doc.get_or_insert_map(ROW_ROOT);
    let mut txn = doc.transact_mut();
    map.insert(&mut txn, "1", Binary(lane(1)));
    map.insert(&mut txn, "1/body", Binary(lane(1)));
    map.insert(&mut txn, "1", Binary(lane(2)));
    Layout::read(&txn.encode_update_v1())
}

#[test]
fn a_sample_is_what_the_tests_below_think_it_is() {
    let layout = sample();
    assert_eq!(layout.runs.len(), 1);
    let left: Vec<_> = layout.runs[0].items.iter().map(|item| item.left).collect();
    assert_eq!(left, [None, None, Some((1, 0))]);
    assert!(validate::row_update(&layout.write()).is_ok());
}

fn writer(id: u64) -> WriterId {
    WriterId::new(id).expect("a writer")
}

#[test]
fn two_items_in_one_place_are_a_fork() {
    let mut layout = sample();
    let copy = layout.runs[0].items[2].clone();
    layout.runs[0].items.push(copy);
    assert_eq!(refused(&layout), InvalidUpdate::Fork(writer(1)));

    let mut layout = sample();
    let copy = layout.runs[0].items[0].clone();
    layout.runs[0].items.push(copy);
    assert_eq!(refused(&layout), InvalidUpdate::Fork(writer(1)));

    // The same with an origin that an earlier update brought.
    let mut layout = sample();
    layout.runs[0].clock = 5;
    let copy = layout.runs[0].items[2].clone();
    layout.runs[0].items.push(copy);
    assert_eq!(refused(&layout), InvalidUpdate::Fork(writer(1)));

    // Two that follow one whose own origin an earlier update brought.
    layout.runs[0].items[3].left = Some((1, 7));
    assert!(validate::row_update(&layout.write()).is_ok());
    let copy = layout.runs[0].items[3].clone();
    layout.runs[0].items.push(copy);
    assert_eq!(refused(&layout), InvalidUpdate::Fork(writer(1)));
}

#[test]
fn an_origin_inside_a_run_of_deleted_values_is_a_fork() {
    let mut layout = sample();
    layout.runs[0].items[0].info = 0x21;
    layout.runs[0].items[0].content = Content::Len(3);
    assert_eq!(refused(&layout), InvalidUpdate::Fork(writer(1)));
    layout.runs[0].items[2].left = Some((1, 2));
    assert!(validate::row_update(&layout.write()).is_ok());
}

#[test]
fn a_writer_writes_only_its_own_lanes() {
    let mut layout = sample();
    layout.runs[0].client = 2;
    assert_eq!(refused(&layout), InvalidUpdate::Foreign(writer(2)));
}

#[test]
fn origins_are_of_the_same_writer_and_lie_before() {
    for left in [(1, 2), (1, 3), (2, 0)] {
        let mut layout = sample();
        layout.runs[0].items[2].left = Some(left);
        assert_eq!(refused(&layout), InvalidUpdate::Origin(writer(1)), "{left:?}");
    }
}

#[test]
fn clocks_stay_below_two_to_the_31() {
    let mut layout = sample();
    layout.runs[0].clock = u64::from(validate::MAX_CLOCK) - 3;
    layout.runs[0].items[2].left = Some((1, 4));
    assert!(gate::row(&layout.write(), &[gate::state(&gate::document())]));
    layout.runs[0].clock += 1;
    assert_eq!(refused(&layout), InvalidUpdate::Clock(writer(1)));
}

#[test]
fn other_roots_other_keys_and_other_contents_are_refused() {
    let mut layout = sample();
    layout.runs[0].items[0].place = Some((b"rows".to_vec(), Some(b"1".to_vec())));
    assert_eq!(refused(&layout), InvalidUpdate::Root(writer(1)));

    let mut layout = sample();
    layout.runs[0].items[0].place = Some((b"row".to_vec(), Some(b"title".to_vec())));
    assert_eq!(refused(&layout), InvalidUpdate::Foreign(writer(1)));
    layout.runs[0].items[0].place = Some((b"row".to_vec(), Some(b"01".to_vec())));
    assert_eq!(refused(&layout), InvalidUpdate::Key(writer(1)));

    let mut layout = sample();
    layout.runs[0].items[0].content = Content::Bytes(b"x".to_vec());
    assert!(matches!(refused(&layout), InvalidUpdate::Lane(..)));

    for info in [0, 10, 0x20, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x31, 0x63, 0xc3, 0xe3, 0x93] {
        let mut layout = sample();
        layout.runs[0].items[0].info = info;
        assert_eq!(refused(&layout), InvalidUpdate::Kind(info));
    }
}

#[test]
fn deletions_are_canonical_and_their_writers_distinct() {
    for ranges in [vec![(0, 0)], vec![(3, 1), (1, 1)], vec![(0, 2), (1, 1)], vec![(0, 1), (1, 1)]] {
        let mut layout = sample();
        layout.deletions = vec![(1, ranges)];
        assert_eq!(refused(&layout), InvalidUpdate::Deletions(writer(1)));
    }
    let mut layout = sample();
    layout.deletions = vec![(1, vec![(0, 1)]), (2, vec![(0, 1)]), (1, vec![(2, 1)])];
    assert_eq!(refused(&layout), InvalidUpdate::RepeatedWriter(writer(1)));
    layout.deletions = vec![(1, Vec::new()), (2, vec![(0, 1)])];
    assert_eq!(refused(&layout), InvalidUpdate::Nothing(writer(1)));
}

#[test]
fn what_an_update_needs_is_what_makes_it_whole() {
    let needs = |layout: &Layout| {
        let bytes = layout.write();
        validate::row_update(&bytes).expect("accepted").needs().to_vec()
    };
    let mut layout = sample();
    layout.deletions.clear();
    assert_eq!(needs(&layout), []);
    layout.deletions = vec![(1, vec![(0, 3)])];
    assert_eq!(needs(&layout), []);
    layout.deletions = vec![(1, vec![(0, 4)]), (3, vec![(1, 1)])];
    assert_eq!(needs(&layout), [(writer(1), 4), (writer(3), 2)]);
    layout.runs[0].clock = 9;
    layout.runs[0].items[2].left = Some((1, 9));
    assert_eq!(needs(&layout), [(writer(1), 9), (writer(3), 2)]);
}

/// yrs 0.28 takes items whose predecessors are missing, without a word: nothing is pending, but what the
/// document writes from then on holds a Skip. Found while reading `Update::integrate`.
#[test]
fn a_gap_in_the_clocks_is_not_pending_in_yrs_but_needs_tells() {
    let mut layout = sample();
    layout.runs[0].clock = 9;
    layout.runs[0].items.truncate(2);
    layout.deletions.clear();
    let update = layout.write();
    let doc = gate::document();
    let facts = validate::row_update(&update).map(|facts| facts.needs().to_vec());
    assert_eq!(facts, Ok(vec![(writer(1), 9)]));
    assert!(!gate::covers(&doc, &[(writer(1), 9)]));
    gate::apply(&doc, &update);
    assert!(!gate::is_pending(&doc), "if yrs reports it now, the docs of `validate` are out of date");
    assert_eq!(validate::row_update(&gate::state(&doc)), Err(InvalidUpdate::Kind(10)));
}

/// Found by fuzzing under AddressSanitizer: applied to what the first of these made of an empty document, the
/// second made yrs read freed memory. The first begins at clock 8, and the second is one item over all of
/// the gap. Neither is wrong by itself; that the first needs what an empty document lacks keeps it out.
#[test]
fn an_update_that_would_leave_a_gap_says_so() {
    let mut early = sample();
    early.runs[0].clock = 8;
    early.runs[0].items.truncate(1);
    early.deletions.clear();
    let mut long = sample();
    long.runs[0].items.truncate(1);
    long.runs[0].items[0].info = 0x21;
    long.runs[0].items[0].content = Content::Len(47);
    long.deletions.clear();
    let (early, long) = (early.write(), long.write());
    let doc = gate::document();
    assert!(!gate::covers(&doc, validate::row_update(&early).expect("accepted").needs()));
    assert!(gate::covers(&doc, validate::row_update(&long).expect("accepted").needs()));
    assert!(gate::row(&early, &[]) && gate::row(&long, &[]));
}

#[test]
fn deleted_values_not_yet_joined_are_limited() {
    // Two lanes in turn, two items at a time: each pair can be joined, and moves all behind it.
    let make = |n: u64| {
        let item = |at: u64| Item {
            info: if at == 0 || at == 2 { 0x21 } else { 0xa1 },
            left: (at != 0 && at != 2).then(|| (1, if at % 2 == 1 { at - 1 } else { at - 3 })),
            right: None,
            place: (at == 0 || at == 2)
                .then(|| (b"row".to_vec(), Some(if at == 0 { b"1".to_vec() } else { b"1/body".to_vec() }))),
            content: Content::Len(1),
        };
        let run = Run { client: 1, clock: 0, items: (0..n).map(item).collect() };
        Layout { runs: vec![run], deletions: Vec::new() }.write()
    };
    assert_eq!(validate::row_update(&make(100_000)), Err(InvalidUpdate::TooCostly));
    on_a_small_stack(Duration::from_secs(10), move |case| {
        let update = make(40_000);
        case("40,000 deleted values".into(), &[]);
        assert!(gate::row(&update, &[]));
    });
}

#[test]
fn a_row_with_a_writer_for_every_day_of_forty_years_is_quick() {
    on_a_small_stack(Duration::from_secs(10), |case| {
        case("many writers".into(), &[]);
        let mut ids: Vec<u64> = (1..=15_000).map(|at| Dice::new(at).bits() >> 11).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        let item = |id| Item {
            info: 0x23,
            left: None,
            right: None,
            place: Some((b"row".to_vec(), Some(LaneName::main(writer(id)).to_string().into_bytes()))),
            content: Content::Bytes(lane(1)),
        };
        let runs = ids.iter().map(|&id| Run { client: id, clock: 0, items: vec![item(id)] }).collect();
        assert!(gate::row(&Layout { runs, deletions: Vec::new() }.write(), &[]));
    });
}
