//! What tests find.

use message::mime::Kind as PartKind;
use message::transfer::Encoding;
use message::{Head, Structure, addresses, charset, transfer};

use super::{Ran, Run, flags};
use crate::compile::Call;
use crate::{dates, headers};

/// Octets of a message's body that are looked at.
const BODY_MAX: usize = 8 << 20;

impl<'a> Run<'a> {
    pub(super) fn judge(&mut self, call: &'a Call) -> Ran<bool> {
        match call.name {
            "header" => {
                let values = self.header_values(call);
                let keys = self.list(call, 1);
                self.matches(call, &values, &keys)
            }
            "address" => {
                let values = self.address_values(call);
                let keys = self.list(call, 1);
                self.matches(call, &values, &keys)
            }
            "envelope" => {
                let values = self.envelope_values(call);
                let keys = self.list(call, 1);
                self.matches(call, &values, &keys)
            }
            "exists" => {
                let head = Head::parse(self.message());
                Ok(self.list(call, 0).iter().all(|name| head.has(name)))
            }
            "size" => {
                let size = self.message().len() as u64;
                let limit = match call.arguments.first() {
                    Some(crate::compile::Value::Number(n)) => *n,
                    _ => 0,
                };
                Ok(if call.has("over") { size > limit } else { size < limit })
            }
            "string" => {
                let count = matches!(call.matching.kind, crate::matching::Kind::Count(_));
                // RFC 5229 §5: empty strings do not count.
                let values =
                    self.list(call, 0).into_iter().filter(|v| !count || !v.is_empty()).collect::<Vec<_>>();
                let keys = self.list(call, 1);
                self.matches(call, &values, &keys)
            }
            "hasflag" => self.hasflag(call),
            "date" => self.date(call),
            "currentdate" => self.currentdate(call),
            "body" => self.body(call),
            "environment" => {
                let name = self.text(call, 0).to_ascii_lowercase();
                let value = match name.as_str() {
                    "location" => Some("MDA".to_owned()),
                    "phase" => Some("during".to_owned()),
                    "name" => Some("Postroad Sieve".to_owned()),
                    "version" => Some(env!("CARGO_PKG_VERSION").to_owned()),
                    other => self.facts.environment.get(other).cloned(),
                };
                // RFC 5183 §4: an item that is not known fits nothing, not even a count of none.
                let Some(value) = value else { return Ok(false) };
                let keys = self.list(call, 1);
                self.matches(call, &[value], &keys)
            }
            "mailboxexists" => {
                let around = self.facts.around;
                Ok(self.list(call, 0).iter().all(|n| headers::is_folder_name(n) && around.folder_exists(n)))
            }
            "specialuse_exists" => {
                let folder = call.texts(0).first().map(|t| self.fill(t));
                let around = self.facts.around;
                Ok(self.list(call, 1).iter().all(|f| around.special_use_exists(folder.as_deref(), f)))
            }
            "duplicate" => self.duplicate(call),
            #[cfg(test)]
            _ if self.guest.is_some() => crate::testsuite::test(self, call),
            name => stdx::never!("no test {name}"),
        }
    }

    fn index(call: &Call) -> Option<(u64, bool)> {
        call.number("index").map(|n| (n, call.has("last")))
    }

    fn header_values(&self, call: &Call) -> Vec<String> {
        let mut out = Vec::new();
        for name in self.list(call, 0) {
            for field in headers::chosen(self.message(), &name, Self::index(call)) {
                // RFC 5228 §5.7: blanks at the ends do not count.
                out.push(field.text().trim().to_owned());
            }
        }
        out
    }

    fn address_values(&self, call: &Call) -> Vec<String> {
        let mut out = Vec::new();
        for name in self.list(call, 0) {
            for field in headers::chosen(self.message(), &name, Self::index(call)) {
                for mailbox in addresses::mailboxes(field.raw()) {
                    out.extend(self.part(call, &mailbox.address));
                }
            }
        }
        out
    }

    /// RFC 5228 §2.7.4, RFC 5233: a part of an address, if it has that part.
    fn part(&self, call: &Call, address: &str) -> Option<String> {
        let split = address.rsplit_once('@');
        let unquoted = |local: &str| match local.strip_prefix('"').and_then(|l| l.strip_suffix('"')) {
            Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
            None => local.to_owned(),
        };
        if call.has("domain") {
            return split.map(|(_, domain)| domain.to_owned());
        }
        let local = unquoted(split.map_or(address, |(local, _)| local));
        if call.has("localpart") {
            return split.map(|_| local);
        }
        let mark = |c: char| self.facts.delimiters.contains(c);
        if call.has("user") {
            return split.map(|_| local.split_once(mark).map_or(local.clone(), |(user, _)| user.to_owned()));
        }
        if call.has("detail") {
            return split.and_then(|_| local.split_once(mark).map(|(_, detail)| detail.to_owned()));
        }
        Some(address.to_owned())
    }

    // RFC 5228 §5.4: a bounce has the empty address as its sender.
    fn envelope_values(&self, call: &Call) -> Vec<String> {
        let mut out = Vec::new();
        for name in self.list(call, 0) {
            let value = match name.to_ascii_lowercase().as_str() {
                "from" => self.facts.sender,
                "to" => Some(self.facts.recipient).filter(|r| !r.is_empty()),
                "auth" => self.facts.authenticated,
                _ => None,
            };
            match value {
                Some("") => out.push(String::new()),
                Some(address) if name.eq_ignore_ascii_case("auth") => out.push(address.to_owned()),
                Some(address) => out.extend(self.part(call, address)),
                None => {}
            }
        }
        out
    }

    // RFC 5232 §4.
    fn hasflag(&mut self, call: &'a Call) -> Ran<bool> {
        let held = match call.texts(0) {
            [] => self.flags.clone(),
            names => {
                let mut all = Vec::new();
                for name in names.iter().map(|t| self.fill(t)) {
                    all.extend(self.flag_variable(&name));
                }
                all
            }
        };
        let keys = self.list(call, 1);
        let keys = match call.matching.kind {
            crate::matching::Kind::Is | crate::matching::Kind::Contains => flags::split(&keys),
            _ => keys,
        };
        self.matches(call, &held, &keys)
    }

    // RFC 5260 §4.
    fn date(&mut self, call: &'a Call) -> Ran<bool> {
        let (name, part, keys) = (self.text(call, 0), self.text(call, 1), self.list(call, 2));
        let zone = self.tag_text(call, "zone").and_then(|z| dates::zone(&z));
        let mut values = Vec::new();
        for field in headers::chosen(self.message(), &name, Self::index(call)) {
            if let Some(date) = dates::in_field(&field.unfolded()) {
                let own = call.has("originalzone").then_some(date.zone_min);
                let zone = own.or(zone).unwrap_or(self.facts.zone_min);
                values.extend(dates::part(date.secs, zone, &part));
            }
        }
        self.matches(call, &values, &keys)
    }

    fn currentdate(&mut self, call: &'a Call) -> Ran<bool> {
        let (part, keys) = (self.text(call, 0), self.list(call, 1));
        let zone = self.tag_text(call, "zone").and_then(|z| dates::zone(&z));
        let secs = i64::try_from(self.now.secs()).unwrap_or(0);
        let value = dates::part(secs, zone.unwrap_or(self.facts.zone_min), &part);
        self.matches(call, value.as_slice(), &keys)
    }

    // RFC 5173.
    fn body(&mut self, call: &'a Call) -> Ran<bool> {
        let keys = self.list(call, 0);
        let values = if call.has("raw") {
            let message = self.message();
            let head = Head::parse(message);
            // RFC 5173 §4: without the empty line there is no body, not an empty one.
            if !head.is_closed() {
                return Ok(false);
            }
            let start = head.body_start();
            let end = message.len().min(start.saturating_add(BODY_MAX));
            vec![String::from_utf8_lossy(&message[start..end]).into_owned()]
        } else {
            let wanted = self.tag_list(call, "content");
            self.parts(wanted.as_deref())
        };
        self.matches_without_variables(call, &values, &keys)
    }

    /// RFC 5173 §6: wildcards over bodies set no match variables.
    fn matches_without_variables(&mut self, call: &Call, values: &[String], keys: &[String]) -> Ran<bool> {
        let before = self.matches.clone();
        let found = self.matches(call, values, keys);
        self.matches = before;
        found
    }

    /// The decoded bodies of text parts, or of parts whose type is wanted.
    fn parts(&mut self, wanted: Option<&[String]>) -> Vec<String> {
        let structure = self.structure.take().unwrap_or_else(|| Structure::of(self.message()));
        let message = self.message();
        let mut out = Vec::new();
        for (i, part) in structure.parts().iter().enumerate() {
            let content = structure.content(message, i);
            let fits = match wanted {
                None => {
                    part.encoding != Encoding::Unknown && (content.0 == "text" || content.1 == "xhtml+xml")
                }
                Some(list) => list.iter().any(|w| is_type(w, &content)),
            };
            if !fits {
                continue;
            }
            let end = part.body.end.min(part.body.start.saturating_add(BODY_MAX));
            let text = match part.kind {
                PartKind::Leaf => {
                    let decoded = transfer::decode(part.encoding, &message[part.body.start..end]);
                    let text = if content.0 == "text" || content.1 == "xhtml+xml" {
                        charset::decode(&content.2, &decoded)
                    } else {
                        String::from_utf8_lossy(&decoded).into_owned()
                    };
                    if wanted.is_none() && matches!(content.1.as_str(), "html" | "xhtml+xml") {
                        message::html::to_text(&text)
                    } else {
                        text
                    }
                }
                // RFC 5173 §5.2: of a message its header, of a multipart what stands around its
                // parts.
                PartKind::Message => {
                    let inner = &message[part.body.start..end];
                    String::from_utf8_lossy(&inner[..Head::parse(inner).fields_end()]).into_owned()
                }
                PartKind::Multipart => {
                    let children: Vec<_> =
                        structure.children(i as u32).filter_map(|c| structure.part(c)).collect();
                    let first = children.first().map_or(end, |c| c.head.start);
                    let last = children.last().map_or(end, |c| c.body.end);
                    let before =
                        String::from_utf8_lossy(&message[part.body.start..first.max(part.body.start)]);
                    let after = String::from_utf8_lossy(&message[last.min(end)..end]);
                    out.push(prologue(&before).to_owned());
                    epilogue(&after).to_owned()
                }
            };
            out.push(text);
        }
        self.structure = Some(structure);
        out
    }

    // RFC 7352.
    fn duplicate(&mut self, call: &'a Call) -> Ran<bool> {
        let handle = self.tag_text(call, "handle").unwrap_or_default();
        let id = match (self.tag_text(call, "uniqueid"), self.tag_text(call, "header")) {
            (Some(id), _) => Some(id),
            (None, name) => {
                let name = name.unwrap_or_else(|| "Message-ID".into());
                Head::parse(self.message()).text(&name).filter(|v| !v.is_empty())
            }
        };
        let Some(id) = id else { return Ok(false) };
        let mark = format!("{handle}\0{id}");
        let seen = self.facts.around.seen(&mark);
        let most = self.limits.duplicate_seconds_max;
        let seconds = call.number("seconds").unwrap_or(self.limits.duplicate_seconds_default).min(most);
        // §3.3: without :last a mark lives from its first sight.
        let marked = self.marks.iter().any(|m| m.name == mark);
        if (!seen || call.has("last")) && !marked {
            self.marks.push(crate::actions::Mark { name: mark, seconds });
        }
        Ok(seen)
    }
}

/// What stands before the first boundary line.
fn prologue(text: &str) -> &str {
    let text = text.trim_end_matches(['\r', '\n']);
    text.rfind("\n--").map_or(if text.starts_with("--") { "" } else { text }, |at| &text[..=at])
}

/// What stands behind the last one.
fn epilogue(text: &str) -> &str {
    let text = text.trim_start_matches(['\r', '\n']);
    match (text.starts_with("--"), text.find('\n')) {
        (true, Some(at)) => &text[at + 1..],
        (true, None) => "",
        (false, _) => text,
    }
}

/// RFC 5173 §5.2: `text`, `text/plain`, or empty for all.
fn is_type(wanted: &str, (kind, subtype, _): &(String, String, Vec<u8>)) -> bool {
    match wanted.to_ascii_lowercase().split_once('/') {
        None => wanted.is_empty() || wanted.eq_ignore_ascii_case(kind),
        Some((k, s)) => !k.is_empty() && !s.is_empty() && k == kind && s == subtype,
    }
}

trait Typed {
    /// Type, subtype and charset of a part.
    fn content(&self, message: &[u8], part: usize) -> (String, String, Vec<u8>);
}

impl Typed for Structure {
    fn content(&self, message: &[u8], part: usize) -> (String, String, Vec<u8>) {
        match self.part(part as u32) {
            Some(part) => {
                let content = part.content(message);
                // A broken Content-Type says nothing, so it does not say text either.
                let said = Head::within(message, part.head.clone()).text("Content-Type");
                let broken = said.is_some_and(|said| {
                    let media = said.split(';').next().unwrap_or_default();
                    content.ctype.is_none() || media.matches('/').count() != 1
                });
                let (kind, subtype) = if broken { Default::default() } else { content.media() };
                (kind, subtype, content.charset())
            }
            None => Default::default(),
        }
    }
}
