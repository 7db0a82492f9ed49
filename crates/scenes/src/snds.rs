//! Microsoft's SNDS of a scene: a web page with a table of our addresses and their colours.
//!
//! What it is: a server of one page, read by our host's own reader at its own hours. What it is
//! not: a reader; that is the product's.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use stdx::{Now, Span};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::{Clock, Connection, Listener, World};

use crate::scene::Scene;

/// Where it is.
pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 4, 0, 1));
/// A question is read up to here.
const QUESTION_MAX: usize = 8 << 10;
/// And within this.
const QUESTION_WITHIN: Span = Span::secs(20);

pub fn url(port: u16) -> String {
    format!("http://{}/table", SocketAddr::new(ADDRESS, port))
}

/// The table so long after the scene began: without a word an address is green.
pub fn table(scene: &Scene, at: Span) -> String {
    let mut out = String::new();
    for egress in scene.egresses.iter().filter(|e| e.relay.is_none()) {
        let said =
            scene.snds.iter().filter(|s| s.address == egress.address && s.at <= at).max_by_key(|s| s.at);
        let colour = said.map_or("GREEN", |s| s.colour);
        // Writing to a text cannot fail.
        let _ = writeln!(out, "{},,{at},90,90,90,{colour},< 0.1%,,,0,{},,", egress.address, egress.helo);
    }
    out
}

/// Opens its port and serves.
pub async fn open(
    world: &World,
    scene: &Scene,
    port: u16,
    begin: Now,
) -> Result<tokio::task::JoinHandle<()>, String> {
    let at = SocketAddr::new(ADDRESS, port);
    let listener = world.net.listen(at).await.map_err(|e| format!("SNDS cannot listen on {at}: {e}."))?;
    Ok(tokio::spawn(serve(listener, Arc::new(scene.clone()), begin, world.clock.clone())))
}

/// Serves until it is dropped.
async fn serve(listener: Arc<dyn Listener>, scene: Arc<Scene>, begin: Now, clock: Arc<dyn Clock>) {
    while let Ok(connection) = listener.accept().await {
        let text = table(&scene, clock.now().since(begin));
        // Whoever goes away before the answer asks again.
        drive::first(answer(connection, &text), clock.sleep_until(clock.now() + QUESTION_WITHIN)).await;
    }
}

async fn answer(mut connection: Connection, text: &str) -> std::io::Result<()> {
    let mut asked = Vec::new();
    while !asked.windows(4).any(|w| w == b"\r\n\r\n") && asked.len() < QUESTION_MAX {
        if connection.stream.read_buf(&mut asked).await? == 0 {
            break;
        }
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    connection.stream.write_all(head.as_bytes()).await?;
    connection.stream.write_all(text.as_bytes()).await?;
    connection.stream.shutdown().await
}
