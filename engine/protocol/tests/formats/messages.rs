//! Messages between a node and its relay.

use bytes::Bytes;
use driftless_protocol::{
    ClientMessage, CloseCode, MAX_PRESENCE_BYTES, MessageError, Presence, PresenceTooLong, RelayMessage,
};
use proptest::prelude::*;

use crate::damage::damage;
use crate::forged::sealed;
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
