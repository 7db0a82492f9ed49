//! Reading an HTTP/1.1 response that comes in pieces, within limits. Bytes in, a response out: no
//! socket here.

/// The head of a response, bytes.
const HEAD_BYTES_MAX: usize = 32 * 1024;
const HEADERS_MAX: usize = 100;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// The head is not whole yet.
    Head,
    Length(usize),
    Chunks,
    UntilEnd,
}

/// Takes the pieces.
pub struct Reader {
    /// A HEAD question's response has no body.
    bodyless: bool,
    body_bytes_max: usize,
    held: Vec<u8>,
    body: Body,
    response: Response,
}

impl Reader {
    pub fn new(bodyless: bool, body_bytes_max: usize) -> Reader {
        Reader { bodyless, body_bytes_max, held: Vec::new(), body: Body::Head, response: Response::default() }
    }

    /// Takes a piece; `Ok(true)`: the response is whole.
    pub fn take(&mut self, bytes: &[u8]) -> Result<bool, String> {
        self.held.extend_from_slice(bytes);
        // RFC 9110 §15.2: interim responses come before the one that counts.
        while self.body == Body::Head {
            let Some(end) = find(&self.held, b"\r\n\r\n") else {
                if self.held.len() > HEAD_BYTES_MAX {
                    return Err("its head is endless".into());
                }
                return Ok(false);
            };
            let head: Vec<u8> = self.held.drain(..end + 4).collect();
            self.response = head_of(&head[..end])?;
            if self.response.status >= 200 {
                self.body = self.framing()?;
            }
        }
        self.more()
    }

    /// The peer has closed.
    pub fn end(mut self) -> Result<Response, String> {
        match self.body {
            Body::UntilEnd => {
                self.response.body = std::mem::take(&mut self.held);
                Ok(self.response)
            }
            Body::Head if self.held.is_empty() => Err("the server closed without a word".into()),
            _ => Err("the response broke off".into()),
        }
    }

    /// What [`Reader::take`] said is whole.
    pub fn whole(self) -> Response {
        self.response
    }

    // RFC 9112 §6.3: how long a body is.
    fn framing(&self) -> Result<Body, String> {
        if self.bodyless || matches!(self.response.status, 204 | 304) {
            return Ok(Body::Length(0));
        }
        if self.response.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
            return Ok(Body::Chunks);
        }
        match self.response.header("content-length") {
            Some(text) => match text.trim().parse::<usize>() {
                Ok(n) => Ok(Body::Length(n)),
                Err(_) => Err(format!("Content-Length \"{text}\" is no number")),
            },
            None => Ok(Body::UntilEnd),
        }
    }

    fn more(&mut self) -> Result<bool, String> {
        let large = || "its body is larger than we take".to_owned();
        match self.body {
            Body::Head => Ok(false),
            Body::Length(n) if n > self.body_bytes_max => Err(large()),
            Body::Length(n) if self.held.len() >= n => {
                self.response.body = self.held.drain(..n).collect();
                Ok(true)
            }
            Body::Chunks => self.chunks(),
            Body::Length(_) | Body::UntilEnd if self.held.len() > self.body_bytes_max => Err(large()),
            Body::Length(_) | Body::UntilEnd => Ok(false),
        }
    }

    // RFC 9112 §7.1: size in hex, its bytes, CRLF; size 0 ends, trailers are of no interest.
    fn chunks(&mut self) -> Result<bool, String> {
        while let Some(end) = find(&self.held, b"\r\n") {
            let line = String::from_utf8_lossy(&self.held[..end]).into_owned();
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| "a chunk has no size".to_owned())?;
            if self.response.body.len().saturating_add(size) > self.body_bytes_max {
                return Err("its body is larger than we take".into());
            }
            if size == 0 {
                return Ok(true);
            }
            if self.held.len() < end + 2 + size + 2 {
                return Ok(false);
            }
            self.response.body.extend_from_slice(&self.held[end + 2..end + 2 + size]);
            self.held.drain(..end + 2 + size + 2);
        }
        if self.held.len() > 1024 { Err("a chunk has no size".into()) } else { Ok(false) }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

fn head_of(head: &[u8]) -> Result<Response, String> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| format!("this is no HTTP: {}", first.chars().take(60).collect::<String>()))?;
    let mut headers = Vec::new();
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        if headers.len() == HEADERS_MAX {
            return Err("it has too many header fields".into());
        }
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(Response { status, headers, body: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole, and at every split.
    #[track_caller]
    fn check(wire: &str, closes: bool, status: u16, body: &str) {
        for cut in 0..=wire.len() {
            let mut reader = Reader::new(false, 1000);
            let (a, b) = wire.as_bytes().split_at(cut);
            let whole = reader.take(a).expect("fits") || reader.take(b).expect("fits");
            assert_eq!(whole, !closes, "at {cut}");
            let got = if whole { reader.whole() } else { reader.end().expect("it may close here") };
            assert_eq!((got.status, String::from_utf8_lossy(&got.body).as_ref()), (status, body), "at {cut}");
        }
    }

    #[test]
    fn every_framing_is_read_at_every_split() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, 200, "hello");
        check(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
            false,
            201,
            "abcde",
        );
        check("HTTP/1.0 200 OK\r\n\r\nuntil the end", true, 200, "until the end");
        check("HTTP/1.1 204 No Content\r\n\r\n", false, 204, "");
    }

    #[test]
    fn what_is_no_http_or_too_much_is_refused() {
        let read = |wire: &str| Reader::new(false, 10).take(wire.as_bytes());
        assert!(read("SSH-2.0-x\r\n\r\n").is_err());
        assert!(read("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n").is_err());
        assert!(read(&format!("HTTP/1.1 200 OK\r\n{}", "x".repeat(HEAD_BYTES_MAX))).is_err());
        assert!(Reader::new(false, 10).end().is_err());
        let mut broken = Reader::new(false, 10);
        assert_eq!(broken.take(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), Ok(false));
        assert!(broken.end().is_err());
    }
}
