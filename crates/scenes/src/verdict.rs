//! Measured values beside their bounds.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};
use stdx::Span;

use crate::measure::{Value, take};
use crate::record::Record;
use crate::scene::{Bound, Check, Op, Scene};
use crate::standing;

/// One line of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub that: String,
    pub measure: String,
    /// What it was asked about.
    pub about: String,
    pub measured: Value,
    pub bound: String,
    pub passed: bool,
}

/// How a scene went.
#[derive(Clone, Debug)]
pub struct Report {
    pub name: String,
    pub title: String,
    pub played: Span,
    pub real: bool,
    pub lines: Vec<Line>,
}

/// Judges a record by the scene's checks and the standing ones.
pub fn judge(scene: &Scene, record: &Record, real: bool) -> Report {
    let standing = standing::checks(scene, real);
    let lines = scene.checks.iter().chain(&standing).map(|c| line(scene, record, c)).collect();
    Report { name: scene.name.clone(), title: scene.title.clone(), played: record.length(), real, lines }
}

fn line(scene: &Scene, record: &Record, check: &Check) -> Line {
    let measured = take(scene, record, &check.measure, &check.filter);
    let bound = match &check.bound {
        Bound::Number(n) => Value::Share(*n),
        Bound::Span(s) => Value::Span(*s),
        Bound::Text(t) if t == "none" => Value::Nothing,
        Bound::Text(t) => Value::Text(t.clone()),
        Bound::Measure(name) => take(scene, record, name, &check.filter),
    };
    Line {
        that: check.that.clone(),
        measure: check.measure.clone(),
        about: about(scene, check),
        passed: holds(&measured, check.op, &bound),
        bound: format!("{} {}", sign(check.op), print(&bound, &measured)),
        measured,
    }
}

fn holds(measured: &Value, op: Op, bound: &Value) -> bool {
    let order = match (measured, bound) {
        (Value::Nothing, Value::Nothing) => Some(std::cmp::Ordering::Equal),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        _ => match (number(measured), number(bound)) {
            (Some(a), Some(b)) => a.partial_cmp(&b),
            _ => None,
        },
    };
    let Some(order) = order else { return op == Op::IsNot };
    match op {
        Op::Is => order.is_eq(),
        Op::IsNot => order.is_ne(),
        Op::AtMost => order.is_le(),
        Op::AtLeast => order.is_ge(),
        Op::Below => order.is_lt(),
        Op::Above => order.is_gt(),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Count(n) => Some(*n as f64),
        Value::Share(n) => Some(*n),
        Value::Span(s) => Some(s.0 as f64),
        Value::Text(_) | Value::Nothing => None,
    }
}

const fn sign(op: Op) -> &'static str {
    match op {
        Op::Is => "=",
        Op::IsNot => "!=",
        Op::AtMost => "<=",
        Op::AtLeast => ">=",
        Op::Below => "<",
        Op::Above => ">",
    }
}

/// A bound is printed in the manner of what it bounds.
fn print(value: &Value, like: &Value) -> String {
    match (value, like) {
        (Value::Share(n), Value::Share(_)) => format!("{:.1} %", n * 100.0),
        (Value::Share(n), _) => format!("{n}"),
        (Value::Count(n), _) => n.to_string(),
        (Value::Span(s), _) => s.to_string(),
        (Value::Text(t), _) => t.clone(),
        (Value::Nothing, _) => "none".into(),
    }
}

fn about(scene: &Scene, check: &Check) -> String {
    let f = &check.filter;
    let mut parts = Vec::new();
    let names = |all: &[usize], name: &dyn Fn(usize) -> String| {
        all.iter().map(|n| name(*n)).collect::<Vec<_>>().join(", ")
    };
    if !f.to.is_empty() {
        parts.push(format!("to {}", names(&f.to, &|n| scene.destinations[n].name.clone())));
    }
    if !f.egress.is_empty() {
        parts.push(format!("by {}", f.egress.join(", ")));
    }
    if !f.from.is_empty() {
        parts.push(format!("from {}", sender_names(scene, &f.from)));
    }
    if !f.peer.is_empty() {
        parts.push(format!("at {}", names(&f.peer, &|n| scene.peers[n].name.clone())));
    }
    if !f.traffic.is_empty() {
        parts.push(format!("of {}", names(&f.traffic, &|n| scene.traffic[n].name.clone())));
    }
    for (word, value) in [("about", &f.text), ("kind", &f.kind), ("group", &f.group), ("zone", &f.zone)] {
        if let Some(value) = value {
            parts.push(format!("{word} {value}"));
        }
    }
    for (word, instant) in [("after", &f.after), ("until", &f.until)] {
        if let Some(at) = instant {
            let from = match at.from {
                crate::scene::From::Begin => "",
                crate::scene::From::Move => "the move + ",
                crate::scene::From::Refusal => "the first refusal + ",
            };
            parts.push(format!("{word} {from}{}", at.plus));
        }
    }
    parts.join(", ")
}

/// The names of whole groups of senders, else their addresses.
fn sender_names(scene: &Scene, from: &[String]) -> String {
    match scene.senders.iter().find(|s| s.accounts == from) {
        Some(sender) => sender.name.clone(),
        None => from.join(", "),
    }
}

impl Report {
    pub fn passed(&self) -> bool {
        self.lines.iter().all(|l| l.passed)
    }

    /// A table for people.
    pub fn text(&self) -> String {
        let world = if self.real { "on real sockets" } else { "in virtual time" };
        let mut out = format!("{}: {} ({} played {world})\n\n", self.name, self.title, self.played);
        let rows: Vec<[String; 4]> = self
            .lines
            .iter()
            .map(|l| {
                let that = if l.that.starts_with(&l.measure) { l.measure.clone() } else { l.that.clone() };
                let that = if l.about.is_empty() { that } else { format!("{that} ({})", l.about) };
                let verdict = if l.passed { "pass" } else { "FAIL" };
                [verdict.into(), that, print(&l.measured, &l.measured), l.bound.clone()]
            })
            .collect();
        let wide = |n: usize| rows.iter().map(|r| r[n].chars().count()).max().unwrap_or(0);
        let (a, b) = (wide(1), wide(2).max(8));
        for [verdict, that, measured, bound] in &rows {
            let _ = writeln!(out, "{verdict}  {that:<a$}  {measured:>b$}  {bound}");
        }
        let failed = self.lines.iter().filter(|l| !l.passed).count();
        let _ = match failed {
            0 => writeln!(out, "\nAll {} checks passed.", self.lines.len()),
            n => writeln!(out, "\n{n} of {} checks failed.", self.lines.len()),
        };
        out
    }

    pub fn json(&self) -> Json {
        let value = |v: &Value| match v {
            Value::Count(n) => json!(n),
            Value::Share(n) => json!(n),
            Value::Span(s) => json!({ "ms": s.0 }),
            Value::Text(t) => json!(t),
            Value::Nothing => Json::Null,
        };
        let lines = self.lines.iter().map(|l| {
            json!({ "check": l.that, "measure": l.measure, "about": l.about, "measured": value(&l.measured),
                "shown": print(&l.measured, &l.measured), "bound": l.bound, "passed": l.passed })
        });
        json!({ "name": self.name, "title": self.title, "played_ms": self.played.0, "real": self.real,
            "passed": self.passed(), "checks": lines.collect::<Vec<_>>() })
    }
}
