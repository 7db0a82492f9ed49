//! Address lists as header fields carry them: RFC 5322 §3.4 with its obsolete syntax and with
//! what real mail does wrong.
//!
//! [`parse`] gives the entries as IMAP's ENVELOPE wants them, groups included; [`mailboxes`] gives
//! what people and judges want: a decoded name and an address.

use words::Address;

use crate::params::Cursor;

/// Entries read of one field; the rest is left out.
pub const ENTRIES_MAX: usize = 10_000;

/// One entry of an address list, bytes as they were written (unquoted, unfolded).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Mailbox {
        /// Display name, or a comment that stands for one; encoded words not decoded.
        name: Option<Vec<u8>>,
        /// RFC 5322 §4.4: an obsolete source route, `@a,@b`.
        route: Option<Vec<u8>>,
        local: Vec<u8>,
        /// Empty if it was missing.
        domain: Vec<u8>,
    },
    GroupStart(Vec<u8>),
    GroupEnd,
}

/// A mailbox for people: the name decoded, the address as it stands (it may be no valid one).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    pub name: Option<String>,
    pub address: String,
}

impl Mailbox {
    /// The address if it is one.
    pub fn parsed(&self) -> Option<Address> {
        Address::parse(&self.address).ok()
    }
}

/// The mailboxes of a field's value; groups are opened.
pub fn mailboxes(value: &[u8]) -> Vec<Mailbox> {
    let mut out = Vec::new();
    for entry in parse(value) {
        if let Entry::Mailbox { name, local, domain, .. } = entry {
            let local = crate::charset::guess(&local).into_owned();
            let domain = crate::charset::guess(&domain).into_owned();
            let name = name.map(|n| crate::words2047::decode(&n)).filter(|n| !n.is_empty());
            let address = if domain.is_empty() { local } else { join(&local, &domain) };
            out.push(Mailbox { name, address });
        }
    }
    out
}

/// Local part and domain as one address, quoted only where it must be.
fn join(local: &str, domain: &str) -> String {
    match words::Domain::new(domain).and_then(|d| Address::new(local, d)) {
        Ok(address) => address.to_string(),
        Err(_) => format!("{local}@{domain}"),
    }
}

/// Reads an address list. Never fails: what is no address is skipped or kept as a local part
/// without a domain.
pub fn parse(value: &[u8]) -> Vec<Entry> {
    let mut out = Vec::new();
    let mut c = Cursor::new(value);
    let mut in_group = false;
    while out.len() < ENTRIES_MAX {
        c.skip_cfws();
        match c.peek() {
            None => break,
            Some(b',') => c.at += 1,
            Some(b';') => {
                c.at += 1;
                if in_group {
                    out.push(Entry::GroupEnd);
                    in_group = false;
                }
            }
            Some(_) => match element(&mut c, in_group) {
                Element::Group(name) => {
                    out.push(Entry::GroupStart(name));
                    in_group = true;
                }
                Element::Mailbox(entry) => out.push(entry),
                Element::Nothing => {}
            },
        }
    }
    if in_group {
        out.push(Entry::GroupEnd);
    }
    out
}

/// Words of one name or local part; further ones are left out.
const WORDS_MAX: usize = 1000;

enum Element {
    Group(Vec<u8>),
    Mailbox(Entry),
    Nothing,
}

fn is_atext(b: u8) -> bool {
    b > 32 && b != 127 && !b"()<>[]:;@\\,.\"".contains(&b)
}

/// Words read so far that may turn out to be a display name, a group name or a local part.
#[derive(Default)]
struct Words {
    words: Vec<Vec<u8>>,
    comment: Option<Vec<u8>>,
}

impl Words {
    fn push(&mut self, word: Vec<u8>) {
        if self.words.len() < WORDS_MAX {
            self.words.push(word);
        }
    }
    fn phrase(&self) -> Vec<u8> {
        self.words.join(&b' ')
    }
    /// Takes the words that end in a local part off the end: `john . smith` is one (RFC 5322
    /// §4.4), of `John smith` only the last word is.
    fn take_local(&mut self) -> Vec<u8> {
        let mut from = self.words.len().saturating_sub(1);
        while from > 0 && (self.words[from - 1].ends_with(b".") || self.words[from].starts_with(b".")) {
            from -= 1;
        }
        self.words.split_off(from).concat()
    }
    /// All words as one local part: blanks around dots vanish, others stay.
    fn whole_local(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for word in &self.words {
            if !out.is_empty() && !out.ends_with(b".") && !word.starts_with(b".") {
                out.push(b' ');
            }
            out.extend_from_slice(word);
        }
        out
    }
    fn name(&self) -> Option<Vec<u8>> {
        if self.words.is_empty() { self.comment.clone() } else { Some(self.phrase()) }
    }
}

/// Blanks are skipped; of comments the last one is kept, since `joe@x (Joe)` names Joe.
fn skip_keep_comment(c: &mut Cursor<'_>, words: &mut Words) {
    loop {
        match c.peek() {
            Some(b' ' | b'\t' | b'\r' | b'\n') => c.at += 1,
            Some(b'(') => {
                let start = c.at + 1;
                c.skip_comment();
                let closed = c.at > start && c.data[c.at - 1] == b')';
                let text = &c.data[start..c.at - usize::from(closed)];
                words.comment = Some(text.iter().copied().filter(|b| !b"\r\n\\".contains(b)).collect());
            }
            _ => return,
        }
    }
}

fn element(c: &mut Cursor<'_>, in_group: bool) -> Element {
    let mut words = Words::default();
    loop {
        skip_keep_comment(c, &mut words);
        match c.peek() {
            None | Some(b',' | b';') => return bare(words),
            Some(b'"') => {
                let word = c.quoted();
                words.push(word);
            }
            Some(b'<') => return Element::Mailbox(angle(c, words)),
            Some(b':') => {
                c.at += 1;
                if !in_group {
                    return Element::Group(words.phrase());
                }
            }
            Some(b'@') => {
                if let Some(entry) = addr_spec(c, &mut words) {
                    return Element::Mailbox(entry);
                }
            }
            Some(b) if is_atext(b) || b == b'.' => {
                let word = atom(c);
                words.push(word);
            }
            Some(_) => c.at += 1,
        }
    }
}

/// Atoms and dots in one run; an encoded word in one piece even if it has specials inside.
fn atom(c: &mut Cursor<'_>) -> Vec<u8> {
    if let Some(len) = crate::words2047::word_len(&c.data[c.at..]) {
        let word = &c.data[c.at..c.at + len];
        let quiet = !word.iter().any(|b| matches!(b, b'<' | b'>' | b'"' | b'\r' | b'\n'));
        if quiet && len < 500 {
            c.at += len;
            return word.to_vec();
        }
    }
    c.run(|b| is_atext(b) || b == b'.').to_vec()
}

/// Words that no `<` and no `@` followed: one word is a local part, several are a name.
fn bare(mut words: Words) -> Element {
    let local = match words.words.len() {
        0 => return Element::Nothing,
        1 => words.take_local(),
        _ => Vec::new(),
    };
    Element::Mailbox(Entry::Mailbox { name: words.name(), route: None, local, domain: Vec::new() })
}

/// At the `@` after a local part. `None` if a `<` shows that all this was a display name
/// (`joe@x <joe@y>`), which is then in `words`.
fn addr_spec(c: &mut Cursor<'_>, words: &mut Words) -> Option<Entry> {
    c.at += 1;
    let local = words.take_local();
    skip_keep_comment(c, words);
    let domain = domain(c);
    skip_keep_comment(c, words);
    if c.peek() == Some(b'<') {
        let text = [&local[..], b"@", &domain].concat();
        words.push(text);
        return None;
    }
    let entry = Entry::Mailbox { name: words.name(), route: None, local, domain };
    skip_to_next(c);
    Some(entry)
}

/// At a `<`: the address in angle brackets.
fn angle(c: &mut Cursor<'_>, mut words: Words) -> Entry {
    c.at += 1;
    c.skip_cfws();
    let route = route(c);
    let mut inner = Words::default();
    let mut found = Vec::new();
    loop {
        c.skip_cfws();
        match c.peek() {
            None | Some(b'>') => break,
            // A bracket that is never closed must not swallow the rest of the list.
            Some(b',' | b';') if !inner.words.is_empty() || !found.is_empty() => break,
            Some(b'"') => {
                let word = c.quoted();
                inner.push(word);
            }
            Some(b'@') => {
                c.at += 1;
                c.skip_cfws();
                found = domain(c);
            }
            Some(b) if is_atext(b) || b == b'.' => {
                inner.push(c.run(|b| is_atext(b) || b == b'.').to_vec());
            }
            Some(_) => c.at += 1,
        }
    }
    c.eat(b'>');
    skip_keep_comment(c, &mut words);
    skip_to_next(c);
    let local = inner.whole_local();
    Entry::Mailbox { name: words.name(), route, local, domain: found }
}

/// RFC 5322 §4.4: `@a,@b:` before the address, with no meaning left.
fn route(c: &mut Cursor<'_>) -> Option<Vec<u8>> {
    if c.peek() != Some(b'@') {
        return None;
    }
    let start = c.at;
    let text = c.run(|b| b != b':' && b != b'>');
    if c.eat(b':') {
        Some(text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect())
    } else {
        c.at = start;
        None
    }
}

fn domain(c: &mut Cursor<'_>) -> Vec<u8> {
    if c.peek() == Some(b'[') {
        let mut text = c.run(|b| b != b']' && b != b'>' && b != b',').to_vec();
        if c.eat(b']') {
            text.push(b']');
        }
        text.retain(|b| !matches!(b, b'\r' | b'\n'));
        return text;
    }
    let mut out = c.run(|b| is_atext(b) || b == b'.').to_vec();
    // RFC 5322 §4.4: blanks and comments around the dots.
    loop {
        let back = c.at;
        c.skip_blanks();
        let more = out.ends_with(b".") && c.peek().is_some_and(is_atext) || c.peek() == Some(b'.');
        if !more || out.is_empty() {
            c.at = back;
            return out;
        }
        out.extend_from_slice(c.run(|b| is_atext(b) || b == b'.'));
    }
}

/// Garbage after an address is skipped up to the next comma or semicolon.
fn skip_to_next(c: &mut Cursor<'_>) {
    loop {
        c.skip_cfws();
        match c.peek() {
            None | Some(b',' | b';') => return,
            Some(b'"') => drop(c.quoted()),
            Some(_) => c.at += 1,
        }
    }
}

impl Cursor<'_> {
    fn skip_blanks(&mut self) {
        self.run(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(input: &str, expected: &str) {
        let show = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let got: Vec<String> = parse(input.as_bytes())
            .into_iter()
            .map(|e| match e {
                Entry::Mailbox { name, route, local, domain } => format!(
                    "{}{}{}@{}",
                    name.map(|n| show(&n) + "|").unwrap_or_default(),
                    route.map(|n| show(&n) + ":").unwrap_or_default(),
                    show(&local),
                    show(&domain)
                ),
                Entry::GroupStart(n) => format!("{}:", show(&n)),
                Entry::GroupEnd => ";".into(),
            })
            .collect();
        assert_eq!(got.join(" , "), expected, "{input:?}");
    }

    #[test]
    fn address_lists_are_read() {
        check("joe@x.org", "joe@x.org");
        check("Joe <joe@x.org>, <b@c>", "Joe|joe@x.org , b@c");
        check("\"Doe, Joe\" <joe@x.org>", "Doe, Joe|joe@x.org");
        check("Joe Q. Public <joe@x.org>", "Joe Q. Public|joe@x.org");
        check("joe@x.org (Joe)", "Joe|joe@x.org");
        check("\"a b\"@x.org", "a b@x.org");
        // RFC 5322 appendix A.1.3.
        check(
            "A Group:Ed Jones <c@a.test>,joe@where.test;",
            "A Group: , Ed Jones|c@a.test , joe@where.test , ;",
        );
        check("Undisclosed recipients:;", "Undisclosed recipients: , ;");
        check("g: a@b, c@d", "g: , a@b , c@d , ;");
        check("<@a.b,@c.d:joe@x.org>", "@a.b,@c.d:joe@x.org");
        // RFC 5322 appendix A.5 and A.6.3.
        check("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", "Pete|pete@silly.test");
        check(
            "Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example",
            "Mary Smith|@node.test:mary@example.net , jdoe@test.example",
        );
        check("john . smith@x.org", "john.smith@x.org");
        check("a(b(c)d)@(e)x.org (f)", "f|a@x.org");
        check("joe@[192.0.2.1]", "joe@[192.0.2.1]");
        check("", "");
        check(" , ,", "");
        check("<>", "@");
    }

    #[test]
    fn broken_address_lists_are_read_as_far_as_they_make_sense() {
        check("joe", "joe@");
        check("Joe Public", "Joe Public|@");
        check("joe@x.org <joe@y.org>", "joe@x.org|joe@y.org");
        check("Joe <joe@x.org", "Joe|joe@x.org");
        check("Joe <joe@x.org, Ann <ann@x.org>", "Joe|joe@x.org , Ann|ann@x.org");
        check("=?utf-8?Q?Doe,_J?= <j@x>", "=?utf-8?Q?Doe,_J?=|j@x");
        check("Joe <joe@x.org> garbage, b@c", "Joe|joe@x.org , b@c");
        check("\"never closed <joe@x.org>", "never closed <joe@x.org>@");
        check("a@b@c", "a@b");
        check("(((", "");
        check("John smith@x.org", "John|smith@x.org");
        check("a; b@c", "a@ , b@c");
    }

    #[test]
    fn people_see_decoded_names() {
        let got = mailboxes(b"=?utf-8?q?J=C3=BCrgen?= <j@x.org>, g: k@x.org;");
        assert_eq!(got[0], Mailbox { name: Some("J\u{fc}rgen".into()), address: "j@x.org".into() });
        assert_eq!(got[1], Mailbox { name: None, address: "k@x.org".into() });
        assert_eq!(mailboxes(b"\"a b\"@x.org")[0].address, "\"a b\"@x.org");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in "[ -~\r\n]{0,80}") {
            parse(bytes.as_bytes());
        }
        #[test]
        fn groups_are_always_closed(bytes in "[ab@<>:;,\"().]{0,40}") {
            let entries = parse(bytes.as_bytes());
            let open = entries.iter().filter(|e| matches!(e, Entry::GroupStart(_))).count();
            let closed = entries.iter().filter(|e| matches!(e, Entry::GroupEnd)).count();
            prop_assert_eq!(open, closed);
        }
    }
}
