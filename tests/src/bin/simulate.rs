//! Whole clusters on one thread each, drawn from seeds, until the time is up or something does not hold.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use driftless_tests::planted;
use driftless_tests::sim::{self, Crowd, Failure, Run, Scenario, Summary};

/// Runs clusters of engines and relays under faults, and checks what Driftless promises.
///
/// Each seed makes up a schema, some files and relays, apps that write to them, and faults: networks that lose, repeat and
/// damage, processes that are killed in the middle of a write, machines that lose power, disks that fill up, clocks that
/// jump, files that are copied and restored, relays that forget. A run that breaks a promise is shortened to the few
/// decisions that it takes and kept as a file, and the command that runs it again is printed.
///
/// Exit code 0: everything held. 1: something did not. 2: wrong arguments.
#[derive(Debug, Parser)]
#[command(name = "simulate", version)]
struct Arguments {
    /// Go on for so many minutes.
    #[arg(long, value_name = "N", conflicts_with = "seeds", value_parser = minutes)]
    minutes: Option<f64>,
    /// Run so many seeds. Without this and --minutes: 1000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// The first seed; the others follow it. Without it: drawn, and printed.
    #[arg(long, value_name = "SEED")]
    from: Option<u64>,
    /// How many clusters at once. Without it: as many as there are processors.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Run this seed alone and print all that happens.
    #[arg(long, value_name = "SEED", conflicts_with_all = ["minutes", "seeds", "from", "replay"])]
    seed: Option<u64>,
    /// Run a kept scenario and print all that happens.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Plant each bug that the engine and the relay know of, or those that are named, one after the other, and look in how
    /// many seeds it is found: at the most --seeds, 3000 without it.
    #[arg(long, value_name = "BUG", num_args = 0.., conflicts_with_all = ["minutes", "seed", "replay"])]
    planted: Option<Vec<String>>,
    /// Do not shorten what fails, and keep nothing.
    #[arg(long)]
    no_shrink: bool,
    /// Where to keep what fails. Without it: a folder of its own among the system's temporary files. What is kept in
    /// tests/seeds is replayed by every test run
    #[arg(long, value_name = "FOLDER")]
    keep_in: Option<PathBuf>,
    /// Print the summary as JSON, and all else to stderr.
    #[arg(long, conflicts_with_all = ["seed", "replay"])]
    json: bool,
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let possible = minutes > 0.0 && minutes <= 1e6;
    possible.then_some(minutes).ok_or_else(|| "more than 0, and a million at most".to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    sim::quiet_panics();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything held.
fn run(arguments: &Arguments) -> Result<bool> {
    if let Some(path) = &arguments.replay {
        return Ok(told(&sim::replay(&Scenario::load(path)?, true), false));
    }
    if let Some(seed) = arguments.seed {
        let run = sim::run(seed, true);
        let held = told(&run, false);
        if !held && !arguments.no_shrink {
            shrink_and_keep(&run, arguments.keep_in.as_deref())?;
        }
        return Ok(held);
    }
    if let Some(names) = &arguments.planted {
        return planted(arguments, names);
    }
    crowd(arguments)
}

fn told(run: &Run, json: bool) -> bool {
    let seed = run.scenario.seed;
    match &run.failure {
        Some(failure) => say(json, &format!("seed {seed}: {failure}")),
        None => say(json, &format!("seed {seed}: everything held, after {} steps", run.tally.steps)),
    }
    run.failure.is_none()
}

fn say(json: bool, line: &str) {
    if json { eprintln!("{line}") } else { println!("{line}") }
}

fn threads(arguments: &Arguments) -> usize {
    arguments.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from))
}

fn crowd(arguments: &Arguments) -> Result<bool> {
    let begun = Instant::now();
    let first = arguments.from.unwrap_or_else(|| fastrand::u64(..1 << 48));
    let count = match (arguments.minutes, arguments.seeds) {
        (Some(_), _) => None,
        (None, count) => Some(count.unwrap_or(1000)),
    };
    let crowd = Crowd {
        first,
        count,
        until: arguments.minutes.map(|minutes| begun + Duration::from_secs_f64(minutes * 60.0)),
        threads: threads(arguments),
        most_failures: 20,
    };
    eprintln!("seeds from {first}");
    // A line that is written over and over, or where nobody looks, some lines.
    let between = Duration::from_secs(if std::io::stderr().is_terminal() { 1 } else { 30 });
    let last = Mutex::new(begun);
    let failed = Mutex::new(Vec::new());
    let summary = crowd.run(|run, summary| {
        let mut last = last.lock().expect("nobody panics while holding it");
        if run.failure.is_some() {
            told(run, arguments.json);
            failed
                .lock()
                .expect("nobody panics while holding it")
                .push((run.scenario.clone(), run.failure.clone()));
        }
        if last.elapsed() >= between {
            *last = Instant::now();
            progress(summary, begun, arguments.minutes);
        }
    });
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    let failed = failed.into_inner().expect("all threads are done");
    for (scenario, failure) in failed.iter().filter(|_| !arguments.no_shrink).take(3) {
        if let Some(failure) = failure
            && let Err(error) = keep(scenario, failure, arguments.keep_in.as_deref(), arguments.json)
        {
            eprintln!("error: {error:#}");
        }
    }
    report(&summary, first, arguments.json)?;
    Ok(summary.failures.is_empty())
}

fn progress(summary: &Summary, begun: Instant, minutes: Option<f64>) {
    let of = minutes.map(|minutes| format!(" of {:.0} s", minutes * 60.0)).unwrap_or_default();
    let line = format!("{summary}, {} s{of}", begun.elapsed().as_secs());
    if std::io::stderr().is_terminal() {
        eprint!("\r{line}   ");
    } else {
        eprintln!("{line}");
    }
}

fn report(summary: &Summary, first: u64, json: bool) -> Result<()> {
    if json {
        let failures: Vec<_> = summary
            .failures
            .iter()
            .map(|(seed, failure)| serde_json::json!({ "seed": seed, "rule": failure.rule, "found": failure.found }))
            .collect();
        let report = serde_json::json!({
            "first": first,
            "seeds": summary.seeds,
            "steps": summary.tally.steps,
            "transactions": summary.tally.transactions,
            "faults": summary.tally.faults,
            "frames": summary.tally.frames,
            "virtual_seconds": summary.tally.time / 1000,
            "seconds": summary.took.as_secs_f64(),
            "failures": failures,
        });
        println!("{}", serde_json::to_string_pretty(&report).context("writing the summary")?);
        return Ok(());
    }
    println!("{summary}; {} steps, {:.0} s", summary.tally.steps, summary.took.as_secs_f64());
    if summary.failures.is_empty() {
        println!("everything held");
    }
    Ok(())
}

fn shrink_and_keep(run: &Run, folder: Option<&Path>) -> Result<()> {
    match &run.failure {
        Some(failure) => keep(&run.scenario, failure, folder, false),
        None => Ok(()),
    }
}

fn keep(scenario: &Scenario, failure: &Failure, folder: Option<&Path>, json: bool) -> Result<()> {
    let folder = folder.map_or_else(|| std::env::temp_dir().join("driftless-seeds"), Path::to_owned);
    let (small, failure) = sim::shrink(scenario, failure, |left| {
        eprint!("\rseed {}: shortened to {left} steps   ", scenario.seed);
        true
    });
    eprintln!();
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // Another failure under the same seed is kept beside the first.
    let path = (1..)
        .map(|n| {
            folder.join(format!(
                "{}{}.json",
                scenario.seed,
                if n == 1 { String::new() } else { format!("-{n}") }
            ))
        })
        .find(|path| std::fs::read_to_string(path).map_or(true, |there| there == small.to_text()))
        .context("there is no name left")?;
    std::fs::write(&path, small.to_text()).with_context(|| format!("cannot write {}", path.display()))?;
    say(json, &format!("seed {}: {} steps are enough: {failure}", scenario.seed, small.steps.len()));
    say(json, &format!("kept in {}", path.display()));
    let again = "again: cargo run --release -p driftless-tests --bin simulate -- --replay";
    say(json, &format!("{again} {}", path.display()));
    Ok(())
}

fn planted(arguments: &Arguments, names: &[String]) -> Result<bool> {
    let all = planted::bugs();
    let place = |name: &String| {
        let known_ones = || all.iter().map(|bug| &*bug.name).collect::<Vec<_>>().join(", ");
        let place = all.iter().position(|bug| bug.name == *name);
        place.with_context(|| format!("there is no bug '{name}'; there are: {}", known_ones()))
    };
    let bugs: Vec<usize> = match names {
        [] => (0..all.len()).collect(),
        names => names.iter().map(place).collect::<Result<_>>()?,
    };
    if !driftless_planted::ARE_PLANTED {
        eprintln!("building a copy of the sources that has the bugs in it, in target/planted");
        return planted::run_planted("simulate", std::env::args_os().skip(1));
    }
    let most = arguments.seeds.unwrap_or(3000);
    let first = arguments.from.unwrap_or(0);
    let found = sim::find_planted(&bugs, first, most, threads(arguments), |bug, found| {
        if arguments.json {
            return;
        }
        match found {
            Some(found) => println!("{}: found in {} seeds: {}", all[bug].name, found.seeds, found.rule),
            None => println!("{}: not found in {most} seeds", all[bug].name),
        }
    });
    let missed = found.iter().filter(|(_, found)| found.is_none()).count();
    if arguments.json {
        let bugs: serde_json::Map<String, serde_json::Value> = found
            .iter()
            .map(|(bug, found)| {
                let found = found.map(|found| serde_json::json!({"seeds": found.seeds, "rule": found.rule}));
                (all[*bug].name.clone(), found.into())
            })
            .collect();
        println!("{}", serde_json::json!({"within": most, "from": first, "bugs": bugs}));
    } else {
        println!("{} of {} planted bugs found, within {most} seeds each", found.len() - missed, found.len());
    }
    Ok(missed == 0)
}
