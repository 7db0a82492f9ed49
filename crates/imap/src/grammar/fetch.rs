//! FETCH and STORE (RFC 9051 §6.4.5, §6.4.6; RFC 3516, 7162, 8474, 8514, 8970, 9394).

use super::cursor::{Cursor, Fault, Parsed};
use super::{list, which};
use crate::ask::Change;
use crate::command::{By, FetchItem, FetchSpec, Partial, Section, SectionKind, StoreSpec, Verb};
use crate::flags::FlagNames;

/// Data items one FETCH may name.
const ITEMS_MAX: usize = 500;
/// Levels of a part number such as 1.2.3.
const PART_DEPTH_MAX: usize = 100;

pub fn fetch(c: &mut Cursor<'_>, by: By) -> Parsed<Verb> {
    let which = which(c)?;
    c.space()?;
    let mut spec = items(c)?;
    if c.eat(b' ') && !c.is_end() {
        list(c, |c| modifier(c, &mut spec))?;
    }
    // RFC 7162 §3.2.6: VANISHED needs CHANGEDSINCE and UIDs.
    if spec.vanished && (by == By::Seq || spec.changed_since.is_none()) {
        return Err(Fault::Bad("VANISHED belongs to UID FETCH with CHANGEDSINCE"));
    }
    Ok(Verb::Fetch { by, which, spec: Box::new(spec) })
}

/// One item, a macro, or a list in parentheses. Also used by NOTIFY.
pub fn items(c: &mut Cursor<'_>) -> Parsed<FetchSpec> {
    let mut spec = FetchSpec::default();
    if c.peek() == Some(b'(') {
        list(c, |c| item(c, &mut spec))?;
        if spec.items.is_empty() {
            return Err(Fault::Bad("FETCH needs at least one data item"));
        }
    } else {
        item(c, &mut spec)?;
    }
    Ok(spec)
}

fn modifier(c: &mut Cursor<'_>, spec: &mut FetchSpec) -> Parsed<()> {
    match c.word()?.as_str() {
        "CHANGEDSINCE" => {
            c.space()?;
            spec.changed_since = Some(c.number64()?);
        }
        "VANISHED" => spec.vanished = true,
        "PARTIAL" => {
            c.space()?;
            spec.partial = Some(partial(c)?);
        }
        _ => return Err(Fault::Bad("this FETCH modifier is not known here")),
    }
    Ok(())
}

/// RFC 9394 §3.1: `1:100` or `-1:-100`.
pub fn partial(c: &mut Cursor<'_>) -> Parsed<Partial> {
    let from_end = c.eat(b'-');
    let first = c.number()?;
    c.need(b':', "PARTIAL takes a range such as 1:100")?;
    if c.eat(b'-') != from_end {
        return Err(Fault::Bad("both ends of a PARTIAL range have the same sign"));
    }
    let last = c.number()?;
    if first == 0 || last == 0 {
        return Err(Fault::Bad("PARTIAL counts from 1 or from -1"));
    }
    Ok(Partial { from_end, first: first.min(last), last: first.max(last) })
}

fn item(c: &mut Cursor<'_>, spec: &mut FetchSpec) -> Parsed<()> {
    if spec.items.len() >= ITEMS_MAX {
        return Err(Fault::Bad("too many data items in one FETCH"));
    }
    let name = c.take_while(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-').to_ascii_uppercase();
    let item = match name.as_slice() {
        b"ALL" => return macro_items(spec, 4),
        b"FAST" => return macro_items(spec, 3),
        b"FULL" => return macro_items(spec, 5),
        b"UID" => FetchItem::Uid,
        b"FLAGS" => FetchItem::Flags,
        b"INTERNALDATE" => FetchItem::InternalDate,
        b"RFC822.SIZE" => FetchItem::Size,
        b"ENVELOPE" => FetchItem::Envelope,
        b"BODYSTRUCTURE" => FetchItem::BodyStructure,
        b"MODSEQ" => FetchItem::ModSeq,
        b"SAVEDATE" => FetchItem::SaveDate,
        b"EMAILID" => FetchItem::EmailId,
        b"THREADID" => FetchItem::ThreadId,
        b"PREVIEW" => FetchItem::Preview { lazy: lazy(c)? },
        b"BODY" if c.peek() != Some(b'[') => FetchItem::Body,
        b"BODY" | b"BODY.PEEK" | b"BINARY" | b"BINARY.PEEK" | b"BINARY.SIZE" => {
            return section(c, spec, &name);
        }
        b"RFC822" => return old_section(spec, SectionKind::All, "RFC822"),
        b"RFC822.HEADER" => return old_section(spec, SectionKind::Header, "RFC822.HEADER"),
        b"RFC822.TEXT" => return old_section(spec, SectionKind::Text, "RFC822.TEXT"),
        _ => return Err(Fault::Bad("this FETCH data item is not known here")),
    };
    if !spec.items.contains(&item) {
        spec.items.push(item);
    }
    Ok(())
}

/// RFC 9051 §6.4.5: ALL, FAST and FULL; in a list too, since some clients put them there.
fn macro_items(spec: &mut FetchSpec, count: usize) -> Parsed<()> {
    let full =
        [FetchItem::Flags, FetchItem::InternalDate, FetchItem::Size, FetchItem::Envelope, FetchItem::Body];
    for item in full.into_iter().take(count) {
        if !spec.items.contains(&item) {
            spec.items.push(item);
        }
    }
    Ok(())
}

/// RFC 8970 §3.1: `PREVIEW (LAZY)`.
fn lazy(c: &mut Cursor<'_>) -> Parsed<bool> {
    let mut lazy = false;
    if c.rest().starts_with(b" (") {
        let mut ahead = Cursor::new(&c.rest()[2..], c.utf8);
        if ahead.eat_word("LAZY") {
            c.space()?;
            list(c, |c| {
                lazy = c.eat_word("LAZY");
                if lazy { Ok(()) } else { Err(Fault::Bad("the only PREVIEW modifier is LAZY")) }
            })?;
        }
    }
    Ok(lazy)
}

/// RFC 3501 §6.4.5: RFC822 and RFC822.TEXT set \Seen, RFC822.HEADER does not.
fn old_section(spec: &mut FetchSpec, kind: SectionKind, label: &str) -> Parsed<()> {
    spec.marks_seen |= kind != SectionKind::Header;
    push(spec, Section { part: Vec::new(), kind, partial: None }, label.into());
    Ok(())
}

fn push(spec: &mut FetchSpec, section: Section, label: String) {
    let index = spec.sections.len();
    let item = FetchItem::Section { index, label };
    let known = |i: &FetchItem| matches!((i, &item), (FetchItem::Section { label: a, .. }, FetchItem::Section { label: b, .. }) if a == b);
    if !spec.items.iter().any(known) {
        spec.sections.push(section);
        spec.items.push(item);
    }
}

fn section(c: &mut Cursor<'_>, spec: &mut FetchSpec, name: &[u8]) -> Parsed<()> {
    const BAD: &str = "a section is broken: write BODY[1.2.HEADER] or BODY[TEXT]<0.1000>";
    c.need(b'[', BAD)?;
    let part = part_number(c)?;
    let binary = name.starts_with(b"BINARY");
    let kind = match (binary, name.ends_with(b".SIZE")) {
        (true, true) => SectionKind::BinarySize,
        (true, false) => SectionKind::Binary,
        _ => section_kind(c, &part)?,
    };
    c.need(b']', BAD)?;
    let partial = if c.eat(b'<') {
        let offset = c.number64()?;
        c.need(b'.', BAD)?;
        let most = c.number64()?;
        c.need(b'>', BAD)?;
        if most == 0 || kind == SectionKind::BinarySize {
            return Err(Fault::Bad(BAD));
        }
        Some((offset, most))
    } else {
        None
    };
    spec.marks_seen |= !name.ends_with(b".PEEK") && kind != SectionKind::BinarySize;
    let section = Section { part, kind, partial };
    let label = label(&section);
    push(spec, section, label);
    Ok(())
}

fn part_number(c: &mut Cursor<'_>) -> Parsed<Vec<u32>> {
    let mut part = Vec::new();
    while c.peek().is_some_and(|b| b.is_ascii_digit()) {
        let n = c.number()?;
        if n == 0 || part.len() >= PART_DEPTH_MAX {
            return Err(Fault::Bad("a part number is broken"));
        }
        part.push(n);
        if !c.eat(b'.') {
            break;
        }
    }
    Ok(part)
}

fn section_kind(c: &mut Cursor<'_>, part: &[u32]) -> Parsed<SectionKind> {
    let word = c.take_while(|b| b.is_ascii_alphabetic() || b == b'.').to_ascii_uppercase();
    Ok(match word.as_slice() {
        b"" => SectionKind::All,
        b"HEADER" => SectionKind::Header,
        b"TEXT" => SectionKind::Text,
        b"MIME" if !part.is_empty() => SectionKind::Mime,
        b"HEADER.FIELDS" | b"HEADER.FIELDS.NOT" => {
            c.space()?;
            let mut names = Vec::new();
            list(c, |c| {
                names.push(String::from_utf8_lossy(&c.astring()?).into_owned());
                Ok(())
            })?;
            if names.is_empty() {
                return Err(Fault::Bad("HEADER.FIELDS needs at least one field name"));
            }
            SectionKind::Fields { names, not: word.ends_with(b".NOT") }
        }
        _ => return Err(Fault::Bad("this section is not known here")),
    })
}

/// What the answer calls this section: as asked, without PEEK and without the greatest length.
fn label(section: &Section) -> String {
    let mut label = match section.kind {
        SectionKind::Binary => "BINARY[",
        SectionKind::BinarySize => "BINARY.SIZE[",
        _ => "BODY[",
    }
    .to_owned();
    let parts: Vec<String> = section.part.iter().map(u32::to_string).collect();
    label.push_str(&parts.join("."));
    let mut tail = String::new();
    match &section.kind {
        SectionKind::Header => tail.push_str("HEADER"),
        SectionKind::Text => tail.push_str("TEXT"),
        SectionKind::Mime => tail.push_str("MIME"),
        SectionKind::Fields { names, not } => {
            tail.push_str(if *not { "HEADER.FIELDS.NOT (" } else { "HEADER.FIELDS (" });
            let mut out = Vec::new();
            for (n, name) in names.iter().enumerate() {
                if n > 0 {
                    out.push(b' ');
                }
                crate::wire::write::astring(&mut out, name.as_bytes(), false);
            }
            tail.push_str(&String::from_utf8_lossy(&out));
            tail.push(')');
        }
        _ => {}
    }
    if !parts.is_empty() && !tail.is_empty() {
        label.push('.');
    }
    label.push_str(&tail);
    label.push(']');
    if let Some((offset, _)) = section.partial {
        label.push_str(&format!("<{offset}>"));
    }
    label
}

pub fn store(c: &mut Cursor<'_>, by: By) -> Parsed<Verb> {
    let which = which(c)?;
    c.space()?;
    let mut unchanged_since = None;
    if c.peek() == Some(b'(') {
        list(c, |c| {
            if !c.eat_word("UNCHANGEDSINCE") {
                return Err(Fault::Bad("this STORE modifier is not known here"));
            }
            c.space()?;
            unchanged_since = Some(c.number64()?);
            Ok(())
        })?;
        c.space()?;
    }
    let change = if c.eat(b'+') {
        Change::Add
    } else if c.eat(b'-') {
        Change::Remove
    } else {
        Change::Replace
    };
    let silent = match c.word()?.as_str() {
        "FLAGS" => false,
        "FLAGS.SILENT" => true,
        _ => return Err(Fault::Bad("STORE can change FLAGS only")),
    };
    c.space()?;
    let flags = flags(c)?;
    Ok(Verb::Store { by, which, spec: Box::new(StoreSpec { change, silent, flags, unchanged_since }) })
}

/// A list in parentheses, or flags one after another.
fn flags(c: &mut Cursor<'_>) -> Parsed<FlagNames> {
    let mut names = FlagNames::default();
    let mut add = |c: &mut Cursor<'_>| {
        let name = flag_name(c)?;
        names.add(&name).map_err(|_| Fault::Bad("no client can set this flag"))
    };
    if c.peek() == Some(b'(') {
        list(c, add)?;
    } else {
        add(c)?;
        while c.eat(b' ') && !c.is_end() {
            add(c)?;
        }
    }
    Ok(names)
}

/// `\Seen` or a keyword.
pub fn flag_name(c: &mut Cursor<'_>) -> Parsed<String> {
    let system = c.eat(b'\\');
    let name = c.atom()?;
    Ok(if system { format!("\\{name}") } else { name.to_owned() })
}
