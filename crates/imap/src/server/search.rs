//! SEARCH, SORT and THREAD: keys resolved against the session's view, answers in every shape
//! (RFC 9051 §6.4.4, RFC 4731, 5182, 5256, 5267, 9394).

use super::Server;
use super::fetch::slice;
use super::job::{Job, Tail};
use super::sync::Open;
use crate::ask::{Answer, Ask, Code, Found, Order, Refusal, SearchAsk, Thread};
use crate::command::{By, Partial, Returns, SearchKey, SearchSpec};
use crate::set::UidSet;
use crate::wire::write;

/// A SEARCH under way.
pub(super) struct Search {
    tag: String,
    by: By,
    returns: Option<Returns>,
    sorted: bool,
    modseq: bool,
    /// The whole result, while the mod-sequences of its ends are asked for.
    whole: Option<Found>,
}

/// Replaces what only this session knows by UIDs.
fn resolve(open: &Open, key: SearchKey) -> SearchKey {
    match key {
        SearchKey::Seqs(set) => SearchKey::Uids(open.view.uids_at(&set.resolve(open.view.count()))),
        SearchKey::UidSeqs(set) => {
            SearchKey::Uids(set.resolve(open.view.last_uid()).intersect(open.view.uids()))
        }
        SearchKey::Saved => SearchKey::Uids(open.saved.clone()),
        SearchKey::Recent => SearchKey::Uids(open.recent.clone()),
        SearchKey::And(keys) => SearchKey::And(keys.into_iter().map(|k| resolve(open, k)).collect()),
        SearchKey::Or(a, b) => SearchKey::Or(Box::new(resolve(open, *a)), Box::new(resolve(open, *b))),
        SearchKey::Not(k) => SearchKey::Not(Box::new(resolve(open, *k))),
        key => key,
    }
}

impl Server {
    pub(super) fn search(&mut self, tag: String, by: By, spec: SearchSpec) {
        let SearchSpec { key, mut returns, sort, thread, modseq, bad_charset } = spec;
        if modseq {
            self.use_condstore();
        }
        let Some(open) = &mut self.folder else { return };
        let saves = returns.is_some_and(|r| r.save);
        if bad_charset {
            // RFC 5182 §2.1: a failed SEARCH that would have saved leaves nothing saved.
            if saves {
                open.saved = UidSet::new();
            }
            let why = Refusal::new(Code::BadCharset, "Texts are read as UTF-8 or US-ASCII only");
            return self.finish(Tail::refused(tag, &why).by(by));
        }
        // RFC 9051 §6.4.4: IMAP4rev2 answers every SEARCH in the extended shape.
        if self.enabled.rev2 && returns.is_none() && sort.is_none() && thread.is_none() {
            returns = Some(Returns { all: true, ..Returns::default() });
        }
        let sorted = sort.is_some();
        let order = match (sort, thread) {
            (Some(keys), _) => Order::Sort(keys),
            (None, Some(thread)) => Order::Thread(thread),
            (None, None) => Order::Uid,
        };
        let ask = SearchAsk { key: resolve(open, key), order, modseq };
        let search = Search { tag, by, returns, sorted, modseq, whole: None };
        self.ask(Ask::Search(Box::new(ask)), Job::Search(Box::new(search)));
    }

    /// RFC 7162 §3.1.5: with MIN or MAX alone the mod-sequence told is that of these messages.
    fn asks_ends(&mut self, search: &Search, found: &Found) -> Option<UidSet> {
        let returns =
            search.returns.filter(|r| (r.min || r.max) && !r.all && !r.count && r.partial.is_none())?;
        if !search.modseq || search.whole.is_some() || search.sorted {
            return None;
        }
        let open = self.folder.as_ref()?;
        let shown: UidSet = UidSet::of(found.uids.clone()).intersect(open.view.uids());
        let ends = [shown.first().filter(|_| returns.min), shown.last().filter(|_| returns.max)];
        Some(UidSet::of(ends.into_iter().flatten().collect())).filter(|s| !s.is_empty())
    }

    pub(super) fn found(&mut self, mut search: Search, answer: Answer) {
        let answer = match answer {
            Answer::Found(found) => match (self.asks_ends(&search, &found), search.whole.take()) {
                (Some(ends), _) => {
                    let ask = SearchAsk { key: SearchKey::Uids(ends), order: Order::Uid, modseq: true };
                    search.whole = Some(found);
                    return self.ask(Ask::Search(Box::new(ask)), Job::Search(Box::new(search)));
                }
                (None, Some(whole)) => Answer::Found(Found { modseq: found.modseq, ..whole }),
                (None, None) => Answer::Found(found),
            },
            answer => answer,
        };
        let text = if search.sorted { "Sort completed" } else { "Search completed" };
        let tail = match answer {
            Answer::Found(found) => {
                match search.returns {
                    None => self.tell_found(&search, &found),
                    Some(returns) => self.tell_extended(&search, &found, returns),
                }
                Tail::ok(search.tag, text)
            }
            Answer::Threads(threads) => {
                self.tell_threads(search.by, &threads);
                Tail::ok(search.tag, "Thread completed")
            }
            Answer::Refused(why) => {
                if let (Some(open), Some(true)) = (&mut self.folder, search.returns.map(|r| r.save)) {
                    open.saved = UidSet::new();
                }
                Tail::refused(search.tag, &why)
            }
            _ => stdx::never!("an answer that fits no open question of SEARCH"),
        };
        self.finish(tail.by(search.by));
    }

    /// `* SEARCH 2 84 882` and `* SORT 5 3 4`.
    fn tell_found(&mut self, search: &Search, found: &Found) {
        let Some(open) = &self.folder else { return };
        let out = &mut self.out;
        out.extend_from_slice(if search.sorted { b"* SORT" } else { b"* SEARCH" });
        let mut any = false;
        for &uid in &found.uids {
            let Some(seq) = open.view.seq_of(uid) else { continue };
            any = true;
            out.push(b' ');
            write::number(out, u64::from(if search.by == By::Uid { uid } else { seq }));
        }
        if let Some(modseq) = found.modseq.filter(|_| search.modseq && any) {
            out.extend_from_slice(format!(" (MODSEQ {modseq})").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }

    /// `* ESEARCH (TAG "a") UID COUNT 5 ALL 1:17,21` (RFC 4731 §3.1).
    fn tell_extended(&mut self, search: &Search, found: &Found, returns: Returns) {
        let Some(open) = &mut self.folder else { return };
        let shown: Vec<u32> = found.uids.iter().copied().filter(|u| open.view.seq_of(*u).is_some()).collect();
        if returns.save {
            open.saved = saved(&shown, returns);
        }
        let only_saves = Returns { save: true, ..Returns::default() } == returns;
        if only_saves {
            return;
        }
        let number = |uid: u32| if search.by == By::Uid { uid } else { open.view.seq_of(uid).unwrap_or(0) };
        let out = &mut self.out;
        out.extend_from_slice(b"* ESEARCH (TAG ");
        write::string(out, search.tag.as_bytes(), false);
        out.push(b')');
        if search.by == By::Uid {
            out.extend_from_slice(b" UID");
        }
        if let (true, Some(&first)) =
            (returns.min, shown.iter().min().filter(|_| !search.sorted).or(shown.first()))
        {
            out.extend_from_slice(format!(" MIN {}", number(first)).as_bytes());
        }
        if let (true, Some(&last)) =
            (returns.max, shown.iter().max().filter(|_| !search.sorted).or(shown.last()))
        {
            out.extend_from_slice(format!(" MAX {}", number(last)).as_bytes());
        }
        if returns.count {
            out.extend_from_slice(format!(" COUNT {}", shown.len()).as_bytes());
        }
        let numbers: Vec<u32> = shown.iter().map(|&u| number(u)).collect();
        if returns.all && !numbers.is_empty() {
            out.extend_from_slice(b" ALL ");
            runs(out, &numbers);
        }
        if let Some(partial) = returns.partial {
            tell_partial(out, &numbers, partial);
        }
        if let Some(modseq) = found.modseq.filter(|_| search.modseq && !shown.is_empty()) {
            out.extend_from_slice(format!(" MODSEQ {modseq}").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }

    /// `* THREAD (2)(3 6 (4 23)(44 7 96))` (RFC 5256 §4).
    fn tell_threads(&mut self, by: By, threads: &[Thread]) {
        let Some(open) = &self.folder else { return };
        self.out.extend_from_slice(b"* THREAD");
        let number = |uid: u32| {
            let seq = open.view.seq_of(uid)?;
            Some(if by == By::Uid { uid } else { seq })
        };
        let known: Vec<(u32, Option<u32>)> =
            threads.iter().map(|t| (t.depth, t.uid.and_then(number))).collect();
        let text = forest(&known);
        if !text.is_empty() {
            self.out.push(b' ');
        }
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }
}

/// RFC 5182 §2.4: with MIN or MAX alone only those are saved.
fn saved(shown: &[u32], returns: Returns) -> UidSet {
    let all = UidSet::of(shown.to_vec());
    if let Some(partial) = returns.partial {
        return slice(&all, partial);
    }
    if returns.all || returns.count || !(returns.min || returns.max) {
        return all;
    }
    let ends = [all.first().filter(|_| returns.min), all.last().filter(|_| returns.max)];
    UidSet::of(ends.into_iter().flatten().collect())
}

/// A list in its order, rising runs written as ranges.
fn runs(out: &mut Vec<u8>, numbers: &[u32]) {
    let mut at = 0;
    while let Some(&first) = numbers.get(at) {
        let mut last = first;
        if at > 0 {
            out.push(b',');
        }
        at += 1;
        while numbers.get(at).is_some_and(|&n| Some(n) == last.checked_add(1)) {
            last += 1;
            at += 1;
        }
        write::number(out, u64::from(first));
        if last != first {
            out.push(b':');
            write::number(out, u64::from(last));
        }
    }
}

/// RFC 9394 §3.1: ` PARTIAL (-1:-100 5,7)`, NIL if the range lies outside.
fn tell_partial(out: &mut Vec<u8>, numbers: &[u32], partial: Partial) {
    let sign = if partial.from_end { "-" } else { "" };
    out.extend_from_slice(format!(" PARTIAL ({sign}{}:{sign}{} ", partial.first, partial.last).as_bytes());
    let (count, first, last) = (numbers.len(), partial.first as usize, partial.last as usize);
    let range = match partial.from_end {
        _ if first > count => None,
        false => Some((first - 1, last.min(count))),
        true => Some((count.saturating_sub(last), count - first + 1)),
    };
    match range {
        Some((from, to)) => runs(out, &numbers[from..to]),
        None => out.extend_from_slice(b"NIL"),
    }
    out.push(b')');
}

/// Threads in parentheses. Works on the flat list, so no depth can exhaust the stack.
fn forest(nodes: &[(u32, Option<u32>)]) -> String {
    let mut children = vec![0u32; nodes.len()];
    let mut path: Vec<usize> = Vec::new();
    for (n, &(depth, _)) in nodes.iter().enumerate() {
        path.truncate(depth as usize);
        if let Some(&parent) = path.last() {
            children[parent] += 1;
        }
        path.push(n);
    }
    let mut out = String::new();
    // Depths at which a parenthesis stands open, and the node last seen at each depth.
    let (mut open, mut path): (Vec<u32>, Vec<usize>) = (Vec::new(), Vec::new());
    for (n, &(depth, number)) in nodes.iter().enumerate() {
        path.truncate(depth as usize);
        let parent = path.last().copied();
        path.push(n);
        while open.last().is_some_and(|&d| d >= depth) {
            open.pop();
            out.push(')');
        }
        let only_child = parent.is_some_and(|p| children[p] == 1);
        if !only_child {
            // A missing parent has no number, so its children need no space before them.
            if out.ends_with(|c: char| c.is_ascii_digit()) {
                out.push(' ');
            }
            out.push('(');
            open.push(depth);
        } else if out.ends_with(|c: char| c.is_ascii_digit()) && number.is_some() {
            out.push(' ');
        }
        if let Some(number) = number {
            out.push_str(&number.to_string());
        }
    }
    out.extend(open.iter().map(|_| ')'));
    out.replace("()", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forests_are_written_as_rfc_5256_shows_them() {
        let show = |nodes: &[(u32, u32)]| {
            let nodes: Vec<_> = nodes.iter().map(|&(d, n)| (d, (n > 0).then_some(n))).collect();
            forest(&nodes)
        };
        let example = [(0, 2), (0, 3), (1, 6), (2, 4), (3, 23), (2, 44), (3, 7), (4, 96)];
        assert_eq!(show(&example), "(2)(3 6 (4 23)(44 7 96))");
        assert_eq!(show(&[(0, 0), (1, 3), (1, 5)]), "((3)(5))");
        assert_eq!(show(&[(0, 1), (1, 2), (1, 3), (2, 4), (0, 5)]), "(1 (2)(3 4))(5)");
        assert_eq!(show(&[]), "");
    }

    #[test]
    fn results_are_written_as_runs_in_their_order() {
        let show = |numbers: &[u32]| {
            let mut out = Vec::new();
            runs(&mut out, numbers);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(show(&[1, 2, 3, 7, 9, 10]), "1:3,7,9:10");
        assert_eq!(show(&[5, 4, 3]), "5,4,3");
    }

    #[test]
    fn partial_results_count_from_either_end() {
        let show = |from_end, first, last| {
            let mut out = Vec::new();
            tell_partial(&mut out, &[1, 2, 5, 9], Partial { from_end, first, last });
            String::from_utf8(out).unwrap()
        };
        assert_eq!(show(false, 2, 3), " PARTIAL (2:3 2,5)");
        assert_eq!(show(true, 1, 2), " PARTIAL (-1:-2 5,9)");
        assert_eq!(show(true, 3, 99), " PARTIAL (-3:-99 1:2)");
        assert_eq!(show(false, 5, 9), " PARTIAL (5:9 NIL)");
    }
}
