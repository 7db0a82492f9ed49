//! How wrong passwords are slowed, and addresses that guess are held off.
//!
//! What counts is the address, not the account: an owner is never locked out by what others do
//! elsewhere. Nor is he by his own network: where an account has logged in before, it is
//! listened to even while the address is held off. The same wrong password again counts once,
//! so that one telephone with an old password does not shut out an office.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use stdx::{Now, Span};
use words::AccountId;

/// Wrong passwords are counted over this long.
const WINDOW: Span = Span::mins(15);
/// So many different wrong log-ins in the window hold an address off.
const WRONG_MAX: u32 = 12;
/// The first hold; each further one is twice as long.
const HOLD: Span = Span::mins(15);
const HOLD_MAX: Span = Span::hours(4);
/// The first wrong answer waits this long; each further one twice as long.
const DELAY: Span = Span::ms(250);
const DELAY_MAX: Span = Span::secs(8);
/// Wrong passwords for one account from everywhere, after which strangers to it wait.
const ACCOUNT_WRONG_MAX: u32 = 30;
const ACCOUNT_DELAY: Span = Span::secs(4);
/// An address is known to an account for so long after a log-in.
const KNOWN: Span = Span::days(30);
/// Wrong passwords of a known pair before it is treated like strangers.
const KNOWN_WRONG_MAX: u32 = 6;
/// Log-ins refused before a password was read, or lost in a handshake, that are recorded of one
/// address in a window.
const NOTES_MAX: u32 = 30;
/// Remembered at most, of each kind.
const KEPT_MAX: usize = 50_000;

/// What is remembered of wrong log-ins from one address, or for one account, or of a pair.
#[derive(Clone, Default)]
struct Record {
    wrong: u32,
    since: Now,
    last: Now,
    held_until: Now,
    holds: u32,
    told: bool,
    /// Marks of the last wrong log-ins.
    seen: [u64; 8],
}

impl Record {
    fn roll(&mut self, now: Now) {
        if now.since(self.since) >= WINDOW {
            self.wrong = 0;
            self.since = now;
            self.seen = [0; 8];
        }
        if now.since(self.last) >= Span::days(1) {
            self.holds = 0;
        }
    }
    /// False if this very log-in was counted already.
    fn count(&mut self, mark: u64, now: Now) -> bool {
        self.roll(now);
        self.last = now;
        if self.seen.contains(&mark) {
            return false;
        }
        self.seen.rotate_right(1);
        self.seen[0] = mark;
        self.wrong += 1;
        true
    }
}

/// Whether a log-in may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// After this wait, mostly none.
    Open(Span),
    /// Not before `until`. `first` is true once per hold: worth a fact of its own.
    Shut { until: Now, first: bool },
}

/// All that is remembered. It knows nothing after a restart, and then learns again.
#[derive(Default)]
pub struct Throttle {
    addresses: HashMap<IpAddr, Record>,
    accounts: HashMap<AccountId, Record>,
    /// Log-ins that went well, by address and account, with what has gone wrong since.
    known: HashMap<(IpAddr, AccountId), (Now, Record)>,
    /// What was recorded of an address without a password.
    notes: HashMap<IpAddr, (Now, u32)>,
}

impl Throttle {
    fn knows(&self, from: IpAddr, account: Option<AccountId>, now: Now) -> bool {
        let pair = account.and_then(|id| self.known.get(&(from, id)));
        pair.is_some_and(|(at, record)| {
            now.since(*at) < KNOWN && (record.wrong < KNOWN_WRONG_MAX || now.since(record.since) >= WINDOW)
        })
    }

    /// To be asked before a password is looked at. `from` is an address as [`crate::gate::network`]
    /// gives it.
    pub fn check(&mut self, from: IpAddr, account: Option<AccountId>, now: Now) -> Gate {
        if self.knows(from, account, now) {
            return Gate::Open(Span::ZERO);
        }
        if let Some(record) = self.addresses.get_mut(&from)
            && record.held_until > now
        {
            let first = !std::mem::replace(&mut record.told, true);
            return Gate::Shut { until: record.held_until, first };
        }
        let under_attack = account
            .and_then(|id| self.accounts.get(&id))
            .is_some_and(|record| record.wrong >= ACCOUNT_WRONG_MAX && now.since(record.since) < WINDOW);
        Gate::Open(if under_attack { ACCOUNT_DELAY } else { Span::ZERO })
    }

    /// A wrong log-in; `mark` is the same for the same user and password. Returns how long the
    /// answer is to wait.
    pub fn wrong(&mut self, from: IpAddr, account: Option<AccountId>, mark: u64, now: Now) -> Span {
        make_room(&mut self.addresses, |r| now.since(r.last) < WINDOW || r.held_until > now);
        make_room(&mut self.accounts, |r| now.since(r.last) < WINDOW);
        let record = self.addresses.entry(from).or_default();
        let news = record.count(mark, now);
        let n = record.wrong;
        if news && n >= WRONG_MAX && record.held_until <= now {
            let hold = Span((HOLD.as_ms() << record.holds.min(8)).min(HOLD_MAX.as_ms()));
            *record =
                Record { held_until: now + hold, holds: record.holds + 1, last: now, ..Record::default() };
        }
        if let Some(id) = account {
            if news {
                self.accounts.entry(id).or_default().count(mark, now);
            }
            if let Some((_, record)) = self.known.get_mut(&(from, id)) {
                record.count(mark, now);
            }
        }
        Span((DELAY.as_ms() << (n.saturating_sub(1)).min(10)).min(DELAY_MAX.as_ms()))
    }

    /// Whether a try without a password is worth a fact: a flood must not fill the ledger.
    pub fn may_record(&mut self, from: IpAddr, now: Now) -> bool {
        make_room(&mut self.notes, |(since, _)| now.since(*since) < WINDOW);
        let (since, n) = self.notes.entry(from).or_insert((now, 0));
        if now.since(*since) >= WINDOW {
            (*since, *n) = (now, 0);
        }
        *n += 1;
        *n <= NOTES_MAX
    }

    /// A log-in that went well. It does not wipe out what was wrong: a guesser may have an
    /// account of his own.
    pub fn right(&mut self, from: IpAddr, account: AccountId, now: Now) {
        make_room(&mut self.known, |(at, _)| now.since(*at) < KNOWN);
        self.known.insert((from, account), (now, Record::default()));
    }
}

fn make_room<K: Hash + Eq, V>(map: &mut HashMap<K, V>, worth: impl Fn(&V) -> bool) {
    if map.len() >= KEPT_MAX {
        map.retain(|_, v| worth(v));
        if map.len() >= KEPT_MAX {
            map.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Now = Now(1_000_000_000_000);
    const BOB: Option<AccountId> = Some(AccountId(2));

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn a_flood_without_passwords_is_recorded_in_part() {
        let mut t = Throttle::default();
        assert_eq!((0..100).filter(|_| t.may_record(ip(1), T)).count(), 30);
        assert!(t.may_record(ip(2), T) && t.may_record(ip(1), T + WINDOW));
    }

    #[test]
    fn a_guesser_is_slowed_then_held_off_and_let_in_later() {
        let mut t = Throttle::default();
        let mut waits = Vec::new();
        for n in 1..=12 {
            assert_eq!(t.check(ip(1), BOB, T), Gate::Open(Span::ZERO));
            waits.push(t.wrong(ip(1), BOB, n, T).as_ms());
        }
        assert_eq!(waits[..6], [250, 500, 1000, 2000, 4000, 8000]);
        assert_eq!(t.check(ip(1), BOB, T), Gate::Shut { until: T + HOLD, first: true });
        assert_eq!(t.check(ip(1), None, T), Gate::Shut { until: T + HOLD, first: false });
        assert_eq!(t.check(ip(2), BOB, T), Gate::Open(Span::ZERO));
        assert_eq!(t.check(ip(1), BOB, T + HOLD), Gate::Open(Span::ZERO));
        for n in 20..32 {
            t.wrong(ip(1), BOB, n, T + HOLD);
        }
        assert_eq!(
            t.check(ip(1), BOB, T + HOLD),
            Gate::Shut { until: T + HOLD + Span::mins(30), first: true }
        );
    }

    #[test]
    fn the_owner_is_heard_where_he_is_known() {
        let mut t = Throttle::default();
        t.right(ip(1), AccountId(2), T);
        for n in 1..=12 {
            t.wrong(ip(1), Some(AccountId(9)), n, T);
        }
        assert!(matches!(t.check(ip(1), Some(AccountId(9)), T), Gate::Shut { .. }));
        assert_eq!(t.check(ip(1), BOB, T), Gate::Open(Span::ZERO));
        for n in 100..106 {
            t.wrong(ip(1), BOB, n, T);
        }
        assert!(matches!(t.check(ip(1), BOB, T), Gate::Shut { .. }));
        assert_eq!(t.check(ip(1), BOB, T + HOLD), Gate::Open(Span::ZERO));
    }

    #[test]
    fn the_same_wrong_password_again_counts_once() {
        let mut t = Throttle::default();
        for _ in 0..100 {
            t.wrong(ip(1), BOB, 7, T);
        }
        assert_eq!(t.check(ip(1), None, T), Gate::Open(Span::ZERO));
    }

    #[test]
    fn guesses_from_everywhere_slow_strangers_only() {
        let mut t = Throttle::default();
        t.right(ip(200), AccountId(2), T);
        for n in 1..=40 {
            t.wrong(ip(n), BOB, u64::from(n), T);
        }
        assert_eq!(t.check(ip(100), BOB, T), Gate::Open(ACCOUNT_DELAY));
        assert_eq!(t.check(ip(200), BOB, T), Gate::Open(Span::ZERO));
    }

    #[test]
    fn memory_is_bounded() {
        let mut t = Throttle::default();
        for n in 0..120_000u32 {
            t.wrong(
                IpAddr::from(n.to_be_bytes()),
                Some(AccountId(i64::from(n))),
                1,
                T + Span::secs(u64::from(n) / 100),
            );
        }
        assert!(t.addresses.len() <= KEPT_MAX && t.accounts.len() <= KEPT_MAX);
    }
}
