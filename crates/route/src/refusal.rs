//! What a remote said when it refused, and what we read in it.
//!
//! Begin with [`Refusal`] (the facts) and [`Reading`] (the cause, how sure, which rule).

use std::fmt;
use std::str::FromStr;

use words::Enhanced;

/// Where in the conversation the refusal came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Stage {
    Connect,
    Greeting,
    Helo,
    StartTls,
    Auth,
    Mail,
    #[default]
    Rcpt,
    Data,
    EndOfData,
}

impl Stage {
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Connect => "connect",
            Stage::Greeting => "greeting",
            Stage::Helo => "HELO",
            Stage::StartTls => "STARTTLS",
            Stage::Auth => "AUTH",
            Stage::Mail => "MAIL FROM",
            Stage::Rcpt => "RCPT TO",
            Stage::Data => "DATA",
            Stage::EndOfData => "end of data",
        }
    }
}

/// A refusal as facts. Borrowed, because most refusals are read once and forgotten.
#[derive(Clone, Copy, Debug, Default)]
pub struct Refusal<'a> {
    pub stage: Stage,
    /// 0 if the remote gave none.
    pub code: u16,
    pub enhanced: Option<Enhanced>,
    pub text: &'a str,
    /// Id of the destination group's provider, if known (`microsoft-365`, `google`).
    pub provider: Option<&'a str>,
    pub mx_host: Option<&'a str>,
}

macro_rules! classes {
    ($($variant:ident $name:literal),+ $(,)?) => {
        /// What the remote complains about: the cause, never the code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Class { $($variant),+ }

        impl Class {
            pub const ALL: &'static [Class] = &[$(Class::$variant),+];
            pub const fn name(self) -> &'static str {
                match self { $(Class::$variant => $name),+ }
            }
        }
        impl FromStr for Class {
            type Err = ();
            fn from_str(s: &str) -> Result<Class, ()> {
                match s { $($name => Ok(Class::$variant),)+ _ => Err(()) }
            }
        }
    };
}

classes! {
    IpReputation "ip_reputation",
    Content "content",
    SenderAuth "sender_auth",
    Sender "sender",
    Recipient "recipient",
    Rate "rate",
    Greylist "greylist",
    Policy "policy",
    Tls "tls",
    Transient "transient",
    Routing "routing",
    Protocol "protocol",
    Unclear "unclear",
}

impl Class {
    /// Index into [`Class::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What we read in a refusal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    pub class: Class,
    /// Finer cause within the class: `dnsbl`, `provider`, `unknown`, `full`, `rdns`, `ip`, …
    pub sub: &'static str,
    /// 0 to 1.
    pub confidence: f32,
    /// Name of the rule, or `linear` where the rules were silent.
    pub rule: &'static str,
}

/// What to do with one recipient after a refusal, by cause and by the reply's class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The egress is refused, not the mail: try another egress at once.
    OtherEgress,
    /// Come back from the same address after a while (greylisting).
    SameEgressLater,
    /// Try later; slower if the cause was a rate.
    Later,
    /// Final: tell the sender.
    Bounce,
}

impl Reading {
    /// Whether another egress may be taken better: the address, its network, its name or its
    /// greeting is at fault.
    pub fn egress_may_help(&self) -> bool {
        match self.class {
            Class::IpReputation => true,
            Class::Rate => self.sub == "ip",
            Class::Policy => matches!(self.sub, "rdns" | "helo" | "ipv6"),
            _ => false,
        }
    }

    /// What to do. A 5xx of the recipient, content, sender or routing class is final: it never
    /// goes to another egress, which it would only burn.
    pub fn remedy(&self, permanent: bool) -> Remedy {
        match self.class {
            Class::IpReputation => Remedy::OtherEgress,
            Class::Policy if self.egress_may_help() => Remedy::OtherEgress,
            Class::Greylist => Remedy::SameEgressLater,
            // A throttle with a 5xx is still a throttle.
            Class::Rate => Remedy::Later,
            Class::Transient | Class::Tls => Remedy::Later,
            _ if permanent => Remedy::Bounce,
            _ => Remedy::Later,
        }
    }
}
