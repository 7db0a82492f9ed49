//! Keys of the hosts' own talk and of the status site.

use super::{Kind, REQUIRED, Section, key, list};

pub const PEER: Section = Section {
    name: "peer",
    many: true,
    doc: "A host whose facts we believe.",
    keys: &[
        key("name", Kind::Text, REQUIRED, "Its `host_name`."),
        key("key", Kind::Text, REQUIRED, "Its public key, as `postroad link key` prints it there."),
        key(
            "url",
            Kind::Text,
            "",
            "Where it takes our facts: `https://monitor.example.net/`. A mail host tells its heartbeat, disks, queue and ways out every 30 s, a monitor what it saw every 10 s.",
        ),
    ],
};

pub const STATUS: Section = Section {
    name: "status",
    many: false,
    doc: "The status site (`role = \"status\"`).",
    keys: &[
        key("company", Kind::Text, "", "Whose site it is. The default is `host_name`."),
        key("title", Kind::Text, "\"System Status\"", "What it is called."),
        key(
            "url",
            Kind::Text,
            "",
            "Its address as readers see it. The default is `https://` and `host_name`.",
        ),
        key("support", Kind::Text, "", "A line at the foot of each page: how to reach you."),
        list(
            "zones",
            Kind::Text,
            "[]",
            "Time zones common to your clients, beside UTC: `[\"Pacific = America/Los_Angeles\"]`.",
        ),
        list(
            "links",
            Kind::Text,
            "[]",
            "More links at the foot: `[\"Webmail = https://mail.example.net/\"]`.",
        ),
        key(
            "folder",
            Kind::Path,
            "",
            "Write the site as plain files here too, for a second copy on any static host.",
        ),
        key(
            "notices_from",
            Kind::Text,
            "",
            "The sender of mail to subscribers. The default is `status@` and `host_name`.",
        ),
        key(
            "post_by_mail",
            Kind::Text,
            "",
            "The address that posts by mail are sent to. Without it nobody can post by mail.",
        ),
    ],
};

pub const COMPONENT: Section = Section {
    name: "component",
    many: true,
    doc: "Something clients know, in their words. Without any, the site shows what a mail provider usually has.",
    keys: &[
        key("id", Kind::Text, REQUIRED, "What probes call it: `receiving`."),
        key("name", Kind::Text, REQUIRED, "What clients call it: `Receiving mail`."),
        key("about", Kind::Text, "", "A sentence on what is looked at."),
        key("cause", Kind::Text, "\"mail\"", "Trouble of one cause gathers in one incident."),
        key(
            "decides",
            Kind::Bool,
            "true",
            "Whether it decides the verdict of the page; what does not only explains.",
        ),
    ],
};

pub const SYSTEM: Section = Section {
    name: "system",
    many: true,
    doc: "A machine in the table \"Systems at a Glance\".",
    keys: &[
        key("code", Kind::Text, REQUIRED, "`NC036`."),
        key("country", Kind::Text, "", "Two letters for the flag: `nl`."),
        key("place", Kind::Text, "", "`Amsterdam, Netherlands`."),
        key("what", Kind::Text, "", "`Mail server`."),
        key(
            "word",
            Kind::Text,
            "",
            "A fixed word such as `INTERNAL` or `PROVISIONING`. Without it the word follows `component`.",
        ),
        key("component", Kind::Text, "", "The component whose state is this machine's."),
    ],
};
