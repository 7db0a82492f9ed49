//! Feedback reports of other providers about our mail (RFC 5965, RFC 6591). Reading only.

use std::net::IpAddr;

use crate::mime::Structure;
use crate::{Head, addresses, ids};

/// What a report says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// `abuse`, `fraud`, `auth-failure`, `not-spam`, …, lower case.
    pub feedback: String,
    pub user_agent: Option<String>,
    pub mail_from: Option<String>,
    pub rcpt_to: Vec<String>,
    pub source_ip: Option<IpAddr>,
    pub reported_domain: Option<String>,
    pub arrived: Option<String>,
    pub envid: Option<String>,
    /// RFC 5965 §3.2: how many messages it stands for.
    pub incidents: u32,
    /// Of the message reported: Message-ID, From and To as far as they were left in.
    pub message_id: Option<String>,
    pub from: Option<String>,
    pub to: Option<String>,
}

/// Reads a report. `None` if the message is none.
pub fn read(data: &[u8], structure: &Structure) -> Option<Report> {
    let mut report: Option<Report> = None;
    for part in structure.parts() {
        let (kind, subtype) = part.content(data).media();
        match (&kind[..], &subtype[..], &mut report) {
            ("message", "feedback-report", None) => {
                let body = crate::transfer::decode(part.encoding, &data[part.body.clone()]);
                report = Some(fields(&body)?);
            }
            ("message", "rfc822" | "global", Some(report)) | ("text", "rfc822-headers", Some(report))
                if report.message_id.is_none() =>
            {
                original(&data[part.body.clone()], report);
            }
            _ => {}
        }
    }
    report
}

fn fields(body: &[u8]) -> Option<Report> {
    let head = Head::parse(body);
    let text = |name: &str| head.text(name).map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
    let address = |t: String| t.trim_matches(['<', '>', ' ']).to_owned();
    Some(Report {
        feedback: text("Feedback-Type")?.to_ascii_lowercase(),
        user_agent: text("User-Agent"),
        mail_from: text("Original-Mail-From").map(address),
        rcpt_to: head.all("Original-Rcpt-To").map(|f| address(f.text())).take(1000).collect(),
        source_ip: text("Source-IP").and_then(|t| t.trim_matches(['[', ']']).parse().ok()),
        reported_domain: text("Reported-Domain"),
        arrived: text("Arrival-Date").or_else(|| text("Received-Date")),
        envid: text("Original-Envelope-Id"),
        incidents: text("Incidents").and_then(|t| t.parse().ok()).unwrap_or(1),
        ..Report::default()
    })
}

fn original(body: &[u8], report: &mut Report) {
    let head = Head::parse(body);
    let first = |name: &str| {
        let field = head.get(name)?;
        addresses::mailboxes(field.raw()).into_iter().next().map(|m| m.address)
    };
    report.message_id = head.get("Message-ID").and_then(|f| ids::one(&f.unfolded()));
    report.from = first("From");
    report.to = first("To");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_read() {
        let mail = b"Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n\
            --b\r\n\r\nThis is a report.\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\n\
            Feedback-Type: Abuse\r\nUser-Agent: Gen/1\r\nVersion: 1\r\nOriginal-Mail-From: <a@x.example>\r\n\
            Original-Rcpt-To: <u@y.example>\r\nSource-IP: 192.0.2.1\r\nIncidents: 3\r\n\r\n\
            --b\r\nContent-Type: message/rfc822\r\n\r\nFrom: A <a@x.example>\r\nMessage-ID: <1@x>\r\n\r\nbuy\r\n--b--\r\n";
        let report = read(mail, &Structure::of(mail)).expect("a report");
        assert_eq!(report.feedback, "abuse");
        assert_eq!(report.mail_from.as_deref(), Some("a@x.example"));
        assert_eq!(report.rcpt_to, ["u@y.example"]);
        assert_eq!(report.source_ip, "192.0.2.1".parse().ok());
        assert_eq!(report.incidents, 3);
        assert_eq!(report.message_id.as_deref(), Some("1@x"));
        assert_eq!(report.from.as_deref(), Some("a@x.example"));
        let other = b"Subject: x\r\n\r\nhello";
        assert_eq!(read(other, &Structure::of(other)), None);
    }
}
