//! The grammar: one line, one command.

/// Longest command line, without CRLF. RFC 2449 §4 says 255; user names of our days are longer.
pub const COMMAND_MAX: usize = 1024;

/// A command as it was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<'a> {
    User(&'a [u8]),
    Pass(&'a [u8]),
    /// Mechanism (empty for the old form that lists them) and initial response.
    Auth(&'a str, Option<&'a [u8]>),
    Capa,
    Stls,
    Utf8,
    Stat,
    List(Option<u32>),
    Uidl(Option<u32>),
    Retr(u32),
    Top(u32, u32),
    Dele(u32),
    Noop,
    Rset,
    Quit,
}

/// Why a line is no command.
#[derive(Debug, PartialEq, Eq)]
pub enum NoCommand {
    Unknown,
    /// The command is known; the sentence shows its form.
    Form(&'static str),
}

/// Reads a line without its line end.
pub fn parse(line: &[u8]) -> Result<Command<'_>, NoCommand> {
    let split = line.iter().position(|&b| b == b' ');
    let (verb, rest) = match split {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => (line, &b""[..]),
    };
    let mut upper = [0u8; 4];
    if verb.len() > 4 || verb.is_empty() {
        return Err(NoCommand::Unknown);
    }
    upper[..verb.len()].copy_from_slice(verb);
    upper.make_ascii_uppercase();
    let words = rest.trim_ascii();
    let bare = |command, form| if words.is_empty() { Ok(command) } else { Err(NoCommand::Form(form)) };
    match &upper[..verb.len()] {
        // A blank is part of a password, also at its ends.
        b"USER" if !words.is_empty() => Ok(Command::User(words)),
        b"USER" => Err(NoCommand::Form("USER name")),
        b"PASS" if !rest.is_empty() => Ok(Command::Pass(rest)),
        b"PASS" => Err(NoCommand::Form("PASS password")),
        b"AUTH" => auth(words),
        b"CAPA" => bare(Command::Capa, "CAPA"),
        b"STLS" => bare(Command::Stls, "STLS"),
        b"UTF8" => bare(Command::Utf8, "UTF8"),
        b"STAT" => bare(Command::Stat, "STAT"),
        b"NOOP" => bare(Command::Noop, "NOOP"),
        b"RSET" => bare(Command::Rset, "RSET"),
        b"QUIT" => bare(Command::Quit, "QUIT"),
        b"LIST" if words.is_empty() => Ok(Command::List(None)),
        b"LIST" => number(words).map(|n| Command::List(Some(n))).ok_or(NoCommand::Form("LIST [number]")),
        b"UIDL" if words.is_empty() => Ok(Command::Uidl(None)),
        b"UIDL" => number(words).map(|n| Command::Uidl(Some(n))).ok_or(NoCommand::Form("UIDL [number]")),
        b"RETR" => number(words).map(Command::Retr).ok_or(NoCommand::Form("RETR number")),
        b"DELE" => number(words).map(Command::Dele).ok_or(NoCommand::Form("DELE number")),
        b"TOP" => top(words).ok_or(NoCommand::Form("TOP number lines")),
        _ => Err(NoCommand::Unknown),
    }
}

fn number(word: &[u8]) -> Option<u32> {
    let digits = !word.is_empty() && word.len() <= 10 && word.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(word).ok()?.parse().ok()).flatten()
}

fn top(words: &[u8]) -> Option<Command<'_>> {
    let at = words.iter().position(|&b| b == b' ')?;
    Some(Command::Top(number(&words[..at])?, number(words[at..].trim_ascii())?))
}

fn auth(words: &[u8]) -> Result<Command<'_>, NoCommand> {
    let form = NoCommand::Form("AUTH mechanism [initial response]");
    let (name, rest) = match words.iter().position(|&b| b == b' ') {
        Some(at) => (&words[..at], Some(words[at..].trim_ascii())),
        None => (words, None),
    };
    match std::str::from_utf8(name) {
        Ok(name) => Ok(Command::Auth(name, rest)),
        Err(_) => Err(form),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_or_refused_with_their_form() {
        for (line, want) in [
            (&b"user bob@x.example"[..], Ok(Command::User(b"bob@x.example"))),
            (b"PASS  two blanks ", Ok(Command::Pass(b" two blanks "))),
            (b"ReTr 12", Ok(Command::Retr(12))),
            (b"RETR 12 ", Ok(Command::Retr(12))),
            (b"TOP 1 0", Ok(Command::Top(1, 0))),
            (b"LIST", Ok(Command::List(None))),
            (b"AUTH PLAIN =", Ok(Command::Auth("PLAIN", Some(b"=")))),
            (b"AUTH", Ok(Command::Auth("", None))),
            (b"RETR", Err(NoCommand::Form("RETR number"))),
            (b"RETR -1", Err(NoCommand::Form("RETR number"))),
            (b"RETR 99999999999", Err(NoCommand::Form("RETR number"))),
            (b"QUIT now", Err(NoCommand::Form("QUIT"))),
            (b"", Err(NoCommand::Unknown)),
            (b"APOP a b", Err(NoCommand::Unknown)),
            (b"\xff\x00", Err(NoCommand::Unknown)),
        ] {
            assert_eq!(parse(line), want, "{:?}", String::from_utf8_lossy(line));
        }
    }
}
