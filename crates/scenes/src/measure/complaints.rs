//! Measures of complaints (whose they were, and who may learn of them) and of bills.

use std::collections::BTreeSet;

use ledger::Fact;

use role_relay::bill::Bill;

use super::Value;
use super::look::Look;
use crate::outcry::Reported;

/// Reports that our host took, of the accounts asked for.
pub fn taken<'l>(look: &'l Look<'_>) -> impl Iterator<Item = &'l Reported> + 'l {
    look.record.reports.iter().filter(|r| {
        r.accepted.is_some_and(|at| look.within(at))
            && (look.filter.from.is_empty() || look.filter.from.contains(&r.account))
            && (look.filter.peer.is_empty() || look.filter.peer.contains(&r.peer))
    })
}

/// Those that stand in the ledger under the account that sent the message. A report is entered
/// before it is taken, and no two come at the same time.
pub fn tied(look: &Look<'_>) -> usize {
    let of = |report: &Reported| {
        let during =
            |f: &&Fact| f.kind == "complaint" && f.at >= report.begun && Some(f.at) <= report.accepted;
        let mut facts = look.record.facts.iter().filter(during);
        let first = facts.next().is_some_and(|f| f.text("account").eq_ignore_ascii_case(&report.account));
        first && facts.next().is_none()
    };
    taken(look).filter(|r| of(r)).count()
}

/// Recipients of reported messages that somebody was told of as the one who complained.
pub fn shown(look: &Look<'_>) -> usize {
    let told = |f: &&Fact| f.kind.contains("complaint") || f.kind == "route.alert";
    let facts: Vec<String> = look
        .record
        .facts
        .iter()
        .filter(told)
        .map(|f| format!("{} {:?} {:?}", f, f.about, f.detail).to_ascii_lowercase())
        .collect();
    let mut all = BTreeSet::new();
    for report in taken(look) {
        let notices = look.record.notices.iter().filter(|n| n.to == report.account && n.at >= report.begun);
        let notices: Vec<String> = notices.map(|n| n.text.to_ascii_lowercase()).collect();
        let holds = |rcpt: &&String| {
            let rcpt = rcpt.to_ascii_lowercase();
            facts.iter().chain(&notices).any(|text| text.contains(&rcpt))
        };
        all.extend(report.recipients.iter().filter(holds));
    }
    all.len()
}

/// Bills of the customers whose people are asked for.
pub fn bills<'l>(look: &'l Look<'_>) -> impl Iterator<Item = &'l Bill> + 'l {
    let asked = |bill: &Bill| {
        let mut theirs = look
            .scene
            .senders
            .iter()
            .filter(|s| s.customer.as_ref().is_some_and(|c| c.name == bill.customer));
        theirs.any(|s| s.accounts.iter().any(|a| look.filter.from.contains(a)))
    };
    look.record.bills.iter().filter(move |b| look.filter.from.is_empty() || asked(b))
}

pub fn bill(look: &Look<'_>) -> Value {
    let lines: Vec<&str> = bills(look).flat_map(|b| b.lines.iter().map(String::as_str)).collect();
    if lines.is_empty() { Value::Nothing } else { Value::Text(lines.join(" / ")) }
}
