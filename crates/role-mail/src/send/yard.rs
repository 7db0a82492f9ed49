//! The loop in which mail on its way out is held, planned, handed out and taken back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use drive::{First, Stop};
use route::{Egress, Facts, Purpose, Sender, Tried, Way};
use spool::{Entry, Origin, SpoolId};
use stdx::{Now, Span};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use words::{AttemptId, Domain, Enhanced, Reasons};

use super::demand::Wish;
use super::ends::{self, End};
use super::flight::{Flight, How, Phase, Told as Word};
use super::job::{Job, Queue};
use super::line::{self, News};
use super::outbound::{egresses, judging};
use super::places::{self, Nowhere, Place, Places};
use super::senders::{self, SenderFacts, Senders};
use super::{landing, notice, sts};
use crate::{Settings, Site, srs};

/// Messages in memory at most; the rest waits in the spool.
const FLIGHTS_MAX: usize = 4_000;
/// Messages that wait for a session of one group at most; more go back to the spool.
const PARKED_MAX: usize = 3_000;
/// What finds no place among those rests so long in the spool.
const SPILL: Span = Span::secs(3);
/// Entries leased in one commit.
const CLAIM: usize = 500;
/// Messages ended in one commit.
const ENDS: usize = 256;
/// The queue is looked through at least so often.
const LOOK_EVERY: Span = Span::mins(1);
/// What routes learned is stored at most so often.
const SAVE_EVERY: Span = Span::secs(1);
/// After a stop, tries under way may take so long.
const GRACE: Span = Span::secs(25);

/// What is known of a try under way.
pub(super) struct Trip {
    pub group: String,
    pub domain: Domain,
    pub egress: usize,
    pub name: String,
    pub purpose: Purpose,
    pub reasons: Reasons,
}

pub(super) struct Yard {
    pub site: Site,
    pub settings: Arc<Settings>,
    pub judging: route::Settings,
    pub egresses: Vec<Egress>,
    pub flights: BTreeMap<SpoolId, Flight>,
    pub trips: BTreeMap<AttemptId, Trip>,
    pub places: Places,
    news: UnboundedSender<News>,
    stop: Stop,
    parked: BTreeMap<String, VecDeque<SpoolId>>,
    asked_places: BTreeMap<Domain, Vec<SpoolId>>,
    asked_senders: BTreeMap<Domain, Vec<SpoolId>>,
    senders: Senders,
    queues: BTreeMap<(String, String), Arc<Queue>>,
    ends: Vec<End>,
    next_claim: Now,
    claiming: bool,
    saved_at: Now,
}

pub(super) async fn run(site: Site, stop: Stop) {
    let (news, mut heard) = unbounded_channel();
    let mut yard = Yard::new(site, news, stop.clone());
    yard.begin().await;
    loop {
        yard.intake();
        yard.flush();
        let wake = yard.wake();
        let clock = yard.site.world().clock.clone();
        let feed = yard.site.feed().clone();
        let others = drive::first(feed.rung(), clock.sleep_until(wake));
        match drive::first(drive::stopped(&stop), drive::first(heard.recv(), others)).await {
            First::A(()) => break,
            First::B(First::A(Some(news))) => {
                yard.hear(news);
                yard.drain(&mut heard);
            }
            First::B(First::A(None)) => break,
            // Rung without fresh mail: something became due by order.
            First::B(First::B(First::A(()))) if yard.intake() == 0 => yard.next_claim = yard.site.now(),
            First::B(First::B(_)) => {}
        }
    }
    yard.end(heard).await;
}

impl Yard {
    fn new(site: Site, news: UnboundedSender<News>, stop: Stop) -> Yard {
        let settings = site.settings();
        Yard {
            judging: judging(&settings),
            egresses: egresses(&settings),
            settings,
            flights: BTreeMap::new(),
            trips: BTreeMap::new(),
            places: Places::default(),
            news,
            stop,
            parked: BTreeMap::new(),
            asked_places: BTreeMap::new(),
            asked_senders: BTreeMap::new(),
            senders: Senders::default(),
            queues: BTreeMap::new(),
            ends: Vec::new(),
            next_claim: site.now(),
            claiming: false,
            saved_at: site.now(),
            site,
        }
    }

    /// What the last run left: its leases end, its knowledge of routes comes back.
    async fn begin(&mut self) {
        let (feed, now) = (self.site.feed().clone(), self.site.now());
        let mut fresh = [0; 32];
        self.site.world().random.fill(&mut fresh);
        let recover = move |b: &mut store::Batch<'_>| {
            srs::ensure_key(b, &fresh)?;
            spool::recover(b, &feed, now)
        };
        match self.site.store().commit(Vec::new(), recover).await {
            Ok(0) => {}
            Ok(n) => tracing::info!(messages = n, "messages under way when the last run ended are due again"),
            Err(why) => tracing::error!(%why, "the queue could not be looked through"),
        }
        match self.site.store().read(spool::routes).await {
            Ok(rows) => {
                let (state, lost) = route::State::restore(rows);
                if !lost.is_empty() {
                    tracing::warn!(rows = ?lost, "some of what routes had learned cannot be read and is learned anew");
                }
                *self.site.outbound().routes() = state;
            }
            Err(why) => tracing::warn!(%why, "what routes had learned cannot be read"),
        }
    }

    /// Takes in fresh mail, and asks for what is due. Says how many came in.
    fn intake(&mut self) -> usize {
        self.refresh();
        let room = FLIGHTS_MAX.saturating_sub(self.flights.len());
        let fresh = self.site.feed().take(room.min(CLAIM));
        let count = fresh.len();
        for entry in fresh {
            self.take_off(entry);
        }
        let now = self.site.now();
        if !self.claiming && now >= self.next_claim && room > count {
            self.claim(now, room - count);
        }
        count
    }

    fn claim(&mut self, now: Now, room: usize) {
        self.claiming = true;
        let (feed, news, store) = (self.site.feed().clone(), self.news.clone(), self.site.store().clone());
        let claimed = store.commit(Vec::new(), move |batch| {
            let entries = spool::claim(batch, &feed, now, room.min(CLAIM))?;
            Ok((entries, spool::next_due(batch.sql())?))
        });
        tokio::spawn(async move {
            let (entries, next) = claimed.await.unwrap_or_else(|why| {
                tracing::error!(%why, "the queue cannot be read");
                (Vec::new(), None)
            });
            let _ = news.send(News::Claimed { entries, next });
        });
    }

    /// New settings hold for everything that is planned from now on.
    fn refresh(&mut self) {
        let settings = self.site.settings();
        if !Arc::ptr_eq(&settings, &self.settings) {
            self.judging = judging(&settings);
            self.egresses = egresses(&settings);
            self.settings = settings;
            self.senders = Senders::default();
        }
    }

    fn wake(&self) -> Now {
        let now = self.site.now();
        let look = if self.claiming || self.flights.len() >= FLIGHTS_MAX {
            now + LOOK_EVERY
        } else {
            self.next_claim
        };
        let save =
            if self.site.outbound().routes().has_changes() { self.saved_at + SAVE_EVERY } else { look };
        look.min(now + LOOK_EVERY).min(save)
    }

    /// What is heard already is taken in one go, so that ends share a commit.
    fn drain(&mut self, heard: &mut UnboundedReceiver<News>) {
        for _ in 0..ENDS {
            match heard.try_recv() {
                Ok(news) => self.hear(news),
                Err(_) => return,
            }
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Landed(landed) => self.landed(*landed),
            News::Banner { host, text } => {
                let mut routes = self.site.outbound().routes();
                if route::learn_banner(&mut routes.banners, &host, &text) {
                    routes.note_banner(&host);
                }
            }
            News::Found { domain, found, ttl } => {
                let now = self.site.now();
                self.places.put(domain.clone(), found, now + ttl, now);
                for id in self.asked_places.remove(&domain).unwrap_or_default() {
                    self.wake_up(id);
                }
            }
            News::Sender { domain, facts } => {
                let now = self.site.now();
                self.senders.put(domain.clone(), facts, now);
                for id in self.asked_senders.remove(&domain).unwrap_or_default() {
                    self.wake_up(id);
                }
            }
            News::Claimed { entries, next } => {
                self.claiming = false;
                let full = entries.len() >= CLAIM;
                let now = self.site.now();
                self.next_claim =
                    if full { now } else { next.unwrap_or(now + LOOK_EVERY).max(now + Span::ms(200)) };
                for entry in entries {
                    self.take_off(entry);
                }
            }
            News::Unwritten(ends) => self.ends.extend(ends),
        }
    }

    fn take_off(&mut self, entry: Entry) {
        let id = entry.id;
        self.flights.insert(id, Flight::new(entry, self.site.now()));
        self.go(id);
    }

    fn wake_up(&mut self, id: SpoolId) {
        if let Some(flight) = self.flights.get_mut(&id) {
            for slot in &mut flight.slots {
                if slot.phase == Phase::Parked {
                    slot.phase = Phase::Idle;
                }
            }
            self.go(id);
        }
    }

    /// A session has ended: those who wait for one are planned again, two for one, because the
    /// destination may bear more now.
    pub fn unpark(&mut self, group: &str) {
        for _ in 0..2 {
            let Some(id) = self.parked.get_mut(group).and_then(VecDeque::pop_front) else {
                self.parked.remove(group);
                return;
            };
            self.wake_up(id);
        }
    }

    /// Plans every idle recipient of a message.
    pub fn go(&mut self, id: SpoolId) {
        let Some(flight) = self.flights.get(&id) else { return };
        let sender = flight.entry.sender.as_ref().map(|s| s.domain().clone());
        let facts = match &sender {
            None => SenderFacts { signed: true, ..SenderFacts::default() },
            Some(domain) => match self.senders.get(domain, self.site.now()) {
                Some(facts) => facts.clone(),
                None => return self.ask_sender(id, domain.clone()),
            },
        };
        for (domain, slots) in self.parties(id) {
            match self.places.get(&domain, self.site.now()).cloned() {
                None => self.ask_place(id, domain, &slots),
                Some(Err(nowhere)) => self.nowhere(id, &slots, &nowhere),
                Some(Ok(place)) => self.choose(id, (&domain, &slots, &place), (sender.as_ref(), &facts)),
            }
        }
        self.close_if_resting(id);
    }

    /// Idle recipients that share a destination and a history.
    fn parties(&self, id: SpoolId) -> Vec<(Domain, Vec<usize>)> {
        let Some(flight) = self.flights.get(&id) else { return Vec::new() };
        let mut out: Vec<(Domain, Vec<usize>)> = Vec::new();
        for (n, slot) in flight.slots.iter().enumerate().filter(|(_, s)| s.phase == Phase::Idle) {
            let alike = |first: &usize| {
                let other = &flight.slots[*first].rcpt;
                other.tried == slot.rcpt.tried && other.stick == slot.rcpt.stick
            };
            let domain = slot.rcpt.address.domain();
            match out.iter_mut().find(|(d, s)| d == domain && s.first().is_some_and(alike)) {
                Some((_, slots)) => slots.push(n),
                None => out.push((domain.clone(), vec![n])),
            }
        }
        out
    }

    fn set(&mut self, id: SpoolId, slots: &[usize], phase: &Phase) {
        if let Some(flight) = self.flights.get_mut(&id) {
            for n in slots {
                flight.slots[*n].phase = phase.clone();
            }
        }
    }

    fn ask_sender(&mut self, id: SpoolId, domain: Domain) {
        let idle: Vec<usize> = self.flights.get(&id).map_or(Vec::new(), |f| {
            (0..f.slots.len()).filter(|n| f.slots[*n].phase == Phase::Idle).collect()
        });
        self.set(id, &idle, &Phase::Parked);
        let waiting = self.asked_senders.entry(domain.clone()).or_default();
        waiting.push(id);
        if waiting.len() > 1 {
            return;
        }
        let (site, news, egresses) = (self.site.clone(), self.news.clone(), self.egresses.clone());
        tokio::spawn(async move {
            let facts = senders::gather(&site, &domain, &egresses).await;
            let _ = news.send(News::Sender { domain, facts });
        });
    }

    fn ask_place(&mut self, id: SpoolId, domain: Domain, slots: &[usize]) {
        self.set(id, slots, &Phase::Parked);
        let waiting = self.asked_places.entry(domain.clone()).or_default();
        waiting.push(id);
        if waiting.len() > 1 {
            return;
        }
        let (site, news) = (self.site.clone(), self.news.clone());
        let (own, dnssec) = (self.settings.host_name.clone(), self.settings.dnssec);
        let relayed = self.settings.egresses.iter().all(|e| e.relay.is_some());
        tokio::spawn(async move {
            let (mut found, mut ttl) = places::find(site.world().dns.as_ref(), &domain, &own, dnssec).await;
            if relayed {
                found = places::behind_relays(found, &domain);
            } else if let Ok(place) = &mut found
                && domain.literal_ip().is_none()
            {
                let (sts, believe) = sts::look(&site, &domain).await;
                Arc::make_mut(place).sts = sts;
                ttl = ttl.min(believe);
            }
            let _ = news.send(News::Found { domain, found, ttl });
        });
    }

    fn nowhere(&mut self, id: SpoolId, slots: &[usize], why: &Nowhere) {
        let now = self.site.now();
        for n in slots {
            if why.permanent {
                let (class, subject, detail) = why.status;
                self.fail(id, *n, Enhanced(class, subject, detail), why.says.clone());
            } else {
                self.later(id, *n, None, Some(why.says.clone()), now);
            }
        }
    }

    fn choose(
        &mut self,
        id: SpoolId,
        (domain, slots, place): (&Domain, &[usize], &Arc<Place>),
        (sender, known): (Option<&Domain>, &SenderFacts),
    ) {
        let now = self.site.now();
        let Some(flight) = self.flights.get(&id) else { return };
        let Some(first) = slots.first().map(|n| &flight.slots[*n].rcpt) else { return };
        let tried: Vec<Tried> =
            first.tried.iter().map(|t| Tried { egress: t.egress.clone(), at: t.at }).collect();
        let sender = Sender {
            domain: sender,
            forward: matches!(flight.entry.origin, Origin::Forwarded { .. }),
            dkim_aligned: known.signed,
            dmarc: known.dmarc,
            spf: &known.spf,
        };
        let site = self.site.clone();
        let mut routes = site.outbound().routes();
        let group = route::group_of(domain, &place.names, &routes.banners);
        let facts = Facts {
            egresses: &self.egresses,
            group: &group,
            hosts: &place.names,
            domain,
            sender: &sender,
            tried: &tried,
            accepted_at: flight.entry.at,
            first_blocked: first.first_blocked,
            stick: first.stick.as_deref(),
            may_probe: slots.len() <= 5 && flight.entry.size < 1 << 20,
            draw: stdx::Dice::new(flight.entry.message.0 ^ (slots[0] as u64) << 48).next_u64(),
        };
        let ticked = route::tick(&mut routes, &group, &self.judging, now);
        let verdict = route::plan(&facts, &routes, &self.judging, now);
        if let Way::Send { egress, purpose } = verdict.decision {
            route::start(&mut routes, &facts, egress, purpose, &self.judging, now);
        }
        drop(routes);
        landing::audit(&self.site, &ticked, None);
        match verdict.decision {
            Way::Send { egress, purpose } => {
                let name = self.egresses[egress].name.clone();
                let trip =
                    Trip { group, domain: domain.clone(), egress, name, purpose, reasons: verdict.reasons };
                self.depart(id, slots, (place, trip));
            }
            Way::Wait { slot: true, .. } => self.park(id, slots, group),
            Way::Wait { until, .. } => self.rest(id, slots, until, &verdict.reasons),
            Way::Hold { until, give_up, alert } => {
                landing::alert(&self.site, &alert);
                if let Some(flight) = self.flights.get_mut(&id) {
                    for n in slots {
                        flight.slots[*n].rcpt.first_blocked.get_or_insert(now);
                        flight.slots[*n].give_up = Some(give_up);
                    }
                }
                self.rest(id, slots, until, &verdict.reasons);
            }
            Way::GiveUp { says } => {
                for n in slots {
                    self.fail(id, *n, Enhanced(5, 7, 1), says.clone());
                }
            }
        }
    }

    fn park(&mut self, id: SpoolId, slots: &[usize], group: String) {
        let waiting = self.parked.entry(group).or_default();
        if waiting.len() < PARKED_MAX {
            waiting.push_back(id);
            return self.set(id, slots, &Phase::Parked);
        }
        let until = self.site.now() + SPILL;
        if let Some(flight) = self.flights.get_mut(&id) {
            for n in slots {
                flight.rest_until(*n, until);
            }
        }
    }

    fn rest(&mut self, id: SpoolId, slots: &[usize], until: Now, reasons: &Reasons) {
        let now = self.site.now();
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let notice_at = flight.entry.at + self.judging.delay_notice;
        for n in slots {
            let late = &mut flight.slots[*n].rcpt;
            // The sender is to hear of it in time, also if the next try is later.
            let due = if late.told_late || notice_at <= now { until } else { until.min(notice_at) };
            if late.last.is_none() {
                let reply = reasons.first().says.clone();
                late.last = Some(spool::Last { at: now, egress: String::new(), host: None, reply });
            }
            flight.rest_until(*n, due);
        }
    }

    fn depart(&mut self, id: SpoolId, slots: &[usize], (place, trip): (&Arc<Place>, Trip)) {
        let attempt = self.site.attempt_id();
        let Some(out) = self.settings.egresses.get(trip.egress).cloned() else { return };
        let Some(flight) = self.flights.get_mut(&id) else { return };
        for n in slots {
            flight.slots[*n].phase = Phase::Flying;
        }
        let recipients = slots.iter().map(|n| flight.slots[*n].rcpt.recipient()).collect();
        let envelope = srs::on_the_wire(&self.site, &flight.entry, flight.entry.envelope(recipients));
        let job =
            Job { entry: id, attempt, body: flight.entry.body, slots: slots.to_vec(), envelope, again: 0 };
        self.trips.insert(attempt, trip);
        let wish = Wish::of(&flight.entry.options);
        let hosts = if out.relay.is_some() { String::new() } else { place.key() };
        let key = (out.name.clone(), format!("{hosts} {wish:?}"));
        let stale = self.queues.get(&key).is_none_or(|q| q.is_unused() && q.place != *place);
        if stale {
            self.queues.insert(key.clone(), Arc::new(Queue::new(out, place.clone(), wish)));
        }
        let Some(queue) = self.queues.get(&key) else { return };
        if queue.push(job, self.settings.sessions_per_destination_max) {
            let queue = queue.clone();
            tokio::spawn(line::serve(self.site.clone(), queue, self.news.clone(), self.stop.clone()));
        }
    }

    pub fn fail(&mut self, id: SpoolId, slot: usize, status: Enhanced, says: String) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let replies: Vec<String> =
            flight.slots[slot].rcpt.tried.iter().map(|t| format!("{}: {}", t.egress, t.reply)).collect();
        let last =
            flight.slots[slot].rcpt.last.as_ref().filter(|l| !l.egress.is_empty()).map(|l| l.reply.clone());
        let reply =
            if replies.len() > 1 { Some(replies.join(" / ")) } else { replies.into_iter().next().or(last) };
        // A remote server may refuse without a word; the walk and the notice still say something.
        let says = if says.trim().is_empty() { message::dsn::plain_words(status).to_owned() } else { says };
        landing::note_failure(flight, slot, (&says, status, reply.as_deref()), self.site.now());
        flight.fail(slot, status, says, reply);
    }

    /// Later, unless its time is over.
    pub fn later(&mut self, id: SpoolId, slot: usize, at: Option<Now>, why: Option<String>, now: Now) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let over = flight.entry.at + self.judging.expire;
        let rcpt = &mut flight.slots[slot].rcpt;
        rcpt.rounds += 1;
        if let Some(reply) = why {
            let (egress, host) = (String::new(), None);
            rcpt.last = Some(spool::Last { at: now, egress, host, reply });
        }
        if now >= over {
            let said = rcpt.last.as_ref().map_or("", |l| l.reply.as_str());
            let says = format!(
                "It could not be handed over within {}. The last word was: {said}",
                self.judging.expire
            );
            return self.fail(id, slot, Enhanced(4, 4, 7), says);
        }
        let due = at.unwrap_or_else(|| route::retry_at(now, rcpt.rounds, flight.entry.message.0));
        let notice_at = flight.entry.at + self.judging.delay_notice;
        let early =
            !rcpt.told_late && notice_at > now && notice_at < due && due.since(notice_at) > Span::mins(30);
        flight.rest_until(slot, if early { notice_at } else { due.min(over) });
    }

    /// When nothing of a message moves any more, it is written.
    pub fn close_if_resting(&mut self, id: SpoolId) {
        if !self.flights.get(&id).is_some_and(Flight::is_resting) {
            return;
        }
        let Some(mut flight) = self.flights.remove(&id) else { return };
        self.tell_late(&mut flight);
        let (entry, facts, told) = flight.into_entry();
        if let Some(due) = entry.due().filter(|_| !entry.rcpts.is_empty()) {
            self.next_claim = self.next_claim.min(due);
        }
        let end = End { entry, facts, told };
        if end.entry.sender.is_some() && end.told.iter().any(notice::wanted) {
            self.tell(end);
        } else {
            self.ends.push(end);
        }
        if self.ends.len() >= ENDS {
            self.flush();
        }
    }

    /// RFC 5321 §4.5.4.1: the sender hears once that mail is late.
    fn tell_late(&self, flight: &mut Flight) {
        let now = self.site.now();
        if now < flight.entry.at + self.judging.delay_notice || flight.entry.origin == Origin::Notice {
            return;
        }
        let over = flight.entry.at + self.judging.expire;
        for slot in flight
            .slots
            .iter_mut()
            .filter(|s| s.phase == Phase::Rest && !s.rcpt.is_held() && !s.rcpt.told_late)
        {
            slot.rcpt.told_late = true;
            let blocked = slot.rcpt.first_blocked.map(|at| at + self.judging.hold);
            let until = blocked.map_or(over, |end| slot.give_up.unwrap_or(end));
            let last = slot.rcpt.last.clone();
            let says = "It is not delivered yet; the server goes on trying.".to_owned();
            let (host, reply) = last.map_or((None, None), |l| (l.host, Some(l.reply)));
            let rcpt = slot.rcpt.clone();
            flight.told.push(Word {
                rcpt,
                how: How::Delayed { until },
                status: Enhanced(4, 4, 7),
                says,
                host,
                reply,
            });
        }
    }

    fn tell(&self, end: End) {
        let (site, news) = (self.site.clone(), self.news.clone());
        tokio::spawn(async move {
            if let Err(why) = ends::tell(&site, end.clone()).await {
                tracing::error!(%why, "the end of a message could not be written; it is tried again");
                site.world().clock.sleep_until(site.now() + Span::secs(2)).await;
                let _ = news.send(News::Unwritten(vec![end]));
            }
        });
    }

    fn flush(&mut self) {
        let now = self.site.now();
        let routes = if now.since(self.saved_at) >= SAVE_EVERY {
            self.saved_at = now;
            self.site.outbound().routes().take_changes()
        } else {
            Vec::new()
        };
        let mut ends = std::mem::take(&mut self.ends);
        let loud: Vec<End> =
            ends.extract_if(.., |e| e.entry.sender.is_some() && e.told.iter().any(notice::wanted)).collect();
        loud.into_iter().for_each(|end| self.tell(end));
        if ends.is_empty() && routes.is_empty() {
            return;
        }
        let (site, news, kept) = (self.site.clone(), self.news.clone(), ends.clone());
        tokio::spawn(async move {
            if let Err(why) = ends::write(&site, ends, routes).await {
                tracing::error!(%why, "the ends of messages could not be written; they are tried again");
                site.world().clock.sleep_until(site.now() + Span::secs(2)).await;
                let _ = news.send(News::Unwritten(kept));
            }
        });
    }

    /// Stops: what flies may land, then everything that is known is written.
    async fn end(mut self, mut heard: UnboundedReceiver<News>) {
        let until = self.site.now() + GRACE;
        let clock = self.site.world().clock.clone();
        while !self.trips.is_empty() {
            match drive::first(heard.recv(), clock.sleep_until(until)).await {
                First::A(Some(news)) => self.hear_last(news),
                _ => break,
            }
        }
        let routes = self.site.outbound().routes().take_changes();
        let ends = std::mem::take(&mut self.ends);
        if let Err(why) = ends::write(&self.site, ends, routes).await {
            tracing::error!(%why, "the last ends could not be written; those messages may be sent twice");
        }
    }

    /// After the stop nothing new begins.
    fn hear_last(&mut self, news: News) {
        if let News::Landed(landed) = news {
            self.landed(*landed);
        }
    }
}
