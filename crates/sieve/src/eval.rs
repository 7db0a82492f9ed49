//! Running a script over one message.
//!
//! Pure: the same script, facts and time give the same [`Outcome`]. A script that fails keeps the
//! message as it came (RFC 5228 §2.10.6). Begin with [`evaluate`].

use std::collections::{BTreeMap, BTreeSet};

use message::Structure;
use stdx::Now;

use crate::actions::{Action, Facts, Mark, Outcome};
use crate::compile::{Call, Command, Program, Script, Test, Value};
use crate::fault::{Fault, Place};
use crate::limits::Limits;
use crate::matching::{self, Key, Kind};
use crate::template::{Piece, Template};

#[cfg(test)]
mod cases;
mod commands;
mod flags;
mod tests;

/// Remarks of one run.
const REMARKS_MAX: usize = 100;

/// Runs a script.
pub fn evaluate(script: &Script, facts: &Facts<'_>, now: Now, limits: &Limits) -> Outcome {
    let mut run = Run::new(script, facts, now, limits);
    let end = run.program(0);
    run.outcome(end.err())
}

/// What a fault of the script at run time says, and where.
pub(crate) struct Trouble(pub(crate) Place, pub(crate) String);

pub(crate) type Ran<T> = Result<T, Trouble>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    /// Back to the script that included this one.
    Return,
    Stop,
}

pub(crate) struct Run<'a> {
    pub(crate) script: &'a Script,
    pub(crate) facts: &'a Facts<'a>,
    pub(crate) limits: &'a Limits,
    pub(crate) now: Now,
    pub(crate) actions: Vec<Action>,
    /// Whether the message is kept if nothing else is done.
    pub(crate) keeps: bool,
    /// The message after edits; nothing while it is as it came.
    pub(crate) edited: Option<Vec<u8>>,
    /// The edited text differs from the last of `versions`.
    pub(crate) fresh: bool,
    pub(crate) versions: Vec<Vec<u8>>,
    pub(crate) structure: Option<Structure>,
    pub(crate) marks: Vec<Mark>,
    pub(crate) remarks: Vec<Fault>,
    pub(crate) globals: BTreeMap<String, String>,
    /// Variables of each program that runs, the innermost last.
    pub(crate) scopes: Vec<BTreeMap<String, String>>,
    pub(crate) matches: Vec<String>,
    pub(crate) flags: Vec<String>,
    /// The programs that run, the innermost last.
    pub(crate) stack: Vec<usize>,
    once: BTreeSet<usize>,
    work: u64,
    #[cfg(test)]
    pub(crate) guest: Option<&'static crate::testsuite::Bench>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(script: &'a Script, facts: &'a Facts<'a>, now: Now, limits: &'a Limits) -> Run<'a> {
        Run {
            script,
            facts,
            limits,
            now,
            actions: Vec::new(),
            keeps: true,
            edited: None,
            fresh: false,
            versions: Vec::new(),
            structure: None,
            marks: Vec::new(),
            remarks: Vec::new(),
            globals: BTreeMap::new(),
            scopes: Vec::new(),
            matches: Vec::new(),
            flags: Vec::new(),
            stack: Vec::new(),
            once: BTreeSet::new(),
            work: 0,
            #[cfg(test)]
            guest: None,
        }
    }

    pub(crate) fn outcome(mut self, trouble: Option<Trouble>) -> Outcome {
        if let Some(Trouble(place, says)) = trouble {
            let script = self.stack.last().map(|p| self.script.programs[*p].name.clone()).unwrap_or_default();
            return Outcome {
                actions: vec![Action::Keep { flags: Vec::new(), implicit: true, version: 0 }],
                trouble: Some(Fault { script, place, says }),
                remarks: self.remarks,
                ..Outcome::default()
            };
        }
        if self.keeps {
            let (flags, version) = (self.flags.clone(), self.version());
            self.actions.push(Action::Keep { flags, implicit: true, version });
        }
        Outcome {
            actions: self.actions,
            versions: self.versions,
            marks: self.marks,
            trouble: None,
            remarks: self.remarks,
        }
    }

    pub(crate) fn message(&self) -> &[u8] {
        self.edited.as_deref().unwrap_or(self.facts.message)
    }

    /// The number of the text as it is now, for an action.
    pub(crate) fn version(&mut self) -> usize {
        match &self.edited {
            None => 0,
            Some(text) => {
                if self.fresh {
                    self.versions.push(text.clone());
                    self.fresh = false;
                }
                self.versions.len()
            }
        }
    }

    pub(crate) fn edit(&mut self, text: Vec<u8>) {
        self.edited = Some(text);
        self.fresh = true;
        self.structure = None;
    }

    pub(crate) fn running(&self) -> &'a Program {
        let at = self.stack.last().copied().unwrap_or(0);
        &self.script.programs[at]
    }

    pub(crate) fn program(&mut self, at: usize) -> Ran<Flow> {
        self.stack.push(at);
        self.scopes.push(BTreeMap::new());
        let flow = self.commands(&self.script.programs[at].body)?;
        self.stack.pop();
        self.scopes.pop();
        Ok(flow)
    }

    pub(crate) fn commands(&mut self, commands: &'a [Command]) -> Ran<Flow> {
        for command in commands {
            match self.command(command)? {
                Flow::Next => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::Next)
    }

    fn command(&mut self, command: &'a Command) -> Ran<Flow> {
        match command {
            Command::If { branches, otherwise } => {
                for (test, body) in branches {
                    if self.test(test)? {
                        return self.commands(body);
                    }
                }
                self.commands(otherwise)
            }
            Command::Include { program, once } => {
                let before = !self.once.insert(*program);
                if *once && before {
                    return Ok(Flow::Next);
                }
                // RFC 6609 §3.1: match variables are the including script's own.
                let matches = std::mem::take(&mut self.matches);
                let flow = self.program(*program)?;
                self.matches = matches;
                Ok(if flow == Flow::Return { Flow::Next } else { flow })
            }
            Command::Call(call) => self.call(call),
            #[cfg(test)]
            Command::Guest(call, body) => crate::testsuite::command(self, call, body),
        }
    }

    pub(crate) fn test(&mut self, test: &'a Test) -> Ran<bool> {
        Ok(match test {
            Test::Known(value) => *value,
            Test::Not(test) => !self.test(test)?,
            // RFC 5228 §5.2, §5.3: from left to right, no further than needed; match variables
            // depend on it.
            Test::AnyOf(tests) => {
                for test in tests {
                    if self.test(test)? {
                        return Ok(true);
                    }
                }
                false
            }
            Test::AllOf(tests) => {
                for test in tests {
                    if !self.test(test)? {
                        return Ok(false);
                    }
                }
                true
            }
            Test::Call(call) => self.judge(call)?,
        })
    }

    /// Fills in a string.
    pub(crate) fn fill(&self, template: &Template) -> String {
        let mut out = String::new();
        for piece in &template.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Own(name) => {
                    out.push_str(self.scopes.last().and_then(|s| s.get(name)).map_or("", String::as_str));
                }
                Piece::Global(name) => out.push_str(self.globals.get(name).map_or("", String::as_str)),
                Piece::Match(n) => out.push_str(self.matches.get(*n).map_or("", String::as_str)),
            }
        }
        // RFC 5229 §3: a value may be cut where it gets too long.
        out.truncate(out.floor_char_boundary(self.limits.value_max));
        out
    }

    pub(crate) fn text(&self, call: &Call, at: usize) -> String {
        call.texts(at).first().map(|t| self.fill(t)).unwrap_or_default()
    }

    pub(crate) fn list(&self, call: &Call, at: usize) -> Vec<String> {
        call.texts(at).iter().map(|t| self.fill(t)).collect()
    }

    pub(crate) fn tag_text(&self, call: &Call, name: &str) -> Option<String> {
        call.tag_text(name).map(|t| self.fill(t))
    }

    pub(crate) fn tag_list(&self, call: &Call, name: &str) -> Option<Vec<String>> {
        match call.tag(name) {
            Some(Value::Texts(texts)) => Some(texts.iter().map(|t| self.fill(t)).collect()),
            _ => None,
        }
    }

    /// Compares values with keys; remembers what wildcards stood for.
    pub(crate) fn matches(&mut self, call: &Call, values: &[String], keys: &[String]) -> Ran<bool> {
        let how = call.matching;
        let count;
        let values = match how.kind {
            Kind::Count(_) => {
                count = [values.len().to_string()];
                &count[..]
            }
            _ => values,
        };
        let keys = self.keys(call, keys);
        for value in values {
            for key in &keys {
                self.work += (value.len() + key.len() + 16) as u64;
                if self.work > self.limits.work_max {
                    let says = "the script compares more text than is allowed";
                    return Err(Trouble(call.place, says.to_owned()));
                }
                if let Some(groups) = matching::fits(how, value, key) {
                    if !groups.is_empty() && self.running().variables {
                        self.matches = groups;
                    }
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Keys ready to be compared with; a broken regular expression fits nothing, and its owner
    /// is told.
    fn keys<'k>(&mut self, call: &Call, keys: &'k [String]) -> Vec<Key<'k>> {
        let mut out = Vec::with_capacity(keys.len());
        for key in keys {
            match Key::new(call.matching, key) {
                Ok(key) => out.push(key),
                Err(why) if self.remarks.len() < REMARKS_MAX => {
                    let script = self.running().name.clone();
                    let says = format!("\"{key}\" is no regular expression: {why}");
                    self.remarks.push(Fault { script, place: call.place, says });
                }
                Err(_) => {}
            }
        }
        out
    }
}
