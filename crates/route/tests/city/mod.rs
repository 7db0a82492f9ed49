//! A small city for the judge: a queue of messages, remotes as functions, virtual time.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use route::{
    Dmarc, Egress, Event, Facts, News, Next, Outcome, Purpose, Refusal, Sender, Settings, Spf, Stage, State,
    Told, Tried, Way,
};
use stdx::{Dice, Now, Span};
use words::Domain;

const DAY0: u64 = 1_700_000_000_000;
/// A try takes so long.
const TRY: Span = Span::ms(400);

pub fn at(minute: u64) -> Now {
    Now(DAY0) + Span::mins(minute)
}
pub fn mins(n: u64) -> Span {
    Span::mins(n)
}

pub enum Reply {
    Ok,
    No { code: u16, text: String, stage: Stage },
}
impl Reply {
    pub fn no(code: u16, text: &str) -> Reply {
        Reply::No { code, text: text.to_owned(), stage: Stage::Rcpt }
    }
    pub fn auth(code: u16, text: &str) -> Reply {
        Reply::No { code, text: text.to_owned(), stage: Stage::Auth }
    }
}

pub struct Try {
    pub at: Now,
    pub egress: String,
    pub domain: String,
    pub sender: String,
    pub message: usize,
    pub ok: bool,
    pub strict: bool,
}

struct Mail {
    domain: Domain,
    sender: Domain,
    accepted: Now,
    tried: Vec<Tried>,
    first_blocked: Option<Now>,
    stick: Option<String>,
    rounds: u32,
    draw: u64,
    strict: Option<(Dmarc, Vec<Spf>)>,
    done: Option<bool>,
    first_try: Option<Now>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Due,
    Landed { egress: usize, purpose: u8 },
    News { list: String, egress: String, news: News },
}

type Remote = Box<dyn FnMut(&str, &str, &str, Now, &mut Dice) -> Reply>;

pub struct City {
    pub dice: Dice,
    pub state: State,
    pub tries: Vec<Try>,
    pub alerts: Vec<String>,
    pub alert_at: Option<Now>,
    pub ended: Vec<(Now, Now)>,
    pub zones: Vec<String>,
    pub senders: Vec<String>,
    settings: Settings,
    egresses: Vec<Egress>,
    hosts: BTreeMap<String, Vec<String>>,
    mails: Vec<Mail>,
    pub events: Vec<(Now, Event)>,
    queue: BinaryHeap<std::cmp::Reverse<(Now, u64, usize, What)>>,
    serial: u64,
    remote: Remote,
    late: Span,
}

const PURPOSES: [Purpose; 6] =
    [Purpose::Usual, Purpose::Moved, Purpose::Probe, Purpose::Step, Purpose::Pinned, Purpose::LastCall];

impl City {
    pub fn new(seed: u64, egresses: Vec<Egress>) -> City {
        City {
            dice: Dice::new(seed),
            state: State::new(),
            tries: Vec::new(),
            alerts: Vec::new(),
            alert_at: None,
            ended: Vec::new(),
            zones: Vec::new(),
            senders: vec!["sender.example".to_owned()],
            settings: Settings::default(),
            egresses,
            hosts: BTreeMap::new(),
            mails: Vec::new(),
            events: Vec::new(),
            queue: BinaryHeap::new(),
            serial: 0,
            remote: Box::new(|_, _, _, _, _| Reply::Ok),
            late: Span::ZERO,
        }
    }
    pub fn remote(&mut self, mut f: impl FnMut(&str, &str, Now, &mut Dice) -> Reply + 'static) {
        self.remote = Box::new(move |egress, domain, _, now, dice| f(egress, domain, now, dice));
    }
    pub fn remote_with_sender(&mut self, mut f: impl FnMut(&str, &str, Now) -> Reply + 'static) {
        self.remote = Box::new(move |egress, _, sender, now, _| f(egress, sender, now));
    }
    pub fn host(&mut self, domain: &str, mx: &str) {
        self.hosts.insert(domain.to_owned(), vec![mx.to_owned()]);
    }
    pub fn mail(&mut self, domain: &str, when: Now) {
        self.put(domain, when, None);
    }
    pub fn strict_mail(&mut self, domain: &str, when: Now, dmarc: Dmarc, spf: &[Spf]) {
        self.put(domain, when, Some((dmarc, spf.to_vec())));
    }
    fn put(&mut self, domain: &str, when: Now, strict: Option<(Dmarc, Vec<Spf>)>) {
        let sender = self.senders[self.mails.len() % self.senders.len()].clone();
        self.mails.push(Mail {
            domain: Domain::new(domain).expect("valid"),
            sender: Domain::new(&sender).expect("valid"),
            accepted: when,
            tried: Vec::new(),
            first_blocked: None,
            stick: None,
            rounds: 0,
            draw: self.dice.next_u64(),
            strict,
            done: None,
            first_try: None,
        });
        self.push(when, self.mails.len() - 1, What::Due);
    }
    pub fn news(&mut self, when: Now, list: &str, egress: &str, news: News) {
        self.push(when, 0, What::News { list: list.to_owned(), egress: egress.to_owned(), news });
    }
    fn push(&mut self, when: Now, mail: usize, what: What) {
        self.serial += 1;
        self.queue.push(std::cmp::Reverse((when, self.serial, mail, what)));
    }
    pub fn run(&mut self, until: Now) {
        while let Some(std::cmp::Reverse(head)) = self.queue.pop() {
            let (now, _, mail, what) = head;
            if now > until {
                self.serial += 1;
                self.queue.push(std::cmp::Reverse((now, self.serial, mail, what)));
                return;
            }
            match what {
                What::Due => self.due(mail, now),
                What::Landed { egress, purpose } => {
                    self.landed(mail, egress, PURPOSES[usize::from(purpose)], now)
                }
                What::News { list, egress, news } => {
                    let events = route::learn_list(&mut self.state, &list, &egress, news, now);
                    self.audit(events, now);
                }
            }
        }
    }

    fn due(&mut self, mail: usize, now: Now) {
        if self.mails[mail].done.is_some() {
            return;
        }
        let m = &self.mails[mail];
        let hosts = self.hosts.get(m.domain.as_str()).cloned().unwrap_or_default();
        let group = route::group_of(&m.domain, &hosts, &self.state.banners);
        let ticked = route::tick(&mut self.state, &group, &self.settings, now);
        self.audit(ticked, now);
        let m = &self.mails[mail];
        let (dmarc, spf) = m.strict.clone().unwrap_or_default();
        let sender = Sender { domain: Some(&m.sender), dmarc, spf: &spf, ..Sender::default() };
        let facts = Facts {
            egresses: &self.egresses,
            group: &group,
            hosts: &hosts,
            domain: &m.domain,
            sender: &sender,
            tried: &m.tried,
            accepted_at: m.accepted,
            first_blocked: m.first_blocked,
            stick: m.stick.as_deref(),
            may_probe: true,
            draw: m.draw,
        };
        let verdict = route::plan(&facts, &self.state, &self.settings, now);
        match verdict.decision {
            Way::Send { egress, purpose } => {
                route::start(&mut self.state, &facts, egress, purpose, &self.settings, now);
                let purpose = PURPOSES.iter().position(|p| *p == purpose).expect("listed") as u8;
                self.mails[mail].first_try.get_or_insert(now);
                self.push(now + TRY, mail, What::Landed { egress, purpose });
            }
            Way::Wait { until, slot } => self.push(
                if slot { now + Span::ms(300) } else { until.max(now + Span::ms(1)) },
                mail,
                What::Due,
            ),
            Way::Hold { until, alert, .. } => {
                assert!(until > now, "a hold moves on");
                self.mails[mail].first_blocked.get_or_insert(now);
                if self.state.alert_due(&alert.key, Span::hours(24), now) {
                    self.alerts.push(alert.says);
                    self.alert_at.get_or_insert(now);
                }
                self.push(until, mail, What::Due);
            }
            Way::GiveUp { .. } => self.end(mail, false, now),
        }
    }

    fn end(&mut self, mail: usize, ok: bool, now: Now) {
        self.mails[mail].done = Some(ok);
        if !ok {
            self.ended.push((self.mails[mail].accepted, now));
        } else if let Some(first) = self.mails[mail].first_try {
            self.late = self.late.max(now.since(first));
        }
    }

    fn landed(&mut self, mail: usize, egress: usize, purpose: Purpose, now: Now) {
        let m = &self.mails[mail];
        let hosts = self.hosts.get(m.domain.as_str()).cloned().unwrap_or_default();
        let group = route::group_of(&m.domain, &hosts, &self.state.banners);
        let out = self.egresses[egress].clone();
        let reply = (self.remote)(&out.name, m.domain.as_str(), m.sender.as_str(), now, &mut self.dice);
        let (text, permanent);
        let told = match &reply {
            Reply::Ok => Told::Taken,
            Reply::No { code, text: said, stage } => {
                let (enhanced, rest) = said.split_once(' ').unwrap_or(("", said));
                let enhanced = enhanced.parse().ok();
                let plain = if enhanced.is_some() { rest } else { said };
                let provider = route::group::provider_of(&group).map(|p| p.id);
                let reading = route::classify(&Refusal {
                    stage: *stage,
                    code: *code,
                    enhanced,
                    text: plain,
                    provider,
                    mx_host: None,
                });
                permanent = *code >= 500;
                text = format!("{code} {said}");
                Told::Refused { stage: *stage, reading, permanent, reply: &text }
            }
        };
        let ok = matches!(reply, Reply::Ok);
        self.tries.push(Try {
            at: now,
            egress: out.name.clone(),
            domain: m.domain.as_str().to_owned(),
            sender: m.sender.as_str().to_owned(),
            message: mail,
            ok,
            strict: m.strict.is_some(),
        });
        let outcome = Outcome {
            egress: &out,
            group: &group,
            host: hosts.first().map(String::as_str),
            domain: &m.domain,
            sender_domain: Some(&m.sender),
            purpose,
            told,
            zones: &self.zones,
        };
        let lesson = route::learn(&mut self.state, &outcome, &self.settings, now);
        self.audit(lesson.events, now);
        let m = &mut self.mails[mail];
        match lesson.next.decision {
            Next::Done => self.end(mail, true, now),
            Next::Bounce => self.end(mail, false, now),
            Next::OtherEgress => {
                m.tried.retain(|t| t.egress != out.name);
                m.tried.push(Tried { egress: out.name, at: now });
                m.first_blocked.get_or_insert(now);
                self.push(now, mail, What::Due);
            }
            Next::Later { at, stick } => {
                m.rounds += 1;
                m.stick = stick.then_some(out.name);
                let when = at.unwrap_or_else(|| route::retry_at(now, m.rounds, m.draw));
                self.push(when, mail, What::Due);
            }
            Next::Again => self.push(now + Span::secs(1), mail, What::Due),
        }
    }

    /// Each decision says what, because of what, and by which order it is undone.
    fn audit(&mut self, events: Vec<Event>, now: Now) {
        for event in events {
            assert!(!event.says.is_empty() && !event.undo.is_empty(), "{event:?}");
            assert!(!event.evidence.is_empty() && event.evidence.iter().all(|e| !e.is_empty()), "{event:?}");
            assert!(event.until.is_none_or(|until| until >= now), "{event:?}");
            for order in event.undo.split("; ").filter(|order| order.starts_with("postroad route pin ")) {
                let name = order.rsplit(' ').next().unwrap_or_default();
                assert!(self.egresses.iter().any(|e| e.name == name), "no egress of ours: {order}");
            }
            self.events.push((now, event));
        }
    }

    /// By which orders the decisions of one kind are undone.
    pub fn undo(&self, kind: &str) -> BTreeSet<&str> {
        let of_kind = self.events.iter().filter(|(_, e)| e.kind.name() == kind);
        of_kind.map(|(_, e)| e.undo.as_str()).collect()
    }

    pub fn delivered(&self) -> usize {
        self.mails.iter().filter(|m| m.done == Some(true)).count()
    }
    pub fn bounced(&self) -> usize {
        self.mails.iter().filter(|m| m.done == Some(false)).count()
    }
    pub fn event_at(&self, name: &str) -> Option<Now> {
        self.events.iter().find(|(_, e)| e.kind.name() == name).map(|(at, _)| *at)
    }
    pub fn count(&self, name: &str) -> usize {
        self.events.iter().filter(|(_, e)| e.kind.name() == name).count()
    }
    /// The longest time between a message's first try and its delivery.
    pub fn late_max(&self) -> Span {
        self.late
    }
    pub fn tries_by_message(&self) -> BTreeMap<(usize, String), Vec<Now>> {
        let mut out: BTreeMap<(usize, String), Vec<Now>> = BTreeMap::new();
        for t in &self.tries {
            out.entry((t.message, t.egress.clone())).or_default().push(t.at);
        }
        out
    }
}
