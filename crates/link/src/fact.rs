//! What hosts tell each other.

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970, UTC.
pub type At = u64;

/// At the end of the name of an area that is counted in files (inodes).
pub const FILES: &str = ".files";

/// One fact. A host that does not know a kind skips it (`Unknown`), so that versions may differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fact {
    /// I live.
    Heartbeat { at: At, version: String, started: At },
    /// A probe's try.
    Probe {
        at: At,
        /// `loop.in`, `port.imaps`.
        probe: String,
        /// The component it speaks for.
        component: String,
        /// Vantage point and its region.
        point: String,
        region: String,
        look: Look,
        ms: u64,
        /// The cause if it failed, evidence if not.
        says: String,
    },
    /// A disk area, in octets; in files if its name ends in [`FILES`].
    Fill { at: At, area: String, used: u64, size: u64 },
    /// The outbound queue, by destination group.
    Queue { at: At, group: String, count: u64, oldest_s: u64 },
    /// An egress and a destination group.
    Route { at: At, egress: String, group: String, state: String, since: At, evidence: Vec<String> },
    /// A blacklist and one of our addresses or names.
    Listing { at: At, list: String, subject: String, listed: bool, says: String },
    /// One hand-on through another host's egress, reported back.
    Outcome {
        at: At,
        message: String,
        recipient: String,
        egress: String,
        mx: String,
        code: u16,
        reply: String,
        /// `delivered`, `refused`, `deferred` or `failed`; others are skipped.
        #[serde(default)]
        became: String,
    },
    /// Something an operator should know.
    Alarm { at: At, cause: String, says: String, over: bool },
    /// A back-up was made or proved.
    Backup { at: At, made: At, bytes: u64, restored: Option<At> },
    #[serde(other)]
    Unknown,
}

/// What a try saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Look {
    Good,
    Slow,
    Failed,
    /// The point was not sure of its own line.
    Unsure,
}
