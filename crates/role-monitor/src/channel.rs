//! Ways to people that share nothing with what is watched: an ntfy-style push server, a signed
//! web-hook, Matrix, an SMS gateway over HTTP, mail by another host, web push.

use std::sync::Arc;

use stdx::{Now, Secret, Span};
use web::{Ask, Url, push};

use crate::probe::encoded;
use crate::probe::port::{self, Port, Proto};
use crate::reply::Wait;
use crate::wire::{Fails, Kit, Login, plain};

/// A channel may take this long.
const LIMIT: Span = Span::secs(30);
/// An SMS is cut to this many characters.
const SMS_CHARS: usize = 300;

#[derive(Clone)]
pub struct Channel {
    pub name: String,
    /// 1: told first; 2: told if nobody answers.
    pub level: u32,
    pub way: Way,
}

#[derive(Clone)]
pub enum Way {
    /// POST of the text, with Title and Priority, as ntfy.sh and its kin take it.
    Ntfy {
        url: Url,
        token: Option<Secret<String>>,
    },
    /// POST of JSON, signed: see [`push::hook_signature`].
    Hook {
        url: Url,
        secret: Secret<String>,
    },
    /// A message into a room, by Matrix' client API.
    Matrix {
        server: Url,
        room: String,
        token: Secret<String>,
    },
    /// `{text}` and `{to}` are filled in; with a body it is a POST.
    Sms {
        url: String,
        body: String,
        to: String,
        token: Option<Secret<String>>,
    },
    /// By another host's submission port: ours may be what is broken.
    Mail {
        port: Box<Port>,
        login: Option<Login>,
        from: String,
        to: String,
    },
    Push {
        to: push::Subscription,
        vapid: Arc<push::Vapid>,
    },
}

impl Way {
    pub const fn word(&self) -> &'static str {
        match self {
            Way::Ntfy { .. } => "ntfy",
            Way::Hook { .. } => "webhook",
            Way::Matrix { .. } => "matrix",
            Way::Sms { .. } => "sms",
            Way::Mail { .. } => "mail",
            Way::Push { .. } => "push",
        }
    }
}

/// What is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The same for every try, so that a second one is known as such.
    pub id: i64,
    pub title: String,
    pub text: String,
    /// Where to say "I have it"; empty if there is nothing to answer.
    pub ack: String,
    pub over: bool,
    pub now: Now,
}

impl Message {
    fn whole(&self) -> String {
        let ack = if self.ack.is_empty() { String::new() } else { format!("\n\nI have it: {}", self.ack) };
        format!("{}{ack}", self.text)
    }
}

/// Says it, once. `Err`: what the other side said, for the operator.
pub async fn say(kit: &Kit, channel: &Channel, message: &Message) -> Fails<()> {
    match &channel.way {
        Way::Mail { port, login, from, to } => {
            let limit = kit.world.clock.sleep_until(kit.world.now() + LIMIT);
            match drive::first(letter(kit, port, login.as_ref(), (from, to), message), limit).await {
                drive::First::A(done) => done,
                drive::First::B(()) => Err(format!("no answer within {LIMIT}")),
            }
        }
        way => {
            let ask = Ask { limit: LIMIT, ..question(way, message)? };
            let got = web::fetch(&kit.world, &kit.roots, &ask).await.map_err(|e| e.says)?;
            if got.is_success() {
                return Ok(());
            }
            let said: String = got.text().chars().take(200).collect();
            Err(format!("HTTP {}: {said}", got.status))
        }
    }
}

fn question(way: &Way, message: &Message) -> Fails<Ask> {
    let bearer =
        |ask: Ask, token: &Secret<String>| ask.header("Authorization", &format!("Bearer {}", token.reveal()));
    Ok(match way {
        Way::Ntfy { url, token } => {
            let (priority, tags) =
                if message.over { ("3", "white_check_mark") } else { ("5", "rotating_light") };
            let mut ask = Ask::post(url.clone(), "text/plain; charset=utf-8", message.text.clone())
                .header("Title", &message.title)
                .header("Priority", priority)
                .header("Tags", tags);
            if !message.ack.is_empty() {
                ask = ask
                    .header("Actions", &format!("http, I have it, {}, method=POST, clear=true", message.ack));
            }
            match token {
                Some(token) => bearer(ask, token),
                None => ask,
            }
        }
        Way::Hook { url, secret } => {
            let body = serde_json::json!({
                "id": message.id, "title": message.title, "text": message.text,
                "over": message.over, "acknowledge": message.ack, "at": message.now.iso(),
            })
            .to_string();
            let signature = push::hook_signature(secret.reveal(), body.as_bytes(), message.now);
            Ask::post(url.clone(), "application/json", body).header("X-Postroad-Signature", &signature)
        }
        Way::Matrix { server, room, token } => {
            let path = format!(
                "{}_matrix/client/v3/rooms/{}/send/m.room.message/postroad-{}",
                server.path,
                encoded(room),
                message.id
            );
            let text = format!("{}\n{}", message.title, message.whole());
            let body = serde_json::json!({"msgtype": "m.text", "body": text}).to_string();
            let ask = Ask::post(Url { path, ..server.clone() }, "application/json", body);
            bearer(Ask { method: "PUT", ..ask }, token)
        }
        Way::Sms { url, body, to, token } => {
            let ask = sms(url, body, to, message)?;
            match token {
                Some(token) => bearer(ask, token),
                None => ask,
            }
        }
        Way::Push { to, vapid } => {
            let mut text = format!("{}\n{}", message.title, message.whole());
            while text.len() > push::TEXT_BYTES_MAX {
                text.pop();
            }
            push::ask(to, vapid, text.as_bytes(), message.now)
                .ok_or_else(|| "the push subscription's key is of no use: subscribe again".to_owned())?
        }
        Way::Mail { .. } => return Err("mail is carried otherwise".into()),
    })
}

fn sms(url: &str, body: &str, to: &str, message: &Message) -> Fails<Ask> {
    let text: String = format!("{}. {}", message.title, message.whole()).chars().take(SMS_CHARS).collect();
    let fill = |template: &str, write: &dyn Fn(&str) -> String| {
        template.replace("{text}", &write(&text)).replace("{to}", &write(to))
    };
    let url = Url::parse(&fill(url, &|t| encoded(t)))?;
    if body.is_empty() {
        return Ok(Ask::get(url));
    }
    if body.trim_start().starts_with('{') {
        let quote = |t: &str| {
            let quoted = serde_json::Value::from(t).to_string();
            quoted[1..quoted.len() - 1].to_owned()
        };
        return Ok(Ask::post(url, "application/json", fill(body, &quote)));
    }
    Ok(Ask::post(url, "application/x-www-form-urlencoded", fill(body, &|t| encoded(t))))
}

async fn letter(
    kit: &Kit,
    port: &Port,
    login: Option<&Login>,
    (from, to): (&str, &str),
    message: &Message,
) -> Fails<()> {
    let mut wire = port::open(kit, port).await?;
    let yes = Wait::Smtp("2");
    if let Some(login) = login {
        if wire.tls.as_ref().is_none_or(|tls| !tls.verified) {
            return Err(format!(
                "{} cannot prove that it is {}: no password is sent to it",
                port.to, port.name
            ));
        }
        wire.ask(&format!("AUTH PLAIN {}\r\n", plain(login)), &Wait::Smtp("235")).await?;
    }
    wire.ask(&format!("MAIL FROM:<{from}>\r\n"), &yes).await?;
    wire.ask(&format!("RCPT TO:<{to}>\r\n"), &yes).await?;
    wire.ask("DATA\r\n", &Wait::Smtp("354")).await?;
    wire.send(text_of(kit, (from, to), message).as_bytes()).await?;
    wire.ask(".\r\n", &yes).await?;
    port::goodbye(&mut wire, Proto::Smtp).await;
    Ok(())
}

fn text_of(kit: &Kit, (from, to): (&str, &str), message: &Message) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    // RFC 2047 §2: an encoded word holds 75 characters; the title is cut to fit one.
    let mut title = message.title.clone();
    while title.len() > 42 {
        title.pop();
    }
    let body = STANDARD.encode(format!("{}\n\n{}\n", message.title, message.whole()));
    let lines: Vec<String> =
        body.as_bytes().chunks(76).map(|l| String::from_utf8_lossy(l).into_owned()).collect();
    format!(
        "From: Postroad monitor <{from}>\r\nTo: <{to}>\r\nSubject: =?utf-8?B?{}?=\r\nDate: {}\r\n\
         Message-ID: <alert.{}@{}>\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
        STANDARD.encode(title),
        message.now.rfc5322(),
        message.id,
        kit.name,
        lines.join("\r\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message {
            id: 7,
            title: "Mail does not flow".into(),
            text: "the message was \"taken\"\nand lost".into(),
            ack: "https://m.example/ack/x".into(),
            over: false,
            now: Now::from_secs(1000),
        }
    }

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[track_caller]
    fn asked(way: Way) -> (String, String, String) {
        let ask = question(&way, &message()).expect("it can be asked");
        let headers: Vec<String> = ask.headers.iter().map(|(n, v)| format!("{n}: {v}")).collect();
        (
            format!("{} {}", ask.method, ask.url),
            headers.join("\n"),
            String::from_utf8_lossy(&ask.body).into_owned(),
        )
    }

    #[test]
    fn each_way_says_it_as_its_server_wants_it() {
        let secret = || Secret::new("s3cret".to_owned());
        let (to, headers, body) =
            asked(Way::Ntfy { url: url("https://ntfy.example/op"), token: Some(secret()) });
        assert_eq!((to.as_str(), body.as_str()), ("POST https://ntfy.example/op", message().text.as_str()));
        assert!(
            headers.contains("Title: Mail does not flow") && headers.contains("Bearer s3cret"),
            "{headers}"
        );

        let (_, headers, body) = asked(Way::Hook { url: url("https://h.example/x"), secret: secret() });
        let value: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((value["id"].as_i64(), value["over"].as_bool()), (Some(7), Some(false)));
        let want = push::hook_signature("s3cret", body.as_bytes(), Now::from_secs(1000));
        assert!(headers.contains(&want), "{headers}");

        let matrix = Way::Matrix { server: url("https://mx.example"), room: "!a:b".into(), token: secret() };
        let (to, _, body) = asked(matrix);
        assert_eq!(
            to,
            "PUT https://mx.example/_matrix/client/v3/rooms/%21a%3Ab/send/m.room.message/postroad-7"
        );
        assert!(body.contains("\"m.text\"") && body.contains("I have it: https://m.example/ack/x"), "{body}");

        let sms = |body: &str| Way::Sms {
            url: "https://sms.example/send?to={to}&q={text}".into(),
            body: body.into(),
            to: "+260 1".into(),
            token: None,
        };
        let (to, _, _) = asked(sms(""));
        assert!(to.starts_with("GET https://sms.example/send?to=%2B260%201&q=Mail%20does"), "{to}");
        let (_, _, body) = asked(sms("{\"to\": \"{to}\", \"text\": \"{text}\"}"));
        let value: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(value["to"], "+260 1");
    }

    #[test]
    fn secrets_are_in_no_url_we_would_show() {
        let way =
            Way::Ntfy { url: url("https://ntfy.example/op"), token: Some(Secret::new("s3cret".into())) };
        assert!(!asked(way).0.contains("s3cret"));
    }
}
