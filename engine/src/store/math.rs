//! SQLite's mathematical functions, for a SQLite that was built without them.
//!
//! The SQLite of Debian, of macOS and of Python has them, so tables use them in CHECK constraints, generated columns and
//! indexes; a connection that lacks one can neither write to such a table nor keep its indexes. They must give what the
//! app's SQLite gives, to the last bit: an index over an expression holds the results. So the C library does the
//! arithmetic here too, and arguments are read as SQLite reads them. See <https://sqlite.org/lang_mathfunc.html> and
//! `func.c` of SQLite, version 3.54.

use std::f64::consts::{LN_2, PI};
use std::sync::OnceLock;

use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{Value, ValueRef};

/// Schema expressions may use these functions under `trusted_schema=OFF`, and indexes may hold their results.
const FLAGS: FunctionFlags = FunctionFlags::SQLITE_UTF8
    .union(FunctionFlags::SQLITE_DETERMINISTIC)
    .union(FunctionFlags::SQLITE_INNOCUOUS);

/// The name of a function of one number, and what it computes.
type OfOne = (&'static str, fn(f64) -> f64);
/// The same of two numbers.
type OfTwo = (&'static str, fn(f64, f64) -> f64);

/// Functions that leave an integer as it is.
const ROUNDING: [OfOne; 4] =
    [("ceil", f64::ceil), ("ceiling", f64::ceil), ("floor", f64::floor), ("trunc", f64::trunc)];

/// Functions of one number. A result that is not a number is NULL.
const OF_ONE: [OfOne; 16] = [
    ("acos", f64::acos),
    ("acosh", acosh),
    ("asin", f64::asin),
    ("asinh", asinh),
    ("atan", f64::atan),
    ("atanh", atanh),
    ("cos", f64::cos),
    ("cosh", f64::cosh),
    ("degrees", |x| x * (180.0 / PI)),
    ("exp", f64::exp),
    ("radians", |x| x * (PI / 180.0)),
    ("sin", f64::sin),
    ("sinh", f64::sinh),
    ("sqrt", f64::sqrt),
    ("tan", f64::tan),
    ("tanh", f64::tanh),
];

/// Functions of two numbers.
const OF_TWO: [OfTwo; 4] =
    [("atan2", f64::atan2), ("mod", |x, y| x % y), ("pow", f64::powf), ("power", f64::powf)];

/// Logarithms of one number, which must be above zero.
const LOGARITHMS: [OfOne; 4] =
    [("ln", f64::ln), ("log", f64::log10), ("log10", f64::log10), ("log2", f64::log2)];

/// Whether SQLite has the functions. An empty database is asked, and only once: a connection reads the whole schema before it
/// prepares its first statement, and that takes long if there are many tables.
fn are_built_in() -> bool {
    static BUILT_IN: OnceLock<bool> = OnceLock::new();
    let ask = || {
        Connection::open_in_memory()
            .is_ok_and(|memory| memory.prepare("SELECT floor(1), log(2, 8), pi()").is_ok())
    };
    *BUILT_IN.get_or_init(ask)
}

/// Makes the functions on a connection, unless its SQLite has them.
pub(crate) fn provide(connection: &Connection) -> rusqlite::Result<()> {
    if are_built_in() {
        return Ok(());
    }
    for (name, function) in ROUNDING {
        connection.create_scalar_function(name, 1, FLAGS, move |context: &Context<'_>| {
            Ok(match number(context.get_raw(0)) {
                Some(Number::Integer(integer)) => Value::Integer(integer),
                Some(Number::Real(real)) => Value::Real(function(real)),
                None => Value::Null,
            })
        })?;
    }
    for (name, function) in OF_ONE {
        connection.create_scalar_function(name, 1, FLAGS, move |context: &Context<'_>| {
            Ok(number(context.get_raw(0)).map(|x| function(x.real())))
        })?;
    }
    for (name, function) in OF_TWO {
        connection.create_scalar_function(name, 2, FLAGS, move |context: &Context<'_>| {
            let (x, y) = (number(context.get_raw(0)), number(context.get_raw(1)));
            Ok(x.zip(y).map(|(x, y)| function(x.real(), y.real())))
        })?;
    }
    for (name, function) in LOGARITHMS {
        connection.create_scalar_function(name, 1, FLAGS, move |context: &Context<'_>| {
            Ok(number(context.get_raw(0)).map(Number::real).filter(|x| *x > 0.0).map(function))
        })?;
    }
    connection.create_scalar_function("log", 2, FLAGS, |context: &Context<'_>| {
        let base = number(context.get_raw(0)).map(Number::real).filter(|base| *base > 0.0).map(f64::ln);
        // SQLite asks only of the base whether it is a number.
        let x = real_of(context.get_raw(1));
        Ok(base.filter(|base| *base > 0.0 && x > 0.0).map(|base| x.ln() / base))
    })?;
    connection.create_scalar_function("pi", 0, FLAGS, |_: &Context<'_>| Ok(PI))
}

/// A number as SQLite's functions take one.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Number {
    Integer(i64),
    Real(f64),
}

impl Number {
    fn real(self) -> f64 {
        match self {
            Self::Integer(integer) => integer as f64,
            Self::Real(real) => real,
        }
    }
}

/// What `sqlite3_value_numeric_type` makes of an argument: numbers, and texts that are numbers from end to end.
fn number(value: ValueRef<'_>) -> Option<Number> {
    match value {
        ValueRef::Integer(integer) => Some(Number::Integer(integer)),
        ValueRef::Real(real) => Some(Number::Real(real)),
        ValueRef::Text(text) => {
            let (number, whole) = leading_number(text)?;
            whole.then_some(number)
        }
        ValueRef::Null | ValueRef::Blob(_) => None,
    }
}

/// What `sqlite3_value_double` makes of an argument: of texts and blobs the number that they begin with.
fn real_of(value: ValueRef<'_>) -> f64 {
    match value {
        ValueRef::Integer(integer) => integer as f64,
        ValueRef::Real(real) => real,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            leading_number(bytes).map_or(0.0, |(number, _)| number.real())
        }
        ValueRef::Null => 0.0,
    }
}

/// The number that a text begins with, and whether nothing but blanks stands around it.
fn leading_number(text: &[u8]) -> Option<(Number, bool)> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let digits =
        |at: usize| text[at.min(text.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let begin = text.iter().take_while(|byte| is_blank(byte)).count();
    let mut at = begin + usize::from(matches!(text.get(begin), Some(b'+' | b'-')));
    let whole_digits = digits(at);
    at += whole_digits;
    let (mut is_integer, mut all_digits) = (true, whole_digits);
    if text.get(at) == Some(&b'.') {
        let after = digits(at + 1);
        all_digits += after;
        at += 1 + after;
        is_integer = false;
    }
    if all_digits == 0 {
        return None;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at + 1 + sign);
        if exponent > 0 {
            at += 1 + sign + exponent;
            is_integer = false;
        }
    }
    let written = std::str::from_utf8(&text[begin..at]).ok()?;
    let integer = if is_integer { written.parse().ok().map(Number::Integer) } else { None };
    let number = match integer {
        Some(integer) => integer,
        None => Number::Real(nineteen_digits(written).parse().ok()?),
    };
    Some((number, text[at..].iter().all(is_blank)))
}

/// The number as SQLite reads it: of a long mantissa it takes as many digits as a 64-bit integer has room for.
fn nineteen_digits(written: &str) -> String {
    let (mantissa, exponent) = match written.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            (mantissa, exponent.parse().unwrap_or(if exponent.starts_with('-') { -10_000 } else { 10_000 }))
        }
        None => (written, 0_i64),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    const FULL: u64 = (u64::MAX - 9) / 10;
    let (mut taken, mut shift) = (0_u64, exponent.clamp(-20_000, 20_000));
    for digit in whole.bytes().filter(u8::is_ascii_digit) {
        if taken >= FULL {
            shift += 1;
        } else {
            taken = taken * 10 + u64::from(digit - b'0');
        }
    }
    for digit in fraction.bytes() {
        if taken < FULL {
            taken = taken * 10 + u64::from(digit - b'0');
            shift -= 1;
        }
    }
    let sign = if whole.starts_with('-') { "-" } else { "" };
    format!("{sign}{taken}e{shift}")
}

/// The standard library computes the inverse hyperbolic functions in another way than C libraries do, with another last
/// digit. These are the formulas of fdlibm, which glibc, musl and the BSDs use; what they build on is the C library's.
fn asinh(x: f64) -> f64 {
    let a = x.abs();
    let result = if a < 2f64.powi(-28) || !a.is_finite() {
        return x;
    } else if a > 2f64.powi(28) {
        a.ln() + LN_2
    } else if a > 2.0 {
        (2.0 * a + 1.0 / ((x * x + 1.0).sqrt() + a)).ln()
    } else {
        let square = x * x;
        (a + square / (1.0 + (1.0 + square).sqrt())).ln_1p()
    };
    result.copysign(x)
}

/// See [`asinh`].
fn acosh(x: f64) -> f64 {
    if x.is_nan() || x < 1.0 {
        f64::NAN
    } else if x >= 2f64.powi(28) {
        x.ln() + LN_2
    } else if x > 2.0 {
        (2.0 * x - 1.0 / (x + (x * x - 1.0).sqrt())).ln()
    } else {
        let above = x - 1.0;
        (above + (2.0 * above + above * above).sqrt()).ln_1p()
    }
}

/// See [`asinh`].
fn atanh(x: f64) -> f64 {
    let a = x.abs();
    let result = if a.is_nan() || a > 1.0 {
        return f64::NAN;
    } else if a < 2f64.powi(-28) {
        return x;
    } else if a < 0.5 {
        let twice = a + a;
        0.5 * (twice + twice * a / (1.0 - a)).ln_1p()
    } else {
        0.5 * ((a + a) / (1.0 - a)).ln_1p()
    };
    result.copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        let connection = Connection::open_in_memory().expect("in memory");
        provide(&connection).expect("the functions");
        connection
    }

    #[track_caller]
    fn answers(connection: &Connection, sql: &str) -> String {
        let quoted = format!("SELECT quote({sql})");
        connection.query_row(&quoted, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// What Debian's SQLite 3.40, which has the functions built in, answers.
    const ANSWERS: [(&str, &str); 47] = [
        ("floor(2.5)", "2.0"),
        ("floor(-2.5)", "-3.0"),
        ("floor(7)", "7"),
        ("floor('7')", "7"),
        ("floor(' 7.9 ')", "7.0"),
        ("floor('1e1')", "10.0"),
        ("floor('7x')", "NULL"),
        ("floor('')", "NULL"),
        ("floor('.')", "NULL"),
        ("floor('5.')", "5.0"),
        ("floor(x'37')", "NULL"),
        ("floor(NULL)", "NULL"),
        ("floor(9007199254740993)", "9007199254740993"),
        ("floor('99999999999999999999')", "1.0e+20"),
        ("ceil(2.1)", "3.0"),
        ("ceiling(-2.1)", "-2.0"),
        ("trunc(-2.9)", "-2.0"),
        ("trunc(3)", "3"),
        ("pow(2, 10)", "1024.0"),
        ("power(2, 0.5)", "1.4142135623730951"),
        ("pow(-8, 1.0 / 3)", "NULL"),
        ("pow(2, 'x')", "NULL"),
        ("mod(7, 3)", "1.0"),
        ("mod(-7.5, 3)", "-1.5"),
        ("mod(7, 0)", "NULL"),
        ("sqrt(2)", "1.4142135623730951"),
        ("sqrt(-1)", "NULL"),
        ("ln(0)", "NULL"),
        ("ln(-1)", "NULL"),
        ("exp(0)", "1.0"),
        ("log(1000)", "3.0"),
        ("log10(1000)", "3.0"),
        ("log2(8)", "3.0"),
        ("log(2, 8)", "3.0"),
        ("log(1, 8)", "NULL"),
        ("log(0.5, 8)", "NULL"),
        ("log(2, '8abc')", "3.0"),
        ("log('2abc', 8)", "NULL"),
        ("log(2, x'38')", "3.0"),
        ("log(2, NULL)", "NULL"),
        ("acos(2)", "NULL"),
        ("acosh(0.5)", "NULL"),
        ("atanh(1)", "Inf"),
        ("atan2(0, -1) = pi()", "1"),
        ("degrees(pi())", "180.0"),
        ("radians(180) = pi()", "1"),
        ("sin(0)", "0.0"),
    ];

    #[test]
    fn each_function_answers_as_sqlite_s_own_does() {
        let connection = connection();
        for (sql, answer) in ANSWERS {
            let got = answers(&connection, sql);
            let infinite = answer == "Inf" && got.contains("9.0e+999");
            assert!(
                infinite
                    || got.parse::<f64>().is_ok_and(|got| Ok(got) == answer.parse())
                        && got.contains('.') == answer.contains('.')
                    || got == answer,
                "{sql} is {got}, not {answer}"
            );
        }
    }

    /// Bit for bit; a unit or two in the last place are let pass where newer C libraries round better than fdlibm, and in the
    /// logarithms that older versions of SQLite had from dividing natural ones.
    #[test]
    fn results_are_those_of_another_sqlite_of_this_system() {
        let mut random = fastrand::Rng::with_seed(11);
        let mut calls = Vec::new();
        for _ in 0..100 {
            let (x, y) = (random.f64() * 20.0 - 10.0, (random.f64() - 0.5) * 10f64.powi(random.i32(-12..12)));
            for (name, _) in OF_ONE.iter().chain(&LOGARITHMS).chain(&ROUNDING) {
                calls.extend([x, y, x / 10.0, x.abs() + 1.0].map(|x| format!("{name}({x:e})")));
            }
            for (name, _) in OF_TWO {
                calls.extend([(x, y), (y, x)].map(|(x, y)| format!("{name}({x:e}, {y:e})")));
            }
            calls.push(format!("log({:e}, {:e})", x.abs(), y.abs()));
        }
        let script = "
import sqlite3, struct, sys
other = sqlite3.connect(':memory:')
for call in sys.stdin.read().split(';'):
    value = other.execute('SELECT ' + call).fetchone()[0]
    print('NULL' if value is None else struct.pack('>d', value).hex())
";
        let Some(answers) = python(script, &calls.join(";")) else {
            eprintln!("left out: there is no python3 here whose SQLite has mathematical functions");
            return;
        };
        let connection = connection();
        assert_eq!(answers.lines().count(), calls.len());
        for (call, theirs) in calls.iter().zip(answers.lines()) {
            let ours: Option<f64> =
                connection.query_row(&format!("SELECT {call}"), [], |row| row.get(0)).expect(call);
            let theirs = u64::from_str_radix(theirs, 16).ok();
            let vary = ["asinh", "acosh", "atanh", "log(", "log10", "log2"];
            let allowed = if vary.iter().any(|name| call.starts_with(name)) { 2 } else { 0 };
            let apart = match (ours.map(f64::to_bits), theirs) {
                (Some(ours), Some(theirs)) => ours.abs_diff(theirs),
                (ours, theirs) => u64::from(ours != theirs) * 3,
            };
            assert!(apart <= allowed, "{call}: {ours:?} is not {theirs:?}");
        }
    }

    /// What a script prints when it reads `input`; `None` where it cannot run.
    fn python(script: &str, input: &str) -> Option<String> {
        use std::io::Write;
        use std::process::{Command, Stdio};
        let mut python = Command::new("python3")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        // What it cannot take, it has ended before.
        let _ = python.stdin.take()?.write_all(input.as_bytes());
        let output = python.wait_with_output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    #[test]
    fn tables_may_use_the_functions_in_constraints_columns_and_indexes_of_a_schema_that_is_not_trusted() {
        let connection = connection();
        connection
            .set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)
            .expect("a setting");
        connection
            .execute_batch(
                "CREATE TABLE t (cents REAL CHECK (floor(cents) = cents), usd AS (round(cents / pow(10, 2), 2)));
                 CREATE INDEX i ON t (log2(cents));
                 INSERT INTO t (cents) VALUES (250);",
            )
            .expect("valid SQL");
        assert_eq!(answers(&connection, "(SELECT usd FROM t WHERE log2(cents) > 1)"), "2.5");
        assert!(connection.execute("INSERT INTO t (cents) VALUES (2.5)", []).is_err());
    }

    /// `sign` is built in and reads its argument with the same function of SQLite's.
    #[test]
    fn a_text_is_a_number_where_sqlite_takes_it_for_one() {
        let connection = connection();
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let (length, letters) = if random.bool() {
                (9, " \t0123456789.eE+-x")
            } else {
                (40, "0123456789012345678901234567890123456789.")
            };
            let length = random.usize(0..length);
            let letter = |_| random.choice(letters.as_bytes()).map_or(' ', |letter| char::from(*letter));
            let text: String = (0..length).map(letter).collect();
            let (ours, theirs): (Option<f64>, Option<f64>) = connection
                .query_row("SELECT abs(floor(?1)) > 0, abs(sign(?1)) FROM (SELECT ?1)", [&text], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .expect("an answer");
            assert_eq!(ours.is_some(), theirs.is_some(), "{text:?}");
            // Its value, to the last bit: mod by more than anything leaves it as it is.
            let (ours, theirs): (Option<f64>, Option<f64>) = connection
                .query_row(
                    "SELECT mod(?1, 1e999), CASE WHEN sign(?1) IS NULL THEN NULL ELSE 0.0 + ?1 END",
                    [&text],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .expect("an answer");
            assert!(ours == theirs || theirs.is_some_and(f64::is_infinite), "{text:?}: {ours:?}, {theirs:?}");
        }
    }
}
