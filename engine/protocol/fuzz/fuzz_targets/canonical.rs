//! The canonical reader by itself: every value has one encoding, and nothing reads past the end.
#![no_main]

mod bounds;

use driftless_protocol::canonical::{CanonicalError, Reader, Writer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // The first half of the input says what is read from the second.
    let (what, bytes) = data.split_at(data.len() / 2);
    bounds::within(data.len(), || {
        let (mut reader, mut written) = (Reader::new(bytes), Writer::new());
        for &what in what {
            let left = reader.remaining();
            if read(what, &mut reader, &mut written).is_err() {
                return;
            }
            assert!(reader.remaining() <= left, "it only goes forward");
        }
        let read = bytes.len() - reader.remaining();
        assert_eq!(written.finish(), &bytes[..read], "what was read has no other form");
        assert_eq!(reader.finish().is_ok(), read == bytes.len());
    });
});

fn read(what: u8, reader: &mut Reader<'_>, written: &mut Writer) -> Result<(), CanonicalError> {
    match what % 8 {
        0 => written.byte(reader.byte()?),
        1 => written.varint(reader.varint()?),
        2 => written.signed(reader.signed()?),
        3 => written.wide(reader.wide()?),
        4 => written.block(reader.block()?),
        5 => written.block(reader.string()?.as_bytes()),
        6 => written.raw(reader.raw(usize::from(what / 8))?),
        _ => {
            let least = usize::from(what / 8);
            let count = reader.count(least)?;
            assert!(count * least.max(1) <= reader.remaining(), "the rest can hold so many");
            written.varint(count as u64);
        }
    }
    Ok(())
}
