//! Messages between a node and its relay.

use bytes::Bytes;
use driftless_protocol::changeset::BodyBuilder;
use driftless_protocol::{
    Changeset, ClientMessage, CloseCode, MAX_PRESENCE_BYTES, MessageError, Presence, PresenceTooLong,
    RelayMessage, Seq,
};
use proptest::prelude::*;

use crate::damage::damage;
use crate::forged::{forge_under, plain_body, plain_header, sealed};
use crate::strategies::{client_message, relay_message, replica};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn client_messages_round_trip(message in client_message(), damage in damage()) {
        let frame = message.encode();
        let again = ClientMessage::decode(frame.clone()).expect("decodes");
        prop_assert_eq!(again.encode(), frame.clone());
        drop(RelayMessage::decode(frame.clone()));
        drop(ClientMessage::decode(damage.to(&frame).into()));
        let unsealed = damage.to(&frame[..frame.len() - 8]);
        drop(ClientMessage::decode(sealed(unsealed)));
        prop_assert!(ClientMessage::decode([&frame[..], &[0]].concat().into()).is_err(), "a byte left over");
    }

    #[test]
    fn relay_messages_round_trip(message in relay_message(), damage in damage()) {
        let frame = message.encode();
        let again = RelayMessage::decode(frame.clone()).expect("decodes");
        prop_assert_eq!(again.encode(), frame.clone());
        drop(ClientMessage::decode(frame.clone()));
        drop(RelayMessage::decode(damage.to(&frame).into()));
        let unsealed = damage.to(&frame[..frame.len() - 8]);
        drop(RelayMessage::decode(sealed(unsealed)));
        prop_assert!(RelayMessage::decode([&frame[..], &[0]].concat().into()).is_err(), "a byte left over");
    }

    #[test]
    fn every_beginning_of_a_message_is_refused(message in relay_message(), at in any::<prop::sample::Index>()) {
        let frame = message.encode();
        prop_assert!(RelayMessage::decode(frame.slice(..at.index(frame.len()))).is_err());
    }

    /// A bit that the network flips must not acknowledge, count or name what was not meant.
    #[test]
    fn a_message_with_a_flipped_bit_is_refused(
        ours in client_message(), theirs in relay_message(), at in any::<prop::sample::Index>(), bit in 0..8u8,
    ) {
        let flipped = |frame: Bytes| {
            let mut frame = frame.to_vec();
            let at = at.index(frame.len());
            frame[at] ^= 1 << bit;
            Bytes::from(frame)
        };
        prop_assert!(ClientMessage::decode(flipped(ours.encode())).is_err());
        prop_assert!(RelayMessage::decode(flipped(theirs.encode())).is_err());
    }

    /// Under a right checksum, as somebody hostile would send them.
    #[test]
    fn a_presence_is_read_up_to_its_limit_and_refused_beyond(
        length in prop_oneof![0..=2 * MAX_PRESENCE_BYTES, MAX_PRESENCE_BYTES - 1..=MAX_PRESENCE_BYTES + 1],
        replica in replica(),
    ) {
        let bytes = vec![7; length];
        let ours = ClientMessage::decode(sealed([&[1, 3], &bytes[..]].concat()));
        let theirs = RelayMessage::decode(sealed([&[1, 20], &replica.as_bytes()[..], &bytes[..]].concat()));
        if length <= MAX_PRESENCE_BYTES {
            let is_it = |presence: &Presence| presence.as_bytes() == bytes;
            prop_assert!(matches!(ours, Ok(ClientMessage::Presence(presence)) if is_it(&presence)));
            let Ok(RelayMessage::Presence { replica: whose, presence }) = theirs else {
                return Err(TestCaseError::fail(format!("{theirs:?}")));
            };
            prop_assert!(whose == replica && is_it(&presence));
        } else {
            prop_assert_eq!(Presence::new(bytes), Err(PresenceTooLong(length)));
            for error in [ours.expect_err("too long"), theirs.expect_err("too long")] {
                prop_assert_eq!(error.close_code(), CloseCode::TooLarge);
                prop_assert!(matches!(error, MessageError::Presence(PresenceTooLong(l)) if l == length));
            }
        }
    }

    #[test]
    fn a_presence_of_nobody_is_refused(length in 0..=16usize) {
        prop_assert!(RelayMessage::decode(sealed([&[1, 20], &vec![0; length][..]].concat())).is_err());
    }
}

#[test]
fn a_state_vector_out_of_order_or_with_a_repeated_or_empty_entry_is_refused() {
    let heads = |entries: &[(u8, u8)]| {
        let mut frame = vec![1, 19, 0, entries.len() as u8];
        for &(replica, seq) in entries {
            frame.extend([replica; 16]);
            frame.push(seq);
        }
        RelayMessage::decode(sealed(frame))
    };
    assert!(heads(&[(1, 5), (2, 1)]).is_ok());
    for bad in [&[(2, 5), (1, 1)][..], &[(1, 5), (1, 6)], &[(1, 5), (1, 5)], &[(1, 0)], &[(0, 1)]] {
        assert!(heads(bad).is_err(), "{bad:?}");
    }
}

/// The end of the integers of SQL stood in nobody's way: a relay that acknowledged 2^63 had the engine note a negative seq.
#[test]
fn a_seq_beyond_the_highest_is_refused_wherever_it_stands() {
    let body = BodyBuilder::new().finish();
    let (body, length) = (plain_body(&Changeset::seal(plain_header(), &body)), body.len() as u64);
    for (number, taken) in [(Seq::MAX, true), (Seq::MAX + 1, false), (1 << 63, false), (u64::MAX, false)] {
        let seq = [[253].as_slice(), &number.to_le_bytes()].concat();
        let vector = [[1].as_slice(), &[1; 16], &seq].concat();
        let client = |frame: Vec<u8>| ClientMessage::decode(frame.into());
        let relay = |frame: Vec<u8>| RelayMessage::decode(sealed(frame)).map(drop);
        let hello = [[1, 1, 0, 0].as_slice(), &[1; 16], &vector, &[0]].concat();
        let welcome = [[1, 16].as_slice(), &[1; 16], &vector, &[0]].concat();
        let own = [[1, 16].as_slice(), &[1; 16], &[0, 1], &seq, &[0]].concat();
        let changeset = forge_under([[1; 16].as_slice(), &seq, &[0, 0, 0]].concat(), &body, length);
        let after = forge_under([[1; 16].as_slice(), &[1, 0], &vector, &[0]].concat(), &body, length);
        let snapshot = forge_under([[1; 16].as_slice(), &[0, 1], &vector].concat(), &body, length);
        let cases = [
            ("a hello", client(sealed(hello).to_vec()).map(drop)),
            ("a changeset", client([&[1, 32], &changeset[..]].concat()).map(drop)),
            ("what a changeset follows", client([&[1, 32], &after[..]].concat()).map(drop)),
            ("a part of a snapshot", client([&[1, 33], &snapshot[..]].concat()).map(drop)),
            ("a welcome", relay(welcome)),
            ("the head in a welcome", relay(own)),
            ("an acknowledgement", relay([[1, 17].as_slice(), &seq].concat())),
            ("heads", relay([[1, 19, 0].as_slice(), &vector].concat())),
        ];
        for (what, decoded) in cases {
            match decoded {
                Ok(()) => assert!(taken, "{what}: {number}"),
                Err(error) => {
                    assert!(!taken, "{what}: {number}: {error}");
                    assert_eq!(error.close_code(), CloseCode::Malformed, "{what}: {number}: {error}");
                }
            }
        }
    }
}
