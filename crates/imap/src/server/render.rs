//! Writing one FETCH row. This is the hot path: one growing buffer, no formatting machinery.

use crate::ask::{Part, Row, Texts};
use crate::command::FetchItem;
use crate::flags::{Keywords, write_flags};
use crate::wire::write;

/// What a row is written with.
pub(super) struct Style<'a> {
    pub items: &'a [FetchItem],
    pub keywords: &'a Keywords,
    pub recent: bool,
    pub utf8: bool,
    /// The row's flags changed by this very FETCH: FLAGS is told though not asked for.
    pub marked: bool,
    /// … and MODSEQ too.
    pub condstore: bool,
}

/// What stopped the writing of a row.
pub(super) enum Stop {
    /// The row is complete.
    End,
    /// Item `item`'s content is to be fetched in pieces; its `{n}` is written. Go on with the
    /// item behind it.
    Body { item: usize, body: i64, offset: u64, len: u64 },
}

/// `* 12 FETCH (`
pub(super) fn begin(out: &mut Vec<u8>, seq: u32) {
    out.extend_from_slice(b"* ");
    write::number(out, u64::from(seq));
    out.extend_from_slice(b" FETCH (");
}

/// Writes items from number `from` on; `cte` is set when a BINARY item cannot be decoded.
pub(super) fn items(
    out: &mut Vec<u8>,
    row: &mut Row,
    style: &Style<'_>,
    from: usize,
    cte: &mut bool,
) -> Stop {
    let mut texts = row.texts.take().unwrap_or_default();
    for (n, item) in style.items.iter().enumerate().skip(from) {
        if n > 0 {
            out.push(b' ');
        }
        if let FetchItem::Section { index, label } = item {
            out.extend_from_slice(label.as_bytes());
            out.push(b' ');
            let part = texts.parts.get_mut(*index).map_or(Part::Nil, |p| std::mem::replace(p, Part::Nil));
            if let Part::Later { body, offset, len } = part {
                head(out, label, len, false);
                row.texts = Some(texts);
                return Stop::Body { item: n, body, offset, len };
            }
            section(out, label, &part, cte);
        } else {
            simple(out, row, &texts, item, style);
        }
    }
    if style.marked {
        let asked = |item: &FetchItem| style.items.contains(item);
        if !asked(&FetchItem::Flags) {
            out.push(b' ');
            simple(out, row, &texts, &FetchItem::Flags, style);
        }
        if style.condstore && !asked(&FetchItem::ModSeq) {
            out.push(b' ');
            simple(out, row, &texts, &FetchItem::ModSeq, style);
        }
    }
    out.extend_from_slice(b")\r\n");
    Stop::End
}

/// `{n}` or, for BINARY with a NUL in it, `~{n}` (RFC 3516 §4.2).
fn head(out: &mut Vec<u8>, label: &str, len: u64, nul: bool) {
    if nul || (label.starts_with("BINARY") && len > 1 << 20) {
        out.push(b'~');
    }
    out.push(b'{');
    write::number(out, len);
    out.extend_from_slice(b"}\r\n");
}

fn section(out: &mut Vec<u8>, label: &str, part: &Part, cte: &mut bool) {
    match part {
        Part::Now(bytes) => {
            let nul = label.starts_with("BINARY") && bytes.contains(&0);
            head(out, label, bytes.len() as u64, nul);
            out.extend_from_slice(bytes);
        }
        Part::Size(size) => write::number(out, *size),
        Part::UnknownCte => {
            *cte = true;
            out.extend_from_slice(b"NIL");
        }
        Part::Nil if label.starts_with("BINARY.SIZE") => out.push(b'0'),
        Part::Nil | Part::Later { .. } => out.extend_from_slice(b"NIL"),
    }
}

fn simple(out: &mut Vec<u8>, row: &Row, texts: &Texts, item: &FetchItem, style: &Style<'_>) {
    match item {
        FetchItem::Uid => {
            out.extend_from_slice(b"UID ");
            write::number(out, u64::from(row.uid));
        }
        FetchItem::Flags => {
            out.extend_from_slice(b"FLAGS (");
            write_flags(out, row.flags, style.recent, style.keywords);
            out.push(b')');
        }
        FetchItem::InternalDate => {
            out.extend_from_slice(b"INTERNALDATE ");
            write::date_time(out, row.date);
        }
        FetchItem::Size => {
            out.extend_from_slice(b"RFC822.SIZE ");
            write::number(out, row.size);
        }
        FetchItem::ModSeq => {
            out.extend_from_slice(b"MODSEQ (");
            write::number(out, row.modseq);
            out.push(b')');
        }
        FetchItem::Envelope => {
            const NONE: &[u8] = b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)";
            rendered(out, b"ENVELOPE ", &texts.envelope, NONE);
        }
        FetchItem::Body => {
            rendered(out, b"BODY ", &texts.body, b"(\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 0 0)")
        }
        FetchItem::BodyStructure => {
            const NONE: &[u8] = b"(\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 0 0 NIL NIL NIL NIL)";
            rendered(out, b"BODYSTRUCTURE ", &texts.body_structure, NONE);
        }
        FetchItem::SaveDate => {
            out.extend_from_slice(b"SAVEDATE ");
            match texts.save_date {
                Some(date) => write::date_time(out, date),
                None => out.extend_from_slice(b"NIL"),
            }
        }
        FetchItem::Preview { .. } => {
            out.extend_from_slice(b"PREVIEW ");
            match &texts.preview {
                Some(text) => write::string(out, text.as_bytes(), style.utf8),
                None => out.extend_from_slice(b"NIL"),
            }
        }
        FetchItem::EmailId => id(out, b"EMAILID ", Some(&texts.email_id)),
        FetchItem::ThreadId => id(out, b"THREADID ", texts.thread_id.as_ref()),
        FetchItem::Section { .. } => {}
    }
}

fn rendered(out: &mut Vec<u8>, name: &[u8], text: &[u8], none: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(if text.is_empty() { none } else { text });
}

fn id(out: &mut Vec<u8>, name: &[u8], id: Option<&String>) {
    out.extend_from_slice(name);
    match id {
        Some(id) if !id.is_empty() => {
            out.push(b'(');
            out.extend_from_slice(id.as_bytes());
            out.push(b')');
        }
        _ => out.extend_from_slice(b"NIL"),
    }
}
