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
use web::page::{escape, html};

use crate::Board;
use crate::act::{Fields, field};
use crate::board::Session;

const COOKIE: &str = "desk";

pub fn router() -> Router<Board> {
    Router::new()
        .route("/desk", get(desk))
        .route("/desk/login", post(login))
        .route("/desk/logout", post(logout))
        .route("/desk/post", post(act))
        .route("/desk/incident", post(act))
        .route("/desk/word", post(act))
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

fn forms(board: &Board, session: &Session) -> String {
    let served = board.files().now();
    let s = &served.snapshot;
    let token = format!("<input type=\"hidden\" name=\"form\" value=\"{}\">", session.form);
    let parts: String = s
        .components
        .iter()
        .filter(|c| c.decides)
        .map(|c| {
            format!(
                "<label><input type=\"checkbox\" name=\"affected\" value=\"{}\"> {}</label><br>",
                escape(&c.id),
                escape(&c.name)
            )
        })
        .collect();
    let stages: String = ["investigating", "identified", "monitoring", "resolved", "postmortem"]
        .iter()
        .map(|k| format!("<option>{k}</option>"))
        .collect();
    let open: String = s
        .incidents
        .iter()
        .take(20)
        .map(|i| format!("<option value=\"{}\">{} {}</option>", i.id, i.id, escape(&i.title)))
        .collect();
    let windows: String = s
        .maintenances
        .iter()
        .filter(|m| m.phase != watch::maintenance::Phase::Completed)
        .map(|m| format!("<option value=\"{}\">{} {}</option>", m.id, m.id, escape(&m.title)))
        .collect();
    let title = "<p><label>Title<br><input name=\"title\" required maxlength=\"200\"></label></p>";
    let text = "<p><label>Text (Markdown)<br><textarea name=\"text\" required></textarea></label></p>";
    format!(
        "<h1>Desk</h1><p>Logged in as {name}.</p>\
         <section><h2>A word on an incident</h2><form method=\"post\" action=\"/desk/word\">{token}<p><label>Incident<br><select name=\"incident\">{open}</select></label></p>\
         <p><label>Stage<br><select name=\"stage\">{stages}</select></label></p>{text}<p><label>Next update in minutes<br><input name=\"next\" inputmode=\"numeric\"></label></p>\
         <p><label>Expected end in minutes<br><input name=\"eta\" inputmode=\"numeric\"></label></p><button>Say it</button></form></section>\
         <section><h2>A new incident</h2><form method=\"post\" action=\"/desk/incident\">{token}{title}{text}<fieldset><legend>Affected</legend>{parts}</fieldset><button>Publish</button></form></section>\
         <section><h2>A post</h2><form method=\"post\" action=\"/desk/post\">{token}{title}{text}<p><label>Tags, with commas<br><input name=\"tags\"></label></p>\
         <p><label>Categories, with commas<br><input name=\"categories\"></label></p><p><label>Series (numbered by the site)<br><input name=\"series\"></label></p>\
         <p><label><input type=\"checkbox\" name=\"note\" value=\"1\"> Knowledge note: found by error text</label></p><button>Post</button></form></section>\
         <section><h2>Planned work</h2><form method=\"post\" action=\"/desk/plan\">{token}{title}{text}<p><label>From (UTC)<br><input name=\"from\" type=\"datetime-local\" required></label></p>\
         <p><label>To (UTC)<br><input name=\"to\" type=\"datetime-local\" required></label></p><fieldset><legend>Affected</legend>{parts}</fieldset><button>Announce</button></form></section>\
         <section><h2>Work is done</h2><form method=\"post\" action=\"/desk/done\">{token}<p><label>Which<br><select name=\"maintenance\">{windows}</select></label></p>{text}<button>Done</button></form></section>\
         <form method=\"post\" action=\"/desk/logout\">{token}<button>Log out</button></form>",
        name = escape(&session.name),
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
