//! Keys of the monitor.

use super::{Kind, REQUIRED, Section, TLS, count, key, list};

pub const PROBES: &[&str] =
    &["tcp", "tls", "ping", "http", "dns", "smtp", "submission", "imap", "pop3", "sieve"];
pub const CHANNELS: &[&str] = &["ntfy", "webhook", "matrix", "sms", "mail", "push"];

pub const MONITOR: Section = Section {
    name: "monitor",
    many: false,
    doc: "The monitor (`role = \"monitor\"`): one vantage point.",
    keys: &[
        key("point", Kind::Text, "", "What this vantage point is called. The default is `host_name`."),
        key("region", Kind::Text, "", "Where it is, as clients would say: `Lusaka`. The default is `point`."),
        key(
            "url",
            Kind::Text,
            "",
            "Its own address, for the link \"I have it\" in alerts: `https://monitor.example.net/`.",
        ),
        list(
            "neutral",
            Kind::HostPort,
            "[]",
            "Ports of others that always answer, in other networks than yours. Two of them must, before this point blames anybody: `[\"1.1.1.1:443\", \"9.9.9.9:443\"]`.",
        ),
        key(
            "points_min",
            count(1, 9),
            "2",
            "Points that must see a failure before it is the target's fault.",
        ),
        key("at_once", count(1, 1000), "64", "Probes under way at the same time."),
        key(
            "remind",
            Kind::Span,
            "\"15 min\"",
            "When an alert is said again; each time after that twice as late, up to 4 h.",
        ),
        key(
            "escalate",
            Kind::Span,
            "\"15 min\"",
            "When the channels of level 2 are told, if nobody has answered.",
        ),
        key(
            "raw",
            Kind::Span,
            "\"14 d\"",
            "How long single tries are kept. One row per probe and day is kept for ever.",
        ),
        list("heartbeat", Kind::Text, "[]", "Peers that must be heard of at least every three minutes."),
    ],
};

pub const WATCH: Section = Section {
    name: "watch",
    many: true,
    doc: "A mail host to watch, with every probe a mail host needs.",
    keys: &[
        key("host", Kind::Host, REQUIRED, "Its name, for which its certificates are."),
        key("address", Kind::Ip, "", "Dial this in place of what DNS says."),
        list("domains", Kind::Host, "[]", "Hosted domains whose names are watched for drift."),
        list("selectors", Kind::Text, "[]", "DKIM selectors that sign."),
        list("name_servers", Kind::Host, "[]", "The name servers the domains should have."),
        list(
            "egress",
            Kind::Ip,
            "[]",
            "Every address mail leaves by: SPF must cover it, its name must fit, lists must not name it.",
        ),
        key("helo", Kind::Host, "", "The name said in EHLO. The default is `host`."),
        key("lists", Kind::Bool, "true", "Whether the known block lists are asked."),
        key("autoconfig", Kind::Bool, "false", "Whether `autoconfig.DOMAIN` must exist."),
        key("rdap", Kind::Text, "", "Where the end of a registration is asked: `https://rdap.org/domain/`."),
        key("ipv6", Kind::Bool, "false", "Look at IPv6 by itself."),
        key("account", Kind::Text, "", "An account there, for log-ins and mail loops."),
        key("password_file", Kind::SecretFile, "", "A file whose first line is its password."),
        key("second_account", Kind::Text, "", "A second one, for the loop inside."),
        key("second_password_file", Kind::SecretFile, "", "A file whose first line is its password."),
        key(
            "from",
            Kind::Text,
            "",
            "The sender of loops from outside. The default is `probe@` and our `host_name`.",
        ),
        list("junk", Kind::Text, "[\"Junk\", \"Spam\"]", "Names of folders for spam there."),
        list(
            "ports",
            Kind::Text,
            "[]",
            "Ports other than the standard ones: `[\"smtp=2525\", \"imaps=0\"]`; 0: not looked at.",
        ),
        key("web", Kind::Text, "", "A page that must be there."),
        key("web_text", Kind::Text, "", "Text it must hold."),
        list(
            "web_login",
            Kind::Text,
            "[]",
            "Fields of a form to send to it, a real log-in: `[\"user=probe@example.org\", \"password=…\"]`. Keep the file private.",
        ),
        key("status", Kind::Text, "", "Its status site, which must answer and be fresh."),
        key("status_copy", Kind::Text, "", "The site's second copy, which must say the same."),
    ],
};

pub const SEED: Section = Section {
    name: "seed",
    many: true,
    doc: "A mailbox at another provider, to which mail must come.",
    keys: &[
        key("name", Kind::Text, REQUIRED, "The provider: `google`."),
        key("watch", Kind::Host, "", "The watched host whose mail goes there. The default is the first."),
        key("address", Kind::Text, REQUIRED, "Its address."),
        key("imap", Kind::HostPort, REQUIRED, "Its IMAP server."),
        key("tls", Kind::OneOf(TLS), "\"implicit\"", "How that speaks TLS."),
        key("user", Kind::Text, "", "The name to log in with. The default is `address`."),
        key("password_file", Kind::SecretFile, REQUIRED, "A file whose first line is the password."),
        key("egress", Kind::Ip, "", "The address mail should have left by."),
        list(
            "junk",
            Kind::Text,
            "[\"Junk\", \"Spam\", \"[Gmail]/Spam\"]",
            "Names of folders for spam there.",
        ),
    ],
};

pub const PROBE: Section = Section {
    name: "probe",
    many: true,
    doc: "Anything else to look at: a web server, a name server, a phone server.",
    keys: &[
        key("name", Kind::Text, REQUIRED, "What it is called. All points must call it the same."),
        key("kind", Kind::OneOf(PROBES), REQUIRED, "What is done there."),
        key(
            "target",
            Kind::Text,
            REQUIRED,
            "`host:port`; a URL for `http`; a host for `ping`; a type and a name for `dns`: `MX example.org`.",
        ),
        key("expect", Kind::Text, "", "Text that the page or the record must hold."),
        key("status", count(100, 599), "200", "The HTTP status it must have."),
        key("tls", Kind::OneOf(TLS), "\"starttls\"", "How a mail port speaks TLS."),
        key("every", Kind::Span, "\"1 min\"", "How often."),
        key("limit", Kind::Span, "\"20 s\"", "A look may take so long."),
        key("slow", Kind::Span, "\"5 s\"", "Longer than this is slow."),
        key(
            "component",
            Kind::Text,
            "",
            "The component of the status site it speaks for. The default is `name`.",
        ),
    ],
};

pub const CHANNEL: Section = Section {
    name: "channel",
    many: true,
    doc: "A way to people. Have two that share nothing with each other nor with what is watched.",
    keys: &[
        key("name", Kind::Text, REQUIRED, "What it is called."),
        key("kind", Kind::OneOf(CHANNELS), REQUIRED, "How it is spoken to."),
        key("level", count(1, 2), "1", "1 is told first, 2 when nobody answers."),
        key(
            "url",
            Kind::Text,
            "",
            "ntfy topic, web-hook, Matrix server, or SMS gateway with `{to}` and `{text}`.",
        ),
        key("body", Kind::Text, "", "For SMS: the body of a POST, with `{to}` and `{text}`."),
        key(
            "to",
            Kind::Text,
            "",
            "Room, number, mail address, or push subscription (endpoint, p256dh and auth).",
        ),
        key("secret_file", Kind::SecretFile, "", "A file whose first line is the token, secret or password."),
        key("server", Kind::HostPort, "", "For mail: another host's submission port."),
        key("tls", Kind::OneOf(TLS), "\"implicit\"", "For mail: how that speaks TLS."),
        key("user", Kind::Text, "", "For mail: the name to log in with."),
        key("from", Kind::Text, "", "For mail: the sender. The default is `user`."),
    ],
};
