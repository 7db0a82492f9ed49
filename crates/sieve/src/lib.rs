//! Sieve and ManageSieve: grammar, evaluation, server machine.
//!
//! What it is: [`compile`] reads a script (RFC 5228 and the extensions in [`EXTENSIONS`]) and
//! says where it is wrong, by line and column; [`evaluate`] runs it over one message and says
//! what should be done, as values; [`manage`] is the ManageSieve server (RFC 5804).
//! What it is not: a deliverer. Nothing is stored, sent or remembered here; what is outside the
//! message (folders, marks of duplicates) is asked through [`Around`].
//! Begin with [`compile`], then `eval`.

pub mod actions;
mod compile;
mod dates;
mod eval;
mod fault;
mod headers;
mod lexer;
mod limits;
pub mod manage;
mod matching;
mod parse;
mod spec;
mod template;
#[cfg(test)]
mod testsuite;
mod vacation;

pub use actions::{Action, Around, Facts, Nowhere, Outcome, Reply};
pub use compile::{Alone, Library, Script, compile};
pub use eval::evaluate;
pub use fault::{Fault, Place};
pub use limits::Limits;
pub use spec::EXTENSIONS;
