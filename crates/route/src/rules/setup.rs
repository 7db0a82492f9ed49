//! How we connect and present ourselves: reverse name, greeting name, TLS, authentication of the
//! sender's domain, relaying.

use super::{Rule, rule};
use crate::refusal::Class::{Greylist, Policy, SenderAuth, Tls};

/// Greylisting and the names of our egress: unmistakable words.
pub const GREETING: &[Rule] = &[
    rule("greylist.named", Greylist, "greylist", 97).says(&[
        "greylist*|graylist*|postgrey|milter-greylist|grey|sqlgrey|greylst",
        "not yet authorized to deliver",
        "not yet known|seen",
        "not seen .. before",
        "server will retry|try again",
        "embargo",
        "first time .. sender|contact|delivery|connection|see*",
        "triplet",
        "new sender .. retry|later|again|delay*",
        "unknown sender .. retry|again|later",
        "try again in|after ip?|? *0? seconds|secs|minutes|mins|min|sec",
        "retry|back|again|wait|resend .. in|after|for *0*|*5*|*1*|*3*|*2* seconds|secs|sec|minutes|mins|min|s",
        "delayed|deferred .. please? try|retry|come again|in|later|back .. minutes|seconds",
    ]).unless(&["too many", "limit", "rate", "ip .. blocked|banned", "frequency", "quota"]),
    // Postfix postscreen after its protocol tests: the same client must come back.
    rule("greylist.postscreen", Greylist, "greylist", 93).codes(&["450"]).enhanced(&["4.3.2"]).says(&["service currently unavailable"]),
    rule("rdns.helo_first", Policy, "helo", 93).says(&["helo|ehlo command rejected"]).unless(&["blocked using"]),
    rule("setup.rdns", Policy, "rdns", 95)
        .says(&[
            "reverse dns|hostname|lookup|name|mapping|record|entry|resolution|zone",
            "rdns|fcrdns|revdns|ptr|ptrs",
            "cannot|can't|could .. find your reverse? hostname",
            "cannot find your hostname",
            "ip name lookup failed",
            "dns ptr",
            "no dns|rdns|host? name|entry|record .. ip|ip#",
            "host name lookup .. ip#",
            "unable to resolve .. your? ip|host|client|hostname",
            "ip address? .. does not|doesnt resolve",
            "ip# .. does not|doesnt|cannot|not .. resolve",
            "forward confirmed",
            "may be forged",
            "no hostname|host name|name .. for|associated ip|ip#|your",
            "hostname .. not match|resolve ip|ip#|address",
            "inverse dns|lookup",
            "valid sender domain .. dns",
        ])
        .unless(&["spf .. ptr", "helo command rejected", "blocked using", "ehlo"]),
    rule("setup.helo", Policy, "helo", 92)
        .says(&[
            "helo|ehlo .. reject*|invalid|bad|not|forged|mismatch|fake|denied|resolve|must|required|fqdn|wrong|own|match*|blocked|unknown|illegal|incorrect|refused|does",
            "bad|invalid|forged|fake|unresolvable|wrong|incorrect|reject* helo|ehlo",
            "invalid host name in helo",
            "helohost|heloname",
        ])
        .unless(&["relay denied", "blocked using", "spf", "no ehlo", "ehlo first", "send helo|ehlo", "authentication .. ehlo", "ehlo|helo|hello first|yet|required", "as obtained from", "(mx )?helo .. listed"]),
    rule("setup.ipv6", Policy, "ipv6", 92).says(&[
        "ipv6 .. not|reject*|refus*|block*|unsupported|denied",
        "not|doesnt|dont accept .. ipv6",
        "over ipv6",
    ]).unless(&["spf", "dkim", "ptr", "reverse"]),
    rule("setup.tls", Tls, "tls", 93)
        .says(&[
            "starttls",
            "tls .. required|not|missing|must|conversation|available|failed|error|handshake|negotiation|unavailable|mandatory|needed|only|over|certificate|encrypt*",
            "requires|require|must .. tls|ssl|encryption|encrypted",
            "ssl .. error|failed|required|routines|handshake",
            "encryption required|needed|is|mandatory",
            "encrypted|secure connection required|only|channel|session",
            "certificate .. expired|invalid|mismatch|verif*|reject*|unknown|trust*|missing|self",
            "requiretls",
        ])
        .unless(&["no valid cert", "gatewaying", "spf", "dkim", "authenticat*", "relay", "logged in"]),
];

pub const RULES: &[Rule] = &[
    rule("auth.must_log_in", Policy, "auth", 93)
        .says(&[
            "authentication|authenticat|auth is? required|needed|necessary|mandatory|failed|failure|invalid|incorrect|unsuccessful|error|credentials|not|disabled",
            "authentifi* requise|invalide",
            "authentification requise|invalide|echouee",
            "code dauthentification",
            "must|please|need|have .. authenticate|log|login|auth",
            "bad|invalid|incorrect|wrong authentication|credentials|login|username|password|user name",
            "username|user and? password not|invalid|incorrect|wrong",
            "password required|incorrect|invalid",
            "login attempts|failed|required|incorrect|invalid",
            "log in .. browser|first",
            "not authenticated|logged",
            "unauthenticated senders|users|clients|connections",
            "submitter failed",
            "smtp auth error|required|failed",
        ])
        .unless(&[
            "spf", "dkim", "dmarc", "senderid", "authentication results", "authentication checks|information|level", "ip#? .. excessive",
            "excessive", "under this sender", "sender domain", "from domain", "bulk", "all senders", "not authenticated for group",
            "relay .. invalid credentials", "credentials for relay", "this range", "multiple authentication checks", "domain .. authentication",
            "auth* check*", "email authentication", "message authentication", "ip .. authentication failures", "incoming to a recipient", "not? pass", "sender .. authenticated .. domain",
        ]),
    rule("sender_auth.named", SenderAuth, "auth", 95)
        .says(&[
            "spf|dkim|dmarc|domainkeys|senderid|arc|adsp|sender policy framework|permitted",
            "spf|dkim|dmarc*",
            "sender policy framework",
            "*openspf*|*spf.*",
            "sender id .. fail*|reject*|check*",
            "authentication checks|information|level|results",
            "message|mail|email|sender|domain|from .. not|fail* .. authenticat*|aligned|alignment",
            "unauthenticated email|mail|sender|message",
            "sender|mail|it is unauthenticated",
            "no|not dmarc|dkim|spf",
            "purported responsible",
            "header .. isnt|not aligned",
            "not allowed|permitted|authorized|authorised|designated .. send|sending|use|mail .. of|for|from|as|domain|by",
            "isnt|not .. designated .. sender",
            "invalid ip for sending",
            "ip .. not allowed|authorized|permitted .. send",
            "originating ip .. not permitted by the domain",
            "doesnt|not allow .. sending mail~|email? from",
            "sender|message|mail|email|domain .. authentication .. fail*|required|missing|missed",
            "email|message|domain|sender authentication .. fail*|required|error",
        ])
        .unless(&[
            "network not allowed", "this range", "unauthenticated senders not", "smtp auth is", "not authorized to send email directly", "isp",
            "unauthenticated .. incoming to", "not authorized to relay", "sender address not allowed", "dynamic*", "country", "not allowed to relay",
            "you are not allowed .. recipient", "not permitted to send .. this recipient|user|group|address|distribution", "only .. members", "authorized to send .. group|list",
        ]),
    rule("relay.denied", Policy, "relay", 94)
        .says(&[
            "relay|relaying|relays access|not|denied|prohibited|forbidden|disallowed|refused|rejected|blocked|operation|attempt|restricted|mail|is",
            "relay|relaying .. denied|not|permitted|prohibited|disallowed|forbidden",
            "cannot|unable|not|no|wont|dont|refuse|without .. relay|relaying|relayed",
            "rcpthosts|locals",
            "gatewaying",
            "open relay not allowed",
            "not .. local domain|domains|recipient",
            "local user only",
            "invalid credentials for relay",
            "not .. relay host|server|for",
            "domain .. not .. hosted|served|handled|accepted|local here|by|on",
            "we do not accept mail for",
            "not accept* mail|messages for .. domain",
        ])
        .unless(&["limit", "quota", "ip .. spammer", "identified as", "listed", "blacklist*", "insecure", "lookup failed", "reverse", "too many", "does not accept mail"]),
];
