//! THREAD by ORDEREDSUBJECT and by REFERENCES (RFC 5256 §3).
//!
//! Nothing here recurses: a chain of a hundred thousand answers is an ordinary input.

use super::{Facts, folded};
use crate::ask::Thread;
use crate::command::ThreadBy;
use std::collections::BTreeMap;

/// References of one message that are looked at: the latest ones.
const REFERENCES_MAX: usize = 200;

pub fn thread(facts: &[Facts], by: ThreadBy) -> Vec<Thread> {
    match by {
        ThreadBy::OrderedSubject => ordered_subject(facts),
        ThreadBy::References => references(facts),
    }
}

/// The first message of each subject, the others below it; threads by their first date.
fn ordered_subject(facts: &[Facts]) -> Vec<Thread> {
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, message) in facts.iter().enumerate() {
        groups.entry(folded(&message.subject)).or_default().push(at);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
    for group in &mut groups {
        group.sort_by_key(|&at| (facts[at].sent, facts[at].uid));
    }
    groups.sort_by_key(|g| (facts[g[0]].sent, facts[g[0]].uid));
    let mut out = Vec::with_capacity(facts.len());
    for group in groups {
        for (n, at) in group.into_iter().enumerate() {
            out.push(Thread { depth: u32::from(n > 0), uid: Some(facts[at].uid) });
        }
    }
    out
}

/// A forest of containers; some hold no message.
struct Forest<'a> {
    facts: &'a [Facts],
    message: Vec<Option<usize>>,
    parent: Vec<Option<usize>>,
    /// How many children a container was ever given: one without any is nobody's ancestor.
    given: Vec<u32>,
    children: Vec<Vec<usize>>,
    roots: Vec<usize>,
}

fn references(facts: &[Facts]) -> Vec<Thread> {
    let mut forest = Forest {
        facts,
        message: Vec::new(),
        parent: Vec::new(),
        given: Vec::new(),
        children: Vec::new(),
        roots: Vec::new(),
    };
    forest.link();
    forest.prune();
    forest.sort();
    forest.gather_subjects();
    forest.sort();
    forest.flatten()
}

impl Forest<'_> {
    fn container(&mut self, message: Option<usize>) -> usize {
        self.message.push(message);
        self.parent.push(None);
        self.given.push(0);
        self.message.len() - 1
    }

    /// Step 1: parents from References and In-Reply-To.
    fn link(&mut self) {
        let facts = self.facts;
        let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, message) in facts.iter().enumerate() {
            let own = match message.message_id.as_deref() {
                // A second message with the same id counts as one without.
                Some(id) => match ids.get(id).copied() {
                    Some(known) if self.message[known].is_none() => {
                        self.message[known] = Some(at);
                        known
                    }
                    Some(_) => self.container(Some(at)),
                    None => {
                        let new = self.container(Some(at));
                        ids.insert(id, new);
                        new
                    }
                },
                None => self.container(Some(at)),
            };
            let mut above: Option<usize> = None;
            let skip = message.references.len().saturating_sub(REFERENCES_MAX);
            for id in &message.references[skip..] {
                let this = match ids.get(id.as_str()).copied() {
                    Some(known) => known,
                    None => {
                        let new = self.container(None);
                        ids.insert(id, new);
                        new
                    }
                };
                if let Some(above) = above.filter(|_| self.parent[this].is_none()) {
                    self.adopt(above, this);
                }
                above = Some(this);
            }
            self.parent[own] = None;
            if let Some(above) = above {
                self.adopt(above, own);
            }
        }
    }

    /// Makes `child` a child of `parent` unless that closed a circle.
    fn adopt(&mut self, parent: usize, child: usize) {
        let mut up = Some(parent).filter(|_| self.given[child] > 0 || parent == child);
        while let Some(at) = up {
            if at == child {
                return;
            }
            up = self.parent[at];
        }
        self.parent[child] = Some(parent);
        self.given[parent] += 1;
    }

    /// Steps 2 and 3: containers without a message go away, except where they hold several
    /// threads together at the top.
    fn prune(&mut self) {
        let count = self.message.len();
        self.children = vec![Vec::new(); count];
        // For an empty container: the nearest message above it, or the topmost empty one.
        let mut above: Vec<Option<usize>> = vec![None; count];
        for at in (0..count).filter(|&at| self.message[at].is_some()) {
            let (mut path, mut up) = (Vec::new(), self.parent[at]);
            let mut top = None;
            while let Some(p) = up {
                top = Some(p);
                if self.message[p].is_some() {
                    break;
                }
                if let Some(known) = above[p] {
                    top = Some(known);
                    break;
                }
                path.push(p);
                up = self.parent[p];
            }
            for p in path {
                above[p] = top;
            }
            match top {
                Some(top) => self.children[top].push(at),
                None => self.roots.push(at),
            }
        }
        for at in (0..count).filter(|&at| self.message[at].is_none()) {
            match self.children[at].len() {
                0 => {}
                1 => {
                    let only = std::mem::take(&mut self.children[at]);
                    self.roots.extend(only);
                }
                _ => self.roots.push(at),
            }
        }
    }

    fn key(&self, at: usize) -> (i64, u32) {
        let first = self.message[at].or_else(|| self.children[at].first().and_then(|&c| self.message[c]));
        first.map_or((0, 0), |m| (self.facts[m].sent, self.facts[m].uid))
    }

    /// Steps 4 and 6: siblings by their date. Containers without a message are only at the top or
    /// one below it, so children are sorted before their parents.
    fn sort(&mut self) {
        for pass in 0..2 {
            for at in 0..self.children.len() {
                if (pass == 0) == self.message[at].is_some() {
                    let mut list = std::mem::take(&mut self.children[at]);
                    list.sort_by_key(|&c| self.key(c));
                    self.children[at] = list;
                }
            }
        }
        let mut roots = std::mem::take(&mut self.roots);
        roots.sort_by_key(|&r| self.key(r));
        self.roots = roots;
    }

    /// The subject of a thread, and whether it says that it answers something.
    fn subject(&self, at: usize) -> Option<(String, bool)> {
        let message =
            self.message[at].or_else(|| self.children[at].first().and_then(|&c| self.message[c]))?;
        let facts = &self.facts[message];
        Some((folded(&facts.subject), facts.is_reply)).filter(|(s, _)| !s.is_empty())
    }

    /// Step 5: threads of the same subject become one.
    fn gather_subjects(&mut self) {
        let mut table: BTreeMap<String, usize> = BTreeMap::new();
        let roots = std::mem::take(&mut self.roots);
        for &root in &roots {
            let Some((subject, reply)) = self.subject(root) else { continue };
            let better = match table.get(&subject) {
                None => true,
                Some(&held) => {
                    let held_reply = self.subject(held).is_some_and(|s| s.1);
                    let (empty, held_empty) = (self.message[root].is_none(), self.message[held].is_none());
                    (empty && !held_empty) || (!held_empty && held_reply && !reply)
                }
            };
            if better {
                table.insert(subject, root);
            }
        }
        let mut gone = vec![false; self.message.len()];
        for &root in &roots {
            let Some((subject, reply)) = self.subject(root) else { continue };
            let Some(&held) = table.get(&subject).filter(|&&h| h != root && !gone[h]) else { continue };
            gone[root] = true;
            match (self.message[held].is_none(), self.message[root].is_none()) {
                (true, true) => {
                    let list = std::mem::take(&mut self.children[root]);
                    self.children[held].extend(list);
                }
                (true, false) => self.children[held].push(root),
                _ if reply && !self.subject(held).is_some_and(|s| s.1) => self.children[held].push(root),
                _ => {
                    let both = self.container(None);
                    self.children.push(vec![held, root]);
                    gone[held] = true;
                    gone.push(false);
                    table.insert(subject, both);
                    self.roots.push(both);
                }
            }
        }
        self.roots.extend(roots.into_iter().filter(|&r| !gone[r]));
    }

    fn flatten(&self) -> Vec<Thread> {
        let mut out = Vec::with_capacity(self.facts.len());
        let mut todo: Vec<(usize, u32)> = self.roots.iter().rev().map(|&r| (r, 0)).collect();
        while let Some((at, depth)) = todo.pop() {
            out.push(Thread { depth, uid: self.message[at].map(|m| self.facts[m].uid) });
            todo.extend(self.children[at].iter().rev().map(|&c| (c, depth + 1)));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(uid: u32, id: &str, refs: &[&str], subject: &str) -> Facts {
        Facts {
            uid,
            sent: i64::from(uid),
            message_id: (!id.is_empty()).then(|| id.to_owned()),
            references: refs.iter().map(|r| (*r).to_owned()).collect(),
            is_reply: subject.starts_with("Re: "),
            subject: subject.trim_start_matches("Re: ").to_owned(),
            ..Facts::default()
        }
    }

    fn shown(facts: &[Facts], by: ThreadBy) -> Vec<String> {
        thread(facts, by)
            .into_iter()
            .map(|t| format!("{}{}", "-".repeat(t.depth as usize), t.uid.unwrap_or(0)))
            .collect()
    }

    #[test]
    fn answers_hang_below_what_they_answer() {
        let all = [
            message(1, "a", &[], "x"),
            message(2, "b", &["a"], "Re: x"),
            message(3, "c", &["a", "b"], "Re: x"),
            message(4, "d", &["a"], "Re: x"),
            message(5, "", &[], "y"),
        ];
        assert_eq!(shown(&all, ThreadBy::References), ["1", "-2", "--3", "-4", "5"]);
        assert_eq!(shown(&all, ThreadBy::OrderedSubject), ["1", "-2", "-3", "-4", "5"]);
    }

    #[test]
    fn a_missing_parent_holds_its_children_together() {
        let all = [
            message(1, "b", &["gone"], "p"),
            message(2, "c", &["gone"], "q"),
            message(3, "e", &["lost"], "r"),
            message(4, "f", &["x", "y", "z"], "s"),
        ];
        assert_eq!(shown(&all, ThreadBy::References), ["0", "-1", "-2", "3", "4"]);
    }

    #[test]
    fn threads_of_one_subject_are_joined() {
        let all = [message(1, "a", &[], "x"), message(2, "b", &[], "Re: x"), message(3, "c", &[], "x")];
        assert_eq!(shown(&all, ThreadBy::References), ["0", "-1", "--2", "-3"]);
        let all = [message(1, "a", &[], "x"), message(2, "b", &[], "Re: x")];
        assert_eq!(shown(&all, ThreadBy::References), ["1", "-2"]);
    }

    #[test]
    fn circles_and_second_ids_do_no_harm() {
        let all = [
            message(1, "a", &["b"], "x"),
            message(2, "b", &["a"], "y"),
            message(3, "a", &["a"], "z"),
            message(4, "d", &["d"], "w"),
        ];
        let mut uids: Vec<u32> = thread(&all, ThreadBy::References).iter().filter_map(|t| t.uid).collect();
        uids.sort_unstable();
        assert_eq!(uids, [1, 2, 3, 4]);
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_answers_is_threaded() {
        let all: Vec<Facts> = (1..=100_000u32)
            .map(|n| Facts {
                uid: n,
                message_id: Some(n.to_string()),
                references: vec![(n - 1).to_string()],
                ..Facts::default()
            })
            .collect();
        let threads = thread(&all, ThreadBy::References);
        assert_eq!(threads.len(), 100_000);
        assert_eq!(threads.last().map(|t| t.depth), Some(99_999));
    }

    proptest! {
        /// Whatever refers to whatever: every message is there once, depths grow by one at most.
        #[test]
        fn every_message_is_threaded_once(links in proptest::collection::vec(
            (0u8..8, proptest::collection::vec(0u8..8, 0..4), 0u8..4), 0..14)) {
            let all: Vec<Facts> = (1..).zip(&links).map(|(uid, (id, refs, subject))| Facts {
                uid,
                sent: i64::from(*id),
                message_id: (*id < 7).then(|| id.to_string()),
                references: refs.iter().map(u8::to_string).collect(),
                is_reply: subject % 2 == 1,
                subject: if *subject == 3 { String::new() } else { (subject / 2).to_string() },
                ..Facts::default()
            }).collect();
            for by in [ThreadBy::References, ThreadBy::OrderedSubject] {
                let threads = thread(&all, by);
                let mut uids: Vec<u32> = threads.iter().filter_map(|t| t.uid).collect();
                uids.sort_unstable();
                prop_assert_eq!(uids, all.iter().map(|f| f.uid).collect::<Vec<_>>());
                let mut before = None;
                for t in &threads {
                    prop_assert!(t.depth <= before.map_or(0, |d: u32| d + 1));
                    before = Some(t.depth);
                }
            }
        }
    }
}
