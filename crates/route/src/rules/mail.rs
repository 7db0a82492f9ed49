//! The message itself is refused: virus, size, form, spam.

use super::{Rule, rule};
use crate::refusal::Class::{Content, IpReputation};

/// Causes whose words leave no doubt, read before anything else.
pub const PLAIN: &[Rule] = &[
    rule("content.antispam_checks", Content, "spam", 90).says(&["failed .. antispam checks", "failed several .. checks"]),
    rule("content.virus", Content, "virus", 95)
        .says(&[
            "virus|viruses|viral|malware|trojan|worm|infected|clamav|clamd|eicar",
            "virus* detected|found|infected|infection",
            "malicious attachment*|file*|content",
            "security risk|threat .. attachment|content|message",
        ])
        .unless(&["ip .. infected", "your ip", "host .. infected", "computer|machine|server is infected", "antivirus unavailable|failed|error", "virus scan* .. unavailable|failed|error|timeout", "scanner .. unavailable"]),
    rule("content.size", Content, "size", 94)
        .says(&[
            "message|mail|email|messages|size|body|header|headers|data|letter is? too big|large|long",
            "too big|large message|mail|email|body|attachment*|header*|data|for",
            "message|mail|email|header|body size exceed~|exceeded|over|limit|too|maximum",
            "exceed* .. message size|max|maximum|size",
            "exceed* .. size limit*",
            "exceed* fixed|maximum|system size|limit",
            "maximum message|mail size",
            "size limit|limits exceeded|exceed*",
            "number of attachments",
            "header value .. exceeds",
            "recipsizelimit|sendsizelimit*",
            "larger than .. limit|maximum|allowed|accept*|permit*",
            "size .. larger|bigger|greater",
            "nachricht zu gross",
            "message trop volumineux|gros",
            "limite de tamano",
        ])
        .unless(&["mailbox is? full", "mailbox size", "quota", "policy size per transaction", "line too long", "too many"]),
    rule("content.attachment", Content, "attachment", 93).says(&[
        "attachment*|file|files|extension* .. banned|not|blocked|rejected|forbidden|prohibited|dangerous|disallowed|illegal|unacceptable|denied|allowed",
        "banned|blocked|forbidden|prohibited|dangerous|illegal|executable|unacceptable|restricted .. attachment*|file|files|extension*|filename*",
        "file extensions are",
        "banned .. *exe|*zip|*js|*scr|*bat",
        "reject .. banned",
    ]).unless(&["blocked .. see .. file", "ip#"]),
    rule("content.header", Content, "malformed", 92)
        .says(&[
            "rfc 5322|2822|822|5321|2045|2047 .. compliant|compliance|violation|section|specification*|conform*",
            "not rfc compliant",
            "header~ .. not|are|is .. compliant|valid|allowed|rfc|permitted|invalid|malformed",
            "multiple|duplicate|missing|invalid|bad|malformed|no|unparseable|illegal .. from|subject|date|to|mime|messageid|header|header~ header|headers|field|fields",
            "missing .. valid address in",
            "message? .. missing|without|lacks|no .. messageid|header",
            "message id header",
            "not? contain~ a? from header",
            "multiple from addresses",
            "header|headers error|errors|malformed|invalid|syntax",
            "malformed|invalid|broken|bad mime|header|headers|message|structure",
            "cannot|failed|unable .. parse .. header|message|mime|address",
            "improperly formatted",
            "8 bit data|characters",
            "eight bit data|characters",
            "lone|bare cr|lf",
            "8bit .. header*",
            "bare lf|cr|linefeed*|newline*",
            "line|lines length? .. too long|limit|exceed*",
            "line limit exceeded",
            "nul|null character~|byte~",
            "mime error|errors|depth|parts|nesting",
            "ip addresses are not allowed as a from",
        ])
        .unless(&["anti spoofing", "blocked senders", "received headers", "sender address .. domain", "spf", "dkim", "dmarc", "aligned", "command line", "sequence", "syntax error", "authenticat*"]),
    rule("content.mass_mailer", Content, "spam", 85).says(&["mass|bulk mailer|mailing|mailings", "bulk|mass mail|email .. refused|rejected|not|blocked"]).unless(&["spf", "dkim", "authenticat*", "ip", "tls"]),
];

/// Spam by its content; read after the address rules, because "spam" is said of both.
pub const RULES: &[Rule] = &[
    rule("content.phish", Content, "phish", 90).says(&["phish*", "credential leak", "fraud*|scam*", "password .. message|content"]),
    rule("ip.spam_host", IpReputation, "provider", 70).says(&["host|server|ip|mta .. spam|spammer|spamming"]).unless(&["content", "message", "mail", "email", "url", "subject"]),
    rule("content.spam", Content, "spam", 90)
        .says(&[
            "spam score|scored|points|level|probability|content|detected|filter|filtering|signature|rejection|message|mail|email|like|url|urls|assassin|test|check|engine|polic*",
            "spamassassin|rspamd|spamprofiler|dspam|bogofilter|spampal|razor|pyzor|vipul",
            "score|scored .. spam|too|high|points|exceed*|over",
            "message|mail|email|content|it .. spam|ube|uce|junk|unsolicited|unwanted",
            "looks|seems|appears|classified|identified|detected|flagged|marked|tagged|considered|recognized|rejected|suspicion|suspected|thinks|matches|treated .. spam|junk|unsolicited|ube|bulk",
            "spam not? accepted|blocked|rejected|refused|detected|denied|not",
            "spam|spamming .. allowed|wanted",
            "no|anti spam",
            "antispam|antispam* .. reject*|block*|refus*",
            "^ spam|junk $",
            "spam|junk $",
            "url~|uri|uribl|surbl|link|links .. policy|listed|blacklist*|blocked|content|spam|found|body|bad",
            "banned|forbidden|prohibited|objectionable|inappropriate|offensive|unacceptable|bad|illegal|rejected|denied|refused|blocked .. content|word~|subject|body",
            "content|body|subject .. rejected|refused|denied|blocked|unacceptable|not|restriction|violation|reject|filter*|policy|inappropriate",
            "message|mail|email filtered",
            "filtered .. message|content",
            "local uribl",
            "contenu .. sollicite|spam",
            "spam verdacht",
            "als spam",
            "correo .. spam",
            "unsolicited .. mail|email|bulk|commercial",
            "message .. rejected .. filter*",
            "rejected by .. filter*|ruleset",
            "rejected due to security polic*",
            "security policies",
            "mailmarshal|mailscanner",
        ])
        .unless(&["spam abuse detected", "sending address", "sender address", "sender .. spam filter", "due to spam list"]),
];
