//! The checks. Each only reads, and adds to the findings what differs and what is to be done about it.

pub(super) mod parked;
pub(super) mod rows;
pub(super) mod side;
pub(super) mod sqlite;
