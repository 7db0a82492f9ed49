//! Checks: `that = "rejections <= 3"` and what it looks at.

use config::value::nearest;
use stdx::Span;

use super::{Names, names_of, refer};
use crate::file::{At, Table, span};
use crate::measure::MEASURES;
use crate::scene::{Bound, Check, Filter, From, Instant, Op};

/// Signs, the longer first.
const OPS: &[(&str, Op)] = &[
    ("<=", Op::AtMost),
    (">=", Op::AtLeast),
    ("!=", Op::IsNot),
    ("=", Op::Is),
    ("<", Op::Below),
    (">", Op::Above),
];

pub(super) fn read(top: &Table<'_>, names: &Names) -> Vec<Check> {
    let mut all = Vec::new();
    for table in top.tables("check") {
        let that = table.need("that", "\"dsns = 0\"", table.text("that"));
        let filter = filter(&table, names);
        if let Some((measure, op, bound)) = that.as_ref().and_then(|t| said(&table, t)) {
            let that = that.map_or(String::new(), |t| t.value);
            all.push(Check { that, measure, op, bound, filter });
        }
        table.done();
    }
    all
}

fn said(table: &Table<'_>, that: &At<String>) -> Option<(String, Op, Bound)> {
    let wrong = |what: String, remedy: String| {
        table.fault(that.at.clone(), what, remedy);
        None
    };
    let Some((at, sign, op)) = OPS
        .iter()
        .filter_map(|(s, op)| that.value.find(s).map(|at| (at, *s, *op)))
        .min_by_key(|(at, s, _)| (*at, 9 - s.len()))
    else {
        return wrong("a check compares a measure with a bound".into(), "write that = \"dsns = 0\"".into());
    };
    let (measure, bound) = (that.value[..at].trim(), that.value[at + sign.len()..].trim());
    if !known(measure) {
        let remedy = match nearest(measure, MEASURES.iter().map(|(n, _)| *n)) {
            Some(near) => format!("did you mean {near}?"),
            None => "docs/operating/drills.md lists what is measured".into(),
        };
        return wrong(format!("nothing called \"{measure}\" is measured"), remedy);
    }
    // What stands on a bill begins with a number and is a word all the same.
    let read = if measure == "bill" { Some(Bound::Text(bound.to_owned())) } else { read_bound(bound) };
    match read {
        Some(bound) => Some((measure.to_owned(), op, bound)),
        None => wrong(
            format!("\"{bound}\" is no bound"),
            "write a number, a time with its unit, a word, or another measure".into(),
        ),
    }
}

fn known(measure: &str) -> bool {
    MEASURES.iter().any(|(name, _)| *name == measure)
}

fn read_bound(text: &str) -> Option<Bound> {
    if text.is_empty() {
        return None;
    }
    if known(text) {
        return Some(Bound::Measure(text.to_owned()));
    }
    if let Some(percent) = text.strip_suffix('%') {
        return percent.trim().parse::<f64>().ok().map(|n| Bound::Number(n / 100.0));
    }
    if let Ok(n) = text.parse::<f64>() {
        return Some(Bound::Number(n));
    }
    match span(text) {
        Ok(span) => Some(Bound::Span(span)),
        Err(_) if text.starts_with(|c: char| c.is_ascii_digit()) => None,
        Err(_) => Some(Bound::Text(text.to_owned())),
    }
}

fn filter(table: &Table<'_>, names: &Names) -> Filter {
    let places = |key, known: &std::collections::BTreeMap<String, usize>, what: &str| {
        names_of(table, key).iter().filter_map(|n| refer(table, known, n, what).copied()).collect::<Vec<_>>()
    };
    let mut from = Vec::new();
    for one in names_of(table, "from") {
        match names.senders.get(&one.value) {
            Some(accounts) => from.extend(accounts.iter().cloned()),
            None => from.push(one.value),
        }
    }
    let egress = names_of(table, "egress");
    for name in &egress {
        refer(table, &names.egresses, name, "[[egress]]");
    }
    Filter {
        to: places("to", &names.destinations, "[[destination]]"),
        from,
        egress: egress.into_iter().map(|e| e.value).collect(),
        traffic: places("traffic", &names.traffic, "[[traffic]]"),
        peer: places("peer", &names.peers, "[[peer]]"),
        after: instant(table, "after"),
        until: instant(table, "until"),
        per: table.span("per"),
        kind: table.text("kind").map(|t| t.value),
        text: table.text("text").map(|t| t.value),
        group: table.text("group").map(|t| t.value),
        zone: table.text("zone").map(|t| t.value),
    }
}

/// `"30 min"`, `"move"`, `"move + 5 s"`, `"refusal + 1 h"`.
fn instant(table: &Table<'_>, key: &'static str) -> Option<Instant> {
    let wanted = "\"30 min\", \"move\", \"move + 5 s\" or \"refusal\"";
    let read = table.get(key, wanted, |v| {
        let text = crate::file::text(v)?;
        let (word, plus) = match text.split_once('+') {
            Some((word, plus)) => (word.trim().to_owned(), span(plus.trim())?),
            None => (text.trim().to_owned(), Span::ZERO),
        };
        match word.as_str() {
            "move" => Ok(Instant { from: From::Move, plus }),
            "refusal" => Ok(Instant { from: From::Refusal, plus }),
            "0" => Ok(Instant { from: From::Begin, plus }),
            word => span(word).map(|at| Instant { from: From::Begin, plus: Span(at.0 + plus.0) }),
        }
    });
    read.map(|a| a.value)
}
