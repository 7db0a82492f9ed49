//! LIST, LSUB and XLIST: which folders a pattern names, and what is said of each
//! (RFC 9051 §6.3.9, RFC 5258, 5819, 6154).

use super::Server;
use super::job::{Job, Tail};
use crate::ask::{Answer, Ask, Folder, StatusItems};
use crate::command::{ListSpec, ListStyle};
use crate::grammar::canonical;
use crate::wire::write;
use std::collections::{BTreeMap, BTreeSet};

/// Longest pattern that is looked at; a longer one matches nothing.
const PATTERN_MAX: usize = 1000;

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    name: String,
    attributes: Vec<&'static str>,
    /// RFC 5258 §3.5: children meet the selection, though the folder itself may not.
    child_info: Vec<&'static str>,
    status: bool,
}

/// LIST … RETURN (STATUS …): lines wait for their counters.
pub(super) struct Listed {
    tag: String,
    entries: Vec<Entry>,
    items: StatusItems,
}

impl Server {
    pub(super) fn list_answered(&mut self, tag: String, spec: ListSpec, answer: Answer) {
        let folders = match answer {
            Answer::Folders(folders) => folders,
            Answer::Refused(why) => return self.refuse(tag, &why),
            _ => stdx::never!("an answer that fits no open question of LIST"),
        };
        let verb = match spec.style {
            ListStyle::List => "LIST",
            ListStyle::Lsub => "LSUB",
            ListStyle::Xlist => "XLIST",
        };
        // RFC 9051 §6.3.9: an empty pattern asks for the delimiter and the root.
        if !spec.extended && spec.patterns.iter().all(String::is_empty) {
            self.line(&format!("* {verb} (\\Noselect) \"/\" \"\""));
            return self.finish(Tail::ok(tag, "List completed"));
        }
        let entries = evaluate(&spec, folders);
        match spec.return_status {
            Some(items) if !entries.is_empty() => {
                let names = entries.iter().filter(|e| e.status).map(|e| e.name.clone()).collect();
                let ask = Ask::Status { folders: names, items };
                self.ask(ask, Job::ListStatus(Box::new(Listed { tag, entries, items })));
            }
            _ => {
                for entry in &entries {
                    self.tell_entry(entry, verb);
                }
                self.finish(Tail::ok(tag, "List completed"));
            }
        }
    }

    pub(super) fn list_status_answered(&mut self, listed: Listed, answer: Answer) {
        // RFC 5819 §2: a folder whose counters cannot be had is listed without them.
        let mut rows = match answer {
            Answer::Status(rows) => rows.into_iter(),
            _ => Vec::new().into_iter(),
        };
        for entry in &listed.entries {
            self.tell_entry(entry, "LIST");
            if let (true, Some(row)) = (entry.status, rows.next().flatten()) {
                self.tell_status(&entry.name, &row, listed.items);
            }
        }
        self.finish(Tail::ok(listed.tag, "List completed"));
    }

    fn tell_entry(&mut self, entry: &Entry, verb: &str) {
        let utf8 = self.utf8();
        self.out.extend_from_slice(format!("* {verb} ({}) \"/\" ", entry.attributes.join(" ")).as_bytes());
        write::folder(&mut self.out, &entry.name, utf8);
        if !entry.child_info.is_empty() {
            let infos: Vec<String> = entry.child_info.iter().map(|i| format!("\"{i}\"")).collect();
            self.out.extend_from_slice(format!(" (\"CHILDINFO\" ({}))", infos.join(" ")).as_bytes());
        }
        self.out.extend_from_slice(b"\r\n");
    }
}

/// What is known of a name: a folder, or a level above one.
#[derive(Default)]
struct Known {
    folder: Folder,
    has_children: bool,
    /// Some folder below, which no pattern names itself, is subscribed (has a special use).
    subscribed_below: bool,
    special_below: bool,
}

/// The lines of the answer, in order of names with INBOX first.
pub(super) fn evaluate(spec: &ListSpec, folders: Vec<Folder>) -> Vec<Entry> {
    let patterns: Vec<String> =
        spec.patterns.iter().map(|p| canonical(format!("{}{p}", spec.reference))).collect();
    let known = known(folders, &patterns);
    let mut names: Vec<&String> = known.keys().collect();
    names.sort_by_key(|n| (n.as_str() != "INBOX", !n.starts_with("INBOX/"), n.as_str()));
    let mut entries = Vec::new();
    for name in names {
        if is_named(&patterns, name) {
            entries.extend(entry(spec, name, &known[name], &patterns));
        }
    }
    entries
}

fn is_named(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|p| p.len() <= PATTERN_MAX && matches(p.as_bytes(), name.as_bytes()))
}

fn known(folders: Vec<Folder>, patterns: &[String]) -> BTreeMap<String, Known> {
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    let mut above: BTreeSet<String> = BTreeSet::new();
    for folder in folders {
        // A folder that the pattern names itself is listed itself.
        let unlisted = !is_named(patterns, &folder.name);
        let (subscribed, special) =
            (folder.subscribed && unlisted, !folder.special_use.is_empty() && unlisted);
        let mut end = folder.name.len();
        while let Some(at) = folder.name[..end].rfind('/') {
            let level = folder.name[..at].to_owned();
            let parent = known.entry(level.clone()).or_default();
            parent.has_children |= folder.exists;
            parent.subscribed_below |= subscribed;
            parent.special_below |= special;
            above.insert(level);
            end = at;
        }
        let name = folder.name.clone();
        known.entry(name).or_default().folder = folder;
    }
    for level in above {
        if let Some(parent) = known.get_mut(&level).filter(|k| k.folder.name.is_empty()) {
            parent.folder.name = level;
            parent.folder.may_have_children = true;
        }
    }
    known
}

fn entry(spec: &ListSpec, name: &str, known: &Known, patterns: &[String]) -> Option<Entry> {
    let folder = &known.folder;
    let special = !folder.special_use.is_empty();
    let meets = (!spec.only_subscribed || folder.subscribed) && (!spec.only_special || special);
    let below =
        (!spec.only_subscribed || known.subscribed_below) && (!spec.only_special || known.special_below);
    let selecting = spec.only_subscribed || spec.only_special;
    let mut child_info = Vec::new();
    if spec.style == ListStyle::Lsub && !meets {
        // RFC 3501 §6.3.9: with %, a level above a subscribed folder is listed as \Noselect.
        let open_end = patterns.iter().any(|p| p.ends_with('%'));
        return (open_end && below).then(|| plain(name, vec!["\\Noselect"]));
    }
    if spec.recursive_match && below {
        child_info.extend(spec.only_subscribed.then_some("SUBSCRIBED"));
        child_info.extend(spec.only_special.then_some("SPECIAL-USE"));
    }
    let listed = meets && (folder.exists || spec.only_subscribed);
    let level = !selecting && known.has_children;
    if !listed && !level && child_info.is_empty() {
        return None;
    }
    let mut attributes = attributes(spec, known);
    if spec.style == ListStyle::Xlist && name == "INBOX" {
        attributes.push("\\Inbox");
    }
    Some(Entry { name: name.to_owned(), attributes, child_info, status: folder.exists && folder.selectable })
}

fn plain(name: &str, attributes: Vec<&'static str>) -> Entry {
    Entry { name: name.to_owned(), attributes, child_info: Vec::new(), status: false }
}

fn attributes(spec: &ListSpec, known: &Known) -> Vec<&'static str> {
    let folder = &known.folder;
    let mut words = Vec::new();
    if !folder.exists {
        // RFC 5258 §3: \NonExistent is for those who speak the extended syntax.
        words.push(if spec.extended { "\\NonExistent" } else { "\\Noselect" });
    } else if !folder.selectable {
        words.push("\\Noselect");
    }
    if folder.exists && !folder.may_have_children && !known.has_children {
        words.push("\\Noinferiors");
    } else if folder.exists || known.has_children {
        words.push(if known.has_children { "\\HasChildren" } else { "\\HasNoChildren" });
    }
    if folder.subscribed
        && (spec.return_subscribed || (spec.only_subscribed && spec.style == ListStyle::List))
    {
        words.push("\\Subscribed");
    }
    if spec.style != ListStyle::Lsub {
        words.extend(folder.special_use.iter().map(|s| match (spec.style, s) {
            // The old names that XLIST clients look for.
            (ListStyle::Xlist, crate::ask::SpecialUse::All) => "\\AllMail",
            (ListStyle::Xlist, crate::ask::SpecialUse::Junk) => "\\Spam",
            (ListStyle::Xlist, crate::ask::SpecialUse::Flagged) => "\\Starred",
            _ => s.name(),
        }));
    }
    words
}

/// RFC 9051 §6.3.9: `*` stands for anything, `%` for anything within one level.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    // Which beginnings of the name can be reached by the pattern so far.
    let mut reach = vec![false; name.len() + 1];
    reach[0] = true;
    for &p in pattern {
        match p {
            b'*' | b'%' => {
                for at in 0..name.len() {
                    if reach[at] && (p == b'*' || name[at] != b'/') {
                        reach[at + 1] = true;
                    }
                }
            }
            _ => {
                for at in (0..name.len()).rev() {
                    reach[at + 1] = reach[at] && name[at] == p;
                }
                reach[0] = false;
            }
        }
        if !reach.contains(&true) {
            return false;
        }
    }
    reach[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::SpecialUse;

    fn folder(name: &str, subscribed: bool) -> Folder {
        let mut folder =
            Folder { name: name.into(), exists: true, selectable: true, subscribed, ..Folder::default() };
        folder.may_have_children = true;
        if name == "Sent" {
            folder.special_use.push(SpecialUse::Sent);
        }
        folder
    }

    fn listed(change: impl FnOnce(&mut ListSpec), pattern: &str) -> Vec<String> {
        let folders = vec![
            folder("Foo", false),
            folder("Foo/Bar", true),
            folder("Foo/Baz", false),
            folder("INBOX", true),
            folder("Sent", false),
            folder("a/b/c", true),
            Folder { exists: false, selectable: false, ..folder("lost", true) },
        ];
        let mut spec = ListSpec { patterns: vec![pattern.into()], ..ListSpec::default() };
        change(&mut spec);
        let show = |e: Entry| format!("{}({}){}", e.name, e.attributes.join(" "), e.child_info.join(" "));
        evaluate(&spec, folders).into_iter().map(show).collect()
    }

    #[test]
    fn patterns_match_within_and_across_levels() {
        for (pattern, name, want) in [
            ("*", "a/b", true),
            ("%", "a/b", false),
            ("%/%", "a/b", true),
            ("a*c", "a/b/c", true),
            ("a%c", "a/b/c", false),
            ("%b", "ab", true),
            ("", "", true),
            ("a", "ab", false),
            ("*%*", "x", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), want, "{pattern} {name}");
        }
    }

    #[test]
    fn plain_lists_show_folders_and_the_levels_above_them() {
        assert_eq!(
            listed(|_| {}, "%"),
            [
                "INBOX(\\HasNoChildren)",
                "Foo(\\HasChildren)",
                "Sent(\\HasNoChildren \\Sent)",
                "a(\\Noselect \\HasChildren)"
            ]
        );
        assert_eq!(listed(|_| {}, "inbox"), ["INBOX(\\HasNoChildren)"]);
        assert_eq!(listed(|s| s.reference = "Foo/".into(), "%z"), ["Foo/Baz(\\HasNoChildren)"]);
    }

    #[test]
    fn subscribed_lists_follow_rfc_5258() {
        let sub = |s: &mut ListSpec| (s.extended, s.only_subscribed) = (true, true);
        assert_eq!(
            listed(sub, "*"),
            [
                "INBOX(\\HasNoChildren \\Subscribed)",
                "Foo/Bar(\\HasNoChildren \\Subscribed)",
                "a/b/c(\\HasNoChildren \\Subscribed)",
                "lost(\\NonExistent \\Subscribed)"
            ]
        );
        let rec = |s: &mut ListSpec| (s.extended, s.only_subscribed, s.recursive_match) = (true, true, true);
        assert_eq!(
            listed(rec, "%"),
            [
                "INBOX(\\HasNoChildren \\Subscribed)",
                "Foo(\\HasChildren)SUBSCRIBED",
                "a(\\NonExistent \\HasChildren)SUBSCRIBED",
                "lost(\\NonExistent \\Subscribed)"
            ]
        );
    }

    #[test]
    fn lsub_shows_levels_above_subscribed_folders_for_percent_only() {
        let lsub = |s: &mut ListSpec| (s.style, s.only_subscribed) = (ListStyle::Lsub, true);
        assert_eq!(
            listed(lsub, "%"),
            ["INBOX(\\HasNoChildren)", "Foo(\\Noselect)", "a(\\Noselect)", "lost(\\Noselect)"]
        );
        assert_eq!(
            listed(lsub, "*"),
            [
                "INBOX(\\HasNoChildren)",
                "Foo/Bar(\\HasNoChildren)",
                "a/b/c(\\HasNoChildren)",
                "lost(\\Noselect)"
            ]
        );
    }

    #[test]
    fn old_outlook_gets_its_old_words() {
        let xlist = |s: &mut ListSpec| s.style = ListStyle::Xlist;
        assert_eq!(listed(xlist, "INBOX"), ["INBOX(\\HasNoChildren \\Inbox)"]);
        assert_eq!(
            listed(|s| (s.extended, s.only_special) = (true, true), "*"),
            ["Sent(\\HasNoChildren \\Sent)"]
        );
    }
}
