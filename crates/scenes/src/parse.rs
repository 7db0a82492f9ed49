//! From a file's text to a [`Scene`]: every key there is, and what each may refer to.

mod cast;
mod checks;
mod reports;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::path::Path;

use config::{Fault, Faults};
use stdx::{Bytes, Span};
use toml::de::DeTable;

use crate::expand::expand;
use crate::file::{At, Found, Table};
use crate::scene::{
    Broken, Destination, Egress, Host, Mark, Order, Peer, Relay, Scene, Sender, Traffic, domains_of,
};

/// Longest time a scene may be played.
const LENGTH_MAX: Span = Span::days(60);
/// Most messages of one traffic.
const MESSAGES_MAX: u64 = 1_000_000;

impl Scene {
    /// Reads and checks a file.
    pub fn read(file: &Path) -> Result<Scene, Faults> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|e| {
            let remedy = "name a scene: postroad drill scenes/r01.toml".to_owned();
            Faults::new(&name, "", vec![Fault { at: 0..0, what: format!("it cannot be read: {e}"), remedy }])
        })?;
        Scene::parse(&name, &text)
    }

    /// Reads and checks a file's text.
    pub fn parse(name: &str, text: &str) -> Result<Scene, Faults> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let faults = Found::default();
        for error in &errors {
            faults.borrow_mut().push(Fault {
                at: error.span().unwrap_or(0..0),
                what: format!("this is not TOML: {}", error.message().lines().next().unwrap_or_default()),
                remedy: "write key = value, with texts in quotes".into(),
            });
        }
        let scene = if errors.is_empty() { scene(&Table::top(root.get_ref(), &faults)) } else { None };
        let faults = faults.into_inner();
        match scene {
            Some(scene) if faults.is_empty() => Ok(scene),
            _ => Err(Faults::new(name, text, faults)),
        }
    }
}

/// Names that others refer to, with their places.
#[derive(Default)]
pub(crate) struct Names {
    pub egresses: BTreeMap<String, IpAddr>,
    pub destinations: BTreeMap<String, usize>,
    pub peers: BTreeMap<String, usize>,
    pub senders: BTreeMap<String, Vec<String>>,
    pub traffic: BTreeMap<String, usize>,
    /// The domains of each destination.
    pub domains: Vec<Vec<String>>,
}

/// `None` only together with a fault.
fn scene(top: &Table<'_>) -> Option<Scene> {
    let mut names = Names::default();
    let about = top.need("scene", "…, in a table [scene]", top.table("scene"))?;
    let host = host(top);
    let egresses = egresses(top, &mut names);
    let length = about.need("length", "\"3 h\"", about.span("length")).unwrap_or(Span::hours(1));
    if length > LENGTH_MAX {
        about.fault(
            about.at.clone(),
            format!("{length} is longer than a scene may be"),
            format!("write at most {LENGTH_MAX}"),
        );
    }
    let senders = senders(top, (&egresses, &host), &mut names);
    let (peers, destinations) = cast::read(top, &mut names);
    let lists = cast::lists(top, &names);
    let records = cast::records(top);
    let traffic = traffic(top, &mut names, length);
    let faults = faults(top, &names);
    let orders = orders(top);
    let complaints = reports::complaints(top, &names, &host);
    let snds = reports::snds(top, &names);
    reports::feedback(top, &names, &host);
    let checks = checks::read(top, &names);
    let (mut peers, mut destinations) = (peers, destinations);
    outside(&traffic, &senders, (&mut peers, &mut destinations));
    let scene = Scene {
        name: about.need("name", "\"R01\"", about.text("name")).map_or(String::new(), |t| t.value),
        title: about.text("title").map_or(String::new(), |t| t.value),
        seed: about.count("seed").unwrap_or(1),
        length,
        operator_actions: about.count("operator_actions").unwrap_or(0),
        pace: about.count("pace").map(|n| n.clamp(1, 10_000)),
        host,
        egresses,
        senders,
        destinations,
        peers,
        lists,
        records,
        traffic,
        faults,
        orders,
        complaints,
        snds,
        checks,
    };
    about.done();
    finish(top);
    Some(scene)
}

/// People outside, whose mail we hand on or relay, have a host that takes what comes back to them.
fn outside(
    traffic: &[Traffic],
    senders: &[Sender],
    (peers, destinations): (&mut Vec<Peer>, &mut Vec<Destination>),
) {
    let customers = senders.iter().filter(|s| s.customer.is_some()).flat_map(|s| s.accounts.iter().cloned());
    let forwards = traffic.iter().filter(|t| t.mark == Mark::Forward).flat_map(|t| t.from.iter().cloned());
    let writers = forwards.chain(customers);
    let mut domains = domains_of(&writers.collect::<Vec<_>>());
    domains.retain(|d| !destinations.iter().any(|x| x.domains.contains(d)));
    if domains.is_empty() {
        return;
    }
    destinations.push(Destination {
        name: "people outside".into(),
        domains,
        mx: vec!["mx.{domain}".into()],
        peer: peers.len(),
    });
    peers.push(Peer {
        name: "people outside".into(),
        addresses: vec![IpAddr::V4(Ipv4Addr::new(127, 3, 0, 1))],
        greeting: "mx.people-outside.example".into(),
        names: Vec::new(),
        rules: Vec::new(),
    });
}

fn finish(top: &Table<'_>) {
    for section in ["sender", "peer", "destination", "traffic", "check"] {
        if !top.has(section) {
            top.fault(
                0..0,
                format!("there is no [[{section}]]"),
                "see docs/operating/drills.md for a whole file",
            );
        }
    }
    top.unknown();
}

/// A list of patterns, written out; what is wrong with one is noted.
pub(crate) fn names_of(table: &Table<'_>, key: &'static str) -> Vec<At<String>> {
    let mut all = Vec::new();
    for text in table.texts(key) {
        match expand(&text.value) {
            Ok(names) => all.extend(names.into_iter().map(|value| At { value, at: text.at.clone() })),
            Err(why) => table.fault(
                text.at,
                format!("{key}: {why}"),
                "write {1..21} for a run of numbers, {a,b} for a choice",
            ),
        }
    }
    all
}

/// A name that must be among those known.
pub(crate) fn refer<'n, T>(
    table: &Table<'_>,
    known: &'n BTreeMap<String, T>,
    name: &At<String>,
    what: &str,
) -> Option<&'n T> {
    let found = known.get(&name.value);
    if found.is_none() {
        let near = config::value::nearest(&name.value, known.keys().map(String::as_str));
        let remedy = match near {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("there are {}", known.keys().cloned().collect::<Vec<_>>().join(", ")),
        };
        table.fault(name.at.clone(), format!("there is no {what} \"{}\"", name.value), remedy);
    }
    found
}

/// Enters a name; twice the same is a fault.
pub(crate) fn enter<T>(
    table: &Table<'_>,
    known: &mut BTreeMap<String, T>,
    name: &str,
    value: T,
    at: Range<usize>,
) {
    if known.insert(name.to_owned(), value).is_some() {
        table.fault(at, format!("there are two {} \"{name}\"", table.title), "give each its own name");
    }
}

fn host(top: &Table<'_>) -> Host {
    let table = top.table("host");
    let local = IpAddr::V4(Ipv4Addr::new(127, 1, 0, 1));
    let Some(table) = table else {
        return Host {
            name: "mx.home.example".into(),
            address: local,
            give_up_after: None,
            delay_notice_after: None,
            sessions_per_destination: None,
            relay: false,
            feedback: None,
        };
    };
    let host = Host {
        name: table.text("name").map_or("mx.home.example".into(), |t| t.value),
        address: table.ip("address").unwrap_or(local),
        give_up_after: table.span("give_up_after"),
        delay_notice_after: table.span("delay_notice_after"),
        sessions_per_destination: table.count("sessions_per_destination"),
        relay: table.one_of("role", &["mail", "relay"]) == Some("relay"),
        feedback: table.text("feedback").map(|t| t.value.to_ascii_lowercase()),
    };
    table.done();
    host
}

fn egresses(top: &Table<'_>, names: &mut Names) -> Vec<Egress> {
    let mut all = Vec::new();
    for table in top.tables("egress") {
        let name = table.need("name", "\"A\"", table.text("name"));
        let address = table.need("address", "\"127.1.0.36\"", table.ip("address"));
        let (Some(name), Some(address)) = (name, address) else { continue };
        enter(&table, &mut names.egresses, &name.value, address, name.at.clone());
        let helo = table
            .text("helo")
            .map_or_else(|| format!("{}.mx.home.example", name.value.to_lowercase()), |t| t.value);
        let login = match (table.text("relay_user"), table.text("relay_password")) {
            (Some(user), Some(password)) => Some((user.value, password.value)),
            (None, None) => None,
            (user, _) => {
                let lacks = if user.is_some() { "relay_password" } else { "relay_user" };
                table.fault(
                    table.at.clone(),
                    format!("a log-in at a relay needs {lacks} too"),
                    format!("write {lacks} = \"…\""),
                );
                None
            }
        };
        let cnames = cnames(&table);
        let verified = table.texts("verified").into_iter().map(|t| t.value).collect::<Vec<_>>();
        all.push(Egress {
            name: name.value,
            address,
            helo,
            forwards: table.flag("forwards"),
            verified: table.has("verified").then_some(verified),
            new_since: table.span("new_since"),
            network: table.text("network").map(|t| t.value),
            preflight: table.flag("preflight").unwrap_or(false),
            records: table.flag("records").unwrap_or(true),
            relay: table.text("relay").map(|t| Relay { host: t.value, cnames, login }),
        });
        table.done();
    }
    if all.is_empty() {
        top.fault(0..0, "there is no [[egress]]", "write at least one, with name and address");
    }
    all
}

/// `"em1 return.relay.example"`: a label and what it must lead to.
fn cnames(table: &Table<'_>) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for text in table.texts("relay_cnames") {
        match text.value.split_once(' ') {
            Some((label, target)) => all.push((label.to_owned(), target.trim().to_owned())),
            None => table.fault(
                text.at,
                format!("\"{}\" names no target", text.value),
                "write a label and its target: relay_cnames = [\"em1 return.relay.example\"]",
            ),
        }
    }
    all
}

fn senders(top: &Table<'_>, (egresses, host): (&[Egress], &Host), names: &mut Names) -> Vec<Sender> {
    let mut all: Vec<Sender> = Vec::new();
    for table in top.tables("sender") {
        let accounts = names_of(&table, "accounts");
        for account in &accounts {
            if words::Address::parse(&account.value).is_err() {
                table.fault(
                    account.at.clone(),
                    format!("\"{}\" is no address", account.value),
                    "write ann@home.example",
                );
            }
        }
        let accounts: Vec<String> = accounts.into_iter().map(|a| a.value).collect();
        if accounts.is_empty() {
            table.need::<()>("accounts", "[\"ann@home.example\"]", None);
        }
        let name = table.text("name").map_or_else(|| format!("senders{}", all.len() + 1), |t| t.value);
        let sender = Sender {
            spf: spf(&table, egresses),
            dmarc: table.one_of("dmarc", &["none", "quarantine", "reject"]).unwrap_or("").to_owned(),
            dkim: table.flag("dkim").unwrap_or(false),
            accounts: accounts.clone(),
            customer: reports::customer(&table, host),
            name,
        };
        enter(&table, &mut names.senders, &sender.name, accounts, table.at.clone());
        all.push(sender);
        table.done();
    }
    all
}

/// A record as it stands, or made from the egresses named; without a word, from all of them.
fn spf(table: &Table<'_>, egresses: &[Egress]) -> String {
    let given = table.texts("spf");
    if let [one] = given.as_slice()
        && (one.value.starts_with("v=spf1") || one.value == "none")
    {
        return if one.value == "none" { String::new() } else { one.value.clone() };
    }
    let mut record = "v=spf1".to_owned();
    for name in &given {
        if !egresses.iter().any(|e| e.name == name.value) {
            table.fault(
                name.at.clone(),
                format!("there is no egress \"{}\"", name.value),
                "name egresses, or write a whole record: \"v=spf1 …\"",
            );
        }
    }
    for egress in egresses.iter().filter(|e| given.is_empty() || given.iter().any(|g| g.value == e.name)) {
        let kind = if egress.address.is_ipv4() { "ip4" } else { "ip6" };
        record.push_str(&format!(" {kind}:{}", egress.address));
    }
    record + " -all"
}

fn traffic(top: &Table<'_>, names: &mut Names, length: Span) -> Vec<Traffic> {
    let mut all = Vec::new();
    for table in top.tables("traffic") {
        let name = table.text("name").map_or_else(|| format!("traffic{}", all.len() + 1), |t| t.value);
        let mark = match table.one_of("mark", &["legitimate", "forward", "bulk"]) {
            Some("forward") => Mark::Forward,
            Some("bulk") => Mark::Bulk,
            _ => Mark::Legitimate,
        };
        let to = table.texts("to");
        if to.is_empty() {
            table.need::<()>("to", "[\"NAME OF A DESTINATION\"]", None);
        }
        let to = to
            .iter()
            .filter_map(|t| refer(&table, &names.destinations, t, "[[destination]]").copied())
            .collect();
        let messages = table.need("messages", "200", table.count("messages")).unwrap_or(0);
        if messages > MESSAGES_MAX {
            table.fault(
                table.at.clone(),
                format!("{messages} messages are more than a scene can play"),
                format!("write at most {MESSAGES_MAX}"),
            );
        }
        let begin = table.span("begin").unwrap_or(Span::ZERO);
        let end = table.span("end").unwrap_or(length).max(begin);
        enter(&table, &mut names.traffic, &name, all.len(), table.at.clone());
        all.push(Traffic {
            name,
            mark,
            from: writers(&table, names, mark),
            to,
            messages,
            recipients: table.count("recipients").unwrap_or(1).clamp(1, 100),
            begin,
            end: end.min(length),
            size: table.size("size").unwrap_or(Bytes::kib(2)),
            users: names_of(&table, "users").into_iter().map(|a| a.value).collect(),
        });
        table.done();
    }
    all
}

/// Accounts by address, domain, or the name of their [[sender]]; all of them without a word.
/// Forwards come from addresses outside.
pub(crate) fn writers(table: &Table<'_>, names: &Names, mark: Mark) -> Vec<String> {
    let given = names_of(table, "from");
    let ours: Vec<String> = names.senders.values().flatten().cloned().collect();
    if mark == Mark::Forward {
        let outside: Vec<String> = given.iter().map(|g| g.value.clone()).collect();
        if let Some(local) = given.iter().find(|g| {
            !g.value.contains('@') || domains_of(&ours).iter().any(|d| g.value.ends_with(&format!("@{d}")))
        }) {
            table.fault(
                local.at.clone(),
                "mail that is handed on comes from outside",
                "write addresses of other domains: from = [\"eve@elsewhere.example\"]",
            );
        }
        return if outside.is_empty() { vec!["eve@elsewhere.example".into()] } else { outside };
    }
    if given.is_empty() {
        return ours;
    }
    let mut all = Vec::new();
    for one in &given {
        let fits: Vec<String> = match names.senders.get(&one.value) {
            Some(accounts) => accounts.clone(),
            None => ours
                .iter()
                .filter(|a| **a == one.value || a.ends_with(&format!("@{}", one.value)))
                .cloned()
                .collect(),
        };
        if fits.is_empty() {
            table.fault(
                one.at.clone(),
                format!("nobody of ours is \"{}\"", one.value),
                "name a [[sender]], one of its accounts, or their domain",
            );
        }
        all.extend(fits);
    }
    all
}

fn faults(top: &Table<'_>, names: &Names) -> Vec<crate::scene::Fault> {
    let mut all = Vec::new();
    for table in top.tables("fault") {
        let at = table.need("at", "\"30 min\"", table.span("at")).unwrap_or(Span::ZERO);
        let what = table.need(
            "what",
            "\"kill\"",
            table.one_of("what", &["kill", "egress down", "peer down", "dns silent"]),
        );
        let which = table.text("which");
        let lasts = table.span("lasts");
        let broken = match (what, &which) {
            (Some("kill"), _) => Some(Broken::Kill),
            (Some("dns silent"), _) => Some(Broken::Dns),
            (Some("egress down"), Some(name)) => {
                refer(&table, &names.egresses, name, "[[egress]]").map(|ip| Broken::Egress(*ip))
            }
            (Some("peer down"), Some(name)) => {
                refer(&table, &names.peers, name, "[[peer]]").map(|n| Broken::Peer(*n))
            }
            (Some(_), None) => {
                table.need::<()>("which", "\"NAME\"", None);
                None
            }
            _ => None,
        };
        if let Some(what) = broken {
            let usual = if what == Broken::Kill { Span::secs(2) } else { Span::mins(10) };
            all.push(crate::scene::Fault { at, lasts: lasts.unwrap_or(usual), what });
        }
        table.done();
    }
    all
}

fn orders(top: &Table<'_>) -> Vec<Order> {
    let mut all = Vec::new();
    for table in top.tables("order") {
        let at = table.need("at", "\"30 min\"", table.span("at")).unwrap_or(Span::ZERO);
        if let Some(run) = table.need("run", "\"route pin far.example B\"", table.text("run")) {
            all.push(Order { at, words: words(&run.value), looks: table.flag("looks").unwrap_or(false) });
        }
        table.done();
    }
    all
}

/// The words of a command line; quotes hold together what is one.
fn words(line: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let (mut quoted, mut open) = (None, false);
    for c in line.chars() {
        match (c, quoted) {
            ('"' | '\'', None) => {
                quoted = Some(c);
                if !open {
                    all.push(String::new());
                }
                open = true;
            }
            (c, Some(quote)) if c == quote => quoted = None,
            (c, None) if c.is_whitespace() => open = false,
            (c, _) => {
                if !open {
                    all.push(String::new());
                }
                open = true;
                all.last_mut().expect("a word is open").push(c);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #[test]
    fn quotes_hold_words_together() {
        for (line, want) in [
            ("route pin  x B", vec!["route", "pin", "x", "B"]),
            (
                "add acme --price \"30.00 USD\" --why ''",
                vec!["add", "acme", "--price", "30.00 USD", "--why", ""],
            ),
            ("a b\"c d\"e", vec!["a", "bc de"]),
        ] {
            assert_eq!(super::words(line), want, "{line}");
        }
    }
}
