//! What one listener's sessions share: limits, what is offered, and the capability line.

use super::Server;
use sasl::Offer;
use stdx::Span;

/// Shared by all sessions of a listener.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our name in the greeting.
    pub host: String,
    /// STARTTLS can be had on this listener.
    pub starttls: bool,
    /// Which log-ins are offered, and whether also without TLS.
    pub offer: Offer,
    /// What we say of ourselves (RFC 2971).
    pub id: Vec<(String, String)>,
    /// Greatest message taken (RFC 7889); the account's own limit may be lower.
    pub append_limit: u64,
    pub limits: Limits,
}

/// Bounds of a session.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Silence before the log-in ends.
    pub before_login: Span,
    /// RFC 9051 §5.4: at least 30 minutes of silence are borne after the log-in.
    pub silence: Span,
    /// Longest IDLE without a word of the client. The words below find dead connections earlier.
    pub idle: Span,
    /// During IDLE we say something this often, so that routers on the way keep the connection.
    pub idle_word: Span,
    /// Longest pause within the octets of a message.
    pub message_pause: Span,
    /// Commands before the log-in.
    pub commands_before_login: u32,
    /// Commands in a row that cannot be understood.
    pub bad_commands: u32,
    /// Wrong log-ins on one connection.
    pub bad_logins: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            host: "localhost".into(),
            starttls: false,
            offer: Offer::default(),
            id: vec![("name".into(), "Postroad".into())],
            append_limit: 64 << 20,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            before_login: Span::mins(3),
            silence: Span::mins(31),
            idle: Span::hours(12),
            idle_word: Span::mins(4),
            message_pause: Span::mins(5),
            commands_before_login: 100,
            bad_commands: 25,
            bad_logins: 5,
        }
    }
}

/// Offered before the log-in too. RFC 9051 and RFC 3501 are both spoken until the client says.
const ALWAYS: &str = "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE";
/// Offered once logged in.
const INSIDE: &str = "IDLE NAMESPACE UIDPLUS UNSELECT MOVE CONDSTORE QRESYNC ESEARCH SEARCHRES WITHIN SORT \
SORT=DISPLAY ESORT THREAD=ORDEREDSUBJECT THREAD=REFERENCES LIST-EXTENDED LIST-STATUS SPECIAL-USE \
CREATE-SPECIAL-USE CHILDREN STATUS=SIZE MULTIAPPEND BINARY XLIST QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE \
METADATA METADATA-SERVER UTF8=ACCEPT OBJECTID SAVEDATE PREVIEW REPLACE PARTIAL NOTIFY ACL RIGHTS=texk \
UNAUTHENTICATE";

impl Server {
    /// What this session is offered right now.
    pub(super) fn capabilities(&self) -> String {
        let mut line = ALWAYS.to_owned();
        if self.who.is_none() {
            if self.tls.is_none() && self.settings.starttls {
                line.push_str(" STARTTLS");
            }
            let mechanisms = sasl::offered(self.tls.as_deref(), &self.settings.offer);
            // RFC 9051 §6.2.3: LOGINDISABLED where LOGIN would be refused.
            if !self.login_allowed() {
                line.push_str(" LOGINDISABLED");
            }
            for mechanism in mechanisms {
                line.push_str(" AUTH=");
                line.push_str(mechanism.name());
            }
        } else {
            line.push(' ');
            line.push_str(INSIDE);
            let limit = self.who.as_ref().and_then(|w| w.append_limit).unwrap_or(self.settings.append_limit);
            line.push_str(&format!(" APPENDLIMIT={limit}"));
            if !self.deflated {
                line.push_str(" COMPRESS=DEFLATE");
            }
        }
        line
    }

    /// Whether LOGIN may be used: under TLS, or where the operator tolerates it without.
    pub(super) fn login_allowed(&self) -> bool {
        self.settings.offer.passwords && (self.tls.is_some() || self.settings.offer.without_tls)
    }
}
