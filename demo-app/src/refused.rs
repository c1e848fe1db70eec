//! What a person asked for and cannot have.

/// What a person asked for and cannot have, and why.
#[derive(Debug)]
pub(crate) enum Refused {
    NotFound(&'static str),
    Taken(String),
    Invalid(&'static str),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFound(what) => write!(f, "there is no such {what}; it may have been deleted elsewhere"),
            Self::Taken(name) => write!(f, "there is a notebook called '{name}' already"),
            Self::Invalid(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Refused {}
