//! `driftless verify`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use driftless::{Check, Error, OtherSpace, SyncConfig, Verification, VerifyOptions};
use serde_json::json;

use crate::output;

/// The exit code when something differs and is not repaired.
const DIFFERS: u8 = 7;

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// The SQLite database
    pub(crate) file: PathBuf,
    /// Also compare with everything in this space: ws://host:port/<space> or wss://…
    url: Option<String>,
    /// Repair what can be repaired; no engine may be running on the file
    #[arg(long)]
    repair: bool,
    /// A token that grants access, where the relay asks for one
    #[arg(long, requires = "url")]
    token: Option<String>,
    /// With an address: give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let relay = args.url.as_ref().map(|url| SyncConfig::new(url).token(args.token.clone()));
    let options =
        VerifyOptions::default().repair(args.repair).relay(relay).timeout(Duration::from_secs(args.timeout));
    let what = format!("verifying {}", args.file.display());
    let progress = output::Progress::begin(what.clone());
    let verified = driftless::verify_telling(&args.file, &options, &mut |doing| {
        progress.say(format!("{what}: {doing}"))
    });
    drop(progress);
    let verification = verified?;
    if args.json {
        output::json(&json!({
            "file": args.file.display().to_string(),
            "well": verification.is_well(),
            "tracked_tables": verification.tracked_tables,
            "engine_running": verification.engine_running,
            "checks": verification.checks,
            "repairs": verification.repairs,
            "after": verification.after,
        }))?;
    } else {
        output::line(&to_text(&verification, args))?;
    }
    Ok(match (verification.is_well(), is_nothing_tracked(&verification)) {
        (true, _) => ExitCode::SUCCESS,
        (false, true) => ExitCode::from(crate::NOTHING_TRACKED),
        (false, false) => ExitCode::from(DIFFERS),
    })
}

/// The close code of a relay that has no such space.
const NO_SUCH_SPACE: u16 = 4404;

/// The text of an error. The library's texts about a wrong address say how to sync; these say how to verify.
pub(crate) fn explain(args: &VerifyArgs, error: &Error) -> String {
    let url = args.url.as_deref().unwrap_or_default();
    match error {
        Error::OtherSpace { last, meant, why, .. } => {
            let found = match why {
                OtherSpace::Missing => format!("there is no space at {url}"),
                _ => format!("{url} is another space"),
            };
            let or_last = if last == meant {
                String::new()
            } else {
                format!("; if the relay is mistyped as well: {}", command(args, last))
            };
            format!(
                "'{}' was last synced with {last}, and {found}; a file is compared with its own space only; if the name is \
                 mistyped: {}{or_last}",
                args.file.display(),
                command(args, meant)
            )
        }
        Error::Refused { code: NO_SUCH_SPACE, .. } => no_space(args, url),
        other => other.to_string(),
    }
}

/// Says that the relay has no such space. Beside a running engine `verify` does not find out which space the file belongs to, so
/// the last address is all that it can propose.
fn no_space(args: &VerifyArgs, url: &str) -> String {
    let name = args.file.display();
    match driftless::status(&args.file).ok().and_then(|status| status.last_contact) {
        Some(last) if last.url != url => format!(
            "there is no space at {url}, and '{name}' was last synced with {}; if the address is mistyped: {}",
            last.url,
            command(args, &last.url)
        ),
        _ => format!(
            "there is no space at {url} to compare '{name}' with; the next sync with that address makes it and fills it, then \
             verify again: {}",
            command(args, url)
        ),
    }
}

/// The same command with another address.
fn command(args: &VerifyArgs, url: &str) -> String {
    let file = output::shell_word(&args.file.to_string_lossy());
    let repair = if args.repair { " --repair" } else { "" };
    format!("driftless verify {file} {}{repair}", output::shell_word(url))
}

/// Whether nothing differs only because there is nothing to compare.
fn is_nothing_tracked(verification: &Verification) -> bool {
    verification.tracked_tables == 0 && verification.differences() == 0
}

fn to_text(verification: &Verification, args: &VerifyArgs) -> String {
    let mut lines = checks(&verification.checks);
    if verification.engine_running {
        lines.push(
            "a sync is running: changes from the last moments were not checked, nor whether the right rows are parked"
                .to_owned(),
        );
    }
    if !verification.repairs.is_empty() {
        lines.push("\nrepaired:".to_owned());
        lines.extend(verification.repairs.iter().map(|repair| format!("  {repair}")));
    }
    if let Some(after) = &verification.after {
        lines.push("\nafterwards:".to_owned());
        lines.extend(checks(after));
    }
    lines.push(String::new());
    if is_nothing_tracked(verification) {
        lines.push(format!(
            "no table of this file is tracked, so nothing of it travels and there is nothing to compare; begin with: driftless \
             track {} --all",
            output::shell_word(&args.file.to_string_lossy())
        ));
        return lines.join("\n");
    }
    lines.push(match (verification.is_well(), verification.differences(), args.repair) {
        (true, 0, _) => "all is well".to_owned(),
        (true, found, _) => format!("{} found, and repaired", output::count(found, "difference")),
        (false, found, false) => format!(
            "{} found; `driftless verify {}{} --repair` repairs what it can",
            output::count(found, "difference"),
            args.file.display(),
            args.url.as_ref().map(|url| format!(" {url}")).unwrap_or_default()
        ),
        (false, ..) if args.url.is_none() => {
            "not all of it could be repaired; with the address of the space more can \
             be: what the others hold"
                .to_owned()
        }
        (false, ..) => "not all of it could be repaired".to_owned(),
    });
    lines.join("\n")
}

/// The name of a check in the text output.
fn called(name: &str) -> &str {
    match name {
        "sqlite" => "SQLite",
        "quarantine" => "set aside",
        "relay" => "space",
        name => name,
    }
}

fn checks(checks: &[Check]) -> Vec<String> {
    let mut lines = Vec::new();
    for check in checks {
        let verdict = match check.differences {
            0 => "ok".to_owned(),
            n => output::count(n, "difference"),
        };
        let waiting = match check.waiting {
            0 => String::new(),
            1 => ", 1 left out that waits to be captured or shown".to_owned(),
            n => format!(", {n} left out that wait to be captured or shown"),
        };
        lines.push(format!(
            "{:12}  {:>9} looked at{waiting}: {verdict}",
            called(check.name),
            check.looked_at
        ));
        for differs in &check.shown {
            let place = match (&differs.table, &differs.key) {
                (Some(table), Some(key)) => format!("{table} [{key}]: "),
                (Some(table), None) => format!("{table}: "),
                _ => String::new(),
            };
            lines.push(format!("  {place}{}", differs.what));
        }
        let more = check.differences.saturating_sub(check.shown.len() as u64);
        if more > 0 {
            lines.push(format!("  and {more} more"));
        }
        lines.extend(check.notes.iter().map(|note| format!("  {note}")));
    }
    lines
}
