//! From a refusal to its cause: rules first, the linear fallback where they are silent.

use std::io::{self, BufRead, Write};

use serde::Deserialize;
use serde_json::json;
use words::Enhanced;

use crate::linear;
use crate::refusal::{Class, Reading, Refusal};
use crate::rules;
use crate::text::Text;

/// Longest line read by [`check_replies`], in octets.
pub const LINE_MAX: u64 = 1 << 20;

/// Under this probability the fallback does not name a cause that moves mail.
const LINEAR_MOVE_MIN: f32 = 0.55;
/// Under this probability the fallback names none at all.
const LINEAR_MIN: f32 = 0.22;

/// Reads a refusal.
pub fn classify(refusal: &Refusal<'_>) -> Reading {
    let text = Text::fold(refusal.text);
    rules::first(refusal, &text).unwrap_or_else(|| fallback(refusal, &text))
}

fn fallback(refusal: &Refusal<'_>, text: &Text) -> Reading {
    let unclear =
        |confidence| Reading { class: Class::Unclear, sub: "unclear", confidence, rule: "unclear.silent" };
    if text.tokens.is_empty() {
        return unclear(0.9);
    }
    let (class, p) = linear::predict(refusal, text);
    if p < LINEAR_MIN {
        return unclear(1.0 - p);
    }
    if class == Class::IpReputation && p < LINEAR_MOVE_MIN {
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
