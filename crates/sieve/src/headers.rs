//! Header fields: reading them for tests, and the edits of RFC 5293.

use message::{Field, Head, words2047};

/// RFC 5322 §2.2: printable ASCII but no colon.
pub(crate) fn is_field_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 128 && name.bytes().all(|b| (33..=126).contains(&b) && b != b':')
}

/// What can be written into a field: no control characters; line ends in it are folds.
pub(crate) fn is_field_value(value: &str) -> bool {
    !value.chars().any(|c| c.is_ascii_control() && !matches!(c, '\t' | '\r' | '\n'))
}

/// A name a folder may have. A replacement character stands for octets that are no UTF-8.
pub(crate) fn is_folder_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 1000 && !name.chars().any(|c| c.is_control() || c == '\u{fffd}')
}

/// The fields of a name, first to last; all of them, or the one at `index` from either end.
pub(crate) fn chosen<'m>(message: &'m [u8], name: &str, index: Option<(u64, bool)>) -> Vec<Field<'m>> {
    let mut all: Vec<Field<'m>> = Head::parse(message).all(name).collect();
    let Some((index, last)) = index else { return all };
    let at = usize::try_from(index).unwrap_or(usize::MAX).wrapping_sub(1);
    if last {
        all.reverse();
    }
    if at < all.len() { vec![all.swap_remove(at)] } else { Vec::new() }
}

/// RFC 5293 §4: a field put above all others, or below them.
pub(crate) fn add(message: &[u8], name: &str, value: &str, last: bool) -> Vec<u8> {
    let field = write(name, value);
    let head = Head::parse(message);
    let at = if last { head.fields_end() } else { 0 };
    let mut out = Vec::with_capacity(message.len() + field.len());
    out.extend_from_slice(&message[..at]);
    if at > 0 && !message[..at].ends_with(b"\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(field.as_bytes());
    out.extend_from_slice(&message[at..]);
    out
}

fn write(name: &str, value: &str) -> String {
    // Folds the script made itself are kept as blanks; our own come where lines get long.
    let one_line: String =
        value.split(['\r', '\n']).map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join(" ");
    let clean: String = one_line.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect();
    if clean.is_ascii() {
        return message::edit::fold(name, &clean);
    }
    message::edit::fold(name, &words2047::encode(&clean))
}

/// The message without these fields.
pub(crate) fn without(message: &[u8], gone: &[std::ops::Range<usize>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len());
    let mut at = 0;
    for span in gone {
        out.extend_from_slice(&message[at..span.start]);
        at = span.end;
    }
    out.extend_from_slice(&message[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_put_where_they_belong() {
        let message = b"A: 1\r\nB: 2\r\n\r\nbody";
        assert_eq!(add(message, "X", "y", false), b"X: y\r\nA: 1\r\nB: 2\r\n\r\nbody");
        assert_eq!(add(message, "X", "y", true), b"A: 1\r\nB: 2\r\nX: y\r\n\r\nbody");
        assert_eq!(add(b"A: 1", "X", "y", true), b"A: 1\r\nX: y\r\n");
        let span = chosen(message, "a", None)[0].span.clone();
        assert_eq!(without(message, &[span]), b"B: 2\r\n\r\nbody");
    }

    #[test]
    fn a_value_cannot_add_a_field() {
        let made = add(b"A: 1\r\n\r\n", "X", "y\r\nEvil: z\r\n\r\nbody", false);
        assert_eq!(Head::parse(&made).fields().count(), 2);
    }
}
