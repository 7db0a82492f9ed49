//! Delivery status notifications: writing them in plain words (RFC 3461 to RFC 3464, RFC 6533),
//! and reading those of others.
//!
//! Begin with [`Notice`].

use std::fmt::Write;

use stdx::Now;
use words::{Address, Enhanced, MessageId};

use crate::compose::{How, Letter, Piece};
use crate::edit::fold;
use crate::mime::{Kind, Structure};
use crate::{Head, words2047};

/// Bytes of an original returned whole; of longer ones only the header goes back.
pub const ORIGINAL_MAX: usize = 1 << 20;
/// Recipient blocks read of one foreign notice.
const RECIPIENTS_MAX: usize = 10_000;

/// RFC 3464 §2.3.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Failed,
    Delayed,
    Delivered,
    /// Handed to a host that makes no notices of its own.
    Relayed,
    Expanded,
}

impl Action {
    pub const fn as_str(self) -> &'static str {
        match self {
            Action::Failed => "failed",
            Action::Delayed => "delayed",
            Action::Delivered => "delivered",
            Action::Relayed => "relayed",
            Action::Expanded => "expanded",
        }
    }
    fn read(text: &str) -> Option<Action> {
        let all = [Action::Failed, Action::Delayed, Action::Delivered, Action::Relayed, Action::Expanded];
        all.into_iter().find(|a| text.eq_ignore_ascii_case(a.as_str()))
    }
}

/// What became of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    pub recipient: Address,
    /// RFC 3461 §4.2, decoded: `rfc822;bob@example.org`.
    pub orcpt: Option<String>,
    pub action: Action,
    pub status: Enhanced,
    /// The name of the remote host that answered.
    pub remote: Option<String>,
    /// Its reply, word for word: `550 5.1.1 no such user`.
    pub reply: Option<String>,
    /// Why, in a sentence for the sender. Empty: [`plain_words`] of the status.
    pub says: String,
    pub last_attempt: Option<Now>,
    /// When a delayed message will be given up.
    pub until: Option<Now>,
}

/// What goes back of the message it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Original {
    Nothing,
    /// Only the header (RFC 3461 §4.3 RET=HDRS); a whole message may be given, its body is cut.
    Header(Vec<u8>),
    Full(Vec<u8>),
}

/// A notice to be written. It goes out with the null reverse path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Our host name.
    pub host: String,
    /// Whom the notice is from: `postmaster@…`.
    pub from: String,
    /// The sender of the message it is about.
    pub to: Address,
    /// Without angle brackets.
    pub message_id: String,
    pub at: Now,
    /// Our id of the message it is about.
    pub about: Option<MessageId>,
    /// RFC 3461 §4.4, decoded.
    pub envid: Option<String>,
    pub arrived: Option<Now>,
    pub fates: Vec<Fate>,
    pub original: Original,
}

/// A sentence for a status code (RFC 3463 and its registry).
pub fn plain_words(status: Enhanced) -> &'static str {
    let transient = status.0 == 4;
    match (status.1, status.2) {
        (1, 1 | 6) => "There is no mailbox of that name there.",
        (1, 2) | (4, 4) if !transient => {
            "The domain cannot receive mail: it does not exist or names no mail server."
        }
        (1, 10) => "The domain declares that it accepts no mail.",
        (1, 3 | 5) => "The address is not one that server understands.",
        (1, 7 | 8) => "That server does not accept your sender address.",
        (2, 1) => "The mailbox is switched off.",
        (2, 2) => "The mailbox is full.",
        (2, 3) | (3, 4) => "The message is larger than that server accepts.",
        (4, 1) => "Its mail server does not answer.",
        (4, 2) => "The connection to its mail server breaks off.",
        (4, 6) => "The message went round in a circle between servers.",
        (4, 7) => "It could not be handed over in the time allowed.",
        (4, _) => "Its mail server cannot be reached at present.",
        (6, 7 | 8) => "That server does not take addresses with international characters.",
        (7, 10 | 4) => "A secure connection to its mail server could not be made.",
        (7, 8 | 9) => "The server did not accept the login.",
        (7, 20..=26) => "That server could not confirm that the message is from your domain.",
        (7, 30) => "A secure connection was required and could not be made.",
        (7, _) if transient => "That server does not accept the message yet.",
        (7, _) => "That server refuses the message by a rule of its own.",
        _ if transient => "That server has a temporary difficulty.",
        _ if status.0 == 2 => "The message was handed over.",
        _ => "That server refused the message.",
    }
}

impl Notice {
    /// The message, ready to be sent.
    pub fn build(&self) -> Vec<u8> {
        let utf8 =
            !self.to.to_string().is_ascii() || self.fates.iter().any(|f| !f.recipient.to_string().is_ascii());
        let global =
            |plain: &str, international: &str| if utf8 { international.to_owned() } else { plain.to_owned() };
        let mut pieces = vec![
            Piece::text(self.text()),
            Piece {
                ctype: global("message/delivery-status", "message/global-delivery-status"),
                fields: String::new(),
                body: self.status(utf8).into_bytes(),
                how: How::AsIs,
            },
        ];
        pieces[0].fields = fold("Content-Language", "en");
        match self.returned() {
            Some((true, bytes)) => pieces.push(original(global("message/rfc822", "message/global"), bytes)),
            Some((false, bytes)) => {
                pieces.push(original(global("text/rfc822-headers", "message/global-headers"), bytes));
            }
            None => {}
        }
        let mut fields = fold("Auto-Submitted", "auto-replied");
        if let Some(id) = self.original_id() {
            fields += &fold("In-Reply-To", &id);
            fields += &fold("References", &id);
        }
        if self.worst() == Action::Failed {
            let list: Vec<String> = self.of(Action::Failed).map(|f| f.recipient.to_string()).collect();
            if list.len() <= 20 && !utf8 {
                fields += &fold("X-Failed-Recipients", &list.join(", "));
            }
        }
        let letter = Letter {
            from: (Some("Mail Delivery".into()), self.from.clone()),
            to: vec![(None, self.to.to_string())],
            subject: self.subject(),
            at: self.at,
            message_id: self.message_id.clone(),
            fields,
            pieces,
            multipart: "report; report-type=delivery-status".into(),
        };
        letter.build()
    }

    fn of(&self, action: Action) -> impl Iterator<Item = &Fate> {
        self.fates.iter().filter(move |f| f.action == action)
    }

    fn worst(&self) -> Action {
        [Action::Failed, Action::Delayed, Action::Relayed, Action::Expanded]
            .into_iter()
            .find(|a| self.of(*a).next().is_some())
            .unwrap_or(Action::Delivered)
    }

    /// What is returned, and whether it is the whole message.
    fn returned(&self) -> Option<(bool, &[u8])> {
        match &self.original {
            Original::Nothing => None,
            Original::Full(bytes) if bytes.len() <= ORIGINAL_MAX => Some((true, bytes)),
            Original::Full(bytes) | Original::Header(bytes) => {
                Some((false, &bytes[..Head::parse(bytes).body_start()]))
            }
        }
    }

    fn original_head(&self) -> Option<Head<'_>> {
        match &self.original {
            Original::Nothing => None,
            Original::Full(bytes) | Original::Header(bytes) => Some(Head::parse(bytes)),
        }
    }

    fn original_id(&self) -> Option<String> {
        let id = crate::ids::one(&self.original_head()?.get("Message-ID")?.unfolded())?;
        id.is_ascii().then(|| format!("<{id}>"))
    }

    fn subject(&self) -> String {
        let what = match self.worst() {
            Action::Failed => "Not delivered",
            Action::Delayed => "Not delivered yet",
            Action::Delivered => "Delivered",
            Action::Relayed | Action::Expanded => "Handed on",
        };
        match self.original_head().and_then(|h| h.text("Subject")).filter(|s| !s.trim().is_empty()) {
            Some(subject) => format!("{what}: {}", cut(subject.trim(), 150)),
            None => format!("{what}: your message"),
        }
    }

    /// The part for people.
    fn text(&self) -> String {
        let mut out = format!("This is the mail server {}, about a message you sent.\n", self.host);
        for (action, intro) in [
            (Action::Failed, "It could not be delivered to:"),
            (
                Action::Delayed,
                "It has not been delivered yet to the following, and is tried again; you need not send it again:",
            ),
            (Action::Delivered, "It was delivered to:"),
            (Action::Relayed, "It was handed to a server that sends no confirmations of its own, for:"),
            (Action::Expanded, "It was passed on to the members of:"),
        ] {
            let mut fates = self.of(action).peekable();
            if fates.peek().is_none() {
                continue;
            }
            let _ = write!(out, "\n{intro}\n");
            for fate in fates {
                describe(fate, &mut out);
            }
        }
        let head = self.original_head();
        let line = |name: &str| head.as_ref().and_then(|h| h.text(name)).map(|t| cut(&t, 300).to_owned());
        out.push_str("\nThe message:\n");
        for (label, value) in [
            ("Subject", line("Subject")),
            ("Date", line("Date")),
            ("Message-ID", line("Message-ID")),
            ("Arrived here", self.arrived.map(Now::rfc5322)),
            ("Our id", self.about.map(MessageId::tagged)),
        ] {
            if let Some(value) = value {
                let _ = writeln!(out, "  {label}: {}", one_line(&value));
            }
        }
        out.push_str("\nIf you ask the administrator about it, please give this id or this notice.\n");
        out
    }

    /// The part for programs (RFC 3464 §2).
    fn status(&self, utf8: bool) -> String {
        let mut out = String::new();
        if let Some(envid) = &self.envid {
            out += &fold("Original-Envelope-Id", envid);
        }
        out += &fold("Reporting-MTA", &format!("dns; {}", self.host));
        if let Some(at) = self.arrived {
            out += &fold("Arrival-Date", &at.rfc5322());
        }
        if let Some(id) = self.about {
            out += &fold("X-Postroad-Message", &id.to_string());
        }
        for fate in &self.fates {
            out += "\r\n";
            out += &status_of(fate, utf8);
        }
        out
    }
}

fn original(ctype: String, bytes: &[u8]) -> Piece {
    Piece { ctype, fields: String::new(), body: bytes.to_vec(), how: How::AsIs }
}

/// RFC 3464 §2.3: one block of fields per recipient.
fn status_of(fate: &Fate, utf8: bool) -> String {
    let mut out = String::new();
    let kind = if utf8 { "utf-8" } else { "rfc822" };
    if let Some(orcpt) = &fate.orcpt {
        out += &fold("Original-Recipient", orcpt);
    }
    out += &fold("Final-Recipient", &format!("{kind}; {}", fate.recipient));
    out += &fold("Action", fate.action.as_str());
    out += &fold("Status", &fate.status.to_string());
    if let Some(remote) = &fate.remote {
        out += &fold("Remote-MTA", &format!("dns; {remote}"));
    }
    if let Some(reply) = &fate.reply {
        out += &fold("Diagnostic-Code", &format!("smtp; {}", ascii(reply, utf8)));
    }
    if let Some(at) = fate.last_attempt {
        out += &fold("Last-Attempt-Date", &at.rfc5322());
    }
    if let Some(until) = fate.until.filter(|_| fate.action == Action::Delayed) {
        out += &fold("Will-Retry-Until", &until.rfc5322());
    }
    out
}

fn ascii(text: &str, utf8: bool) -> String {
    if utf8 { text.to_owned() } else { text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect() }
}

fn describe(fate: &Fate, out: &mut String) {
    let _ = write!(out, "\n  {}\n", fate.recipient);
    let says = if fate.says.is_empty() { plain_words(fate.status) } else { &fate.says };
    if !matches!(fate.action, Action::Delivered) || !fate.says.is_empty() {
        let _ = writeln!(out, "    {}", one_line(says));
    }
    if let Some(reply) = &fate.reply {
        let who = fate.remote.as_deref().unwrap_or("The server there");
        let _ = writeln!(out, "    {who} said: {}", one_line(reply));
    }
    if let Some(until) = fate.until.filter(|_| fate.action == Action::Delayed) {
        let _ = writeln!(out, "    It is tried until {}.", until.rfc5322());
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// What a foreign notice says of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub recipient: String,
    pub original_recipient: Option<String>,
    pub action: Action,
    pub status: Option<Enhanced>,
    pub diagnostic: Option<String>,
    pub remote: Option<String>,
}

/// A notice that came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub envid: Option<String>,
    pub reporting: Option<String>,
    pub recipients: Vec<Told>,
    /// Message-ID of the message it is about, without angle brackets.
    pub original_id: Option<String>,
}

/// Reads a notice. `None` if the message is none.
pub fn read(data: &[u8], structure: &Structure) -> Option<Report> {
    let mut report = Report::default();
    let mut found = false;
    for part in structure.parts() {
        let (kind, subtype) = part.content(data).media();
        match (&kind[..], &subtype[..]) {
            ("message", "delivery-status" | "global-delivery-status") => {
                let body = crate::transfer::decode(part.encoding, &data[part.body.clone()]);
                read_status(&body, &mut report);
                found = true;
            }
            ("message", "rfc822" | "global") | ("text", "rfc822-headers") | ("message", "global-headers")
                if found && report.original_id.is_none() =>
            {
                let inner = Head::parse(&data[part.body.clone()]);
                let of_message = part.kind == Kind::Message || subtype.ends_with("headers");
                report.original_id = inner
                    .get("Message-ID")
                    .filter(|_| of_message)
                    .and_then(|f| crate::ids::one(&f.unfolded()));
            }
            _ => {}
        }
    }
    found.then_some(report)
}

fn read_status(body: &[u8], report: &mut Report) {
    let after = |text: String| text.split_once(';').map_or(text.clone(), |(_, v)| v.trim().to_owned());
    let mut at = 0;
    while at < body.len() && report.recipients.len() < RECIPIENTS_MAX {
        let head = Head::parse_at(body, at);
        let field = |name: &str| head.get(name).map(|f| words2047::decode(&f.unfolded()));
        report.envid = report.envid.take().or_else(|| field("Original-Envelope-Id"));
        report.reporting = report.reporting.take().or_else(|| field("Reporting-MTA").map(after));
        if let Some(recipient) = field("Final-Recipient").map(after)
            && let Some(action) = field("Action").and_then(|a| Action::read(a.trim()))
        {
            let status = field("Status").and_then(|s| s.split_whitespace().next()?.parse().ok());
            report.recipients.push(Told {
                recipient,
                original_recipient: field("Original-Recipient").map(after),
                action,
                status,
                diagnostic: field("Diagnostic-Code").map(after),
                remote: field("Remote-MTA").map(after),
            });
        }
        at = head.body_start().max(at + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(action: Action, original: Original) -> Notice {
        let fate = Fate {
            recipient: Address::parse("bob@far.example").expect("valid"),
            orcpt: Some("rfc822;bob@far.example".into()),
            action,
            status: Enhanced(5, 1, 1),
            remote: Some("mx.far.example".into()),
            reply: Some("550 5.1.1 <bob@far.example>: unknown user\r\nEvil: field".into()),
            says: String::new(),
            last_attempt: Some(Now(0)),
            until: Some(Now::from_secs(86_400)),
        };
        Notice {
            host: "mail.example".into(),
            from: "postmaster@mail.example".into(),
            to: Address::parse("ann@mail.example").expect("valid"),
            message_id: "n1@mail.example".into(),
            at: Now(0),
            about: Some(MessageId(12345)),
            envid: Some("QQ1".into()),
            arrived: Some(Now(0)),
            fates: vec![fate],
            original,
        }
    }

    const MAIL: &str = "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <o@mail.example>\r\n\r\nbody\r\n";

    #[test]
    fn a_failure_notice_reads_back_with_the_remotes_words() {
        let data = notice(Action::Failed, Original::Full(MAIL.as_bytes().to_vec())).build();
        let s = Structure::of(&data);
        let report = read(&data, &s).expect("a notice");
        assert_eq!(report.envid.as_deref(), Some("QQ1"));
        assert_eq!(report.reporting.as_deref(), Some("mail.example"));
        assert_eq!(report.original_id.as_deref(), Some("o@mail.example"));
        let told = &report.recipients[0];
        assert_eq!((told.action, told.status), (Action::Failed, Some(Enhanced(5, 1, 1))));
        assert_eq!(told.diagnostic.as_deref(), Some("550 5.1.1 <bob@far.example>: unknown user Evil: field"));
        let head = Head::parse(&data);
        assert_eq!(head.text("Subject").as_deref(), Some("Not delivered: Gr\u{fc}\u{df}e"));
        assert_eq!(head.text("Auto-Submitted").as_deref(), Some("auto-replied"));
        // RFC 3462 §1: text, status, message.
        let kinds: Vec<String> = s.parts().iter().map(|p| p.content(&data).media().1).collect();
        assert_eq!(kinds, ["report", "plain", "delivery-status", "rfc822", "plain"]);
        let words = crate::text::of_part(&data, &s, 1, usize::MAX).expect("text");
        assert!(words.contains("There is no mailbox of that name there."), "{words}");
        assert!(words.contains("mx.far.example said: 550 5.1.1 <bob@far.example>: unknown user"), "{words}");
        assert!(words.contains("m=C1S"), "{words}");
        let part = &s.parts()[3];
        assert_eq!(&data[part.body.clone()], MAIL.as_bytes());
    }

    #[test]
    fn ret_hdrs_returns_the_header_only() {
        let data = notice(Action::Delayed, Original::Header(MAIL.as_bytes().to_vec())).build();
        assert!(!String::from_utf8_lossy(&data).contains("\r\nbody"));
        let s = Structure::of(&data);
        assert_eq!(s.parts()[3].content(&data).media().1, "rfc822-headers");
        let words = crate::text::of_part(&data, &s, 1, usize::MAX).expect("text");
        assert!(words.contains("It is tried until Fri, 2 Jan 1970"), "{words}");
    }

    #[test]
    fn international_addresses_make_a_global_notice() {
        let mut n = notice(Action::Failed, Original::Header(MAIL.as_bytes().to_vec()));
        n.fates[0].recipient = Address::parse("b\u{f6}b@far.example").expect("valid");
        let data = n.build();
        let s = Structure::of(&data);
        assert_eq!(s.parts()[2].content(&data).media().1, "global-delivery-status");
        assert_eq!(read(&data, &s).expect("a notice").recipients[0].recipient, "b\u{f6}b@far.example");
    }
}
