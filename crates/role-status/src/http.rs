//! What the status host answers: the plain files, search, subscriptions, parcels, and the desk.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Form, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use drive::Wires;
use serde::Deserialize;
use statuspage::files::file_path;
use statuspage::{archive, shell};
use web::axum;
use web::page::{answer, escape};
use world::Connection;

use crate::ingest::Taken;
use crate::subscribe::Channel;
use crate::{Board, desk};

pub async fn serve(router: Router, connection: Connection, wires: Wires) {
    let Some(connection) = drive::tls::accept(connection, &wires).await else { return };
    drive::until_stop(&wires.stop, web::serve(connection, router, web::Limits::default())).await;
}

pub fn router(board: Board) -> Router {
    Router::new()
        .route("/search", get(search))
        .route("/subscribe", get(subscribe_form).post(subscribe))
        .route("/subscribe/push", post(crate::push::subscribe))
        .route("/push.js", get(crate::push::script))
        .route("/sw.js", get(crate::push::worker))
        .route("/subscribe/yes/{token}", get(confirm))
        .route("/subscribe/leave/{token}", get(leave_form).post(leave))
        .route("/link", post(take).layer(DefaultBodyLimit::max(link::parcel::PARCEL_BYTES_MAX)))
        .route("/healthz", get(|| async { "ok\n" }))
        .merge(desk::router())
        .fallback(file)
        .layer(DefaultBodyLimit::max(512 * 1024))
        .with_state(board)
}

/// A file of the site, with its tag: a reader who has it gets 304 and no body.
async fn file(State(board): State<Board>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let served = board.files().now();
    let wanted = request.uri().path_and_query().map_or(path.clone(), ToString::to_string);
    if let Some(to) = served.snapshot.redirects.get(&wanted).or_else(|| served.snapshot.redirects.get(&path))
    {
        return (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, to.clone())]).into_response();
    }
    let Some(file) = served.files.get(&file_path(&path)) else {
        // `/tag/x` without its slash.
        if served.files.contains_key(&file_path(&format!("{path}/"))) {
            return Redirect::permanent(&format!("{path}/")).into_response();
        }
        let text = "<h1>Not here</h1><p>There is no such page. <a href=\"/\">The state of things</a> or <a href=\"/archive/\">all posts</a>?</p>";
        return (StatusCode::NOT_FOUND, html(shell::page(&served.snapshot, "Not here", &path, text)))
            .into_response();
    };
    let known = request.headers().get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    if known.is_some_and(|k| k.split(',').any(|t| t.trim() == file.tag)) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    let mut response = with_policy(answer(file.kind, String::new()));
    *response.body_mut() = axum::body::Body::from(Bytes::from_owner(file.bytes.clone()));
    if let Ok(tag) = header::HeaderValue::from_str(&file.tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    // Fresh at each look: a status that is a minute old is a lie.
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache"));
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, header::HeaderValue::from_static("*"));
    response
}

/// Our one script may run, nothing else: what an author or an import brought in has been cleaned.
const POLICY: header::HeaderValue = header::HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
);

/// A page of this site.
pub(crate) fn html(text: String) -> Response {
    with_policy(answer("text/html; charset=utf-8", text))
}

fn with_policy(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, POLICY);
    response
}

#[derive(Debug, Deserialize)]
struct Asked {
    #[serde(default)]
    q: String,
}

/// Longest query looked at, characters.
const QUERY_CHARS_MAX: usize = 4000;

async fn search(State(board): State<Board>, Query(asked): Query<Asked>) -> Response {
    let query: String = asked.q.chars().take(QUERY_CHARS_MAX).collect();
    html(archive::search_page(&board.files().now().snapshot, &query))
}

async fn take(State(board): State<Board>, bytes: Bytes) -> Response {
    match board.take(bytes.to_vec()).await {
        Ok(Taken::Facts(n)) => format!("taken {n}\n").into_response(),
        Ok(Taken::Again) => "taken before\n".into_response(),
        Ok(Taken::Refused(why)) => (StatusCode::FORBIDDEN, format!("{why}\n")).into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

fn say(board: &Board, title: &str, text: &str) -> Response {
    let served = board.files().now();
    html(shell::page(
        &served.snapshot,
        title,
        "/subscribe",
        &format!("<h1>{}</h1><p>{text}</p>", escape(title)),
    ))
}

async fn subscribe_form(State(board): State<Board>) -> Response {
    let served = board.files().now();
    let boxes: String = served
        .snapshot
        .components
        .iter()
        .filter(|c| c.decides)
        .map(|c| {
            format!(
                "<label class=\"check\"><input type=\"checkbox\" name=\"c\" value=\"{}\"> {}</label>",
                escape(&c.id),
                escape(&c.name)
            )
        })
        .collect();
    let text = format!(
        "<h1>Subscribe</h1><p>Mail when something happens, to an address that is not kept here if you can: your own mail may be what is broken.</p>\
         <form method=\"post\" action=\"/subscribe\"><p><label for=\"address\">Your address, or a web-hook (https://…)</label><br><input id=\"address\" name=\"address\" required maxlength=\"1000\"></p>\
         <fieldset><legend>About (none chosen: everything)</legend>{boxes}</fieldset>\
         <fieldset><legend>What</legend><label class=\"check\"><input type=\"checkbox\" name=\"k\" value=\"incidents\" checked> Incidents</label>\
         <label class=\"check\"><input type=\"checkbox\" name=\"k\" value=\"maintenance\" checked> Maintenance</label><label class=\"check\"><input type=\"checkbox\" name=\"k\" value=\"posts\" checked> Posts</label></fieldset>\
         <p><button>Subscribe</button></p></form>{push}<p>Or without an address: <a href=\"/feed.rss\">RSS</a>, <a href=\"/feed.atom\">Atom</a>, <a href=\"/maintenance.ics\">calendar</a>.</p>",
        push = crate::push::offer(&board)
    );
    html(shell::page(&served.snapshot, "Subscribe", "/subscribe", &text))
}

async fn subscribe(State(board): State<Board>, Form(fields): Form<Vec<(String, String)>>) -> Response {
    let all = |name: &str| -> String {
        fields
            .iter()
            .filter(|(k, v)| k == name && v != "desk")
            .map(|(_, v)| v.replace(' ', ""))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let address = fields.iter().find(|(k, _)| k == "address").map_or("", |(_, v)| v.trim());
    let channel = if address.starts_with("http") { Channel::WebHook } else { Channel::Mail };
    match board.subscribe(channel, address, &all("c"), &all("k")).await {
        Ok(()) => say(
            &board,
            "Nearly done",
            "We have sent a link to that address. Open it, and you are subscribed.",
        ),
        Err(why) => say(&board, "That did not work", &escape(&why.to_string())),
    }
}

async fn confirm(State(board): State<Board>, Path(token): Path<String>) -> Response {
    match board.confirm(&token).await {
        Ok(true) => say(&board, "Subscribed", "Thank you. Every notice carries a link to leave."),
        Ok(false) => say(
            &board,
            "Unknown link",
            "This link is not known (any more). <a href=\"/subscribe\">Subscribe again</a>?",
        ),
        Err(why) => say(&board, "That did not work", &escape(&why.to_string())),
    }
}

/// Mail programs and scanners open links by themselves: leaving takes a POST (RFC 8058).
async fn leave_form(State(board): State<Board>, Path(token): Path<String>) -> Response {
    let form = format!(
        "<form method=\"post\" action=\"/subscribe/leave/{}\"><button>Leave</button></form>",
        escape(&token)
    );
    say(&board, "Leave", &form)
}

async fn leave(State(board): State<Board>, Path(token): Path<String>) -> Response {
    match board.leave(&token).await {
        Ok(_) => say(&board, "Gone", "You will hear nothing more."),
        Err(why) => say(&board, "That did not work", &escape(&why.to_string())),
    }
}

/// Name and password of an API call (HTTP Basic).
pub(crate) fn basic_login(headers: &HeaderMap) -> Option<(String, String)> {
    use base64::Engine as _;
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(base64::engine::general_purpose::STANDARD.decode(value).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}
