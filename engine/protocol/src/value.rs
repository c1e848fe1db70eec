//! SQLite values, kept bit for bit.
//!
//! Bytes: a tag, then `0` NULL nothing, `1` INTEGER a zigzag varint, `2` REAL eight bytes (IEEE 754 bits, big
//! end first), `3` TEXT and `4` BLOB a length and the bytes. TEXT need not be UTF-8 and may hold NUL: SQLite
//! stores whatever it was given. A Yrs number would not do: Yrs gives integers past 31 bits back as floats.

use std::borrow::Cow;

use crate::canonical::{CanonicalError, Reader, Writer};

/// One value of a SQLite column with its storage class. Reals compare by their bits, so a value equals itself
/// whatever it is. See <https://sqlite.org/datatype3.html>.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// NULL.
    Null,
    /// INTEGER, 64 bits.
    Integer(i64),
    /// REAL, IEEE 754 double; infinities are allowed, SQLite has no NaN.
    Real(f64),
    /// TEXT, as bytes.
    Text(Cow<'a, [u8]>),
    /// BLOB.
    Blob(Cow<'a, [u8]>),
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Integer(a), Value::Integer(b)) => a == b,
            (Value::Real(a), Value::Real(b)) => a.to_bits() == b.to_bits(),
            (Value::Text(a), Value::Text(b)) | (Value::Blob(a), Value::Blob(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value<'_> {}

impl<'a> Value<'a> {
    /// TEXT from a string.
    pub fn text(text: &'a str) -> Self {
        Value::Text(Cow::Borrowed(text.as_bytes()))
    }

    /// The same value, owning its bytes.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Null => Value::Null,
            Value::Integer(i) => Value::Integer(i),
            Value::Real(r) => Value::Real(r),
            Value::Text(t) => Value::Text(Cow::Owned(t.into_owned())),
            Value::Blob(b) => Value::Blob(Cow::Owned(b.into_owned())),
        }
    }

    /// How many bytes of payload the value carries: the length of TEXT and BLOB, 8 for numbers, 0 for NULL.
    pub fn payload_len(&self) -> usize {
        match self {
            Value::Null => 0,
            Value::Integer(_) | Value::Real(_) => 8,
            Value::Text(bytes) | Value::Blob(bytes) => bytes.len(),
        }
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        match self {
            Value::Null => writer.byte(0),
            Value::Integer(i) => {
                writer.byte(1);
                writer.signed(*i);
            }
            Value::Real(r) => {
                writer.byte(2);
                writer.raw(&r.to_bits().to_be_bytes());
            }
            Value::Text(bytes) => {
                writer.byte(3);
                writer.block(bytes);
            }
            Value::Blob(bytes) => {
                writer.byte(4);
                writer.block(bytes);
            }
        }
    }

    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, CanonicalError> {
        Ok(match reader.byte()? {
            0 => Value::Null,
            1 => Value::Integer(reader.signed()?),
            2 => {
                let bits: [u8; 8] = reader.raw(8)?.try_into().map_err(|_| CanonicalError::Truncated)?;
                let real = f64::from_bits(u64::from_be_bytes(bits));
                if real.is_nan() {
                    return Err(CanonicalError::Invalid("a REAL is NaN, which SQLite cannot hold"));
                }
                Value::Real(real)
            }
            3 => Value::Text(Cow::Borrowed(reader.block()?)),
            4 => Value::Blob(Cow::Borrowed(reader.block()?)),
            _ => return Err(CanonicalError::Invalid("unknown tag of a value")),
        })
    }

    /// The canonical bytes of this value alone.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        self.write(&mut writer);
        writer.finish()
    }

    /// Reads what [`Value::to_bytes`] wrote. Fails on anything else.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, CanonicalError> {
        let mut reader = Reader::new(bytes);
        let value = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }
}

impl std::fmt::Display for Value<'_> {
    /// As an SQL literal, the way SQLite's `quote()` writes it; bytes that are not UTF-8 show as U+FFFD.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Null => f.write_str("NULL"),
            Value::Integer(i) => write!(f, "{i}"),
            Value::Real(r) if r.is_infinite() => f.write_str(if *r > 0.0 { "9e999" } else { "-9e999" }),
            Value::Real(r) => write!(f, "{r:?}"),
            Value::Text(bytes) => write!(f, "'{}'", String::from_utf8_lossy(bytes).replace('\'', "''")),
            Value::Blob(bytes) => {
                f.write_str("x'")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02X}"))?;
                f.write_str("'")
            }
        }
    }
}
