//! The gate in front of yrs: what the validator accepts never makes yrs panic, hang, balloon or overflow a stack of
//! 2 MB, and whatever yrs itself writes of row and text documents is accepted.

mod dice;
mod gate;
mod layout;
mod row;
mod text;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Runs `cases` on a thread with the stack of a tokio worker. Panics with the name and bytes of the case that
/// panicked, or took longer than `limit`.
fn on_a_small_stack(limit: Duration, cases: impl FnOnce(&dyn Fn(String, &[u8])) + Send + 'static) {
    let (sender, receiver) = mpsc::channel::<(String, Vec<u8>)>();
    let worker = thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(move || {
            cases(&|name, bytes| {
                // The receiver is only gone when the test has failed already.
                drop(sender.send((name, bytes.to_vec())));
            });
        })
        .expect("a thread");
    let mut last = (String::from("the first case"), Vec::new());
    loop {
        match receiver.recv_timeout(limit) {
            Ok(case) => last = case,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                panic!("{} took longer than {limit:?}: {}", last.0, hex::encode(&last.1))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    if worker.join().is_err() {
        panic!("{} failed: {}", last.0, hex::encode(&last.1));
    }
}

#[test]
fn bytes_left_over_are_refused() {
    use driftless_protocol::canonical::CanonicalError;
    use driftless_protocol::validate::{InvalidUpdate, row_update, state_vector, text_update};

    let trailing = Err(InvalidUpdate::Bytes(CanonicalError::Trailing));
    assert!(row_update(&[0, 0]).is_ok() && text_update(&[0, 0]).is_ok() && state_vector(&[0]).is_ok());
    assert_eq!(row_update(&[0, 0, 0]).map(drop), trailing);
    assert_eq!(text_update(&[0, 0, 0]).map(drop), trailing);
    assert_eq!(state_vector(&[0, 0]), trailing);
}

/// The lines of a file of the corpus of bytes that hurt yrs.
fn corpus(text: &str) -> Vec<Vec<u8>> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| hex::decode(line).expect("the corpus is hex")).collect()
}

#[test]
fn what_hurt_yrs_and_what_is_near_it_does_not_hurt_it_behind_the_validator() {
    let hostile = corpus(include_str!("../corpus/hostile-updates-v1.hex"));
    assert!(hostile.len() > 200);
    on_a_small_stack(Duration::from_secs(10), move |case| {
        let dice = &mut dice::Dice::new(1);
        let (rows, texts) = (row::session(dice), text::session(dice));
        let whole = |written: &[Vec<u8>], is_whole: fn(&[u8]) -> bool| -> Vec<Vec<u8>> {
            let documents: Vec<_> = written.iter().filter(|update| is_whole(update)).cloned().collect();
            assert!(!documents.is_empty());
            documents.into_iter().rev().take(2).collect()
        };
        let rows = [rows.clone(), whole(&rows, gate::is_whole_row)];
        let texts = [texts.clone(), whole(&texts, gate::is_whole_text)];
        let mut accepted = 0;
        for (line, bytes) in hostile.iter().enumerate() {
            for n in 0..200 {
                let mut update = bytes.clone();
                let others = if n % 2 == 0 { &rows[0] } else { &texts[0] };
                for _ in 0..n % 5 {
                    let other = dice.pick(others).clone();
                    layout::mangle(&mut update, dice, &other);
                }
                case(format!("line {line} of the corpus, changed {} times", n % 5), &update);
                accepted += usize::from(gate::row(&update, &rows[1]));
                accepted += usize::from(gate::text_update(&update, &texts[1]));
            }
        }
        println!("{accepted} accepted");
    });
}

#[test]
fn whatever_is_accepted_of_state_vectors_leaves_yrs_alive() {
    use driftless_protocol::canonical::Writer;

    let hostile = corpus(include_str!("../corpus/hostile-state-vectors.hex"));
    on_a_small_stack(Duration::from_secs(10), move |case| {
        let mut accepted = 0;
        for seed in 0..400 {
            let dice = &mut dice::Dice::new(seed);
            let (rows, texts) = (row::session(dice), text::session(dice));
            let documents = [rows[rows.len() - 1].clone(), texts[texts.len() - 1].clone()];
            for _ in 0..20 {
                // Right but for a clock or a writer here and there.
                let mut writer = Writer::new();
                let count = dice.below(5) as u64;
                writer.varint(count);
                for at in 0..count {
                    let odd = [u64::from(u32::MAX), 1 << 31, (1 << 31) - 1, 1 << 53, 0];
                    writer.varint(if dice.one_in(6) {
                        *dice.pick(&odd)
                    } else {
                        [1, 2, 3, 0x1234_5678_9abc][at as usize]
                    });
                    writer.varint(if dice.one_in(6) { *dice.pick(&odd) } else { dice.below(40) as u64 });
                }
                let mut vector = writer.finish();
                if dice.one_in(3) {
                    let other = dice.pick(&hostile).clone();
                    layout::mangle(&mut vector, dice, &other);
                }
                case(format!("seed {seed}"), &vector);
                accepted += usize::from(gate::state_vector(&vector, &documents));
            }
        }
        println!("{accepted} accepted");
        assert!(accepted > 1_000, "{accepted}");
    });
}
