//! Every format, there and back: what is written is read as it was, and whatever else comes is refused, without a
//! panic and without much memory or time.

mod bombs;
mod changesets;
mod damage;
mod forged;
mod keys;
mod lanes;
mod messages;
mod sqlite_order;
mod strategies;
mod yrs_vectors;
