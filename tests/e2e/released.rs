//! What is built to be released: without what tests switch on.

use std::path::Path;
use std::process::Command;

/// The features with which cargo builds the engine and the relay, as it lists them.
fn features(what: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "features,no-dev", "--prefix", "none"])
        .args(what)
        .current_dir(root)
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    String::from_utf8(tree.stdout).expect("text")
}

/// `cargo build --release` in the workspace's folder built the tests as well, and so the command with whatever features they
/// switch on.
#[test]
fn what_is_built_to_be_released_has_nothing_that_is_for_tests() {
    for what in [&[][..], &["--package", "driftless"], &["--package", "driftless-relay"]] {
        let built = features(what);
        assert!(built.contains("driftless-protocol v"), "{what:?} {built}");
        assert!(
            !built.contains("feature \"sim\"") && !built.contains("driftless-planted"),
            "{what:?} {built}"
        );
    }
    let tests = features(&["--workspace"]);
    assert!(tests.contains("driftless feature \"sim\"") && tests.contains("driftless-planted"), "{tests}");
}
