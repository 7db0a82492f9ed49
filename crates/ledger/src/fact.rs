//! One thing that happened.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value, json};
use stdx::Now;
use words::{Address, AttemptId, MessageId, Reasons, SessionId};

/// Longest detail of one fact, in octets of JSON; longer texts are cut.
const DETAIL_MAX: usize = 16 << 10;
/// Longest single text in a detail.
const TEXT_MAX: usize = 2 << 10;
/// Most addresses one fact is entered under.
const ABOUT_MAX: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FactId(pub i64);

/// One thing that happened. Build it with [`Fact::new`] and the setters, enter it with
/// [`crate::note`].
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// Set when it was read from the ledger.
    pub id: Option<FactId>,
    pub at: Now,
    /// Stable name: `smtp.accepted`, `route.attempt`, `login.failed`.
    pub kind: Cow<'static, str>,
    pub session: Option<SessionId>,
    pub message: Option<MessageId>,
    pub attempt: Option<AttemptId>,
    /// The Message-ID header, if the message has one.
    pub header: Option<String>,
    /// Keys of the addresses it is about.
    pub about: Vec<String>,
    /// What else is known; reasons stand under `reasons`.
    pub detail: Map<String, Value>,
}

impl Fact {
    pub fn new(kind: &'static str, at: Now) -> Fact {
        Fact {
            id: None,
            at,
            kind: Cow::Borrowed(kind),
            session: None,
            message: None,
            attempt: None,
            header: None,
            about: Vec::new(),
            detail: Map::new(),
        }
    }
    pub fn session(mut self, id: SessionId) -> Fact {
        self.session = Some(id);
        self
    }
    pub fn message(mut self, id: MessageId) -> Fact {
        self.message = Some(id);
        self
    }
    pub fn attempt(mut self, id: AttemptId) -> Fact {
        self.attempt = Some(id);
        self
    }
    pub fn header(mut self, text: &str) -> Fact {
        self.header = Some(cut(text));
        self
    }
    /// Enters it under this address too. Past a hundred they are only counted.
    pub fn about(mut self, address: &Address) -> Fact {
        let key = address.key();
        if self.about.len() >= ABOUT_MAX {
            let more = self.detail.get("about_more").and_then(Value::as_u64).unwrap_or(0) + 1;
            self.detail.insert("about_more".to_owned(), json!(more));
        } else if !self.about.contains(&key) {
            self.about.push(key);
        }
        self
    }
    /// One more thing that is known: `.with("reply", "250 2.0.0 ok")`, `.with("bytes", 1200)`.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Fact {
        let value = match value.into() {
            Value::String(text) if text.len() > TEXT_MAX => Value::String(cut(&text)),
            value => value,
        };
        self.detail.insert(name.to_owned(), value);
        self
    }
    /// Why it was decided so.
    pub fn because(mut self, reasons: &Reasons) -> Fact {
        let list = self.detail.entry("reasons").or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            for reason in reasons.iter() {
                let facts: Map<String, Value> =
                    reason.facts.iter().map(|(n, v)| ((*n).to_owned(), json!(cut(v)))).collect();
                list.push(json!({ "rule": reason.rule, "says": cut(&reason.says), "facts": facts }));
            }
        }
        self
    }
    /// A text of the detail, empty if it is not there.
    pub fn text(&self, name: &str) -> &str {
        self.detail.get(name).and_then(Value::as_str).unwrap_or("")
    }
    /// The reasons as sentences: `greylisted for 5 min [accept.greylist; seen=1]`.
    pub fn reasons(&self) -> Vec<String> {
        let Some(Value::Array(list)) = self.detail.get("reasons") else { return Vec::new() };
        list.iter().map(sentence).collect()
    }
    pub(crate) fn detail_text(&self) -> String {
        let text = if self.detail.is_empty() {
            "{}".to_owned()
        } else {
            serde_json::to_string(&self.detail).unwrap_or_default()
        };
        if text.len() <= DETAIL_MAX {
            return text;
        }
        // Too much: keep what is short and say what was left out.
        let (kept, left): (Vec<_>, Vec<_>) =
            self.detail.iter().partition(|(_, v)| v.to_string().len() <= DETAIL_MAX / 64);
        let mut short: Map<String, Value> =
            kept.into_iter().take(48).map(|(k, v)| (cut(k), v.clone())).collect();
        let left: Vec<String> = left.into_iter().take(16).map(|(k, _)| cut(k)).collect();
        short.insert("left_out".to_owned(), json!(left.join(" ")));
        serde_json::to_string(&short).unwrap_or_default()
    }
}

fn sentence(reason: &Value) -> String {
    let part = |name: &str| reason.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let mut out = format!("{} [{}", part("says"), part("rule"));
    if let Some(Value::Object(facts)) = reason.get("facts") {
        for (name, value) in facts {
            out.push_str(&format!("; {name}={}", value.as_str().unwrap_or("")));
        }
    }
    out.push(']');
    out
}

impl fmt::Display for Fact {
    /// One line for people: time, kind, ids, and the detail without its reasons.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at, self.kind)?;
        for id in [
            self.session.map(|i| i.tagged()),
            self.message.map(|i| i.tagged()),
            self.attempt.map(|i| i.tagged()),
        ]
        .into_iter()
        .flatten()
        {
            write!(f, " {id}")?;
        }
        for (name, value) in self.detail.iter().filter(|(n, _)| *n != "reasons") {
            match value {
                Value::String(text) => write!(f, " {name}={text:?}")?,
                value => write!(f, " {name}={value}")?,
            }
        }
        Ok(())
    }
}

fn cut(text: &str) -> String {
    if text.len() <= TEXT_MAX {
        return text.to_owned();
    }
    let mut end = TEXT_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}
