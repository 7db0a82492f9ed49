//! What commands do.

use super::{Flow, Ran, Run, Trouble, flags};
use crate::actions::{Action, redirect_target};
use crate::compile::Call;
use crate::headers;
use crate::matching::{Kind, quote_regex, quote_wildcard};
use crate::template::{Piece, variable};
use crate::vacation::{Wish, vacation};

impl<'a> Run<'a> {
    pub(super) fn call(&mut self, call: &'a Call) -> Ran<Flow> {
        match call.name {
            "stop" => return Ok(Flow::Stop),
            "return" => return Ok(Flow::Return),
            "keep" => {
                let (flags, version) = (self.flags_of(call), self.version());
                self.keeps = false;
                if !self.stands("INBOX", version, &flags) {
                    self.act(call, Action::Keep { flags, implicit: false, version })?;
                }
            }
            "discard" => {
                self.keeps = false;
                if !self.actions.contains(&Action::Discard) {
                    self.act(call, Action::Discard)?;
                }
            }
            "fileinto" => self.fileinto(call)?,
            "redirect" => self.redirect(call)?,
            "reject" | "ereject" => self.reject(call)?,
            "vacation" => self.vacation(call)?,
            "set" => self.set(call)?,
            "setflag" | "addflag" | "removeflag" => self.flag(call)?,
            "addheader" => self.addheader(call)?,
            "deleteheader" => self.deleteheader(call)?,
            "error" => return Err(Trouble(call.place, self.text(call, 0))),
            name => stdx::never!("no command {name}"),
        }
        Ok(Flow::Next)
    }

    fn flags_of(&self, call: &Call) -> Vec<String> {
        match self.tag_list(call, "flags") {
            Some(list) => flags::clean(&list),
            None => self.flags.clone(),
        }
    }

    fn act(&mut self, call: &Call, action: Action) -> Ran<()> {
        // RFC 5429 §2.2: a message is not both refused and kept or handed on.
        let refuses = |a: &Action| matches!(a, Action::Reject { .. });
        let takes = |a: &Action| !matches!(a, Action::Reject { .. } | Action::Discard);
        let conflict = if refuses(&action) {
            self.actions.iter().any(|a| takes(a) || refuses(a))
        } else {
            takes(&action) && self.actions.iter().any(refuses)
        };
        if conflict {
            let says = "a message cannot be refused and also kept, redirected, answered or refused again";
            return Err(Trouble(call.place, says.to_owned()));
        }
        if self.actions.len() >= self.limits.actions_max {
            let max = self.limits.actions_max;
            return Err(Trouble(call.place, format!("the script wants more than {max} actions")));
        }
        self.actions.push(action);
        Ok(())
    }

    /// RFC 5228 §2.10.3: the same folder twice is once. The flags given last count.
    fn stands(&mut self, folder: &str, version: usize, wanted: &[String]) -> bool {
        let inbox = folder.eq_ignore_ascii_case("INBOX");
        let same = self.actions.iter_mut().find_map(|a| match a {
            Action::FileInto { folder: f, flags, version: v, .. } => {
                let fits = *f == folder || inbox && f.eq_ignore_ascii_case("INBOX");
                (fits && *v == version).then_some(flags)
            }
            Action::Keep { flags, version: v, .. } => (inbox && *v == version).then_some(flags),
            _ => None,
        });
        match same {
            Some(flags) => {
                *flags = wanted.to_vec();
                true
            }
            None => false,
        }
    }

    fn fileinto(&mut self, call: &'a Call) -> Ran<()> {
        let folder = self.text(call, 0);
        if !headers::is_folder_name(&folder) {
            return Err(Trouble(call.place, "that cannot be a folder's name".to_owned()));
        }
        let special_use = self.tag_text(call, "specialuse");
        let (wanted, version, create) = (self.flags_of(call), self.version(), call.has("create"));
        // RFC 3894 §2: a copy leaves the implicit keep alone.
        if !call.has("copy") {
            self.keeps = false;
        }
        if self.stands(&folder, version, &wanted) {
            return Ok(());
        }
        self.act(call, Action::FileInto { folder, flags: wanted, create, special_use, version })
    }

    fn redirect(&mut self, call: &'a Call) -> Ran<()> {
        let text = self.text(call, 0);
        let Some(to) = redirect_target(&text) else {
            return Err(Trouble(call.place, format!("\"{text}\" is no address to redirect to")));
        };
        if !call.has("copy") {
            self.keeps = false;
        }
        let version = self.version();
        let targets = self.actions.iter().filter_map(|a| match a {
            Action::Redirect { to, .. } => Some(to),
            _ => None,
        });
        let standing: Vec<&String> = targets.collect();
        if standing.iter().any(|t| t.eq_ignore_ascii_case(&to)) {
            return Ok(());
        }
        if standing.len() >= self.limits.redirects_max {
            let max = self.limits.redirects_max;
            return Err(Trouble(call.place, format!("the script wants more than {max} redirects")));
        }
        self.act(call, Action::Redirect { to, version })
    }

    fn reject(&mut self, call: &'a Call) -> Ran<()> {
        let reason = self.text(call, 0);
        self.keeps = false;
        self.act(call, Action::Reject { reason, in_session: call.name == "ereject" })
    }

    fn vacation(&mut self, call: &'a Call) -> Ran<()> {
        if self.actions.iter().any(|a| matches!(a, Action::Vacation(_))) {
            return Err(Trouble(call.place, "one vacation notice is enough".to_owned()));
        }
        let days = call.number("days").map(|d| d.saturating_mul(86_400));
        let limits = self.limits;
        // RFC 6131 §2: zero seconds answers every message, unless the operator sets a minimum.
        let least = if call.has("seconds") {
            limits.vacation_seconds_min.min(60)
        } else {
            limits.vacation_seconds_min
        };
        let seconds = call.number("seconds").or(days).unwrap_or(limits.vacation_seconds_default);
        let wish = Wish {
            reason: self.text(call, 0),
            seconds: seconds.clamp(least.min(limits.vacation_seconds_max), limits.vacation_seconds_max),
            subject: self.tag_text(call, "subject"),
            from: self.tag_text(call, "from").filter(|f| redirect_target(f).is_some()),
            addresses: self.tag_list(call, "addresses").unwrap_or_default(),
            mime: call.has("mime"),
            handle: self.tag_text(call, "handle"),
        };
        let made = vacation(&wish, self.facts, self.message(), self.now);
        self.act(call, Action::Vacation(Box::new(made)))
    }

    // RFC 5229 §4: modifiers work in the order of their precedence, the highest first.
    fn set(&mut self, call: &'a Call) -> Ran<()> {
        let mut value = self.text(call, 1);
        if call.has("lower") {
            value = value.to_ascii_lowercase();
        } else if call.has("upper") {
            value = value.to_ascii_uppercase();
        }
        let first = value.chars().next();
        if let Some(c) = first.filter(|c| c.is_ascii() && (call.has("lowerfirst") || call.has("upperfirst")))
        {
            let c = if call.has("lowerfirst") { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
            value.replace_range(..1, c.encode_utf8(&mut [0; 4]));
        }
        if call.has("quotewildcard") {
            value = quote_wildcard(&value, self.limits.value_max);
        } else if call.has("quoteregex") {
            value = quote_regex(&value, self.limits.value_max);
        }
        if call.has("length") {
            value = value.chars().count().to_string();
        }
        let name = self.text(call, 0);
        self.assign(call, &name, value)
    }

    fn assign(&mut self, call: &Call, name: &str, mut value: String) -> Ran<()> {
        value.truncate(value.floor_char_boundary(self.limits.value_max));
        let max = self.limits.variables_max;
        let (scope, name) = self.place(name);
        let Some(scope) = scope else { return Ok(()) };
        if scope.len() >= max && !scope.contains_key(&name) {
            return Err(Trouble(call.place, format!("the script wants more than {max} variables")));
        }
        scope.insert(name, value);
        Ok(())
    }

    fn place(&mut self, name: &str) -> (Option<&mut std::collections::BTreeMap<String, String>>, String) {
        match variable(name) {
            Ok(Piece::Global(name)) => (Some(&mut self.globals), name),
            Ok(Piece::Own(name)) => (self.scopes.last_mut(), name),
            _ => (None, String::new()),
        }
    }

    pub(super) fn flag_variable(&self, name: &str) -> Vec<String> {
        let value = match variable(name) {
            Ok(Piece::Global(name)) => self.globals.get(&name),
            Ok(Piece::Own(name)) => self.scopes.last().and_then(|s| s.get(&name)),
            _ => None,
        };
        flags::clean(&[value.cloned().unwrap_or_default()])
    }

    // RFC 5232 §3.
    fn flag(&mut self, call: &'a Call) -> Ran<()> {
        let (name, texts) = (call.texts(0).first().map(|t| self.fill(t)), self.list(call, 1));
        let mut held = match (&name, call.name) {
            (_, "setflag") => Vec::new(),
            (Some(name), _) => self.flag_variable(name),
            (None, _) => std::mem::take(&mut self.flags),
        };
        match call.name {
            "removeflag" => flags::remove(&mut held, &texts),
            _ => flags::add(&mut held, &texts),
        }
        match name {
            Some(name) => self.assign(call, &name, held.join(" ")),
            None => {
                self.flags = held;
                Ok(())
            }
        }
    }

    // RFC 5293 §4.
    fn addheader(&mut self, call: &'a Call) -> Ran<()> {
        let (name, value) = (self.text(call, 0), self.text(call, 1));
        self.field_name(call, &name)?;
        if !headers::is_field_value(&value) {
            return Err(Trouble(call.place, "a header field's value cannot hold control characters".into()));
        }
        if value.len() > self.limits.field_max {
            let says = format!("a header field of {} octets is longer than is allowed", value.len());
            return Err(Trouble(call.place, says));
        }
        if self.is_protected(&name, false) {
            return Ok(());
        }
        let text = headers::add(self.message(), &name, &value, call.has("last"));
        self.edit(text);
        Ok(())
    }

    fn field_name(&self, call: &Call, name: &str) -> Ran<()> {
        if headers::is_field_name(name) {
            return Ok(());
        }
        let says = format!("\"{}\" cannot be a header field's name", name.escape_default());
        Err(Trouble(call.place, says))
    }

    // RFC 5293 §6: traces of the message's way and of automatic replies stay.
    fn is_protected(&self, name: &str, deleting: bool) -> bool {
        // A subject can always be edited.
        if name.eq_ignore_ascii_case("subject") {
            return false;
        }
        let limits = self.limits;
        let (always, listed): (&[&str], _) = match deleting {
            true => (&["received", "auto-submitted"], &limits.fields_not_deleted),
            false => (&[], &limits.fields_not_added),
        };
        always.iter().copied().chain(listed.iter().map(String::as_str)).any(|f| f.eq_ignore_ascii_case(name))
    }

    // RFC 5293 §5.
    fn deleteheader(&mut self, call: &'a Call) -> Ran<()> {
        let name = self.text(call, 0);
        self.field_name(call, &name)?;
        if self.is_protected(&name, true) {
            return Ok(());
        }
        let index = call.number("index").map(|n| (n, call.has("last")));
        let keys = (call.arguments.len() > 1).then(|| self.list(call, 1));
        let message = self.message().to_vec();
        let fields = headers::chosen(&message, &name, index);
        let mut gone = Vec::new();
        if let (Some(keys), Kind::Count(_)) = (&keys, call.matching.kind) {
            let values: Vec<String> = fields.iter().map(message::Field::text).collect();
            if self.matches(call, &values, keys)? {
                gone = fields.iter().map(|f| f.span.clone()).collect();
            }
        } else {
            for field in &fields {
                let fits = match &keys {
                    Some(keys) => self.matches(call, &[field.text().trim().to_owned()], keys)?,
                    None => true,
                };
                if fits {
                    gone.push(field.span.clone());
                }
            }
        }
        if !gone.is_empty() {
            gone.sort_by_key(|span| span.start);
            self.edit(headers::without(&message, &gone));
        }
        Ok(())
    }
}
