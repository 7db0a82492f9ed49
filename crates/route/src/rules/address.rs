//! The sending address is refused: block lists, providers' own lists, dynamic ranges, countries.
//! Beside it its two look-alikes: the recipient's broken list look-ups, and listed *domains*.

use super::{Rule, rule};
use crate::refusal::Class::{IpReputation, Sender, Transient};

/// A list that refuses the recipient's own resolver answers for every client: nobody is listed.
pub const RESOLVER: &[Rule] = &[rule("resolver.refused", Transient, "recipient_resolver", 97).says(&[
    "error open resolver",
    "open|public resolver",
    "returnc pub|vol",
    "query refused",
    "refused.shtml",
    "127.255.255.252|127.255.255.254|127.255.255.255",
    "excessive number of queries",
    "your dns ip",
    "quer* via|through public",
    "dns|dnsbl|rbl|lookup .. quer* .. blocked|refused|limit*",
    "dnsbl|rbl lookup .. failed|error|timeout|timed",
    "volume of queries",
])];

/// A listed domain travels with the mail; no egress helps.
pub const DOMAIN: &[Rule] = &[rule("domain.listed", Sender, "domain_rep", 93)
    .says(&[
        "dbl.spamhaus.org",
        "spamhaus dbl",
        "*.dbl.*",
        "query dbl",
        "blocked|listed|rejected using|by|in|on|at *uribl*|*surbl*|*rhsbl*|fresh.*|nxdomain.*|*.dbl.*",
        "mailfrom|from|sender|sending|envelope|helo domain .. listed|blacklisted|blocklisted|blocked",
        "your|the|sender|senders domain name? @addr?|*.*? .. blocklisted|blacklisted|listed in|on|by",
        "domain *.*? is|was|has blacklisted|blocklisted|listed",
        "domain *.* .. on|in our|the|a .. blacklist|blocklist",
        "helo command .. blocked using",
        "sender address .. blocked using",
        "ehlo|helo name|domain|hostname? .. blacklisted|blocklisted|listed",
        "reputation of the|a? sending|sender|senders|from? domain",
        "domain reputation",
        "domain .. poor|bad|low reputation",
        "poor|bad|low reputation domain",
        "from domain .. reputation",
    ])
    .unless(&[
        "url .. listed",
        "link .. listed",
        "ip .. listed in",
        "ip address .. reputation",
        "body .. listed",
        "content .. listed",
    ])];

/// Said of the address in so many words; read before everything that speaks of mailboxes.
pub const STRONG: &[Rule] = &[
    rule("ip.strong", IpReputation, "provider", 94)
        .says(&[
            "your|this|sending|client|connecting|source|remote|originating|sender|server|servers|mailserver ip address? ip#? blacklist*|blocklist*|blocked|banned|barred|listed|denylisted|denied|rejected|refused",
            "your|this|sending|client|connecting|source|remote|server|servers ip address? ip#? is|was|has|est? been|on|in|currently|temporarily? blacklist*|blocklist*|blocked|banned|barred|listed|denylisted|denied|rejected|refused|restricted",
            "address|adresse|server|host|ip ip# is|was|has? been? temporarily|currently? blocked|banned|barred|listed|refused|rejected|denied|blacklist*|blocklist*",
            "address|adresse ip# .. blocked|banned|barred|listed|refused|rejected|denied|blacklist*|blocklist*|reputation",
            "ip# is|was|has|been? blacklist*|blocklist*|banned|denylisted",
            "black*|banned|blocked|bad ip|ips",
            "you have|are|were been? blacklist*|blocklist*|banned",
            "spam|junk|abuse|spams|unsolicited from your|this|the ip|ip#|host|server|network|subnet|range",
            "all mail|messages|email|connections from this|your ip|ip#|host|server|network",
            "allowed to connect",
            "blocked|rejected|refused|denied|banned based on|upon ip",
            "poor|bad|low|negative sender? score|reputation .. ip|ip#",
            "ip#|ip|host|server|mta has|with a? poor|bad|low|negative|no .. reputation|score",
            "sender score",
        ])
        .unless(&["spf", "dkim", "dmarc", "relay", "too many|frequent connections", "limit|quota", "helo|ehlo", "reverse|ptr|rdns", "greylist*", "user unknown", "content", "open resolver", "dns lookup"]),
];

pub const RULES: &[Rule] = &[
    rule("ip.own_list", IpReputation, "recipient_local", 90).says(&[
        "customer block list|blocklist",
        "ip not in whitelist|allowlist",
        "your ip address? ip#? .. not welcome*",
        "client host rejected access denied",
        "ip address? .. blocked|rejected|blacklisted by .. recipient|customer|administrator|tenant",
        "blocked by your? recipient~ .. ip",
    ]),
    rule("ip.open_relay", IpReputation, "open_relay", 90)
        .says(&[
            "insecure mail? relay",
            "open relay .. listed|detected|host|server|blocked",
            "you|ip|server|host .. open relay",
            "open proxy",
            "proxy .. detected",
        ])
        .unless(&["open relay not allowed"]),
    rule("ip.geo", IpReputation, "geo", 90).says(&[
        "geoip",
        "geo ip",
        "geographic*",
        "geo block*|restrict*|polic*",
        "country|countries .. blocked|not|rejected|denied|banned",
        "mail|connections|email from .. country .. not",
        "blocked|rejected|banned country|countries",
        "host network not allowed",
        "asn .. blocked|banned|rejected",
        "autonomous system .. blocked|rejected",
    ]),
    rule("ip.dynamic", IpReputation, "dynamic", 92)
        .says(&[
            "dynamic*|dialup|dial|dsl|adsl|residential|broadband|dhcp ip|address*|host*|range*|pool|space|client*|network*|user*|connection*|system*",
            "dynamically assigned",
            "dynamic .. ip#|ip|ips|address|addresses|rdns|host",
            "ip .. dynamic|dialup|residential",
            "dynamic residential",
            "use .. smtp|mail server|relay of|at|from your isp|provider|internet|service",
            "your isps|providers mail|smtp|outgoing? server|relay|smarthost|gateway",
            "dialup*|dynamic* ip|pool|transient|host*|address*|line*",
            "generic rdns|hostname*|reverse|host",
            "use your isps|providers|isp mail|smtp|outgoing|relay|server",
            "please use .. isp|provider .. smtp|mail|relay|server",
            "relay .. through your isp",
            "may not be mail exchanger",
            "end user|consumer ip|address*|range*",
            "not authorized to send email directly",
            "direct to mx",
            "policy block list pbl?",
        ])
        .unless(&["block list pbl ib106", "helo command rejected"]),
    rule("ip.range", IpReputation, "range", 88).says(&[
        "not allowed|accepted from this range|network|netblock|subnet|ip",
        "ip? range|subnet|netblock|network .. blocked|blacklisted|banned|listed|rejected|refused|blocklist",
        "part of their network",
        "blocked|banned|rejected ip? range|subnet|netblock|network",
        "your network .. blocked|banned|blacklisted|blocklist|reputation|spam",
        "neighborhood|neighbourhood .. spam|reputation",
        "mail from your network",
        "ip|address space .. not|block*|reject*|refus*|banned|denied",
        "spamhaus drop",
        "from your ip range|network|subnet",
        "hosting provider|company|network .. blocked|not accepted|banned",
    ]),
    rule("ip.reputation", IpReputation, "provider", 93)
        .says(&[
            "ip|mtas|server|servers|host|client|connection|network|sender|address reputation",
            "ip address? .. poor|bad|low|negative|insufficient .. reputation",
            "reputation of .. ip|server|host|mta|address|ip#",
            "poor|bad|low|negative|insufficient .. reputation",
            "reputation .. poor|bad|low|negative|too",
            "insufficient reputation",
            "senderbase|sbrs|talos|talosintelligence*",
            "score .. ip .. reputation",
            "bad karma",
            "karma score",
        ])
        .unless(&["domain reputation", "reputation of .. domain", "url|link reputation", "sender domain", "from domain", "reputation .. domain"]),
    rule("ip.list.cloudmark", IpReputation, "dnsbl", 95)
        .says(&["csi.cloudmark.com", "cloudmark sender intelligence", "cloudmark csi", "csi.mimecast.org"]),
    rule("ip.list.named", IpReputation, "dnsbl", 95).says(&[LISTS_BLOCK, LISTS_BLOCKED, LISTS_SEE]).unless(CONTENT),
    rule("ip.list.client", IpReputation, "dnsbl", 92)
        .says(&[
            "client|host|ip|server|connection .. blocked|rejected|refused|denied using|by",
            "client|host|ip|ip#|server|connection .. listed by|in|on|at",
            "blocked|rejected|refused|denied using|by .. rbl|dnsbl|blacklist|blocklist",
            "blocked|rejected|refused|denied using *.*",
            "realtime|real|dns block*|black* list~",
            "real time blackhole|blacklist|blocklist|block|black",
            "ip# .. is|was|are? listed|blacklisted|blocklisted|denylisted",
            "listed|found in|on|at|by .. blacklist|blocklist|rbl|dnsbl|denylist .. ip#?",
            "dnsbl|rbl|rbls reject*|block*|listed|hit|restriction|entry|match*|check|failed",
            "rejected|blocked|denied|refused|found|listed .. rbl|rbls|dnsbl|dnsbls",
            "ip|ip#|server|host|mta|client .. in|on .. blacklist*|blocklist*|denylist*",
            "ip|ip#|address|server|host|client .. blacklisted|blocklisted|denylisted",
            "blacklisted|blocklisted .. ip|ip#|host|server|client",
            "^ rbl|rbls|dnsbl|dnsbls",
            "rbl|rbls|dnsbl|dnsbls $",
            "ip|ip# .. blacklist*|blocklist*",
            "composite blocking list",
            "found on one or more",
            "client identity is listed",
            "listed by css|sbl|xbl|pbl",
        ])
        .unless(CONTENT),
    rule("ip.spam", IpReputation, "provider", 90)
        .says(&[
            "unsolicited|spam|abusive|abuse|complaint*|junk|malicious|attack* .. originat*|coming|sent|received|seen|traffic from your|this|the .. ip|network|server|host",
            "mail|messages|traffic sent? from your|this ip address? .. block*|limit*|defer*|reject*|refus*|throttl*",
            "ip .. spammer|spammers|spamming|abuse|abusive|spam|attack*|flood*|hacked|compromised|infected|virus",
            "spammer|spam ip|source",
            "currently sending spam",
            "ip identified as",
            "spamtrap|spamtraps",
            "ip|host|server|address .. sending history|behaviour|behavior|practices",
            "ip|ip# address? .. deferred|quarantine|quarantined",
            "deferred .. due .. complaints",
            "messages from ip# .. defer*|werent|not|reject*|block*|refus*",
            "user complaints",
            "suspected|suspicious spam? ip",
            "excessive|too .. authentication failures",
            "trap|traps .. ip",
            "botnet",
        ])
        .unless(CONTENT),
    rule("ip.delist_link", IpReputation, "provider", 85)
        .says(&["linkid 526655", "request removal|delisting from .. list", "delist*", "to be removed from .. list"])
        .unless(&["sender|from domain", "banned sender"]),
    rule("ip.refused", IpReputation, "provider", 88)
        .says(&[
            "ip# blocked|banned|barred|denied|rejected|refused|blacklisted|forbidden|disallowed",
            "ip# .. is|was|has|been blocked|banned|barred|denied|rejected|refused|forbidden|disallowed|suspended",
            "blocked|banned|barred|bad|denied|refused|forbidden .. sending? ip",
            "banned sending ip",
            "ip address? ip#? .. is|was|has|been .. blocked|banned|barred|denied|rejected|refused|forbidden|disallowed|suspended",
            "ip address? ip#? blocked|banned|barred|denied|rejected|refused|forbidden|disallowed|bloque*|gesperrt|bloqueada|bloccato",
            "adresse ip .. bloque*|gesperrt|refus*|rejet*|interdit*",
            "connect* .. not allowed|permitted|welcome",
            "not allowed|permitted|welcome .. connect",
            "reject*|refus*|block* .. from this|your|that ip|ip#|host|server|network",
            "asn|as .. blocked|banned",
            "ip adresse .. gesperrt|blockiert|abgelehnt",
            "direccion ip .. bloque*|rechaz*",
            "endereco ip .. bloque*|rejeit*",
            "access from ip .. blocked|denied",
            "mail|messages|email|connections|connection|access from ip#|ip|your ip|this ip|host|server .. not|blocked|reject*|refus*|denied|deferred",
            "traffic not accepted from this ip",
            "connection~ not|wont|cannot .. accepted from .. ip|ip#|ips|host",
            "connections will not be accepted from ip#",
            "not accept* .. from your|this|the ip|ip#|host|server",
            "client|host ip? address? ip#? rejected|blocked|banned|denied|refused",
            "sending|sender|senders|source|remote|connecting ip|mta|host .. blocked|rejected|banned|denied|refused|not",
            "your mail? server|host|mta|system .. blocked|banned|blacklisted",
            "you|your are|have .. been .. blocked|banned|blacklisted .. ip|server|host|network",
            "banned sender ip#|ip",
            "blocked ip#",
            "ip ip#? .. gesperrt|blockiert|bloqueada|bloquee|bloccato",
            "access denied .. ip#",
            "ip# .. currently|temporarily|permanently|now|is blocked|banned|refused|rejected|denied|suspended",
            "sender ip rejected",
            "local policy .. ip",
            "mail from ip# .. not allowed",
            "connecting host .. rejected|listed|blocked",
            "deferred .. ip",
            "your access to .. mail|email|messag* system .. rejected",
        ])
        .unless(&[
            "spf", "send|sending mail|email|message~ .. of|for|from domain", "authenticat*", "relay", "user unknown",
            "recipient|user|mailbox not", "too many", "limit", "frequency", "helo", "reverse|ptr|rdns", "ipv6",
            "content", "url", "virus", "greylist*", "header", "headers", "dkim", "dmarc", "message rejected as",
        ]),
];

const LISTS_BLOCK: &str = "block*|reject*|refus*|denied|listed|listing|blacklist*|blocklist*|found|ban*|rbl|dnsbl|\
using|see|by|sender|sending|visit|poor|reputation|entry|at .. *spamhaus*|*spamcop*|*sorbs*|*barracudacentral*|\
*barracudanetworks*|*uceprotect*|*surriel*|psbl|*gbudb*|*mailspike*|*invaluement*|*ivmsip*|*abusix*|*0spam*|\
*all.s5h*|*backscatterer*|*dronebl*|*hostkarma*|*junkemailfilter*|*senderscore*|*spamrl*|*cobion*|*manitu*|\
*nixspam*|*unsubscore*|*lashback*|*ahbl*|*njabl*|*ordb*|*dsbl*|*abuseat*|*spamrats*|*blocklist.de*|*swinog*|\
*spamcannibal*|*wpbl*|*zapbl*|*nordspam*|*tornevall*|*efnet*|*anonmails*|*spameatingmonkey*|*spfbl*|*dnsbl*|\
*rbl.*|bl.*|zen.*|sbl.*|xbl.*|ipcheck.proofpoint.com|*proofpoint.com|trustedsource*|*ctipd*|*cyren*";
const LISTS_BLOCKED: &str = "*spamhaus*|*spamcop*|*sorbs*|*barracudacentral*|*uceprotect*|*gbudb*|*mailspike*|\
*invaluement*|*ivmsip*|*hostkarma*|*senderscore*|*nixspam*|*abuseat* .. block*|list*|entry|blacklist*|reject*|\
denied|refus*";
const LISTS_SEE: &str = "*spamhaus.org query|lookup|sbl|xbl|pbl|css|ip|bl";

/// Words that put the message, not the address, in the dock.
const CONTENT: &[&str] = &[
    "content .. rejected|spam|blocked",
    "url|urls|uri|link|links .. listed|in|blacklist*|blocked|found|message",
    "body .. contains",
    "*dbl.spamhaus.org",
    "message .. contains",
    "domain .. listed in",
    "spam content",
    "due to spam list",
    "virus",
];
