//! Web push for readers: the button on the page of subscriptions, and what a browser runs for it.
//! The browser's own question is the confirmation; leaving is in every notice.

use axum::extract::{Form, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use web::axum;
use web::page::answer;

use crate::Board;
use crate::subscribe::Channel;

const KIND: &str = "text/javascript; charset=utf-8";

/// Shows the button where the browser can do it, and hands the subscription to us.
const BUTTON: &str = "\
const box=document.getElementById('push');\n\
if(box&&'serviceWorker' in navigator&&'PushManager' in window){box.hidden=false;\n\
box.querySelector('button').onclick=async()=>{try{\n\
const worker=await navigator.serviceWorker.register('/sw.js');await navigator.serviceWorker.ready;\n\
const got=(await worker.pushManager.subscribe({userVisibleOnly:true,applicationServerKey:KEY})).toJSON();\n\
const fields=new URLSearchParams(new FormData(document.querySelector('form[action=\"/subscribe\"]')));\n\
fields.set('address',[got.endpoint,got.keys.p256dh,got.keys.auth].join(' '));\n\
box.textContent=await(await fetch('/subscribe/push',{method:'POST',body:fields})).text();\n\
}catch(e){box.textContent='This browser could not subscribe: '+e.message}}}\n";

/// Shows a notice and leads to the site.
const WORKER: &str = "\
self.addEventListener('push',e=>{const n=e.data?e.data.json():{};\n\
e.waitUntil(self.registration.showNotification(n.subject||'Status',{body:(n.text||'').slice(0,300),data:n.site||'/'}))});\n\
self.addEventListener('notificationclick',e=>{e.notification.close();e.waitUntil(clients.openWindow(e.notification.data))});\n";

/// What the page of subscriptions shows for it; nothing without a key.
pub(crate) fn offer(board: &Board) -> &'static str {
    if key(board).is_none() {
        return "";
    }
    "<p id=\"push\" hidden><button type=\"button\">Notify this browser</button> No address is kept: your browser's own service carries it.</p><script src=\"/push.js\" defer></script>"
}

fn key(board: &Board) -> Option<String> {
    board.settings().outgoing.as_ref()?.vapid.as_ref().map(|v| v.public())
}

pub(crate) async fn script(State(board): State<Board>) -> Response {
    match key(&board) {
        Some(key) => answer(KIND, format!("const KEY='{key}';\n{BUTTON}")),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

pub(crate) async fn worker() -> Response {
    let mut response = answer(KIND, WORKER.to_owned());
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache"));
    response
}

pub(crate) async fn subscribe(
    State(board): State<Board>,
    Form(fields): Form<Vec<(String, String)>>,
) -> Response {
    let all = |name: &str| -> String {
        // `desk` is the operators' own kind.
        let values = fields.iter().filter(|(k, v)| k == name && v != "desk");
        values.map(|(_, v)| v.replace(' ', "")).collect::<Vec<_>>().join(" ")
    };
    let address = fields.iter().find(|(k, _)| k == "address").map_or("", |(_, v)| v.trim());
    match board.enlist(Channel::Push, address, &all("c"), &all("k")).await {
        Ok(()) => "This browser is told from now on.\n".into_response(),
        Err(why) => (StatusCode::UNPROCESSABLE_ENTITY, format!("{why}\n")).into_response(),
    }
}
