//! One message on its way out: the commands for its envelope, and what came back.

use std::collections::VecDeque;

use words::{Body, Envelope, Notify, Recipient, Reply, Ret};

use super::ask::{Break, Fate, Outcome, Stage, Unfit};
use super::capabilities::Capabilities;
use crate::params::xtext;
use crate::text::Stuff;

/// A command of the envelope, sent or to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Rset,
    Mail,
    Rcpt(usize),
    Data,
}

pub(super) struct Delivery {
    pub(super) envelope: Envelope,
    fates: Vec<Option<Fate>>,
    taken: Vec<bool>,
    pub(super) to_send: VecDeque<Step>,
    pub(super) awaited: VecDeque<Step>,
    pub(super) text: Stuff,
    pub(super) chunked: bool,
    pub(super) pipelined: bool,
    /// The last piece has been sent; its reply is the one that counts.
    pub(super) ended: bool,
    dsn: bool,
}

impl Delivery {
    pub(super) fn new(
        envelope: Envelope,
        caps: &Capabilities,
        (chunked, pipelined): (bool, bool),
    ) -> Delivery {
        let count = envelope.recipients.len();
        let mut to_send: VecDeque<Step> = VecDeque::with_capacity(count + 2);
        to_send.push_back(Step::Mail);
        to_send.extend((0..count).map(Step::Rcpt));
        if !chunked {
            to_send.push_back(Step::Data);
        }
        Delivery {
            envelope,
            fates: vec![None; count],
            taken: vec![false; count],
            to_send,
            awaited: VecDeque::new(),
            text: if chunked { Stuff::plain() } else { Stuff::dotted() },
            chunked,
            pipelined,
            ended: false,
            dsn: caps.dsn,
        }
    }

    /// Whether the server can take the message at all.
    pub(super) fn unfit(&self, caps: &Capabilities) -> Option<Unfit> {
        let envelope = &self.envelope;
        let addresses_need_utf8 = envelope.sender.as_ref().is_some_and(words::Address::needs_utf8)
            || envelope.recipients.iter().any(|r| r.address.needs_utf8());
        if (envelope.smtputf8 || addresses_need_utf8) && !caps.smtputf8 {
            return Some(Unfit::Utf8);
        }
        match (envelope.size, caps.size_max) {
            (Some(size), Some(max)) if size > max => return Some(Unfit::TooLarge { max }),
            _ => {}
        }
        if envelope.requiretls && !caps.requiretls {
            return Some(Unfit::RequireTls);
        }
        (envelope.body == Body::BinaryMime && !(caps.binary && self.chunked)).then_some(Unfit::Binary)
    }

    pub(super) fn line(&self, step: Step, caps: &Capabilities) -> String {
        match step {
            Step::Rset => "RSET\r\n".to_owned(),
            Step::Mail => mail_line(&self.envelope, caps),
            Step::Rcpt(at) => match self.envelope.recipients.get(at) {
                Some(recipient) => rcpt_line(recipient, caps),
                None => "NOOP\r\n".to_owned(),
            },
            Step::Data => "DATA\r\n".to_owned(),
        }
    }

    pub(super) fn any_taken(&self) -> bool {
        self.taken.iter().any(|t| *t)
    }

    /// Notes the reply to MAIL or RCPT.
    pub(super) fn replied(&mut self, step: Step, reply: &Reply) {
        match step {
            Step::Mail if !is_yes(reply) => {
                self.settle(&Fate::Refused { stage: Stage::Mail, reply: reply.clone() });
                if !self.pipelined {
                    self.to_send.clear();
                }
            }
            Step::Rcpt(at) if self.fates.get(at).is_some_and(Option::is_none) => {
                if is_yes(reply) {
                    self.taken[at] = true;
                } else {
                    self.fates[at] = Some(Fate::Refused { stage: Stage::Rcpt, reply: reply.clone() });
                }
                if self.to_send.front() == Some(&Step::Data) && !self.any_taken() {
                    self.to_send.clear();
                }
            }
            _ => {}
        }
    }

    /// The reply to DATA, to a chunk or to the whole text, for all recipients still open.
    pub(super) fn text_replied(&mut self, stage: Stage, reply: &Reply) {
        let fate = if is_yes(reply) && stage == Stage::Dot {
            Fate::Accepted { reply: reply.clone(), dsn: self.dsn }
        } else {
            Fate::Refused { stage, reply: reply.clone() }
        };
        self.settle(&fate);
    }

    /// Gives every recipient that has no fate yet this one.
    pub(super) fn settle(&mut self, fate: &Fate) {
        for slot in &mut self.fates {
            slot.get_or_insert_with(|| fate.clone());
        }
    }

    pub(super) fn outcome(self, over: bool) -> Outcome {
        let lost = Fate::Broken { stage: Stage::Data, why: Break::Aborted };
        let fates = self.fates.into_iter().map(|f| f.unwrap_or_else(|| lost.clone())).collect();
        Outcome { fates, over, pipelined: self.pipelined }
    }
}

pub(super) fn is_yes(reply: &Reply) -> bool {
    (200..300).contains(&reply.code)
}

fn mail_line(envelope: &Envelope, caps: &Capabilities) -> String {
    let sender = envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default();
    let mut line = format!("MAIL FROM:<{sender}>");
    if let (true, Some(size)) = (caps.size, envelope.size) {
        line.push_str(&format!(" SIZE={size}"));
    }
    match envelope.body {
        Body::EightBitMime if caps.eight_bit => line.push_str(" BODY=8BITMIME"),
        Body::BinaryMime => line.push_str(" BODY=BINARYMIME"),
        _ => {}
    }
    let beyond_ascii = envelope.sender.as_ref().is_some_and(words::Address::needs_utf8)
        || envelope.recipients.iter().any(|r| r.address.needs_utf8());
    if caps.smtputf8 && (envelope.smtputf8 || beyond_ascii) {
        line.push_str(" SMTPUTF8");
    }
    if envelope.requiretls {
        line.push_str(" REQUIRETLS");
    }
    if caps.dsn {
        match envelope.ret {
            Some(Ret::Full) => line.push_str(" RET=FULL"),
            Some(Ret::Headers) => line.push_str(" RET=HDRS"),
            None => {}
        }
        if let Some(envid) = &envelope.envid {
            line.push_str(&format!(" ENVID={}", xtext(envid)));
        }
    }
    line + "\r\n"
}

fn rcpt_line(recipient: &Recipient, caps: &Capabilities) -> String {
    let mut line = format!("RCPT TO:<{}>", recipient.address);
    if caps.dsn {
        if let Some(notify) = recipient.notify {
            line.push_str(&format!(" NOTIFY={}", notify_words(notify)));
        }
        if let Some((kind, address)) = recipient.orcpt.as_deref().and_then(|o| o.split_once(';')) {
            line.push_str(&format!(" ORCPT={kind};{}", xtext(address)));
        }
    }
    line + "\r\n"
}

fn notify_words(notify: Notify) -> String {
    let all = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    let said: Vec<_> = all.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
    if said.is_empty() { "NEVER".to_owned() } else { said.join(",") }
}
