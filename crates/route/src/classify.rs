//! From a refusal to its cause: rules first, the linear fallback where they are silent.

use std::io::{self, BufRead, Write};

use serde::Deserialize;
use serde_json::json;
use words::Enhanced;

use crate::linear;
use crate::refusal::{Class, Reading, Refusal, Stage};
use crate::rules;
use crate::text::Text;

/// Longest line read by [`check_replies`], in octets.
pub const LINE_MAX: u64 = 1 << 20;

/// A rule's odds are raised to this before they are weighed against the fallback's; chosen on
/// replies that neither had seen.
const TRUST: f32 = 0.8;
/// A reading that is at most so sure does not outweigh the place where the refusal was said.
const VAGUE: f32 = 0.90;
/// Under this probability the fallback does not name a cause that moves mail.
const MOVE_MIN: f32 = 0.40;
/// Under this probability the fallback names none at all.
const NAME_MIN: f32 = 0.22;

/// Reads a refusal.
pub fn classify(refusal: &Refusal<'_>) -> Reading {
    let text = Text::fold(refusal.text);
    let refusal = &Refusal { enhanced: refusal.enhanced.or(text.enhanced), ..*refusal };
    let reading = combine(rules::first(refusal, &text), linear::spread(refusal, &text), &text);
    at_the_door(refusal, reading)
}

/// What a rule says, if one speaks, and what the fallback holds likely, as one reading.
pub fn combine(ruled: Option<Reading>, spread: [f32; linear::CLASSES], text: &Text) -> Reading {
    match ruled {
        Some(ruled) => weigh(ruled, spread),
        None => fallback(spread, text),
    }
}

/// The rule's word and the fallback's as odds of one cause: a rule that is not quite sure gives
/// way to a fallback that is.
fn weigh(ruled: Reading, mut p: [f32; linear::CLASSES]) -> Reading {
    p[ruled.class.index()] *= (ruled.confidence / (1.0 - ruled.confidence)).powf(TRUST);
    let total: f32 = p.iter().sum();
    let (class, top) = linear::best(&p);
    if class == ruled.class {
        return ruled;
    }
    Reading { class, sub: linear::sub(class), confidence: top / total, rule: "linear.against" }
}

/// Before MAIL FROM nothing is known of a client but its address: a final refusal there that
/// names no cause is said of the address.
fn at_the_door(refusal: &Refusal<'_>, reading: Reading) -> Reading {
    let door = matches!(refusal.stage, Stage::Connect | Stage::Greeting);
    let vague = matches!(reading.class, Class::Unclear | Class::Content | Class::Sender | Class::Recipient)
        || (reading.class == Class::Policy && reading.sub == "other");
    if door && vague && refusal.code >= 500 && reading.confidence <= VAGUE {
        return Reading {
            class: Class::IpReputation,
            sub: "provider",
            confidence: 0.7,
            rule: "door.refused",
        };
    }
    reading
}

fn fallback(spread: [f32; linear::CLASSES], text: &Text) -> Reading {
    let unclear =
        |confidence| Reading { class: Class::Unclear, sub: "unclear", confidence, rule: "unclear.silent" };
    if text.tokens.is_empty() {
        return unclear(0.9);
    }
    let (class, p) = linear::best(&spread);
    if p < NAME_MIN {
        return unclear(1.0 - p);
    }
    if class == Class::IpReputation && p < MOVE_MIN {
        return unclear(0.5);
    }
    Reading { class, sub: linear::sub(class), confidence: p, rule: "linear" }
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    id: serde_json::Value,
    #[serde(default)]
    code: serde_json::Value,
    #[serde(default)]
    enhanced: Option<String>,
    #[serde(default)]
    text: String,
    #[serde(default)]
    provider: Option<String>,
    #[serde(default)]
    mx_hint: Option<String>,
}

/// Reads JSON lines `{id, code, enhanced, text, provider, mx_hint}` and writes
/// `{id, label, rule, confidence}` lines, one for one, until the end of the input.
pub fn check_replies(mut input: impl BufRead, mut output: impl Write) -> io::Result<u64> {
    let mut count = 0;
    let mut line = String::new();
    loop {
        line.clear();
        if io::Read::take(&mut input, LINE_MAX).read_line(&mut line)? == 0 {
            return Ok(count);
        }
        if line.trim().is_empty() {
            continue;
        }
        count += 1;
        let one: Line = serde_json::from_str(&line).map_err(|e| {
            let what = format!("line {count} is no reply: {e}; write one JSON object a line, {{\"id\", \"code\", \"enhanced\", \"text\"}}");
            io::Error::new(io::ErrorKind::InvalidData, what)
        })?;
        let reading = read_line(&one);
        let confidence = (f64::from(reading.confidence) * 1000.0).round() / 1000.0;
        let answer = json!({"id": one.id, "label": reading.class.name(), "sublabel": reading.sub,
            "rule": reading.rule, "confidence": confidence, "egress_may_help": reading.egress_may_help()});
        writeln!(output, "{answer}")?;
    }
}

fn read_line(line: &Line) -> Reading {
    let code = match &line.code {
        serde_json::Value::Number(n) => n.as_u64().unwrap_or(0) as u16,
        serde_json::Value::String(s) => s.trim().parse().unwrap_or(0),
        _ => 0,
    };
    let mx = line.mx_hint.as_deref().filter(|m| !m.is_empty());
    let provider = line.provider.as_deref().filter(|p| !p.is_empty() && *p != "other");
    classify(&Refusal {
        code,
        enhanced: line.enhanced.as_deref().and_then(|e| e.trim().parse::<Enhanced>().ok()),
        text: &line.text,
        provider,
        mx_host: mx,
        ..Refusal::default()
    })
}
