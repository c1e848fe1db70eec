//! The notes in a real browser: the tests are in `browser-tests`, and run where Node.js and a Chromium are installed.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where the environment has `DRIFTLESS_BROWSER_TESTS=required`, a machine that cannot run them fails; elsewhere it is said in
/// the output that they were not run, and how to.
#[test]
fn the_notes_work_in_a_browser() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser-tests/run");
    let required = std::env::var("DRIFTLESS_BROWSER_TESTS").is_ok_and(|wanted| wanted == "required");
    let output = Command::new(&script)
        .args(required.then_some("--required"))
        .env("DRIFTLESS_NOTES", env!("CARGO_BIN_EXE_driftless-notes"))
        .stdin(Stdio::null())
        .output()
        .expect("browser-tests/run starts");
    // Past the test runner, which shows what is printed by tests that fail, only: that nothing was tested is to be seen.
    let mut terminal = std::io::stderr().lock();
    let said = [output.stdout, output.stderr].concat();
    writeln!(terminal, "\n{}", String::from_utf8_lossy(&said).trim_end()).expect("stderr can be written to");
    assert!(output.status.success(), "{} failed: {}", script.display(), output.status);
}
