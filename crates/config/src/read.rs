//! From a file's text to values, by the table of keys.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::fault::Fault;
use crate::keys::{Key, REQUIRED, SECTIONS, Section, section};
use crate::value::{self, Value, nearest};

/// One table of the file: its values, and which of them were written there.
#[derive(Clone, Debug, Default)]
pub struct Filled {
    values: BTreeMap<&'static str, (Value, bool)>,
    /// Where the table stands, for faults between keys.
    pub(crate) at: Range<usize>,
    places: BTreeMap<&'static str, Range<usize>>,
}

impl Filled {
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).map(|(value, _)| value)
    }
    pub fn was_given(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|(_, given)| *given)
    }
    pub(crate) fn place(&self, key: &str) -> Range<usize> {
        self.places.get(key).cloned().unwrap_or(self.at.clone())
    }
}

/// All tables of a file, by section.
#[derive(Clone, Debug, Default)]
pub struct Tree(pub(crate) BTreeMap<&'static str, Vec<Filled>>);

impl Tree {
    /// The one table of a section that is no list.
    pub fn one(&self, name: &str) -> Filled {
        self.many(name).first().cloned().unwrap_or_default()
    }
    pub fn many(&self, name: &str) -> &[Filled] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

pub(crate) fn read(text: &str) -> (Tree, Vec<Fault>) {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut faults: Vec<Fault> = errors.iter().map(syntax).collect();
    let mut tree = Tree::default();
    // A broken line can swallow what follows; what would be said about missing keys is noise then.
    if !faults.is_empty() {
        return (tree, faults);
    }
    let top = &SECTIONS[0];
    tree.0.insert("", vec![fill(top, root.get_ref(), 0..0, &mut faults)]);
    for (name, value) in root.get_ref() {
        if top.key(name.get_ref()).is_none() {
            read_section(name, value, &mut tree, &mut faults);
        }
    }
    for section in SECTIONS.iter().filter(|s| !s.many) {
        tree.0.entry(section.name).or_insert_with(|| vec![fill(section, &DeTable::new(), 0..0, &mut faults)]);
    }
    (tree, faults)
}

fn syntax(error: &toml::de::Error) -> Fault {
    Fault {
        at: error.span().unwrap_or(0..0),
        what: format!("this is not TOML: {}", error.message().lines().next().unwrap_or_default()),
        remedy: "write key = value, with texts in quotes".into(),
    }
}

fn read_section(
    name: &Spanned<std::borrow::Cow<'_, str>>,
    value: &Spanned<DeValue<'_>>,
    tree: &mut Tree,
    faults: &mut Vec<Fault>,
) {
    let Some(known) = section(name.get_ref()) else {
        faults.push(unknown(&SECTIONS[0], name));
        return;
    };
    let mut misplaced = |title: String| {
        faults.push(Fault {
            at: name.span(),
            what: format!("{} is written as something else here", title),
            remedy: format!("begin it with a line {title}"),
        });
    };
    let filled = match (known.many, value.get_ref()) {
        (false, DeValue::Table(table)) => vec![fill(known, table, name.span(), faults)],
        (true, DeValue::Array(items)) => {
            let mut all = Vec::new();
            for item in items.iter() {
                match item.get_ref() {
                    DeValue::Table(table) => all.push(fill(known, table, item.span(), faults)),
                    _ => {
                        return faults.push(Fault {
                            at: item.span(),
                            what: format!("{} is written as something else here", known.title()),
                            remedy: format!("begin each with a line {}", known.title()),
                        });
                    }
                }
            }
            all
        }
        _ => return misplaced(known.title()),
    };
    tree.0.insert(known.name, filled);
}

fn fill(section: &'static Section, table: &DeTable<'_>, at: Range<usize>, faults: &mut Vec<Fault>) -> Filled {
    let mut filled = Filled { at: at.clone(), ..Filled::default() };
    for (name, value) in table {
        match section.key(name.get_ref()) {
            Some(key) => match read_key(key, value) {
                Ok(value_read) => {
                    filled.values.insert(key.name, (value_read, true));
                    filled.places.insert(key.name, value.span());
                }
                Err(fault) => {
                    // The fault stands for the value; the missing-key check must not add another.
                    filled.places.insert(key.name, fault.at.clone());
                    faults.push(fault);
                }
            },
            None if section.name.is_empty() && crate::keys::section(name.get_ref()).is_some() => {}
            None if section.name.is_empty()
                && matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_)) => {}
            None => faults.push(unknown(section, name)),
        }
    }
    for key in section.keys {
        if filled.values.contains_key(key.name) {
            continue;
        }
        match key.default {
            REQUIRED if !filled.places.contains_key(key.name) => faults.push(Fault {
                at: at.clone(),
                what: format!("{} lacks {}", section.title(), key.name),
                remedy: format!("write {} = …, {}", key.name, key.kind.wanted()),
            }),
            REQUIRED | "" => {}
            default => {
                if let Some(value) = default_value(key, default) {
                    filled.values.insert(key.name, (value, false));
                }
            }
        }
    }
    filled
}

fn default_value(key: &'static Key, default: &str) -> Option<Value> {
    let parsed = DeValue::parse(default).ok()?;
    read_key(key, &parsed).ok()
}

fn read_key(key: &'static Key, value: &Spanned<DeValue<'_>>) -> Result<Value, Fault> {
    let wrong = |at: Range<usize>, why: String| Fault {
        at,
        what: format!("{}: {why}", key.name),
        remedy: format!("write {}", key.kind.wanted()),
    };
    if !key.many {
        return value::read(key.kind, value.get_ref()).map_err(|why| wrong(value.span(), why));
    }
    let DeValue::Array(items) = value.get_ref() else {
        let mut fault = wrong(value.span(), "this is no list".into());
        fault.remedy = "put it into square brackets".into();
        return Err(fault);
    };
    let read =
        items.iter().map(|item| value::read(key.kind, item.get_ref()).map_err(|why| wrong(item.span(), why)));
    read.collect::<Result<Vec<_>, _>>().map(Value::List)
}

fn unknown(section: &Section, name: &Spanned<std::borrow::Cow<'_, str>>) -> Fault {
    let is_top = section.name.is_empty();
    let sections = SECTIONS.iter().filter(|_| is_top).map(|s| s.name).filter(|n| !n.is_empty());
    let names = section.keys.iter().map(|k| k.name).chain(sections);
    let elsewhere = SECTIONS.iter().find(|s| s.key(name.get_ref()).is_some());
    let remedy = match (nearest(name.get_ref(), names), elsewhere) {
        (Some(near), _) => format!("did you mean {near}?"),
        (None, Some(other)) => format!("it belongs under {}", other.title()),
        (None, None) => "`postroad config explain` lists every key".into(),
    };
    Fault { at: name.span(), what: format!("{} has no key {}", section.title(), name.get_ref()), remedy }
}
