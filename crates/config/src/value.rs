//! Values of each kind, read from what the file says.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use stdx::{Bytes, Span};
use toml::de::DeValue;
use words::Domain;

use crate::keys::Kind;

/// A value that fits its key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Bool(bool),
    Count(u64),
    Size(Bytes),
    Span(Span),
    Path(PathBuf),
    Address(SocketAddr),
    Ip(IpAddr),
    Network(IpAddr, u8),
    HostPort(String, u16),
    List(Vec<Value>),
}

/// Reads one value. `Err` says what is wrong with it, without what would be right.
pub fn read(kind: Kind, value: &DeValue<'_>) -> Result<Value, String> {
    match (kind, value) {
        (Kind::Bool, DeValue::Boolean(b)) => Ok(Value::Bool(*b)),
        (Kind::Count { min, max }, DeValue::Integer(n)) => {
            let digits: String = n.as_str().chars().filter(|c| *c != '_').collect();
            match u64::from_str_radix(digits.trim_start_matches('+'), n.radix()) {
                Ok(n) if (min..=max).contains(&n) => Ok(Value::Count(n)),
                _ => Err(format!("{} is out of range", n.as_str())),
            }
        }
        (Kind::Bool | Kind::Count { .. }, other) => Err(format!("this is {}", kind_of(other))),
        (Kind::Size | Kind::Span, DeValue::Integer(n)) => Err(format!("{} has no unit", n.as_str())),
        (_, DeValue::String(text)) => read_text(kind, text),
        (_, other) => Err(format!("this is {}", kind_of(other))),
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn read_text(kind: Kind, text: &str) -> Result<Value, String> {
    let wrong = || format!("\"{text}\" is none");
    match kind {
        Kind::Text if text.trim().is_empty() => Err("it is empty".into()),
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::Host => match Domain::new(text) {
            Ok(domain) if !domain.is_literal() => Ok(Value::Text(domain.as_str().to_owned())),
            Ok(_) => Err("an address in brackets is no name".into()),
            Err(e) => Err(e.to_string()),
        },
        Kind::Size => size(text).map(Value::Size),
        Kind::Span => span(text).map(Value::Span),
        Kind::Path | Kind::SecretFile if text.is_empty() => Err("it is empty".into()),
        Kind::Path | Kind::SecretFile => Ok(Value::Path(PathBuf::from(text))),
        Kind::Address => text.parse().map(Value::Address).map_err(|_| wrong()),
        Kind::Ip => text.parse().map(Value::Ip).map_err(|_| wrong()),
        Kind::Network => network(text).ok_or_else(wrong),
        Kind::HostPort => host_port(text).ok_or_else(wrong),
        Kind::OneOf(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
        Kind::OneOf(words) => Err(match nearest(text, words.iter().copied()) {
            Some(near) => format!("\"{text}\" is not among them; did you mean \"{near}\"?"),
            None => format!("\"{text}\" is not among them"),
        }),
        Kind::Bool | Kind::Count { .. } => Err("this is a text".into()),
    }
}

/// A number and its unit: `5 min`, `5min`, `1.5 GiB`.
fn with_unit(text: &str) -> Result<(f64, &str), String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| format!("\"{text}\" does not begin with a number"))?;
    match unit.trim() {
        "" => Err(format!("{number} has no unit")),
        unit => Ok((number, unit)),
    }
}

pub fn size(text: &str) -> Result<Bytes, String> {
    let (number, unit) = with_unit(text)?;
    let factor: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "k" | "K" | "KB" | "kB" | "kib" => {
            return Err(format!("\"{unit}\" is no unit here; did you mean KiB?"));
        }
        "M" | "MB" | "mb" | "mib" => return Err(format!("\"{unit}\" is no unit here; did you mean MiB?")),
        "G" | "GB" | "gb" | "gib" => return Err(format!("\"{unit}\" is no unit here; did you mean GiB?")),
        unit => return Err(format!("\"{unit}\" is no unit of size")),
    };
    Ok(Bytes((number * factor as f64) as u64))
}

pub fn span(text: &str) -> Result<Span, String> {
    let (number, unit) = with_unit(text)?;
    let factor: u64 = match unit {
        "ms" => 1,
        "s" | "sec" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "m" => return Err("\"m\" could be minutes or months; write min".into()),
        unit => return Err(format!("\"{unit}\" is no unit of time")),
    };
    Ok(Span((number * factor as f64) as u64))
}

fn network(text: &str) -> Option<Value> {
    let (ip, bits) = match text.split_once('/') {
        Some((ip, bits)) => (ip.parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?),
        None => {
            let ip = text.parse::<IpAddr>().ok()?;
            (ip, if ip.is_ipv4() { 32 } else { 128 })
        }
    };
    let most = if ip.is_ipv4() { 32 } else { 128 };
    (bits <= most).then_some(Value::Network(ip, bits))
}

/// A network from the command line.
pub fn network_of(text: &str) -> Result<(IpAddr, u8), String> {
    match network(text) {
        Some(Value::Network(ip, bits)) => Ok((ip, bits)),
        _ => Err(format!("\"{text}\" is no network: write 192.0.2.7 or 192.0.2.0/24")),
    }
}

fn host_port(text: &str) -> Option<Value> {
    let (host, port) = text.rsplit_once(':')?;
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let known = inner.parse::<IpAddr>().is_ok() || Domain::new(inner).is_ok();
    let port = port.parse::<u16>().ok().filter(|p| *p > 0)?;
    known.then(|| Value::HostPort(inner.to_owned(), port))
}

/// The word most like `text`, if one is like it at all.
pub fn nearest<'w>(text: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let limit = (text.len() / 3).clamp(1, 3);
    let scored = words.map(|w| (distance(text, w), w)).filter(|(d, _)| *d <= limit);
    scored.min_by_key(|(d, _)| *d).map(|(_, w)| w)
}

/// Edits between two words; two neighbours exchanged count as one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) =
        (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(rows[i - 2][j - 2] + 1);
            }
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

impl fmt::Display for Value {
    /// As the file would write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => write!(f, "{}", quoted(text)),
            Value::Bool(b) => write!(f, "{b}"),
            Value::Count(n) => write!(f, "{n}"),
            Value::Size(size) => write!(f, "\"{size}\""),
            Value::Span(span) => write!(f, "\"{span}\""),
            Value::Path(path) => write!(f, "{}", quoted(&path.to_string_lossy())),
            Value::Address(at) => write!(f, "\"{at}\""),
            Value::Ip(ip) => write!(f, "\"{ip}\""),
            Value::Network(ip, bits) => write!(f, "\"{ip}/{bits}\""),
            Value::HostPort(host, port) if host.contains(':') => write!(f, "\"[{host}]:{port}\""),
            Value::HostPort(host, port) => write!(f, "\"{host}:{port}\""),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(Value::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
