//! SQLite values as JSON, for those who read what is listed.

use driftless_protocol::Value;
use serde_json::{Value as Json, json};

/// A SQLite value as JSON: itself where JSON has such a thing, else an object that says what it is (`{"blob_hex": "00ff"}`,
/// `{"text_hex": …}` for TEXT that is not UTF-8, `{"real": "Infinity"}`).
pub fn to_json(value: &Value<'_>) -> Json {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match value {
        Value::Null => Json::Null,
        Value::Integer(integer) => json!(integer),
        Value::Real(real) if real.is_finite() => json!(real),
        Value::Real(real) => json!({ "real": if *real > 0.0 { "Infinity" } else { "-Infinity" } }),
        Value::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => json!(text),
            Err(_) => json!({ "text_hex": hex(text) }),
        },
        Value::Blob(blob) => json!({ "blob_hex": hex(blob) }),
    }
}
