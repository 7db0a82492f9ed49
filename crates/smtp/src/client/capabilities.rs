//! What a server says after EHLO.

use words::Reply;

/// Extensions offered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The server answered EHLO, not only HELO.
    pub esmtp: bool,
    pub pipelining: bool,
    pub starttls: bool,
    pub eight_bit: bool,
    pub smtputf8: bool,
    pub dsn: bool,
    pub chunking: bool,
    pub binary: bool,
    pub requiretls: bool,
    /// SIZE was offered; `size_max` is its limit if it has one.
    pub size: bool,
    pub size_max: Option<u64>,
    pub auth: Vec<String>,
    /// RFC 9422.
    pub recipients_max: Option<u64>,
    pub messages_max: Option<u64>,
}

impl Capabilities {
    pub fn read(reply: &Reply) -> Capabilities {
        let mut got = Capabilities { esmtp: true, ..Capabilities::default() };
        for line in reply.lines.iter().skip(1) {
            got.line(&line.to_ascii_uppercase());
        }
        got
    }
    fn line(&mut self, line: &str) {
        // `AUTH=LOGIN` is how it was written before RFC 2554; some servers still do.
        let mut words = line.split([' ', '\t', '=']).filter(|w| !w.is_empty());
        match words.next().unwrap_or("") {
            "PIPELINING" => self.pipelining = true,
            "STARTTLS" => self.starttls = true,
            "8BITMIME" => self.eight_bit = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "DSN" => self.dsn = true,
            "CHUNKING" => self.chunking = true,
            "BINARYMIME" => self.binary = true,
            "REQUIRETLS" => self.requiretls = true,
            "SIZE" => {
                self.size = true;
                // RFC 1870 §4: zero is no limit.
                self.size_max = words.next().and_then(crate::params::number).filter(|n| *n > 0);
            }
            "AUTH" => self.auth.extend(words.map(str::to_owned)),
            "LIMITS" => {
                while let (Some(name), Some(value)) = (words.next(), words.next()) {
                    match name {
                        "RCPTMAX" => self.recipients_max = crate::params::number(value),
                        "MAILMAX" => self.messages_max = crate::params::number(value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_read_in_any_case() {
        let lines = [
            "mx.example greets",
            "pipelining",
            "SIZE 1000",
            "AUTH=PLAIN LOGIN",
            "LIMITS RCPTMAX=5 MAILMAX=7",
        ];
        let reply = Reply { code: 250, enhanced: None, lines: lines.map(str::to_owned).to_vec() };
        let got = Capabilities::read(&reply);
        assert!(got.esmtp && got.pipelining && got.size && !got.starttls);
        assert_eq!((got.size_max, got.recipients_max, got.messages_max), (Some(1000), Some(5), Some(7)));
        assert_eq!(got.auth, ["PLAIN", "LOGIN"]);
    }
}
