//! Decisions and why. A verdict without a reason cannot be built.

use std::fmt;

/// One reason: the name of the rule, a sentence for people, and the facts it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Stable name of the rule, `group.blocked`; what tests and tools match on.
    pub rule: &'static str,
    /// A plain sentence.
    pub says: String,
    /// Facts by name, in the order they matter: `("egress", "B")`, `("reply", "550 5.7.606 …")`.
    pub facts: Vec<(&'static str, String)>,
}

impl Reason {
    pub fn new(rule: &'static str, says: impl Into<String>) -> Reason {
        Reason { rule, says: says.into(), facts: Vec::new() }
    }
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Reason {
        self.facts.push((name, value.to_string()));
        self
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}", self.says, self.rule)?;
        for (name, value) in &self.facts {
            write!(f, "; {name}={value}")?;
        }
        f.write_str("]")
    }
}

/// One reason or more; never none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reasons {
    first: Reason,
    more: Vec<Reason>,
}

impl Reasons {
    pub fn one(first: Reason) -> Reasons {
        Reasons { first, more: Vec::new() }
    }
    pub fn and(mut self, reason: Reason) -> Reasons {
        self.more.push(reason);
        self
    }
    pub fn push(&mut self, reason: Reason) {
        self.more.push(reason);
    }
    pub fn first(&self) -> &Reason {
        &self.first
    }
    pub fn iter(&self) -> impl Iterator<Item = &Reason> {
        std::iter::once(&self.first).chain(&self.more)
    }
}

impl From<Reason> for Reasons {
    fn from(first: Reason) -> Reasons {
        Reasons::one(first)
    }
}

/// A decision with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<D> {
    pub decision: D,
    pub reasons: Reasons,
}

impl<D> Verdict<D> {
    pub fn new(decision: D, reasons: impl Into<Reasons>) -> Verdict<D> {
        Verdict { decision, reasons: reasons.into() }
    }
    pub fn map<E>(self, f: impl FnOnce(D) -> E) -> Verdict<E> {
        Verdict { decision: f(self.decision), reasons: self.reasons }
    }
}
