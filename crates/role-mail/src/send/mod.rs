//! Mail goes out: what is due is planned, dialled, told, and ended in one commit.
//!
//! What it is: one loop ([`yard`]) that holds the messages under way, asks [`route::plan`] for
//! each destination, hands jobs to connections ([`line`]), takes their outcomes to
//! [`route::learn`], and ends messages in groups ([`ends`]); what TLS must be is in [`demand`]. What it is not: rules about routes
//! (the judge has them) or the queue (the spool has it). Begin with [`run`].

mod demand;
pub mod ends;
pub mod explain;
mod flight;
mod job;
pub(crate) mod landing;
mod line;
pub(crate) mod notice;
pub mod outbound;
mod places;
pub mod reports;
pub(crate) mod senders;
mod sts;
pub mod tally;
mod yard;

pub use outbound::Outbound;

use drive::Stop;

use crate::Site;

/// Sends until the server stops, then lets what is under way end.
pub async fn run(site: Site, stop: Stop) {
    // A task of its own: a policy's web server may take a minute, and mail does not wait for it.
    tokio::spawn(sts::renew(site.clone(), stop.clone()));
    tokio::spawn(reports::tend(site.clone(), stop.clone()));
    yard::run(site, stop).await;
}
