//! Who stands behind an MX host: facts about providers, as data.
//!
//! Microsoft's three families are three providers on purpose: their block lists differ.
//! Begin with [`by_host`].

/// Whether one customer's refusal says something about the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// One reputation engine for all domains behind it.
    Shared,
    /// Each customer has its own lists and settings.
    PerTenant,
}
use Isolation::{PerTenant, Shared};

#[derive(Clone, Copy, Debug)]
pub struct Provider {
    pub id: &'static str,
    pub name: &'static str,
    pub isolation: Isolation,
    /// MX host suffixes; one label may be `*`.
    pub suffixes: &'static [&'static str],
    /// Where an operator asks to be taken off its list; empty if there is no such place.
    pub delist: &'static str,
}

const fn known(
    id: &'static str,
    name: &'static str,
    isolation: Isolation,
    suffixes: &'static [&'static str],
    delist: &'static str,
) -> Provider {
    Provider { id, name, isolation, suffixes, delist }
}

/// The table. Longest suffix wins, so order does not matter.
pub const PROVIDERS: &[Provider] = &[
    known(
        "microsoft-365",
        "Microsoft 365",
        Shared,
        &["mail.protection.outlook.com", "mail.eo.outlook.com"],
        "https://sender.office.com/",
    ),
    known(
        "microsoft-365-dane",
        "Microsoft 365 (mx.microsoft)",
        Shared,
        &["mx.microsoft"],
        "https://sender.office.com/",
    ),
    known(
        "microsoft-consumer",
        "Outlook.com / Hotmail / Live / MSN",
        Shared,
        &["olc.protection.outlook.com", "hotmail.com"],
        "https://sender.office.com/ (support form; SNDS and JMRP membership)",
    ),
    known(
        "google",
        "Gmail and Google Workspace",
        Shared,
        &["google.com", "googlemail.com", "psmtp.com"],
        "https://support.google.com/mail/contact/bulk_send_new",
    ),
    known(
        "yahoo",
        "Yahoo / AOL / AT&T consumer domains",
        Shared,
        &["yahoodns.net", "mx.aol.com", "biz.mail.yahoo.com"],
        "https://senders.yahooinc.com/",
    ),
    known("yahoo-japan", "Yahoo! JAPAN", Shared, &["mail.yahoo.co.jp"], ""),
    known(
        "apple",
        "iCloud Mail",
        Shared,
        &["mail.icloud.com", "me.com.akadns.net"],
        "https://ipcheck.proofpoint.com/",
    ),
    known(
        "proofpoint",
        "Proofpoint",
        Shared,
        &["pphosted.com", "ppe-hosted.com"],
        "https://ipcheck.proofpoint.com/",
    ),
    known("mimecast", "Mimecast", Shared, &["mimecast.com", "mimecast.co.za", "mimecast-offshore.com"], ""),
    known(
        "barracuda",
        "Barracuda Email Gateway / ESS",
        PerTenant,
        &["barracudanetworks.com", "barracuda.net", "cudaops.com"],
        "https://www.barracudacentral.org/rbl/removal-request",
    ),
    known("cisco", "Cisco Secure Email", Shared, &["iphmx.com"], "https://talosintelligence.com/"),
    known(
        "symantec-messagelabs",
        "Symantec/Broadcom Email Security.cloud",
        Shared,
        &["messagelabs.com", "inboundmx.com"],
        "",
    ),
    known(
        "trendmicro",
        "Trend Micro Email Security",
        PerTenant,
        &["trendmicro.com", "trendmicro.eu", "trendmicro.tw"],
        "",
    ),
    known("forcepoint", "Forcepoint", Shared, &["mailcontrol.com"], ""),
    known(
        "hornetsecurity",
        "Hornetsecurity",
        Shared,
        &[
            "hornetsecurity.com",
            "antispameurope.com",
            "spamina.com",
            "everycloudtech.com",
            "everycloudtech.us",
            "mpmailmx.com",
            "mpmailmx.net",
        ],
        "",
    ),
    known("sophos", "Sophos Email / Reflexion", Shared, &["sophos.com", "reflexion.net"], ""),
    known("trellix-fireeye", "FireEye/Trellix ETP", Shared, &["fireeyecloud.com", "fireeyegov.com"], ""),
    known(
        "spamexperts",
        "N-able Mail Assure / SpamExperts",
        PerTenant,
        &["spamexperts.com", "antispamcloud.com", "spamexperts.eu", "spamexperts.net"],
        "",
    ),
    known("retarus", "Retarus", Shared, &["retarus.com", "rmx.de"], ""),
    known(
        "cloudflare",
        "Cloudflare Email Routing / Area 1",
        Shared,
        &["mx.cloudflare.net", "mxrecord.io"],
        "",
    ),
    known("vade-secure", "Vade / Hornetsecurity Vade", Shared, &["vadesecure.com"], ""),
    known(
        "gmx-webde-ionos",
        "United Internet: GMX, web.de, mail.com, IONOS/1&1/kundenserver/perfora",
        Shared,
        &[
            "gmx.net",
            "gmx.com",
            "web.de",
            "mail.com",
            "kundenserver.de",
            "1and1.com",
            "1and1.co.uk",
            "1and1.fr",
            "perfora.net",
            "ionos.com",
        ],
        "https://postmaster.gmx.net/",
    ),
    known("tonline", "Deutsche Telekom / T-Online", Shared, &["t-online.de"], "mail to tosa@rx.t-online.de"),
    known("orange", "Orange / Wanadoo", Shared, &["orange.fr", "wanadoo.fr"], ""),
    known("laposte", "La Poste", Shared, &["laposte.net"], ""),
    known("free-fr", "Free", Shared, &["free.fr"], ""),
    known("sfr", "SFR", Shared, &["sfr.fr"], ""),
    known("bluewin", "Swisscom Bluewin", Shared, &["bluewin.ch"], ""),
    known("kpn", "KPN", Shared, &["kpnmail.nl"], ""),
    known("comcast", "Comcast / Xfinity", Shared, &["comcast.net"], "https://spa.xfinity.com/"),
    known("charter-spectrum", "Charter / Spectrum", Shared, &["charter.net", "mx.a.cloudfilter.net"], ""),
    known("cox", "Cox", Shared, &["cox.net"], ""),
    known("att-prodigy", "AT&T", Shared, &["prodigy.net"], "mail to abuse_rbl@abuse-att.net"),
    known("netvigator", "Netvigator", Shared, &["netvigator.com"], ""),
    known(
        "godaddy",
        "GoDaddy / secureserver.net",
        Shared,
        &["secureserver.net"],
        "https://unblock.secureserver.net/",
    ),
    known("rackspace", "Rackspace Email", Shared, &["emailsrvr.com"], ""),
    known("zoho", "Zoho Mail", Shared, &["zoho.com", "zohomail.com", "zoho.eu", "zoho.in"], ""),
    known(
        "yandex",
        "Yandex Mail and Yandex 360",
        Shared,
        &["mx.yandex.net", "mx.yandex.ru", "yandex.ru", "yandex.net"],
        "",
    ),
    known("mailru", "Mail.ru / VK", Shared, &["mail.ru", "smailru.net"], ""),
    known("ovh", "OVHcloud mail", Shared, &["ovh.net", "mail.ovh.net"], ""),
    known("strato", "Strato", Shared, &["rzone.de"], ""),
    known("gandi", "Gandi", Shared, &["mail.gandi.net"], ""),
    known("one-com", "one.com", Shared, &["one.com"], ""),
    known(
        "hostinger-titan",
        "Hostinger / Titan / Mailhostbox",
        Shared,
        &["titan.email", "hostinger.com", "hostinger.in", "mailhostbox.com"],
        "",
    ),
    known(
        "namecheap",
        "Namecheap PrivateEmail / registrar forwarding",
        Shared,
        &["privateemail.com", "registrar-servers.com", "web-hosting.com"],
        "",
    ),
    known("mxroute", "MXroute", Shared, &["mxroute.com", "mxlogin.com"], "https://esf.mxroute.com/"),
    known("migadu", "Migadu", Shared, &["migadu.com"], ""),
    known("infomaniak", "Infomaniak", Shared, &["infomaniak.ch", "infomaniak.com"], ""),
    known("hostpoint", "Hostpoint", Shared, &["hostpoint.ch", "mail.hostpoint.ch"], ""),
    known("dreamhost", "DreamHost", Shared, &["dreamhost.com"], ""),
    known("fastmail", "Fastmail / Pobox", Shared, &["messagingengine.com", "pobox.com"], ""),
    known("proton", "Proton Mail", Shared, &["protonmail.ch"], ""),
    known("tutanota", "Tuta", Shared, &["tutanota.de"], ""),
    known("mailbox-org", "mailbox.org / Heinlein", Shared, &["mailbox.org"], ""),
    known("posteo", "Posteo", Shared, &["posteo.de"], ""),
    known("amazon", "Amazon SES inbound / WorkMail", PerTenant, &["inbound-smtp.*.amazonaws.com"], ""),
    known("improvmx", "ImprovMX", Shared, &["improvmx.com"], ""),
    known("forwardemail", "Forward Email", Shared, &["forwardemail.net"], ""),
    known("simplelogin", "SimpleLogin", Shared, &["simplelogin.co"], ""),
    known("qq", "Tencent QQ Mail / exmail", Shared, &["qq.com"], ""),
    known(
        "netease",
        "NetEase 163/126/yeah and enterprise",
        Shared,
        &["netease.com", "mxmail.netease.com"],
        "",
    ),
    known("alimail", "Alibaba enterprise mail", Shared, &["mxhichina.com", "aliyun.com"], ""),
    known("docomo", "NTT docomo", Shared, &["docomo.ne.jp"], ""),
    known("kddi-au", "KDDI au / ezweb", Shared, &["ezweb.ne.jp", "msmx.au.com", "au.com"], ""),
    known("softbank", "SoftBank", Shared, &["softbank.ne.jp", "mailsv.softbank.jp"], ""),
    known("rediff", "Rediffmail", Shared, &["rediff.akadns.net", "rediffmailpro.com"], ""),
];

/// The provider of an MX host (lower case, without final dot): the longest suffix that fits.
pub fn by_host(host: &str) -> Option<&'static Provider> {
    PROVIDERS
        .iter()
        .flat_map(|p| p.suffixes.iter().map(move |s| (p, *s)))
        .filter(|(_, suffix)| under(host, suffix))
        .max_by_key(|(_, suffix)| suffix.len())
        .map(|(p, _)| p)
}

pub fn by_id(id: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|p| p.id == id)
}

fn under(host: &str, suffix: &str) -> bool {
    if !suffix.contains('*') {
        return host.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    }
    let mut labels = host.rsplit('.');
    suffix.rsplit('.').all(|want| labels.next().is_some_and(|have| want == "*" || want == have))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_suffix_wins_and_the_three_families_stay_apart() {
        for (host, want) in [
            ("example-com.mail.protection.outlook.com", Some("microsoft-365")),
            ("hotmail-com.olc.protection.outlook.com", Some("microsoft-consumer")),
            ("example-com.a-v1.mx.microsoft", Some("microsoft-365-dane")),
            ("aspmx.l.google.com", Some("google")),
            ("notgoogle.com", None),
            ("inbound-smtp.eu-west-1.amazonaws.com", Some("amazon")),
            ("ec2-1-2-3-4.compute.amazonaws.com", None),
        ] {
            assert_eq!(by_host(host).map(|p| p.id), want, "{host}");
        }
    }

    #[test]
    fn ids_and_suffixes_are_unique() {
        let mut seen = std::collections::BTreeSet::new();
        for p in PROVIDERS {
            assert!(seen.insert(p.id), "{}", p.id);
            assert!(p.suffixes.iter().all(|s| seen.insert(s)), "{}", p.id);
        }
    }
}
