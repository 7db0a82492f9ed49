//! Header fields by which programs tell each other what a message is: automatic, from a list,
//! bulk, looping. Readers for judges; nothing is decided here.

use crate::Head;

/// RFC 3834 §5 and the marks older programs leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Manners {
    /// Auto-Submitted with another value than `no`.
    pub auto_submitted: bool,
    /// Any List-* field of RFC 2369 or RFC 2919.
    pub list: bool,
    /// Precedence bulk, list or junk; X-Auto-Response-Suppress; X-Autoreply and the like.
    pub bulk: bool,
}

impl Manners {
    pub fn of(head: &Head<'_>) -> Manners {
        let mut out = Manners::default();
        for field in head.fields() {
            let name = field.name().to_ascii_lowercase();
            let value = field.unfolded().to_ascii_lowercase();
            match &name[..] {
                b"auto-submitted" => {
                    out.auto_submitted |= !value.starts_with(b"no") || value.starts_with(b"no-");
                }
                b"precedence" => out.bulk |= [&b"bulk"[..], b"list", b"junk"].contains(&&value[..]),
                b"x-auto-response-suppress" => {
                    out.bulk |= [&b"oof"[..], b"all", b"autoreply"]
                        .iter()
                        .any(|w| memchr::memmem::find(&value, w).is_some());
                }
                b"x-autoreply" | b"x-autorespond" | b"x-autoresponder" => out.bulk |= value != b"no",
                n if n.starts_with(b"list-") => out.list = true,
                _ => {}
            }
        }
        out
    }
    /// RFC 5230 §4.6, RFC 3834 §2: no vacation notice may answer this.
    pub fn forbids_auto_reply(self) -> bool {
        self.auto_submitted || self.list || self.bulk
    }
}

/// RFC 5321 §6.3: how many hosts the message has passed.
pub fn hops(head: &Head<'_>) -> usize {
    head.count("Received")
}

/// Whether the message was delivered to this address before (a Delivered-To field names it).
pub fn delivered_to(head: &Head<'_>, address: &str) -> bool {
    head.all("Delivered-To").any(|f| f.unfolded().eq_ignore_ascii_case(address.as_bytes()))
}

/// How a reader can leave a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsubscribe {
    pub https: Option<String>,
    pub mailto: Option<String>,
    /// RFC 8058 §3.1: one POST is enough.
    pub one_click: bool,
}

/// Reads List-Unsubscribe (RFC 2369 §3.2) and List-Unsubscribe-Post.
pub fn unsubscribe(head: &Head<'_>) -> Unsubscribe {
    let mut out = Unsubscribe::default();
    for url in head.all("List-Unsubscribe").flat_map(|f| crate::ids::parse(&f.unfolded())) {
        let lower = url.to_ascii_lowercase();
        if lower.starts_with("https:") && out.https.is_none() {
            out.https = Some(url);
        } else if lower.starts_with("mailto:") && out.mailto.is_none() {
            out.mailto = Some(url);
        }
    }
    out.one_click = out.https.is_some()
        && head
            .get("List-Unsubscribe-Post")
            .is_some_and(|f| f.unfolded().eq_ignore_ascii_case(b"List-Unsubscribe=One-Click"));
    out
}

/// The identifier of a list (RFC 2919): the text in the last angle brackets.
pub fn list_id(head: &Head<'_>) -> Option<String> {
    let field = head.get("List-Id")?;
    crate::ids::parse(&field.unfolded()).pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, forbids: bool) {
        let head = Head::parse(header.as_bytes());
        assert_eq!(Manners::of(&head).forbids_auto_reply(), forbids, "{header:?}");
    }

    #[test]
    fn automatic_and_list_mail_is_known_by_its_marks() {
        check("Subject: x\r\n", false);
        check("Auto-Submitted: no\r\n", false);
        check("Auto-Submitted: auto-replied; x=y\r\n", true);
        check("Auto-Submitted:\r\n auto-generated\r\n", true);
        check("Precedence: Bulk\r\n", true);
        check("Precedence: first-class\r\n", false);
        check("List-Id: <a.b>\r\n", true);
        check("X-Auto-Response-Suppress: DR, OOF\r\n", true);
    }

    #[test]
    fn unsubscribe_links_are_read() {
        let head = Head::parse(
            b"List-Unsubscribe: <mailto:u@x>, <https://x/u?1>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
        );
        let got = unsubscribe(&head);
        assert_eq!(got.https.as_deref(), Some("https://x/u?1"));
        assert_eq!(got.mailto.as_deref(), Some("mailto:u@x"));
        assert!(got.one_click);
    }
}
