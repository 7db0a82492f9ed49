//! A notice as a mail message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use statuspage::model::Site;
use stdx::Now;
use words::Address;

use crate::subscribe::Notice;

/// The whole message, with CRLF.
pub fn write(site: &Site, from: &Address, notice: &Notice, token: &str, now: Now) -> Vec<u8> {
    let name = format!("{} {}", site.company, site.title);
    let host = from.domain();
    let text = format!(
        "{}\n\n{}/\n\n-- \n{name}\n{}\nTo hear nothing more: {}\n",
        notice.text.trim_end(),
        site.url,
        site.support,
        notice.leave
    );
    let mut out = format!(
        "From: {} <{from}>\r\nTo: <{}>\r\nSubject: {}\r\nDate: {}\r\nMessage-ID: <{token}@{host}>\r\n",
        word(&name),
        notice.address,
        word(&notice.subject),
        now.rfc5322(),
    );
    // RFC 3834 §5: nobody's holiday reply should answer a machine.
    out.push_str("Auto-Submitted: auto-generated\r\nPrecedence: list\r\n");
    out.push_str(&format!("List-Id: <status.{host}>\r\n"));
    // RFC 8058 §3.1: one POST to this address is enough to leave.
    out.push_str(&format!(
        "List-Unsubscribe: <{}>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
        notice.leave
    ));
    out.push_str("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n");
    for line in STANDARD.encode(text.replace('\n', "\r\n")).as_bytes().chunks(76) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push_str("\r\n");
    }
    out.into_bytes()
}

/// A header's text: as it is if it is plain, else as encoded words (RFC 2047 §2) of at most 75
/// characters each.
fn word(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let plain = clean.len() <= 900 && clean.chars().all(|c| c.is_ascii_alphanumeric() || " -_/".contains(c));
    if plain && !clean.starts_with(' ') {
        return clean;
    }
    let mut words = Vec::new();
    let mut part = String::new();
    for c in clean.chars() {
        if part.len() + c.len_utf8() > 42 {
            words.push(std::mem::take(&mut part));
        }
        part.push(c);
    }
    words.push(part);
    let words: Vec<String> = words.iter().map(|w| format!("=?utf-8?B?{}?=", STANDARD.encode(w))).collect();
    words.join("\r\n ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscribe::Channel;

    // RFC 8058 §3.1, RFC 2047 §2.
    #[test]
    fn a_notice_is_a_sound_message_that_can_be_left() {
        let notice = Notice {
            id: 1,
            channel: Channel::Mail,
            address: "a@b.example".into(),
            subject:
                "MX1: Überlauf, und zwar ein ziemlich langer, der in eine Zeile allein nicht passt\r\nBcc: x"
                    .into(),
            text: "line\n.\nend".into(),
            leave: "https://s.example/subscribe/leave/x".into(),
            secret: "x".into(),
        };
        let from = Address::parse("status@s.example").expect("an address");
        let text = String::from_utf8(write(&Site::default(), &from, &notice, "t0", Now(0))).expect("ASCII");
        assert!(text.is_ascii() && text.lines().all(|l| l.len() <= 100), "{text}");
        assert!(text.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"));
        assert!(!text.contains("\nBcc:"), "a subject cannot make a header: {text}");
        let (_, body) = text.split_once("\r\n\r\n").expect("a body");
        let body = STANDARD.decode(body.replace("\r\n", "")).expect("base64");
        assert!(String::from_utf8(body).expect("UTF-8").starts_with("line\r\n.\r\nend\r\n"));
    }
}
