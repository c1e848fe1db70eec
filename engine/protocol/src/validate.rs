//! The only Yrs updates and state vectors that are accepted from outside.
