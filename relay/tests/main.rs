//! Tests of the relay through its public API and its port.

mod command;
mod log_contract;
mod session;
mod support;
mod wire;
