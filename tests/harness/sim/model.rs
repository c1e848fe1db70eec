//! stub
use driftless_protocol::{ReplicaId, StateVector};
use rusqlite::Connection;

use super::scenario::Scenario;
use super::world::Checked;

#[derive(Debug)]
pub(super) struct Model {}

impl Model {
    pub(super) fn new(_scenario: &Scenario) -> Option<Self> {
        None
    }
    pub(super) fn before(&mut self, _n: usize, _app: &Connection) -> Checked {
        Ok(())
    }
    pub(super) fn wrote(&mut self, _n: usize, _app: &Connection) -> Checked {
        Ok(())
    }
    pub(super) fn after(&mut self, _n: usize, _name: ReplicaId, _vector: &StateVector, _app: &Connection) -> Checked {
        Ok(())
    }
    pub(super) fn check(&self, _app: &Connection, _vector: &StateVector, _forgetful: bool) -> Checked {
        Ok(())
    }
    pub(super) fn forgot(&mut self, _n: usize) {}
    pub(super) fn copied(&mut self, _from: usize, _to: usize) {}
}
