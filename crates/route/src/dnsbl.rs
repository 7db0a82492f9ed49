//! Is one of our addresses listed? The judge of block-list answers.
//!
//! RFC 5782 §5: a list is believed only while it lists its test entry and nothing else; only
//! documented codes are listings; error codes are no statement. Begin with [`judge`].

use std::net::{IpAddr, Ipv4Addr};

use words::{Reason, Verdict};

/// How a list is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    Critical,
    High,
    Medium,
    Low,
    /// Lists neighbours, whole networks or other faults: shown, never counted.
    Information,
}

/// Facts about one list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListFacts {
    pub id: String,
    pub zone: String,
    pub weight: Weight,
    /// Whether names instead of addresses are asked.
    pub of_domains: bool,
    /// A list of the world's: it cannot know addresses that only exist here, and is not asked for them.
    pub public_only: bool,
    /// Last octets (or the last two as `"1.2"`) that are listings, with their meaning.
    pub codes: Vec<(Ipv4Addr, String)>,
    pub delist: String,
    /// For lists of names: one that must be listed, and one that must not (RFC 5782 §5).
    pub test_names: (String, String),
}

impl ListFacts {
    /// A list of an operator's own, with the one code that nearly all lists use.
    pub fn plain(zone: &str, weight: Weight) -> ListFacts {
        ListFacts {
            id: zone.to_owned(),
            zone: zone.to_owned(),
            weight,
            of_domains: false,
            public_only: false,
            codes: vec![(v4(0, 2), "listed".to_owned())],
            delist: String::new(),
            test_names: test_names(zone),
        }
    }
}

// RFC 5782 §5: lists of names hold TEST and not INVALID; Spamhaus has a test name of its own.
fn test_names(zone: &str) -> (String, String) {
    let listed = if zone == "dbl.spamhaus.org" { "dbltest.com" } else { "test" };
    (listed.to_owned(), "invalid".to_owned())
}

const fn v4(c: u8, d: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, c, d)
}

type Built = (&'static str, &'static str, Weight, bool, &'static [(Ipv4Addr, &'static str)], &'static str);

/// Lists that can be asked without a key; an operator adds others in the settings.
const BUILT_IN: &[Built] = &[
    (
        "spamhaus-zen",
        "zen.spamhaus.org",
        Weight::Critical,
        false,
        &[
            (v4(0, 2), "SBL: spam source"),
            (v4(0, 3), "CSS: low reputation"),
            (v4(0, 4), "XBL: exploited"),
            (v4(0, 5), "XBL"),
            (v4(0, 6), "XBL"),
            (v4(0, 7), "XBL"),
            (v4(0, 9), "DROP"),
            (v4(0, 10), "PBL: declared by the provider"),
            (v4(0, 11), "PBL"),
        ],
        "https://check.spamhaus.org/",
    ),
    (
        "spamhaus-dbl",
        "dbl.spamhaus.org",
        Weight::Critical,
        true,
        &[
            (v4(1, 2), "spam domain"),
            (v4(1, 4), "phish"),
            (v4(1, 5), "malware"),
            (v4(1, 6), "botnet"),
            (v4(1, 102), "abused, spam"),
            (v4(1, 103), "abused redirector"),
            (v4(1, 104), "abused, phish"),
            (v4(1, 105), "abused, malware"),
            (v4(1, 106), "abused, botnet"),
        ],
        "https://check.spamhaus.org/",
    ),
    (
        "spamcop",
        "bl.spamcop.net",
        Weight::High,
        false,
        &[(v4(0, 2), "reported")],
        "clears by itself within a day",
    ),
    (
        "barracuda",
        "b.barracudacentral.org",
        Weight::High,
        false,
        &[(v4(0, 2), "listed")],
        "https://www.barracudacentral.org/rbl/removal-request",
    ),
    ("psbl", "psbl.surriel.com", Weight::Medium, false, &[(v4(0, 2), "trap hit")], "https://psbl.org/remove"),
    (
        "mailspike-bl",
        "bl.mailspike.net",
        Weight::Medium,
        false,
        &[(v4(0, 2), "spam wave"), (v4(0, 10), "worst"), (v4(0, 11), "very bad"), (v4(0, 12), "bad")],
        "https://mailspike.org/",
    ),
    (
        "uceprotect-1",
        "dnsbl-1.uceprotect.net",
        Weight::Medium,
        false,
        &[(v4(0, 2), "hit a trap in the last 7 days")],
        "clears by itself after 7 days",
    ),
    (
        "uceprotect-2",
        "dnsbl-2.uceprotect.net",
        Weight::Information,
        false,
        &[(v4(0, 2), "neighbours in the allocation")],
        "only the network's owner",
    ),
    (
        "uceprotect-3",
        "dnsbl-3.uceprotect.net",
        Weight::Information,
        false,
        &[(v4(0, 2), "the whole provider")],
        "only the network's owner",
    ),
    (
        "gbudb-truncate",
        "truncate.gbudb.net",
        Weight::Low,
        false,
        &[(v4(0, 2), "sends nothing but spam, statistically")],
        "clears by itself within days",
    ),
    (
        "s5h",
        "all.s5h.net",
        Weight::Low,
        false,
        &[(v4(0, 2), "listed")],
        "opened from the listed host: www.usenix.org.uk/content/rblremove",
    ),
    (
        "backscatterer",
        "ips.backscatterer.org",
        Weight::Information,
        false,
        &[(v4(0, 2), "sent misdirected bounces")],
        "clears by itself after four weeks",
    ),
    (
        "hostkarma",
        "hostkarma.junkemailfilter.com",
        Weight::Low,
        false,
        // The other codes of this zone are white, yellow and brown: no listings.
        &[(v4(0, 2), "black")],
        "http://ipadmin.junkemailfilter.com/remove.php",
    ),
    (
        "dronebl",
        "dnsbl.dronebl.org",
        Weight::Low,
        false,
        &[
            (v4(0, 3), "sample"),
            (v4(0, 5), "bottler"),
            (v4(0, 6), "unknown worm or bot"),
            (v4(0, 7), "drone"),
            (v4(0, 8), "open SOCKS proxy"),
            (v4(0, 9), "open HTTP proxy"),
            (v4(0, 10), "proxy chain"),
            (v4(0, 13), "guesses passwords"),
            (v4(0, 14), "open proxy"),
            (v4(0, 15), "compromised router"),
            (v4(0, 17), "hijacked network"),
        ],
        "https://dronebl.org/lookup",
    ),
    (
        "senderscore",
        "bl.score.senderscore.com",
        Weight::Medium,
        false,
        &[(v4(0, 2), "low score")],
        "https://www.senderscore.org/",
    ),
];

/// The built-in table.
pub fn built_in() -> Vec<ListFacts> {
    let one = |(id, zone, weight, of_domains, codes, delist): &Built| ListFacts {
        id: (*id).to_owned(),
        zone: (*zone).to_owned(),
        weight: *weight,
        of_domains: *of_domains,
        public_only: true,
        codes: codes.iter().map(|(c, m)| (*c, (*m).to_owned())).collect(),
        delist: (*delist).to_owned(),
        test_names: test_names(zone),
    };
    BUILT_IN.iter().map(one).collect()
}

/// Whether an address is one of the world's, so that lists and reverse names of the world know it.
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let shared = a == 100 && (64..128).contains(&b);
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_documentation()
                || ip.is_unspecified()
                || ip.is_multicast()
                || shared)
        }
        IpAddr::V6(ip) => ip.segments()[0] & 0xe000 == 0x2000 && ip.segments()[..2] != [0x2001, 0xdb8],
    }
}

/// What one question brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The A records.
    Records(Vec<Ipv4Addr>),
    /// The name does not exist: not listed.
    NoName,
    /// Time-out, refusal, server failure: no statement.
    Failed(String),
}

/// One round of one list: its two test points, then our address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// 127.0.0.2, which must be listed.
    pub must_be: Answer,
    /// 127.0.0.1, which must not be.
    pub must_not_be: Answer,
    pub ours: Answer,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    Clean,
    Listed {
        codes: Vec<Ipv4Addr>,
        meaning: String,
    },
    /// Listed, but the list names neighbours or other faults: information only.
    Neighbours {
        meaning: String,
    },
    /// The list makes no statement now: dead, refusing us, or mute.
    Unusable,
}

/// The name to ask: octets (or nibbles) reversed before the zone. RFC 5782 §2.1, §2.4.
pub fn question(ip: IpAddr, zone: &str) -> String {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.{zone}")
        }
        IpAddr::V6(v6) => {
            let nibbles =
                v6.octets().iter().rev().flat_map(|o| [o & 15, o >> 4]).fold(String::new(), |mut s, n| {
                    s.push(char::from_digit(u32::from(n), 16).unwrap_or('0'));
                    s.push('.');
                    s
                });
            format!("{nibbles}{zone}")
        }
    }
}

/// The rule of a list that answers for everything.
pub const LISTS_THE_WORLD: &str = "dnsbl.lists_the_world";

/// Judges a round.
pub fn judge(list: &ListFacts, round: &Round) -> Verdict<Finding> {
    let unusable = |rule, says: String| {
        Verdict::new(Finding::Unusable, Reason::new(rule, says).with("zone", &list.zone))
    };
    let listed = |answer: &Answer| matches!(answer, Answer::Records(r) if r.iter().any(|a| a.octets()[0] == 127 && !is_error(*a)));
    if matches!(&round.must_not_be, Answer::Records(r) if !r.is_empty()) {
        return unusable(LISTS_THE_WORLD, "127.0.0.1 is listed: this list answers for everything".to_owned());
    }
    if !listed(&round.must_be) {
        let why = match &round.must_be {
            Answer::Records(r) => format!("the test entry answered {r:?}"),
            Answer::NoName => "its test entry 127.0.0.2 is not listed: the list is empty or dead".to_owned(),
            Answer::Failed(why) => format!("it does not answer: {why}"),
        };
        return unusable("dnsbl.no_test_entry", why);
    }
    let records = match &round.ours {
        Answer::NoName => {
            return Verdict::new(
                Finding::Clean,
                Reason::new("dnsbl.clean", "not listed").with("zone", &list.zone),
            );
        }
        Answer::Failed(why) => return unusable("dnsbl.mute", format!("no answer about our address: {why}")),
        Answer::Records(r) => r,
    };
    if let Some(error) = records.iter().find(|a| is_error(**a)) {
        return unusable("dnsbl.error_code", format!("error code {error}: the list refuses our resolver"));
    }
    let known: Vec<&(Ipv4Addr, String)> = list.codes.iter().filter(|(c, _)| records.contains(c)).collect();
    let Some(first) = known.first() else {
        return unusable("dnsbl.unknown_code", format!("undocumented answer {records:?} is not counted"));
    };
    let reason = Reason::new("dnsbl.listed", first.1.clone()).with("zone", &list.zone).with("code", first.0);
    if list.weight == Weight::Information {
        return Verdict::new(Finding::Neighbours { meaning: first.1.clone() }, reason);
    }
    let codes = known.iter().map(|(c, _)| *c).collect();
    Verdict::new(Finding::Listed { codes, meaning: first.1.clone() }, reason)
}

/// 127.255.255.0/24 is always an error; so is 127.0.1.255, which lists of domains give to addresses.
fn is_error(a: Ipv4Addr) -> bool {
    let o = a.octets();
    (o[0] == 127 && o[1] == 255) || o == [127, 0, 1, 255]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(must_be: Answer, must_not_be: Answer, ours: Answer) -> Round {
        Round { must_be, must_not_be, ours }
    }
    fn a(c: u8, d: u8) -> Answer {
        Answer::Records(vec![v4(c, d)])
    }
    fn list(id: &str) -> ListFacts {
        built_in().into_iter().find(|l| l.id == id).expect("known")
    }

    #[test]
    fn a_list_is_believed_only_when_it_is_proved_alive() {
        let zen = list("spamhaus-zen");
        let e = || Answer::Records(vec![Ipv4Addr::new(127, 255, 255, 254)]);
        let mute = || Answer::Failed("time-out".into());
        for (r, want) in [
            (round(a(0, 2), Answer::NoName, Answer::NoName), "dnsbl.clean"),
            (round(a(0, 2), Answer::NoName, a(0, 3)), "dnsbl.listed"),
            (round(a(0, 2), a(0, 2), a(0, 2)), "dnsbl.lists_the_world"),
            (round(Answer::NoName, Answer::NoName, Answer::NoName), "dnsbl.no_test_entry"),
            (round(e(), Answer::NoName, e()), "dnsbl.no_test_entry"),
            (round(a(0, 2), Answer::NoName, e()), "dnsbl.error_code"),
            (round(a(0, 2), Answer::NoName, a(0, 77)), "dnsbl.unknown_code"),
            (round(mute(), mute(), mute()), "dnsbl.no_test_entry"),
            (round(a(0, 2), Answer::NoName, mute()), "dnsbl.mute"),
            (
                round(Answer::Records(vec![Ipv4Addr::new(192, 0, 2, 1)]), Answer::NoName, a(0, 2)),
                "dnsbl.no_test_entry",
            ),
        ] {
            assert_eq!(judge(&zen, &r).reasons.first().rule, want, "{r:?}");
        }
    }

    #[test]
    fn neighbours_are_information_only() {
        let verdict = judge(&list("uceprotect-3"), &round(a(0, 2), Answer::NoName, a(0, 2)));
        assert!(matches!(verdict.decision, Finding::Neighbours { .. }));
    }

    #[test]
    fn questions_are_reversed() {
        assert_eq!(question(IpAddr::from([192, 0, 2, 7]), "zen.example"), "7.2.0.192.zen.example");
        let v6 = question("2001:db8::1".parse().expect("valid"), "z");
        assert!(v6.starts_with("1.0.0.0.") && v6.ends_with(".8.b.d.0.1.0.0.2.z"));
    }
}
