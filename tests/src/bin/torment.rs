//! Deaths and broken disks for the built commands, for as long as is wanted. What a test runs in seconds is run here
//! thousands of times; a failure keeps its folder, and names it with what it takes to run it again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use driftless_tests::Commands;
use driftless_tests::crash::kills;
use driftless_tests::crash::report::Tally;

const AFTER_HELP: &str = "\
The commands that are tormented are built first, in the profile of this program. Take the release profile, and a folder
in memory for the files:

  TMPDIR=/dev/shm cargo run --release -p driftless-tests --bin torment -- kills --count 5000

Exit codes: 0 everything held, 1 something did not (its folder is kept and named, with the seed), 2 wrong usage.";

/// Kill the built commands, break their disk, and see that nothing is lost
#[derive(Parser)]
#[command(name = "torment", after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    torment: Torment,
    /// Print the summary as JSON, and no progress
    #[arg(long, global = true)]
    json: bool,
    /// Where randomness begins [default: another each time]
    #[arg(long, global = true, value_name = "N")]
    seed: Option<u64>,
}

#[derive(Subcommand)]
enum Torment {
    /// SIGKILL at random moments: syncs and relay, while apps write
    Kills {
        /// How many kills
        #[arg(long, default_value_t = 5000)]
        count: u64,
        /// After how many of them everything must agree, and a new folder is begun
        #[arg(long, default_value_t = 150)]
        round: u64,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let seed = cli.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    // Before anything is measured.
    Commands::get();
    let tally = match &cli.torment {
        Torment::Kills { .. } => Tally::new(&["kills", "relay kills", "rounds", "transactions"], cli.json),
    };
    if !cli.json {
        eprintln!("seed {seed}");
    }
    let held = catch_unwind(AssertUnwindSafe(|| match cli.torment {
        Torment::Kills { count, round } => {
            let mut begun = 0;
            while begun < count {
                // A round that failed runs again alone with its own seed.
                let size = round.min(count - begun);
                kills::round(seed + tally.get("rounds"), size, &tally);
                tally.add("rounds", 1);
                begun += size;
            }
        }
    }));
    if cli.json {
        let mut summary = tally.to_json();
        summary["seed"] = seed.into();
        summary["held"] = held.is_ok().into();
        println!("{summary:#}");
    } else {
        eprintln!();
        println!("{}; {}", tally.line(), if held.is_ok() { "everything held" } else { "FAILED" });
    }
    if held.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
