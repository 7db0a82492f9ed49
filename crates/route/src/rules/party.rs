//! The two parties: the recipient's mailbox and the sender's address.

use super::{Rule, rule};
use crate::refusal::Class::{IpReputation, Policy, Rate, Recipient, Sender, Transient};

/// Counts of recipients are a rate, not an unknown recipient.
pub const COUNTS: &[Rule] = &[
    rule("recipient.probe_failed", Transient, "system", 88)
        .codes(&["4xx"])
        .says(&[
            "unverified address",
            "address verification in progress",
            "verification .. failed|unavailable|timed",
            "callout|callback .. fail*|defer*|time*",
        ])
        .unless(&["sender address"]),
    rule("rate.recipients", Rate, "generic", 94)
        .says(&[
            "too many .. invalid|unknown|bad|failed|nonexistent recipients|users|rcpt~|addresses",
            "too many .. recipients|rcpts|recipient|rcpt|users|addresses",
            "max|maximum .. recipients .. reached|exceed*|allowed|per",
            "recipients .. exceed*|limit|maximum",
            "only one recipient",
            "recipient|recipients limit|count|number",
            "quota .. recipients",
            "excessive .. unknown|invalid recipients",
            "please try this recipient in a separate",
            "exceeded .. rate|messages .. receive",
            "receiving mail .. too|rate|quickly",
            "receiving mail at a rate",
            "mailbox|recipient|user .. received|receiving|receive too many|much|quickly",
            "recipient quota exceeded",
            "throttling quota",
            "recipient .. rate limit",
        ])
        .unless(&["ip|ip# .. blocked|blacklisted", "blocked .. ip"]),
];

pub const RECIPIENT: &[Rule] = &[
    rule("recipient.full", Recipient, "full", 95)
        .says(&[
            "over quota|quotas",
            "overquota|overquoted",
            "mailbox|inbox|mailboxes|account|maildir|folder|user|recipient|storage is? are? full|overfull|exceeded",
            "mailbox|inbox .. full|exceed*|storage|quota|limit|space|size",
            "mailfolder is full",
            "quota exceed*|violation|reached|limit|full|exhausted",
            "exceed* .. quota|storage|mailbox|allocation|disk",
            "out of storage",
            "storage space|allocation|limit|quota",
            "not enough|no|insufficient .. space|storage .. mailbox|user|recipient|for",
            "boite .. pleine",
            "postfach .. voll|ueberfuellt|uberfullt",
            "buzon|casilla .. lleno|lleno|llena",
            "caixa .. cheia",
            "mailbox lleno $",
            "quota .. user|mailbox|account",
            "user quota",
            "disk quota",
            "casella piena",
        ])
        .unless(&["relay .. quota", "daily", "throttl*", "hour", "sending quota", "message quota", "rate", "desconocido", "recipient quota", "per day", "sent|sending .. quota", "user unknown"]),
    rule("recipient.disabled", Recipient, "disabled", 94)
        .says(&[
            "account|mailbox|user|recipient|address|inbox|customer|maildrop .. disabled|inactive|suspended|frozen|locked|deactivated|discontinued|closed|expired|terminated|archivee|dormant|cancelled|canceled|blocked|inactivated|deleted|removed|suspend",
            "disabled|inactive|suspended|frozen|locked|deactivated|closed|expired|terminated|discontinued|obsolete .. account|mailbox|user|recipient|address",
            "has|have moved|replaced",
            "destination mailbox has moved",
            "address .. replaced by",
            "no longer .. valid|active|available|with|works|employed|used|use|exists|in|here|accept*",
            "no longer valid|active|available",
            "has left",
            "compte .. bloque|ferme|suspendu|inactif",
            "konto .. gesperrt|deaktiviert",
            "boite .. archivee|desactivee|fermee",
            "incoming .. suspended",
            "suspend the service",
            "account that you tried to reach is disabled|inactive",
        ])
        .unless(&["sender", "sending account|user", "no longer on server", "no longer in use here", "ip|ip# .. blocked|suspended", "does not exist", "sender account", "your account|ip|server|email|host|message", "abuse detected", "blacklisted|blocklist*", "blocked using", "blocked by .. user|recipient|customer|spam", "user entry"]),
    rule("recipient.unknown", Recipient, "unknown", 95)
        .says(&[
            "user|recipient|mailbox|address|account|alias|users|username|addressee|rcpt|recipients|maildrop|destinataire|customer|subscriber|member|inbox|name|mail unknown|invalid|nonexistent|unavailable|inexistent",
            "unknown|invalid|nonexistent|bad|illegal|inexistent|unrecognized|undefined|no|wrong|incorrect .. user|recipient|mailbox|account|alias|rcpt|recipients|addressee|local|mailboxes|users|username",
            "unknown address|local|recipient*|user*",
            "no|nonexistent such|valid|known|matching|active|mail|email .. user|mailbox|account|recipient|recipients|person|address|alias|here|name|addresses|box",
            "user|recipient|mailbox|address|account|alias|email|it|rcpt|box|person|name|addr|@addr .. not|doesnt|dont|does .. exist|exists|found|known|valid|listed|recognized|available|local|have|active|here|hosted|registered|located",
            "user|recipient|mailbox|address|account not|was found|known|exist|exists|available|valid|here",
            "doesnt|not|dont have a .. account|mailbox",
            "not a valid|known|active .. user|recipient|mailbox|address|account|email|customer",
            "is|are not a|an|our .. valid|known|active .. user|mailbox|address",
            "unknown or illegal",
            "couldnt|cannot|cant|could .. find a? mailbox|user|account|recipient",
            "dont|not have a|any user|mailbox|account|recipient",
            "user|mailbox|account by that name",
            "illegal|invalid|unknown user|alias|recipient|mailbox|address|local",
            "recipient address rejected .. unknown|invalid|undeliverable|not|doesnt|no|unverified",
            "undeliverable address",
            "unrouteable|unroutable recipient",
            "no mailbox|mailboxes|mail box .. here|available|found|by|for|with|matching",
            "badrcptto",
            "bad recipient|rcpt|destination mailbox",
            "recipient rejected $",
            "@addr recipient rejected",
            "recipnotfound*|resolver.adr*",
            "address rejected @addr",
            "address rejected $",
            "could not be found or was misspelled",
            "mailbox unavailable|not",
            "no longer on server",
            "adresse .. destinataire invalide|inconnue|inconnu",
            "destinataire .. inconnu|invalide|existe",
            "utilisateur inconnu",
            "destinatario|usuario|usuaria|utente|usuario .. desconocido|inexistente|invalido|sconosciuto|no|nao",
            "empfanger|benutzer|adresse .. unbekannt|nicht|existiert",
            "empfaenger unbekannt",
            "unbekannter empfanger|benutzer|empfaenger",
            "konto niedostepne",
            "nie istnieje",
            "domain user not found",
            "no matches to nameserver",
            "addressee unknown",
            "not our customer",
            "user|mailbox doesnt|does",
            "account|mailbox|user .. misspelled|mistyped",
            "cannot .. find .. mailbox|user|recipient",
            "email account .. tried to reach .. exist",
            "user email address is marked as invalid",
            "invalid|blank mailhost|address relay",
            "access denied .. recipient",
        ])
        .unless(&[
            "sender address rejected", "sender unknown|invalid", "invalid sender", "sender verify", "from domain|address|header", "domain of sender",
            "mail from|mailfrom", "ip .. not .. valid", "sender domain", "domain not found", "no such domain", "greylist*", "try again later $", "temporarily|temporary",
            "ip address is", "mailbox delivery failure policy", "due to policy", "policy violation", "does not resolve", "not have a ptr|reverse", "bad address syntax",
            "your ip", "invalid ip", "sending denied", "not local", "rbl", "spf", "dkim", "dmarc", "client host", "relay|relaying", "spam", "command", "no valid cert", "login", "senders mx", "tls|starttls", "domain .. is|was|could|not .. found|exist|valid|reachable",
            "mx record|records", "null mx", "authenticat* fail*", "username and", "invalid domain", "host unknown", "helo|ehlo", "from valid", "virus", "sending domain",
            "from .. header", "bad destination system", "does not accept mail|email", "unauthenticated", "certificate", "too many", "read the forwarding", "hosted tenant", "loop", "system config*", "subject", "credential*", "not .. list of allowed", "quota",
        ]),
    rule("recipient.refuses", Recipient, "refuses", 86)
        .says(&[
            "rejected|refused|blocked by .. recipient|recipients|user|addressee",
            "recipient|user .. reject*|refus*|does not|doesnt .. accept|want|mail|messages|sender*",
            "user reject|rejected|refused|refuses",
            "not accept* .. mail|messages|email .. you|sender*|this sender",
            "only accept* .. from .. members|senders|allowed|authorized|list",
            "sendernotauthenticatedforgroup*|resolver.rst*",
            "not authenticated for group",
            "not .. member~ .. list|group",
            "restricted .. recipient|group|list|address",
            "recipient address rejected access denied",
        ])
        .unless(&["spf", "dmarc", "dkim", "ip|ip#", "null mx", "domain .. accept", "sender .. blocked by", "recipsizelimit*|sendsizelimit*", "spam", "content", "mips", "policy", "blocked senders", "virus", "ipv6", "mail from .. does not|doesnt", "unable"]),
];

/// The sender's address or domain, read late: many texts name it in passing.
pub const SENDER: &[Rule] = &[
    rule("sender.spam_user", IpReputation, "dnsbl", 60).says(&["mips space"]),
    rule("sender.auth_needed", Sender, "blocked", 85).says(&["auth is required .. sender domain", "under this sender domain", "sender login mismatch", "sender .. not owned|belong"]),
    rule("sender.code", Sender, "address", 85).enhanced(&["x.1.7", "x.1.8", "x.7.27"]),
    rule("sender.address", Sender, "address", 92)
        .says(&[
            "sender|senders|from|mailfrom|envelope|originator|emetteur|absender|remitente|mittente .. not|does|doesnt|cannot|invalid|invalide|unknown|unresolvable|unrouteable|nonexistent .. exist|exists|found|resolve*|valid|domain|mx|dns|verif*|rejected|configured|sender",
            "invalid|bad|unknown|unresolvable|nonexistent .. sender|from|mailfrom|originator|return",
            "domain of sender",
            "sender address rejected .. domain|undeliverable|unverified|not|need|invalid",
            "sender domain .. not|does|must|invalid|mx|dns|resolve*|unknown",
            "from domain is invalid",
            "domain is invalid .. from",
            "unresolvable .. domain",
            "sender verif* fail*|error|callout",
            "callout .. sender",
            "mailfrom|mail from domain .. not|has|null|does|without",
            "null mx record",
            "senders mx record",
            "mx record not allowed",
            "emetteur invalide",
            "invalid sender*",
            "could|can|cannot not? resolve|verify .. sender|mx|domain|mail|your",
            "return path|address .. invalid|not|does",
            "need fully qualified address",
            "sender .. domain .. must|exist|resolve|not",
        ])
        .unless(&["recipient address rejected", "recipient .. domain", "banned", "spam", "not allowed $", "policy reasons", "blocked", "blacklisted", "spoof*", "rejected by .. policy", "relay"]),
    rule("sender.blocked", Sender, "blocked", 88)
        .says(&[
            "sender|senders|from|mailfrom|originator|envelope|sending .. blocked|banned|blacklisted|blocklisted|rejected|refused|denied|not|blacklist|blocklist|accepted|prohibited|disallowed|barred",
            "blocked|banned|blacklisted|blocklisted|rejected|denied|refused|disallowed|spoofed .. sender|senders|from|mailfrom|domain|mail",
            "sender|sending address not|address .. not",
            "spoof*",
            "sender address .. reject*|denied",
            "mail|message|email|messages from @addr|domain|your .. rejected|refused|blocked|not|denied",
            "your domain|address|email .. blocked|banned|blacklisted|blocklist*|rejected",
            "envelope blocked",
            "spam abuse detected",
            "user domain entry|user entry",
            "badmailfrom",
        ])
        .unless(&["ip#|ip", "spam .. content", "content .. rejected", "temporarily|temporary", "bounce|content", "try again", "message rejected due", "sending denied", "has a policy"]),
    rule("policy.self", Policy, "other", 80).says(&["cannot send email|mail to yourself", "is redundant"]),
];
