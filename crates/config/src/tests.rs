//! Files that are right, and files that are wrong in one way each.

use super::*;

fn read_text(text: &str) -> Result<Config, Faults> {
    parse("postroad.toml", text, &|path| match path.to_str() {
        Some("secret") => Ok("hunter2".into()),
        _ => Err(std::io::ErrorKind::NotFound.into()),
    })
}

const HOST: &str = "host_name = \"mx.example.org\"\n";

#[test]
fn the_smallest_file_is_one_line() {
    let config = read_text(HOST).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.listeners.len(), 9);
    assert_eq!((config.egresses[0].name.as_str(), config.egresses[0].helo.as_str()), ("A", "mx.example.org"));
    assert_eq!((config.limits.message_size, config.queue.give_up_after), (Bytes::mib(50), Span::days(5)));
    assert_eq!(config.show(false), HOST);
    assert!(config.show(true).contains("message_size = \"50 MiB\"  # default"));
}

#[test]
fn a_full_file_is_read_as_it_is_written() {
    let text = "host_name = \"MX.Example.org\"\ndata = \"/srv/mail\"\nuser = \"postroad\"\n\
        [[listener]]\nfront = \"http\"\naddress = \"[::1]:8080\"\ntls = \"none\"\n\
        [[certificate]]\nchain = \"a.pem\"\nkey = \"a.key\"\n\
        [[egress]]\nname = \"A\"\nsource = \"192.0.2.1\"\n\
        [[egress]]\nname = \"C\"\nrelay = \"relay.example:587\"\nrelay_user = \"u\"\nrelay_password_file = \"secret\"\n\
        [limits]\nmessage_size = \"1.5 GiB\"\n[access]\ntrusted_networks = [\"10.0.0.0/8\", \"::1\"]\n";
    let config = read_text(text).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.host_name, "mx.example.org");
    assert_eq!(
        config.listeners,
        [Listener {
            front: Front::Http,
            address: "[::1]:8080".parse().expect("address"),
            tls: TlsMode::None
        }]
    );
    assert_eq!(config.limits.message_size, Bytes(3 << 29));
    assert_eq!(config.access.trusted_networks[1].1, 128);
    let relay = config.egresses[1].relay.as_ref().expect("a relay");
    assert_eq!((relay.host.as_str(), relay.port, relay.tls), ("relay.example", 587, TlsMode::StartTls));
    assert_eq!(relay.login.as_ref().map(|(_, p)| p.reveal().as_str()), Some("hunter2"));
    assert!(!config.show(true).contains("hunter2"), "secrets are never shown");
    let again = read_text(&config.show(false)).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(again.show(true), config.show(true), "what is shown reads back");
}

#[track_caller]
fn check_fault(text: &str, wanted: &[&str]) {
    let shown = read_text(text).err().expect("it is wrong").to_string();
    for want in wanted {
        assert!(shown.contains(want), "{want:?} is missing in:\n{shown}");
    }
}

#[test]
fn every_fault_shows_its_place_and_a_remedy() {
    let table: &[(&str, &[&str])] = &[
        (
            "[limits]\nmesage_size = \"5 MiB\"",
            &[
                "postroad.toml:3:1: [limits] has no key mesage_size",
                " 3 | mesage_size",
                "^^^^^^^^^^^ did you mean message_size?",
            ],
        ),
        ("[limit]\n", &["postroad.toml:2:2", "did you mean limits?"]),
        ("recipients = 200\n", &["has no key recipients", "it belongs under [limits]"]),
        ("[limits]\nmessage_size = \"5 MB\"", &["3:16", "did you mean MiB?", "^^^^^^ write a size"]),
        ("[limits]\nmessage_size = 5", &["5 has no unit"]),
        ("[limits]\nrecipients = 5", &["5 is out of range", "from 100 to 100000"]),
        ("[queue]\ngive_up_after = \"5 m\"", &["write min"]),
        ("[[listener]]\nfront = \"imapp\"\naddress = \"0.0.0.0:143\"", &["did you mean \"imap\"?"]),
        ("[[listener]]\nfront = \"imap\"", &["[[listener]] lacks address", "2:1"]),
        (
            "[[listener]]\nfront = \"http\"\naddress = \"0.0.0.0:80\"\ntls = \"starttls\"",
            &["5:7", "no STARTTLS"],
        ),
        ("[listener]\nfront = \"imap\"", &["begin it with a line [[listener]]"]),
        ("[[limits]]\n", &["begin it with a line [limits]"]),
        ("[[egress]]\nname = \"A\"\n[[egress]]\nname = \"A\"", &["5:8", "two egresses"]),
        ("[[egress]]\nname = \"A\"\nrelay_user = \"u\"", &["no relay is named"]),
        (
            "[[egress]]\nname = \"A\"\nrelay = \"r.example:25\"\nrelay_user = \"u\"",
            &["relay_password_file is not"],
        ),
        (
            "[[egress]]\nname = \"A\"\nrelay = \"r.example:25\"\nrelay_user = \"u\"\nrelay_password_file = \"gone\"",
            &["gone cannot be read"],
        ),
        ("[dns]\nservers = \"127.0.0.1:53\"", &["this is no list", "square brackets"]),
        ("[dns]\nservers = [\"127.0.0.1\"]", &["\"127.0.0.1\" is none", "an address and port"]),
        ("data = /srv", &["this is not TOML", "postroad.toml:2:"]),
        ("[access]\nplain_on_trusted_network = \"yes\"", &["this is a text", "write true or false"]),
    ];
    for (text, wanted) in table {
        check_fault(&format!("{HOST}{text}"), wanted);
    }
    check_fault("data = \"/srv\"", &["lacks host_name", "write host_name = "]);
    check_fault("host_name = \"a b\"", &["1:13", "\"a b\" is no domain name"]);
}

#[test]
fn several_faults_are_shown_in_order_and_the_caret_stands_under_its_word() {
    let shown =
        read_text(&format!("{HOST}[limits]\n\thops = 1\nrecipients = 1\n")).err().expect("wrong").to_string();
    let (first, second) =
        (shown.find("hops: ").expect("hops"), shown.find("recipients: ").expect("recipients"));
    assert!(first < second);
    assert!(shown.contains(" 3 | \thops = 1\n   | \t       ^ write"), "{shown}");
}

#[test]
fn every_default_reads_as_its_kind_and_every_key_is_explained() {
    let (tree, faults) = read::read(HOST);
    assert_eq!(faults, []);
    for section in keys::SECTIONS.iter().filter(|s| !s.many) {
        for key in section.keys {
            let has = tree.one(section.name).get(key.name).is_some();
            assert!(has || key.default.is_empty(), "the default of {} does not read", key.name);
        }
    }
    let listed = explain(None).expect("the list");
    for line in listed.lines().filter(|l| l.starts_with("  ")) {
        let path = line.split_whitespace().next().expect("a path");
        assert!(explain(Some(path)).is_ok_and(|words| words.contains("Write ")), "{path}");
    }
    assert!(explain(Some("limits.message_sizes")).is_err_and(|e| e.contains("limits.message_size?")));
    assert!(explain(Some("message_size")).is_err_and(|e| e.contains("limits.message_size?")));
    assert!(explain(Some("limits")).is_ok_and(|words| words.contains("limits.hops")));
}

#[test]
fn the_reference_page_is_the_one_in_the_repository() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating/config.md");
    let written = std::fs::read_to_string(page).unwrap_or_default();
    assert_eq!(
        written,
        reference(),
        "write it anew: cargo run -- config explain --markdown > docs/operating/config.md"
    );
}

#[test]
fn what_an_egress_may_carry_is_read() {
    let text = format!(
        "{HOST}[[egress]]\nname = \"C\"\nrelay = \"relay.example:587\"\nverified_domains = [\"a.example\"]\n\
         relay_cnames = [\"s1._domainkey dkim.relay.example.\"]\nwarm_up_since = \"2026-11-22\"\n\
         warm_up_groups = [\"google=100\"]\npreflight = \"required\"\nnetwork = \"fra1\"\n\
         [[list]]\nzone = \"bl.example\"\nweight = \"information\"\n[lists]\npublic = false\n"
    );
    let config = read_text(&text).unwrap_or_else(|faults| panic!("{faults}"));
    let rules = &config.egresses[0].rules;
    assert_eq!(rules.verified_domains, ["a.example"]);
    assert_eq!(rules.relay_cnames, [("s1._domainkey".to_owned(), "dkim.relay.example".to_owned())]);
    assert_eq!((rules.warm_up_groups["google"], rules.warm_up_first_day, rules.forwards), (100, 30, None));
    assert_eq!((rules.preflight, config.public_lists), (Preflight::Required, false));
    assert_eq!((config.lists[0].codes.len(), config.lists[0].weight), (1, Weight::Information));
    check_fault(
        &format!("{HOST}[[egress]]\nname = \"C\"\nwarm_up_since = \"soon\"\n"),
        &["\"soon\" is no day", "2026-11-22"],
    );
}

#[test]
fn a_status_site_has_its_own_ports_and_words() {
    let text = "host_name = \"status.example.net\"\nrole = \"status\"\n[status]\ncompany = \"NinerNet\"\n\
        zones = [\"Pacific = America/Los_Angeles\"]\n[[peer]]\nname = \"mx.example.org\"\nkey = \"abc\"\n\
        [[component]]\nid = \"web\"\nname = \"Web\"\ndecides = false\n[[system]]\ncode = \"NC036\"\n";
    let config = read_text(text).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!((config.role, config.listeners.len()), (Role::Status, 2));
    assert_eq!(config.status.zones, [("Pacific".to_owned(), "America/Los_Angeles".to_owned())]);
    assert_eq!((config.status.url.as_str(), config.peers.len()), ("https://status.example.net", 1));
    assert_eq!(
        (config.status.components[0].cause.as_str(), config.status.components[0].decides),
        ("mail", false)
    );
    assert_eq!(config.status.systems[0].code, "NC036");
    let wrong = "host_name = \"status.example.net\"\n[status]\nzones = [\"Pacific\"]\n";
    check_fault(wrong, &["has no name and value", "What to call it = America/Los_Angeles"]);
}
