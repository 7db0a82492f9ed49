//! Peers with their scripts, destinations, block lists, records.

use std::net::{IpAddr, Ipv4Addr};

use sim::{Act, Stage};
use stdx::Span;

use super::{Names, enter, names_of, refer};
use crate::file::Table;
use crate::scene::{Destination, Entry, List, Listed, Manner, Peer, Rule};

/// Where a rule may speak.
const STAGES: &[&str] = &["connect", "ehlo", "auth", "mail", "rcpt", "data", "dot"];
const KINDS: &[&str] = &["A", "MX", "TXT", "CNAME", "PTR", "NS"];
/// What a dead list answers, and a refusing one.
const DEAD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const REFUSING: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 254);

pub(super) fn read(top: &Table<'_>, names: &mut Names) -> (Vec<Peer>, Vec<Destination>) {
    let tables = top.tables("peer");
    let mut peers = Vec::new();
    for (n, table) in tables.iter().enumerate() {
        peers.push(peer(table, n, names));
    }
    let destinations = destinations(top, names, &mut peers);
    for (peer, table) in peers.iter_mut().zip(tables) {
        peer.rules =
            table.tables("rule").iter().filter_map(|t| rule(t, names).inspect(|_| t.unknown())).collect();
        table.done();
    }
    (peers, destinations)
}

fn peer(table: &Table<'_>, n: usize, names: &mut Names) -> Peer {
    let name = table.need("name", "\"microsoft\"", table.text("name"));
    let at = name.as_ref().map_or(table.at.clone(), |t| t.at.clone());
    let name = name.map_or_else(|| format!("peer{}", n + 1), |t| t.value);
    enter(table, &mut names.peers, &name, n, at);
    let addresses: Vec<IpAddr> = names_of(table, "addresses")
        .into_iter()
        .filter_map(|a| {
            let ip = a.value.parse().ok();
            if ip.is_none() {
                table.fault(
                    a.at,
                    format!("\"{}\" is no address", a.value),
                    "write addresses = [\"127.2.0.1\"]",
                );
            }
            ip
        })
        .collect();
    let usual = || vec![IpAddr::V4(Ipv4Addr::new(127, 2, (n / 250) as u8, (n % 250) as u8 + 1))];
    Peer {
        greeting: table
            .text("greeting")
            .map_or_else(|| format!("mx.{name}.example"), |t| t.value.to_ascii_lowercase()),
        names: names_of(table, "names").into_iter().map(|a| a.value.to_ascii_lowercase()).collect(),
        addresses: if addresses.is_empty() { usual() } else { addresses },
        rules: Vec::new(),
        name,
    }
}

fn destinations(top: &Table<'_>, names: &mut Names, peers: &mut Vec<Peer>) -> Vec<Destination> {
    let mut all: Vec<Destination> = Vec::new();
    for table in top.tables("destination") {
        let domains = names_of(&table, "domains");
        if domains.is_empty() {
            table.need::<()>("domains", "[\"org{1..21}.example\"]", None);
        }
        for domain in &domains {
            if words::Domain::new(&domain.value).is_err() {
                table.fault(
                    domain.at.clone(),
                    format!("\"{}\" is no domain", domain.value),
                    "write org1.example",
                );
            }
        }
        let name = table.text("name").map_or_else(|| format!("destination{}", all.len() + 1), |t| t.value);
        let peer = table.need("peer", "\"NAME OF A PEER\"", table.text("peer"));
        let peer = peer.and_then(|p| refer(&table, &names.peers, &p, "[[peer]]").copied());
        let mut mx: Vec<String> = table.texts("mx").into_iter().map(|t| t.value).collect();
        if mx.is_empty() {
            mx.push("mx.{domain}".into());
        }
        enter(&table, &mut names.destinations, &name, all.len(), table.at.clone());
        let domains: Vec<String> = domains.into_iter().map(|d| d.value.to_ascii_lowercase()).collect();
        names.domains.push(domains.clone());
        all.push(Destination { name, domains, mx, peer: peer.unwrap_or(0) });
        table.done();
    }
    // A fault was noted; indices must hold all the same.
    if peers.is_empty() {
        peers.push(Peer {
            name: String::new(),
            addresses: Vec::new(),
            greeting: String::new(),
            names: Vec::new(),
            rules: Vec::new(),
        });
    }
    all
}

fn rule(table: &Table<'_>, names: &Names) -> Option<Rule> {
    let to = matches(table, "to", names);
    let usual = if to.is_empty() { "mail" } else { "rcpt" };
    let stage = table.one_of("at", STAGES).unwrap_or(if table.has("greylist") { "rcpt" } else { usual });
    let at = match stage {
        "connect" => Stage::Connect,
        "ehlo" => Stage::Ehlo,
        "auth" => Stage::Auth,
        "mail" => Stage::Mail,
        "rcpt" => Stage::Rcpt,
        "data" => Stage::Data,
        _ => Stage::Dot,
    };
    if !to.is_empty() && at < Stage::Rcpt {
        table.fault(
            table.at.clone(),
            format!("at {stage} no recipient is known yet"),
            "write at = \"rcpt\" or later, or take `to` away",
        );
    }
    let per = table.span("per");
    let doubling = table.flag("doubling").unwrap_or(false);
    let above = table.count("above").map(|n| (n, per.unwrap_or(Span::days(1)), doubling));
    if above.is_none() && (per.is_some() || doubling) {
        table.fault(
            table.at.clone(),
            "per and doubling say how above is counted, but there is no above",
            "write above = 50",
        );
    }
    let greylist = table.span("greylist");
    let share = table.share("share").unwrap_or(1.0);
    let rule = Rule {
        at,
        from: sources(table, names),
        senders: names_of(table, "senders").into_iter().map(|a| a.value).collect(),
        to,
        begin: table.span("begin"),
        end: table.span("end"),
        share,
        flips: table.span("flips"),
        above,
        first: table.count("first"),
        greylist,
        act: act(table, greylist.is_some())?,
    };
    Some(rule)
}

fn act(table: &Table<'_>, greylists: bool) -> Option<Act> {
    let say = table.get("say", "a reply: \"550 5.7.1 …\"", |v| {
        let text = crate::file::text(v)?;
        let code = text.get(..3).filter(|c| c.bytes().all(|b| b.is_ascii_digit()));
        match code.map(|c| c.as_bytes()[0]) {
            Some(b'4' | b'5') => Ok(text),
            _ => Err(format!("\"{text}\" does not begin with a code that refuses (4xx, 5xx)")),
        }
    });
    let slow = table.span("slow");
    let odd = table.one_of("does", &["hang", "close", "lose word"]);
    let act = match (say, slow, odd) {
        (Some(say), None, None) => Act::Say(lines(&say.value)),
        (None, Some(each), None) => Act::Slow(each),
        (None, None, Some("hang")) => Act::Hang,
        (None, None, Some("close")) => Act::Close,
        (None, None, Some(_)) => Act::LoseWord,
        (None, None, None) if greylists => Act::Say("451 4.7.1 Greylisted, please try again later".into()),
        (None, None, None) if table.has("say") || table.has("slow") || table.has("does") => return None,
        _ => {
            table.fault(
                table.at.clone(),
                "a rule does one thing",
                "write one of say = \"550 …\", slow = \"2 s\", does = \"hang\"",
            );
            return None;
        }
    };
    Some(act)
}

/// Several lines of one reply: each with its code, all but the last with a dash.
fn lines(say: &str) -> String {
    let code = &say[..3];
    let all: Vec<&str> = say.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let last = all.len().saturating_sub(1);
    let bare = |line: &str| {
        line.strip_prefix(code).map_or(line, |rest| rest.trim_start_matches(['-', ' '])).to_owned()
    };
    let line = |(n, l): (usize, &&str)| format!("{code}{}{}", if n == last { ' ' } else { '-' }, bare(l));
    all.iter().enumerate().map(line).collect::<Vec<_>>().join("\r\n")
}

/// Egress names or addresses.
fn sources(table: &Table<'_>, names: &Names) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for one in table.texts("from") {
        match one.value.parse::<IpAddr>() {
            Ok(ip) => all.push(ip),
            Err(_) => all.extend(refer(table, &names.egresses, &one, "[[egress]]").copied()),
        }
    }
    all
}

/// Names of destinations stand for their domains; the rest are domains or addresses.
fn matches(table: &Table<'_>, key: &'static str, names: &Names) -> Vec<String> {
    let mut all = Vec::new();
    for one in names_of(table, key) {
        match names.destinations.get(&one.value) {
            Some(n) => all.extend(names.domains[*n].iter().cloned()),
            None if one.value.contains('.') => all.push(one.value),
            None => {
                refer(table, &names.destinations, &one, "[[destination]]");
            }
        }
    }
    all
}

pub(super) fn lists(top: &Table<'_>, names: &Names) -> Vec<List> {
    let mut all = Vec::new();
    for table in top.tables("list") {
        let zone = table.need("zone", "\"truncate.gbudb.net\"", table.text("zone"));
        let manner = match table.one_of("manner", &["sane", "dead", "refusing", "mute"]) {
            Some("dead") => Manner::Dead,
            Some("refusing") => Manner::Refusing,
            Some("mute") => Manner::Mute,
            _ => Manner::Sane,
        };
        let usual = match manner {
            Manner::Dead => Some(DEAD),
            Manner::Refusing => Some(REFUSING),
            _ => None,
        };
        let answer = v4(&table, "answer").or(usual);
        let entries =
            table.tables("entry").iter().filter_map(|t| listed(t, names).inspect(|_| t.unknown())).collect();
        if let Some(zone) = zone {
            let zone = zone.value.to_ascii_lowercase();
            let information = table.flag("information").unwrap_or(false);
            all.push(List { zone, manner, information, answer, entries });
        }
        table.done();
    }
    all
}

fn listed(table: &Table<'_>, names: &Names) -> Option<Listed> {
    let what = table.need("what", "\"A\" or an address", table.text("what"));
    let entry = Listed {
        code: v4(table, "code").unwrap_or(DEAD),
        text: table.text("text").map_or(String::new(), |t| t.value),
        begin: table.span("begin"),
        end: table.span("end"),
        what: {
            let what = what?;
            names.egresses.get(&what.value).map_or(what.value, |ip| ip.to_string())
        },
    };
    Some(entry)
}

fn v4(table: &Table<'_>, key: &'static str) -> Option<Ipv4Addr> {
    match table.ip(key)? {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}

pub(super) fn records(top: &Table<'_>) -> Vec<Entry> {
    let mut all = Vec::new();
    for table in top.tables("record") {
        let kind = table.need("kind", "\"TXT\"", table.one_of("kind", KINDS));
        let name = table.need("name", "\"x.example\"", table.text("name"));
        let value = table.need("value", "\"…\"", table.text("value"));
        let begin = table.span("begin");
        if let (Some(kind), Some(name), Some(value)) = (kind, name, value) {
            all.push(Entry { name: name.value, kind, value: value.value, begin });
        }
        table.done();
    }
    all
}
