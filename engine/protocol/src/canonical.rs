//! Canonical bytes: the one way in which cells, lanes and changeset bodies are written.
//!
//! Everything has exactly one encoding. Integers are LEB128 varints in their shortest form (signed ones
//! zigzag-folded first), strings and byte strings carry their length before them. A reader refuses every
//! other form, so equal values have equal bytes and a digest of the bytes is a digest of the value.

use thiserror::Error;

/// Bytes that are not in canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CanonicalError {
    /// The input ended inside a value.
    #[error("the bytes end inside a value")]
    Truncated,
    /// A varint was longer than needed, or did not fit 64 bits.
    #[error("an integer is not in its shortest form or does not fit 64 bits")]
    Varint,
    /// Bytes were left over after the last value.
    #[error("there are bytes left over after the last value")]
    Trailing,
    /// A count, tag or string that the format does not allow; the text names it.
    #[error("{0}")]
    Invalid(&'static str),
}

/// Appends canonical bytes to a buffer.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty writer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity) }
    }

    /// One byte as it is.
    pub fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// An unsigned integer, LEB128, shortest form: 1 to 10 bytes.
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// A signed integer, zigzag-folded so that small magnitudes stay short.
    pub fn signed(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)) as u64);
    }

    /// A signed integer of up to 128 bits, folded and written as the smaller ones are: equal numbers have equal bytes
    /// whichever of the two wrote them.
    pub fn wide(&mut self, value: i128) {
        let mut folded = ((value << 1) ^ (value >> 127)) as u128;
        while folded >= 0x80 {
            self.bytes.push(folded as u8 | 0x80);
            folded >>= 7;
        }
        self.bytes.push(folded as u8);
    }

    /// Bytes as they are, without a length.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes with their length before them.
    pub fn block(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.raw(bytes);
    }

    /// How many bytes have been written.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes written.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads canonical bytes, allocating nothing.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are unread.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// One byte. Fails with [`CanonicalError::Truncated`] at the end.
    pub fn byte(&mut self) -> Result<u8, CanonicalError> {
        let (&first, rest) = self.rest.split_first().ok_or(CanonicalError::Truncated)?;
        self.rest = rest;
        Ok(first)
    }

    /// An unsigned integer in its shortest form.
    pub fn varint(&mut self) -> Result<u64, CanonicalError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && byte > 1 {
                return Err(CanonicalError::Varint);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(CanonicalError::Varint);
                }
                return Ok(value);
            }
        }
        Err(CanonicalError::Varint)
    }

    /// A signed integer (zigzag).
    pub fn signed(&mut self) -> Result<i64, CanonicalError> {
        let folded = self.varint()?;
        Ok((folded >> 1) as i64 ^ -((folded & 1) as i64))
    }

    /// A signed integer of up to 128 bits (zigzag), in its shortest form.
    pub fn wide(&mut self) -> Result<i128, CanonicalError> {
        let mut folded = 0u128;
        for shift in (0..128).step_by(7) {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            if shift == 126 && byte > 3 {
                return Err(CanonicalError::Varint);
            }
            folded |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(CanonicalError::Varint);
                }
                return Ok((folded >> 1) as i128 ^ -((folded & 1) as i128));
            }
        }
        Err(CanonicalError::Varint)
    }

    /// The next `len` bytes.
    pub fn raw(&mut self, len: usize) -> Result<&'a [u8], CanonicalError> {
        if len > self.rest.len() {
            return Err(CanonicalError::Truncated);
        }
        let (bytes, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(bytes)
    }

    /// Bytes with their length before them.
    pub fn block(&mut self) -> Result<&'a [u8], CanonicalError> {
        let len = self.varint()?;
        self.raw(usize::try_from(len).map_err(|_| CanonicalError::Truncated)?)
    }

    /// A UTF-8 string with its length before it.
    pub fn string(&mut self) -> Result<&'a str, CanonicalError> {
        std::str::from_utf8(self.block()?).map_err(|_| CanonicalError::Invalid("a name is not UTF-8"))
    }

    /// A count of things of at least `least` bytes each; refused when the rest could not hold them, so that
    /// nobody allocates more than a small multiple of the input.
    pub fn count(&mut self, least: usize) -> Result<usize, CanonicalError> {
        let count = self.varint()?;
        let most = self.rest.len() / least.max(1);
        match usize::try_from(count) {
            Ok(count) if count <= most => Ok(count),
            _ => Err(CanonicalError::Truncated),
        }
    }

    /// Ends the reading. Fails with [`CanonicalError::Trailing`] if anything is left.
    pub fn finish(self) -> Result<(), CanonicalError> {
        if self.rest.is_empty() { Ok(()) } else { Err(CanonicalError::Trailing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_at_every_edge() {
        for value in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut writer = Writer::new();
            writer.varint(value);
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.varint(), Ok(value));
            assert_eq!(reader.finish(), Ok(()));
        }
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            let mut writer = Writer::new();
            writer.signed(value);
            assert_eq!(Reader::new(&writer.finish()).signed(), Ok(value));
        }
    }

    #[test]
    fn wide_integers_round_trip_at_every_edge_and_have_one_form() {
        for value in [0, -1, 1, 63, 64, -64, -65, i128::from(i64::MIN), 1 << 96, i128::MIN, i128::MAX] {
            let mut writer = Writer::new();
            writer.wide(value);
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.wide(), Ok(value));
            assert_eq!(reader.finish(), Ok(()));
            for end in 0..bytes.len() {
                assert_eq!(Reader::new(&bytes[..end]).wide(), Err(CanonicalError::Truncated));
            }
            if let Ok(small) = i64::try_from(value) {
                let mut writer = Writer::new();
                writer.signed(small);
                assert_eq!(writer.finish(), bytes);
            }
        }
        assert_eq!(Reader::new(&[0x80, 0x00]).wide(), Err(CanonicalError::Varint));
        assert_eq!(Reader::new(&[0xff; 20]).wide(), Err(CanonicalError::Varint));
        let mut too_big = [0xff; 19];
        too_big[18] = 4;
        assert_eq!(Reader::new(&too_big).wide(), Err(CanonicalError::Varint));
    }

    #[test]
    fn longer_forms_of_an_integer_are_refused() {
        assert_eq!(Reader::new(&[0x80, 0x00]).varint(), Err(CanonicalError::Varint));
        assert_eq!(Reader::new(&[0xff; 11]).varint(), Err(CanonicalError::Varint));
        let mut too_big = [0xff; 10];
        too_big[9] = 2;
        assert_eq!(Reader::new(&too_big).varint(), Err(CanonicalError::Varint));
    }

    #[test]
    fn counts_larger_than_the_input_are_refused_before_anything_is_allocated() {
        assert_eq!(Reader::new(&[0xff, 0xff, 0x03, 1, 2]).count(1), Err(CanonicalError::Truncated));
        assert_eq!(Reader::new(&[3, 1, 2, 3]).count(1), Ok(3));
    }
}
