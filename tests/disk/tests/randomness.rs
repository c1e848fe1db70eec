//! The random numbers that SQL draws. Alone in its process: SQLite has one generator for all threads.

use driftless_test_disk::set_randomness;
use rusqlite::Connection;

#[test]
fn sql_draws_the_same_under_the_same_seed() {
    let drawn = |seed| {
        set_randomness(seed);
        let connection = Connection::open_in_memory().expect("opens");
        let answer = connection.query_row("SELECT hex(randomblob(100)), random()", [], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
        });
        answer.expect("answers")
    };
    assert_eq!(drawn(Some(7)), drawn(Some(7)));
    assert_ne!(drawn(Some(7)), drawn(Some(8)));
    assert_ne!(drawn(None), drawn(None));
}
