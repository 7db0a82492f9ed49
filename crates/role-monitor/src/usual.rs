//! The probes a mail host needs, made from a few facts about it: see docs/operating/monitor.md for
//! the list with its intervals.

use std::net::IpAddr;

use route::dnsbl;
use stdx::Span;
use watch::drift::Wanted;
use web::Url;

use crate::probe::mail::{Entry, Loop, Mailbox};
use crate::probe::names::DomainWatch;
use crate::probe::port::{Port, Proto};
use crate::probe::{Kind, Target, Web};
use crate::wire::{Family, Login, Place, TlsWay};

/// A mail host as its operator describes it to the monitor.
#[derive(Clone, Default)]
pub struct MailHost {
    /// `mx.example.org`: probes and alerts name it, certificates are for it.
    pub name: String,
    /// Dialled in place of what DNS says.
    pub address: Option<IpAddr>,
    pub ports: Ports,
    /// IPv6 is looked at by itself.
    pub ipv6: bool,
    pub domains: Vec<String>,
    pub selectors: Vec<String>,
    pub ns: Vec<String>,
    pub autoconfig: bool,
    pub rdap: Option<Url>,
    /// Every address mail leaves by, and the name it says.
    pub egresses: Vec<(IpAddr, String)>,
    /// An account for loops and log-ins.
    pub account: Option<(String, Login)>,
    /// A second account here, for the loop inside.
    pub second: Option<(String, Login)>,
    /// Mailboxes at other providers.
    pub seeds: Vec<Seed>,
    pub web: Option<Web>,
    pub status: Option<(Url, Option<Url>)>,
    /// The sender of loops from outside.
    pub from: String,
    pub lists: bool,
    /// Names of Junk folders.
    pub junk: Vec<String>,
}

/// Zero: not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    pub smtp: u16,
    pub submission: u16,
    pub submissions: u16,
    pub imap: u16,
    pub imaps: u16,
    pub pop3: u16,
    pub pop3s: u16,
    pub sieve: u16,
    pub https: u16,
}

impl Default for Ports {
    fn default() -> Ports {
        Ports {
            smtp: 25,
            submission: 587,
            submissions: 465,
            imap: 143,
            imaps: 993,
            pop3: 110,
            pop3s: 995,
            sieve: 4190,
            https: 443,
        }
    }
}

/// A mailbox at another provider.
#[derive(Clone)]
pub struct Seed {
    pub name: String,
    pub address: String,
    pub imap: Place,
    pub tls: TlsWay,
    pub login: Login,
    /// The address our mail should leave by on its way there.
    pub egress: Option<IpAddr>,
    pub junk: Vec<String>,
}

/// How long a loop may take before the message counts as lost.
const LOOP_LIMIT: Span = Span::secs(120);

struct Maker<'h> {
    host: &'h MailHost,
    out: Vec<Target>,
}

/// All of them.
pub fn targets(host: &MailHost) -> Vec<Target> {
    let mut maker = Maker { host, out: Vec::new() };
    maker.ports();
    maker.loops();
    maker.names();
    maker.pages();
    maker.out
}

impl Maker<'_> {
    fn put(&mut self, what: &str, component: &str, every: Span, kind: Kind) {
        // A loop takes its own time; everything else should answer soon.
        let (limit, slow) = match &kind {
            Kind::Loop(work) => (Span(work.limit.as_ms() + 45_000), Span::secs(60)),
            Kind::Domain(_) | Kind::Lists { .. } => (Span::mins(5), Span::mins(5)),
            _ => (Span::secs(20), Span::secs(5)),
        };
        let id = format!("{what}.{}", self.host.name);
        let (component, host) = (component.to_owned(), self.host.name.clone());
        self.out.push(Target { id, kind, component, host, every, limit, slow });
    }

    fn port(&self, proto: Proto, port: u16, tls: TlsWay, family: Family) -> Port {
        let host = self.host.address.map_or(self.host.name.clone(), |ip| ip.to_string());
        Port { proto, to: Place { host, port }, family, tls, name: self.host.name.clone(), login: None }
    }

    /// What is looked at: its word, the port, how it comes to TLS, and whether one logs in there.
    fn doors(&self) -> Vec<(&'static str, Proto, u16, TlsWay, bool)> {
        use TlsWay::{Implicit, StartTls};
        let p = self.host.ports;
        let all = [
            ("smtp", Proto::Smtp, p.smtp, StartTls, false),
            ("submission", Proto::Submission, p.submission, StartTls, true),
            ("submissions", Proto::Submission, p.submissions, Implicit, true),
            ("imap", Proto::Imap, p.imap, StartTls, true),
            ("imaps", Proto::Imap, p.imaps, Implicit, true),
            ("pop3", Proto::Pop3, p.pop3, StartTls, true),
            ("pop3s", Proto::Pop3, p.pop3s, Implicit, true),
            ("sieve", Proto::Sieve, p.sieve, StartTls, true),
        ];
        all.into_iter().filter(|(_, _, port, _, _)| *port != 0).collect()
    }

    /// M5, M15, M29.
    fn ports(&mut self) {
        for (word, proto, number, tls, logs_in) in self.doors() {
            let component = match proto {
                Proto::Imap | Proto::Pop3 => "reading",
                _ => "ports",
            };
            let families: &[(&str, Family)] =
                if self.host.ipv6 { &[("", Family::V4), (".v6", Family::V6)] } else { &[("", Family::Any)] };
            for (suffix, family) in families {
                let login = self.host.account.as_ref().filter(|_| logs_in).map(|(_, login)| login.clone());
                let port = Port { login, ..self.port(proto, number, tls, *family) };
                self.put(
                    &format!("port.{word}{suffix}"),
                    component,
                    Span::mins(1),
                    Kind::Port(Box::new(port)),
                );
            }
            let port = self.port(proto, number, tls, Family::Any);
            self.put(
                &format!("certificate.{word}"),
                "certificates",
                Span::hours(1),
                Kind::Certificate(Box::new(port)),
            );
        }
        if self.host.ports.smtp != 0 {
            let port = self.port(Proto::Smtp, self.host.ports.smtp, TlsWay::StartTls, Family::Any);
            self.put("open-relay", "ports", Span::days(1), Kind::OpenRelay(Box::new(port)));
        }
    }

    /// M1, M2, M3.
    fn loops(&mut self) {
        let host = self.host;
        let p = host.ports;
        let Some((address, login)) = &host.account else { return };
        let (imap, tls) = if p.imaps != 0 { (p.imaps, TlsWay::Implicit) } else { (p.imap, TlsWay::StartTls) };
        let (smtp, smtp_tls) = if p.submissions != 0 {
            (p.submissions, TlsWay::Implicit)
        } else {
            (p.submission, TlsWay::StartTls)
        };
        let exit = |login: &Login| Mailbox {
            port: self.port(Proto::Imap, imap, tls, Family::Any),
            login: login.clone(),
            junk: host.junk.clone(),
        };
        let entry = Entry::Submission {
            port: self.port(Proto::Submission, smtp, smtp_tls, Family::Any),
            login: login.clone(),
        };
        let mx = host.address.map(|ip| Place { host: ip.to_string(), port: p.smtp });
        let inward = Loop {
            from: host.from.clone(),
            to: address.clone(),
            entry: Entry::Mx { host: mx },
            exit: exit(login),
            egress: None,
            authenticated: true,
            limit: LOOP_LIMIT,
        };
        let inside = host.second.as_ref().map(|(to, login)| Loop {
            from: address.clone(),
            to: to.clone(),
            entry: entry.clone(),
            exit: exit(login),
            authenticated: false,
            ..inward.clone()
        });
        let outward: Vec<(String, Loop)> = host
            .seeds
            .iter()
            .map(|seed| (seed.name.clone(), outward(seed, &inward, &entry, address)))
            .collect();
        if p.smtp != 0 {
            self.put("loop.in", "receiving", Span::mins(2), Kind::Loop(Box::new(inward)));
        }
        if let Some(inside) = inside {
            self.put("loop.inside", "inside", Span::mins(1), Kind::Loop(Box::new(inside)));
        }
        for (name, work) in outward {
            self.put(&format!("loop.out.{name}"), "sending", Span::mins(15), Kind::Loop(Box::new(work)));
        }
    }

    /// M10, M12, M13, M16.
    fn names(&mut self) {
        let host = self.host;
        for domain in &host.domains {
            let wanted = Wanted {
                mx: vec![host.name.clone()],
                selectors: host.selectors.clone(),
                ns: host.ns.clone(),
            };
            let watch = DomainWatch {
                domain: domain.clone(),
                wanted,
                egresses: host.egresses.clone(),
                autoconfig: host.autoconfig,
                rdap: host.rdap.clone(),
            };
            self.put(&format!("names.{domain}"), "dns", Span::hours(1), Kind::Domain(Box::new(watch)));
        }
        for (ip, helo) in &host.egresses {
            let kind = Kind::Reverse { ip: *ip, helo: helo.clone() };
            self.put(&format!("reverse.{ip}"), "dns", Span::mins(10), kind);
            if host.lists {
                let kind = Kind::Lists { ip: *ip, lists: dnsbl::built_in() };
                self.put(&format!("lists.{ip}"), "lists", Span::mins(10), kind);
            }
        }
    }

    /// M30, M34.
    fn pages(&mut self) {
        if let Some(page) = &self.host.web {
            self.put("webmail", "webmail", Span::mins(5), Kind::Http(page.clone()));
        }
        if let Some((url, copy)) = &self.host.status {
            let kind = Kind::Status { url: url.clone(), copy: copy.clone() };
            self.put("status", "status", Span::mins(1), kind);
        }
    }
}

/// From our account to a mailbox at another provider.
fn outward(seed: &Seed, inward: &Loop, entry: &Entry, from: &str) -> Loop {
    let port = Port {
        proto: Proto::Imap,
        to: seed.imap.clone(),
        family: Family::Any,
        tls: seed.tls,
        name: seed.imap.host.clone(),
        login: None,
    };
    Loop {
        from: from.to_owned(),
        to: seed.address.clone(),
        entry: entry.clone(),
        exit: Mailbox { port, login: seed.login.clone(), junk: seed.junk.clone() },
        egress: seed.egress,
        limit: Span::mins(4),
        ..inward.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stdx::Secret;

    #[test]
    fn a_mail_host_gets_every_probe_it_needs_once() {
        let login = Login { user: "ann@example.org".into(), password: Secret::new("x".into()) };
        let host = MailHost {
            name: "mx.example.org".into(),
            domains: vec!["example.org".into()],
            egresses: vec![("192.0.2.1".parse().expect("an address"), "mx.example.org".into())],
            account: Some(("ann@example.org".into(), login.clone())),
            second: Some(("bob@example.org".into(), login.clone())),
            seeds: vec![Seed {
                name: "google".into(),
                address: "seed@gmail.example".into(),
                imap: Place { host: "imap.gmail.example".into(), port: 993 },
                tls: TlsWay::Implicit,
                login,
                egress: None,
                junk: Vec::new(),
            }],
            lists: true,
            ipv6: true,
            ..MailHost::default()
        };
        let targets = targets(&host);
        let mut ids: Vec<&str> = targets.iter().map(|t| t.id.as_str()).collect();
        ids.sort();
        let all = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), all, "every id is its own");
        // Eight ports in two families, eight certificates, and nine more.
        let want = [
            "loop.in",
            "loop.inside",
            "loop.out.google",
            "names.example.org",
            "reverse.192.0.2.1",
            "lists.192.0.2.1",
            "open-relay",
        ];
        for what in want {
            assert!(ids.contains(&format!("{what}.mx.example.org").as_str()), "{what}");
        }
        assert_eq!(all, 16 + 8 + want.len());
    }
}
