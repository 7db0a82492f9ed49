//! APPEND and REPLACE up to a message's literal (RFC 9051 §6.3.12, RFC 3502, RFC 8508).

use super::cursor::{Cursor, Fault, Parsed};
use super::{list, tag, which};
use crate::command::{AppendHead, By, Verb, Which};
use crate::wire::read;

/// The text before a command's first message.
pub struct Opening {
    pub tag: String,
    /// [`Verb::Append`] or [`Verb::Replace`].
    pub verb: Verb,
    pub head: AppendHead,
}

/// Whether the literal announced at the end of `text` (which ends with CRLF) holds a message. If
/// it does not, it is an argument.
pub fn announces_message(text: &[u8]) -> bool {
    let Some(line) = text.strip_suffix(b"\r\n") else { return false };
    let Some((_, at)) = read::announced(line) else { return false };
    let mut c = Cursor::new(&line[..at], true);
    let Some(_) = tag(&mut c) else { return false };
    let Ok(word) = c.word() else { return false };
    let word = if word == "UID" && c.eat(b' ') { c.word().unwrap_or_default() } else { word };
    let before_folder = match word.as_str() {
        "APPEND" => c.eat(b' '),
        "REPLACE" => c.eat(b' ') && which(&mut c).is_ok() && c.eat(b' '),
        _ => return false,
    };
    // A literal standing where the folder's name belongs is the name.
    !before_folder || !c.is_end()
}

/// Reads the opening; `text` ends with the literal's announcement and CRLF.
pub fn opening(text: &[u8], utf8: bool) -> Result<Opening, super::Unreadable> {
    let mut c = Cursor::new(text, utf8);
    let tag = tag(&mut c).unwrap_or_else(|| "*".into());
    match verb_and_head(&mut c) {
        Ok((verb, head)) => Ok(Opening { tag, verb, head }),
        Err(fault) => Err(super::Unreadable { tag, fault }),
    }
}

fn verb_and_head(c: &mut Cursor<'_>) -> Parsed<(Verb, AppendHead)> {
    let word = c.word()?;
    c.space()?;
    let (word, by) = if word == "UID" {
        let word = c.word()?;
        c.space()?;
        (word, By::Uid)
    } else {
        (word, By::Seq)
    };
    let verb = if word == "REPLACE" {
        let which = which(c)?;
        // RFC 8508 §3.1: REPLACE takes one message.
        if !matches!(&which, Which::Set(set) if set.0.len() == 1 && set.0[0].0 == set.0[0].1) {
            return Err(Fault::Bad("REPLACE takes exactly one message"));
        }
        c.space()?;
        Verb::Replace { by, which, folder: c.folder()? }
    } else {
        Verb::Append { folder: c.folder()? }
    };
    let head = head(c)?;
    Ok((verb, head))
}

/// ` (flags) "date" ` and the announcement.
pub fn head(c: &mut Cursor<'_>) -> Parsed<AppendHead> {
    let mut head = AppendHead::default();
    c.space()?;
    if c.peek() == Some(b'(') {
        list(c, |c| {
            let name = super::fetch::flag_name(c)?;
            // \Recent in an APPEND is left out rather than refused: old clients copy it along.
            if name.eq_ignore_ascii_case("\\Recent") {
                return Ok(());
            }
            head.flags.add(&name).map_err(|_| Fault::Bad("no client can set this flag"))
        })?;
        c.space()?;
    }
    if c.peek() == Some(b'"') {
        head.date = Some(c.date_time()?);
        c.space()?;
    }
    if c.eat_word("CATENATE") {
        return Err(Fault::Bad("CATENATE is not offered here"));
    }
    if c.eat_word("UTF8") {
        c.space()?;
        c.need(b'(', "UTF8 takes a literal in parentheses")?;
        head.utf8 = true;
    }
    let rest = c.rest().strip_suffix(b"\r\n").unwrap_or(c.rest());
    match read::announced(rest) {
        Some((_, 0)) => Ok(head),
        _ => Err(Fault::Bad("APPEND needs a message as a literal")),
    }
}
