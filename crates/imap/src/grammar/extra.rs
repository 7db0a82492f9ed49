//! ID, METADATA, ACL and NOTIFY (RFC 2971, 5464, 4314, 5465).

use super::cursor::{Cursor, Fault, Parsed, folder_name};
use super::{fetch, list};
use crate::ask::{Change, Depth};
use crate::command::{FetchSpec, NotifyEvents, NotifyFolders, NotifyGroup, NotifySpec, Verb};
use std::collections::BTreeSet;

/// RFC 2971 §3.3: at most 30 fields, names of 30 and values of 1024 octets.
const ID_FIELDS_MAX: usize = 30;
/// Entries one METADATA command may name.
const ENTRIES_MAX: usize = 100;
/// Groups and folders one NOTIFY may name.
const GROUPS_MAX: usize = 50;

pub fn id(c: &mut Cursor<'_>) -> Parsed<Verb> {
    let mut fields = Vec::new();
    if c.eat_word("NIL") {
        return Ok(Verb::Id(fields));
    }
    let mut name: Option<String> = None;
    list(c, |c| {
        match name.take() {
            None => name = Some(lossy(&id_word(c)?.unwrap_or_default(), 30)),
            Some(n) => {
                let value = id_word(c)?.map(|v| lossy(&v, 1024));
                if fields.len() < ID_FIELDS_MAX {
                    fields.push((n, value));
                }
            }
        }
        Ok(())
    })?;
    if name.is_some() { Err(Fault::Bad("ID takes pairs of names and values")) } else { Ok(Verb::Id(fields)) }
}

/// A string or NIL. Thunderbird 102 sends its version without quotation marks, others put commas
/// between the pairs: what a client says of itself is no reason to turn it away.
fn id_word<'a>(c: &mut Cursor<'a>) -> Parsed<Option<std::borrow::Cow<'a, [u8]>>> {
    let word = match c.peek() {
        Some(b'"' | b'{') => Some(c.string()?),
        _ if c.eat_word("NIL") => None,
        _ => Some(c.astring()?),
    };
    c.eat(b',');
    Ok(word)
}

fn lossy(raw: &[u8], most: usize) -> String {
    String::from_utf8_lossy(&raw[..raw.len().min(most)]).into_owned()
}

/// `""` names the server itself.
fn metadata_folder(c: &mut Cursor<'_>) -> Parsed<Option<String>> {
    let raw = c.text()?;
    if raw.is_empty() { Ok(None) } else { folder_name(&raw, c.utf8).map(Some) }
}

/// RFC 5464 §3.2: an entry begins with `/private/` or `/shared/`, has no empty levels, and names
/// are alike in any case.
fn entry(c: &mut Cursor<'_>) -> Parsed<String> {
    let name = c.text()?.to_lowercase();
    let rooted = name.starts_with("/private/") || name.starts_with("/shared/");
    let clean = !name.contains("//") && !name.ends_with('/') && !name.contains(['*', '%']);
    if rooted && clean && name.len() <= 512 {
        Ok(name)
    } else {
        Err(Fault::Bad("a metadata entry is named /private/… or /shared/…"))
    }
}

pub fn get_metadata(c: &mut Cursor<'_>) -> Parsed<Verb> {
    let (mut depth, mut max_size) = (Depth::Zero, None);
    let mut options = |c: &mut Cursor<'_>| {
        list(c, |c| {
            match c.word()?.as_str() {
                "MAXSIZE" => {
                    c.space()?;
                    max_size = Some(c.number64()?);
                }
                "DEPTH" => {
                    c.space()?;
                    depth = match c.word()?.as_str() {
                        "0" => Depth::Zero,
                        "1" => Depth::One,
                        "INFINITY" => Depth::Infinity,
                        _ => return Err(Fault::Bad("DEPTH is 0, 1 or infinity")),
                    };
                }
                _ => return Err(Fault::Bad("this GETMETADATA option is not known here")),
            }
            Ok(())
        })
    };
    // RFC 5464 §4.2 puts the options first; many clients, and its errata, put them after the name.
    let before = c.peek() == Some(b'(');
    if before {
        options(c)?;
        c.space()?;
    }
    let folder = metadata_folder(c)?;
    c.space()?;
    let mut entries = Vec::new();
    if !before && c.rest().starts_with(b"(") && !c.rest().starts_with(b"(/") && !c.rest().starts_with(b"(\"")
    {
        options(c)?;
        c.space()?;
    }
    if c.peek() == Some(b'(') {
        list(c, |c| {
            entries.push(entry(c)?);
            Ok(())
        })?;
    } else {
        entries.push(entry(c)?);
    }
    if entries.is_empty() || entries.len() > ENTRIES_MAX {
        return Err(Fault::Bad("GETMETADATA takes between 1 and 100 entries"));
    }
    Ok(Verb::GetMetadata { folder, entries, depth, max_size })
}

pub fn set_metadata(c: &mut Cursor<'_>) -> Parsed<Verb> {
    let folder = metadata_folder(c)?;
    c.space()?;
    let mut entries = Vec::new();
    let mut name: Option<String> = None;
    list(c, |c| {
        match name.take() {
            None => name = Some(entry(c)?),
            Some(n) => entries.push((n, c.nstring()?.map(|v| v.into_owned()))),
        }
        Ok(())
    })?;
    if name.is_some() || entries.is_empty() || entries.len() > ENTRIES_MAX {
        return Err(Fault::Bad("SETMETADATA takes pairs of entries and values"));
    }
    Ok(Verb::SetMetadata { folder, entries })
}

/// RFC 4314 §3.1, §3.2: `SETACL folder who +lr`, `DELETEACL folder who`.
pub fn set_acl(c: &mut Cursor<'_>, delete: bool) -> Parsed<Verb> {
    let folder = c.folder()?;
    c.space()?;
    let who = c.text()?;
    if delete {
        return Ok(Verb::SetAcl { folder, who, change: Change::Replace, rights: String::new() });
    }
    c.space()?;
    let raw = c.text()?;
    let (change, letters) = match raw.as_bytes().first() {
        Some(b'+') => (Change::Add, &raw[1..]),
        Some(b'-') => (Change::Remove, &raw[1..]),
        _ => (Change::Replace, raw.as_str()),
    };
    Ok(Verb::SetAcl { folder, who, change, rights: rights(letters)? })
}

/// RFC 4314 §2.1, §2.1.1: the old letters `c` and `d` stand for `kx` and `ext`.
fn rights(letters: &str) -> Parsed<String> {
    let mut set = BTreeSet::new();
    for letter in letters.chars() {
        match letter {
            'l' | 'r' | 's' | 'w' | 'i' | 'p' | 'k' | 'x' | 't' | 'e' | 'a' => {
                set.insert(letter);
            }
            'c' => set.extend(['k', 'x']),
            'd' => set.extend(['e', 't']),
            _ => return Err(Fault::Bad("rights are letters out of lrswipkxtea")),
        }
    }
    Ok("lrswipkxtea".chars().filter(|r| set.contains(r)).collect())
}

pub fn notify(c: &mut Cursor<'_>) -> Parsed<Verb> {
    if c.eat_word("NONE") {
        return Ok(Verb::Notify(None));
    }
    if !c.eat_word("SET") {
        return Err(Fault::Bad("NOTIFY takes SET or NONE"));
    }
    let mut spec = NotifySpec::default();
    c.space()?;
    if c.eat_word("STATUS") {
        spec.status = true;
        c.space()?;
    }
    loop {
        spec.groups.push(notify_group(c)?);
        if spec.groups.len() > GROUPS_MAX {
            return Err(Fault::No(crate::ask::Code::Limit, "too many groups in one NOTIFY"));
        }
        if !c.eat(b' ') || c.is_end() {
            break;
        }
    }
    Ok(Verb::Notify(Some(Box::new(spec))))
}

fn notify_group(c: &mut Cursor<'_>) -> Parsed<NotifyGroup> {
    c.need(b'(', "NOTIFY takes groups in parentheses")?;
    let folders = match c.word()?.as_str() {
        "SELECTED" => NotifyFolders::Selected,
        "SELECTED-DELAYED" => NotifyFolders::SelectedDelayed,
        "INBOXES" => NotifyFolders::Inboxes,
        "PERSONAL" => NotifyFolders::Personal,
        "SUBSCRIBED" => NotifyFolders::Subscribed,
        "SUBTREE" => NotifyFolders::Subtree(some_folders(c)?),
        "MAILBOXES" => NotifyFolders::Mailboxes(some_folders(c)?),
        _ => return Err(Fault::Bad("this NOTIFY group is not known here")),
    };
    c.space()?;
    let (mut events, mut fetch) = (NotifyEvents::default(), None);
    if !c.eat_word("NONE") {
        list(c, |c| event(c, &mut events, &mut fetch))?;
    }
    c.need(b')', "a parenthesis ) is missing")?;
    // RFC 5465 §5: MessageNew and MessageExpunge come together; FlagChange needs both.
    if events.message_new != events.message_expunge || (events.flag_change && !events.message_new) {
        return Err(Fault::Bad(
            "NOTIFY takes MessageNew and MessageExpunge together, and both for FlagChange",
        ));
    }
    Ok(NotifyGroup { folders, events, fetch })
}

fn some_folders(c: &mut Cursor<'_>) -> Parsed<Vec<String>> {
    c.space()?;
    let mut names = Vec::new();
    if c.peek() == Some(b'(') {
        list(c, |c| {
            names.push(c.folder()?);
            Ok(())
        })?;
    } else {
        names.push(c.folder()?);
    }
    if names.len() > GROUPS_MAX {
        return Err(Fault::No(crate::ask::Code::Limit, "too many folders in one NOTIFY"));
    }
    Ok(names)
}

fn event(c: &mut Cursor<'_>, events: &mut NotifyEvents, fetch: &mut Option<Box<FetchSpec>>) -> Parsed<()> {
    match c.word()?.as_str() {
        "MESSAGENEW" => {
            events.message_new = true;
            if c.rest().starts_with(b" (") {
                c.space()?;
                *fetch = Some(Box::new(fetch::items(c)?));
            }
        }
        "MESSAGEEXPUNGE" => events.message_expunge = true,
        "FLAGCHANGE" => events.flag_change = true,
        "ANNOTATIONCHANGE" => events.annotation_change = true,
        "MAILBOXNAME" => events.mailbox_name = true,
        "SUBSCRIPTIONCHANGE" => events.subscription_change = true,
        "MAILBOXMETADATACHANGE" => events.mailbox_metadata = true,
        "SERVERMETADATACHANGE" => events.server_metadata = true,
        // RFC 5465 §8: an event we do not know is refused with the list of those we do.
        _ => return Err(Fault::No(crate::ask::Code::Cannot, "BADEVENT")),
    }
    Ok(())
}
