//! A reply's text as folded tokens, and the small pattern language the rules are written in.
//!
//! Tokens: lower case, accents folded, apostrophes dropped, everything but letters, digits and
//! inner dots a separator; addresses of persons become `@addr`, IP addresses `ip#`.
//! Patterns: tokens in order. `a|b` either, `a*` prefix, `*a` suffix, `*a*` inside, `a~` also with a
//! plural s, `a?` may be missing, `..` up to [`GAP_MAX`] tokens between, `^` start, `$` end.

/// Longest text read, in characters; a refusal says what it has to say sooner.
pub const TEXT_MAX: usize = 2000;
/// How many tokens `..` may stand for.
pub const GAP_MAX: usize = 9;

/// A folded text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    pub tokens: Vec<String>,
    /// A status code that stands in the text itself: "#5.7.1", "5.2.2 Mailbox full".
    pub enhanced: Option<words::Enhanced>,
}

impl Text {
    pub fn fold(raw: &str) -> Text {
        let mut tokens = Vec::new();
        let raw: String = raw.chars().take(TEXT_MAX).collect();
        for chunk in raw.split(|c: char| c.is_whitespace() || "<>()[]{},;\"|".contains(c)) {
            fold_chunk(chunk, &mut tokens);
        }
        join_pairs(&mut tokens);
        let enhanced = raw.split(|c: char| c.is_whitespace() || "()[]<>#:,;".contains(c)).find_map(status);
        Text { tokens, enhanced }
    }

    /// Whether the pattern is found anywhere.
    pub fn has(&self, pattern: &str) -> bool {
        let (anchored, pattern) = match pattern.strip_prefix("^ ") {
            Some(rest) => (true, rest),
            None => (false, pattern),
        };
        let parts: Vec<&str> = pattern.split(' ').collect();
        let last = if anchored { 0 } else { self.tokens.len() };
        (0..=last).any(|at| follows(&parts, &self.tokens[at..]))
    }
}

/// RFC 3463 §2: class, subject, detail; "4" and "5" are classes of refusals.
fn status(word: &str) -> Option<words::Enhanced> {
    let digits = word.len() <= 9 && word.starts_with(['4', '5']) && word.as_bytes().get(1) == Some(&b'.');
    word.parse().ok().filter(|_| digits && word.matches('.').count() == 2)
}

fn fold_chunk(chunk: &str, out: &mut Vec<String>) {
    let trimmed = chunk.trim_matches(|c: char| !c.is_alphanumeric() && c != ':');
    if trimmed.is_empty() {
        return;
    }
    if trimmed.len() > 2 && trimmed.matches(':').count() >= 2 && trimmed.parse::<std::net::Ipv6Addr>().is_ok()
    {
        return out.push("ip#".into());
    }
    if is_address(trimmed) {
        return out.push("@addr".into());
    }
    let mut token = String::new();
    let mut chars = trimmed.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '\u{2019}' | '`' => {}
            '.' if !token.is_empty() && chars.peek().is_some_and(|n| n.is_alphanumeric()) => token.push('.'),
            c if c.is_alphanumeric() => token.extend(fold_char(c)),
            _ => push(&mut token, out),
        }
    }
    push(&mut token, out);
}

fn is_address(chunk: &str) -> bool {
    match chunk.rsplit_once('@') {
        Some((local, domain)) => !local.is_empty() && domain.contains('.') && !chunk.contains("://"),
        None => false,
    }
}

fn push(token: &mut String, out: &mut Vec<String>) {
    if token.is_empty() {
        return;
    }
    let text = std::mem::take(token);
    out.push(if is_ip(&text) { "ip#".into() } else { text });
}

/// Dotted quads, also with letters where a writer hid the digits; 127.0.x and 127.255.x stay, they
/// are the codes of lists.
fn is_ip(token: &str) -> bool {
    if matches!(token, "ipsrc" | "ipaddress" | "ipaddr") {
        return true;
    }
    let mut parts = 0;
    for part in token.split('.') {
        parts += 1;
        let digits = part.bytes().all(|b| b.is_ascii_digit());
        let hidden = part.bytes().all(|b| b == b'x') || part.len() == 1;
        if part.is_empty() || part.len() > 3 || !(digits || hidden) {
            return false;
        }
    }
    parts == 4 && !token.starts_with("127.0.") && !token.starts_with("127.255.")
}

fn fold_char(c: char) -> impl Iterator<Item = char> {
    let lower = c.to_lowercase().next().unwrap_or(c);
    let folded = match lower {
        'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' | 'ą' => 'a',
        'ç' | 'ć' | 'č' => 'c',
        'è' | 'é' | 'ê' | 'ë' | 'ę' | 'ě' => 'e',
        'ì' | 'í' | 'î' | 'ï' => 'i',
        'ñ' | 'ń' => 'n',
        'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ø' => 'o',
        'ù' | 'ú' | 'û' | 'ü' => 'u',
        'ý' | 'ÿ' => 'y',
        'ł' => 'l',
        'ś' | 'š' => 's',
        'ż' | 'ź' | 'ž' => 'z',
        other => other,
    };
    std::iter::once(folded)
}

/// "e mail" and "black list" are written in two ways; the rules know one.
fn join_pairs(tokens: &mut Vec<String>) {
    let mut i = 0;
    while i + 1 < tokens.len() {
        let joined = match (tokens[i].as_str(), tokens[i + 1].as_str()) {
            ("e", "mail" | "mails") => true,
            ("black" | "block" | "grey" | "gray" | "white" | "deny", next) => next.starts_with("list"),
            ("start", "tls") | ("user", "unknown") => false,
            _ => false,
        };
        if joined {
            let next = tokens.remove(i + 1);
            tokens[i].push_str(&next);
        }
        i += 1;
    }
}

fn follows(parts: &[&str], tokens: &[String]) -> bool {
    let Some((part, rest)) = parts.split_first() else { return true };
    match *part {
        "$" => tokens.is_empty(),
        ".." => (0..=GAP_MAX.min(tokens.len())).any(|skip| follows(rest, &tokens[skip..])),
        part => {
            let (part, optional) = match part.strip_suffix('?') {
                Some(part) => (part, true),
                None => (part, false),
            };
            let here = tokens.first().is_some_and(|t| part.split('|').any(|p| token_is(p, t)));
            (here && follows(rest, &tokens[1..])) || (optional && follows(rest, tokens))
        }
    }
}

/// Whether a token is one of `a|b*|*c`.
pub fn any_is(words: &str, token: &str) -> bool {
    words.split('|').any(|w| token_is(w, token))
}

fn token_is(pattern: &str, token: &str) -> bool {
    if let Some(one) = pattern.strip_suffix('~') {
        return token.strip_suffix('s').unwrap_or(token) == one;
    }
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(p), Some(_)) => token.contains(p.trim_end_matches('*')),
        (Some(tail), None) => token.ends_with(tail),
        (None, Some(head)) => token.starts_with(head),
        (None, None) => token == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fold_to_tokens() {
        for (raw, want) in [
            ("Client host [192.0.2.1] blocked", "client host ip# blocked"),
            ("<a.b@c.example>: User doesn't exist", "@addr user doesnt exist"),
            ("Black-listed at zen.spamhaus.org.", "blacklisted at zen.spamhaus.org"),
            ("[2001:db8::1] e-mail; 127.0.0.4", "ip# email 127.0.0.4"),
            ("Usuário Inválido", "usuario invalido"),
            ("[127.1.0.36] 127.255.255.254", "ip# 127.255.255.254"),
            ("http://www.spamhaus.org/query/bl?ip=192.0.2.1", "http www.spamhaus.org query bl ip ip#"),
        ] {
            assert_eq!(Text::fold(raw).tokens.join(" "), want, "{raw}");
        }
    }

    #[test]
    fn patterns_find_tokens_in_order() {
        let text = Text::fold("Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org");
        for (pattern, want) in [
            ("client host .. blocked|refused using", true),
            ("blocked using *.spamhaus.org $", true),
            ("^ client", false),
            ("^ service", true),
            ("host ip#? blocked", true),
            ("using blocked", false),
            ("*hau*", true),
            ("clients~ hosts~|host~ ip#", false),
            ("host~ ip# blocked", true),
        ] {
            assert_eq!(text.has(pattern), want, "{pattern}");
        }
    }

    #[test]
    fn no_text_is_too_long_or_too_odd() {
        let long = "a b ".repeat(5000);
        assert!(Text::fold(&long).tokens.len() <= TEXT_MAX);
        assert!(!Text::fold("").has("a"));
        assert!(Text::fold("\u{0}\u{ffff} . .. @ ::").tokens.is_empty());
    }
}
