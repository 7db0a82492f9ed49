//! The operator's desk: posting from a phone page or by API, also when the mail host is dead.

use axum::Router;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use statuspage::shell;
use store::StoreError;
use web::axum;
use web::page::escape;

use crate::Board;
use crate::act::{Fields, field};
use crate::board::Session;
use crate::http::html;

const COOKIE: &str = "desk";

pub fn router() -> Router<Board> {
    Router::new()
        .route("/desk", get(desk))
        .route("/desk/login", post(login))
        .route("/desk/logout", post(logout))
        .route("/desk/post", post(act))
        .route("/desk/incident", post(act))
        .route("/desk/word", post(act))
        .route("/desk/update", post(act))
        .route("/desk/plan", post(act))
        .route("/desk/done", post(act))
        .route("/api/desk", post(api))
}

fn session(board: &Board, headers: &HeaderMap) -> Option<Session> {
    let cookies = headers.get(header::COOKIE)?.to_str().ok()?;
    let token = cookies.split(';').find_map(|c| c.trim().strip_prefix("desk="))?;
    board.session(token)
}

fn page(board: &Board, title: &str, text: &str) -> Response {
    html(shell::page(&board.files().now().snapshot, title, "/desk", text))
}

async fn desk(State(board): State<Board>, headers: HeaderMap) -> Response {
    let Some(session) = session(&board, &headers) else {
        return page(
            &board,
            "Desk",
            "<h1>Desk</h1><form method=\"post\" action=\"/desk/login\"><p><label>Name<br><input name=\"name\" autocomplete=\"username\" required></label></p>\
             <p><label>Password<br><input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label></p><button>Log in</button></form>",
        );
    };
    page(&board, "Desk", &forms(&board, &session))
}

fn options<'a>(rows: impl Iterator<Item = (i64, &'a str)>) -> String {
    rows.map(|(id, title)| format!("<option value=\"{id}\">{id} {}</option>", escape(title))).collect()
}

/// A form that folds away; on a phone each is one screen.
fn folded(id: &str, title: &str, open: bool, form: &str) -> String {
    let open = if open { " open" } else { "" };
    format!("<details class=\"card\" id=\"{id}\"{open}><summary>{title}</summary>{form}</details>")
}

fn boxes(s: &statuspage::Snapshot, name: &str, legend: &str) -> String {
    let boxes: String = s
        .components
        .iter()
        .filter(|c| c.decides)
        .map(|c| {
            format!(
                "<label class=\"check\"><input type=\"checkbox\" name=\"{name}\" value=\"{}\"> {}</label>",
                escape(&c.id),
                escape(&c.name)
            )
        })
        .collect();
    format!("<fieldset><legend>{legend}</legend>{boxes}</fieldset>")
}

const TITLE: &str = "<p><label>Title<br><input name=\"title\" required maxlength=\"200\"></label></p>";
const TEXT: &str = "<p><label>Text (Markdown)<br><textarea name=\"text\" required></textarea></label></p>";
const PROMISES: &str = "<p><label>Next update in minutes<br><input name=\"next\" inputmode=\"numeric\"></label></p><p><label>Expected end in minutes<br><input name=\"eta\" inputmode=\"numeric\"></label></p>";

fn forms(board: &Board, session: &Session) -> String {
    let served = board.files().now();
    let s = &served.snapshot;
    let form = |what: &str, fields: &str, button: &str| {
        format!(
            "<form method=\"post\" action=\"/desk/{what}\"><input type=\"hidden\" name=\"form\" value=\"{}\">{fields}<p><button>{button}</button></p></form>",
            session.form
        )
    };
    let affected = boxes(s, "affected", "Affected") + &boxes(s, "not_affected", "Said to be not affected");
    let mut out = format!("<h1>Desk</h1><p>Logged in as {}.</p>", escape(&session.name));
    let is_open = s.incidents.iter().any(|i| i.stage.is_open());
    out.push_str(&folded("word", "A word on an incident", is_open, &form("word", &word_fields(s), "Say it")));
    let fields = format!("{TITLE}{TEXT}{PROMISES}{affected}");
    out.push_str(&folded("new-incident", "A new incident", !is_open, &form("incident", &fields, "Publish")));
    let fields = format!(
        "{TITLE}{TEXT}<p><label>Tags, with commas<br><input name=\"tags\"></label></p><p><label>Categories, with commas<br><input name=\"categories\"></label></p>\
         <p><label>Series (numbered by the site)<br><input name=\"series\"></label></p><label class=\"check\"><input type=\"checkbox\" name=\"note\" value=\"1\"> Knowledge note: found by error text</label>"
    );
    out.push_str(&folded("new-post", "A post", false, &form("post", &fields, "Post")));
    let posts = options(s.posts.iter().take(30).map(|p| (p.id, p.title.as_str())));
    let fields = format!("<p><label>Post<br><select name=\"post\">{posts}</select></label></p>{TEXT}");
    out.push_str(&folded("update", "An update to a post", false, &form("update", &fields, "Add it")));
    let fields = format!(
        "{TITLE}{TEXT}<p><label>From (UTC)<br><input name=\"from\" type=\"datetime-local\" required></label></p><p><label>To (UTC)<br><input name=\"to\" type=\"datetime-local\" required></label></p>{affected}"
    );
    out.push_str(&folded("plan", "Planned work", false, &form("plan", &fields, "Announce")));
    let open = s.maintenances.iter().filter(|m| m.phase != watch::maintenance::Phase::Completed);
    let windows = options(open.map(|m| (m.id, m.title.as_str())));
    let fields =
        format!("<p><label>Which<br><select name=\"maintenance\">{windows}</select></label></p>{TEXT}");
    out.push_str(&folded("done", "Work is done", false, &form("done", &fields, "Done")));
    for i in s.incidents.iter().filter(|i| i.postmortem_due.is_some() && !i.postmortem_done).take(5) {
        out.push_str(&owed(board, i, &form));
    }
    out + &form("logout", "", "Log out")
}

fn word_fields(s: &statuspage::Snapshot) -> String {
    let stages: String = ["investigating", "identified", "monitoring", "resolved", "postmortem"]
        .iter()
        .map(|k| format!("<option>{k}</option>"))
        .collect();
    let incidents = options(s.incidents.iter().take(20).map(|i| (i.id, i.title.as_str())));
    format!(
        "<p><label>Incident<br><select name=\"incident\">{incidents}</select></label></p><p><label>Stage<br><select name=\"stage\">{stages}</select></label></p>{TEXT}{PROMISES}"
    )
}

/// A post-mortem that is owed, drafted from its timeline.
fn owed(board: &Board, i: &statuspage::model::Incident, form: &dyn Fn(&str, &str, &str) -> String) -> String {
    let draft = board.postmortem_draft(i.id).unwrap_or_default();
    let due = stdx::Now(i.postmortem_due.unwrap_or_default());
    let late = if due < board.now() { " <span class=\"late\">late</span>" } else { "" };
    let fields = format!(
        "<p>Promised by {}.{late}</p><input type=\"hidden\" name=\"incident\" value=\"{}\"><input type=\"hidden\" name=\"stage\" value=\"postmortem\">\
         <p><label>Text (Markdown)<br><textarea name=\"text\" rows=\"18\" required>{}</textarea></label></p>",
        watch::zones::utc(due),
        i.id,
        escape(&draft)
    );
    folded(
        &format!("owed-{}", i.id),
        &format!("Post-mortem: {}", escape(&i.title)),
        false,
        &form("word", &fields, "Publish"),
    )
}

#[derive(Deserialize)]
struct Login {
    name: String,
    password: String,
}

async fn login(State(board): State<Board>, Form(login): Form<Login>) -> Response {
    match board.log_in(&login.name, &login.password).await {
        Some(session) => {
            let secure = if board.settings().site.url.starts_with("https:") { "; Secure" } else { "" };
            let cookie = format!(
                "{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200{secure}",
                session.token
            );
            ([(header::SET_COOKIE, cookie)], Redirect::to("/desk")).into_response()
        }
        None => (
            StatusCode::FORBIDDEN,
            page(
                &board,
                "Desk",
                "<h1>Desk</h1><p>That name and password do not fit. <a href=\"/desk\">Again</a></p>",
            ),
        )
            .into_response(),
    }
}

async fn logout(State(board): State<Board>, headers: HeaderMap, Form(fields): Form<Fields>) -> Response {
    if let Some(session) = session(&board, &headers).filter(|s| s.form == field(&fields, "form")) {
        board.log_out(&session.token);
    }
    Redirect::to("/desk").into_response()
}

async fn act(
    State(board): State<Board>,
    headers: HeaderMap,
    uri: axum::http::Uri,
    Form(fields): Form<Fields>,
) -> Response {
    let Some(session) = session(&board, &headers).filter(|s| s.form == field(&fields, "form")) else {
        return (
            StatusCode::FORBIDDEN,
            page(&board, "Desk", "<p>Please <a href=\"/desk\">log in</a> first.</p>"),
        )
            .into_response();
    };
    let what = uri.path().rsplit('/').next().unwrap_or("").to_owned();
    match board.act(&what, &fields, session.name).await {
        Ok(said) => page(
            &board,
            "Desk",
            &format!(
                "<h1>Done</h1><p>{}</p><p><a href=\"/\">The page</a> · <a href=\"/desk\">Desk</a></p>",
                escape(&said)
            ),
        ),
        Err(why) => (
            StatusCode::UNPROCESSABLE_ENTITY,
            page(
                &board,
                "Desk",
                &format!(
                    "<h1>Not done</h1><p>{}</p><p>Go back: what you wrote is still there.</p>",
                    escape(&why.to_string())
                ),
            ),
        )
            .into_response(),
    }
}

/// The same by API: `POST /api/desk` with a token (`Authorization: Bearer …`) or HTTP Basic, and a
/// form whose `do` is one of the things [`Board::act`] knows.
async fn api(State(board): State<Board>, headers: HeaderMap, Form(fields): Form<Fields>) -> Response {
    let author = match author(&board, &headers).await {
        Ok(Some(author)) => author,
        Ok(None) => {
            return (
                StatusCode::UNAUTHORIZED,
                [(header::WWW_AUTHENTICATE, "Bearer, Basic realm=\"desk\"")],
                "a token (Authorization: Bearer …), or a name and password that fit, are wanted\n",
            )
                .into_response();
        }
        Err(why) => return (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    };
    match board.act(field(&fields, "do"), &fields, author).await {
        Ok(said) => format!("{said}\n").into_response(),
        Err(why) => (StatusCode::UNPROCESSABLE_ENTITY, format!("{why}\n")).into_response(),
    }
}

/// Who asks: the owner of a token, or an operator by his password.
async fn author(board: &Board, headers: &HeaderMap) -> Result<Option<String>, StoreError> {
    let value = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or("");
    if let Some(token) = value.strip_prefix("Bearer ") {
        return board.token_owner(token.trim()).await;
    }
    let Some((name, password)) = crate::http::basic_login(headers) else { return Ok(None) };
    Ok(board.is_operator(&name, &password).await.then_some(name))
}
