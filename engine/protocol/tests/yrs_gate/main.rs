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
