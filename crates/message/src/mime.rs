//! The parts of a message and where they stand (RFC 2045, RFC 2046), byte for byte.
//!
//! What it is: [`Structure::of`] finds every part in one pass over the bytes, however broken they
//! are, within limits; [`Structure::section`] answers IMAP's `BODY[1.2.MIME]`.
//! What it is not: a decoder. Ranges point into the message as it is stored.
//! Where standards leave it open we decide as Dovecot does, since clients have lived with that for
//! twenty years: a boundary matches by its prefix, the longest open one wins; a boundary may end a
//! header; a multipart without a boundary has no parts.

use std::ops::Range;

use memchr::memmem::Finder;
use memchr::{memchr, memchr_iter};

use crate::params::{self, Valued};
use crate::transfer::Encoding;

/// Parts within parts; deeper ones are opaque leaves.
pub const DEPTH_MAX: usize = 100;
/// Parts of one message; after that, boundaries are ordinary text.
pub const PARTS_MAX: usize = 10_000;
/// RFC 2046 §5.1.1 says 70; longer boundaries are compared by their beginning.
pub const BOUNDARY_MAX: usize = 80;

/// Octets of Content-* values that one message's structure takes in; after that, parts have a type
/// and an encoding and nothing more.
const CONTENT_MAX: usize = 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Content, of whatever type.
    Leaf,
    Multipart,
    /// message/rfc822 or message/global, with the message inside as its one child.
    Message,
}

/// One part. Part 0 is the message itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub parent: Option<u32>,
    first_child: Option<u32>,
    next: Option<u32>,
    /// How many parts it stands in.
    pub depth: u32,
    pub kind: Kind,
    pub encoding: Encoding,
    /// The header with the empty line that ends it.
    pub head: Range<usize>,
    pub body: Range<usize>,
    /// Line endings in the body.
    pub lines: u32,
    /// The Content-* fields count (RFC 2045 §4, read generously: MIME-Version or Content-Type
    /// is there, or it is a part of a multipart).
    mime: bool,
    /// In a multipart/digest (RFC 2046 §5.1.5).
    in_digest: bool,
}

/// The parts of a message in the order they stand in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    parts: Vec<Part>,
}

/// What IMAP asks of a part (RFC 9051 §6.4.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `BODY[]`, `BODY[1]`: everything of the message, the body of a part.
    Body,
    /// `HEADER`: of the message, or of the message in a message/rfc822 part.
    Header,
    /// `TEXT`: the body of that message.
    Text,
    /// `MIME`: the header of the part itself.
    Mime,
}

/// The Content-* fields of one part: raw values, the first of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content<'a> {
    /// `None` if there is none or it is broken.
    pub ctype: Option<Valued>,
    pub encoding: Option<&'a [u8]>,
    pub id: Option<&'a [u8]>,
    pub description: Option<&'a [u8]>,
    pub disposition: Option<&'a [u8]>,
    pub language: Option<&'a [u8]>,
    pub location: Option<&'a [u8]>,
    pub md5: Option<&'a [u8]>,
}

impl Content<'_> {
    fn weight(&self) -> usize {
        let params = self.ctype.as_ref().map_or(0, |v| v.params.iter().map(|(n, v)| n.len() + v.len()).sum());
        let values = [self.id, self.description, self.disposition, self.language, self.location, self.md5];
        params + values.into_iter().flatten().map(<[u8]>::len).sum::<usize>()
    }
    /// The type for judging: `text`, `plain` if nothing valid was said (RFC 2045 §5.2).
    pub fn media(&self) -> (String, String) {
        match &self.ctype {
            Some(v) => {
                let lower = |b: &[u8]| String::from_utf8_lossy(b).to_ascii_lowercase();
                (lower(&v.kind), lower(&v.subtype))
            }
            None => ("text".into(), "plain".into()),
        }
    }
    pub fn charset(&self) -> Vec<u8> {
        self.ctype.as_ref().and_then(|v| v.raw("charset")).unwrap_or(b"").to_vec()
    }
    pub fn disposition(&self) -> Option<Valued> {
        params::disposition(self.disposition?)
    }
    /// The file name people should see.
    pub fn file_name(&self) -> Option<String> {
        self.disposition()
            .and_then(|d| d.get("filename"))
            .or_else(|| self.ctype.as_ref()?.get("name"))
            .filter(|n| !n.is_empty())
    }
    pub fn is_attachment(&self) -> bool {
        self.disposition().is_some_and(|d| d.kind_is("attachment"))
    }
}

impl Structure {
    /// Finds the parts of a message.
    pub fn of(data: &[u8]) -> Structure {
        parse(data).0
    }
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }
    pub fn root(&self) -> &Part {
        &self.parts[0]
    }
    pub fn part(&self, index: u32) -> Option<&Part> {
        self.parts.get(index as usize)
    }
    /// The indexes of a part's children.
    pub fn children(&self, index: u32) -> impl Iterator<Item = u32> + '_ {
        let mut next = self.part(index).and_then(|p| p.first_child);
        std::iter::from_fn(move || {
            let now = next?;
            next = self.part(now)?.next;
            Some(now)
        })
    }
    /// The part that a section number names: `[1, 2]` for `1.2`; the empty path is the message.
    pub fn find(&self, path: &[u32]) -> Option<u32> {
        let mut at = 0;
        let mut as_message = true;
        for &n in path {
            if !as_message && self.part(at)?.kind == Kind::Message {
                at = self.part(at)?.first_child?;
                as_message = true;
            }
            match self.part(at)?.kind {
                Kind::Multipart => at = self.children(at).nth(n.checked_sub(1)? as usize)?,
                // RFC 9051 §6.4.5.1: a message that is no multipart has its body as part 1.
                _ if as_message && n == 1 => {}
                _ => return None,
            }
            as_message = false;
        }
        Some(at)
    }
    /// The bytes that IMAP's `BODY[path.ask]` names. `None` if there is no such part, or it has
    /// no such thing.
    pub fn section(&self, path: &[u32], ask: Ask) -> Option<Range<usize>> {
        let at = self.find(path)?;
        let part = self.part(at)?;
        if path.is_empty() {
            return match ask {
                Ask::Body => Some(part.head.start..part.body.end),
                Ask::Header => Some(part.head.clone()),
                Ask::Text => Some(part.body.clone()),
                Ask::Mime => None,
            };
        }
        let inner = || self.part(part.first_child.filter(|_| part.kind == Kind::Message)?);
        match ask {
            Ask::Body => Some(part.body.clone()),
            Ask::Mime => Some(part.head.clone()),
            Ask::Header => inner().map(|p| p.head.clone()),
            Ask::Text => inner().map(|p| p.body.clone()),
        }
    }
    /// Rebuilds the tree from parts in message order with their depths.
    pub(crate) fn from_parts(mut parts: Vec<Part>) -> Option<Structure> {
        let mut last_at: Vec<u32> = Vec::new();
        for i in 0..parts.len() {
            let depth = parts[i].depth as usize;
            if depth > last_at.len() || (depth == 0) != (i == 0) {
                return None;
            }
            parts[i].parent = depth.checked_sub(1).map(|d| last_at[d]);
            match last_at.get(depth).copied() {
                Some(before) => parts[before as usize].next = Some(i as u32),
                None => {
                    if let Some(parent) = parts[i].parent {
                        parts[parent as usize].first_child = Some(i as u32);
                    }
                }
            }
            last_at.truncate(depth);
            last_at.push(i as u32);
        }
        (!parts.is_empty()).then_some(Structure { parts })
    }
}

impl Part {
    pub(crate) fn bare(
        depth: u32,
        kind: Kind,
        encoding: Encoding,
        spans: (Range<usize>, Range<usize>),
    ) -> Part {
        Part {
            parent: None,
            first_child: None,
            next: None,
            depth,
            kind,
            encoding,
            head: spans.0,
            body: spans.1,
            lines: 0,
            mime: true,
            in_digest: false,
        }
    }
    pub(crate) fn marks(&self) -> u8 {
        u8::from(self.mime) | u8::from(self.in_digest) << 1
    }
    pub(crate) fn set_marks(&mut self, marks: u8) {
        (self.mime, self.in_digest) = (marks & 1 != 0, marks & 2 != 0);
    }
    pub(crate) fn in_digest(&self) -> bool {
        self.in_digest
    }
    /// Reads the part's Content-* fields again.
    pub fn content<'a>(&self, data: &'a [u8]) -> Content<'a> {
        if !self.mime {
            return Content::default();
        }
        let mut content = Content::default();
        let mut seen = Seen::default();
        for field in crate::Head::within(data, self.head.clone()).fields() {
            note(&field, &mut content, &mut seen);
        }
        content
    }
}

#[derive(Default)]
struct Seen {
    mime: bool,
    ctype: bool,
}

/// Keeps a field if it is one of those that describe content; the first of each counts.
fn note<'a>(field: &crate::Field<'a>, content: &mut Content<'a>, seen: &mut Seen) {
    let name = field.name();
    if name.len() < 10 || !matches!(name[0], b'C' | b'c' | b'M' | b'm') {
        return;
    }
    if field.is("MIME-Version") {
        seen.mime = true;
        return;
    }
    let Some(rest) = name.get(..8).filter(|n| n.eq_ignore_ascii_case(b"content-")).map(|_| &name[8..]) else {
        return;
    };
    let is = |what: &str| rest.eq_ignore_ascii_case(what.as_bytes());
    let value = crate::head::trim(field.raw());
    if is("type") {
        if !seen.ctype {
            content.ctype = params::content_type(value);
        }
        (seen.ctype, seen.mime) = (true, true);
        return;
    }
    let slot = if is("transfer-encoding") {
        &mut content.encoding
    } else if is("id") {
        &mut content.id
    } else if is("description") {
        &mut content.description
    } else if is("disposition") {
        &mut content.disposition
    } else if is("language") {
        &mut content.language
    } else if is("location") {
        &mut content.location
    } else if is("md5") {
        &mut content.md5
    } else {
        return;
    };
    slot.get_or_insert(value);
}

/// Finds the parts and keeps their Content-* fields beside them.
pub(crate) fn parse(data: &[u8]) -> (Structure, Vec<Content<'_>>) {
    let mut p = Parser {
        data,
        parts: Vec::with_capacity(8),
        contents: Vec::with_capacity(8),
        open: Vec::new(),
        last_child: Vec::with_capacity(8),
        current: 0,
        counted: (0, 0),
        spent: 0,
        finder: Finder::new(b"\n--"),
    };
    p.add(None, 0);
    let mut todo = Todo::Header(0);
    loop {
        todo = match todo {
            Todo::Header(at) => p.header(at),
            Todo::Body(at) => p.body(at),
            Todo::Boundary(hit) => p.boundary(&hit),
            Todo::Done => break,
        };
    }
    p.close_until(None, data.len(), p.data.len());
    (Structure { parts: p.parts }, p.contents)
}

enum Todo {
    /// A header begins here, that of the current part.
    Header(usize),
    /// Text of the current part begins here; look for the next boundary.
    Body(usize),
    Boundary(Hit),
    Done,
}

struct Hit {
    /// Which of the open boundaries.
    which: usize,
    line: usize,
    /// The text before it ends here; the line ending between belongs to the boundary
    /// (RFC 2046 §5.1.1).
    text_end: usize,
    closes: bool,
}

struct Boundary {
    part: u32,
    text: Vec<u8>,
}

struct Parser<'a> {
    data: &'a [u8],
    parts: Vec<Part>,
    contents: Vec<Content<'a>>,
    last_child: Vec<Option<u32>>,
    open: Vec<Boundary>,
    current: u32,
    /// Line endings before a place; only goes forward.
    counted: (usize, u32),
    /// Octets of Content-* values so far.
    spent: usize,
    finder: Finder<'static>,
}

impl<'a> Parser<'a> {
    fn add(&mut self, parent: Option<u32>, at: usize) {
        let index = self.parts.len() as u32;
        let depth = parent.map_or(0, |p| self.parts[p as usize].depth + 1);
        let mut part = Part::bare(depth, Kind::Leaf, Encoding::Identity, (at..at, at..at));
        part.parent = parent;
        if let Some(p) = parent {
            let up = &self.contents[p as usize];
            let multipart = self.parts[p as usize].kind == Kind::Multipart;
            part.in_digest = multipart && up.ctype.as_ref().is_some_and(|v| v.is("multipart", "digest"));
            part.mime = multipart;
            match self.last_child[p as usize].replace(index) {
                Some(before) => self.parts[before as usize].next = Some(index),
                None => self.parts[p as usize].first_child = Some(index),
            }
        } else {
            part.mime = false;
        }
        self.parts.push(part);
        self.contents.push(Content::default());
        self.last_child.push(None);
        self.current = index;
    }

    /// Line endings before `at`.
    fn lines_to(&mut self, at: usize) -> u32 {
        if at > self.counted.0 {
            self.counted.1 += memchr_iter(b'\n', &self.data[self.counted.0..at]).count() as u32;
            self.counted.0 = at;
        }
        self.counted.1
    }

    /// Reads the header of the current part.
    fn header(&mut self, start: usize) -> Todo {
        let data = self.data;
        let mut content = Content::default();
        let mut seen = Seen { mime: self.parts[self.current as usize].mime, ctype: false };
        let (mut field_start, mut line) = (start, start);
        let mut hit = None;
        let body = loop {
            let rest = &data[line..];
            let continues = matches!(rest.first(), Some(b' ' | b'\t')) && line > start;
            if !continues && field_start < line {
                for field in crate::Head::within(data, field_start..line).fields() {
                    note(&field, &mut content, &mut seen);
                }
                field_start = line;
            }
            match rest {
                [] => break line,
                [b'\n', ..] => break line + 1,
                [b'\r', b'\n', ..] => break line + 2,
                [b'-', b'-', ..] => hit = self.boundary_at(line, line == start),
                _ => {}
            }
            if let Some(hit) = &hit {
                break hit.text_end;
            }
            line = memchr(b'\n', rest).map_or(data.len(), |n| line + n + 1);
        };
        let index = self.current as usize;
        self.parts[index].mime = seen.mime;
        if !seen.mime {
            content = Content::default();
        }
        self.parts[index].head = start..body;
        self.parts[index].body = body..body;
        self.parts[index].encoding = Encoding::of(params::token(content.encoding.unwrap_or(b"")));
        self.parts[index].in_digest &= !seen.ctype;
        let default_message = self.parts[index].in_digest;
        self.spent += content.weight();
        if self.spent > CONTENT_MAX {
            content = Content { ctype: content.ctype, encoding: content.encoding, ..Content::default() };
        }
        self.contents[index] = content;
        let lines = self.lines_to(body);
        self.parts[index].lines = lines;
        match hit {
            Some(hit) => {
                self.classify(default_message);
                if self.parts[index].kind == Kind::Message {
                    // The message inside is empty, but it is there.
                    self.add(Some(index as u32), body);
                    self.parts[self.current as usize].lines = lines;
                }
                Todo::Boundary(hit)
            }
            None => self.classify_and_go(default_message, body),
        }
    }

    /// Decides what the current part is; returns its boundary if it is a multipart that has one.
    fn classify(&mut self, default_message: bool) -> Option<Vec<u8>> {
        let index = self.current as usize;
        if self.parts[index].depth as usize + 1 >= DEPTH_MAX {
            return None;
        }
        let ctype = self.contents[index].ctype.as_ref();
        let is_message =
            ctype.map_or(default_message, |v| v.is("message", "rfc822") || v.is("message", "global"));
        if is_message && self.parts.len() < PARTS_MAX {
            self.parts[index].kind = Kind::Message;
        } else if let Some(v) = ctype.filter(|v| v.kind_is("multipart")) {
            self.parts[index].kind = Kind::Multipart;
            let boundary = v.raw("boundary").filter(|b| !b.is_empty())?;
            return Some(boundary[..boundary.len().min(BOUNDARY_MAX)].to_vec());
        }
        None
    }

    /// Past the limit of Content-* values, the parameters go once the boundary is known.
    fn forget_parameters(&mut self) {
        if self.spent > CONTENT_MAX
            && let Some(ctype) = &mut self.contents[self.current as usize].ctype
        {
            ctype.params.clear();
        }
    }

    fn classify_and_go(&mut self, default_message: bool, body: usize) -> Todo {
        if let Some(text) = self.classify(default_message) {
            self.open.push(Boundary { part: self.current, text });
        }
        self.forget_parameters();
        if self.parts[self.current as usize].kind == Kind::Message {
            self.add(Some(self.current), body);
            return Todo::Header(body);
        }
        Todo::Body(body)
    }

    /// Looks for the next line that is an open boundary.
    fn body(&mut self, from: usize) -> Todo {
        if self.open.is_empty() || self.parts.len() >= PARTS_MAX {
            return Todo::Done;
        }
        if let Some(hit) = self.boundary_at(from, true) {
            return Todo::Boundary(hit);
        }
        let data = self.data;
        for n in self.finder.find_iter(&data[from..]) {
            if let Some(hit) = self.boundary_at(from + n + 1, false) {
                return Todo::Boundary(hit);
            }
        }
        Todo::Done
    }

    /// Whether the line at `line` is an open boundary. `first` says that no text stands before it.
    fn boundary_at(&self, line: usize, first: bool) -> Option<Hit> {
        if self.parts.len() >= PARTS_MAX {
            return None;
        }
        let rest = self.data[line..].strip_prefix(b"--")?;
        let next = *rest.first()?;
        if !self.open.iter().any(|b| b.text[0] == next) {
            return None;
        }
        let mut text = &rest[..memchr(b'\n', rest).unwrap_or(rest.len())];
        text = text.strip_suffix(b"\r").unwrap_or(text);
        let mut best: Option<usize> = None;
        for (i, b) in self.open.iter().enumerate().rev() {
            if !text.starts_with(&b.text) || best.is_some_and(|j| self.open[j].text.len() >= b.text.len()) {
                continue;
            }
            best = Some(i);
            // Exactly this one, open or closing: none can be better.
            if text.len() == b.text.len() || (text.len() == b.text.len() + 2 && text.ends_with(b"--")) {
                break;
            }
        }
        let which = best?;
        let closes = text[self.open[which].text.len()..].starts_with(b"--");
        let text_end = match &self.data[..line] {
            _ if first => line,
            [.., b'\r', b'\n'] => line - 2,
            [.., b'\n'] => line - 1,
            _ => line,
        };
        Some(Hit { which, line, text_end, closes })
    }

    fn boundary(&mut self, hit: &Hit) -> Todo {
        let target = self.open[hit.which].part;
        self.close_until(Some(target), hit.text_end, hit.line);
        let line_end = memchr(b'\n', &self.data[hit.line..]);
        let after = line_end.map_or(self.data.len(), |n| hit.line + n + 1);
        if hit.closes {
            self.open.truncate(hit.which);
            return Todo::Body(after);
        }
        // Cut off within the line: no part came of it.
        if line_end.is_none() {
            return Todo::Done;
        }
        self.open.truncate(hit.which + 1);
        self.add(Some(target), after);
        Todo::Header(after)
    }

    /// Ends the current part and those around it, up to but without `target`.
    fn close_until(&mut self, target: Option<u32>, text_end: usize, line: usize) {
        let lines = self.lines_to(line) - u32::from(text_end < line);
        let mut at = Some(self.current);
        while at != target {
            let Some(index) = at else { break };
            let part = &mut self.parts[index as usize];
            part.body.end = text_end.max(part.body.start);
            // Until now the line count before the body stood here.
            part.lines = lines.saturating_sub(part.lines);
            at = part.parent;
        }
        self.current = target.unwrap_or(0);
    }
}

#[cfg(test)]
#[path = "mime_tests.rs"]
mod tests;
