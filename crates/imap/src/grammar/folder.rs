//! Commands about folders: SELECT, CREATE, LIST in all its forms, STATUS
//! (RFC 9051 §6.3; RFC 5258, 5819, 6154, 7162).

use super::cursor::{Cursor, Fault, Parsed};

use crate::ask::{SpecialUse, StatusItems};
use crate::command::{ListSpec, ListStyle, Resync, SelectParams, Verb};

/// Patterns one LIST may name.
const PATTERNS_MAX: usize = 100;

pub fn select(c: &mut Cursor<'_>, read_only: bool) -> Parsed<Verb> {
    let folder = c.folder()?;
    let mut params = SelectParams::default();
    if c.eat(b' ') && !c.is_end() {
        super::list(c, |c| {
            match c.word()?.as_str() {
                "CONDSTORE" => params.condstore = true,
                "QRESYNC" => {
                    c.space()?;
                    params.resync = Some(resync(c)?);
                }
                _ => return Err(Fault::Bad("this SELECT parameter is not known here")),
            }
            Ok(())
        })?;
    }
    Ok(Verb::Select { folder, read_only, params })
}

/// RFC 7162 §3.2.5: `(uidvalidity modseq [known-uids [(seqs uids)]])`. The last pair only helps
/// servers that forget expunged messages early; it is checked and not used.
fn resync(c: &mut Cursor<'_>) -> Parsed<Resync> {
    c.need(b'(', "QRESYNC takes a list in parentheses")?;
    let uid_validity = c.number()?;
    c.space()?;
    let modseq = c.number64()?;
    if uid_validity == 0 {
        return Err(Fault::Bad("UIDVALIDITY is never 0"));
    }
    let mut resync = Resync { uid_validity, modseq, known: None };
    if c.eat(b' ') && c.peek() != Some(b'(') {
        resync.known = Some(c.seq_set()?);
        c.eat(b' ');
    }
    if c.eat(b'(') {
        c.seq_set()?;
        c.space()?;
        c.seq_set()?;
        c.need(b')', "a parenthesis ) is missing")?;
    }
    c.need(b')', "a parenthesis ) is missing")?;
    Ok(resync)
}

pub fn create(c: &mut Cursor<'_>) -> Parsed<Verb> {
    let folder = c.folder()?;
    let mut special_use = Vec::new();
    if c.eat(b' ') && !c.is_end() {
        c.need(b'(', "CREATE takes its parameters in parentheses")?;
        if !c.eat_word("USE") {
            return Err(Fault::Bad("this CREATE parameter is not known here"));
        }
        c.space()?;
        super::list(c, |c| {
            let name = super::fetch::flag_name(c)?;
            // RFC 6154 §3: a use that cannot be had is refused with NO [USEATTR].
            let no = Fault::No(crate::ask::Code::UseAttr, "this special use is not offered here");
            special_use.push(special(&name).ok_or(no)?);
            Ok(())
        })?;
        c.need(b')', "a parenthesis ) is missing")?;
    }
    Ok(Verb::Create { folder, special_use })
}

const USES: [(&str, SpecialUse); 8] = [
    ("\\All", SpecialUse::All),
    ("\\Archive", SpecialUse::Archive),
    ("\\Drafts", SpecialUse::Drafts),
    ("\\Flagged", SpecialUse::Flagged),
    ("\\Junk", SpecialUse::Junk),
    ("\\Sent", SpecialUse::Sent),
    ("\\Trash", SpecialUse::Trash),
    ("\\Important", SpecialUse::Important),
];

fn special(name: &str) -> Option<SpecialUse> {
    USES.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, special)| *special)
}

impl SpecialUse {
    /// RFC 6154 §2: `\Sent`.
    pub fn name(self) -> &'static str {
        USES.iter().find(|(_, special)| *special == self).map_or("", |(n, _)| n)
    }
}

pub fn list(c: &mut Cursor<'_>) -> Parsed<Verb> {
    let mut spec = ListSpec::default();
    if c.peek() == Some(b'(') {
        spec.extended = true;
        super::list(c, |c| selection(c, &mut spec))?;
        c.space()?;
        // RFC 5258 §3.1: RECURSIVEMATCH modifies another option and cannot stand alone.
        if spec.recursive_match && !spec.only_subscribed && !spec.only_special {
            return Err(Fault::Bad("RECURSIVEMATCH needs another selection option beside it"));
        }
    }
    spec.reference = c.pattern()?;
    c.space()?;
    if c.peek() == Some(b'(') {
        spec.extended = true;
        super::list(c, |c| {
            if spec.patterns.len() >= PATTERNS_MAX {
                return Err(Fault::Bad("too many patterns in one LIST"));
            }
            spec.patterns.push(c.pattern()?);
            Ok(())
        })?;
    } else {
        spec.patterns.push(c.pattern()?);
    }
    if c.eat(b' ') && !c.is_end() {
        if !c.eat_word("RETURN") {
            return Err(Fault::Bad("after the pattern LIST takes RETURN (…)"));
        }
        spec.extended = true;
        c.space()?;
        super::list(c, |c| returns(c, &mut spec))?;
    }
    Ok(Verb::List(Box::new(spec)))
}

fn selection(c: &mut Cursor<'_>, spec: &mut ListSpec) -> Parsed<()> {
    match c.word()?.as_str() {
        "SUBSCRIBED" => spec.only_subscribed = true,
        "REMOTE" => spec.remote = true,
        "RECURSIVEMATCH" => spec.recursive_match = true,
        "SPECIAL-USE" => spec.only_special = true,
        _ => return Err(Fault::Bad("this LIST selection option is not known here")),
    }
    Ok(())
}

fn returns(c: &mut Cursor<'_>, spec: &mut ListSpec) -> Parsed<()> {
    match c.word()?.as_str() {
        "SUBSCRIBED" => spec.return_subscribed = true,
        "CHILDREN" => spec.return_children = true,
        "SPECIAL-USE" => spec.return_special = true,
        "STATUS" => {
            c.space()?;
            spec.return_status = Some(status_items(c)?);
        }
        _ => return Err(Fault::Bad("this LIST return option is not known here")),
    }
    Ok(())
}

pub fn old_list(c: &mut Cursor<'_>, style: ListStyle) -> Parsed<Verb> {
    let reference = c.pattern()?;
    c.space()?;
    let patterns = vec![c.pattern()?];
    let only_subscribed = style == ListStyle::Lsub;
    Ok(Verb::List(Box::new(ListSpec { style, reference, patterns, only_subscribed, ..ListSpec::default() })))
}

pub fn status(c: &mut Cursor<'_>) -> Parsed<Verb> {
    let folder = c.folder()?;
    c.space()?;
    Ok(Verb::Status { folder, items: status_items(c)? })
}

pub fn status_items(c: &mut Cursor<'_>) -> Parsed<StatusItems> {
    let mut items = StatusItems::default();
    super::list(c, |c| {
        items = items.with(match c.word()?.as_str() {
            "MESSAGES" => StatusItems::MESSAGES,
            "UIDNEXT" => StatusItems::UID_NEXT,
            "UIDVALIDITY" => StatusItems::UID_VALIDITY,
            "UNSEEN" => StatusItems::UNSEEN,
            "DELETED" => StatusItems::DELETED,
            "DELETED-STORAGE" => StatusItems::DELETED_STORAGE,
            "SIZE" => StatusItems::SIZE,
            "RECENT" => StatusItems::RECENT,
            "HIGHESTMODSEQ" => StatusItems::HIGHEST_MODSEQ,
            "MAILBOXID" => StatusItems::MAILBOX_ID,
            "APPENDLIMIT" => StatusItems::APPEND_LIMIT,
            _ => return Err(Fault::Bad("this STATUS item is not known here")),
        });
        Ok(())
    })?;
    if items == StatusItems::default() {
        return Err(Fault::Bad("STATUS needs at least one item"));
    }
    Ok(items)
}
