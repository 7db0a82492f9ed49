//! Peer, sender and recipient: what can be said before the text comes.

use stdx::Bytes;
use words::{Address, Reason, Reply, Verdict};

use crate::{Pass, no, yes};

/// Facts of a connection.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Held off after wrong passwords or by the operator, and until when in plain words.
    pub held_off: Option<String>,
}

/// Whether the disk has room for new mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    Free,
    Full { free: Bytes, reserve: Bytes },
}

/// Facts of a MAIL command.
#[derive(Clone, Debug)]
pub struct Mail<'a> {
    pub sender: Option<&'a Address>,
    pub room: Room,
    /// For one who is logged in: whether this account may send as this sender.
    pub may_send_as: Option<bool>,
    /// RFC 7505: the sender's domain says that it takes no mail. `None`: not known.
    pub null_mx: Option<bool>,
}

/// Whose a recipient is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Ours,
    /// The domain is ours; nobody of that name.
    NoSuchUser,
    NotOurs,
}

/// What the quotas of the mailboxes behind a recipient say of this message. Where one of them has room,
/// or it leads elsewhere too, there is room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    Room,
    /// With the message, or already, each would hold more than it may.
    Full,
    /// Even an empty one could not hold it.
    TooLarge,
}

/// Facts of a RCPT command, or of a recipient once the message's size is known.
#[derive(Clone, Debug)]
pub struct Rcpt<'a> {
    pub recipient: &'a Address,
    pub whose: Whose,
    /// Logged in, or from a network whose clients may relay.
    pub may_relay: bool,
    pub fill: Fill,
    /// The account is closed by order.
    pub closed: bool,
}

/// May this peer talk to us at all?
pub fn judge_peer(peer: &Peer) -> Verdict<Pass> {
    match &peer.held_off {
        Some(until) => no(
            Reply::new(421, (4, 7, 0), format!("Your address is held off until {until}")),
            Reason::new("peer.held_off", "the address is held off").with("until", until),
        ),
        None => yes(Reason::new("peer.welcome", "nothing speaks against the peer")),
    }
}

/// May this sender begin a message?
pub fn judge_mail(mail: &Mail<'_>) -> Verdict<Pass> {
    if let Room::Full { free, reserve } = mail.room {
        return no(
            Reply::new(452, (4, 3, 1), "The mail disk is full; please try again later"),
            Reason::new("mail.disk_full", "the disk is below its reserve")
                .with("free", free)
                .with("reserve", reserve),
        );
    }
    if mail.may_send_as == Some(false) {
        let sender = mail.sender.map_or_else(|| "<>".to_owned(), ToString::to_string);
        return no(
            Reply::new(553, (5, 7, 1), format!("You may not send as {sender} with this log-in")),
            Reason::new("mail.not_your_address", "the sender does not belong to the account")
                .with("sender", sender),
        );
    }
    // RFC 7505 §4.2: nobody can answer a domain that takes no mail.
    if let (Some(true), Some(sender)) = (mail.null_mx, mail.sender) {
        let domain = sender.domain();
        return no(
            Reply::new(
                550,
                (5, 7, 27),
                format!("The sender's domain {domain} takes no mail (null MX), so it can send none"),
            ),
            Reason::new("mail.null_mx", "the sender's domain has a null MX").with("domain", domain),
        );
    }
    yes(Reason::new("mail.welcome", "nothing speaks against the sender"))
}

/// May this recipient be part of the message?
pub fn judge_rcpt(rcpt: &Rcpt<'_>) -> Verdict<Pass> {
    let to = rcpt.recipient;
    match rcpt.whose {
        Whose::NotOurs if rcpt.may_relay => {
            yes(Reason::new("rcpt.relay", "the sender may send to other hosts"))
        }
        Whose::NotOurs => no(
            Reply::new(
                550,
                (5, 7, 1),
                format!("{} is not hosted here; log in to send to other hosts", to.domain()),
            ),
            Reason::new("rcpt.not_ours", "the domain is not ours and the sender has not logged in")
                .with("domain", to.domain()),
        ),
        Whose::NoSuchUser => no(
            Reply::new(550, (5, 1, 1), format!("There is no mailbox {to} here; please check the address")),
            Reason::new("rcpt.no_such_user", "the domain is ours, the name is not there")
                .with("recipient", to),
        ),
        Whose::Ours if rcpt.closed => no(
            Reply::new(550, (5, 2, 1), format!("The mailbox {to} is closed")),
            Reason::new("rcpt.closed", "the account is closed by order").with("recipient", to),
        ),
        // RFC 5321 §4.2.3: 452 asks for another try; an owner can make room in that time.
        Whose::Ours if rcpt.fill == Fill::Full => no(
            Reply::new(
                452,
                (4, 2, 2),
                format!("The mailbox {to} has no room for it; please try again later"),
            ),
            Reason::new("rcpt.over_quota", "the account would be over its quota").with("recipient", to),
        ),
        Whose::Ours if rcpt.fill == Fill::TooLarge => no(
            Reply::new(
                552,
                (5, 2, 2),
                format!("The message is larger than all that the mailbox {to} may hold"),
            ),
            Reason::new("rcpt.larger_than_quota", "the message alone is over the account's quota")
                .with("recipient", to),
        ),
        Whose::Ours => yes(Reason::new("rcpt.ours", "the address is ours")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).expect("valid")
    }

    fn code(verdict: &Verdict<Pass>) -> (u16, &'static str) {
        match &verdict.decision {
            Pass::Yes => (250, verdict.reasons.first().rule),
            Pass::No(reply) => (reply.code, verdict.reasons.first().rule),
        }
    }

    fn check(whose: Whose, (may_relay, fill, closed): (bool, Fill, bool), want: (u16, &'static str)) {
        let to = address("b@x.example");
        let verdict = judge_rcpt(&Rcpt { recipient: &to, whose, may_relay, fill, closed });
        assert_eq!(code(&verdict), want);
    }

    #[test]
    fn only_who_has_logged_in_sends_elsewhere() {
        use Fill::{Full, Room, TooLarge};
        check(Whose::NotOurs, (false, Room, false), (550, "rcpt.not_ours"));
        check(Whose::NotOurs, (true, Room, false), (250, "rcpt.relay"));
        check(Whose::NoSuchUser, (true, Room, false), (550, "rcpt.no_such_user"));
        check(Whose::Ours, (false, Room, false), (250, "rcpt.ours"));
        check(Whose::Ours, (false, Full, false), (452, "rcpt.over_quota"));
        check(Whose::Ours, (false, TooLarge, false), (552, "rcpt.larger_than_quota"));
        check(Whose::Ours, (false, Full, true), (550, "rcpt.closed"));
    }

    #[test]
    fn a_full_disk_speaks_before_anything_else() {
        let room = Room::Full { free: Bytes::mib(1), reserve: Bytes::mib(64) };
        let verdict = judge_mail(&Mail { sender: None, room, may_send_as: Some(false), null_mx: Some(true) });
        assert_eq!(code(&verdict), (452, "mail.disk_full"));
    }

    #[test]
    fn a_sender_must_belong_to_the_account_and_be_answerable() {
        let a = address("a@x.example");
        let mail = Mail { sender: Some(&a), room: Room::Free, may_send_as: None, null_mx: None };
        assert_eq!(code(&judge_mail(&mail)), (250, "mail.welcome"));
        assert_eq!(code(&judge_mail(&Mail { may_send_as: Some(false), ..mail.clone() })).0, 553);
        // RFC 7505 §4.2.
        assert_eq!(code(&judge_mail(&Mail { null_mx: Some(true), ..mail })), (550, "mail.null_mx"));
    }

    #[test]
    fn a_peer_held_off_hears_until_when() {
        assert_eq!(code(&judge_peer(&Peer::default())).0, 250);
        assert_eq!(code(&judge_peer(&Peer { held_off: Some("12:00 UTC".into()) })).0, 421);
    }
}
