//! A clock that runs faster than the system's from a moment on.

use std::time::Duration;

use host::SystemClock;
use stdx::Now;
use world::{Clock, Later};

/// Up to `begin` it is the system's clock; from then on `pace` of its seconds pass in one.
#[derive(Clone, Copy, Debug)]
pub struct PacedClock {
    pub begin: Now,
    pub pace: u64,
}

impl Clock for PacedClock {
    fn now(&self) -> Now {
        let real = SystemClock.now();
        if real <= self.begin {
            real
        } else {
            Now(self.begin.0 + real.since(self.begin).0 * self.pace.max(1))
        }
    }
    fn sleep_until(&self, until: Now) -> Later<'_, ()> {
        Box::pin(async move {
            loop {
                let now = self.now();
                if now >= until {
                    return;
                }
                let before = self.begin.0.clamp(now.0, until.0);
                let paced = (until.0 - before).div_ceil(self.pace.max(1));
                tokio::time::sleep(Duration::from_millis(before - now.0 + paced.min(3_600_000))).await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stdx::Span;

    #[tokio::test]
    async fn an_hour_passes_in_a_moment() {
        let clock = PacedClock { begin: SystemClock.now(), pace: 100_000 };
        let began = (clock.now(), std::time::Instant::now());
        clock.sleep_until(began.0 + Span::hours(1)).await;
        assert!(clock.now().since(began.0) >= Span::hours(1));
        assert!(began.1.elapsed() < Duration::from_secs(5));
    }
}
