//! Every key there is: one table drives reading, defaults, `config show`, `config explain` and the
//! reference page.

mod monitor;
mod status;

/// What a key's value must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Text,
    /// A domain name: `mx.example.org`.
    Host,
    Bool,
    Count {
        min: u64,
        max: u64,
    },
    /// `"50 MiB"`.
    Size,
    /// `"5 min"`.
    Span,
    Path,
    /// A path to a file whose first line is the secret.
    SecretFile,
    /// `"0.0.0.0:25"`, `"[::]:25"`.
    Address,
    Ip,
    /// `"10.0.0.0/8"`.
    Network,
    /// `"relay.example.org:587"`.
    HostPort,
    OneOf(&'static [&'static str]),
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// A list of such values.
    pub many: bool,
    /// As it would be written; empty: none, the key may be left out. `required`: it may not.
    pub default: &'static str,
    pub doc: &'static str,
}

/// The default of a key that must be given.
pub const REQUIRED: &str = "required";

/// A table of the file.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Empty for the top of the file.
    pub name: &'static str,
    /// `[[name]]`, any number of times.
    pub many: bool,
    pub doc: &'static str,
    pub keys: &'static [Key],
}

const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, many: false, default, doc }
}
const fn list(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, many: true, default, doc }
}
const fn count(min: u64, max: u64) -> Kind {
    Kind::Count { min, max }
}

pub const ROLES: &[&str] = &["mail", "monitor", "relay", "status"];
pub const FRONTS: &[&str] = &["smtp", "submission", "imap", "pop3", "sieve", "http"];
pub const TLS: &[&str] = &["starttls", "implicit", "none"];
pub const PREFLIGHT: &[&str] = &["auto", "required", "off"];
pub const WEIGHTS: &[&str] = &["critical", "high", "medium", "low", "information"];
pub const LEVELS: &[&str] = &["error", "warn", "info", "debug"];

pub const SECTIONS: &[Section] = &[
    Section {
        name: "",
        many: false,
        doc: "What this host is. These keys stand at the top of the file.",
        keys: &[
            key(
                "host_name",
                Kind::Host,
                REQUIRED,
                "Our name in greetings, trace fields and message ids. It should resolve to this host, and this host's address back to it.",
            ),
            key(
                "data",
                Kind::Path,
                "\"/var/lib/postroad\"",
                "Where mail and everything else that must survive is kept. One folder, one running host.",
            ),
            key(
                "role",
                Kind::OneOf(ROLES),
                "\"mail\"",
                "What this host is: `mail` carries mail, `relay` takes mail from mail hosts of ours and from customers (on its `submission` ports: 587 and 465) and sends it from its own addresses, `monitor` watches them from outside, `status` is the status site and stands on a machine of its own.",
            ),
            key("user", Kind::Text, "", "Become this user after binding the ports. Needs a start as root."),
        ],
    },
    Section {
        name: "listener",
        many: true,
        doc: "A port we listen on. Without any `[[listener]]` the standard ports are used on all addresses: 25, 587, 465, 143, 993, 110, 995, 4190 and 443.",
        keys: &[
            key(
                "front",
                Kind::OneOf(FRONTS),
                REQUIRED,
                "What speaks there: `smtp` takes mail from other hosts, `submission` from our own people.",
            ),
            key(
                "address",
                Kind::Address,
                REQUIRED,
                "Address and port, such as `\"0.0.0.0:25\"` or `\"[::]:25\"`.",
            ),
            key(
                "tls",
                Kind::OneOf(TLS),
                "\"starttls\"",
                "`starttls` begins in the clear and can change, `implicit` speaks TLS from the first byte, `none` never does. `http` knows `implicit` and `none`.",
            ),
        ],
    },
    Section {
        name: "certificate",
        many: true,
        doc: "A certificate to show. The first is shown to those who ask for a name that none of them has. Without any, this host makes an authority of its own in the data folder, which mail programs must be told to trust.",
        keys: &[
            key("chain", Kind::Path, REQUIRED, "The certificate and those above it, PEM."),
            key("key", Kind::Path, REQUIRED, "Its private key, PEM."),
        ],
    },
    Section {
        name: "egress",
        many: true,
        doc: "A way out for mail, the preferred first. Without any, mail leaves from the address the system chooses, under our host name.",
        keys: &[
            key("name", Kind::Text, REQUIRED, "What reasons, panels and `route` call it."),
            key("source", Kind::Ip, "", "The address to send from. It must be one of this machine's."),
            key(
                "helo",
                Kind::Host,
                "",
                "The name to say in EHLO; it should resolve to `source` and back. The default is `host_name`.",
            ),
            key(
                "relay",
                Kind::HostPort,
                "",
                "Hand everything to this host instead of going to the recipients' own.",
            ),
            key(
                "relay_tls",
                Kind::OneOf(TLS),
                "\"starttls\"",
                "TLS towards the relay; it is demanded, not only tried, unless `none`.",
            ),
            key("relay_user", Kind::Text, "", "The name to log in with at the relay."),
            key(
                "relay_password_file",
                Kind::SecretFile,
                "",
                "A file whose first line is the password for the relay.",
            ),
            key(
                "relay_pin",
                Kind::Text,
                "",
                "The pin of the relay's key, for a relay of ours whose certificate no authority vouches for: `postroad customer pin` prints it there.",
            ),
            list(
                "relay_cnames",
                Kind::Text,
                "[]",
                "CNAME records the relay wants under each sender domain, as `\"LABEL TARGET\"`: `\"s1._domainkey dkim.relay.example\"`. `postroad egress check` names those that are missing.",
            ),
            list(
                "addresses",
                Kind::Ip,
                "[]",
                "The addresses the world sees, where they are not `source` (NAT, a relay of ours). SPF must name them; block lists are asked about them.",
            ),
            list(
                "verified_domains",
                Kind::Host,
                "[]",
                "The only sender domains this way may carry. Empty: all. What a relay refuses is learned besides.",
            ),
            key(
                "forwards",
                Kind::Bool,
                "",
                "Whether forwarded mail may leave here. The default is yes for addresses of ours and no for relays.",
            ),
            key(
                "network",
                Kind::Text,
                "",
                "Its data centre or network; two ways with the same one fall together, and that is said.",
            ),
            key(
                "warm_up_since",
                Kind::Text,
                "",
                "The address is new since that day (`\"2026-11-22\"`): it carries little to each group at first, twice as much every day, and its full share after ten days.",
            ),
            key(
                "warm_up_first_day",
                count(1, 1_000_000),
                "30",
                "Messages to each group on the first day of the warm-up.",
            ),
            list(
                "warm_up_groups",
                Kind::Text,
                "[]",
                "The same for single groups: `[\"microsoft-365=15\", \"google=100\"]`.",
            ),
            key(
                "preflight",
                Kind::OneOf(PREFLIGHT),
                "\"auto\"",
                "Whether the pre-flight must be passed before mail leaves here. `auto`: where the address is one of the world's. `postroad egress check NAME` says what is wrong, `egress force NAME` lets mail out all the same.",
            ),
        ],
    },
    Section {
        name: "lists",
        many: false,
        doc: "Block lists that are asked about our ways out.",
        keys: &[key(
            "public",
            Kind::Bool,
            "true",
            "Ask the known public lists about addresses of ours that are the world's. Some of them refuse to answer public resolvers: run one of your own.",
        )],
    },
    Section {
        name: "list",
        many: true,
        doc: "A further block list to ask, with a key of yours or of a private kind.",
        keys: &[
            key("zone", Kind::Host, REQUIRED, "Where it is asked: `bl.example.org`."),
            list("codes", Kind::Ip, "[\"127.0.0.2\"]", "Answers that are listings; any other is none."),
            key(
                "weight",
                Kind::OneOf(WEIGHTS),
                "\"medium\"",
                "How much it counts. `information`: it names neighbours or whole networks and is only shown.",
            ),
            key("names", Kind::Bool, "false", "It lists names, not addresses."),
            key("delist", Kind::Text, "", "Where one asks to be taken off."),
        ],
    },
    Section {
        name: "complaints",
        many: false,
        doc: "What other providers say about our mail.",
        keys: &[
            key(
                "address",
                Kind::Text,
                "",
                "The address of ours that feedback loops (ARF, JMRP) write to. Each complaint is tied to the account that sent the message; three within an hour raise its state.",
            ),
            key(
                "snds_url_file",
                Kind::SecretFile,
                "",
                "A file whose first line is the URL under which SNDS hands out its data (it holds a key). It is read twice an hour.",
            ),
        ],
    },
    Section {
        name: "limits",
        many: false,
        doc: "Bounds on what others can ask of us.",
        keys: &[
            key("message_size", Kind::Size, "\"50 MiB\"", "The largest message taken."),
            key(
                "recipients",
                count(100, 100_000),
                "1000",
                "Recipients of one message. RFC 5321 wants at least 100.",
            ),
            key("sessions", count(10, 1_000_000), "10000", "Open sessions in all."),
            key(
                "sessions_per_address",
                count(1, 100_000),
                "100",
                "Open sessions from one address (or IPv6 /64), per port.",
            ),
            key(
                "hops",
                count(10, 1000),
                "50",
                "Received fields after which a message is taken to go round in circles.",
            ),
            key(
                "sessions_per_destination",
                count(1, 1000),
                "20",
                "Connections at the same time to one destination.",
            ),
        ],
    },
    Section {
        name: "queue",
        many: false,
        doc: "Mail on its way to others.",
        keys: &[
            key(
                "give_up_after",
                Kind::Span,
                "\"5 d\"",
                "How long a message is tried before it comes back to its sender.",
            ),
            key(
                "delay_notice_after",
                Kind::Span,
                "\"4 h\"",
                "When the sender first hears that a message is late.",
            ),
            key(
                "remote_port",
                count(1, 65_535),
                "25",
                "The port of other mail hosts. 25, unless this host lives in a world of its own.",
            ),
            list(
                "probe_domains",
                Kind::Host,
                "[\"gmail.com\", \"outlook.com\", \"gmx.net\"]",
                "Domains whose mail hosts the pre-flight of an egress knocks at, to see whether port 25 is open.",
            ),
            key(
                "policy_port",
                count(1, 65_535),
                "443",
                "The port of the web servers that publish MTA-STS policies. 443, unless this host lives in a world of its own.",
            ),
            key(
                "tls_reports",
                Kind::Bool,
                "true",
                "Domains that ask for it (`_smtp._tls`) are told each night how TLS with their servers went (RFC 8460). It takes a domain with a DKIM key.",
            ),
        ],
    },
    Section {
        name: "dns",
        many: false,
        doc: "Whom we ask about names.",
        keys: &[
            list(
                "servers",
                Kind::Address,
                "[]",
                "Resolvers, asked in this order. The default are those of /etc/resolv.conf. A validating resolver on this machine (unbound) makes DANE possible.",
            ),
            key(
                "trust_ad",
                Kind::Bool,
                "false",
                "The way to these resolvers is safe although they are not on this machine: believe what they say about DNSSEC.",
            ),
        ],
    },
    Section {
        name: "access",
        many: false,
        doc: "Who may do what with little ado; all off by default.",
        keys: &[
            list(
                "trusted_networks",
                Kind::Network,
                "[]",
                "Clients in these networks may relay without logging in.",
            ),
            key(
                "login_without_domain",
                Kind::Bool,
                "false",
                "`bob` logs in where only one domain has a `bob`.",
            ),
            key("login_in_capitals", Kind::Bool, "false", "`Bob@Example.ORG` logs in as `bob@example.org`."),
            key(
                "plain_on_trusted_network",
                Kind::Bool,
                "false",
                "Clients in trusted networks may log in without TLS.",
            ),
            key(
                "tls_on_any_port",
                Kind::Bool,
                "false",
                "Programs set to SSL/TLS on a port for STARTTLS (587, 143, 110) are let in. The greeting there comes a quarter of a second later for everybody.",
            ),
            key(
                "list_channel_binding",
                Kind::Bool,
                "false",
                "Lists SCRAM-*-PLUS among the ways to log in. They are taken from whoever asks for one either way; but programs built with GNU SASL (mutt, neomutt) choose them from the list without being able to bind a TLS 1.3 channel, and cannot log in.",
            ),
            list(
                "trusted_authorities",
                Kind::Path,
                "[]",
                "More certificate authorities to trust as a client, PEM files. The system's are trusted anyway.",
            ),
        ],
    },
    Section {
        name: "store",
        many: false,
        doc: "The disk under the mail.",
        keys: &[key(
            "reserve",
            Kind::Size,
            "\"64 MiB\"",
            "With less free space than this, new mail is put off (452) and reading goes on. Five parts in a hundred of the disk (8 GiB at most) are kept if that is more.",
        )],
    },
    Section {
        name: "ledger",
        many: false,
        doc: "The facts behind `postroad why`.",
        keys: &[
            key("keep", Kind::Span, "\"30 d\"", "How long a message's walk can be explained."),
            key(
                "rows",
                count(10_000, 10_000_000_000),
                "20000000",
                "Facts kept at most; the oldest go first.",
            ),
        ],
    },
    status::PEER,
    status::STATUS,
    status::COMPONENT,
    status::SYSTEM,
    monitor::MONITOR,
    monitor::WATCH,
    monitor::SEED,
    monitor::PROBE,
    monitor::CHANNEL,
    Section {
        name: "log",
        many: false,
        doc: "What is written down for the operator. It never holds texts of messages or passwords.",
        keys: &[
            key("level", Kind::OneOf(LEVELS), "\"info\"", "How much."),
            key("file", Kind::Path, "", "Where. Without it the log goes to standard error, for the journal."),
            key("budget", Kind::Size, "\"200 MiB\"", "All log files together never take more than this."),
        ],
    },
];

/// A section by name.
pub fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|s| s.name == name)
}

impl Section {
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|k| k.name == name)
    }
    /// `[[listener]]`, `[limits]`, or words for the top.
    pub fn title(&self) -> String {
        match (self.name, self.many) {
            ("", _) => "the top of the file".into(),
            (name, true) => format!("[[{name}]]"),
            (name, false) => format!("[{name}]"),
        }
    }
}

impl Kind {
    /// What to write, for errors and the reference.
    pub fn wanted(self) -> String {
        match self {
            Kind::Text => "a text in quotes".into(),
            Kind::Host => "a host name, such as \"mx.example.org\"".into(),
            Kind::Bool => "true or false".into(),
            Kind::Count { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Size => "a size with its unit, such as \"50 MiB\" (B, KiB, MiB, GiB, TiB)".into(),
            Kind::Span => "a time with its unit, such as \"5 min\" (ms, s, min, h, d)".into(),
            Kind::Path => "a path in quotes".into(),
            Kind::SecretFile => "the path of a file that holds the secret".into(),
            Kind::Address => "an address and port, such as \"0.0.0.0:25\" or \"[::1]:53\"".into(),
            Kind::Ip => "an address, such as \"192.0.2.1\" or \"2001:db8::1\"".into(),
            Kind::Network => "a network, such as \"10.0.0.0/8\" or \"192.0.2.7\"".into(),
            Kind::HostPort => "a host and port, such as \"relay.example.org:587\"".into(),
            Kind::OneOf(words) => {
                let quoted: Vec<String> = words.iter().map(|w| format!("\"{w}\"")).collect();
                format!("one of {}", quoted.join(", "))
            }
        }
    }
}
