//! Row keys: the primary key of a row as bytes that compare like SQLite compares keys.
//!
//! Two rows that are one row to SQLite have the same key bytes: text is folded by the column's collation
//! (NOCASE, RTRIM), and `1` and `1.0` are one number. Where folding loses something (the spelling `Key` of
//! `key`, the REAL of `1.0`), the row document keeps the primary key's columns as cells of their own; the key
//! itself gives back the folded value.
//!
//! Bytes, one column after the other, so that unsigned comparison of the whole orders as SQLite does
//! (numbers, then text, then blobs; see <https://sqlite.org/datatype3.html#sort_order>):
//!
//! | tag | then |
//! |---|---|
//! | `10` number | the nearest double, 8 bytes, bits turned so that they order; 2 bytes: what the integer is away from it, plus 2^15 |
//! | `20` TEXT | the folded bytes with `00` written `00 ff`, then `00 00` |
//! | `30` BLOB | likewise |

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

use crate::value::Value;

/// The longest key, in bytes. A row with a longer one stays local.
pub const MAX_KEY_BYTES: usize = 1 << 20;

const NUMBER: u8 = 0x10;
const TEXT: u8 = 0x20;
const BLOB: u8 = 0x30;

/// How a key column compares text. See <https://sqlite.org/datatype3.html#collation>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Collation {
    /// Byte by byte.
    #[default]
    Binary,
    /// ASCII letters without regard to case.
    NoCase,
    /// Trailing spaces do not count.
    RTrim,
}

impl Collation {
    /// The built-in collation of that name, in any case; `None` for one that an application registered.
    pub fn from_name(name: &str) -> Option<Self> {
        [("binary", Self::Binary), ("nocase", Self::NoCase), ("rtrim", Self::RTrim)]
            .into_iter()
            .find_map(|(known, collation)| name.eq_ignore_ascii_case(known).then_some(collation))
    }

    /// SQLite's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Binary => "BINARY",
            Self::NoCase => "NOCASE",
            Self::RTrim => "RTRIM",
        }
    }

    fn fold<'a>(self, text: &'a [u8]) -> Cow<'a, [u8]> {
        match self {
            Self::Binary => Cow::Borrowed(text),
            Self::NoCase => {
                let nul = text.iter().position(|&b| b == 0).unwrap_or(text.len());
                // SQLite's NOCASE stops comparing at the first NUL and then compares lengths.
                if nul == text.len() && !text.iter().any(u8::is_ascii_uppercase) {
                    return Cow::Borrowed(text);
                }
                let mut folded = text.to_ascii_lowercase();
                folded[nul..].fill(0);
                Cow::Owned(folded)
            }
            Self::RTrim => {
                let end = text.iter().rposition(|&b| b != b' ').map_or(0, |last| last + 1);
                Cow::Borrowed(&text[..end])
            }
        }
    }
}

/// Why a primary key has no bytes, or bytes are no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A column of the key is NULL. SQLite lets such rows be many, so they name nothing.
    #[error("a column of the primary key is NULL")]
    Null,
    /// Longer than [`MAX_KEY_BYTES`].
    #[error("the primary key is longer than {MAX_KEY_BYTES} bytes")]
    TooLong,
    /// Not bytes that [`RowKey::encode`] writes.
    #[error("these bytes are not a row key")]
    Malformed,
}

/// The primary key of a row in canonical, order-preserving bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey(Vec<u8>);

impl RowKey {
    /// The key of the given primary key columns, in the order of the key. Fails with [`KeyError::Null`] or
    /// [`KeyError::TooLong`].
    pub fn encode<'a, 'v: 'a>(
        columns: impl IntoIterator<Item = (&'a Value<'v>, Collation)>,
    ) -> Result<Self, KeyError> {
        let mut bytes = Vec::with_capacity(48);
        for (value, collation) in columns {
            match value {
                Value::Null => return Err(KeyError::Null),
                Value::Integer(i) => push_number(&mut bytes, *i as f64, residual(*i)),
                Value::Real(r) => push_number(&mut bytes, if *r == 0.0 { 0.0 } else { *r }, 0),
                Value::Text(text) => push_escaped(&mut bytes, TEXT, &collation.fold(text)),
                Value::Blob(blob) => push_escaped(&mut bytes, BLOB, blob),
            }
            if bytes.len() > MAX_KEY_BYTES {
                return Err(KeyError::TooLong);
            }
        }
        if bytes.is_empty() { Err(KeyError::Malformed) } else { Ok(Self(bytes)) }
    }

    /// Checks bytes from outside: they must be what [`RowKey::encode`] writes. Fails with
    /// [`KeyError::Malformed`] or [`KeyError::TooLong`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() > MAX_KEY_BYTES {
            return Err(KeyError::TooLong);
        }
        decode(bytes)?;
        Ok(Self(bytes.to_vec()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The folded values, one for each column of the key.
    pub fn values(&self) -> Vec<Value<'static>> {
        decode(&self.0).expect("a RowKey is only ever made of checked bytes")
    }
}

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowKey({self})")
    }
}

impl fmt::Display for RowKey {
    /// The values as SQL literals, with commas between: `7`, `'abc', 3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, value) in self.values().iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            value.fmt(f)?;
        }
        Ok(())
    }
}

/// What `i` is away from the double nearest to it: at most 512 either way.
fn residual(i: i64) -> i16 {
    (i128::from(i) - (i as f64) as i128) as i16
}

fn push_number(bytes: &mut Vec<u8>, nearest: f64, away: i16) {
    let bits = nearest.to_bits();
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    bytes.push(NUMBER);
    bytes.extend_from_slice(&ordered.to_be_bytes());
    bytes.extend_from_slice(&(away as u16 ^ 0x8000).to_be_bytes());
}

fn push_escaped(bytes: &mut Vec<u8>, tag: u8, content: &[u8]) {
    bytes.push(tag);
    for part in content.split_inclusive(|&b| b == 0) {
        bytes.extend_from_slice(part);
        if part.last() == Some(&0) {
            bytes.push(0xff);
        }
    }
    bytes.extend_from_slice(&[0, 0]);
}

fn decode(mut bytes: &[u8]) -> Result<Vec<Value<'static>>, KeyError> {
    let mut values = Vec::with_capacity(1);
    if bytes.is_empty() {
        return Err(KeyError::Malformed);
    }
    while let Some((&tag, rest)) = bytes.split_first() {
        let (value, rest) = match tag {
            NUMBER => decode_number(rest)?,
            TEXT => decode_escaped(rest).map(|(text, rest)| (Value::Text(Cow::Owned(text)), rest))?,
            BLOB => decode_escaped(rest).map(|(blob, rest)| (Value::Blob(Cow::Owned(blob)), rest))?,
            _ => return Err(KeyError::Malformed),
        };
        values.push(value);
        bytes = rest;
    }
    Ok(values)
}

fn decode_number(bytes: &[u8]) -> Result<(Value<'static>, &[u8]), KeyError> {
    let (number, rest) = bytes.split_at_checked(10).ok_or(KeyError::Malformed)?;
    let (ordered, away) = number.split_at(8);
    let ordered = u64::from_be_bytes(ordered.try_into().map_err(|_| KeyError::Malformed)?);
    let away = u16::from_be_bytes(away.try_into().map_err(|_| KeyError::Malformed)?) ^ 0x8000;
    let away = away as i16;
    let nearest = f64::from_bits(if ordered >> 63 == 1 { ordered & !(1 << 63) } else { !ordered });
    if nearest.is_nan() || nearest.to_bits() == (-0.0f64).to_bits() {
        return Err(KeyError::Malformed);
    }
    let integer = (nearest.fract() == 0.0)
        .then(|| i64::try_from((nearest as i128).saturating_add(away.into())).ok())
        .flatten()
        // Infinities saturate in the cast above and must stay REAL.
        .filter(|&i| nearest.is_finite() && i as f64 == nearest && residual(i) == away);
    match integer {
        Some(i) => Ok((Value::Integer(i), rest)),
        None if away == 0 => Ok((Value::Real(nearest), rest)),
        None => Err(KeyError::Malformed),
    }
}

fn decode_escaped(bytes: &[u8]) -> Result<(Vec<u8>, &[u8]), KeyError> {
    let mut content = Vec::new();
    let mut rest = bytes;
    loop {
        let nul = rest.iter().position(|&b| b == 0).ok_or(KeyError::Malformed)?;
        content.extend_from_slice(&rest[..nul]);
        match rest.get(nul + 1) {
            Some(0) => return Ok((content, &rest[nul + 2..])),
            Some(0xff) => content.push(0),
            _ => return Err(KeyError::Malformed),
        }
        rest = &rest[nul + 2..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(value: Value<'_>, collation: Collation) -> RowKey {
        RowKey::encode([(&value, collation)]).expect("a key")
    }

    #[test]
    fn numbers_order_as_sqlite_orders_them() {
        let ordered = [
            Value::Real(f64::NEG_INFINITY),
            Value::Real(-1e300),
            Value::Integer(i64::MIN),
            Value::Integer(i64::MIN + 1),
            Value::Real(-1.5),
            Value::Integer(-1),
            Value::Integer(0),
            Value::Real(f64::MIN_POSITIVE),
            Value::Real(0.5),
            Value::Integer(1),
            Value::Integer((1 << 53) - 1),
            Value::Integer(1 << 53),
            Value::Integer((1 << 53) + 1),
            Value::Integer((1 << 53) + 2),
            Value::Integer(i64::MAX - 1),
            Value::Integer(i64::MAX),
            Value::Real(9_223_372_036_854_775_808.0),
            Value::Real(f64::INFINITY),
        ];
        for pair in ordered.windows(2) {
            assert!(
                key(pair[0].clone(), Collation::Binary) < key(pair[1].clone(), Collation::Binary),
                "{pair:?}"
            );
        }
        for value in ordered {
            assert_eq!(key(value.clone(), Collation::Binary).values(), [value]);
        }
    }

    #[test]
    fn what_is_one_row_to_sqlite_is_one_key() {
        let same = [
            (Value::Integer(1), Value::Real(1.0), Collation::Binary),
            (Value::Real(0.0), Value::Real(-0.0), Collation::Binary),
            (Value::text("Key"), Value::text("KEY"), Collation::NoCase),
            (Value::text("a\0b"), Value::text("A\0c"), Collation::NoCase),
            (Value::text("x  "), Value::text("x"), Collation::RTrim),
        ];
        for (a, b, collation) in same {
            assert_eq!(key(a.clone(), collation), key(b.clone(), collation), "{a} {b}");
        }
        assert_ne!(key(Value::text("É"), Collation::NoCase), key(Value::text("é"), Collation::NoCase));
        assert_ne!(key(Value::text("x "), Collation::Binary), key(Value::text("x"), Collation::Binary));
    }

    #[test]
    fn text_with_nul_keeps_its_order_among_composite_keys() {
        let pair = |a: &'static str, b: i64| {
            RowKey::encode([(&Value::text(a), Collation::Binary), (&Value::Integer(b), Collation::Binary)])
                .expect("a key")
        };
        assert!(pair("a", 9) < pair("a\0", 1));
        assert!(pair("a\0", 9) < pair("a\0\0", 1));
        assert!(pair("a\0\u{7f}", 9) < pair("b", 1));
        assert_eq!(pair("a\0b", -3).values(), [Value::text("a\0b"), Value::Integer(-3)]);
    }

    #[test]
    fn null_names_no_row() {
        assert_eq!(RowKey::encode([(&Value::Null, Collation::Binary)]), Err(KeyError::Null));
    }

    #[test]
    fn golden_bytes() {
        let hex = |k: RowKey| hex::encode(k.as_bytes());
        assert_eq!(hex(key(Value::Integer(7), Collation::Binary)), "10c01c0000000000008000");
        assert_eq!(hex(key(Value::text("aB\0"), Collation::NoCase)), "20616200ff0000");
        assert_eq!(hex(key(Value::Blob(Cow::Borrowed(&[])), Collation::Binary)), "300000");
    }
}
