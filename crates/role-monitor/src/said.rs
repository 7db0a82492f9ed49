//! What the hosts say of themselves: heartbeats, disks, queues, routes, backups. A host that says
//! nothing for three minutes is spoken of.

use std::collections::BTreeMap;

use link::{Fact, Look};
use stdx::{Bytes, Now, Ring, Span};
use watch::alert;
use watch::cause::Finding;
use watch::forecast::{self, Fill, Forecast};

/// One measurement a minute for seven days and a bit.
const FILLS_MAX: usize = 10_500;
const AREAS_MAX: usize = 16;
const GROUPS_MAX: usize = 256;
/// Thresholds of M8, M17 and M28.
const QUEUE_OLD: Span = Span::mins(30);
const FULL_RED: Span = Span::hours(24);
const FULL_WARN: Span = Span::days(7);
const BACKUP_OLD: Span = Span::hours(26);
const RESTORE_OLD: Span = Span::days(30);
/// A figure that is older says nothing about now.
const FRESH: Span = Span::mins(5);

/// One host, as it told us.
pub struct Host {
    /// Since when we listen.
    pub began: Now,
    pub heard: Option<Now>,
    pub version: String,
    fills: BTreeMap<String, Ring<Fill>>,
    queue: BTreeMap<String, (Now, u64, u64)>,
    routes: BTreeMap<(String, String), (Now, String, String)>,
    alarms: BTreeMap<String, (Now, String)>,
    backup: Option<(Now, Option<Now>)>,
}

impl Host {
    pub fn new(now: Now) -> Host {
        Host {
            began: now,
            heard: None,
            version: String::new(),
            fills: BTreeMap::new(),
            queue: BTreeMap::new(),
            routes: BTreeMap::new(),
            alarms: BTreeMap::new(),
            backup: None,
        }
    }

    pub fn fill(&mut self, area: &str, fill: Fill) {
        if self.fills.len() >= AREAS_MAX && !self.fills.contains_key(area) {
            return;
        }
        let ring = self.fills.entry(area.to_owned()).or_insert_with(|| Ring::new(FILLS_MAX));
        let near = |last: &Fill| fill.at.since(last.at) < Span::secs(50);
        if !ring.iter().next_back().is_some_and(near) {
            ring.push(fill);
        }
    }

    /// Takes a fact. Clocks differ: what counts is when it came.
    pub fn take(&mut self, fact: &Fact, now: Now) {
        match fact {
            Fact::Heartbeat { version, .. } => self.version.clone_from(version),
            Fact::Fill { area, used, size, .. } => {
                self.fill(area, Fill { at: now, used: Bytes(*used), size: Bytes(*size) });
            }
            Fact::Queue { group, count, oldest_s, .. }
                if self.queue.len() < GROUPS_MAX || self.queue.contains_key(group) =>
            {
                self.queue.insert(group.clone(), (now, *count, *oldest_s));
            }
            Fact::Route { egress, group, state, evidence, .. } if self.routes.len() < GROUPS_MAX => {
                let key = (egress.clone(), group.clone());
                self.routes.insert(key, (now, state.clone(), evidence.join("; ")));
            }
            Fact::Alarm { cause, over: true, .. } => drop(self.alarms.remove(cause)),
            Fact::Alarm { cause, says, .. } if self.alarms.len() < GROUPS_MAX => {
                self.alarms.insert(cause.clone(), (now, says.clone()));
            }
            Fact::Backup { made, restored, .. } => self.backup = Some((Now(*made), restored.map(Now))),
            _ => {}
        }
        self.heard = Some(now);
    }

    /// How long it has been silent.
    pub fn silence(&self, now: Now) -> Span {
        now.since(self.heard.unwrap_or(self.began))
    }

    /// When each area is full.
    pub fn forecasts(&self, now: Now) -> Vec<(String, Fill, Forecast, String)> {
        let one = |(area, ring): (&String, &Ring<Fill>)| {
            let fills: Vec<Fill> = ring.iter().copied().collect();
            let verdict = forecast::full_at(&fills, now);
            fills.last().map(|f| (area.clone(), *f, verdict.decision, verdict.reasons.first().says.clone()))
        };
        self.fills.iter().filter_map(one).collect()
    }

    /// Each area as a look at it would find it.
    pub fn disks(&self, now: Now) -> Vec<(String, Look, String)> {
        let one = |(area, _, when, why): (String, Fill, Forecast, String)| {
            let left = match when {
                Forecast::FullNow => Span::ZERO,
                Forecast::FullAt(at) => at.since(now),
                Forecast::Never => return (area, Look::Good, why),
            };
            let look = if left < FULL_RED {
                Look::Failed
            } else if left < FULL_WARN {
                Look::Slow
            } else {
                Look::Good
            };
            (area, look, format!("full in {left}; {why}"))
        };
        self.forecasts(now).into_iter().map(one).collect()
    }

    pub fn queue_oldest(&self, now: Now) -> Option<(Span, u64)> {
        let fresh = self.queue.values().filter(|(at, ..)| now.since(*at) < FRESH);
        fresh.map(|(_, count, oldest)| (Span::secs(*oldest), *count)).reduce(|a, b| (a.0.max(b.0), a.1 + b.1))
    }

    pub fn backup_age(&self, now: Now) -> Option<Span> {
        self.backup.map(|(made, _)| now.since(made))
    }

    /// What is wrong with this host, by its own account or by its silence.
    pub fn findings(&self, name: &str, now: Now) -> Vec<Finding> {
        let mut out = Vec::new();
        let mut push = |what: &str, component: &str, since: Now, says: String| {
            out.push(Finding {
                probe: format!("{what}.{name}"),
                component: component.to_owned(),
                host: name.to_owned(),
                reaches: false,
                region: None,
                since,
                hold: Span::ZERO,
                says,
            });
        };
        let heartbeat = alert::heartbeat(self.heard, self.began, now);
        if heartbeat.decision {
            let since = self.heard.unwrap_or(self.began);
            push("heartbeat", "silence", since, format!("{name} has said nothing since {}", since.iso()));
        }
        for (area, fill, when, why) in self.forecasts(now) {
            let left = match when {
                Forecast::FullNow => Span::ZERO,
                Forecast::FullAt(at) => at.since(now),
                Forecast::Never => continue,
            };
            if left < FULL_WARN {
                let component = if left < FULL_RED { "disk" } else { "disk.soon" };
                let says = match area.strip_suffix(link::FILES) {
                    Some(area) => format!(
                        "the disk under {area} can hold no more files in {left} ({} of {} are there)",
                        fill.used.get(),
                        fill.size.get()
                    ),
                    None => format!(
                        "the disk under {area} is full in {left} ({} of {} used; {why})",
                        fill.used, fill.size
                    ),
                };
                push(&format!("disk.{area}"), component, now, says);
            }
        }
        if let Some((oldest, count)) = self.queue_oldest(now)
            && oldest > QUEUE_OLD
        {
            let says = format!("{count} messages wait, the oldest for {oldest}");
            push("queue", "queue", now - oldest, says);
        }
        if let Some((made, restored)) = self.backup {
            if now.since(made) > BACKUP_OLD {
                push("backup", "backup", made, format!("the newest backup was made on {}", made.iso()));
            }
            if restored.is_some_and(|at| now.since(at) > RESTORE_OLD) {
                push(
                    "restore",
                    "backup",
                    now,
                    "no backup has been restored for a month: prove that one can be".into(),
                );
            }
        }
        for (cause, (at, says)) in &self.alarms {
            push(&format!("alarm.{cause}"), &format!("alarm.{cause}"), *at, says.clone());
        }
        out.extend(self.closed_groups(name, now));
        out
    }

    /// A group of destinations to which no way is open (M9).
    fn closed_groups(&self, name: &str, now: Now) -> Vec<Finding> {
        let mut groups: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
        for ((_, group), (at, state, why)) in &self.routes {
            if now.since(*at) < FRESH {
                groups.entry(group).or_default().push((state, why));
            }
        }
        let shut = groups.into_iter().filter(|(_, ways)| ways.iter().all(|(state, _)| *state == "closed"));
        shut.map(|(group, ways)| Finding {
            probe: format!("route.{group}.{name}"),
            component: format!("route.{group}"),
            host: name.to_owned(),
            reaches: false,
            region: None,
            since: now,
            hold: Span::ZERO,
            says: format!("no way to {group} is open: {}", ways.first().map_or("", |(_, why)| why)),
        })
        .collect()
    }

    /// How a host's own words look as tries, for the status site.
    pub fn look(&self, now: Now) -> Look {
        if alert::heartbeat(self.heard, self.began, now).decision { Look::Failed } else { Look::Good }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Now {
        Now::from_secs(secs)
    }

    #[test]
    fn three_minutes_of_silence_are_a_finding() {
        let mut host = Host::new(at(0));
        assert!(host.findings("mx", at(179)).is_empty());
        assert_eq!(host.findings("mx", at(180))[0].component, "silence");
        host.take(&Fact::Heartbeat { at: 0, version: "1".into(), started: 0 }, at(200));
        assert!(host.findings("mx", at(379)).is_empty());
        assert_eq!(host.findings("mx", at(380)).len(), 1);
    }

    #[test]
    fn a_disk_that_fills_is_told_before_it_is_full() {
        let mut host = Host::new(at(0));
        for minute in 0..120u64 {
            let fact = Fact::Fill { at: 0, area: "store".into(), used: minute * 1000, size: 500_000 };
            host.take(&fact, at(minute * 60));
        }
        let found = host.findings("mx", at(119 * 60));
        assert!(found.iter().any(|f| f.component == "disk" && f.says.contains("full in")), "{found:?}");
    }

    #[test]
    fn old_queues_old_backups_and_closed_groups_are_named() {
        let mut host = Host::new(at(0));
        let now = at(10 * 86_400);
        host.take(&Fact::Queue { at: 0, group: "g".into(), count: 3, oldest_s: 2000 }, now);
        host.take(&Fact::Backup { at: 0, made: 0, bytes: 5, restored: None }, now);
        for (egress, state) in [("A", "closed"), ("B", "closed")] {
            let (egress, state) = (egress.to_owned(), state.to_owned());
            host.take(
                &Fact::Route {
                    at: 0,
                    egress,
                    group: "ms".into(),
                    state,
                    since: 0,
                    evidence: vec!["550 5.7.1".into()],
                },
                now,
            );
        }
        let found: Vec<String> = host.findings("mx", now).into_iter().map(|f| f.component).collect();
        assert_eq!(found, ["queue", "backup", "route.ms"]);
        let open = Fact::Route {
            at: 0,
            egress: "B".into(),
            group: "ms".into(),
            state: "open".into(),
            since: 0,
            evidence: vec![],
        };
        host.take(&open, now);
        assert_eq!(host.findings("mx", now).len(), 2);
    }

    #[test]
    fn what_a_host_can_make_us_keep_is_bounded() {
        let mut host = Host::new(at(0));
        for n in 0..1000 {
            host.take(&Fact::Queue { at: 0, group: format!("g{n}"), count: 1, oldest_s: 1 }, at(1));
            host.take(
                &Fact::Alarm { at: 0, cause: format!("c{n}"), says: String::new(), over: false },
                at(1),
            );
            host.take(&Fact::Fill { at: 0, area: format!("a{n}"), used: 1, size: 2 }, at(1));
        }
        assert!(
            host.queue.len() <= GROUPS_MAX
                && host.alarms.len() <= GROUPS_MAX
                && host.fills.len() <= AREAS_MAX
        );
    }
}
