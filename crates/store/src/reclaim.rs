//! Gives the space of deleted bodies back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::lock;
use crate::shared::{Place, Shared};

/// Only whole pages can be given back.
const PAGE: u64 = 4096;
/// Most bodies per round.
const ROUND_MAX: usize = 20_000;

/// Punches holes where deleted bodies lay. Their records' heads stay, so that the segment can
/// still be walked.
pub(crate) fn punch(shared: &Arc<Shared>) {
    if shared.copying.load(Ordering::Acquire) > 0 {
        return;
    }
    let mut dead = {
        let mut all = lock(&shared.dead);
        let count = all.len().min(ROUND_MAX);
        all.drain(..count).collect::<Vec<_>>()
    };
    dead.sort_unstable_by_key(|(_, place)| (place.segment, place.start));
    let mut later = Vec::new();
    for (id, place) in dead {
        if id.0 != 0 && shared.is_pinned(id) {
            later.push((id, place));
        } else {
            punch_one(shared, place);
        }
    }
    lock(&shared.dead).append(&mut later);
}

fn punch_one(shared: &Shared, place: Place) {
    let from = place.start.next_multiple_of(PAGE);
    let to = (place.start + place.len) / PAGE * PAGE;
    if to <= from {
        return;
    }
    let Ok(file) = shared.files.get(place.segment) else { return };
    // A backup that links to the file still needs what lies there.
    if file.names().unwrap_or(2) > 1 {
        return;
    }
    // Some file systems cannot; the space then comes back when the segment is rewritten.
    if file.punch(from, to - from).is_ok() {
        shared.counts.punched.fetch_add(to - from, Ordering::Relaxed);
    }
}
