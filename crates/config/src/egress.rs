//! Ways out, and the block lists that are asked about them, as the file says them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use stdx::{Now, Secret};
use words::Address;

use crate::fault::Fault;
use crate::read::{Filled, Tree};
use crate::value::Value;
use crate::{Fetch, TlsMode, count, each, flag, mode, path, text};

#[derive(Clone)]
pub struct Egress {
    pub name: String,
    pub source: Option<IpAddr>,
    pub helo: String,
    pub relay: Option<Relay>,
    pub rules: Rules,
}

#[derive(Clone)]
pub struct Relay {
    pub host: String,
    pub port: u16,
    pub tls: TlsMode,
    pub login: Option<(String, Secret<String>)>,
    /// The pin of its key.
    pub pin: Option<String>,
}

/// What an egress may carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    pub addresses: Vec<IpAddr>,
    pub verified_domains: Vec<String>,
    pub forwards: Option<bool>,
    pub network: Option<String>,
    pub warm_up_since: Option<Now>,
    pub warm_up_first_day: u32,
    pub warm_up_groups: BTreeMap<String, u32>,
    pub preflight: Preflight,
    /// Label and target.
    pub relay_cnames: Vec<(String, String)>,
}

/// Whether a pre-flight must be passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preflight {
    /// Where the address is one of the world's.
    #[default]
    Auto,
    Required,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    Critical,
    High,
    Medium,
    Low,
    Information,
}

/// A block list of the operator's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockList {
    pub zone: String,
    pub codes: Vec<Ipv4Addr>,
    pub weight: Weight,
    pub names: bool,
    pub delist: String,
}

pub(crate) fn lists(tree: &Tree) -> Vec<BlockList> {
    let one =
        |filled: &Filled| {
            Some(BlockList {
                zone: text(filled, "zone")?,
                codes: each(filled, "codes", |v| {
                    if let Value::Ip(IpAddr::V4(ip)) = v { Some(*ip) } else { None }
                }),
                weight: match text(filled, "weight").as_deref() {
                    Some("critical") => Weight::Critical,
                    Some("high") => Weight::High,
                    Some("low") => Weight::Low,
                    Some("information") => Weight::Information,
                    _ => Weight::Medium,
                },
                names: flag(filled, "names"),
                delist: text(filled, "delist").unwrap_or_default(),
            })
        };
    tree.many("list").iter().filter_map(one).collect()
}

/// Where complaints come in, and the URL of SNDS.
pub(crate) fn complaints(
    filled: &Filled,
    fetch: Fetch<'_>,
    faults: &mut Vec<Fault>,
) -> (Option<Address>, Option<Secret<String>>) {
    let address = text(filled, "address").and_then(|written| match Address::parse(&written) {
        Ok(address) => Some(address),
        Err(why) => {
            faults.push(Fault {
                at: filled.place("address"),
                what: format!("\"{written}\" is no address: {why}"),
                remedy: "write \"fbl@example.org\"".into(),
            });
            None
        }
    });
    let url = path(filled, "snds_url_file").and_then(|file| match fetch(&file) {
        Ok(url) => Some(Secret::new(url)),
        Err(e) => {
            faults.push(Fault {
                at: filled.place("snds_url_file"),
                what: format!("{} cannot be read: {e}", file.display()),
                remedy: "name a file whose first line is the URL".into(),
            });
            None
        }
    });
    (address, url)
}

pub(crate) fn egresses(
    tree: &Tree,
    host_name: &str,
    fetch: Fetch<'_>,
    faults: &mut Vec<Fault>,
) -> Vec<Egress> {
    let mut out: Vec<Egress> = Vec::new();
    for filled in tree.many("egress") {
        let Some(name) = text(filled, "name") else { continue };
        if out.iter().any(|e| e.name == name) {
            faults.push(Fault {
                at: filled.place("name"),
                what: format!("there are two egresses \"{name}\""),
                remedy: "give each its own name".into(),
            });
        }
        let source = if let Some(Value::Ip(ip)) = filled.get("source") { Some(*ip) } else { None };
        let helo = text(filled, "helo").unwrap_or_else(|| host_name.to_owned());
        let (relay, rules) = (relay(filled, fetch, faults), rules(filled, faults));
        out.push(Egress { name, source, helo, relay, rules });
    }
    if out.is_empty() && tree.many("egress").is_empty() {
        let rules = Rules { warm_up_first_day: 30, ..Rules::default() };
        out.push(Egress { name: "A".into(), source: None, helo: host_name.to_owned(), relay: None, rules });
    }
    out
}

fn rules(filled: &Filled, faults: &mut Vec<Fault>) -> Rules {
    let texts =
        |key: &str| each(filled, key, |v| if let Value::Text(t) = v { Some(t.clone()) } else { None });
    let mut wrong = |key: &str, what: String, remedy: &str| {
        faults.push(Fault { at: filled.place(key), what, remedy: remedy.into() });
    };
    let mut warm_up_groups = BTreeMap::new();
    for entry in texts("warm_up_groups") {
        let read =
            entry.split_once('=').and_then(|(g, n)| Some((g.trim().to_owned(), n.trim().parse().ok()?)));
        match read {
            Some((group, n)) => drop(warm_up_groups.insert(group, n)),
            None => wrong("warm_up_groups", format!("\"{entry}\" is no allowance"), "write \"group=number\""),
        }
    }
    let mut relay_cnames = Vec::new();
    for entry in texts("relay_cnames") {
        match entry.split_whitespace().collect::<Vec<_>>()[..] {
            [label, target] => {
                relay_cnames.push((label.to_owned(), target.trim_end_matches('.').to_owned()));
            }
            _ => wrong("relay_cnames", format!("\"{entry}\" is no record"), "write \"label target\""),
        }
    }
    let warm_up_since = text(filled, "warm_up_since").and_then(|day| {
        let read = day_of(&day);
        if read.is_none() {
            wrong("warm_up_since", format!("\"{day}\" is no day"), "write it as \"2026-11-22\"");
        }
        read
    });
    Rules {
        addresses: each(filled, "addresses", |v| if let Value::Ip(ip) = v { Some(*ip) } else { None }),
        verified_domains: texts("verified_domains"),
        forwards: filled.get("forwards").map(|v| matches!(v, Value::Bool(true))),
        network: text(filled, "network"),
        warm_up_since,
        warm_up_first_day: count(filled, "warm_up_first_day").unwrap_or(30) as u32,
        warm_up_groups,
        preflight: match text(filled, "preflight").as_deref() {
            Some("required") => Preflight::Required,
            Some("off") => Preflight::Off,
            _ => Preflight::Auto,
        },
        relay_cnames,
    }
}

/// The beginning of a day written as `2026-11-22`, UTC.
fn day_of(text: &str) -> Option<Now> {
    let mut parts = text.split('-');
    let mut next = || parts.next()?.parse::<u64>().ok();
    let (year, month, day) = (next()?, next()?, next()?);
    let leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *lengths.get(month.checked_sub(1)? as usize)?;
    if !(1970..3000).contains(&year) || day == 0 || day > length || parts.next().is_some() {
        return None;
    }
    let years: u64 = (1970..year).map(|y| 365 + u64::from(leap(y))).sum();
    let months: u64 = lengths.iter().take(month as usize - 1).sum();
    Some(Now::from_secs((years + months + day - 1) * 86_400))
}

fn relay(filled: &Filled, fetch: Fetch<'_>, faults: &mut Vec<Fault>) -> Option<Relay> {
    let Some(Value::HostPort(host, port)) = filled.get("relay") else {
        for key in
            ["relay_user", "relay_password_file", "relay_tls"].into_iter().filter(|k| filled.was_given(k))
        {
            faults.push(Fault {
                at: filled.place(key),
                what: format!("{key} says how to log in, but no relay is named"),
                remedy: "write relay = \"host:port\" too, or take it away".into(),
            });
        }
        return None;
    };
    let login = match (text(filled, "relay_user"), path(filled, "relay_password_file")) {
        (None, None) => None,
        (Some(user), Some(file)) => match fetch(&file) {
            Ok(password) => Some((user, Secret::new(password))),
            Err(e) => {
                faults.push(Fault {
                    at: filled.place("relay_password_file"),
                    what: format!("{} cannot be read: {e}", file.display()),
                    remedy: "name a file whose first line is the password".into(),
                });
                None
            }
        },
        (user, _) => {
            let (has, lacks) = if user.is_some() {
                ("relay_user", "relay_password_file")
            } else {
                ("relay_password_file", "relay_user")
            };
            faults.push(Fault {
                at: filled.place(has),
                what: format!("{has} is given, but {lacks} is not"),
                remedy: "a log-in needs both".into(),
            });
            None
        }
    };
    let pin = text(filled, "relay_pin");
    let wrong = |p: &&String| {
        !p.strip_prefix("sha256:").is_some_and(|h| h.len() == 64 && h.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    if let Some(odd) = pin.as_ref().filter(wrong) {
        faults.push(Fault {
            at: filled.place("relay_pin"),
            what: format!("\"{odd}\" is no pin"),
            remedy: "write what `postroad customer pin` prints on the relay: \"sha256:\" and 64 digits"
                .into(),
        });
    }
    Some(Relay { host: host.clone(), port: *port, tls: mode(filled, "relay_tls"), login, pin })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_read_and_anything_else_is_not() {
        assert_eq!(day_of("1970-01-02"), Some(Now::from_secs(86_400)));
        assert_eq!(day_of("2026-11-22"), Some(Now::from_secs(1_795_305_600)));
        assert_eq!(day_of("2024-02-29"), Some(Now::from_secs(1_709_164_800)));
        for wrong in ["2026-13-01", "2026-02-29", "22.11.2026", "2026-11", "2026-11-22-1", "2026-00-10"] {
            assert_eq!(day_of(wrong), None, "{wrong}");
        }
    }
}
