//! What Microsoft's SNDS says of our addresses: a table of comma-separated values, one line per
//! address and day.
//!
//! What it is: [`read`] takes the table as it is handed out, [`learn_snds`] says what changed.
//! What it is not: a reason to move mail; only replies do that. Begin with [`read`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use stdx::Now;

use crate::egress::Egress;
use crate::event::{Event, EventKind};
use crate::state::State;

/// Lines read.
const LINES_MAX: usize = 10_000;

/// The filter's verdict on an address, the mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    Green,
    Yellow,
    Red,
}

impl Colour {
    pub const fn word(self) -> &'static str {
        match self {
            Colour::Green => "green",
            Colour::Yellow => "yellow",
            Colour::Red => "red",
        }
    }
}

/// One address on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub ip: IpAddr,
    /// The end of the period as it is written; later ones stand further down.
    pub until: String,
    pub colour: Colour,
    /// `< 0.1%`.
    pub complaints: String,
    pub traps: u32,
}

/// What is remembered of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mood {
    pub colour: Colour,
    pub since: u64,
    pub said: String,
}

/// Reads the table; lines that are none are counted.
pub fn read(text: &str) -> (Vec<Line>, usize) {
    let (mut lines, mut odd) = (Vec::new(), 0);
    for text in text.lines().take(LINES_MAX).filter(|l| !l.trim().is_empty()) {
        match line(text) {
            Some(line) => lines.push(line),
            None => odd += 1,
        }
    }
    (lines, odd)
}

// Address, period's begin and end, RCPT commands, DATA commands, recipients, filter result, complaint
// rate, trap period's begin and end, trap hits, sample HELO, sample MAIL FROM, comments.
fn line(text: &str) -> Option<Line> {
    let cells: Vec<&str> = text.split(',').map(|c| c.trim().trim_matches('"')).collect();
    let colour = match cells.get(6)?.to_ascii_uppercase().as_str() {
        "GREEN" => Colour::Green,
        "YELLOW" => Colour::Yellow,
        "RED" => Colour::Red,
        _ => return None,
    };
    Some(Line {
        ip: cells[0].parse().ok()?,
        until: cells[2].to_owned(),
        colour,
        complaints: cells.get(7).map_or("", |c| c).to_owned(),
        traps: cells.get(10).and_then(|c| c.parse().ok()).unwrap_or(0),
    })
}

/// Takes a table; tells of addresses of ours whose colour changed.
pub fn learn_snds(state: &mut State, lines: &[Line], egresses: &[Egress], now: Now) -> Vec<Event> {
    // Of several days the table gives for an address, the last line is the latest.
    let latest: BTreeMap<IpAddr, &Line> = lines.iter().map(|l| (l.ip, l)).collect();
    let mut events = Vec::new();
    for (ip, line) in latest {
        let names: Vec<&str> =
            egresses.iter().filter(|e| e.addresses.contains(&ip)).map(|e| e.name.as_str()).collect();
        let key = ip.to_string();
        let before = state.colours.get(&key).map(|m| m.colour);
        if names.is_empty() || before == Some(line.colour) {
            continue;
        }
        let said = format!(
            "{}, complaints {}, trap hits {}, until {}",
            line.colour.word(),
            line.complaints,
            line.traps,
            line.until
        );
        state.colours.insert(key.clone(), Mood { colour: line.colour, since: now.0, said: said.clone() });
        state.dirty.insert(format!("c/{key}"));
        if before.is_none() && line.colour == Colour::Green {
            continue;
        }
        let says = format!("SNDS shows {ip} ({}) {}", names.join(", "), line.colour.word());
        events.push(
            Event::new(EventKind::Reputation, says)
                .because([said])
                .undo("nothing to undo: nothing was moved; look for the account that causes it"),
        );
    }
    events
}

impl State {
    /// The colour of an address of ours, if SNDS was read.
    pub fn colour(&self, ip: IpAddr) -> Option<&Mood> {
        self.colours.get(&ip.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: &str = "192.0.2.1,11/21/2026 1:00 AM,11/22/2026 1:00 AM,900,880,870,GREEN,< 0.1%,,,0,mx.example,a@x.example,";

    #[test]
    fn a_table_is_read_and_a_change_of_colour_is_told_once() {
        let ip: IpAddr = "192.0.2.1".parse().expect("an address");
        let egresses = [Egress::address("A", ip, "mx.example")];
        let mut state = State::new();
        let mut told = Vec::new();
        for (n, colour) in ["GREEN", "GREEN", "RED", "RED", "YELLOW", "GREEN"].iter().enumerate() {
            let (lines, odd) = read(&DAY.replace("GREEN", colour));
            assert_eq!((lines.len(), odd), (1, 0));
            let events = learn_snds(&mut state, &lines, &egresses, Now::from_secs(1_000 + n as u64));
            told.extend(events.into_iter().map(|e| e.says));
        }
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(told[0], "SNDS shows 192.0.2.1 (A) red");
        let foreign = read(&DAY.replace("192.0.2.1", "192.0.2.99").replace("GREEN", "RED")).0;
        assert!(learn_snds(&mut state, &foreign, &egresses, Now::from_secs(9)).is_empty());
        assert_eq!(read("IP address,nonsense\n\nx").1, 2);
        assert_eq!(state.colour(ip).map(|m| m.colour), Some(Colour::Green));
    }
}
