//! What others are to us: customers of our relay, and those who tell us about our mail (complaints,
//! SNDS).

use stdx::Span;

use super::{Names, refer, writers};
use crate::file::Table;
use crate::scene::{Complaint, Customer, Form, Host, Mark, Snds, domains_of};

/// Most reports of one [[complaint]].
const MESSAGES_MAX: u64 = 1000;

pub(super) fn complaints(top: &Table<'_>, names: &Names, host: &Host) -> Vec<Complaint> {
    let mut all = Vec::new();
    for table in top.tables("complaint") {
        let at = table.need("at", "\"30 min\"", table.span("at")).unwrap_or(Span::ZERO);
        let peer = table.need("peer", "\"NAME OF A PEER\"", table.text("peer"));
        let peer = peer.and_then(|p| refer(&table, &names.peers, &p, "[[peer]]").copied());
        let form = match table.one_of("form", &["arf", "jmrp"]) {
            Some("jmrp") => Form::Jmrp,
            _ => Form::Arf,
        };
        let mark = table.flag("mark").unwrap_or(true);
        if form == Form::Jmrp && !mark {
            table.fault(
                table.at.clone(),
                "a JMRP report without our mark belongs to nobody",
                "leave out mark, or write form = \"arf\": such reports name the Message-ID",
            );
        }
        if host.feedback.is_none() {
            table.fault(
                table.at.clone(),
                "complaints need an address they go to",
                "write feedback = \"feedback@home.example\" in [host], in a domain of a [[sender]]",
            );
        }
        let one = Complaint {
            at,
            peer: peer.unwrap_or(0),
            from: writers(&table, names, Mark::Legitimate),
            messages: table.count("messages").unwrap_or(1).min(MESSAGES_MAX),
            every: table.span("every").unwrap_or(Span::mins(1)),
            form,
            mark,
        };
        all.push(one);
        table.done();
    }
    all
}

pub(super) fn snds(top: &Table<'_>, names: &Names) -> Vec<Snds> {
    let mut all = Vec::new();
    for table in top.tables("snds") {
        let at = table.need("at", "\"30 min\"", table.span("at")).unwrap_or(Span::ZERO);
        let egress = table.need("egress", "\"A\"", table.text("egress"));
        let egress = egress.and_then(|e| refer(&table, &names.egresses, &e, "[[egress]]").copied());
        let colour = table.one_of("colour", &["green", "yellow", "red"]);
        let colour = match table.need("colour", "\"red\"", colour) {
            Some("red") => "RED",
            Some("yellow") => "YELLOW",
            _ => "GREEN",
        };
        all.extend(egress.map(|address| Snds { at, address, colour }));
        table.done();
    }
    all
}

/// The address for complaints lies in a domain of ours.
pub(super) fn feedback(top: &Table<'_>, names: &Names, host: &Host) {
    let Some(feedback) = &host.feedback else { return };
    let ours = domains_of(&names.senders.values().flatten().cloned().collect::<Vec<_>>());
    let domain = feedback.rsplit_once('@').map_or("", |(_, d)| d);
    if words::Address::parse(feedback).is_err() || !ours.iter().any(|d| d == domain) {
        let at = top.table("host").and_then(|t| t.text("feedback")).map_or(0..0, |t| t.at);
        top.fault(
            at,
            format!("\"{feedback}\" is no address of ours"),
            "write feedback = \"feedback@home.example\", in a domain of a [[sender]]",
        );
    }
}

/// How the senders of a [[sender]] come to us, if our host is a relay.
pub(super) fn customer(table: &Table<'_>, host: &Host) -> Option<Customer> {
    let name = table.text("customer");
    let helo = table.text("helo").map(|t| t.value);
    let logs_in = table.flag("logs_in").unwrap_or(true);
    match (&name, host.relay) {
        (None, true) => {
            table.need::<()>("customer", "\"acme\": a relay's senders are its customers", None);
        }
        (Some(name), false) => table.fault(
            name.at.clone(),
            "only a relay has customers",
            "write role = \"relay\" in [host], or leave customer out",
        ),
        _ => {}
    }
    let helo = helo.unwrap_or_else(|| "server.local".into());
    name.map(|name| Customer { name: name.value, helo, logs_in })
}
