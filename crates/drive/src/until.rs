//! Waiting for one of two things outside a session, always in the same order.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use crate::Stop;

/// Which of two came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First<A, B> {
    A(A),
    B(B),
}

/// Waits for `a` or `b`; if both are ready, `a` is taken. The other is dropped.
pub async fn first<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> First<A, B> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    std::future::poll_fn(move |context| {
        if let Poll::Ready(got) = a.as_mut().poll(context) {
            return Poll::Ready(First::A(got));
        }
        b.as_mut().poll(context).map(First::B)
    })
    .await
}

/// Does `work` unless the server stops first.
pub async fn until_stop<T>(stop: &Stop, work: impl Future<Output = T>) -> Option<T> {
    match first(stopped(stop), work).await {
        First::A(()) => None,
        First::B(done) => Some(done),
    }
}

/// Returns once the server wants to stop.
pub async fn stopped(stop: &Stop) {
    let mut stop = stop.clone();
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Whoever could say stop is gone: it never comes.
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_of_two_ready_ones_wins() {
        assert_eq!(first(async { 1 }, async { 2 }).await, First::A(1));
        assert_eq!(first(std::future::pending::<u8>(), async { 2 }).await, First::B(2));
    }

    #[tokio::test]
    async fn work_ends_when_the_server_stops() {
        let (say, stop) = tokio::sync::watch::channel(false);
        assert_eq!(until_stop(&stop, async { 7 }).await, Some(7));
        say.send(true).expect("a receiver is there");
        assert_eq!(until_stop(&stop, std::future::pending::<u8>()).await, None);
    }
}
