//! Complaints: somebody at a peer presses a button, and its feedback loop reports to us.
//!
//! What it is: the peers' feedback loops. Each report is about a message that the peer took, as it
//! took it. What it is not: the reader of reports; that is the product's. Begin with [`Outcry`].

use std::sync::{Arc, Mutex, PoisonError};

use sim::{Got, Peer};
use stdx::{Now, Span};
use world::World;

use crate::client::{self, Doors, Way};
use crate::letters::{Letter, token};
use crate::scene::{Complaint, Form, Scene};

/// What our host writes into each message that leaves.
const MARK: &str = "X-Postroad";
/// Two reports never come at the same time: so each is told from the next.
const APART: Span = Span::secs(2);
/// A feedback loop tries so often to bring its report.
const TRIES_MAX: u32 = 10;
const AGAIN: Span = Span::mins(1);

/// A report about a message of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    pub begun: Now,
    /// When our host took it.
    pub accepted: Option<Now>,
    pub peer: usize,
    /// Who sent the message.
    pub account: String,
    /// Those who got it.
    pub recipients: Vec<String>,
    pub token: String,
}

pub type Reports = Arc<Mutex<Vec<Reported>>>;

/// All feedback loops of a scene.
pub struct Outcry {
    pub scene: Arc<Scene>,
    pub letters: Arc<Vec<Letter>>,
    pub doors: Doors,
    pub begin: Now,
    pub peers: Vec<Peer>,
    /// The world as each peer has it.
    pub worlds: Vec<World>,
    pub done: Reports,
}

impl Outcry {
    /// Reports, each at its time, one after the other.
    pub async fn run(self) {
        let mut all: Vec<(Span, usize)> = Vec::new();
        for (n, complaint) in self.scene.complaints.iter().enumerate() {
            all.extend(
                (0..complaint.messages)
                    .map(|i| (Span(complaint.at.0 + complaint.every.0.saturating_mul(i)), n)),
            );
        }
        all.sort();
        for (at, n) in all.into_iter().filter(|(at, _)| *at < self.scene.length) {
            let complaint = &self.scene.complaints[n];
            let clock = self.worlds[complaint.peer].clock.clone();
            clock.sleep_until(self.begin + at).await;
            self.report(complaint).await;
            clock.sleep_until(clock.now() + APART).await;
        }
    }

    async fn report(&self, complaint: &Complaint) {
        let Some((got, about)) = self.about(complaint) else { return };
        let Some(feedback) = self.scene.host.feedback.clone() else { return };
        let world = &self.worlds[complaint.peer];
        let peer = &self.scene.peers[complaint.peer];
        let mut one = Reported {
            begun: world.now(),
            accepted: None,
            peer: complaint.peer,
            account: about.sender.clone(),
            recipients: got.recipients.clone(),
            token: about.token.clone(),
        };
        let from = format!("feedback@{}", peer.greeting);
        let text = written(complaint, &got, (&from, &feedback), (&about.token, world.now()));
        let letter = Letter { sender: from, through: vec![feedback], ..about.clone() };
        let helo = peer.greeting.clone();
        let way = Way { from: peer.addresses[0], to: self.doors.smtp, helo, tls: false, login: None };
        for _ in 0..TRIES_MAX {
            match client::once(world, &letter, &way, &text).await {
                Ok(()) => one.accepted = Some(world.now()),
                Err(reply) if !reply.starts_with('5') => {
                    world.clock.sleep_until(world.now() + AGAIN).await;
                    continue;
                }
                Err(_) => {}
            }
            break;
        }
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(one);
    }

    /// The latest message that the peer took, that fits, and that nobody complained about yet.
    fn about(&self, complaint: &Complaint) -> Option<(Got, &Letter)> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |token: &str| done.iter().any(|r| r.token == token);
        self.peers[complaint.peer].got().into_iter().rev().find_map(|got| {
            let token = token(&got.text).filter(|t| !known(t))?;
            let letter = self.letters.iter().find(|l| l.token == token)?;
            complaint.from.contains(&letter.sender).then_some((got, letter))
        })
    }
}

/// The report's text, ready for the wire.
fn written(complaint: &Complaint, got: &Got, (from, to): (&str, &str), (token, at): (&str, Now)) -> String {
    let text = String::from_utf8_lossy(&got.text).into_owned();
    let header = text.split("\r\n\r\n").next().unwrap_or_default();
    let kept = |line: &&str| complaint.mark || !line.starts_with(MARK);
    let header = header.split("\r\n").filter(kept).collect::<Vec<_>>().join("\r\n");
    let rcpt = got.recipients.join(", ");
    let head = format!(
        "From: <{from}>\r\nTo: <{to}>\r\nDate: {}\r\nMessage-ID: <report.{token}.{from}>\r\nMIME-Version: 1.0\r\n",
        at.rfc5322()
    );
    let text = match complaint.form {
        Form::Arf => format!(
            "{head}Subject: Abuse report\r\n\
             Content-Type: multipart/report; report-type=feedback-report; boundary=drillpart\r\n\r\n\
             --drillpart\r\nContent-Type: text/plain\r\n\r\nSomebody does not want this message.\r\n\
             --drillpart\r\nContent-Type: message/feedback-report\r\n\r\n\
             Feedback-Type: abuse\r\nUser-Agent: feedback-loop/1\r\nVersion: 1\r\n\
             Original-Rcpt-To: <{rcpt}>\r\nSource-IP: {}\r\n\r\n\
             --drillpart\r\nContent-Type: message/rfc822\r\n\r\n{header}\r\n\r\nIts text.\r\n--drillpart--\r\n",
            got.source
        ),
        Form::Jmrp => format!(
            "{head}Subject: complaint about message from {}\r\n\
             Content-Type: multipart/mixed; boundary=drillpart\r\n\r\n\
             --drillpart\r\nContent-Type: message/rfc822\r\n\r\n\
             X-HmXmrOriginalRecipient: {rcpt}\r\n{header}\r\n\r\nIts text.\r\n--drillpart--\r\n",
            got.source
        ),
    };
    // RFC 5321 §4.5.2: a dot that begins a line is doubled.
    text.replace("\r\n.", "\r\n..")
}
