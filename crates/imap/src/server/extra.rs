//! QUOTA, METADATA and ACL (RFC 9208, 5464, 4314).

use super::Server;
use super::job::{Job, Tail};
use crate::ask::{Answer, Ask, Code, QuotaRoot, Refusal, Resource};
use crate::command::Verb;
use crate::wire::write;

/// A question of this family and what its answer needs.
pub(super) struct Extra {
    tag: String,
    what: What,
}

enum What {
    Quota,
    QuotaRoots(String),
    Metadata { folder: Option<String>, max_size: Option<u64> },
    Acl(String),
    ListRights { folder: String, who: String },
    MyRights(String),
}

impl Server {
    pub(super) fn dispatch_extra(&mut self, tag: String, verb: Verb) {
        let (ask, what) = match verb {
            Verb::GetQuota(root) => (Ask::Quota { root }, What::Quota),
            Verb::GetQuotaRoot(folder) => {
                (Ask::QuotaRoots { folder: folder.clone() }, What::QuotaRoots(folder))
            }
            Verb::GetMetadata { folder, entries, depth, max_size } => {
                let what = What::Metadata { folder: folder.clone(), max_size };
                (Ask::GetMetadata { folder, entries, depth }, what)
            }
            Verb::GetAcl(folder) => (Ask::GetAcl { folder: folder.clone() }, What::Acl(folder)),
            Verb::ListRights { folder, who } => (
                Ask::ListRights { folder: folder.clone(), who: who.clone() },
                What::ListRights { folder, who },
            ),
            Verb::MyRights(folder) => (Ask::MyRights { folder: folder.clone() }, What::MyRights(folder)),
            Verb::SetMetadata { folder, entries } => {
                let tail = Tail::ok(tag, "Setmetadata completed");
                return self.ask(Ask::SetMetadata { folder, entries }, Job::Plain(Box::new(tail)));
            }
            Verb::SetAcl { folder, who, change, rights } => {
                let tail = Tail::ok(tag, "The access list is changed");
                return self.ask(Ask::SetAcl { folder, who, change, rights }, Job::Plain(Box::new(tail)));
            }
            Verb::SetQuota => {
                let why = Refusal::new(Code::NoPerm, "Quotas are set by the operator, not by mail programs");
                return self.refuse(tag, &why);
            }
            _ => return self.bad(&tag, "This command is not known here"),
        };
        self.ask(ask, Job::Extra(Box::new(Extra { tag, what })));
    }

    pub(super) fn extra_answered(&mut self, extra: Extra, answer: Answer) {
        let tag = extra.tag;
        let tail = match (extra.what, answer) {
            (_, Answer::Refused(why)) => return self.refuse(tag, &why),
            (What::Quota, Answer::Quota(roots)) => {
                self.tell_quotas(&roots);
                Tail::ok(tag, "Getquota completed")
            }
            (What::QuotaRoots(folder), Answer::Quota(roots)) => {
                self.begin_folder(b"* QUOTAROOT ", &folder);
                for root in &roots {
                    self.out.push(b' ');
                    write::astring(&mut self.out, root.name.as_bytes(), true);
                }
                self.out.extend_from_slice(b"\r\n");
                self.tell_quotas(&roots);
                Tail::ok(tag, "Getquotaroot completed")
            }
            (What::Metadata { folder, max_size }, Answer::Metadata(entries)) => {
                let longest = self.tell_metadata(folder.as_deref(), &entries, max_size);
                let tail = Tail::ok(tag, "Getmetadata completed");
                // RFC 5464 §4.2.1: values beyond MAXSIZE are left out, and the client is told.
                match longest {
                    Some(n) => tail.with_code(format!("METADATA LONGENTRIES {n}")),
                    None => tail,
                }
            }
            (What::Acl(folder), Answer::Acl(list)) => {
                self.begin_folder(b"* ACL ", &folder);
                for (who, rights) in &list {
                    self.out.push(b' ');
                    write::astring(&mut self.out, who.as_bytes(), true);
                    self.out.push(b' ');
                    write::astring(&mut self.out, rights.as_bytes(), true);
                }
                self.out.extend_from_slice(b"\r\n");
                Tail::ok(tag, "Getacl completed")
            }
            (What::ListRights { folder, who }, Answer::Rights(sets)) => {
                self.begin_folder(b"* LISTRIGHTS ", &folder);
                self.out.push(b' ');
                write::astring(&mut self.out, who.as_bytes(), true);
                self.tell_rights(&sets);
                Tail::ok(tag, "Listrights completed")
            }
            (What::MyRights(folder), Answer::Rights(sets)) => {
                self.begin_folder(b"* MYRIGHTS ", &folder);
                self.tell_rights(&sets);
                Tail::ok(tag, "Myrights completed")
            }
            _ => stdx::never!("an answer that fits no open question"),
        };
        self.finish(tail);
    }

    fn begin_folder(&mut self, what: &[u8], folder: &str) {
        let utf8 = self.utf8();
        self.out.extend_from_slice(what);
        write::folder(&mut self.out, folder, utf8);
    }

    fn tell_rights(&mut self, sets: &[String]) {
        for rights in sets {
            self.out.push(b' ');
            write::astring(&mut self.out, rights.as_bytes(), true);
        }
        self.out.extend_from_slice(b"\r\n");
    }

    /// RFC 9208 §4.2.1.
    fn tell_quotas(&mut self, roots: &[QuotaRoot]) {
        for root in roots {
            self.out.extend_from_slice(b"* QUOTA ");
            write::astring(&mut self.out, root.name.as_bytes(), true);
            self.out.extend_from_slice(b" (");
            for (n, r) in root.resources.iter().enumerate() {
                let name = match r.resource {
                    Resource::Storage => "STORAGE",
                    Resource::Message => "MESSAGE",
                    Resource::Mailbox => "MAILBOX",
                };
                let space = if n > 0 { " " } else { "" };
                self.out.extend_from_slice(format!("{space}{name} {} {}", r.used, r.limit).as_bytes());
            }
            self.out.extend_from_slice(b")\r\n");
        }
    }

    /// Tells the values and returns the length of the longest one left out.
    fn tell_metadata(
        &mut self,
        folder: Option<&str>,
        entries: &[(String, Vec<u8>)],
        max_size: Option<u64>,
    ) -> Option<usize> {
        let fits = |value: &[u8]| max_size.is_none_or(|max| value.len() as u64 <= max);
        let told: Vec<_> = entries.iter().filter(|(_, v)| fits(v)).collect();
        if !told.is_empty() {
            match folder {
                Some(folder) => self.begin_folder(b"* METADATA ", folder),
                None => self.out.extend_from_slice(b"* METADATA \"\""),
            }
            for (n, (entry, value)) in told.into_iter().enumerate() {
                self.out.extend_from_slice(if n == 0 { b" (" } else { b" " });
                write::astring(&mut self.out, entry.as_bytes(), true);
                self.out.push(b' ');
                if value.contains(&0) {
                    self.out.push(b'~');
                    write::literal(&mut self.out, value);
                } else {
                    write::string(&mut self.out, value, false);
                }
            }
            self.out.extend_from_slice(b")\r\n");
        }
        entries.iter().map(|(_, v)| v).filter(|v| !fits(v)).map(Vec::len).max()
    }
}
