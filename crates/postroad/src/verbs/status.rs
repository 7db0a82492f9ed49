//! `postroad status …` as orders.

use std::io::Read;

use super::{absolute, read_password};
use crate::cli::status::{
    CreditsVerb, MaintenanceVerb, OperatorVerb, Promises, StatusVerb, SubscribersVerb, TokenVerb, Touched,
    Words,
};
use crate::orders::StatusOrder;

/// A text read from standard input is at most this long, bytes.
const TEXT_BYTES_MAX: u64 = 1 << 20;

pub fn order(verb: StatusVerb) -> Result<StatusOrder, String> {
    Ok(match verb {
        StatusVerb::Show => StatusOrder::Show,
        StatusVerb::Draft { incident: None } => StatusOrder::Drafts,
        StatusVerb::Draft { incident: Some(incident) } => StatusOrder::Postmortem { incident },
        StatusVerb::Import { file } => StatusOrder::Import { from: absolute(&file)? },
        StatusVerb::Export { to } => StatusOrder::Export { to: absolute(&to)? },
        StatusVerb::Maintenance(verb) => maintenance(verb)?,
        StatusVerb::Subscribers(SubscribersVerb::List) => StatusOrder::Subscribers,
        StatusVerb::Subscribers(SubscribersVerb::Add { address, components, kinds }) => {
            StatusOrder::Enlist { address, components, kinds }
        }
        StatusVerb::Subscribers(SubscribersVerb::Remove { address }) => StatusOrder::Unlist { address },
        StatusVerb::Credits(verb) => credits(verb)?,
        StatusVerb::Token(TokenVerb::New { name }) => StatusOrder::TokenNew { name },
        StatusVerb::Token(TokenVerb::List) => StatusOrder::TokenList,
        StatusVerb::Token(TokenVerb::Remove { id }) => StatusOrder::TokenRemove { id },
        StatusVerb::Operator(OperatorVerb::Add { name, password }) => {
            StatusOrder::OperatorSet { name, password: read_password(&password)? }
        }
        StatusVerb::Operator(OperatorVerb::List) => StatusOrder::OperatorList,
        StatusVerb::Operator(OperatorVerb::Remove { name }) => StatusOrder::OperatorRemove { name },
        said => say(said)?,
    })
}

/// Fields as the desk names them.
struct Act {
    what: &'static str,
    fields: Vec<(String, String)>,
    author: String,
}

impl Act {
    fn new(what: &'static str, words: Words) -> Result<Act, String> {
        let text = match words.text {
            Some(text) => text,
            None => {
                let mut text = String::new();
                std::io::stdin()
                    .take(TEXT_BYTES_MAX)
                    .read_to_string(&mut text)
                    .map_err(|e| format!("The text cannot be read from standard input: {e}."))?;
                text
            }
        };
        Ok(Act { what, fields: vec![("text".into(), text)], author: words.author })
    }
    fn with(mut self, name: &str, value: impl Into<String>) -> Act {
        self.fields.push((name.to_owned(), value.into()));
        self
    }
    fn touched(self, touched: &Touched) -> Act {
        self.with("affected", touched.affected.join(",")).with("not_affected", touched.not_affected.join(","))
    }
    /// The desk counts in minutes.
    fn promises(self, promises: &Promises) -> Act {
        let minutes =
            |span: Option<stdx::Span>| span.map_or(String::new(), |s| s.as_secs().div_ceil(60).to_string());
        self.with("next", minutes(promises.next)).with("eta", minutes(promises.eta))
    }
    fn order(self) -> StatusOrder {
        StatusOrder::Act { what: self.what.into(), fields: self.fields, author: self.author }
    }
}

fn say(verb: StatusVerb) -> Result<StatusOrder, String> {
    let act = match verb {
        StatusVerb::Post { title, words, tag, category, series, note } => Act::new("post", words)?
            .with("title", title)
            .with("tags", tag.join(","))
            .with("categories", category.join(","))
            .with("series", series)
            .with("note", if note { "1" } else { "" }),
        StatusVerb::Incident { title, words, touched, promises, impact, stage } => {
            Act::new("incident", words)?
                .with("title", title)
                .with("impact", impact)
                .with("stage", stage)
                .touched(&touched)
                .promises(&promises)
        }
        StatusVerb::Update { id, post: true, words, .. } => Act::new("update", words)?.with("post", id),
        StatusVerb::Update { id, words, promises, stage, .. } => {
            Act::new("word", words)?.with("incident", id).with("stage", stage).promises(&promises)
        }
        StatusVerb::Resolve { incident, words } => {
            Act::new("word", words)?.with("incident", incident.to_string()).with("stage", "resolved")
        }
        _ => return Err("This verb says nothing.".into()),
    };
    Ok(act.order())
}

fn maintenance(verb: MaintenanceVerb) -> Result<StatusOrder, String> {
    let act = match verb {
        MaintenanceVerb::Plan { title, from, to, words, touched } => {
            Act::new("plan", words)?.with("title", title).with("from", from).with("to", to).touched(&touched)
        }
        MaintenanceVerb::Done { id, words } => Act::new("done", words)?.with("maintenance", id.to_string()),
    };
    Ok(act.order())
}

fn credits(verb: CreditsVerb) -> Result<StatusOrder, String> {
    match verb {
        CreditsVerb::Prices { file } => {
            let csv = std::fs::read_to_string(&file)
                .map_err(|e| format!("{} cannot be read: {e}.", file.display()))?;
            Ok(StatusOrder::Prices { csv })
        }
        CreditsVerb::Give { incident, server, share: Some(share), .. } if (0.0..=100.0).contains(&share) => {
            let basis_points = Some((share * 100.0).round() as u32);
            Ok(StatusOrder::Credit { incident, server, basis_points })
        }
        CreditsVerb::Give { incident, server, share: None, pro_rata: true } => {
            Ok(StatusOrder::Credit { incident, server, basis_points: None })
        }
        CreditsVerb::Give { .. } => {
            Err("Say by which rule: --share 25 (per cent of a month) or --pro-rata.".into())
        }
    }
}
