//! Picking header fields out of a header block as it was sent (BODY[HEADER.FIELDS (…)]).

/// The named fields, or all but them, in the order they stand, folded lines included, ending
/// with an empty line. RFC 9051 §6.4.5.1: names compare without case; the empty line is always there.
pub fn header_fields(header: &[u8], names: &[String], not: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(header.len().min(4096));
    let (mut at, mut keep) = (0, false);
    while at < header.len() {
        let end = header[at..].iter().position(|&b| b == b'\n').map_or(header.len(), |n| at + n + 1);
        let line = &header[at..end];
        if line == b"\r\n" || line == b"\n" {
            break;
        }
        if !matches!(line[0], b' ' | b'\t') {
            let name = line.split(|&b| b == b':').next().unwrap_or(line).trim_ascii_end();
            keep = names.iter().any(|n| n.as_bytes().eq_ignore_ascii_case(name)) != not;
        }
        if keep {
            out.extend_from_slice(line);
        }
        at = end;
    }
    if !out.is_empty() && !out.ends_with(b"\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_picked_with_their_folded_lines() {
        let header = b"From: a\r\nSubject: long\r\n line\r\nX-A : 1\r\nfrom: b\r\n\r\nbody";
        let pick = |names: &[&str], not| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            String::from_utf8(header_fields(header, &names, not)).unwrap()
        };
        assert_eq!(pick(&["SUBJECT"], false), "Subject: long\r\n line\r\n\r\n");
        assert_eq!(pick(&["from", "x-a"], false), "From: a\r\nX-A : 1\r\nfrom: b\r\n\r\n");
        assert_eq!(pick(&["from", "subject"], true), "X-A : 1\r\n\r\n");
        assert_eq!(pick(&["none"], false), "\r\n");
        assert_eq!(header_fields(b"A: 1", &["a".into()], false), b"A: 1\r\n\r\n");
    }
}
