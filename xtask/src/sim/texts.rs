//! What the destinations say, in the manner of many servers. `{ip}` is the egress's address,
//! `{zone}` a list.

/// Refusals of an egress.
pub const BLOCKS: &[&str] = &[
    "5.7.1 Unfortunately, messages from [{ip}] weren't sent, part of their network is on our block list (S3150)",
    "5.7.606 Access denied, banned sending IP [{ip}]",
    "Your access to this mail system has been rejected due to the sending MTA's poor reputation",
    "5.7.1 Your server {ip} has sent us too much spam and is refused here",
    "IP={ip} - None/bad reputation. Ask your postmaster for help",
    "5.7.1 Client host [{ip}] rejected: listed on our local blacklist",
    "Connection refused, {ip} is banned by our reputation service",
    "5.7.0 Mail from your network is not accepted: abuse was seen in {ip}/24",
    "4.7.0 [TSS04] Messages from {ip} temporarily deferred due to user complaints",
    "5.7.1 The IP {ip} is blocked by our filter, ask for removal on our postmaster page",
    "Access from ip address {ip} blocked",
    "5.7.1 Messages from {ip} are not accepted because of their sending history",
];
/// Refusals that cite a list.
pub const CITES: &[&str] = &[
    "5.7.1 Service unavailable; Client host [{ip}] blocked using {zone}",
    "rejected because {ip} is in a black list at {zone}",
    "JunkMail rejected - [{ip}] is in an RBL: {zone}",
    "5.7.1 Mail from {ip} refused, see {zone}",
];
pub const RATES: &[&str] = &[
    "4.7.0 Too many messages from your host, slow down",
    "Rate limit exceeded, try again later",
    "4.3.2 Connection rate limit exceeded",
];
pub const RATES_FINAL: &[&str] = &[
    "5.7.1 Too many messages per hour, rate limit exceeded",
    "Ip frequency limited",
    "5.4.5 Daily quota of messages exceeded",
];
pub const GREYLISTED: &str = "4.7.1 Greylisted, please try again in 300 seconds";
pub const BUSY: &[&str] = &["4.3.2 Service not available, try again later", "4.3.0 Temporary local problem"];
pub const RESOLVER: &str = "5.7.1 Service unavailable; Client host [{ip}] blocked using zen.spamhaus.org; Error: open resolver; https://www.spamhaus.org/returnc/pub/";
pub const DEAD: &str = "5.7.1 Service unavailable; Client host [{ip}] blocked using dead.list.example";
pub const UNKNOWN: &[&str] = &[
    "5.1.1 User unknown",
    "Requested action not taken: mailbox unavailable",
    "5.1.1 Recipient address rejected: no such user here",
];
