//! What a message says, in plain words: for search, for IMAP PREVIEW (RFC 8970), for readers.

use crate::mime::{Kind, Structure};
use crate::{Head, charset, html, transfer};

/// Bytes of one body looked at for a preview.
const PREVIEW_BYTES: usize = 32 * 1024;
/// RFC 8970 §3.1: at most 256 characters; 200 are what servers send.
pub const PREVIEW_CHARS: usize = 200;
/// Parts looked at for search.
const SEARCH_PARTS: usize = 1000;

/// The text of one part: transfer encoding and charset decoded, HTML turned into text. `None` if
/// the part is no text.
pub fn of_part(data: &[u8], structure: &Structure, index: u32, bytes_max: usize) -> Option<String> {
    let part = structure.part(index).filter(|p| p.kind == Kind::Leaf)?;
    let content = part.content(data);
    let (kind, subtype) = content.media();
    if kind != "text" {
        return None;
    }
    let end = part.body.end.min(part.body.start.saturating_add(bytes_max));
    let decoded = transfer::decode(part.encoding, &data[part.body.start..end]);
    let text = charset::decode(&content.charset(), &decoded);
    Some(if subtype == "html" { html::to_text(&text) } else { text })
}

/// Everything worth finding: the text parts, file names of attachments, and the headers people
/// see of messages inside. At most `bytes_max` bytes of it.
pub fn for_search(data: &[u8], structure: &Structure, bytes_max: usize) -> String {
    let mut out = String::new();
    for (i, part) in structure.parts().iter().enumerate().take(SEARCH_PARTS) {
        if out.len() >= bytes_max {
            break;
        }
        let inner_message =
            i > 0 && part.parent.and_then(|p| structure.part(p)).is_some_and(|p| p.kind == Kind::Message);
        if inner_message {
            let head = Head::within(data, part.head.clone());
            for name in ["Subject", "From", "To", "Cc"] {
                if let Some(text) = head.text(name) {
                    push(&mut out, &text);
                }
            }
        }
        if let Some(name) = part.content(data).file_name() {
            push(&mut out, &name);
        }
        if let Some(text) = of_part(data, structure, i as u32, bytes_max - out.len().min(bytes_max)) {
            push(&mut out, &text);
        }
    }
    out.truncate(out.floor_char_boundary(bytes_max));
    out
}

fn push(out: &mut String, text: &str) {
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    out.push_str(text);
}

/// The part a reader would show first: the first plain text, else the first HTML, attachments
/// left out.
pub fn main_part(data: &[u8], structure: &Structure) -> Option<u32> {
    let mut html = None;
    for (i, part) in structure.parts().iter().enumerate().take(SEARCH_PARTS) {
        if part.kind != Kind::Leaf || part.body.is_empty() {
            continue;
        }
        let content = part.content(data);
        if content.is_attachment() {
            continue;
        }
        match content.media() {
            (kind, subtype) if kind == "text" && subtype == "plain" => return Some(i as u32),
            (kind, subtype) if kind == "text" && subtype == "html" => {
                html.get_or_insert(i as u32);
            }
            _ => {}
        }
    }
    html
}

/// One line that says what the message begins with (RFC 8970): quoted lines and signatures left
/// out while there is anything else.
pub fn preview(data: &[u8], structure: &Structure) -> String {
    let Some(text) = main_part(data, structure).and_then(|i| of_part(data, structure, i, PREVIEW_BYTES))
    else {
        return String::new();
    };
    let own =
        one_line(&mut text.lines().take_while(|l| l.trim_end() != "--").filter(|l| !l.starts_with('>')));
    if own.is_empty() { one_line(&mut text.lines()) } else { own }
}

fn one_line(lines: &mut dyn Iterator<Item = &str>) -> String {
    let mut out = String::new();
    let mut chars = 0;
    for word in lines.flat_map(str::split_whitespace) {
        let rule = word.len() > 3 && word.chars().all(|c| matches!(c, '-' | '=' | '_' | '*' | '~' | '#'));
        if rule {
            continue;
        }
        if !out.is_empty() {
            out.push(' ');
            chars += 1;
        }
        for c in word.chars().filter(|c| !c.is_control()) {
            if chars >= PREVIEW_CHARS {
                return out.trim_end().to_owned();
            }
            out.push(c);
            chars += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALTERNATIVE: &str = "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\
        Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\
        Content-Type: text/html; charset=utf-8\r\n\r\n<p>Rich</p>\r\n--b\r\n\
        Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
        > quoted\r\n\r\nCaf=E9   now\r\n-- \r\nsig\r\n--b--\r\n--a\r\n\
        Content-Type: application/pdf; name=\"report.pdf\"\r\nContent-Disposition: attachment\r\n\r\nx\r\n--a--\r\n";

    #[test]
    fn the_preview_is_the_first_thing_said() {
        let s = Structure::of(ALTERNATIVE.as_bytes());
        assert_eq!(preview(ALTERNATIVE.as_bytes(), &s), "Caf\u{e9} now");
        let quoted = b"\r\n> only quotes\r\n";
        assert_eq!(preview(quoted, &Structure::of(quoted)), "> only quotes");
        let html = b"Content-Type: text/html\r\n\r\n<style>x</style><p>Hi &amp; bye</p>";
        assert_eq!(preview(html, &Structure::of(html)), "Hi & bye");
        assert_eq!(preview(b"", &Structure::of(b"")), "");
        let long = format!("\r\n{}", "word ".repeat(1000));
        let got = preview(long.as_bytes(), &Structure::of(long.as_bytes()));
        assert!(got.chars().count() <= PREVIEW_CHARS && got.len() > 190);
    }

    #[test]
    fn search_text_holds_every_text_and_file_name() {
        let s = Structure::of(ALTERNATIVE.as_bytes());
        let got = for_search(ALTERNATIVE.as_bytes(), &s, 10_000);
        for word in ["Rich", "Caf\u{e9}", "report.pdf", "sig"] {
            assert!(got.contains(word), "{word} in {got:?}");
        }
        assert!(for_search(ALTERNATIVE.as_bytes(), &s, 5).len() <= 5);
    }
}
