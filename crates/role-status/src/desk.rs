//! The operator's desk: posting from a phone page or by API, also when the mail host is dead.

use axum::Router;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use statuspage::shell;
use stdx::{Now, Span};
use store::StoreError;
use watch::incident::Stage;
use web::axum;
use web::page::{escape, html};

use crate::Board;
use crate::board::Session;
use crate::say::{NewIncident, NewPost, NewWindow, Word};

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
    // The hash is slow on purpose: not on a thread that serves others.
    let asked = board.clone();
    let opened =
        tokio::task::spawn_blocking(move || asked.log_in(&login.name, &login.password)).await.ok().flatten();
    match opened {
        Some(session) => {
            let cookie =
                format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200", session.token);
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

type Fields = Vec<(String, String)>;

fn field<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.iter().find(|(k, _)| k == name).map_or("", |(_, v)| v.trim())
}

fn all(fields: &Fields, name: &str) -> Vec<String> {
    fields.iter().filter(|(k, _)| k == name).map(|(_, v)| v.clone()).collect()
}

fn list(fields: &Fields, name: &str) -> Vec<String> {
    field(fields, name).split(',').map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect()
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
    match carry_out(&board, &what, &fields, session.name).await {
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

/// The same by API: `POST /api/desk` with HTTP Basic and a form whose `do` is post, incident, word,
/// plan or done.
async fn api(State(board): State<Board>, headers: HeaderMap, Form(fields): Form<Fields>) -> Response {
    let Some((name, password)) = crate::http::basic_login(&headers) else {
        return (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, "Basic realm=\"desk\"")],
            "name and password wanted\n",
        )
            .into_response();
    };
    let asked = board.clone();
    let known = tokio::task::spawn_blocking(move || asked.log_in(&name, &password)).await.ok().flatten();
    let Some(session) = known else {
        return (StatusCode::FORBIDDEN, "that name and password do not fit\n").into_response();
    };
    board.log_out(&session.token);
    match carry_out(&board, field(&fields, "do"), &fields, session.name).await {
        Ok(said) => format!("{said}\n").into_response(),
        Err(why) => (StatusCode::UNPROCESSABLE_ENTITY, format!("{why}\n")).into_response(),
    }
}

fn number(fields: &Fields, name: &str) -> Result<i64, StoreError> {
    field(fields, name).parse().map_err(|_| StoreError::Rule(format!("\"{name}\" must be a number")))
}

/// Minutes from now, if any are given.
fn minutes(fields: &Fields, name: &str, now: Now) -> Result<Option<Now>, StoreError> {
    if field(fields, name).is_empty() {
        return Ok(None);
    }
    let n = u64::try_from(number(fields, name)?)
        .map_err(|_| StoreError::Rule(format!("\"{name}\" must not be negative")))?;
    Ok(Some(now + Span::mins(n.min(60 * 24 * 60))))
}

/// `2026-11-22T14:00`, UTC.
pub(crate) fn moment(text: &str) -> Option<Now> {
    let (date, clock) = text.trim().trim_end_matches('Z').split_once(['T', ' '])?;
    let mut ymd = date.split('-');
    let (y, m, d) = (ymd.next()?.parse().ok()?, ymd.next()?.parse().ok()?, ymd.next()?.parse().ok()?);
    let mut hm = clock.split(':').map(|n| n.parse::<u64>().ok());
    let (hour, minute) = (hm.next()??, hm.next()??);
    if !(1..=12).contains(&m) || !(1..=31).contains(&d) || hour > 23 || minute > 59 {
        return None;
    }
    let days = u64::try_from(stdx::time::days_from_civil(y, m, d)).ok()?;
    Some(Now::from_secs(days * 86_400 + hour * 3600 + minute * 60))
}

async fn carry_out(board: &Board, what: &str, fields: &Fields, author: String) -> Result<String, StoreError> {
    let now = board.now();
    let (title, text) = (field(fields, "title").to_owned(), field(fields, "text").to_owned());
    let time = |name: &str| {
        moment(field(fields, name)).ok_or_else(|| {
            StoreError::Rule(format!("\"{name}\" must be a time in UTC like 2026-11-22T14:00"))
        })
    };
    match what {
        "post" => {
            let series = Some(field(fields, "series").to_owned()).filter(|s| !s.is_empty());
            let note = !field(fields, "note").is_empty();
            let new = NewPost {
                title,
                text,
                author,
                categories: list(fields, "categories"),
                tags: list(fields, "tags"),
                series,
                note,
            };
            Ok(format!("Posted at {}", board.post(new).await?))
        }
        "incident" => {
            let stage = Stage::from_key(field(fields, "stage")).unwrap_or(Stage::Investigating);
            let impact =
                Some(field(fields, "impact")).filter(|i| !i.is_empty()).unwrap_or("major").to_owned();
            let (next_update, eta) = (minutes(fields, "next", now)?, minutes(fields, "eta", now)?);
            let (affected, not_affected) = (all(fields, "affected"), all(fields, "not_affected"));
            let new =
                NewIncident { title, text, author, stage, impact, affected, not_affected, next_update, eta };
            Ok(format!("Incident {} is public", board.open_incident(new).await?))
        }
        "word" => {
            let incident = number(fields, "incident")?;
            let (next_update, eta) = (minutes(fields, "next", now)?, minutes(fields, "eta", now)?);
            let stage = Stage::from_key(field(fields, "stage"));
            board.word(Word { incident, text, author, stage, next_update, eta }).await?;
            Ok(format!("Said on incident {incident}"))
        }
        "plan" => {
            let (from, to) = (time("from")?, time("to")?);
            let (affected, not_affected) = (all(fields, "affected"), all(fields, "not_affected"));
            let (id, faults) =
                board.plan(NewWindow { title, text, author, from, to, affected, not_affected }).await?;
            let warned =
                if faults.is_empty() { String::new() } else { format!(". But: {}", faults.join("; ")) };
            Ok(format!("Maintenance {id} is announced{warned}"))
        }
        "done" => {
            let id = number(fields, "maintenance")?;
            board.done(id, text, author).await?;
            Ok(format!("Maintenance {id} is done"))
        }
        other => Err(StoreError::Rule(format!(
            "\"{other}\" is nothing to do here: post, incident, word, plan or done"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_forms_write_it() {
        assert_eq!(moment("2024-02-27T16:00").map(|n| n.iso()), Some("2024-02-27T16:00:00Z".into()));
        assert_eq!(moment("2024-02-27 16:00:00Z").map(|n| n.iso()), Some("2024-02-27T16:00:00Z".into()));
        for bad in ["", "2024-13-01T00:00", "2024-01-01", "2024-01-01T25:00"] {
            assert_eq!(moment(bad), None, "{bad}");
        }
    }
}
