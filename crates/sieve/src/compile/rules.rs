//! What can be known to be wrong about single commands and tests before a message is seen.

use super::{Call, Compiler, Value};
use crate::actions::redirect_target;
use crate::headers;
use crate::matching::{self, Kind};
use crate::template::{Piece, Template, variable};

/// RFC 5228 §5.1 asks for fields that hold addresses; these do.
const ADDRESS_FIELDS: &[&str] = &[
    "from",
    "to",
    "cc",
    "bcc",
    "sender",
    "reply-to",
    "resent-from",
    "resent-to",
    "resent-cc",
    "resent-bcc",
    "resent-sender",
    "resent-reply-to",
    "return-path",
    "delivered-to",
    "x-original-to",
    "disposition-notification-to",
    "errors-to",
    "return-receipt-to",
    "abuse-reports-to",
    "x-complaints-to",
    "approved",
    "mail-followup-to",
    "mail-reply-to",
    "x-delivered-to",
    "envelope-to",
];

impl Compiler<'_> {
    fn constants(call: &Call, at: usize) -> impl Iterator<Item = &str> {
        call.texts(at).iter().filter_map(Template::constant)
    }

    pub(super) fn check_command(&mut self, call: &Call) -> Option<()> {
        let first = call.texts(0).first().and_then(Template::constant);
        let fault = match (call.name, first) {
            ("redirect", Some(to)) if redirect_target(to).is_none() => {
                Some(format!("\"{to}\" is no address to redirect to"))
            }
            ("fileinto", Some(name)) if !headers::is_folder_name(name) => {
                Some("that cannot be a folder's name".to_owned())
            }
            ("addheader" | "deleteheader", Some(name)) if !headers::is_field_name(name) => {
                Some(format!("\"{}\" cannot be a header field's name", name.escape_default()))
            }
            ("addheader", _) if Self::constants(call, 1).any(|v| !headers::is_field_value(v)) => {
                Some("a header field's value cannot hold control characters".to_owned())
            }
            ("addheader", _) if Self::constants(call, 1).any(|v| v.len() > self.limits.field_max) => {
                Some(format!("a header field's value has at most {} octets", self.limits.field_max))
            }
            ("set", Some(name)) => self.assignable(name).err(),
            ("set", None) => Some("the name that set gives a value to cannot hold variables".to_owned()),
            ("setflag" | "addflag" | "removeflag", Some(name)) => self.assignable(name).err(),
            ("vacation", _) => vacation(call),
            _ => None,
        };
        let fault = fault.or_else(|| index(call)).or_else(|| special_use(call));
        match fault {
            Some(says) => {
                self.add(call.place, says);
                None
            }
            None => self.check_keys(call),
        }
    }

    pub(super) fn check_test(&mut self, call: &Call) -> Option<()> {
        let fault = match call.name {
            "size" if call.tags.is_empty() => Some("size wants :over or :under".to_owned()),
            "address" => Self::constants(call, 0)
                .find(|n| !ADDRESS_FIELDS.iter().any(|f| f.eq_ignore_ascii_case(n)))
                .map(|n| format!("the header field \"{n}\" holds no addresses")),
            "envelope" => Self::constants(call, 0)
                .find(|n| !["from", "to", "auth"].iter().any(|p| p.eq_ignore_ascii_case(n)))
                .map(|n| format!("the envelope has no part \"{n}\"; it has \"from\" and \"to\"")),
            "specialuse_exists" => {
                Self::constants(call, 1).find(|f| !f.starts_with('\\')).map(no_special_use)
            }
            "hasflag" => Self::constants(call, 0).find_map(|name| self.assignable(name).err()),
            _ => None,
        };
        if let Some(says) = fault.or_else(|| index(call)) {
            self.add(call.place, says);
            return None;
        }
        self.check_keys(call)
    }

    /// Regular expressions without variables are tried once.
    fn check_keys(&mut self, call: &Call) -> Option<()> {
        if call.matching.kind != Kind::Regex {
            return Some(());
        }
        let keys = call.arguments.iter().rev().find_map(|v| match v {
            Value::Texts(texts) => Some(texts),
            _ => None,
        });
        let broken = keys.into_iter().flatten().filter_map(Template::constant).find_map(|key| {
            matching::regular(key, call.matching.comparator).err().map(|why| (key.to_owned(), why))
        });
        match broken {
            Some((key, why)) => {
                self.add(call.place, format!("\"{key}\" is no regular expression: {why}"));
                None
            }
            None => Some(()),
        }
    }

    /// A variable's name where a value is put: not a match variable, in a namespace we have.
    fn assignable(&mut self, name: &str) -> Result<(), String> {
        let well = name.split('.').all(crate::template::is_identifier);
        let piece = if well { variable(name)? } else { Piece::Match(0) };
        match piece {
            Piece::Own(name) => {
                if name.len() > 64 {
                    return Err("a variable's name has at most 64 characters".to_owned());
                }
                if !self.globals.contains(&name) && self.declared.insert(name) {
                    let max = self.limits.variables_max;
                    if self.declared.len() == max + 1 {
                        return Err(format!("more than {max} variables"));
                    }
                }
                Ok(())
            }
            Piece::Global(_) if !self.needs("include") => {
                Err("variables of the namespace \"global\" need: require \"include\";".to_owned())
            }
            Piece::Global(_) => Ok(()),
            _ => Err(format!("\"{}\" cannot be a variable's name", name.escape_default())),
        }
    }
}

fn index(call: &Call) -> Option<String> {
    if call.name == "duplicate" || call.name == "addheader" {
        return None;
    }
    match call.number("index") {
        Some(0) => Some(":index counts from 1".to_owned()),
        None if call.has("last") => {
            Some(":last says from which end :index counts; give :index too".to_owned())
        }
        _ => None,
    }
}

fn special_use(call: &Call) -> Option<String> {
    let flag = call.tag_text("specialuse")?.constant()?;
    (!flag.starts_with('\\')).then(|| no_special_use(flag))
}

fn no_special_use(flag: &str) -> String {
    format!("\"{flag}\" is no special use; they begin with a backslash, as \"\\\\Sent\" does")
}

fn vacation(call: &Call) -> Option<String> {
    if let Some(from) = call.tag_text("from").and_then(Template::constant)
        && redirect_target(from).is_none()
    {
        return Some(format!("\"{from}\" is no address to send from"));
    }
    None
}
