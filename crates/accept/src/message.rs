//! The whole message: loops, and what SPF, DKIM and DMARC prove.
//!
//! The table, in the order in which it is read:
//!
//! | facts | decision |
//! |---|---|
//! | it has come round in a circle | refused 554 5.4.6 |
//! | the recipient has allowed this sender from there | inbox |
//! | DMARC passes (SPF or DKIM, aligned) | inbox |
//! | a look-up failed and the domain's policy is more than `none` | 451, so that it comes again |
//! | DMARC fails, policy `reject`, not by way of a list | refused 550 5.7.1, with the ways out |
//! | DMARC fails, policy `reject` by way of a list, or `quarantine` | junk |
//! | no DMARC record or policy `none`, and SPF fails (`-all`) without any valid signature | junk |
//! | a stranger without name: no reverse name, no proof of any kind, never written to | refused 550 5.7.25 |
//! | anything else | inbox |

use words::{Domain, Reason, Reply, Verdict};

/// What SPF says of the envelope (RFC 7208 §2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spf {
    Pass,
    Fail,
    SoftFail,
    Neutral,
    None,
    TempError,
    PermError,
}

/// What the domain in From asks for (RFC 9989 §4.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    None,
    Quarantine,
    Reject,
}

/// What DMARC says of the domain in From.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dmarc {
    /// The domain publishes nothing.
    Absent,
    Pass,
    Fail(Policy),
    /// A look-up failed; nobody can say.
    Unknown(Policy),
}

/// Signs of a message that goes round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loop {
    /// RFC 5321 §6.3.
    TooManyHops { hops: usize, max: usize },
    /// RFC 9228: Delivered-To names a recipient to whom it would go again.
    DeliveredBefore { to: String },
}

/// Facts of a message from outside.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    pub looping: Option<Loop>,
    /// The domain in From, if there is exactly one.
    pub from: Option<&'a Domain>,
    pub spf: Spf,
    /// A valid signature of any domain.
    pub signed: bool,
    pub dmarc: Dmarc,
    /// It bears the marks of a mailing list.
    pub list: bool,
    /// The recipient has allowed this sender, coming from there.
    pub allowed: bool,
    /// The peer's address has a name that leads back to it. `None`: could not be asked.
    pub reverse: Option<bool>,
    /// Our users have written to the sender before.
    pub known: bool,
}

/// Where the message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Inbox,
    Junk,
    Refuse(Reply),
}

/// Where does this message go?
pub fn judge_message(message: &Message<'_>) -> Verdict<Place> {
    if let Some(why) = &message.looping {
        return circle(why);
    }
    if message.allowed {
        return Verdict::new(
            Place::Inbox,
            Reason::new("message.allowed", "the recipient has allowed this sender"),
        );
    }
    let from = message.from.map_or_else(|| "(no one domain in From)".to_owned(), ToString::to_string);
    match message.dmarc {
        Dmarc::Pass => {
            Verdict::new(Place::Inbox, Reason::new("message.proven", "DMARC passes").with("from", from))
        }
        Dmarc::Unknown(policy) if policy > Policy::None => {
            let text = format!("The records of {from} cannot be looked up now; please try again later");
            refuse(
                Reply::new(451, (4, 7, 0), text),
                Reason::new("message.unknown", "a look-up that decides failed").with("from", from),
            )
        }
        Dmarc::Fail(Policy::Reject) if !message.list => refuse(
            Reply::new(550, (5, 7, 1), ways_out(&from)),
            Reason::new("message.dmarc_reject", "DMARC fails, and the domain asks for refusal")
                .with("from", from),
        ),
        // RFC 9989 §7.4: lists break signatures; what came by one is not refused for that alone.
        Dmarc::Fail(Policy::Reject) => Verdict::new(
            Place::Junk,
            Reason::new("message.dmarc_reject_by_list", "DMARC fails, but it came by way of a list")
                .with("from", from),
        ),
        Dmarc::Fail(Policy::Quarantine) => Verdict::new(
            Place::Junk,
            Reason::new("message.dmarc_quarantine", "DMARC fails, and the domain asks for the junk folder")
                .with("from", from),
        ),
        _ => unproven(message, &from),
    }
}

fn unproven(message: &Message<'_>, from: &str) -> Verdict<Place> {
    if message.spf == Spf::Fail && !message.signed {
        return Verdict::new(
            Place::Junk,
            Reason::new(
                "message.spf_fail",
                "SPF says that the peer may not send for the envelope's domain, and nothing is signed",
            )
            .with("from", from),
        );
    }
    let proof = message.spf == Spf::Pass || message.signed || message.known;
    if message.reverse == Some(false) && !proof && message.spf == Spf::None {
        return refuse(
            Reply::new(
                550,
                (5, 7, 25),
                "Your address has no name in DNS, and neither SPF nor DKIM vouches for the sender; give it a \
                 PTR record, or publish SPF, or sign with DKIM",
            ),
            Reason::new("message.nameless_stranger", "no reverse name, no proof, never written to")
                .with("from", from),
        );
    }
    Verdict::new(
        Place::Inbox,
        Reason::new("message.welcome", "nothing speaks against it")
            .with("from", from)
            .with("spf", word(message.spf)),
    )
}

fn word(spf: Spf) -> &'static str {
    match spf {
        Spf::Pass => "pass",
        Spf::Fail => "fail",
        Spf::SoftFail => "softfail",
        Spf::Neutral => "neutral",
        Spf::None => "none",
        Spf::TempError => "temperror",
        Spf::PermError => "permerror",
    }
}

fn ways_out(from: &str) -> String {
    format!(
        "{from} asks that mail in its name be refused unless SPF or DKIM proves it, and this does not. \
         If you send for {from}: log in at its own mail server, or have your server added to its SPF or DKIM"
    )
}

fn refuse(reply: Reply, reason: Reason) -> Verdict<Place> {
    let reason = reason.with("reply", reply.to_string());
    Verdict::new(Place::Refuse(reply), reason)
}

fn circle(why: &Loop) -> Verdict<Place> {
    match why {
        Loop::TooManyHops { hops, max } => refuse(
            Reply::new(
                554,
                (5, 4, 6),
                format!("The message has passed {hops} hosts; it goes round in a circle"),
            ),
            Reason::new("message.too_many_hops", "more Received fields than any honest way has")
                .with("hops", hops)
                .with("max", max),
        ),
        Loop::DeliveredBefore { to } => refuse(
            Reply::new(
                554,
                (5, 4, 6),
                format!("The message was delivered to {to} before; a forward leads back here"),
            ),
            Reason::new("message.delivered_before", "Delivered-To names the recipient").with("to", to),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Message<'static> {
        Message {
            looping: None,
            from: None,
            spf: Spf::None,
            signed: false,
            dmarc: Dmarc::Absent,
            list: false,
            allowed: false,
            reverse: Some(true),
            known: false,
        }
    }

    fn check(message: &Message<'_>, want: &str) {
        let verdict = judge_message(message);
        let got = match &verdict.decision {
            Place::Inbox => "inbox".to_owned(),
            Place::Junk => "junk".to_owned(),
            Place::Refuse(reply) => {
                assert!(reply.to_string().len() <= 512, "a refusal fits one line");
                reply.code.to_string()
            }
        };
        assert_eq!(got, want, "{message:?}: {}", verdict.reasons.first());
    }

    /// The twelve cases of "SMTP AUTH is required": envelope and From of a domain of ours, from outside.
    #[test]
    fn mail_in_our_name_from_outside_follows_the_table() {
        use Policy::{None as Nothing, Quarantine, Reject};
        for (spf, aligned, dmarc, want) in [
            (Spf::Pass, true, Dmarc::Pass, "inbox"),
            (Spf::Pass, false, Dmarc::Pass, "inbox"),
            (Spf::Fail, true, Dmarc::Pass, "inbox"),
            (Spf::Fail, false, Dmarc::Fail(Nothing), "junk"),
            (Spf::Fail, false, Dmarc::Fail(Quarantine), "junk"),
            (Spf::Fail, false, Dmarc::Fail(Reject), "550"),
            (Spf::SoftFail, false, Dmarc::Fail(Nothing), "inbox"),
            (Spf::SoftFail, false, Dmarc::Fail(Quarantine), "junk"),
            (Spf::SoftFail, false, Dmarc::Fail(Reject), "550"),
            (Spf::None, false, Dmarc::Absent, "inbox"),
        ] {
            check(&Message { spf, signed: aligned, dmarc, ..plain() }, want);
        }
        // A list returns our own mail with its signature broken; a forward keeps it whole.
        check(&Message { spf: Spf::Pass, list: true, dmarc: Dmarc::Fail(Reject), ..plain() }, "junk");
        check(&Message { spf: Spf::Fail, signed: true, dmarc: Dmarc::Pass, ..plain() }, "inbox");
    }

    #[test]
    fn a_look_up_that_decides_is_asked_for_again() {
        check(&Message { dmarc: Dmarc::Unknown(Policy::Reject), ..plain() }, "451");
        check(&Message { dmarc: Dmarc::Unknown(Policy::None), ..plain() }, "inbox");
    }

    #[test]
    fn an_allowed_sender_passes_and_a_loop_never_does() {
        let spoof = Message { spf: Spf::Fail, dmarc: Dmarc::Fail(Policy::Reject), ..plain() };
        check(&Message { allowed: true, ..spoof.clone() }, "inbox");
        check(&spoof, "550");
        let round = Loop::TooManyHops { hops: 51, max: 50 };
        check(&Message { looping: Some(round), allowed: true, ..plain() }, "554");
        let again = Loop::DeliveredBefore { to: "b@x.example".into() };
        check(&Message { looping: Some(again), ..plain() }, "554");
    }

    #[test]
    fn a_nameless_stranger_is_refused_but_no_correspondent_and_nobody_with_proof() {
        let stranger = Message { reverse: Some(false), ..plain() };
        check(&stranger, "550");
        check(&Message { known: true, ..stranger.clone() }, "inbox");
        check(&Message { spf: Spf::Pass, ..stranger.clone() }, "inbox");
        check(&Message { signed: true, ..stranger.clone() }, "inbox");
        // What could not be asked is no reason.
        check(&Message { reverse: None, ..stranger }, "inbox");
    }

    /// A law: more proof never makes it worse.
    #[test]
    fn more_proof_never_makes_it_worse() {
        let rank = |m: &Message<'_>| match judge_message(m).decision {
            Place::Inbox => 0,
            Place::Junk => 1,
            Place::Refuse(_) => 2,
        };
        let policies = [Policy::None, Policy::Quarantine, Policy::Reject];
        let dmarcs = policies.map(Dmarc::Fail).into_iter().chain([Dmarc::Absent]);
        for dmarc in dmarcs {
            for spf in [Spf::Fail, Spf::SoftFail, Spf::Neutral, Spf::None, Spf::PermError, Spf::TempError] {
                for (list, reverse) in [(false, None), (true, Some(false)), (false, Some(true))] {
                    let m = Message { dmarc, spf, list, reverse, ..plain() };
                    for better in [
                        Message { dmarc: Dmarc::Pass, ..m.clone() },
                        Message { signed: true, ..m.clone() },
                        Message { spf: Spf::Pass, ..m.clone() },
                        Message { known: true, ..m.clone() },
                        Message { allowed: true, ..m.clone() },
                    ] {
                        assert!(rank(&better) <= rank(&m), "{better:?} against {m:?}");
                    }
                }
            }
        }
    }
}
