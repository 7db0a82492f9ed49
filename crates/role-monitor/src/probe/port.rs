//! A port that should speak a protocol: banner, capabilities, TLS, log-in, one command.

use stdx::TlsFacts;

use crate::reply::Wait;
use crate::wire::{Fails, Family, Kit, Login, Place, TlsWay, Wire, plain, quoted};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proto {
    Smtp,
    Submission,
    Imap,
    Pop3,
    Sieve,
}

impl Proto {
    pub const fn word(self) -> &'static str {
        match self {
            Proto::Smtp => "smtp",
            Proto::Submission => "submission",
            Proto::Imap => "imap",
            Proto::Pop3 => "pop3",
            Proto::Sieve => "sieve",
        }
    }
    pub fn from_word(word: &str) -> Option<Proto> {
        [Proto::Smtp, Proto::Submission, Proto::Imap, Proto::Pop3, Proto::Sieve]
            .into_iter()
            .find(|p| p.word() == word)
    }
}

#[derive(Clone)]
pub struct Port {
    pub proto: Proto,
    pub to: Place,
    pub family: Family,
    pub tls: TlsWay,
    /// The name its certificate should be for; asked with SNI.
    pub name: String,
    /// Log in, and do one thing.
    pub login: Option<Login>,
}

/// Talks as far as it should go. What was learned of TLS comes back.
pub async fn look(kit: &Kit, port: &Port) -> Fails<(Wire, String)> {
    let mut wire = open(kit, port).await?;
    let said = match (port.proto, &port.login) {
        (Proto::Smtp | Proto::Submission, Some(login)) => {
            wire.ask(&format!("AUTH PLAIN {}\r\n", plain(login)), &Wait::Smtp("235")).await?.last().to_owned()
        }
        (Proto::Smtp | Proto::Submission, None) => {
            wire.ask("NOOP\r\n", &Wait::Smtp("2")).await?.last().to_owned()
        }
        (Proto::Imap, Some(login)) => {
            imap_login(&mut wire, login).await?;
            let tag = Wait::Imap("s1".into());
            let found = wire.ask("s1 STATUS INBOX (MESSAGES)\r\n", &tag).await?;
            found.lines.first().cloned().unwrap_or_default()
        }
        (Proto::Imap, None) => wire.ask("s1 NOOP\r\n", &Wait::Imap("s1".into())).await?.last().to_owned(),
        (Proto::Pop3, Some(login)) => {
            wire.ask(&format!("USER {}\r\n", login.user), &Wait::Pop3).await?;
            wire.ask(&format!("PASS {}\r\n", login.password.reveal()), &Wait::Pop3).await?;
            wire.ask("STAT\r\n", &Wait::Pop3).await?.last().to_owned()
        }
        (Proto::Pop3, None) => String::new(),
        (Proto::Sieve, Some(login)) => {
            wire.ask(&format!("AUTHENTICATE \"PLAIN\" \"{}\"\r\n", plain(login)), &Wait::Sieve).await?;
            wire.ask("LISTSCRIPTS\r\n", &Wait::Sieve).await?.last().to_owned()
        }
        (Proto::Sieve, None) => wire.ask("CAPABILITY\r\n", &Wait::Sieve).await?.last().to_owned(),
    };
    goodbye(&mut wire, port.proto).await;
    Ok((wire, said))
}

/// Connected, greeted, and with TLS if it should have it.
pub async fn open(kit: &Kit, port: &Port) -> Fails<Wire> {
    let mut wire = Wire::dial(kit, &port.to, port.family).await?;
    if port.tls == TlsWay::Implicit {
        wire = wire.start_tls(kit, &port.name).await?;
    }
    greet(kit, &mut wire, port.proto).await?;
    if port.tls != TlsWay::StartTls {
        return Ok(wire);
    }
    match port.proto {
        Proto::Smtp | Proto::Submission => wire.ask("STARTTLS\r\n", &Wait::Smtp("220")).await?,
        Proto::Imap => wire.ask("t1 STARTTLS\r\n", &Wait::Imap("t1".into())).await?,
        Proto::Pop3 => wire.ask("STLS\r\n", &Wait::Pop3).await?,
        Proto::Sieve => wire.ask("STARTTLS\r\n", &Wait::Sieve).await?,
    };
    let mut wire = wire.start_tls(kit, &port.name).await?;
    match port.proto {
        Proto::Smtp | Proto::Submission => ehlo(kit, &mut wire).await?,
        // RFC 5804 §2.2: the server tells its capabilities again.
        Proto::Sieve => drop(wire.want("after STARTTLS", &Wait::Sieve).await?),
        Proto::Imap | Proto::Pop3 => {}
    }
    Ok(wire)
}

async fn greet(kit: &Kit, wire: &mut Wire, proto: Proto) -> Fails<()> {
    match proto {
        Proto::Smtp | Proto::Submission => {
            wire.want("greeting", &Wait::Smtp("220")).await?;
            ehlo(kit, wire).await
        }
        Proto::Imap => wire.want("greeting", &Wait::Imap("*".into())).await.map(drop),
        Proto::Pop3 => wire.want("greeting", &Wait::Pop3).await.map(drop),
        Proto::Sieve => wire.want("greeting", &Wait::Sieve).await.map(drop),
    }
}

async fn ehlo(kit: &Kit, wire: &mut Wire) -> Fails<()> {
    wire.ask(&format!("EHLO {}\r\n", kit.name), &Wait::Smtp("250")).await.map(drop)
}

pub async fn imap_login(wire: &mut Wire, login: &Login) -> Fails<()> {
    let text = format!("l1 LOGIN {} {}\r\n", quoted(&login.user), quoted(login.password.reveal()));
    wire.send(text.as_bytes()).await?;
    wire.want("LOGIN", &Wait::Imap("l1".into())).await.map(drop)
}

/// What the server says to a goodbye changes nothing.
pub async fn goodbye(wire: &mut Wire, proto: Proto) {
    let said = match proto {
        Proto::Imap => "z1 LOGOUT\r\n",
        Proto::Sieve => "LOGOUT\r\n",
        _ => "QUIT\r\n",
    };
    let _ = wire.send(said.as_bytes()).await;
}

/// For the certificate probe: the handshake alone.
pub async fn tls_facts(kit: &Kit, port: &Port) -> Fails<TlsFacts> {
    let mut wire = open(kit, port).await?;
    goodbye(&mut wire, port.proto).await;
    wire.tls.ok_or_else(|| "there was no TLS".into())
}

/// M29: would this host carry a stranger's mail to another stranger?
pub async fn open_relay(kit: &Kit, port: &Port) -> Fails<String> {
    let mut wire = open(kit, port).await?;
    let smtp = |code| Wait::Smtp(code);
    wire.ask("MAIL FROM:<relaytest@example.com>\r\n", &smtp("2")).await.ok();
    wire.send(b"RCPT TO:<relaytest@example.net>\r\n").await?;
    let reply = wire.reply(&smtp("2")).await?;
    goodbye(&mut wire, port.proto).await;
    let said: String = reply.last().chars().take(200).collect();
    if reply.yes { Err(format!("it would carry a stranger's mail to a stranger: {said}")) } else { Ok(said) }
}
