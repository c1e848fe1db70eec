//! A disk that fails on purpose, as those see it who write databases on it.

mod clock;
mod deaths;
mod faults;
mod plain;
mod power;
mod workload;
