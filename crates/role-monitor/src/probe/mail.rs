//! The mail loops: a real message goes in at one end and must come out at the other. Time, folder,
//! headers and doubles are looked at. Ports may answer and mail may still not flow: this decides.

use stdx::{Now, Span};
use world::World;

use super::port::{self, Port, Proto};
use crate::reply::Wait;
use crate::wire::{Fails, Family, Kit, Login, Place, TlsWay, Wire, plain, quoted};

/// The field by which a loop's message is known again.
pub const FIELD: &str = "X-Postroad-Loop";
/// How often the mailbox is looked at while a message is waited for.
const LOOK_EVERY: Span = Span::secs(2);
/// Old loop messages looked at and removed in one visit.
const TIDY_MAX: usize = 50;

/// Where a message is handed in.
#[derive(Clone)]
pub enum Entry {
    /// As a stranger, at the domain's MX (or this host, if one is named).
    Mx { host: Option<Place> },
    /// As an account of the mail host.
    Submission { port: Port, login: Login },
}

/// Where it must come out.
#[derive(Clone)]
pub struct Mailbox {
    pub port: Port,
    pub login: Login,
    /// Folders besides INBOX in which it may lie: Junk by its names.
    pub junk: Vec<String>,
}

/// One loop.
#[derive(Clone)]
pub struct Loop {
    pub from: String,
    pub to: String,
    pub entry: Entry,
    pub exit: Mailbox,
    /// The source address that mail should have left by, seen in its Received fields.
    pub egress: Option<std::net::IpAddr>,
    /// The exit adds Authentication-Results, which must not say `fail`.
    pub authenticated: bool,
    pub limit: Span,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub after: Span,
    pub folder: String,
    pub header: String,
    /// Tokens of messages found that are not this one.
    pub others: Vec<String>,
    pub copies: usize,
}

/// How far it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Not taken: the words of whoever refused.
    HandIn(String),
    /// The mailbox cannot be looked into.
    Mailbox(String),
    /// Taken, and never seen.
    Lost { after: Span },
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::HandIn(why) => write!(f, "the message was not taken: {why}"),
            Trouble::Mailbox(why) => write!(f, "the mailbox cannot be looked into: {why}"),
            Trouble::Lost { after } => {
                write!(f, "the message was taken, but is in no folder after {after}")
            }
        }
    }
}

/// Sends a message with this token (`LOOP-POINT-RANDOM`), and waits for it.
pub async fn run(kit: &Kit, work: &Loop, token: &str) -> Result<Seen, Trouble> {
    let began = kit.world.now();
    hand_in(kit, work, token).await.map_err(Trouble::HandIn)?;
    wait(kit, work, token, began).await
}

async fn hand_in(kit: &Kit, work: &Loop, token: &str) -> Fails<()> {
    let mut wire = match &work.entry {
        Entry::Mx { host } => stranger(kit, work, host.as_ref()).await?,
        Entry::Submission { port, login } => {
            let mut wire = port::open(kit, port).await?;
            wire.ask(&format!("AUTH PLAIN {}\r\n", plain(login)), &Wait::Smtp("235")).await?;
            wire
        }
    };
    let yes = Wait::Smtp("2");
    wire.ask(&format!("MAIL FROM:<{}>\r\n", work.from), &yes).await?;
    wire.ask(&format!("RCPT TO:<{}>\r\n", work.to), &yes).await?;
    wire.ask("DATA\r\n", &Wait::Smtp("354")).await?;
    let text = letter(work, token, &kit.name, kit.world.now());
    wire.send(text.as_bytes()).await?;
    wire.ask(".\r\n", &yes).await.map_err(|e| format!("after the text, {e}"))?;
    port::goodbye(&mut wire, Proto::Smtp).await;
    Ok(())
}

/// To the first exchanger that takes us, best first (RFC 5321 §5.1).
async fn stranger(kit: &Kit, work: &Loop, host: Option<&Place>) -> Fails<Wire> {
    let hosts = match host {
        Some(place) => vec![place.clone()],
        None => exchangers(&kit.world, work.to.rsplit_once('@').map_or("", |(_, d)| d)).await?,
    };
    let mut failed = String::new();
    for to in hosts.into_iter().take(5) {
        let name = to.host.clone();
        let port = |tls| Port {
            proto: Proto::Smtp,
            to: to.clone(),
            family: Family::Any,
            tls,
            name: name.clone(),
            login: None,
        };
        // RFC 7435: with TLS where it can be had, without where it cannot.
        match port::open(kit, &port(TlsWay::StartTls)).await {
            Ok(wire) => return Ok(wire),
            Err(why) if why.starts_with("STARTTLS") || why.starts_with("TLS failed") => {
                match port::open(kit, &port(TlsWay::None)).await {
                    Ok(wire) => return Ok(wire),
                    Err(why) => failed = format!("{to}: {why}"),
                }
            }
            Err(why) => failed = format!("{to}: {why}"),
        }
    }
    Err(failed)
}

pub async fn exchangers(world: &World, domain: &str) -> Fails<Vec<Place>> {
    let place = |host: &str| Place { host: host.to_owned(), port: 25 };
    match world.dns.mx(domain).await {
        Ok(answer) => {
            let mut found = answer.records;
            found.sort();
            let hosts: Vec<Place> =
                found.iter().filter(|m| !m.host.is_empty()).map(|m| place(&m.host)).collect();
            if hosts.is_empty() { Err(format!("{domain} says that it takes no mail")) } else { Ok(hosts) }
        }
        // RFC 5321 §5.1: without an MX, the domain itself.
        Err(world::DnsError::NoData) => Ok(vec![place(domain)]),
        Err(e) => Err(format!("the MX of {domain}: {}", crate::wire::dns_says(&e))),
    }
}

fn letter(work: &Loop, token: &str, name: &str, now: Now) -> String {
    format!(
        "From: Postroad monitor <{}>\r\nTo: <{}>\r\nSubject: Mail loop {token}\r\nDate: {}\r\n\
         Message-ID: <loop.{token}@{name}>\r\n{FIELD}: {token}\r\nAuto-Submitted: auto-generated\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
         This message proves that mail flows. Whoever sees it may delete it.\r\n",
        work.from,
        work.to,
        now.rfc5322()
    )
}

async fn wait(kit: &Kit, work: &Loop, token: &str, began: Now) -> Result<Seen, Trouble> {
    let until = began + work.limit;
    let mut wire = enter(kit, &work.exit).await.map_err(Trouble::Mailbox)?;
    loop {
        for folder in std::iter::once("INBOX").chain(work.exit.junk.iter().map(String::as_str)) {
            let found = look(&mut wire, folder, token).await.map_err(Trouble::Mailbox)?;
            let now = kit.world.now();
            if let Some((header, others, copies)) = found {
                port::goodbye(&mut wire, Proto::Imap).await;
                return Ok(Seen {
                    after: now.since(began),
                    folder: folder.to_owned(),
                    header,
                    others,
                    copies,
                });
            }
        }
        let now = kit.world.now();
        if now >= until {
            port::goodbye(&mut wire, Proto::Imap).await;
            return Err(Trouble::Lost { after: work.limit });
        }
        kit.world.clock.sleep_until((now + LOOK_EVERY).min(until)).await;
    }
}

async fn enter(kit: &Kit, mailbox: &Mailbox) -> Fails<Wire> {
    let mut wire = port::open(kit, &mailbox.port).await?;
    port::imap_login(&mut wire, &mailbox.login).await?;
    Ok(wire)
}

/// The header of the message, the tokens of older ones of this loop that lay there, and how many
/// copies there were. All of them are removed once ours is there; other loops' are left alone.
async fn look(wire: &mut Wire, folder: &str, token: &str) -> Fails<Option<(String, Vec<String>, usize)>> {
    wire.send(format!("f1 SELECT {}\r\n", quoted(folder)).as_bytes()).await?;
    if !wire.reply(&Wait::Imap("f1".into())).await?.yes {
        // Not every mailbox has every name of Junk.
        return Ok(None);
    }
    let found = numbers(
        &wire
            .ask(&format!("f2 UID SEARCH HEADER {FIELD} {}\r\n", quoted(token)), &Wait::Imap("f2".into()))
            .await?
            .lines,
    );
    let Some(first) = found.first() else { return Ok(None) };
    let text = format!("f3 UID FETCH {first} (BODY.PEEK[HEADER])\r\n");
    let fetched = wire.ask(&text, &Wait::Imap("f3".into())).await?;
    let header =
        fetched.literals.first().map(|h| String::from_utf8_lossy(h).into_owned()).unwrap_or_default();
    let ours = token.rsplit_once('-').map_or(token, |(ours, _)| ours);
    let text = format!("f4 UID SEARCH HEADER {FIELD} {}\r\n", quoted(&format!("{ours}-")));
    let all = numbers(&wire.ask(&text, &Wait::Imap("f4".into())).await?.lines);
    let mut others = Vec::new();
    let old: Vec<u64> = all.iter().copied().filter(|n| !found.contains(n)).take(TIDY_MAX).collect();
    if !old.is_empty() {
        let text = format!("f5 UID FETCH {} (BODY.PEEK[HEADER.FIELDS ({FIELD})])\r\n", list(&old));
        let fetched = wire.ask(&text, &Wait::Imap("f5".into())).await?;
        others = fetched.literals.iter().filter_map(|l| field(&String::from_utf8_lossy(l), FIELD)).collect();
    }
    let gone: Vec<u64> = found.iter().copied().chain(old).collect();
    let text = format!("f6 UID STORE {} +FLAGS.SILENT (\\Deleted)\r\n", list(&gone));
    wire.ask(&text, &Wait::Imap("f6".into())).await?;
    wire.ask("f7 EXPUNGE\r\n", &Wait::Imap("f7".into())).await?;
    Ok(Some((header, others, found.len())))
}

fn list(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

/// The numbers of `* SEARCH` lines.
fn numbers(lines: &[String]) -> Vec<u64> {
    lines
        .iter()
        .filter_map(|l| l.strip_prefix("* SEARCH"))
        .flat_map(|l| l.split_whitespace().filter_map(|n| n.parse().ok()).collect::<Vec<u64>>())
        .collect()
}

/// A field's value, unfolded.
pub fn field(header: &str, name: &str) -> Option<String> {
    let mut lines = header.split("\r\n").peekable();
    while let Some(line) = lines.next() {
        let Some((found, value)) = line.split_once(':') else { continue };
        if !found.eq_ignore_ascii_case(name) {
            continue;
        }
        let mut value = value.trim().to_owned();
        while let Some(more) = lines.peek().filter(|l| l.starts_with([' ', '\t'])) {
            value.push(' ');
            value.push_str(more.trim());
            lines.next();
        }
        return Some(value);
    }
    None
}

/// What is worth a warning in a message that came: the wrong folder, a failed proof, a copy too
/// many, another way out than the one meant.
pub fn blemishes(work: &Loop, seen: &Seen) -> Vec<String> {
    let mut out = Vec::new();
    if seen.folder != "INBOX" {
        out.push(format!("it was put into {}", seen.folder));
    }
    if seen.copies > 1 {
        out.push(format!("it came {} times", seen.copies));
    }
    let results = field(&seen.header, "Authentication-Results");
    match results {
        Some(results) if work.authenticated => {
            for proof in ["spf=fail", "dkim=fail", "dmarc=fail"] {
                if results.contains(proof) {
                    out.push(format!("the receiver says {proof}"));
                }
            }
        }
        None if work.authenticated => out.push("the receiver notes no Authentication-Results".into()),
        _ => {}
    }
    if let Some(egress) = work.egress
        && !seen.header.contains(&format!("[{egress}]"))
    {
        out.push(format!("it did not leave by {egress}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use stdx::Secret;

    fn work() -> Loop {
        let place = Place { host: "mx.example".into(), port: 993 };
        let port = Port {
            proto: Proto::Imap,
            to: place,
            family: Family::Any,
            tls: TlsWay::Implicit,
            name: "mx.example".into(),
            login: None,
        };
        let login = Login { user: "a".into(), password: Secret::new("b".into()) };
        Loop {
            from: "probe@monitor.example".into(),
            to: "a@example.org".into(),
            entry: Entry::Mx { host: None },
            exit: Mailbox { port, login, junk: vec!["Junk".into()] },
            egress: Some("192.0.2.1".parse().expect("an address")),
            authenticated: true,
            limit: Span::secs(120),
        }
    }

    #[test]
    fn what_is_odd_about_a_message_is_named() {
        let good = Seen {
            after: Span::secs(3),
            folder: "INBOX".into(),
            header: "Authentication-Results: mx;\r\n\tspf=pass\r\nReceived: from x (x [192.0.2.1])\r\n\r\n"
                .into(),
            others: Vec::new(),
            copies: 1,
        };
        assert_eq!(blemishes(&work(), &good), Vec::<String>::new());
        let bad = Seen {
            folder: "Junk".into(),
            header: "Authentication-Results: mx; spf=fail\r\n".into(),
            copies: 2,
            ..good
        };
        assert_eq!(blemishes(&work(), &bad).len(), 4);
    }

    #[test]
    fn fields_are_unfolded_and_search_results_read() {
        assert_eq!(field("A: b\r\nC: d\r\n e\r\n\tf\r\nG: h\r\n", "c").as_deref(), Some("d e f"));
        assert_eq!(numbers(&["* SEARCH 4 9".into(), "* 3 EXISTS".into(), "* SEARCH".into()]), [4, 9]);
    }

    #[test]
    fn the_letter_is_a_message() {
        let text = letter(&work(), "abc", "m.example", Now::from_secs(0));
        assert!(text.contains("\r\nX-Postroad-Loop: abc\r\n") && text.contains("\r\n\r\n"), "{text}");
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
    }
}
