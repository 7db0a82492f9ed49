//! CREATE, DELETE, RENAME, SUBSCRIBE and STATUS (RFC 9051 §6.3).

use super::Server;
use super::job::{Job, Tail};
use crate::ask::{Answer, Ask, Code, Folder, Refusal, StatusItems, StatusRow};
use crate::command::Verb;
use crate::wire::write;

/// Longest folder name in octets, and deepest.
const NAME_MAX: usize = 900;
const LEVELS_MAX: usize = 40;

/// A STATUS under way.
pub(super) struct Status {
    tag: String,
    folder: String,
    items: StatusItems,
}

/// A name that can be given to a folder; a trailing delimiter only says that children will come
/// (RFC 9051 §6.3.4).
fn new_name(name: &str) -> Result<String, &'static str> {
    let name = name.strip_suffix('/').unwrap_or(name);
    if name.is_empty() || name.len() > NAME_MAX {
        return Err("A folder's name has between 1 and 900 octets");
    }
    if name.split('/').any(str::is_empty) || name.split('/').count() > LEVELS_MAX {
        return Err("No level of a folder's name can be empty, and there are at most 40");
    }
    if name.chars().any(|c| c.is_control() || matches!(c, '*' | '%' | '\u{2028}' | '\u{2029}')) {
        return Err("A folder's name cannot hold * or % or control characters");
    }
    Ok(name.to_owned())
}

impl Server {
    pub(super) fn change_folder(&mut self, tag: String, verb: Verb) {
        let (ask, tail) = match verb {
            Verb::Create { folder, special_use } => {
                return match new_name(&folder) {
                    Ok(folder) => self.ask(Ask::Create { folder, special_use }, Job::Create(tag)),
                    Err(why) => self.refuse(tag, &Refusal::new(Code::Cannot, why)),
                };
            }
            Verb::Delete { folder } if folder == "INBOX" => {
                return self.refuse(tag, &Refusal::new(Code::Cannot, "INBOX cannot be deleted"));
            }
            Verb::Delete { folder } => (Ask::Delete { folder }, Tail::ok(tag, "Delete completed")),
            Verb::Rename { from, to } => match new_name(&to) {
                Ok(to) => (Ask::Rename { from, to }, Tail::ok(tag, "Rename completed")),
                Err(why) => return self.refuse(tag, &Refusal::new(Code::Cannot, why)),
            },
            Verb::Subscribe { folder, on } => {
                let folder = folder.strip_suffix('/').unwrap_or(&folder).to_owned();
                let text = if on { "Subscribe completed" } else { "Unsubscribe completed" };
                (Ask::Subscribe { folder, on }, Tail::ok(tag, text))
            }
            _ => stdx::never!("only commands that change folders come here"),
        };
        self.ask(ask, Job::Plain(Box::new(tail)));
    }

    pub(super) fn created(&mut self, tag: String, id: Option<String>) {
        let tail = Tail::ok(tag, "Create completed");
        // RFC 8474 §4.2.
        self.finish(match id {
            Some(id) => tail.with_code(format!("MAILBOXID ({id})")),
            None => tail,
        });
    }

    pub(super) fn status(&mut self, tag: String, folder: String, items: StatusItems) {
        if items.has(StatusItems::HIGHEST_MODSEQ) {
            self.use_condstore();
        }
        let ask = Ask::Status { folders: vec![folder.clone()], items };
        self.ask(ask, Job::Status(Box::new(Status { tag, folder, items })));
    }

    pub(super) fn status_answered(&mut self, status: Status, answer: Answer) {
        match answer {
            Answer::Status(rows) => match rows.into_iter().next().flatten() {
                Some(row) => {
                    self.tell_status(&status.folder, &row, status.items);
                    self.finish(Tail::ok(status.tag, "Status completed"));
                }
                None => self.refuse(status.tag, &Refusal::new(Code::NonExistent, "There is no such folder")),
            },
            Answer::Refused(why) => self.refuse(status.tag, &why),
            _ => stdx::never!("an answer that fits no open question of STATUS"),
        }
    }

    pub(super) fn tell_status(&mut self, folder: &str, row: &StatusRow, items: StatusItems) {
        let utf8 = self.utf8();
        let out = &mut self.out;
        out.extend_from_slice(b"* STATUS ");
        write::folder(out, folder, utf8);
        out.extend_from_slice(b" (");
        let start = out.len();
        let numbers = [
            (StatusItems::MESSAGES, "MESSAGES ", row.messages),
            (StatusItems::RECENT, "RECENT ", row.recent),
            (StatusItems::UID_NEXT, "UIDNEXT ", u64::from(row.uid_next)),
            (StatusItems::UID_VALIDITY, "UIDVALIDITY ", u64::from(row.uid_validity)),
            (StatusItems::UNSEEN, "UNSEEN ", row.unseen),
            (StatusItems::DELETED, "DELETED ", row.deleted),
            (StatusItems::DELETED_STORAGE, "DELETED-STORAGE ", row.deleted_storage),
            (StatusItems::SIZE, "SIZE ", row.size),
            (StatusItems::HIGHEST_MODSEQ, "HIGHESTMODSEQ ", row.highest_modseq),
        ];
        for (_, name, value) in numbers.iter().filter(|(item, ..)| items.has(*item)) {
            space_unless_first(out, start);
            out.extend_from_slice(name.as_bytes());
            write::number(out, *value);
        }
        if let (true, Some(id)) = (items.has(StatusItems::MAILBOX_ID), &row.mailbox_id) {
            space_unless_first(out, start);
            out.extend_from_slice(format!("MAILBOXID ({id})").as_bytes());
        }
        if items.has(StatusItems::APPEND_LIMIT) {
            space_unless_first(out, start);
            let limit = row.append_limit.unwrap_or(self.settings.append_limit);
            out.extend_from_slice(b"APPENDLIMIT ");
            write::number(out, limit);
        }
        out.extend_from_slice(b")\r\n");
    }

    /// RFC 5465 §5.4: a folder was made, deleted, renamed or (un)subscribed.
    pub(super) fn tell_folder(&mut self, folder: &Folder, old_name: Option<&str>, deleted: bool) {
        let utf8 = self.utf8();
        let mut words = Vec::new();
        if deleted {
            words.push("\\NonExistent");
        } else if !folder.selectable {
            words.push("\\Noselect");
        }
        if folder.subscribed {
            words.push("\\Subscribed");
        }
        let out = &mut self.out;
        out.extend_from_slice(format!("* LIST ({}) \"/\" ", words.join(" ")).as_bytes());
        write::folder(out, &folder.name, utf8);
        if let Some(old) = old_name {
            out.extend_from_slice(b" (\"OLDNAME\" (");
            write::folder(out, old, utf8);
            out.extend_from_slice(b"))");
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn space_unless_first(out: &mut Vec<u8>, start: usize) {
    if out.len() > start {
        out.push(b' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_empty_levels_or_wildcards_are_refused() {
        assert_eq!(new_name("a/b/"), Ok("a/b".to_owned()));
        for bad in ["", "/", "/a", "a//b", "a*", "a%b", "a\u{7}", &"x".repeat(901), &"a/".repeat(50)] {
            assert!(new_name(bad).is_err(), "{bad}");
        }
    }
}
