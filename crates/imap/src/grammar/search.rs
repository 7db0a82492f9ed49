//! SEARCH, SORT, THREAD (RFC 9051 §6.4.4; RFC 4731, 5032, 5182, 5256, 5957, 7162, 8514, 9394).

use super::cursor::{Cursor, Fault, Parsed, utf8_of};
use super::{fetch, list};
use crate::command::{By, Returns, SearchKey, SearchSpec, SortBy, SortKey, ThreadBy, Verb};
use crate::flags::Flags;

/// How deep NOT, OR and parentheses may nest.
pub const DEPTH_MAX: u32 = 60;
/// Keys in one search.
const KEYS_MAX: u32 = 5_000;

struct Keys {
    modseq: bool,
    count: u32,
    /// Strings are in a charset we do not read: anything goes, the command is refused anyway.
    bad_charset: bool,
}

pub fn search(c: &mut Cursor<'_>, by: By) -> Parsed<Verb> {
    let returns = returns(c)?;
    let mut bad_charset = false;
    if c.eat_word("CHARSET") {
        c.space()?;
        bad_charset = charset(c)?;
        c.space()?;
    }
    finish(c, by, SearchSpec { returns, bad_charset, ..blank() })
}

pub fn sort(c: &mut Cursor<'_>, by: By) -> Parsed<Verb> {
    let returns = returns(c)?;
    let mut keys = Vec::new();
    list(c, |c| {
        let mut word = c.word()?;
        let reverse = word == "REVERSE";
        if reverse {
            c.space()?;
            word = c.word()?;
        }
        let by = match word.as_str() {
            "ARRIVAL" => SortBy::Arrival,
            "CC" => SortBy::Cc,
            "DATE" => SortBy::Date,
            "FROM" => SortBy::From,
            "SIZE" => SortBy::Size,
            "SUBJECT" => SortBy::Subject,
            "TO" => SortBy::To,
            "DISPLAYFROM" => SortBy::DisplayFrom,
            "DISPLAYTO" => SortBy::DisplayTo,
            _ => return Err(Fault::Bad("this sort key is not known here")),
        };
        keys.push(SortKey { reverse, by });
        Ok(())
    })?;
    if keys.is_empty() || keys.len() > 20 {
        return Err(Fault::Bad("SORT takes between 1 and 20 keys"));
    }
    c.space()?;
    let bad_charset = charset(c)?;
    c.space()?;
    finish(c, by, SearchSpec { returns, bad_charset, sort: Some(keys), ..blank() })
}

pub fn thread(c: &mut Cursor<'_>, by: By) -> Parsed<Verb> {
    let thread = match c.word()?.as_str() {
        "ORDEREDSUBJECT" => ThreadBy::OrderedSubject,
        "REFERENCES" => ThreadBy::References,
        _ => return Err(Fault::Bad("threading goes by ORDEREDSUBJECT or REFERENCES")),
    };
    c.space()?;
    let bad_charset = charset(c)?;
    c.space()?;
    finish(c, by, SearchSpec { bad_charset, thread: Some(thread), ..blank() })
}

fn blank() -> SearchSpec {
    SearchSpec {
        key: SearchKey::All,
        returns: None,
        sort: None,
        thread: None,
        modseq: false,
        bad_charset: false,
    }
}

fn finish(c: &mut Cursor<'_>, by: By, mut spec: SearchSpec) -> Parsed<Verb> {
    let mut keys = Keys { modseq: false, count: 0, bad_charset: spec.bad_charset };
    spec.key = all_of(c, &mut keys, 0, false)?;
    spec.modseq = keys.modseq;
    Ok(Verb::Search { by, spec: Box::new(spec) })
}

/// True if the charset is one we cannot read.
fn charset(c: &mut Cursor<'_>) -> Parsed<bool> {
    let name = String::from_utf8_lossy(&c.astring()?).to_ascii_uppercase();
    Ok(!matches!(name.as_str(), "UTF-8" | "US-ASCII" | "ASCII" | "UTF8"))
}

fn returns(c: &mut Cursor<'_>) -> Parsed<Option<Returns>> {
    if !c.eat_word("RETURN") {
        return Ok(None);
    }
    c.space()?;
    let mut returns = Returns::default();
    list(c, |c| {
        match c.word()?.as_str() {
            "MIN" => returns.min = true,
            "MAX" => returns.max = true,
            "ALL" => returns.all = true,
            "COUNT" => returns.count = true,
            "SAVE" => returns.save = true,
            "PARTIAL" => {
                c.space()?;
                returns.partial = Some(fetch::partial(c)?);
            }
            _ => return Err(Fault::Bad("this RETURN option is not known here")),
        }
        Ok(())
    })?;
    // RFC 9394 §3.1: PARTIAL and ALL exclude each other.
    if returns.partial.is_some() && returns.all {
        return Err(Fault::Bad("RETURN takes ALL or PARTIAL, not both"));
    }
    // RFC 4731 §3.1: an empty list means ALL.
    if returns == Returns::default() {
        returns.all = true;
    }
    c.space()?;
    Ok(Some(returns))
}

/// Keys side by side, all of which must hold.
fn all_of(c: &mut Cursor<'_>, keys: &mut Keys, depth: u32, inner: bool) -> Parsed<SearchKey> {
    c.skip_spaces();
    let mut all = vec![key(c, keys, depth)?];
    loop {
        if inner && c.rest().trim_ascii_start().starts_with(b")") {
            c.skip_spaces();
            c.eat(b')');
            break;
        }
        if !inner && (c.is_end() || c.rest().iter().all(|&b| b == b' ')) {
            break;
        }
        c.space()?;
        all.push(key(c, keys, depth)?);
    }
    let only = if all.len() == 1 { all.pop() } else { None };
    Ok(only.unwrap_or(SearchKey::And(all)))
}

fn key(c: &mut Cursor<'_>, keys: &mut Keys, depth: u32) -> Parsed<SearchKey> {
    keys.count += 1;
    if depth > DEPTH_MAX || keys.count > KEYS_MAX {
        return Err(Fault::No(crate::ask::Code::Limit, "this search is too deep or has too many keys"));
    }
    match c.peek() {
        Some(b'(') => {
            c.eat(b'(');
            return all_of(c, keys, depth + 1, true);
        }
        Some(b'$') => {
            c.eat(b'$');
            return Ok(SearchKey::Saved);
        }
        Some(b'0'..=b'9' | b'*') => return c.seq_set().map(SearchKey::Seqs),
        _ => {}
    }
    let word = c.word()?;
    if let Some(simple) = simple(&word) {
        return Ok(simple);
    }
    c.space()?;
    match word.as_str() {
        "NOT" => Ok(SearchKey::Not(Box::new(key(c, keys, depth + 1)?))),
        "OR" => {
            let left = key(c, keys, depth + 1)?;
            c.space()?;
            Ok(SearchKey::Or(Box::new(left), Box::new(key(c, keys, depth + 1)?)))
        }
        "MODSEQ" => {
            keys.modseq = true;
            modseq(c)
        }
        _ => with_argument(&word, c, keys),
    }
}

fn simple(word: &str) -> Option<SearchKey> {
    Some(match word {
        "ALL" => SearchKey::All,
        "ANSWERED" => SearchKey::Has(Flags::ANSWERED),
        "DELETED" => SearchKey::Has(Flags::DELETED),
        "DRAFT" => SearchKey::Has(Flags::DRAFT),
        "FLAGGED" => SearchKey::Has(Flags::FLAGGED),
        "SEEN" => SearchKey::Has(Flags::SEEN),
        "UNANSWERED" => SearchKey::Lacks(Flags::ANSWERED),
        "UNDELETED" => SearchKey::Lacks(Flags::DELETED),
        "UNDRAFT" => SearchKey::Lacks(Flags::DRAFT),
        "UNFLAGGED" => SearchKey::Lacks(Flags::FLAGGED),
        "UNSEEN" => SearchKey::Lacks(Flags::SEEN),
        "RECENT" => SearchKey::Recent,
        "OLD" => SearchKey::Not(Box::new(SearchKey::Recent)),
        "NEW" => SearchKey::And(vec![SearchKey::Recent, SearchKey::Lacks(Flags::SEEN)]),
        "SAVEDATESUPPORTED" => SearchKey::SaveDateSupported,
        _ => return None,
    })
}

fn with_argument(word: &str, c: &mut Cursor<'_>, keys: &Keys) -> Parsed<SearchKey> {
    let text = |c: &mut Cursor<'_>| {
        let raw = c.astring()?;
        if keys.bad_charset { Ok(String::from_utf8_lossy(&raw).into_owned()) } else { utf8_of(raw) }
    };
    Ok(match word {
        "BCC" => SearchKey::Bcc(text(c)?),
        "BODY" => SearchKey::Body(text(c)?),
        "CC" => SearchKey::Cc(text(c)?),
        "FROM" => SearchKey::From(text(c)?),
        "SUBJECT" => SearchKey::Subject(text(c)?),
        "TEXT" => SearchKey::Text(text(c)?),
        "TO" => SearchKey::To(text(c)?),
        "HEADER" => {
            let name = text(c)?;
            c.space()?;
            SearchKey::Header { name, text: text(c)? }
        }
        "KEYWORD" => SearchKey::Keyword(c.atom()?.to_owned()),
        "UNKEYWORD" => SearchKey::Unkeyword(c.atom()?.to_owned()),
        "BEFORE" => SearchKey::Before(c.date()?),
        "ON" => SearchKey::On(c.date()?),
        "SINCE" => SearchKey::Since(c.date()?),
        "SENTBEFORE" => SearchKey::SentBefore(c.date()?),
        "SENTON" => SearchKey::SentOn(c.date()?),
        "SENTSINCE" => SearchKey::SentSince(c.date()?),
        "SAVEDBEFORE" => SearchKey::SavedBefore(c.date()?),
        "SAVEDON" => SearchKey::SavedOn(c.date()?),
        "SAVEDSINCE" => SearchKey::SavedSince(c.date()?),
        "LARGER" => SearchKey::Larger(c.number64()?),
        "SMALLER" => SearchKey::Smaller(c.number64()?),
        "OLDER" => SearchKey::Older(interval(c)?),
        "YOUNGER" => SearchKey::Younger(interval(c)?),
        "UID" if c.eat(b'$') => SearchKey::Saved,
        "UID" => SearchKey::UidSeqs(c.seq_set()?),
        "EMAILID" => SearchKey::EmailId(text(c)?),
        "THREADID" => SearchKey::ThreadId(text(c)?),
        _ => return Err(Fault::Bad("this search key is not known here")),
    })
}

/// RFC 5032 §3: seconds, not zero.
fn interval(c: &mut Cursor<'_>) -> Parsed<u64> {
    match c.number64()? {
        0 => Err(Fault::Bad("OLDER and YOUNGER take at least one second")),
        n => Ok(n),
    }
}

/// RFC 7162 §3.1.5: `MODSEQ ["/flags/\\draft" all] 620162338`; mod-sequences are per message
/// here, so the flag's name changes nothing.
fn modseq(c: &mut Cursor<'_>) -> Parsed<SearchKey> {
    if c.peek() == Some(b'"') {
        c.string()?;
        c.space()?;
        match c.word()?.as_str() {
            "PRIV" | "SHARED" | "ALL" => c.space()?,
            _ => return Err(Fault::Bad("after the flag's name MODSEQ takes priv, shared or all")),
        }
    }
    c.number64().map(SearchKey::ModSeq)
}
