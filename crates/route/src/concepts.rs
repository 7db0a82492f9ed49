//! What words of a refusal are about: the address, the mailbox, the sender, the text, lists,
//! verbs of refusing. Coarse on purpose, so that the linear fallback understands sentences that
//! nobody has shown it.
//!
//! What it is not: a rule. A concept decides nothing; it is one more feature beside the words.

use crate::text::Text;

/// A concept and its words, in the token language of [`crate::text`].
pub const CONCEPTS: &[(&str, &str)] = &[
    ("ip", "ip|ip#|ips|ipv4|ipaddr|client|clients|mta|mtas|connecting|originating|*ip-*|ipsrc"),
    (
        "host",
        "host|hosts|server|servers|mailserver~|serveur|servidor|machine|computer|gateway|smarthost|relay",
    ),
    (
        "net",
        "network|networks|netblock~|subnet~|range|ranges|asn|cidr|neighborhood|isp|isps|hoster|hosting|country|countries|geo*|dynamic*|dialup|dsl|residential|pool|pools|generic|space|datacenter",
    ),
    ("you", "you|your|youre|youve|votre|ihr|ihre|su|sua|vostro|seu|tu"),
    ("our", "our|we|us|here|this|my"),
    (
        "rcpt",
        "recipient*|user|users|mailbox*|account*|alias|inbox|rcpt|addressee|destinataire|destinatario|empfanger|empfaenger|utilisateur|usuario|gebruiker|adresat|uzytkownik*|utente|benutzer|konto|compte|postfach|casella|caixa|boite|buzon|customer|subscriber|maildrop|@addr|mailfolder|homedir",
    ),
    (
        "sender",
        "sender*|from|mailfrom|originator|envelope|return|absender|remitente|remetente|mittente|expediteur|emetteur|spoof*",
    ),
    ("domain", "domain|domains|domaine|dominio|tld"),
    (
        "site",
        "*.com|*.net|*.org|*.de|*.fr|*.ru|*.info|*.cz|*.it|*.br|http|https|www.*|visit|see|refer|contact|postmaster",
    ),
    (
        "zone",
        "*spamhaus*|*spamcop*|*sorbs*|*barracuda*|*uceprotect*|*surriel*|*gbudb*|*mailspike*|*abusix*|*dnsbl*|*rbl*|zen.*|bl.*|sbl|xbl|pbl|css|cbl*|*senderscore*|*cloudmark*|*proofpoint*|*talos*|*senderbase*|*lashback*|*blocklist.de*|*abuseat*|*njabl*|*spamrats*|*junkemailfilter*",
    ),
    (
        "content",
        "message|messages|content|body|subject|attachment*|header*|url*|link|links|uri|nachricht|mensaje|mensagem|messaggio|contenu|text|words",
    ),
    ("mail", "mail|mails|email|emails|correo|courrier"),
    ("spam", "spam*|ube|uce|unsolicited|junk|bulk|unwanted|abus*|malicious|spammer~"),
    ("phish", "phish*|fraud*|scam|virus*|malware|infected|trojan|worm|exe|threat"),
    (
        "list",
        "*blacklist*|*blocklist*|*denylist*|rbl|rbls|dnsbl|dnsbls|listed|list|lists|listing|blackhole|delist*|removal|removed|bl|black|blocklisted",
    ),
    (
        "refuse",
        "block*|reject*|refus*|denied|deny|denies|ban|banned|barred|forbid*|disallow*|prohibit*|declin*|bloque*|gesperrt|abgelehnt|rejet*|rechaz*|rejeit*|rifiut*|bloccat*|bloquead*|unwelcome|banni",
    ),
    ("not", "not|no|cannot|cant|dont|doesnt|isnt|never|nicht|non|nao|without|unable|wont|werent|ne|pas"),
    ("accept", "accept*|allow*|permit*|authorized|authorised|welcome|take|receive*"),
    (
        "reput",
        "reputation|score|scored|karma|poor|bad|low|trust*|untrusted|suspicious|suspect*|trap|traps|complaint*|compromised|hacked|botnet|reported|blacklistee",
    ),
    (
        "absent",
        "unknown|exist*|found|invalid|nonexistent|inexist*|undeliverable|inconnu*|desconocid*|unbekannt*|sconosciut*|onbekend|nieznan*|such|invalide|invalido",
    ),
    ("full", "full|quota|overquota|storage|space|voll|lleno|llena|cheia|piena|pleine"),
    (
        "gone",
        "disabled|inactive|suspended|closed|expired|deactivated|moved|locked|frozen|longer|left|discontinued|terminated",
    ),
    ("many", "many|much|too|exceed*|limit*|maximum|max|number|over|reached|excessive"),
    (
        "rate",
        "rate|throttl*|frequen*|concurrent|simultaneous|connection|connections|session|sessions|quick*|fast|hour|hourly|minute|daily|day|per|volume|slow|ratelimit*",
    ),
    (
        "later",
        "temporar*|try|again|later|retry|defer*|busy|moment|timeout|maintenance|overload*|unavailable|wait|soon|plus",
    ),
    ("grey", "grey*|gray*|seconds|secs|minutes|mins|come|back|first|new|seen|before|yet"),
    ("proof", "spf|dkim|dmarc|arc|senderid|unauthenticated|aligned|alignment|signature|sender_policy"),
    ("login", "auth|authenticat*|login|log|password|credentials|logged|username"),
    ("relay", "relay*|rcpthosts|local|hosted|gatewaying"),
    ("name", "helo|ehlo|ptr|reverse|rdns|fqdn|resolve*|lookup|dns|hostname|forward"),
    ("tls", "tls|starttls|ssl|encrypt*|certificate|secure|handshake|plaintext"),
    ("form", "mime|rfc|5322|2822|malformed|format|compliant|multiple|missing|bare|line|lines|cr|lf|bit|8bit"),
    ("size", "size|large|larger|big|bytes|kb|mb|long|length"),
    ("policy", "policy|policies|administrat*|restrict*|security|rule|rules|reason|reasons"),
    ("loop", "loop*|hops|hop|route|routing|mx|unrout*|exchanger"),
    (
        "proto",
        "command*|syntax|sequence|parameter*|argument*|recognized|implemented|unrecognized|unexpected|first",
    ),
    (
        "sys",
        "error|internal|resource*|disk|memory|database|process*|service|queue|scanner|failure|fail*|problem|system|configuration",
    ),
];

/// Which concepts each token speaks of, in the order of the tokens: (place, concept).
pub fn found(text: &Text) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    for (place, token) in text.tokens.iter().enumerate() {
        for (concept, (_, words)) in CONCEPTS.iter().enumerate() {
            if crate::text::any_is(words, token) {
                out.push((place, concept));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_thing_said_otherwise_has_the_same_concepts() {
        let of = |raw: &str| {
            let text = Text::fold(raw);
            let mut names: Vec<&str> = found(&text).iter().map(|(_, c)| CONCEPTS[*c].0).collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        for raw in ["Your IP 192.0.2.1 is blocked", "Votre IP est bloquee", "your MTA was banned"] {
            let names = of(raw);
            assert!(["ip", "you", "refuse"].iter().all(|n| names.contains(n)), "{raw}: {names:?}");
        }
        assert!(of("User unknown").contains(&"rcpt"));
    }
}
