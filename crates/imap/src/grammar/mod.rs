//! From a command's text to a [`Command`]. Pure: the same text gives the same command.
//!
//! Begin with [`parse`]; each family of commands has a file.

pub mod append;
pub mod cursor;
mod extra;
mod fetch;
mod folder;
mod search;

pub use cursor::{Cursor, Fault, Parsed, canonical};
pub use search::DEPTH_MAX;

use crate::command::{By, Command, Verb, Which};
use crate::wire::write;
use stdx::Secret;

/// A command that cannot be understood; the tag is `*` if not even that could be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub tag: String,
    pub fault: Fault,
}

/// Reads one command. `utf8` tells how folder names are spelt.
pub fn parse(text: &[u8], utf8: bool) -> Result<Command, Unreadable> {
    let mut c = Cursor::new(text, utf8);
    let tag = match tag(&mut c) {
        Some(tag) => tag,
        None => {
            let fault = Fault::Bad("a command begins with a tag, a space and its name");
            return Err(Unreadable { tag: "*".into(), fault });
        }
    };
    match verb(&mut c) {
        Ok(verb) => Ok(Command { tag, verb }),
        Err(fault) => Err(Unreadable { tag, fault }),
    }
}

/// RFC 9051 §9 `tag`: ASTRING-CHARs without `+`.
pub fn tag(c: &mut Cursor<'_>) -> Option<String> {
    let tag = c.take_while(|b| write::is_astring_char(b) && b != b'+');
    let fits = !tag.is_empty() && tag.len() <= 200 && c.eat(b' ');
    fits.then(|| String::from_utf8_lossy(tag).into_owned())
}

fn verb(c: &mut Cursor<'_>) -> Parsed<Verb> {
    let word = c.word().map_err(|_| Fault::Bad("the command's name is missing"))?;
    let verb = match word.as_str() {
        "CAPABILITY" => Verb::Capability,
        "NOOP" => Verb::Noop,
        "LOGOUT" => Verb::Logout,
        "STARTTLS" => Verb::StartTls,
        "UNAUTHENTICATE" => Verb::Unauthenticate,
        "NAMESPACE" => Verb::Namespace,
        "IDLE" => Verb::Idle,
        "CHECK" => Verb::Check,
        "CLOSE" => Verb::Close,
        "UNSELECT" => Verb::Unselect,
        "EXPUNGE" => Verb::Expunge(None),
        _ => {
            c.space().map_err(|_| no_arguments(&word))?;
            return with_arguments(&word, c);
        }
    };
    c.end()?;
    Ok(verb)
}

fn no_arguments(word: &str) -> Fault {
    const KNOWN: &[&str] = &[
        "LOGIN",
        "SELECT",
        "EXAMINE",
        "FETCH",
        "STORE",
        "SEARCH",
        "UID",
        "LIST",
        "STATUS",
        "APPEND",
        "CREATE",
        "DELETE",
        "RENAME",
        "COPY",
        "MOVE",
        "ID",
        "ENABLE",
        "AUTHENTICATE",
    ];
    if KNOWN.contains(&word) {
        Fault::Bad("the command's arguments are missing")
    } else {
        Fault::Bad("this command is not known here")
    }
}

fn with_arguments(word: &str, c: &mut Cursor<'_>) -> Parsed<Verb> {
    let verb = match word {
        "LOGIN" => {
            let user = c.text()?;
            c.space()?;
            Verb::Login { user, password: Secret::new(c.text()?) }
        }
        "AUTHENTICATE" => authenticate(c)?,
        "ENABLE" => Verb::Enable(words(c)?),
        "ID" => extra::id(c)?,
        "SELECT" => folder::select(c, false)?,
        "EXAMINE" => folder::select(c, true)?,
        "CREATE" => folder::create(c)?,
        "DELETE" => Verb::Delete { folder: c.folder()? },
        "RENAME" => {
            let from = c.folder()?;
            c.space()?;
            Verb::Rename { from, to: c.folder()? }
        }
        "SUBSCRIBE" => Verb::Subscribe { folder: c.folder()?, on: true },
        "UNSUBSCRIBE" => Verb::Subscribe { folder: c.folder()?, on: false },
        "LIST" => folder::list(c)?,
        "LSUB" => folder::old_list(c, crate::command::ListStyle::Lsub)?,
        "XLIST" => folder::old_list(c, crate::command::ListStyle::Xlist)?,
        "STATUS" => folder::status(c)?,
        "COMPRESS" => match c.word()?.as_str() {
            "DEFLATE" => Verb::Compress,
            _ => return Err(Fault::Bad("the only compression is DEFLATE")),
        },
        "NOTIFY" => extra::notify(c)?,
        "UID" => {
            let word = c.word()?;
            c.space()?;
            by(&word, By::Uid, c)?
        }
        "GETQUOTA" => Verb::GetQuota(c.text()?),
        "GETQUOTAROOT" => Verb::GetQuotaRoot(c.folder()?),
        "SETQUOTA" => {
            c.take_while(|_| true);
            Verb::SetQuota
        }
        "GETMETADATA" => extra::get_metadata(c)?,
        "SETMETADATA" => extra::set_metadata(c)?,
        "GETACL" => Verb::GetAcl(c.folder()?),
        "SETACL" | "DELETEACL" => extra::set_acl(c, word == "DELETEACL")?,
        "LISTRIGHTS" => {
            let folder = c.folder()?;
            c.space()?;
            Verb::ListRights { folder, who: c.text()? }
        }
        "MYRIGHTS" => Verb::MyRights(c.folder()?),
        "APPEND" => return Err(Fault::Bad("APPEND needs a message as a literal")),
        _ => by(word, By::Seq, c)?,
    };
    c.end()?;
    Ok(verb)
}

/// Commands that exist with sequence numbers and with UIDs.
fn by(word: &str, by: By, c: &mut Cursor<'_>) -> Parsed<Verb> {
    Ok(match (word, by) {
        ("FETCH", _) => fetch::fetch(c, by)?,
        ("STORE", _) => fetch::store(c, by)?,
        ("SEARCH", _) => search::search(c, by)?,
        ("SORT", _) => search::sort(c, by)?,
        ("THREAD", _) => search::thread(c, by)?,
        ("COPY" | "MOVE", _) => {
            let which = which(c)?;
            c.space()?;
            Verb::Copy { by, which, to: c.folder()?, remove: word == "MOVE" }
        }
        ("EXPUNGE", By::Uid) => Verb::Expunge(Some(which(c)?)),
        ("REPLACE", _) => return Err(Fault::Bad("REPLACE needs a message as a literal")),
        _ => return Err(Fault::Bad("this command is not known here")),
    })
}

/// A set of messages or `$` (RFC 5182).
pub fn which(c: &mut Cursor<'_>) -> Parsed<Which> {
    if c.eat(b'$') { Ok(Which::Saved) } else { c.seq_set().map(Which::Set) }
}

fn authenticate(c: &mut Cursor<'_>) -> Parsed<Verb> {
    let mechanism = c.text()?.to_ascii_uppercase();
    let initial = if c.eat(b' ') {
        Some(c.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=')).to_vec())
    } else {
        None
    };
    Ok(Verb::Authenticate { mechanism, initial })
}

fn words(c: &mut Cursor<'_>) -> Parsed<Vec<String>> {
    let mut words = vec![c.word()?];
    while c.peek() == Some(b' ') && !c.rest().iter().all(|&b| b == b' ') {
        c.space()?;
        words.push(c.word()?);
    }
    Ok(words)
}

/// `(` items separated by spaces `)`; may be empty.
pub(crate) fn list<'a>(
    c: &mut Cursor<'a>,
    mut item: impl FnMut(&mut Cursor<'a>) -> Parsed<()>,
) -> Parsed<()> {
    c.need(b'(', "a parenthesis ( is missing")?;
    c.skip_spaces();
    while !c.eat(b')') {
        item(c)?;
        if c.peek() != Some(b')') {
            c.need(b' ', "a parenthesis ) is missing")?;
            c.skip_spaces();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
