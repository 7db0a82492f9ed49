//! Tables of a TOML file, with a place for every fault.
//!
//! What it is: [`Table`] hands out values by key, notes what is wrong where it is wrong, and
//! knows which keys nobody asked for. What it is not: it knows no key by itself.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Range;

use config::Fault;
use config::value::{nearest, size};
use stdx::{Bytes, Span};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct At<T> {
    pub value: T,
    pub at: Range<usize>,
}

pub type Found = RefCell<Vec<Fault>>;

/// One table of the file.
pub struct Table<'d> {
    pub title: String,
    pub at: Range<usize>,
    map: &'d DeTable<'d>,
    known: RefCell<BTreeSet<&'static str>>,
    faults: &'d Found,
}

impl<'d> Table<'d> {
    pub fn top(map: &'d DeTable<'d>, faults: &'d Found) -> Table<'d> {
        Table { title: "the file".into(), at: 0..0, map, known: RefCell::default(), faults }
    }

    pub fn fault(&self, at: Range<usize>, what: impl Into<String>, remedy: impl Into<String>) {
        self.faults.borrow_mut().push(Fault { at, what: what.into(), remedy: remedy.into() });
    }

    fn find(&self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.known.borrow_mut().insert(key);
        self.map.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    pub fn has(&self, key: &'static str) -> bool {
        self.find(key).is_some()
    }

    /// A value; what is wrong with it is noted.
    pub fn get<T>(
        &self,
        key: &'static str,
        wanted: &str,
        read: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<At<T>> {
        let found = self.find(key)?;
        match read(found.get_ref()) {
            Ok(value) => Some(At { value, at: found.span() }),
            Err(why) => {
                self.fault(found.span(), format!("{key}: {why}"), format!("write {wanted}"));
                None
            }
        }
    }

    /// One value or a list of them.
    pub fn list<T>(
        &self,
        key: &'static str,
        wanted: &str,
        read: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Vec<At<T>> {
        let Some(found) = self.find(key) else { return Vec::new() };
        let one = |value: &Spanned<DeValue<'_>>| match read(value.get_ref()) {
            Ok(got) => Some(At { value: got, at: value.span() }),
            Err(why) => {
                self.fault(value.span(), format!("{key}: {why}"), format!("write {wanted}"));
                None
            }
        };
        match found.get_ref() {
            DeValue::Array(items) => items.iter().filter_map(one).collect(),
            _ => one(found).into_iter().collect(),
        }
    }

    /// Says that a key is missing, unless it stands there (then it is wrong, and that was said).
    pub fn need<T>(&self, key: &'static str, wanted: &str, got: Option<T>) -> Option<T> {
        if got.is_none() && !self.has(key) {
            self.fault(
                self.at.clone(),
                format!("{} lacks {key}", self.title),
                format!("write {key} = {wanted}"),
            );
        }
        got
    }

    pub fn text(&self, key: &'static str) -> Option<At<String>> {
        self.get(key, "a text in quotes", text)
    }
    pub fn texts(&self, key: &'static str) -> Vec<At<String>> {
        self.list(key, "texts in quotes", text)
    }
    pub fn span(&self, key: &'static str) -> Option<Span> {
        self.get(key, "a time with its unit: \"5 min\" (ms, s, min, h, d)", as_span).map(|a| a.value)
    }
    pub fn size(&self, key: &'static str) -> Option<Bytes> {
        self.get(key, "a size with its unit: \"2 KiB\" (B, KiB, MiB, GiB)", |v| size(&text(v)?))
            .map(|a| a.value)
    }
    pub fn count(&self, key: &'static str) -> Option<u64> {
        self.get(key, "a whole number", as_count).map(|a| a.value)
    }
    pub fn flag(&self, key: &'static str) -> Option<bool> {
        self.get(key, "true or false", |v| match v {
            DeValue::Boolean(b) => Ok(*b),
            _ => Err("this is neither true nor false".into()),
        })
        .map(|a| a.value)
    }
    /// A probability.
    pub fn share(&self, key: &'static str) -> Option<f64> {
        self.get(key, "a share between 0 and 1: 0.5", |v| {
            let n: f64 = match v {
                DeValue::Float(f) => f.as_str().parse().map_err(|_| "this is no number".to_owned())?,
                DeValue::Integer(n) => n.as_str().parse().map_err(|_| "this is no number".to_owned())?,
                _ => return Err("this is no number".into()),
            };
            if (0.0..=1.0).contains(&n) { Ok(n) } else { Err(format!("{n} is not between 0 and 1")) }
        })
        .map(|a| a.value)
    }
    pub fn ip(&self, key: &'static str) -> Option<IpAddr> {
        self.get(key, "an address: \"127.1.0.36\"", |v| {
            let text = text(v)?;
            text.parse().map_err(|_| format!("\"{text}\" is no address"))
        })
        .map(|a| a.value)
    }
    pub fn one_of(&self, key: &'static str, words: &'static [&'static str]) -> Option<&'static str> {
        self.get(key, &format!("one of {}", words.join(", ")), |v| {
            let got = text(v)?;
            words.iter().copied().find(|w| *w == got).ok_or_else(|| {
                match nearest(&got, words.iter().copied()) {
                    Some(near) => format!("\"{got}\" is not among them; did you mean \"{near}\"?"),
                    None => format!("\"{got}\" is not among them"),
                }
            })
        })
        .map(|a| a.value)
    }

    /// `[name]`.
    pub fn table(&self, key: &'static str) -> Option<Table<'d>> {
        let found = self.find(key)?;
        match found.get_ref() {
            DeValue::Table(map) => Some(self.inner(format!("[{key}]"), map, found.span())),
            _ => {
                self.fault(
                    found.span(),
                    format!("{key} is a table"),
                    format!("begin it with a line [{key}]"),
                );
                None
            }
        }
    }

    /// `[[name]]`.
    pub fn tables(&self, key: &'static str) -> Vec<Table<'d>> {
        let Some(found) = self.find(key) else { return Vec::new() };
        let title =
            format!("[[{}]]", if self.title.starts_with("[[") { self.below(key) } else { key.into() });
        let DeValue::Array(items) = found.get_ref() else {
            self.fault(
                found.span(),
                format!("{key} is a list of tables"),
                format!("begin each with a line {title}"),
            );
            return Vec::new();
        };
        let one = |item: &'d Spanned<DeValue<'d>>| match item.get_ref() {
            DeValue::Table(map) => Some(self.inner(title.clone(), map, item.span())),
            _ => {
                self.fault(
                    item.span(),
                    format!("{key} is a list of tables"),
                    format!("begin each with a line {title}"),
                );
                None
            }
        };
        items.iter().filter_map(one).collect()
    }

    fn below(&self, key: &str) -> String {
        format!("{}.{key}", self.title.trim_matches(['[', ']']))
    }

    fn inner(&self, title: String, map: &'d DeTable<'d>, at: Range<usize>) -> Table<'d> {
        Table { title, at, map, known: RefCell::default(), faults: self.faults }
    }

    /// Every key has been asked for: the others are unknown.
    pub fn done(self) {
        self.unknown();
    }

    /// As [`Table::done`], for the top of the file.
    pub fn unknown(&self) {
        let known = self.known.borrow();
        for (name, _) in self.map.iter().filter(|(name, _)| !known.contains(name.get_ref().as_ref())) {
            let remedy = match nearest(name.get_ref(), known.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => {
                    format!("{} knows {}", self.title, known.iter().copied().collect::<Vec<_>>().join(", "))
                }
            };
            self.fault(name.span(), format!("{} has no key {}", self.title, name.get_ref()), remedy);
        }
    }
}

pub fn text(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) if !text.trim().is_empty() => Ok(text.to_string()),
        DeValue::String(_) => Err("it is empty".into()),
        _ => Err("this is no text".into()),
    }
}

fn as_span(value: &DeValue<'_>) -> Result<Span, String> {
    match value {
        DeValue::Integer(n) if n.as_str() == "0" => Ok(Span::ZERO),
        DeValue::Integer(n) => Err(format!("{} has no unit", n.as_str())),
        other => span(&text(other)?),
    }
}

/// `"90 s"`, or several parts: `"2 h 30 min"`.
pub fn span(text: &str) -> Result<Span, String> {
    let mut sum = Span::ZERO;
    let mut words = text.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let part = match words.peek() {
            Some(unit) if word.ends_with(|c: char| c.is_ascii_digit()) => {
                let both = format!("{word} {unit}");
                words.next();
                config::value::span(&both)?
            }
            _ => config::value::span(word)?,
        };
        sum = Span(sum.0.saturating_add(part.0));
    }
    Ok(sum)
}

fn as_count(value: &DeValue<'_>) -> Result<u64, String> {
    match value {
        DeValue::Integer(n) => {
            n.as_str().replace('_', "").parse().map_err(|_| format!("{} is out of range", n.as_str()))
        }
        _ => Err("this is no whole number".into()),
    }
}
