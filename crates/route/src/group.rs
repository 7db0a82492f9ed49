//! Which destinations belong together: by the hosts that take their mail.
//!
//! The longest known suffix names the provider; else the registrable domain of the MX hosts; a
//! host under the recipient's own domain is a group of its own until its greeting tells more.
//! All MX hosts of a domain must agree, else the domain stands alone. Begin with [`group_of`].

use std::collections::BTreeMap;

use words::Domain;

use crate::provider;

/// Vanity names remembered at most; the oldest knowledge is not better than none.
pub const LEARNED_MAX: usize = 20_000;

/// A group's name: a provider's id, or a registrable domain in angle-free text.
pub type GroupName = String;

/// What greetings taught: MX host → provider id. Filled by [`learn_banner`].
pub type Banners = BTreeMap<String, String>;

/// The group of a domain from its MX hosts, best preference first. `hosts` may hold the domain
/// itself where there is no MX (RFC 5321 §5.1).
pub fn group_of(domain: &Domain, hosts: &[String], banners: &Banners) -> GroupName {
    let own = registrable(domain.as_str());
    let mut names = hosts.iter().map(|host| {
        let known = provider::by_host(host).map(|p| p.id).or_else(|| banners.get(host).map(String::as_str));
        known.map_or_else(|| registrable(host), str::to_owned)
    });
    let Some(first) = names.next() else { return own };
    if names.all(|n| n == first) { first } else { own }
}

/// The provider behind a group, if it is a known one.
pub fn provider_of(group: &str) -> Option<&'static provider::Provider> {
    provider::by_id(group)
}

/// RFC 5321 §4.2: the greeting names the host that speaks. A vanity MX name that greets as a
/// known provider's host belongs to that provider. Says whether something new was learned.
pub fn learn_banner(banners: &mut Banners, mx_host: &str, greeting: &str) -> bool {
    if provider::by_host(mx_host).is_some() {
        return false;
    }
    let lower = greeting.to_ascii_lowercase();
    let found = lower
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-'))
        .filter(|w| w.contains('.'))
        .find_map(|w| provider::by_host(w.trim_matches('.')));
    match found {
        Some(p) if banners.get(mx_host).is_none_or(|b| b != p.id) && banners.len() < LEARNED_MAX => {
            banners.insert(mx_host.to_owned(), p.id.to_owned());
            true
        }
        _ => false,
    }
}

/// The registrable domain by the Public Suffix List; the name itself where there is none.
pub fn registrable(name: &str) -> String {
    psl::domain_str(name).unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(domain: &str, hosts: &[&str]) -> String {
        let hosts: Vec<String> = hosts.iter().map(|h| (*h).to_owned()).collect();
        group_of(&Domain::new(domain).expect("valid"), &hosts, &Banners::new())
    }

    #[test]
    fn domains_group_by_who_takes_their_mail() {
        for (domain, hosts, want) in [
            ("a.example", &["a-example.mail.protection.outlook.com"][..], "microsoft-365"),
            ("b.example", &["mx1.hoster.co.uk", "mx2.hoster.co.uk"], "hoster.co.uk"),
            ("c.example.org", &["mail.c.example.org"], "example.org"),
            ("d.example.net", &[], "example.net"),
            // One MX elsewhere: the domain stands alone.
            ("e.example.com", &["aspmx.l.google.com", "backup.example.com"], "example.com"),
        ] {
            assert_eq!(group(domain, hosts), want, "{domain}");
        }
    }

    #[test]
    fn a_greeting_teaches_who_stands_behind_a_vanity_name() {
        let mut banners = Banners::new();
        assert!(learn_banner(&mut banners, "mx.firm.example", "mx.google.com ESMTP a1si2 - gsmtp"));
        assert!(!learn_banner(&mut banners, "mx.firm.example", "mx.google.com ESMTP"));
        assert!(!learn_banner(&mut banners, "mx.other.example", "mx.other.example ESMTP Postfix"));
        let domain = Domain::new("firm.example").expect("valid");
        assert_eq!(group_of(&domain, &["mx.firm.example".into()], &banners), "google");
    }
}
