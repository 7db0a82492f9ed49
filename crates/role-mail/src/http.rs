//! What this host answers over HTTP: set-up for mail programs, the MTA-STS policy, health and
//! counters. Pages for people live in fronts of their own.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use drive::Wires;
use web::axum;
use web::page::{answer, escape};
use world::Connection;

use crate::Site;
use crate::peers::{self, Taken};

/// Bodies of requests are small here: an Autodiscover question.
const BODY_BYTES_MAX: usize = 64 * 1024;

pub async fn serve(site: Site, connection: Connection, wires: Wires) {
    let Some(connection) = drive::tls::accept(connection, &wires).await else { return };
    drive::until_stop(&wires.stop, web::serve(connection, router(site), web::Limits::default())).await;
}

pub fn router(site: Site) -> Router {
    Router::new()
        .route("/", get(front_page))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
        .route("/.well-known/autoconfig/mail/config-v1.1.xml", get(autoconfig))
        .route("/mail/config-v1.1.xml", get(autoconfig))
        .route("/autodiscover/autodiscover.xml", post(autodiscover))
        .route("/Autodiscover/Autodiscover.xml", post(autodiscover))
        .route("/apple.mobileconfig", get(mobileconfig))
        .route("/.well-known/mta-sts.txt", get(mta_sts))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .route("/link", post(link_in).layer(DefaultBodyLimit::max(link::parcel::PARCEL_BYTES_MAX)))
        .with_state(site)
}

async fn front_page(State(site): State<Site>) -> Response {
    let name = escape(&site.settings().host_name);
    web::page::html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{name}</title><link rel=\"icon\" href=\"data:,\"><style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem;\
         color-scheme:light dark}}table{{border-collapse:collapse}}td{{padding:.2rem 1rem .2rem 0}}</style>\
         <h1>{name}</h1><p>This is a mail host. Settings for a mail program:</p><table>\
         <tr><td>Incoming (IMAP)<td>{name}<td>993, SSL/TLS\
         <tr><td>Incoming (POP3)<td>{name}<td>995, SSL/TLS\
         <tr><td>Outgoing (SMTP)<td>{name}<td>465, SSL/TLS<tr><td>User name<td colspan=2>your whole e-mail address</table>\
         <p>On an iPhone or Mac, open <code>/apple.mobileconfig?email=</code><i>your address</i> here; most other programs \
         find these settings by themselves.</html>"
    ))
}

#[derive(Debug, Default)]
struct Asked {
    email: String,
}

impl Asked {
    fn new(pairs: &[(String, String)]) -> Asked {
        let email = pairs.iter().find(|(k, _)| k == "emailaddress" || k == "email").map(|(_, v)| v.clone());
        Asked { email: email.unwrap_or_default() }
    }
    fn domain(&self) -> &str {
        self.email.rsplit_once('@').map_or("", |(_, d)| d)
    }
}

/// Mozilla's autoconfig format, as Thunderbird and many others read it.
async fn autoconfig(State(site): State<Site>, Query(pairs): Query<Vec<(String, String)>>) -> Response {
    let asked = Asked::new(&pairs);
    let host = escape(&site.settings().host_name);
    let domain = escape(if asked.domain().is_empty() { &host } else { asked.domain() });
    let server = |tag: &str, kind: &str, port: u16, socket: &str| {
        format!(
            "<{tag} type=\"{kind}\"><hostname>{host}</hostname><port>{port}</port><socketType>{socket}</socketType>\
             <authentication>password-cleartext</authentication><username>%EMAILADDRESS%</username></{tag}>"
        )
    };
    let servers = [
        server("incomingServer", "imap", 993, "SSL"),
        server("incomingServer", "imap", 143, "STARTTLS"),
        server("incomingServer", "pop3", 995, "SSL"),
        server("outgoingServer", "smtp", 465, "SSL"),
        server("outgoingServer", "smtp", 587, "STARTTLS"),
    ]
    .concat();
    answer(
        "application/xml; charset=utf-8",
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<clientConfig version=\"1.1\"><emailProvider id=\"{domain}\">\
             <domain>{domain}</domain><displayName>{domain}</displayName><displayShortName>{domain}</displayShortName>\
             {servers}</emailProvider></clientConfig>\n"
        ),
    )
}

/// Outlook's Autodiscover (the plain XML form).
async fn autodiscover(State(site): State<Site>, body: String) -> Response {
    let email = between(&body, "<EMailAddress>", "</EMailAddress>");
    if !email.contains('@') {
        return (StatusCode::BAD_REQUEST, "the request names no EMailAddress\n").into_response();
    }
    let (host, email) = (escape(&site.settings().host_name), escape(email));
    let protocol = |kind: &str, port: u16| {
        format!(
            "<Protocol><Type>{kind}</Type><Server>{host}</Server><Port>{port}</Port><LoginName>{email}</LoginName>\
             <DomainRequired>off</DomainRequired><SPA>off</SPA><SSL>on</SSL><AuthRequired>on</AuthRequired></Protocol>"
        )
    };
    let protocols = [protocol("IMAP", 993), protocol("POP3", 995), protocol("SMTP", 465)].concat();
    answer(
        "application/xml; charset=utf-8",
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
             <Autodiscover xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006\">\
             <Response xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a\">\
             <Account><AccountType>email</AccountType><Action>settings</Action>{protocols}</Account></Response></Autodiscover>\n"
        ),
    )
}

fn between<'a>(text: &'a str, open: &str, close: &str) -> &'a str {
    let Some((_, rest)) = text.split_once(open) else { return "" };
    rest.split_once(close).map_or("", |(inner, _)| inner.trim())
}

/// A configuration profile for Apple's programs.
async fn mobileconfig(State(site): State<Site>, Query(pairs): Query<Vec<(String, String)>>) -> Response {
    let asked = Asked::new(&pairs);
    if asked.domain().is_empty() {
        return (StatusCode::BAD_REQUEST, "say whose: /apple.mobileconfig?email=you@example.org\n")
            .into_response();
    }
    let (host, email) = (escape(&site.settings().host_name), escape(&asked.email));
    let id = format!("postroad.{}", escape(&asked.email.replace('@', ".")));
    let uuid = |n: u8| profile_uuid(&asked.email, n);
    let text = |key: &str, value: &str| format!("<key>{key}</key><string>{value}</string>");
    let number = |key: &str, value: u16| format!("<key>{key}</key><integer>{value}</integer>");
    let server = |way: &str, port: u16| {
        [
            text(&format!("{way}MailServerAuthentication"), "EmailAuthPassword"),
            text(&format!("{way}MailServerHostName"), &host),
            number(&format!("{way}MailServerPortNumber"), port),
            format!("<key>{way}MailServerUseSSL</key><true/>"),
            text(&format!("{way}MailServerUsername"), &email),
        ]
        .concat()
    };
    let account = [
        text("EmailAccountType", "EmailTypeIMAP"),
        text("EmailAddress", &email),
        text("EmailAccountDescription", &email),
        server("Incoming", 993),
        server("Outgoing", 465),
        "<key>OutgoingPasswordSameAsIncomingPassword</key><true/>".into(),
        text("PayloadType", "com.apple.mail.managed"),
        text("PayloadIdentifier", &format!("{id}.mail")),
        text("PayloadUUID", &uuid(1)),
        number("PayloadVersion", 1),
    ]
    .concat();
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
         \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\"><dict><key>PayloadContent</key><array>\
         <dict>{account}</dict></array>{}{}{}{}{}</dict></plist>\n",
        text("PayloadDisplayName", &format!("Mail for {email}")),
        text("PayloadIdentifier", &id),
        text("PayloadType", "Configuration"),
        text("PayloadUUID", &uuid(0)),
        number("PayloadVersion", 1)
    );
    answer("application/x-apple-aspen-config; charset=utf-8", text)
}

/// The same address gives the same profile, so that a second download replaces the first.
fn profile_uuid(email: &str, n: u8) -> String {
    let mut h: u128 = 0x6C62_272E_07BB_0142_62B8_2175_6295_C58D;
    for b in email.bytes().chain([n]) {
        h = (h ^ u128::from(b)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013B);
    }
    let x = format!("{h:032X}");
    format!("{}-{}-{}-{}-{}", &x[..8], &x[8..12], &x[12..16], &x[16..20], &x[20..])
}

/// RFC 8461 §3.2: the policy of the domain whose `mta-sts.` name was asked for.
async fn mta_sts(State(site): State<Site>) -> Response {
    let host = site.settings().host_name.clone();
    answer(
        "text/plain; charset=utf-8",
        format!("version: STSv1\r\nmode: testing\r\nmx: {host}\r\nmax_age: 604800\r\n"),
    )
}

/// A parcel of another host of ours.
async fn link_in(State(site): State<Site>, bytes: Bytes) -> Response {
    match peers::take(&site, bytes.to_vec()).await {
        Ok(Taken::Facts(n)) => format!("taken {n}\n").into_response(),
        Ok(Taken::Again) => "taken before\n".into_response(),
        Ok(Taken::Refused(why)) => (StatusCode::FORBIDDEN, format!("{why}\n")).into_response(),
        Err(why) => {
            tracing::error!(%why, "a parcel cannot be kept");
            (StatusCode::SERVICE_UNAVAILABLE, "The store cannot be used now; send it again later.\n")
                .into_response()
        }
    }
}

/// Prometheus' text format.
async fn metrics(State(site): State<Site>) -> Response {
    let mut response = answer("text/plain; version=0.0.4; charset=utf-8", crate::figures::print(&site).await);
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_question() {
        assert_eq!(
            between("<a><EMailAddress> b@c.example </EMailAddress></a>", "<EMailAddress>", "</EMailAddress>"),
            "b@c.example"
        );
        assert_eq!(between("<EMailAddress>", "<EMailAddress>", "</EMailAddress>"), "");
    }

    #[test]
    fn the_same_address_has_the_same_profile() {
        assert_eq!(profile_uuid("a@b.example", 0), profile_uuid("a@b.example", 0));
        assert_ne!(profile_uuid("a@b.example", 0), profile_uuid("a@b.example", 1));
        assert_eq!(profile_uuid("a@b.example", 0).len(), 36);
    }
}
