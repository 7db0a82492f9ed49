//! TLS reporting (RFC 8460): where reports go, and the report itself.

use serde_json::{Value, json};
use stdx::Now;

use crate::tags::{Tags, is_blank};

/// Where a domain wants reports: `mailto:` and `https:` URIs of its `_smtp._tls` record. Empty if
/// there is not exactly one record.
pub fn destinations(records: &[String]) -> Vec<String> {
    let mut all = records.iter().filter(|t| t.starts_with("v=TLSRPTv1"));
    let (Some(text), None) = (all.next(), all.next()) else { return Vec::new() };
    let Ok(tags) = Tags::parse(text) else { return Vec::new() };
    if tags.first() != Some(("v", "TLSRPTv1")) {
        return Vec::new();
    }
    let list = tags.get("rua").unwrap_or("").split(',').map(|u| u.trim_matches(is_blank));
    let known = |u: &&str| u.starts_with("mailto:") || u.starts_with("https:");
    list.filter(known).take(10).map(str::to_owned).collect()
}

/// RFC 8460 §4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    StarttlsNotSupported,
    CertificateHostMismatch,
    CertificateExpired,
    CertificateNotTrusted,
    ValidationFailure,
    TlsaInvalid,
    DnssecInvalid,
    DaneRequired,
    StsPolicyFetchError,
    StsPolicyInvalid,
    StsWebpkiInvalid,
}

impl Failure {
    pub const ALL: [Failure; 11] = [
        Failure::StarttlsNotSupported,
        Failure::CertificateHostMismatch,
        Failure::CertificateExpired,
        Failure::CertificateNotTrusted,
        Failure::ValidationFailure,
        Failure::TlsaInvalid,
        Failure::DnssecInvalid,
        Failure::DaneRequired,
        Failure::StsPolicyFetchError,
        Failure::StsPolicyInvalid,
        Failure::StsWebpkiInvalid,
    ];

    pub fn named(name: &str) -> Option<Failure> {
        Failure::ALL.into_iter().find(|f| f.as_str() == name)
    }
    pub const fn as_str(self) -> &'static str {
        match self {
            Failure::StarttlsNotSupported => "starttls-not-supported",
            Failure::CertificateHostMismatch => "certificate-host-mismatch",
            Failure::CertificateExpired => "certificate-expired",
            Failure::CertificateNotTrusted => "certificate-not-trusted",
            Failure::ValidationFailure => "validation-failure",
            Failure::TlsaInvalid => "tlsa-invalid",
            Failure::DnssecInvalid => "dnssec-invalid",
            Failure::DaneRequired => "dane-required",
            Failure::StsPolicyFetchError => "sts-policy-fetch-error",
            Failure::StsPolicyInvalid => "sts-policy-invalid",
            Failure::StsWebpkiInvalid => "sts-webpki-invalid",
        }
    }
}

/// RFC 8460 §4.2: what kind of policy sessions were held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyKind {
    Tlsa,
    Sts,
    NoPolicy,
}

impl PolicyKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            PolicyKind::Tlsa => "tlsa",
            PolicyKind::Sts => "sts",
            PolicyKind::NoPolicy => "no-policy-found",
        }
    }
    pub fn named(name: &str) -> Option<PolicyKind> {
        [PolicyKind::Tlsa, PolicyKind::Sts, PolicyKind::NoPolicy].into_iter().find(|k| k.as_str() == name)
    }
}

/// Failures of one kind with one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureDetail {
    pub failure: Failure,
    pub sending_ip: Option<String>,
    pub mx: Option<String>,
    pub mx_ip: Option<String>,
    pub sessions: u64,
    pub info: Option<String>,
}

/// Sessions under one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyReport {
    pub kind: PolicyKind,
    /// The policy's own lines or records.
    pub text: Vec<String>,
    pub domain: String,
    pub mx_patterns: Vec<String>,
    pub successes: u64,
    pub failures: Vec<FailureDetail>,
}

/// One domain's report for a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub organization: String,
    pub contact: String,
    pub id: String,
    pub from: Now,
    pub until: Now,
    pub policies: Vec<PolicyReport>,
}

impl Report {
    /// RFC 8460 §4: the report as JSON.
    pub fn to_json(&self) -> String {
        let policies: Vec<Value> = self.policies.iter().map(policy_json).collect();
        json!({
            "organization-name": self.organization,
            "date-range": { "start-datetime": self.from.iso(), "end-datetime": self.until.iso() },
            "contact-info": self.contact,
            "report-id": self.id,
            "policies": policies,
        })
        .to_string()
    }
    /// RFC 8460 §5.1: the name of the (gzipped) file.
    pub fn file_name(&self, sender: &str, policy_domain: &str) -> String {
        format!("{sender}!{policy_domain}!{}!{}!{}.json.gz", self.from.secs(), self.until.secs(), self.id)
    }
    /// RFC 8460 §5.3: the subject of the mail that carries it.
    pub fn subject(&self, sender: &str, policy_domain: &str) -> String {
        format!("Report Domain: {policy_domain} Submitter: {sender} Report-ID: <{}>", self.id)
    }
}

fn policy_json(p: &PolicyReport) -> Value {
    let mut policy = json!({ "policy-type": p.kind.as_str(), "policy-domain": p.domain });
    if !p.text.is_empty() {
        policy["policy-string"] = json!(p.text);
    }
    if !p.mx_patterns.is_empty() {
        policy["mx-host"] = json!(p.mx_patterns);
    }
    let failed: u64 = p.failures.iter().map(|f| f.sessions).sum();
    let mut out = json!({
        "policy": policy,
        "summary": { "total-successful-session-count": p.successes, "total-failure-session-count": failed },
    });
    let details: Vec<Value> = p.failures.iter().map(failure_json).collect();
    if !details.is_empty() {
        out["failure-details"] = json!(details);
    }
    out
}

fn failure_json(f: &FailureDetail) -> Value {
    let mut out = json!({ "result-type": f.failure.as_str(), "failed-session-count": f.sessions });
    for (name, value) in [
        ("sending-mta-ip", &f.sending_ip),
        ("receiving-mx-hostname", &f.mx),
        ("receiving-ip", &f.mx_ip),
        ("additional-information", &f.info),
    ] {
        if let Some(value) = value {
            out[name] = json!(value);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_read() {
        let at = |list: &[&str]| destinations(&list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            at(&["v=TLSRPTv1; rua=mailto:a@b.c, https://d.e/f,ftp:x"]),
            ["mailto:a@b.c", "https://d.e/f"]
        );
        assert!(at(&["v=TLSRPTv1; rua=mailto:a@b.c", "v=TLSRPTv1; rua=mailto:a@b.c"]).is_empty());
        assert!(at(&["v=spf1"]).is_empty());
    }

    #[test]
    fn a_report_is_the_json_of_the_standard() {
        let report = Report {
            organization: "Postroad".into(),
            contact: "tls@mail.example".into(),
            id: "1@mail.example".into(),
            from: Now(0),
            until: Now::from_secs(86_399),
            policies: vec![PolicyReport {
                kind: PolicyKind::Sts,
                text: vec!["version: STSv1".into()],
                domain: "far.example".into(),
                mx_patterns: vec!["*.far.example".into()],
                successes: 5,
                failures: vec![FailureDetail {
                    failure: Failure::CertificateExpired,
                    sending_ip: Some("192.0.2.1".into()),
                    mx: Some("mx.far.example".into()),
                    mx_ip: None,
                    sessions: 2,
                    info: None,
                }],
            }],
        };
        let v: Value = serde_json::from_str(&report.to_json()).expect("JSON");
        assert_eq!(v["date-range"]["start-datetime"], "1970-01-01T00:00:00Z");
        assert_eq!(v["policies"][0]["summary"]["total-failure-session-count"], 2);
        assert_eq!(v["policies"][0]["failure-details"][0]["result-type"], "certificate-expired");
        assert_eq!(v["policies"][0]["policy"]["policy-type"], "sts");
        assert_eq!(report.file_name("a", "b"), "a!b!0!86399!1@mail.example.json.gz");
    }
}
