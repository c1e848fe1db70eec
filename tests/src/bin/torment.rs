//! Deaths and broken disks for the built commands, for as long as is wanted. What a test runs in seconds is run here
//! thousands of times; a failure keeps its folder, and names it with what it takes to run it again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use driftless_tests::Commands;
use driftless_tests::crash::cut_wal::{self, Cut};
use driftless_tests::crash::every_write::{self, Complaints, Plan};
use driftless_tests::crash::kills;
use driftless_tests::crash::report::Tally;
use driftless_tests::crash::trace::{self, Harm};
use driftless_tests::crash::workloads::{self, Workload};

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
        #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..))]
        count: u64,
        /// After how many of them everything must agree, and a new folder is begun
        #[arg(long, default_value_t = 150, value_parser = clap::value_parser!(u64).range(1..))]
        round: u64,
    },
    /// SIGKILL, or a failing disk, at each single write of fixed pieces of work (needs strace)
    EveryWrite {
        /// Only this piece of work; `--list` names them
        #[arg(long, value_parser = workload)]
        workload: Option<&'static Workload>,
        /// List the pieces of work
        #[arg(long)]
        list: bool,
        /// Only every so many writes
        #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
        every: u64,
        /// Instead of SIGKILL, let the write fail with this error
        #[arg(long, value_name = "ERROR", value_parser = ["ENOSPC", "EIO"])]
        error: Option<String>,
        /// With --error: how many more writes there fail; `all` for all that follow
        #[arg(long, value_name = "M", default_value = "0", requires = "error", value_parser = more)]
        more: String,
        /// Only these system calls: pwrite64,fsync
        #[arg(long, value_delimiter = ',')]
        calls: Vec<String>,
        /// How many at a time
        #[arg(long, default_value_t = 2)]
        threads: usize,
    },
    /// Cut the write-ahead log of a file, or of the relay, at each frame, as a crash of the machine might
    CutWal {
        /// How many images, every other one of the relay
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
        rounds: u64,
        /// Only every so many frames
        #[arg(long, value_name = "K", default_value = "1", value_parser = at_least_one)]
        every: usize,
        /// At so many bytes in between
        #[arg(long, default_value_t = 20)]
        random: usize,
    },
}

fn workload(name: &str) -> Result<&'static Workload, String> {
    Workload::named(name).ok_or_else(|| "there is no such piece of work; see --list".to_owned())
}

fn more(text: &str) -> Result<String, String> {
    let known = text == "all" || text.parse::<u64>().is_ok();
    known.then(|| text.to_owned()).ok_or_else(|| "a number, or 'all'".to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "a number, 1 at the least".to_owned())
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let seed = cli.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    match cli.torment {
        Torment::EveryWrite { list: true, .. } => {
            workloads::ALL.iter().for_each(|workload| println!("{:15} {}", workload.name, workload.about));
            ExitCode::SUCCESS
        }
        Torment::EveryWrite { .. } if !trace::is_possible() => ExitCode::from(2),
        torment => torment.run(seed, cli.json),
    }
}

impl Torment {
    fn run(self, seed: u64, json: bool) -> ExitCode {
        // Before anything is measured.
        if !json && std::env::var_os("DRIFTLESS_COMMANDS").is_none() {
            eprintln!("building the commands (DRIFTLESS_COMMANDS names a folder with built ones instead)");
        }
        Commands::get();
        let tally = match &self {
            Self::Kills { .. } => Tally::new(&["kills", "relay kills", "rounds", "transactions"], json),
            Self::EveryWrite { .. } => Tally::new(&every_write::COUNTS, json),
            Self::CutWal { .. } => Tally::new(&cut_wal::COUNTS, json),
        };
        if !json && !matches!(self, Self::EveryWrite { .. }) {
            eprintln!("seed {seed}");
        }
        let mut complaints = Complaints::new();
        let held = catch_unwind(AssertUnwindSafe(|| match self {
            Self::Kills { count, round } => {
                let mut begun = 0;
                while begun < count {
                    // A round that failed runs again alone with its own seed.
                    let size = round.min(count - begun);
                    kills::round(seed + tally.get("rounds"), size, &tally);
                    tally.add("rounds", 1);
                    begun += size;
                }
            }
            Self::EveryWrite { workload, every, error, more, calls, threads, .. } => {
                let harm = error.map_or(Harm::Kill, |error| Harm::Fail { error, more: more.parse().ok() });
                let plan = Plan { harm, every, calls, threads };
                for chosen in
                    workloads::ALL.iter().filter(|one| workload.is_none_or(|only| one.name == only.name))
                {
                    if !json {
                        eprintln!("{}: {}", chosen.name, tally.line());
                    }
                    for (complaint, times) in every_write::torment(chosen, &plan, &tally) {
                        *complaints.entry(format!("{}: {complaint}", chosen.name)).or_default() += times;
                    }
                }
            }
            Self::CutWal { rounds, every, random } => {
                for n in 0..rounds {
                    let cut = if n.is_multiple_of(2) { Cut::File } else { Cut::Relay };
                    cut_wal::round(cut, seed + n, every, random, &tally);
                }
            }
        }))
        .is_ok();
        if json {
            let mut summary = tally.to_json();
            summary["seed"] = seed.into();
            summary["held"] = held.into();
            summary["complaints"] = complaints.into_iter().collect();
            println!("{summary:#}");
        } else {
            eprintln!();
            complaints.iter().for_each(|(complaint, times)| println!("{times} times: {complaint}"));
            println!("{}; {}", tally.line(), if held { "everything held" } else { "FAILED" });
        }
        if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
