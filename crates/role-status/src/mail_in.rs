//! Posting by mail, to an address of this host: it works while the mail host is dead.
//!
//! A letter is believed if both hold: a DKIM signature of its author's own domain is good (so that
//! it comes from where it says, unchanged), and it holds a token of ours (so that its author may
//! speak for the provider). The subject says what is to be done, the first lines whose and about
//! what, the rest is the text:
//!
//! ```text
//! Subject: incident: MX1: No mail goes out        (or a title alone: a post; or #5 identified: a word)
//!
//! Token: pst_…
//! Affected: sending
//!
//! The queue's disk is full. We make room.
//! ```

use drive::{Desk, Wires};
use mailauth::dkim::DkimResult;
use message::{Head, mime::Structure};
use sha2::{Digest, Sha256};
use smtp::server::Settings as Door;
use smtp::{Answer, BareNewlines, Limits, Question, Server};
use stdx::Span;
use store::StoreError;
use words::{Address, Domain, Envelope, MessageId, Reply, SessionId};
use world::Connection;

use crate::Board;
use crate::act::Fields;

/// The largest letter, octets.
const LETTER_BYTES_MAX: u64 = 512 * 1024;
/// The longest text read from it, bytes.
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Questions to the DNS take at most so long.
const LOOK_UPS: Span = Span::secs(20);
/// Letters are known again for so long.
pub(crate) const KNOWN_FOR: Span = Span::days(30);

/// Serves one connection to its end.
pub async fn serve(board: Board, connection: Connection, wires: Wires) {
    let Some(to) = board.settings().post_by_mail.clone() else { return };
    let host = to.domain().clone();
    let ip = connection.peer.ip().to_canonical();
    let machine = Server::new(Door {
        host: host.clone(),
        session: SessionId(board.world().random.next_u64()),
        starttls: !matches!(wires.tls, drive::Tls::None),
        tls_required: false,
        auth_required: false,
        offer: None,
        limits: Limits {
            bare_newlines: BareNewlines::Keep,
            message_octets: LETTER_BYTES_MAX,
            recipients: 1,
            ..Limits::default()
        },
    });
    let desk = Slot { board, to, host, ip, helo: String::new(), sender: None, text: Vec::new() };
    let end = drive::run(machine, desk, connection, wires).await;
    tracing::debug!(why = %end.why, "a session of the letter slot ended");
}

struct Slot {
    board: Board,
    to: Address,
    host: Domain,
    ip: std::net::IpAddr,
    helo: String,
    sender: Option<Envelope>,
    text: Vec<u8>,
}

impl Desk for Slot {
    type M = Server;

    async fn answer(&mut self, ask: Question) -> Answer {
        match ask {
            Question::Opened { .. } | Question::Tls(_) | Question::Data | Question::Confirmed(_) => {
                Answer::Yes
            }
            Question::Name { name, .. } => {
                self.helo = name;
                Answer::Yes
            }
            Question::Mail(envelope) => {
                self.sender = Some(envelope);
                self.text.clear();
                Answer::Yes
            }
            Question::Rcpt(recipient) if recipient.address == self.to => Answer::Yes,
            Question::Rcpt(_) => no(550, (5, 1, 1), "Only letters to the status site are taken here"),
            Question::Body(piece) => {
                self.text.extend_from_slice(&piece);
                Answer::Yes
            }
            Question::Commit(last) => {
                self.text.extend_from_slice(&last);
                let text = std::mem::take(&mut self.text);
                self.commit(text).await
            }
            Question::Reset => {
                self.text.clear();
                Answer::Yes
            }
            Question::Sasl(_) => no(502, (5, 5, 1), "Nobody logs in here"),
        }
    }
}

fn no(code: u16, detail: (u8, u16, u16), text: &str) -> Answer {
    Answer::Reply(Reply::new(code, detail, text))
}

impl Slot {
    async fn commit(&self, text: Vec<u8>) -> Answer {
        match self.signed(&text).await {
            Some(true) => {}
            Some(false) => {
                return no(
                    550,
                    (5, 7, 20),
                    "This letter has no good DKIM signature of its author's own domain",
                );
            }
            None => return no(451, (4, 7, 5), "The DNS does not answer; come again"),
        }
        let letter = match read(&text) {
            Ok(letter) => letter,
            Err(why) => return no(550, (5, 6, 0), &why),
        };
        let author = match self.board.token_owner(&letter.token).await {
            Ok(Some(author)) => author,
            Ok(None) => return no(550, (5, 7, 8), "This letter holds no token that is good here"),
            Err(_) => return no(451, (4, 3, 0), "The disk failed; come again"),
        };
        let digest: String = Sha256::digest(&text).iter().map(|b| format!("{b:02x}")).collect();
        match self.board.letter_is_new(digest.clone()).await {
            Ok(true) => {}
            // Said already: the sender missed our answer.
            Ok(false) => return Answer::Saved(MessageId(self.board.world().random.next_u64())),
            Err(_) => return no(451, (4, 3, 0), "The disk failed; come again"),
        }
        match self.board.act(letter.what, &letter.fields, author).await {
            Ok(_) => Answer::Saved(MessageId(self.board.world().random.next_u64())),
            Err(why) => {
                // It may come again, mended or not.
                if let Err(e) = self.board.forget_letter(digest).await {
                    tracing::warn!(error = %e, "a refused letter is still known");
                }
                match why {
                    StoreError::Rule(why) => no(550, (5, 6, 0), &why),
                    _ => no(451, (4, 3, 0), "The disk failed; come again"),
                }
            }
        }
    }

    /// Whether a whole signature of the author's own domain is good. `None`: the DNS did not say.
    async fn signed(&self, text: &[u8]) -> Option<bool> {
        let world = self.board.world();
        let host = self.host.to_string();
        let facts = mailauth::Facts {
            ip: self.ip,
            helo: &self.helo,
            mail_from: self.sender.as_ref().and_then(|e| e.sender.as_ref()),
            message: text,
            hashes: None,
            host: &host,
            now: self.board.now(),
        };
        let Ok(author) = mailauth::dmarc::author(&Head::parse(text)) else { return Some(false) };
        let asking = mailauth::check(&*world.dns, &facts);
        let results = match drive::first(asking, world.clock.sleep_until(facts.now + LOOK_UPS)).await {
            drive::First::A(results) => results,
            drive::First::B(()) => return None,
        };
        // RFC 6376 §6.3: the signing domain must be the author's, strictly.
        let mut own = results.dkim.iter().filter(|d| d.domain.eq_ignore_ascii_case(author.as_str()));
        if own.clone().any(|d| d.result == DkimResult::Pass && !d.partial) {
            return Some(true);
        }
        if own.any(|d| d.result == DkimResult::TempError) { None } else { Some(false) }
    }
}

/// What a letter wants.
#[derive(Debug)]
struct Letter {
    what: &'static str,
    fields: Fields,
    token: String,
}

fn read(text: &[u8]) -> Result<Letter, String> {
    let subject = Head::parse(text).text("Subject").unwrap_or_default();
    let structure = Structure::of(text);
    let body = message::text::main_part(text, &structure)
        .and_then(|part| message::text::of_part(text, &structure, part, TEXT_BYTES_MAX))
        .ok_or("This letter has no readable text")?;
    let (mut fields, mut token, mut rest) = (Fields::new(), String::new(), Vec::new());
    let mut head = true;
    for line in body.lines() {
        let named =
            line.split_once(':').filter(|_| head).map(|(n, v)| (n.trim().to_ascii_lowercase(), v.trim()));
        match named {
            Some((name, value)) if name == "token" => token = value.to_owned(),
            Some((name, value)) if NAMED.contains(&name.as_str()) => fields.push((name, value.to_owned())),
            _ => {
                // What is left of the head is blank lines; the text begins with the first other one.
                head &= line.trim().is_empty();
                rest.push(line);
            }
        }
    }
    fields.push(("text".into(), rest.join("\n").trim().to_owned()));
    let what = match subject.trim().strip_prefix('#') {
        Some(word) => {
            let (number, stage) = word.split_once(' ').unwrap_or((word, ""));
            fields.push(("incident".into(), number.to_owned()));
            fields.push(("stage".into(), stage.trim().to_ascii_lowercase()));
            "word"
        }
        None => {
            let (what, title) = match subject.split_once(':') {
                Some((first, title)) if first.trim().eq_ignore_ascii_case("incident") => ("incident", title),
                _ => ("post", subject.as_str()),
            };
            fields.push(("title".into(), title.trim().to_owned()));
            what
        }
    };
    Ok(Letter { what, fields, token })
}

/// Lines that a letter may begin with, besides its token.
const NAMED: &[&str] = &["affected", "not_affected", "tags", "categories", "series", "next", "eta", "impact"];

impl Board {
    /// Keeps a letter's digest. False: it came before.
    async fn letter_is_new(&self, digest: String) -> Result<bool, StoreError> {
        let now = self.now();
        self.store()
            .commit(Vec::new(), move |b| {
                b.sql().execute("DELETE FROM letter WHERE at < ?1", [(now - KNOWN_FOR).ms() as i64])?;
                let n = b.sql().execute(
                    "INSERT INTO letter VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                    (&digest, now.ms() as i64),
                )?;
                Ok(n == 1)
            })
            .await
    }

    async fn forget_letter(&self, digest: String) -> Result<(), StoreError> {
        self.store()
            .commit(Vec::new(), move |b| {
                b.sql().execute("DELETE FROM letter WHERE digest = ?1", [&digest])?;
                Ok(())
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(subject: &str, body: &str) -> Letter {
        let text = format!("From: a@b.example\r\nSubject: {subject}\r\n\r\n{}", body.replace('\n', "\r\n"));
        read(text.as_bytes()).expect("readable")
    }

    fn field<'a>(letter: &'a Letter, name: &str) -> &'a str {
        crate::act::field(&letter.fields, name)
    }

    #[test]
    fn the_subject_says_what_and_the_first_lines_about_what() {
        let l = letter(
            "incident: MX1: No mail",
            "Token: pst_1\nAffected: sending, webmail\n\nNote: it is so.\nToken: no head any more",
        );
        assert_eq!((l.what, l.token.as_str()), ("incident", "pst_1"));
        assert_eq!((field(&l, "title"), field(&l, "affected")), ("MX1: No mail", "sending, webmail"));
        assert_eq!(field(&l, "text"), "Note: it is so.\nToken: no head any more");
        let l = letter("#12 Resolved", "token: x\nIt works.");
        assert_eq!(
            (l.what, field(&l, "incident"), field(&l, "stage"), field(&l, "text")),
            ("word", "12", "resolved", "It works.")
        );
        let l = letter("MX1: A title with a colon", "Token: x\n\nHello");
        assert_eq!((l.what, field(&l, "title")), ("post", "MX1: A title with a colon"));
    }
}
