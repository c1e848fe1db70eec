//! Replicas without a relay, whose texts are looked at.

use driftless::{Config, TableOptions, Value};
use driftless_tests::Replicas;

use super::{digests, hasty, text};

/// Replicas that have met, all with these tables, of which `notes` is tracked.
pub(super) fn replicas(count: usize, statements: &str, options: &TableOptions) -> Replicas {
    let mut replicas = Replicas::new(count, statements, &["notes"], options);
    meet(&mut replicas);
    replicas
}

/// Settings of a replica that looks at a table as soon as it was rebuilt.
pub(super) fn at_once() -> Config {
    let mut config = Config::default();
    config.rebuild_quiet = std::time::Duration::ZERO;
    config
}

/// Puts this in the place of `from` in the body of the note 'n', and captures it.
pub(super) fn edit(replicas: &mut Replicas, number: usize, from: &str, to: &str) {
    let old = text(replicas.path(number), "n").expect("a text");
    assert!(old.contains(from), "{old:?} has no {from:?}");
    set(replicas, number, &old.replacen(from, to, 1));
}

/// The note 'n' has this body now.
pub(super) fn set(replicas: &mut Replicas, number: usize, new: &str) {
    let set = hasty(replicas.path(number)).execute("UPDATE notes SET body = ?1 WHERE id = 'n'", [new]);
    set.expect("updated");
    replicas.capture(number);
}

/// Everybody gets everything: then all is equal everywhere.
#[track_caller]
pub(super) fn meet(replicas: &mut Replicas) {
    exchange(replicas);
    replicas.assert_same_tables();
}

/// Everybody gets everything; tables that are not tracked everywhere may differ.
#[track_caller]
pub(super) fn exchange(replicas: &mut Replicas) {
    replicas.carry();
    let conflicts = |path| driftless::conflicts(path).expect("the conflicts");
    for path in replicas.paths() {
        assert_eq!(conflicts(path), conflicts(replicas.path(0)), "{}", path.display());
        assert_eq!(digests(path), digests(replicas.path(0)), "{}", path.display());
        let status = driftless::status(path).expect("a status");
        assert_eq!((status.waiting, status.quarantined), (0, 0), "{}", path.display());
    }
}

/// The body of the note 'n', which must be the same everywhere and without a conflict.
#[track_caller]
pub(super) fn assert_body(replicas: &Replicas, expected: &str) {
    for path in replicas.paths() {
        assert_eq!(text(path, "n").as_deref(), Some(expected), "{}", path.display());
        assert_eq!(driftless::conflicts(path).expect("the conflicts"), []);
    }
}

/// The values that stand in the body of the note 'n': first the one shown.
pub(super) fn standing(replicas: &Replicas) -> Vec<Value<'static>> {
    let conflicts = driftless::conflicts(replicas.path(0)).expect("the conflicts");
    let of_body = conflicts.into_iter().filter(|conflict| conflict.column == "body");
    of_body
        .flat_map(|conflict| std::iter::once(conflict.shown).chain(conflict.kept))
        .map(|written| written.value)
        .collect()
}
