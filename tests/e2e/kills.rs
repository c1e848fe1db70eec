//! The built commands are killed at random while apps write. More of it: the program `torment`.

use driftless_tests::Commands;
use driftless_tests::crash::kills;
use driftless_tests::crash::report::Tally;

#[test]
fn syncs_and_relay_that_are_killed_again_and_again_lose_and_double_nothing() {
    Commands::get();
    let seeds = driftless_tests::seed().map_or(vec![1, 2], |seed| vec![seed]);
    let tally = Tally::new(&["kills", "relay kills", "transactions"], true);
    for seed in seeds {
        kills::round(seed, 60, &tally);
    }
    eprintln!("{}", tally.line());
}
