//! Orders about messages: their walks.

use role_mail::{Site, why};

use super::{Answer, Order, Reply, says};

pub(super) async fn carry_out(site: &Site, order: Order) -> Answer {
    match order {
        Order::Why { id } => walk(site, &id).await,
        _ => Err("This order is about something else.".into()),
    }
}

async fn walk(site: &Site, id: &str) -> Answer {
    let asked = why::asked(id)?;
    // What is noted beside messages waits a moment for a commit to carry it.
    role_mail::housekeeping::once(site, false).await.map_err(says)?;
    let facts = site.store().read(move |conn| why::facts(conn, &asked)).await.map_err(says)?;
    Ok(Reply::new(why::text(id, &facts), why::json(&facts)))
}
