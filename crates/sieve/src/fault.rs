//! What is wrong with a script, and where.

use std::fmt;

/// A place in a script; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

/// One fault: where, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The name of an included script; empty for the script itself.
    pub script: String,
    pub place: Place,
    pub says: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.script.is_empty() {
            write!(f, "{}: ", self.script)?;
        }
        write!(f, "line {}, column {}: {}", self.place.line, self.place.column, self.says)
    }
}

/// Collects faults, up to a bound.
#[derive(Default)]
pub(crate) struct Faults {
    pub(crate) list: Vec<Fault>,
    pub(crate) script: String,
}

/// Faults listed at most; a script with more has one cause.
const FAULTS_MAX: usize = 100;

impl Faults {
    pub(crate) fn add(&mut self, place: Place, says: impl Into<String>) {
        if self.list.len() < FAULTS_MAX {
            self.list.push(Fault { script: self.script.clone(), place, says: says.into() });
        }
    }
}
