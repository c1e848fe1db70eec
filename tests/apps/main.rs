//! Real applications of real frameworks, each with its own migrations, beside the built commands: see README.md.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use driftless_tests::Commands;

/// Plays all scenarios with the app of one framework. Where the environment has `DRIFTLESS_APP_TESTS=required`, a machine without
/// the framework fails; elsewhere it is said in the output that they were not played, and how to.
fn plays_with(framework: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("apps/run");
    let required = std::env::var("DRIFTLESS_APP_TESTS").is_ok_and(|wanted| wanted == "required");
    let driftless = Commands::get().path("driftless");
    let output = Command::new(&script)
        .args(required.then_some("--required"))
        .arg(driftless.parent().expect("a command lies in a folder"))
        .arg(framework)
        .stdin(Stdio::null())
        .output()
        .expect("tests/apps/run starts");
    // Past the test runner, which shows what is printed by tests that fail, only: that nothing was played is to be seen.
    let mut terminal = std::io::stderr().lock();
    let said = [output.stdout, output.stderr].concat();
    writeln!(terminal, "\n{}", String::from_utf8_lossy(&said).trim_end()).expect("stderr can be written to");
    assert!(output.status.success(), "{} {framework} failed: {}", script.display(), output.status);
}

#[test]
fn two_machines_agree_with_django_and_its_migrations() {
    plays_with("django");
}

#[test]
fn two_machines_agree_with_sqlalchemy_and_alembic_in_batch_mode() {
    plays_with("alembic");
}

#[test]
fn two_machines_agree_with_sqlite_utils_and_its_transform() {
    plays_with("sqlite-utils");
}

#[test]
fn two_machines_agree_with_knex_and_its_migrations() {
    plays_with("knex");
}

#[test]
fn two_machines_agree_with_drizzle_and_its_migrator() {
    plays_with("drizzle");
}

#[test]
fn two_machines_agree_with_activerecord_and_its_migrations() {
    plays_with("activerecord");
}
