//! mbox files: messages one after the other, each behind a `From ` line.
//!
//! There is no one standard (RFC 4155 describes the family). Read here: mboxrd (`>From ` loses one
//! `>`), which also reads mboxo as well as anything can, and `Content-Length` where it leads
//! exactly to the next `From ` line (mboxcl, mboxcl2). Dovecot's and mutt's `Status:` fields give
//! the flags.

use std::fs::File;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read};
use std::path::Path;

use stdx::Now;

use crate::found::{Flags, Found, MESSAGE_BYTES_MAX, ReadError, with_crlf};

/// Whether a file begins as an mbox does.
pub fn looks_like_mbox(path: &Path) -> bool {
    let mut first = [0; 5];
    File::open(path).and_then(|mut f| f.read_exact(&mut first)).is_ok() && &first == b"From "
}

/// Reads an mbox, or a file that is one message by itself.
pub fn read_or_single(path: &Path, folder: &str, take: &mut dyn FnMut(Result<Found, ReadError>)) {
    let outcome = if looks_like_mbox(path) { read(path, folder, take) } else { single(path, folder, take) };
    if let Err(why) = outcome {
        take(Err(ReadError { place: path.to_path_buf(), why }));
    }
}

fn single(path: &Path, folder: &str, take: &mut dyn FnMut(Result<Found, ReadError>)) -> std::io::Result<()> {
    let size = std::fs::metadata(path)?.len();
    if size > MESSAGE_BYTES_MAX {
        return Err(Error::new(
            ErrorKind::FileTooLarge,
            format!("{size} bytes are more than {MESSAGE_BYTES_MAX}"),
        ));
    }
    let bytes = with_crlf(&std::fs::read(path)?);
    let place = path.display().to_string();
    take(Ok(Found { folder: folder.to_owned(), flags: Flags::default(), received: None, bytes, place }));
    Ok(())
}

fn read(path: &Path, folder: &str, take: &mut dyn FnMut(Result<Found, ReadError>)) -> std::io::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut splitter = Splitter::default();
    let mut number = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.by_ref().take(MESSAGE_BYTES_MAX).read_until(b'\n', &mut line)?;
        let ready = if read == 0 { splitter.finish() } else { splitter.line(&line) };
        if let Some(raw) = ready {
            number += 1;
            let place = format!("{}, message {number}", path.display());
            take(Ok(found(raw, folder, place)));
        }
        if read == 0 {
            return Ok(());
        }
        if splitter.text.len() as u64 > MESSAGE_BYTES_MAX {
            return Err(Error::new(ErrorKind::FileTooLarge, format!("message {} is too long", number + 1)));
        }
    }
}

/// A message as it stands between two `From ` lines.
struct Raw {
    received: Option<Now>,
    text: Vec<u8>,
}

#[derive(Default)]
struct Splitter {
    begun: bool,
    received: Option<Now>,
    text: Vec<u8>,
    /// Body bytes that `Content-Length` still promises; no `From ` line is looked for in them.
    promised: Option<u64>,
    in_body: bool,
    blank: bool,
}

impl Splitter {
    fn line(&mut self, line: &[u8]) -> Option<Raw> {
        if self.in_body
            && let Some(left) = self.promised
            && left > 0
        {
            self.promised = Some(left.saturating_sub(line.len() as u64));
            self.text.extend_from_slice(line);
            return None;
        }
        if line.starts_with(b"From ") && (!self.begun || self.blank || !self.in_body && self.text.is_empty())
        {
            let ready = self.finish();
            self.begun = true;
            self.received = envelope_date(line);
            return ready;
        }
        self.blank = line == b"\n" || line == b"\r\n";
        if !self.in_body && self.blank {
            self.in_body = true;
            // A length that would reach past a `From ` line cannot be trusted; only mboxcl2 writers
            // leave `From ` unquoted, and they always write it.
            self.promised = content_length(&self.text);
        }
        let quoted =
            line.iter().position(|b| *b != b'>').is_some_and(|n| n > 0 && line[n..].starts_with(b"From "));
        let skip = usize::from(quoted && self.promised.is_none());
        self.text.extend_from_slice(&line[skip..]);
        None
    }

    fn finish(&mut self) -> Option<Raw> {
        let begun = std::mem::take(&mut self.begun);
        let mut text = std::mem::take(&mut self.text);
        let received = self.received.take();
        *self = Splitter::default();
        // The blank line before the next `From ` belongs to the file, not to the message.
        if text.ends_with(b"\n\n") {
            text.pop();
        } else if text.ends_with(b"\r\n\r\n") {
            text.truncate(text.len() - 2);
        }
        begun.then_some(Raw { received, text })
    }
}

fn content_length(head: &[u8]) -> Option<u64> {
    header(head, "content-length")?.trim().parse().ok()
}

fn header(head: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(head);
    text.lines().find_map(|l| {
        let (n, v) = l.split_once(':')?;
        n.trim().eq_ignore_ascii_case(name).then(|| v.to_owned())
    })
}

fn found(raw: Raw, folder: &str, place: String) -> Found {
    let head_end = raw.text.windows(2).position(|w| w == b"\n\n").unwrap_or(raw.text.len());
    let head = &raw.text[..head_end];
    let status =
        [header(head, "status"), header(head, "x-status")].into_iter().flatten().collect::<Vec<_>>().join("");
    let has = |c: char| status.contains(c);
    let flags =
        Flags { seen: has('R'), answered: has('A'), flagged: has('F'), deleted: has('D'), draft: has('T') };
    Found { folder: folder.to_owned(), flags, received: raw.received, bytes: with_crlf(&raw.text), place }
}

/// `From sender Sun Nov 22 10:00:00 2026`: the date at its end, taken as UTC.
fn envelope_date(line: &[u8]) -> Option<Now> {
    let text = std::str::from_utf8(line).ok()?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let clock = words.iter().rposition(|w| w.matches(':').count() == 2)?;
    let named = *words.get(clock.checked_sub(2)?)?;
    let month = stdx::time::MONTHS.iter().position(|m| *m == named)?;
    let day: u32 = words.get(clock - 1)?.parse().ok()?;
    let year: i64 =
        words[clock + 1..].iter().find_map(|w| w.parse().ok().filter(|y| (1970..10_000).contains(y)))?;
    let mut hms = words[clock].split(':').map(|n| n.parse::<u64>().ok());
    let (h, m, s) = (hms.next()??, hms.next()??, hms.next()??);
    let days = u64::try_from(stdx::time::days_from_civil(year, month as u32 + 1, day)).ok()?;
    Some(Now::from_secs(days * 86_400 + h * 3600 + m * 60 + s))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<Found> {
        let mut splitter = Splitter::default();
        let mut out: Vec<Raw> =
            text.split_inclusive('\n').filter_map(|l| splitter.line(l.as_bytes())).collect();
        out.extend(splitter.finish());
        out.into_iter().map(|r| found(r, "", String::new())).collect()
    }

    #[test]
    fn messages_are_cut_at_from_lines_and_unquoted() {
        let got = split(
            "From a@b Sun Nov 22 10:00:00 2026\nSubject: 1\nStatus: RO\nX-Status: AF\n\n>From here\n>>From there\n\nFrom c Mon Nov 23 1:02:03 2026\nSubject: 2\n\nx From y\n\n",
        );
        assert_eq!(got.len(), 2);
        assert_eq!(
            got[0].bytes,
            b"Subject: 1\r\nStatus: RO\r\nX-Status: AF\r\n\r\nFrom here\r\n>From there\r\n"
        );
        assert!(got[0].flags.seen && got[0].flags.answered && got[0].flags.flagged && !got[0].flags.draft);
        assert_eq!(got[0].received.map(|n| n.iso()), Some("2026-11-22T10:00:00Z".into()));
        assert_eq!(got[1].bytes, b"Subject: 2\r\n\r\nx From y\r\n");
    }

    #[test]
    fn a_from_line_inside_a_paragraph_does_not_cut() {
        let got = split("From a Sun Nov 22 10:00:00 2026\nS: 1\n\ntext\nFrom here on\n\nmore\n");
        assert_eq!(got.len(), 1);
    }

    #[test]
    fn a_content_length_covers_from_lines() {
        let body = "\nFrom inside\n";
        let got = split(&format!(
            "From a Sun Nov 22 10:00:00 2026\nContent-Length: {}\n\n{body}\nFrom b Sun Nov 22 10:00:00 2026\nS: 2\n\nx\n",
            body.len()
        ));
        assert_eq!(got.len(), 2);
        assert!(got[0].bytes.ends_with(b"From inside\r\n"));
    }

    #[test]
    fn an_empty_file_has_no_message() {
        assert!(split("").is_empty());
        assert_eq!(split("From x\n").len(), 1);
    }
}
