//! One vantage point and all it knows; and its tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use link::{Fact, Look, Peer};
use stdx::{Dice, Now, Ring, Secret, Span};
use store::{Store, StoreError};
use tokio::sync::Notify;
use watch::agree::Agreed;
use watch::cause::{self, Finding};
use watch::schedule::Schedule;
use web::Url;

use crate::alerts::{self, Alerts, Say};
use crate::book::{Last, Page};
use crate::channel::Channel;
use crate::probe::{self, Target, Tried};
use crate::said::Host;
use crate::wire::{Family, Kit, Place, dial};

/// How often everything is judged.
const TICK: Span = Span::secs(5);
/// How often tries are written down.
const FLUSH: Span = Span::mins(5);
/// The proof of our own line is believed this long.
const SURE_FOR: Span = Span::secs(10);
const NEUTRAL_LIMIT: Span = Span::secs(5);
/// Tokens of loop messages remembered, per loop.
const TOKENS_MAX: usize = 100;
/// Facts that wait for a peer that does not answer; the oldest go first.
const WAITING_MAX: usize = 10_000;

#[derive(Clone)]
pub struct Settings {
    /// Our name among the points, and where we are.
    pub point: String,
    pub region: String,
    pub targets: Vec<Target>,
    /// Somebody else's ports that always answer: they prove our own line.
    pub neutral: Vec<Place>,
    pub channels: Vec<Channel>,
    /// Hosts that may tell us facts; those with an address are told ours.
    pub peers: Vec<(Peer, Option<Url>)>,
    /// Hosts whose silence is an alert: they promised a heartbeat.
    pub expected: Vec<String>,
    /// Others in this process that take our facts with [`Monitor::take_facts`].
    pub listeners: Vec<String>,
    /// Our own name towards peers.
    pub name: String,
    /// Makes the addresses where people say "I have it"; random, and good until the next start, if
    /// empty.
    pub secret: Secret<Vec<u8>>,
    /// Points that must agree.
    pub points_min: usize,
    pub at_once_max: usize,
    /// Our own pages from outside, for "I have it".
    pub url: Option<Url>,
    pub rule: watch::alert::Rule,
    pub raw_for: Span,
}

impl Settings {
    pub fn new(point: &str) -> Settings {
        Settings {
            point: point.to_owned(),
            region: point.to_owned(),
            targets: Vec::new(),
            neutral: Vec::new(),
            channels: Vec::new(),
            peers: Vec::new(),
            expected: Vec::new(),
            listeners: Vec::new(),
            name: point.to_owned(),
            secret: Secret::new(Vec::new()),
            points_min: 2,
            at_once_max: 64,
            url: None,
            rule: watch::alert::Rule::default(),
            raw_for: Span::days(14),
        }
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Monitor(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub kit: Kit,
    pub store: Store,
    pub settings: RwLock<Arc<Settings>>,
    pub state: Mutex<State>,
    pub key: link::Key,
    /// Makes the addresses where people say "I have it".
    pub secret: Secret<Vec<u8>>,
    due: Notify,
    pub tray: Notify,
}

pub(crate) struct State {
    schedule: Schedule,
    dice: Dice,
    pub pages: BTreeMap<String, Page>,
    pub hosts: BTreeMap<String, Host>,
    pub alerts: Alerts,
    tokens: BTreeMap<String, Ring<String>>,
    /// When our own line was last looked at, and whether it works.
    pub sure: Option<(Now, bool)>,
    /// Facts for each peer we tell.
    pub waiting: BTreeMap<String, Ring<Fact>>,
    /// When a peer last took a parcel.
    pub answered: BTreeMap<String, Now>,
    pub tries: u64,
    pub notices: BTreeMap<(String, bool), u64>,
    /// When each channel was last tried with a test, and when a person answered it.
    pub tests: BTreeMap<String, (Now, Option<Now>)>,
    pub began: Now,
    flushed: Now,
    told_disks: Now,
}

impl Monitor {
    /// # Errors
    /// If the store cannot be read.
    pub async fn open(
        kit: Kit,
        store: Store,
        settings: Settings,
        key: link::Key,
    ) -> Result<Monitor, StoreError> {
        let now = kit.world.now();
        let mut secret = settings.secret.clone();
        if secret.reveal().is_empty() {
            let mut bytes = vec![0; 32];
            kit.world.random.fill(&mut bytes);
            secret = Secret::new(bytes);
        }
        let state = State {
            schedule: Schedule::new(settings.at_once_max),
            dice: Dice::new(kit.world.random.next_u64()),
            pages: BTreeMap::new(),
            hosts: BTreeMap::new(),
            alerts: Alerts { rule: settings.rule, ..Alerts::default() },
            tokens: BTreeMap::new(),
            sure: None,
            waiting: BTreeMap::new(),
            answered: BTreeMap::new(),
            tries: 0,
            notices: BTreeMap::new(),
            tests: BTreeMap::new(),
            began: now,
            flushed: now,
            told_disks: now,
        };
        let monitor = Monitor(Arc::new(Shared {
            kit,
            store,
            settings: RwLock::new(Arc::new(settings)),
            state: Mutex::new(state),
            key,
            secret,
            due: Notify::new(),
            tray: Notify::new(),
        }));
        monitor.resume().await?;
        monitor.plan();
        Ok(monitor)
    }

    pub fn now(&self) -> Now {
        self.0.kit.world.now()
    }
    pub fn kit(&self) -> &Kit {
        &self.0.kit
    }
    pub fn store(&self) -> &Store {
        &self.0.store
    }
    pub fn settings(&self) -> Arc<Settings> {
        self.0.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// New settings: what is no longer looked at is forgotten, what is new begins.
    pub fn reload(&self, settings: Settings) {
        *self.0.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        self.plan();
        self.0.due.notify_one();
    }

    fn plan(&self) {
        let (settings, now) = (self.settings(), self.now());
        let mut state = self.state();
        let state = &mut *state;
        state.schedule = Schedule::new(settings.at_once_max);
        let keep: BTreeSet<&String> = settings.targets.iter().map(|t| &t.id).collect();
        state.pages.retain(|id, _| keep.contains(id));
        for target in &settings.targets {
            state.schedule.add(&target.id, target.every, now, &mut state.dice);
            match state.pages.get_mut(&target.id) {
                Some(page) => page.target = target.clone(),
                None => drop(state.pages.insert(target.id.clone(), Page::new(target.clone(), now))),
            }
        }
        for name in &settings.expected {
            state.hosts.entry(name.clone()).or_insert_with(|| Host::new(now));
        }
        let told = settings.peers.iter().filter(|(_, url)| url.is_some()).map(|(peer, _)| &peer.name);
        for name in told.chain(&settings.listeners) {
            state.waiting.entry(name.clone()).or_insert_with(|| Ring::new(WAITING_MAX));
        }
    }

    /// All tasks, until the server stops.
    pub async fn run(self, stop: drive::Stop) {
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(self.clone().looks(stop.clone()));
        tasks.spawn(self.clone().ticks(stop.clone()));
        tasks.spawn(self.clone().carry(stop.clone()));
        tasks.spawn(self.clone().talk(stop));
        while tasks.join_next().await.is_some() {}
        if let Err(e) = self.flush().await {
            tracing::error!(error = %e, "the last tries could not be written down");
        }
    }

    async fn looks(self, stop: drive::Stop) {
        loop {
            let (taken, next) = {
                let mut state = self.state();
                (state.schedule.take(self.now()), state.schedule.next())
            };
            for id in taken {
                let monitor = self.clone();
                tokio::spawn(async move { monitor.look(&id).await });
            }
            let wait = async {
                match next {
                    Some(at) => drop(
                        drive::first(self.0.due.notified(), self.0.kit.world.clock.sleep_until(at)).await,
                    ),
                    None => self.0.due.notified().await,
                }
            };
            if drive::until_stop(&stop, wait).await.is_none() {
                return;
            }
        }
    }

    /// One look at a target, noted.
    pub async fn look(&self, id: &str) {
        let Some(target) = self.state().pages.get(id).map(|p| p.target.clone()) else { return };
        let token = self.token(id);
        let mut tried = probe::look(&self.0.kit, &target, &token).await;
        if tried.look == Look::Failed && !self.line_is_sure().await {
            tried.look = Look::Unsure;
            tried.says = format!("our own line is not sure; {}", tried.says);
        }
        let good = tried.look != Look::Failed;
        self.note(id, &token, tried).await;
        let mut state = self.state();
        let state = &mut *state;
        if !good && target.reaches() {
            let near = state.pages.values().filter(|p| p.target.reaches() && p.target.host == target.host);
            let near: Vec<String> = near.map(|p| p.target.id.clone()).filter(|other| other != id).collect();
            for other in near {
                state.schedule.hasten(&other, self.0.kit.world.now());
            }
        }
        state.schedule.done(id, good, self.0.kit.world.now(), &mut state.dice);
        self.0.due.notify_one();
    }

    /// `LOOP-POINT-RANDOM`, in characters that every header keeps.
    fn token(&self, id: &str) -> String {
        let plain = |text: &str| -> String {
            text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '.' }).collect()
        };
        let point = self.settings().point.clone();
        format!("{}-{}-{:016x}", plain(id), plain(&point), self.0.kit.world.random.next_u64())
    }

    async fn note(&self, id: &str, token: &str, mut tried: Tried) {
        let settings = self.settings();
        let written = {
            let mut state = self.state();
            let state = &mut *state;
            state.tries += 1;
            doubles(
                state.tokens.entry(id.to_owned()).or_insert_with(|| Ring::new(TOKENS_MAX)),
                token,
                &mut tried,
            );
            let Some(page) = state.pages.get_mut(id) else { return };
            if tried.expires.is_some() {
                page.expires = tried.expires;
            }
            page.listed = std::mem::take(&mut tried.listed);
            let fact = Fact::Probe {
                at: tried.at.ms(),
                probe: id.to_owned(),
                component: page.target.component.clone(),
                point: settings.point.clone(),
                region: settings.region.clone(),
                look: tried.look,
                ms: tried.ms,
                says: tried.says.clone(),
            };
            for ring in state.waiting.values_mut() {
                ring.push(fact.clone());
            }
            let last =
                Last { at: tried.at, look: tried.look, ms: tried.ms, says: tried.says, topic: tried.topic };
            page.note(&settings.point, &settings.region, last, true)
        };
        if let Some(written) = written
            && let Err(e) = self.write(vec![written]).await
        {
            tracing::error!(error = %e, "an hour's tries could not be written down");
        }
    }

    /// Whether our own line works: at least two neutral targets answer (one, if there is only one).
    /// Without any named, we must believe it.
    async fn line_is_sure(&self) -> bool {
        let (settings, now) = (self.settings(), self.now());
        if settings.neutral.is_empty() {
            return true;
        }
        if let Some((at, sure)) = self.state().sure
            && now.since(at) < SURE_FOR
        {
            return sure;
        }
        let wanted = settings.neutral.len().min(2);
        let mut answered = 0;
        for place in &settings.neutral {
            let until = self.0.kit.world.clock.sleep_until(self.now() + NEUTRAL_LIMIT);
            let dialled = drive::first(dial(&self.0.kit.world, place, Family::Any), until).await;
            answered += usize::from(matches!(dialled, drive::First::A(Ok(_))));
            if answered >= wanted {
                break;
            }
        }
        let sure = answered >= wanted;
        self.state().sure = Some((self.now(), sure));
        sure
    }

    async fn ticks(self, stop: drive::Stop) {
        loop {
            let next = self.now() + TICK;
            self.tick().await;
            if drive::until_stop(&stop, self.0.kit.world.clock.sleep_until(next)).await.is_none() {
                return;
            }
        }
    }

    /// Judges everything, and says what is to be said.
    pub async fn tick(&self) {
        if self.state().sure.is_none_or(|(at, _)| self.now().since(at) > Span::secs(30)) {
            self.line_is_sure().await;
        }
        let (settings, now) = (self.settings(), self.now());
        let (says, changed) = {
            let mut state = self.state();
            for page in state.pages.values_mut() {
                page.judge(settings.points_min, now);
            }
            let (findings, reaching) = findings(&state, &settings, now);
            let causes = cause::gather(&findings, &reaching);
            if now.since(state.told_disks) >= Span::mins(1) {
                state.told_disks = now;
                let facts = disks(&state, &settings, now);
                state
                    .waiting
                    .values_mut()
                    .for_each(|ring| facts.iter().for_each(|f| drop(ring.push(f.clone()))));
            }
            state.alerts.step(&causes, now)
        };
        if let Err(e) = self.save(says, changed).await {
            tracing::error!(error = %e, "alerts could not be written down; the next tick tries again");
        }
        if self.test_is_due(now)
            && let Err(e) = self.test_channels().await
        {
            tracing::error!(error = %e, "the channels could not be tried");
        }
        if now.since(self.state().flushed) >= FLUSH
            && let Err(e) = self.flush().await
        {
            tracing::error!(error = %e, "tries could not be written down");
        }
    }

    fn test_is_due(&self, now: Now) -> bool {
        let state = self.state();
        let last = state.tests.values().map(|(sent, _)| *sent).max().unwrap_or(state.began);
        !self.settings().channels.is_empty() && now.since(last) >= TEST_EVERY
    }

    async fn save(&self, says: Vec<Say>, changed: Vec<alerts::Open>) -> Result<(), StoreError> {
        if says.is_empty() && changed.iter().all(|o| o.alert.ended.is_none()) {
            return Ok(());
        }
        let (settings, now, monitor) = (self.settings(), self.now(), self.clone());
        for say in &says {
            tracing::warn!(cause = %say.cause, over = say.over, "{}", say.title);
            let fact = Fact::Alarm {
                at: now.ms(),
                cause: say.cause.clone(),
                says: say.title.clone(),
                over: say.over,
            };
            self.state().waiting.values_mut().for_each(|ring| drop(ring.push(fact.clone())));
        }
        self.0
            .store
            .commit(Vec::new(), move |b| {
                alerts::save(b, &changed)?;
                alerts::post(
                    b,
                    &says,
                    &settings.channels,
                    &|say| monitor.ack_address(&say.cause, say.began),
                    now,
                )
            })
            .await?;
        self.0.tray.notify_one();
        Ok(())
    }
}

/// Tokens of older messages that lay there: seen before means that a message came twice, unseen
/// that one given up for lost came late.
fn doubles(known: &mut Ring<String>, token: &str, tried: &mut Tried) {
    let twice = tried.others.iter().filter(|t| known.iter().any(|k| k == *t)).count();
    let late = tried.others.len() - twice;
    for other in &tried.others {
        known.push(other.clone());
    }
    if twice > 0 {
        tried.says = format!("{twice} older messages came a second time; {}", tried.says);
        tried.topic = "twice".into();
    }
    if late > 0 {
        tried.says = format!("{late} messages came late; {}", tried.says);
    }
    if twice + late > 0 && tried.look == Look::Good {
        tried.look = Look::Slow;
    }
    if matches!(tried.look, Look::Good | Look::Slow) {
        known.push(token.to_owned());
    }
}

/// M32: channels are tried this often, and a test should be answered within a day.
const TEST_EVERY: Span = Span::days(7);
const ANSWER_WITHIN: Span = Span::hours(24);

/// Channels whose test nobody has answered: the next alert may reach nobody either.
fn unanswered(state: &State, settings: &Settings, now: Now) -> Vec<Finding> {
    let late = |(name, (sent, answered)): (&String, &(Now, Option<Now>))| {
        let known = settings.channels.iter().any(|c| c.name == *name);
        (known && answered.is_none() && now.since(*sent) >= ANSWER_WITHIN).then(|| Finding {
            probe: format!("channel.{name}"),
            component: format!("channel.{name}"),
            host: String::new(),
            reaches: false,
            region: None,
            since: *sent,
            hold: Span::ZERO,
            says: format!(
                "nobody has answered the test of the channel {name} of {}: does it reach anybody?",
                sent.iso()
            ),
        })
    };
    state.tests.iter().filter_map(late).collect()
}

/// What is wrong now, and how many probes look at each host's ports.
fn findings(state: &State, settings: &Settings, now: Now) -> (Vec<Finding>, BTreeMap<String, usize>) {
    let (mut out, mut reaching) = (Vec::new(), BTreeMap::new());
    for page in state.pages.values() {
        if page.target.reaches() {
            *reaching.entry(page.target.host.clone()).or_default() += 1;
        }
        out.extend(finding(page, settings));
    }
    for (name, host) in &state.hosts {
        let silent_allowed = !settings.expected.contains(name);
        out.extend(
            host.findings(name, now).into_iter().filter(|f| !(silent_allowed && f.component == "silence")),
        );
    }
    out.extend(unanswered(state, settings, now));
    (out, reaching)
}

/// What probes find stands a little before it is told: a host that dies takes its ports one by one,
/// and comes back so.
const HOLD: Span = Span::secs(75);
/// Causes that begin with this are told, but need nobody at night.
const WARNING: &str = "warning.";

fn finding(page: &Page, settings: &Settings) -> Option<Finding> {
    let target = &page.target;
    let finding = |component: &str, region, since, says: String| Finding {
        probe: target.id.clone(),
        component: component.to_owned(),
        host: target.host.clone(),
        reaches: target.reaches(),
        region,
        since,
        hold: HOLD,
        says,
    };
    match &page.agreed {
        Agreed::Down { since } => {
            let says = format!("{}: {}", target.id, page.says());
            Some(finding(&target.component, None, *since, says))
        }
        Agreed::DegradedFor { regions, since } => {
            Some(finding(&target.component, Some(regions.join(", ")), *since, page.why.clone()))
        }
        Agreed::Good => {
            // Certificates that end soon, messages that come twice: worth a word each.
            let last = page.last.get(&settings.point)?;
            if last.look != Look::Slow || last.topic.is_empty() {
                return None;
            }
            let component = format!("{WARNING}{}.{}", target.id, last.topic);
            Some(finding(&component, None, last.at, format!("{}: {}", target.id, last.says)))
        }
        Agreed::NoData => None,
    }
}

/// What a host says of its disks, as a try that the status site understands.
fn disks(state: &State, settings: &Settings, now: Now) -> Vec<Fact> {
    let mut out = Vec::new();
    for (name, host) in &state.hosts {
        for (area, look, says) in host.disks(now) {
            out.push(Fact::Probe {
                at: now.ms(),
                probe: format!("disk.{area}.{name}"),
                component: "disk".into(),
                point: settings.point.clone(),
                region: settings.region.clone(),
                look,
                ms: 0,
                says,
            });
        }
    }
    out
}

impl Monitor {
    /// Facts for one of [`Settings::listeners`].
    pub fn take_facts(&self, name: &str) -> Vec<Fact> {
        let mut state = self.state();
        state.waiting.get_mut(name).map(|w| std::iter::from_fn(|| w.pop()).collect()).unwrap_or_default()
    }

    pub(crate) fn flushed(&self, now: Now) {
        self.state().flushed = now;
    }
}
