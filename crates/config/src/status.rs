//! What the file says of the status site and of the hosts' own talk.

use std::path::PathBuf;

use crate::fault::Fault;
use crate::read::{Filled, Tree};
use crate::value::Value;
use crate::{each, flag, path, text};

/// What this host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Mail,
    Monitor,
    Relay,
    Status,
}

impl Role {
    pub(crate) fn read(top: &Filled) -> Role {
        match text(top, "role").as_deref() {
            Some("relay") => Role::Relay,
            Some("status") => Role::Status,
            Some("monitor") => Role::Monitor,
            _ => Role::Mail,
        }
    }
}

/// A host whose parcels we take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub name: String,
    pub key: String,
    /// Where it takes our facts.
    pub url: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Status {
    pub company: String,
    pub title: String,
    pub url: String,
    pub support: String,
    /// Label and name.
    pub zones: Vec<(String, String)>,
    pub links: Vec<(String, String)>,
    pub folder: Option<PathBuf>,
    pub notices_from: String,
    pub post_by_mail: Option<String>,
    pub components: Vec<Component>,
    pub systems: Vec<System>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    pub id: String,
    pub name: String,
    pub about: String,
    pub cause: String,
    pub decides: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    pub code: String,
    pub country: String,
    pub place: String,
    pub what: String,
    pub word: String,
    pub component: String,
}

fn or_empty(filled: &Filled, key: &str) -> String {
    text(filled, key).unwrap_or_default()
}

pub(crate) fn peers(tree: &Tree) -> Vec<Peer> {
    let peers = tree.many("peer").iter();
    peers
        .filter_map(|p| Some(Peer { name: text(p, "name")?, key: text(p, "key")?, url: text(p, "url") }))
        .collect()
}

pub(crate) fn read(tree: &Tree, host_name: &str, faults: &mut Vec<Fault>) -> Status {
    let one = tree.one("status");
    let or = |key: &str, default: String| text(&one, key).unwrap_or(default);
    Status {
        company: or("company", host_name.to_owned()),
        title: or_empty(&one, "title"),
        url: or("url", format!("https://{host_name}")).trim_end_matches('/').to_owned(),
        support: or_empty(&one, "support"),
        zones: pairs(&one, "zones", "America/Los_Angeles", faults),
        links: pairs(&one, "links", "https://example.net/", faults),
        folder: path(&one, "folder"),
        notices_from: or("notices_from", format!("status@{host_name}")),
        post_by_mail: text(&one, "post_by_mail"),
        components: tree.many("component").iter().filter_map(component).collect(),
        systems: tree.many("system").iter().filter_map(system).collect(),
    }
}

/// Texts such as `Pacific = America/Los_Angeles`.
fn pairs(one: &Filled, key: &str, like: &str, faults: &mut Vec<Fault>) -> Vec<(String, String)> {
    let texts = each(one, key, |v| if let Value::Text(t) = v { Some(t.clone()) } else { None });
    let mut out = Vec::new();
    for text in texts {
        match text.split_once('=') {
            Some((a, b)) if !a.trim().is_empty() && !b.trim().is_empty() => {
                out.push((a.trim().to_owned(), b.trim().to_owned()));
            }
            _ => faults.push(Fault {
                at: one.place(key),
                what: format!("\"{text}\" has no name and value"),
                remedy: format!("write \"What to call it = {like}\""),
            }),
        }
    }
    out
}

fn component(c: &Filled) -> Option<Component> {
    Some(Component {
        id: text(c, "id")?,
        name: text(c, "name")?,
        about: or_empty(c, "about"),
        cause: or_empty(c, "cause"),
        decides: flag(c, "decides"),
    })
}

fn system(s: &Filled) -> Option<System> {
    Some(System {
        code: text(s, "code")?,
        country: or_empty(s, "country"),
        place: or_empty(s, "place"),
        what: or_empty(s, "what"),
        word: or_empty(s, "word"),
        component: or_empty(s, "component"),
    })
}
