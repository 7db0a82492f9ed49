//! What is sent in a scene, drawn from its seed: who writes to whom, when, and the text.

use std::fmt::Write as _;

use stdx::{Dice, Now};

use crate::scene::{Mark, Scene, Traffic};

/// One message to hand in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Stands in its body; nothing else has it.
    pub token: String,
    pub traffic: usize,
    pub at: Now,
    pub sender: String,
    pub recipients: Vec<String>,
    /// What is said in RCPT, where it is not the recipient itself (addresses that are handed on).
    pub through: Vec<String>,
    pub size: u64,
}

/// All letters of a scene, the earliest first.
pub fn draw(scene: &Scene, begin: Now) -> Vec<Letter> {
    let mut dice = Dice::new(scene.seed).fork("letters");
    let mut all = Vec::new();
    for (n, traffic) in scene.traffic.iter().enumerate() {
        for _ in 0..traffic.messages {
            let token = format!("drill-{}-{:06}", scene.seed, all.len());
            all.push(letter(scene, (n, traffic), (token, begin), &mut dice));
        }
    }
    all.sort_by_key(|l| l.at);
    all
}

fn letter(
    scene: &Scene,
    (n, traffic): (usize, &Traffic),
    (token, begin): (String, Now),
    dice: &mut Dice,
) -> Letter {
    let within = traffic.end.0.saturating_sub(traffic.begin.0);
    let at = begin + traffic.begin + stdx::Span(dice.below(within + 1));
    let sender = dice.pick(&traffic.from).cloned().unwrap_or_default();
    let domains: Vec<&String> = traffic.to.iter().flat_map(|d| &scene.destinations[*d].domains).collect();
    let mut recipients = Vec::new();
    for i in 0..traffic.recipients {
        let Some(domain) = dice.pick(&domains) else { break };
        let local = match dice.pick(&traffic.users) {
            Some(user) => user.clone(),
            None => format!("{}.{i}", token.trim_start_matches("drill-").replace('-', ".")),
        };
        let address = format!("{local}@{domain}");
        if !recipients.contains(&address) {
            recipients.push(address);
        }
    }
    let through = match traffic.mark {
        Mark::Forward => recipients.iter().map(|r| onward(scene, r)).collect(),
        _ => recipients.clone(),
    };
    Letter { token, traffic: n, at, sender, recipients, through, size: traffic.size.get() }
}

/// The address of ours that hands mail on to `recipient`.
pub fn onward(scene: &Scene, recipient: &str) -> String {
    let domain = scene.own_domains().into_iter().next().unwrap_or_default();
    format!("to-{}@{domain}", recipient.replace('@', "-at-"))
}

impl Letter {
    /// Its text, with CRLF.
    pub fn text(&self, at: Now) -> String {
        let domain = self.sender.rsplit_once('@').map_or("", |(_, d)| d);
        let mut out = format!(
            "From: {}\r\nTo: {}\r\nSubject: {}\r\nDate: {}\r\nMessage-ID: <{}@{domain}>\r\n\r\ntoken={}\r\n",
            self.sender,
            self.through.join(", "),
            self.token,
            at.rfc5322(),
            self.token,
            self.token
        );
        let line = "Nothing but words, so that it is as long as mail is.\r\n";
        while (out.len() + line.len()) as u64 <= self.size {
            let _ = write!(out, "{line}");
        }
        out
    }
}

/// The token in a text.
pub fn token(text: &[u8]) -> Option<String> {
    let at = text.windows(6).position(|w| w == b"drill-")?;
    let end = text[at..]
        .iter()
        .position(|b| !(b.is_ascii_alphanumeric() || *b == b'-'))
        .map_or(text.len(), |n| at + n);
    let found = std::str::from_utf8(&text[at..end]).ok()?;
    let mut parts = found.split('-').skip(1);
    let number = |p: Option<&str>| p.is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    (number(parts.next()) && number(parts.next()))
        .then(|| found.split('-').take(3).collect::<Vec<_>>().join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_found_again() {
        let letter = Letter {
            token: "drill-7-000012".into(),
            traffic: 0,
            at: Now(0),
            sender: "a@b.example".into(),
            recipients: vec!["c@d.example".into()],
            through: vec!["c@d.example".into()],
            size: 2000,
        };
        let text = letter.text(Now(0));
        assert!((1900..=2000).contains(&text.len()), "{}", text.len());
        assert_eq!(token(text.as_bytes()).as_deref(), Some("drill-7-000012"));
        assert_eq!(token(b"Message-ID: <drill-7-000012@x>").as_deref(), Some("drill-7-000012"));
        assert_eq!(token(b"drill-x"), None);
    }
}
