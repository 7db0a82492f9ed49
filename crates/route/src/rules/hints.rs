//! Last words: what the codes alone say, and texts that say nothing. 5.7.1 and 5.0.0 are not
//! here on purpose: they are used for everything.

use super::{Rule, rule};
use crate::refusal::Class::*;

pub const RULES: &[Rule] = &[
    rule("unclear.bare", Unclear, "unclear", 80)
        .says(&[
            "^ @addr? delivery failed $",
            "^ @addr? message|mail|connection|email? access denied|refused|rejected $",
            "^ @addr? was? is? denied|rejected|blocked|refused|failed|error|reject|no $",
            "^ transaction failed $",
            "requested mail? action aborted",
            "^ unknown error $",
            "^ insufficient permission* $",
            "^ @addr? insufficient permission* $",
            "permanent error $",
            "on hold",
            "^ @addr? access denied",
            "due to spam list",
            "unknown error",
        ])
        .unless(&["ip#", "recipient address", "sender address"]),
    rule("code.null_mx", Routing, "route", 85).codes(&["556"]),
    // RFC 3463 and the IANA registry, where the text said nothing.
    rule("code.recipient", Recipient, "unknown", 70)
        .enhanced(&["5.1.1", "5.1.3", "5.1.6", "5.1.10", "4.1.1", "5.2.0"]),
    rule("code.disabled", Recipient, "disabled", 75).enhanced(&["x.2.1"]),
    rule("code.full", Recipient, "full", 80).enhanced(&["x.2.2"]),
    rule("code.size", Content, "size", 80).enhanced(&["x.2.3", "x.3.4"]),
    rule("code.routing", Routing, "route", 75)
        .enhanced(&["5.1.2", "5.4.4", "x.4.6", "5.4.14", "5.4.310", "5.1.10", "5.3.5"]),
    rule("code.sender", Sender, "address", 80).enhanced(&["x.1.0"]),
    rule("code.auth", SenderAuth, "auth", 85).enhanced(&["x.7.20-24", "x.7.26"]),
    rule("code.rdns", Policy, "rdns", 90).enhanced(&["x.7.25"]),
    rule("code.tls", Tls, "tls", 80).enhanced(&["x.7.10", "x.7.11"]),
    rule("code.login", Policy, "auth", 80).enhanced(&["x.7.8", "x.7.9"]),
    rule("code.login_code", Policy, "auth", 80).codes(&["530", "535", "534"]),
    rule("code.content", Content, "malformed", 70).enhanced(&["5.6.x"]),
    rule("code.rate", Rate, "generic", 75).enhanced(&["x.5.3", "x.4.5"]),
    rule("code.protocol", Protocol, "protocol", 70)
        .enhanced(&["5.5.1", "5.5.2", "5.5.4"])
        .unless(&["error no valid"]),
    rule("code.protocol_code", Protocol, "protocol", 65).codes(&["500", "502", "503", "504"]),
];
