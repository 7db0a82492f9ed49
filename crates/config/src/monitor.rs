//! What the file says of the monitor.

use std::net::IpAddr;

use stdx::{Secret, Span};

use crate::fault::Fault;
use crate::read::{Filled, Tree};
use crate::value::Value;
use crate::{Fetch, TlsMode, count, each, flag, mode, path, span, text};

#[derive(Clone, Default)]
pub struct Monitor {
    pub point: String,
    pub region: String,
    pub url: Option<String>,
    pub neutral: Vec<(String, u16)>,
    pub points_min: usize,
    pub at_once: usize,
    pub remind: Span,
    pub escalate: Span,
    pub raw: Span,
    pub heartbeat: Vec<String>,
    pub watches: Vec<Watch>,
    pub probes: Vec<Probe>,
    pub channels: Vec<Channel>,
}

/// An account somewhere.
#[derive(Clone)]
pub struct Account {
    pub address: String,
    pub user: String,
    pub password: Secret<String>,
}

#[derive(Clone)]
pub struct Watch {
    pub host: String,
    pub address: Option<IpAddr>,
    pub domains: Vec<String>,
    pub selectors: Vec<String>,
    pub name_servers: Vec<String>,
    pub egress: Vec<IpAddr>,
    pub helo: String,
    pub lists: bool,
    pub autoconfig: bool,
    pub rdap: Option<String>,
    pub ipv6: bool,
    pub account: Option<Account>,
    pub second: Option<Account>,
    pub from: String,
    pub junk: Vec<String>,
    pub ports: Vec<(String, u16)>,
    pub web: Option<String>,
    pub web_text: String,
    pub web_login: Vec<(String, String)>,
    pub status: Option<String>,
    pub status_copy: Option<String>,
    pub seeds: Vec<Seed>,
}

#[derive(Clone)]
pub struct Seed {
    pub name: String,
    pub watch: Option<String>,
    pub account: Account,
    pub imap: (String, u16),
    pub tls: TlsMode,
    pub egress: Option<IpAddr>,
    pub junk: Vec<String>,
}

#[derive(Clone)]
pub struct Probe {
    pub name: String,
    pub kind: String,
    pub target: String,
    pub expect: String,
    pub status: u16,
    pub tls: TlsMode,
    pub every: Span,
    pub limit: Span,
    pub slow: Span,
    pub component: String,
}

#[derive(Clone)]
pub struct Channel {
    pub name: String,
    pub kind: String,
    pub level: u32,
    pub url: String,
    pub body: String,
    pub to: String,
    pub secret: Option<Secret<String>>,
    pub server: Option<(String, u16)>,
    pub tls: TlsMode,
    pub user: String,
    pub from: String,
}

fn or_empty(filled: &Filled, key: &str) -> String {
    text(filled, key).unwrap_or_default()
}
fn texts(filled: &Filled, key: &str) -> Vec<String> {
    each(filled, key, |v| if let Value::Text(t) = v { Some(t.clone()) } else { None })
}
fn places(filled: &Filled, key: &str) -> Vec<(String, u16)> {
    each(filled, key, |v| if let Value::HostPort(h, p) = v { Some((h.clone(), *p)) } else { None })
}
fn place(filled: &Filled, key: &str) -> Option<(String, u16)> {
    if let Some(Value::HostPort(h, p)) = filled.get(key) { Some((h.clone(), *p)) } else { None }
}
fn ip(filled: &Filled, key: &str) -> Option<IpAddr> {
    if let Some(Value::Ip(ip)) = filled.get(key) { Some(*ip) } else { None }
}

struct Reader<'r> {
    fetch: Fetch<'r>,
    faults: &'r mut Vec<Fault>,
}

pub(crate) fn read(tree: &Tree, host_name: &str, fetch: Fetch<'_>, faults: &mut Vec<Fault>) -> Monitor {
    let one = tree.one("monitor");
    let mut reader = Reader { fetch, faults };
    let point = text(&one, "point").unwrap_or_else(|| host_name.to_owned());
    let mut watches: Vec<Watch> =
        tree.many("watch").iter().filter_map(|w| reader.watch(w, host_name)).collect();
    for filled in tree.many("seed") {
        let Some(seed) = reader.seed(filled) else { continue };
        let wanted = seed.watch.clone();
        let found = watches.iter_mut().find(|w| wanted.as_ref().is_none_or(|name| *name == w.host));
        match found {
            Some(watch) => watch.seeds.push(seed),
            None => reader.faults.push(Fault {
                at: filled.place("name"),
                what: "this seed belongs to no watched host".into(),
                remedy: "name one of the [[watch]] hosts with watch = …".into(),
            }),
        }
    }
    Monitor {
        region: text(&one, "region").unwrap_or_else(|| point.clone()),
        point,
        url: text(&one, "url"),
        neutral: places(&one, "neutral"),
        points_min: count(&one, "points_min").unwrap_or(2) as usize,
        at_once: count(&one, "at_once").unwrap_or(64) as usize,
        remind: span(&one, "remind").unwrap_or(Span::mins(15)),
        escalate: span(&one, "escalate").unwrap_or(Span::mins(15)),
        raw: span(&one, "raw").unwrap_or(Span::days(14)),
        heartbeat: texts(&one, "heartbeat"),
        watches,
        probes: tree.many("probe").iter().filter_map(probe).collect(),
        channels: tree.many("channel").iter().filter_map(|c| reader.channel(c)).collect(),
    }
}

impl Reader<'_> {
    fn secret(&mut self, filled: &Filled, key: &str) -> Option<Secret<String>> {
        let file = path(filled, key)?;
        match (self.fetch)(&file) {
            Ok(secret) => Some(Secret::new(secret)),
            Err(e) => {
                self.faults.push(Fault {
                    at: filled.place(key),
                    what: format!("{} cannot be read: {e}", file.display()),
                    remedy: "name a file whose first line is the secret".into(),
                });
                None
            }
        }
    }

    fn account(&mut self, filled: &Filled, name: &'static str, file: &'static str) -> Option<Account> {
        let address = text(filled, name)?;
        let Some(password) = self.secret(filled, file) else {
            if !filled.was_given(file) {
                self.faults.push(Fault {
                    at: filled.place(name),
                    what: format!("{name} is given, but {file} is not"),
                    remedy: "a log-in needs both".into(),
                });
            }
            return None;
        };
        Some(Account { user: address.clone(), address, password })
    }

    /// Texts such as `smtp=2525`.
    fn pairs(&mut self, filled: &Filled, key: &'static str) -> Vec<(String, String)> {
        let mut out = Vec::new();
        for text in texts(filled, key) {
            match text.split_once('=') {
                Some((a, b)) => out.push((a.trim().to_owned(), b.trim().to_owned())),
                None => self.faults.push(Fault {
                    at: filled.place(key),
                    what: format!("\"{text}\" has no name and value"),
                    remedy: "write \"name=value\"".into(),
                }),
            }
        }
        out
    }

    fn ports(&mut self, filled: &Filled) -> Vec<(String, u16)> {
        const NAMES: &[&str] =
            &["smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "sieve"];
        let mut out = Vec::new();
        for (name, port) in self.pairs(filled, "ports") {
            match port.parse() {
                Ok(port) if NAMES.contains(&name.as_str()) => out.push((name, port)),
                _ => self.faults.push(Fault {
                    at: filled.place("ports"),
                    what: format!("\"{name}={port}\" names no port"),
                    remedy: format!("the names are {}", NAMES.join(", ")),
                }),
            }
        }
        out
    }

    fn watch(&mut self, w: &Filled, host_name: &str) -> Option<Watch> {
        let host = text(w, "host")?;
        Some(Watch {
            address: ip(w, "address"),
            domains: texts(w, "domains"),
            selectors: texts(w, "selectors"),
            name_servers: texts(w, "name_servers"),
            egress: each(w, "egress", |v| if let Value::Ip(ip) = v { Some(*ip) } else { None }),
            helo: text(w, "helo").unwrap_or_else(|| host.clone()),
            lists: flag(w, "lists"),
            autoconfig: flag(w, "autoconfig"),
            rdap: text(w, "rdap"),
            ipv6: flag(w, "ipv6"),
            account: self.account(w, "account", "password_file"),
            second: self.account(w, "second_account", "second_password_file"),
            from: text(w, "from").unwrap_or_else(|| format!("probe@{host_name}")),
            junk: texts(w, "junk"),
            ports: self.ports(w),
            web: text(w, "web"),
            web_text: or_empty(w, "web_text"),
            web_login: self.pairs(w, "web_login"),
            status: text(w, "status"),
            status_copy: text(w, "status_copy"),
            seeds: Vec::new(),
            host,
        })
    }

    fn seed(&mut self, s: &Filled) -> Option<Seed> {
        let address = text(s, "address")?;
        let password = self.secret(s, "password_file")?;
        let user = text(s, "user").unwrap_or_else(|| address.clone());
        Some(Seed {
            name: text(s, "name")?,
            watch: text(s, "watch"),
            account: Account { address, user, password },
            imap: place(s, "imap")?,
            tls: mode(s, "tls"),
            egress: ip(s, "egress"),
            junk: texts(s, "junk"),
        })
    }

    fn channel(&mut self, c: &Filled) -> Option<Channel> {
        let kind = text(c, "kind")?;
        let wants: &[&'static str] = match kind.as_str() {
            "ntfy" => &["url"],
            "webhook" => &["url", "secret_file"],
            "matrix" => &["url", "to", "secret_file"],
            "sms" => &["url", "to"],
            "mail" => &["server", "to"],
            _ => &["to"],
        };
        for key in wants.iter().filter(|k| !c.was_given(k)) {
            self.faults.push(Fault {
                at: c.place("kind"),
                what: format!("a channel of kind {kind} needs {key}"),
                remedy: format!("write {key} = … too"),
            });
        }
        let user = or_empty(c, "user");
        Some(Channel {
            name: text(c, "name")?,
            level: count(c, "level").unwrap_or(1) as u32,
            url: or_empty(c, "url"),
            body: or_empty(c, "body"),
            to: or_empty(c, "to"),
            secret: self.secret(c, "secret_file"),
            server: place(c, "server"),
            tls: mode(c, "tls"),
            from: text(c, "from").unwrap_or_else(|| user.clone()),
            user,
            kind,
        })
    }
}

fn probe(p: &Filled) -> Option<Probe> {
    let name = text(p, "name")?;
    Some(Probe {
        kind: text(p, "kind")?,
        target: text(p, "target")?,
        expect: or_empty(p, "expect"),
        status: count(p, "status").unwrap_or(200) as u16,
        tls: mode(p, "tls"),
        every: span(p, "every")?,
        limit: span(p, "limit")?,
        slow: span(p, "slow")?,
        component: text(p, "component").unwrap_or_else(|| name.clone()),
        name,
    })
}

#[cfg(test)]
mod tests {
    use crate::{Config, Faults, parse};

    fn read(text: &str) -> Result<Config, Faults> {
        parse("postroad.toml", text, &|path| match path.to_str() {
            Some("secret") => Ok("hunter2".into()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        })
    }

    const HEAD: &str = "host_name = \"m.example.org\"\nrole = \"monitor\"\n";

    #[test]
    fn a_monitor_is_read_as_it_is_written() {
        let text = format!(
            "{HEAD}[monitor]\npoint = \"m1\"\nregion = \"Lusaka\"\nneutral = [\"192.0.2.1:443\"]\n\
             [[watch]]\nhost = \"mx.example.org\"\ndomains = [\"example.org\"]\negress = [\"192.0.2.9\"]\n\
             account = \"probe@example.org\"\npassword_file = \"secret\"\nports = [\"imaps=2693\", \"pop3=0\"]\n\
             [[seed]]\nname = \"google\"\naddress = \"x@gmail.example\"\nimap = \"imap.gmail.example:993\"\npassword_file = \"secret\"\n\
             [[probe]]\nname = \"www\"\nkind = \"http\"\ntarget = \"https://www.example.org/\"\n\
             [[channel]]\nname = \"phone\"\nkind = \"ntfy\"\nurl = \"https://ntfy.example/op\"\n\
             [[peer]]\nname = \"mx.example.org\"\nkey = \"abc\"\nurl = \"https://mx.example.org/\"\n"
        );
        let config = read(&text).unwrap_or_else(|faults| panic!("{faults}"));
        let m = &config.monitor;
        assert_eq!((m.point.as_str(), m.region.as_str(), m.points_min), ("m1", "Lusaka", 2));
        assert_eq!(m.watches[0].ports, [("imaps".to_owned(), 2693), ("pop3".to_owned(), 0)]);
        assert_eq!(m.watches[0].seeds[0].account.user, "x@gmail.example");
        assert_eq!(m.watches[0].from, "probe@m.example.org");
        assert_eq!((m.probes[0].component.as_str(), m.channels[0].level), ("www", 1));
        assert_eq!(config.peers[0].url.as_deref(), Some("https://mx.example.org/"));
        assert_eq!(config.listeners.len(), 2, "HTTP and HTTPS");
    }

    #[test]
    fn what_is_half_given_is_named_with_its_remedy() {
        let fails = |text: &str, want: &str| {
            let Err(faults) = read(&format!("{HEAD}{text}")) else { panic!("it is taken: {text}") };
            assert!(faults.to_string().contains(want), "{faults}");
        };
        fails("[[channel]]\nname = \"x\"\nkind = \"matrix\"\nurl = \"https://x/\"\n", "needs to");
        fails("[[watch]]\nhost = \"mx.example.org\"\naccount = \"a@b.example\"\n", "password_file is not");
        fails("[[watch]]\nhost = \"mx.example.org\"\nports = [\"imapz=1\"]\n", "names no port");
        fails(
            "[[seed]]\nname = \"s\"\naddress = \"a@b.example\"\nimap = \"i.example:993\"\npassword_file = \"secret\"\n",
            "no watched host",
        );
        fails(
            "[[channel]]\nname = \"x\"\nkind = \"ntfy\"\nurl = \"https://x/\"\nsecret_file = \"gone\"\n",
            "cannot be read",
        );
    }
}
