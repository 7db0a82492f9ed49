//! `cargo run -p route --release --example train -- FILE.jsonl OUT|- [MORE.txt ...]`: learns the
//! linear fallback from labelled replies and says how it does on clusters it has not seen (ten
//! folds). MORE are lines `label|code|enhanced|provider|text`, learned from in every fold and
//! never scored; `test:MORE.txt` is scored and never learned from. The output holds weights only.

use std::collections::{BTreeMap, BTreeSet};

use route::linear::{BUCKETS, CLASSES, SCALE, best, features, probabilities, share};
use route::text::Text;
use route::{Class, Refusal, Remedy};
use stdx::Dice;

const ROUNDS: usize = 30;
const RATE: f32 = 0.3;
const DECAY: f32 = 1.5e-3;
const FOLDS: u64 = 10;

struct Row {
    said: (u16, Option<words::Enhanced>, Option<String>, Text),
    features: Vec<usize>,
    class: Class,
    /// Negative: learned from in every fold.
    cluster: i64,
}

type Fault = Box<dyn std::error::Error>;

impl Row {
    fn new([label, code, enhanced, provider, said]: [&str; 5], cluster: i64) -> Result<Row, Fault> {
        let text = Text::fold(said);
        let provider = Some(provider.to_owned()).filter(|p| !p.is_empty() && *p != "other");
        let enhanced = enhanced.parse().ok().or(text.enhanced);
        let class = label.parse().map_err(|()| format!("no such label: {label}"))?;
        let said = (code.parse().unwrap_or(0), enhanced, provider, text);
        let mut row = Row { said, features: Vec::new(), class, cluster };
        row.features = features(&row.refusal(), &row.said.3);
        Ok(row)
    }
    fn refusal(&self) -> Refusal<'_> {
        let (code, enhanced, provider, _) = &self.said;
        Refusal { code: *code, enhanced: *enhanced, provider: provider.as_deref(), ..Refusal::default() }
    }
}

fn labelled(path: &str) -> Result<Vec<Row>, Fault> {
    let mut out = Vec::new();
    for line in std::fs::read_to_string(path)?.lines().filter(|l| !l.trim().is_empty()) {
        let json: serde_json::Value = serde_json::from_str(line)?;
        let s = |k: &str| json[k].as_str().unwrap_or("").to_owned();
        let fields =
            [&s("label"), &s("code"), &s("enhanced"), &s("provider"), &s("text")].map(|f| f.to_owned());
        out.push(Row::new(fields.each_ref().map(String::as_str), json["cluster"].as_i64().unwrap_or(0))?);
    }
    Ok(out)
}

fn sentences(path: &str) -> Result<Vec<Row>, Fault> {
    let mut out = Vec::new();
    for line in std::fs::read_to_string(path)?.lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
        let parts: Vec<&str> = line.splitn(5, '|').collect();
        let fields: [&str; 5] = parts.try_into().map_err(|_| line.to_owned())?;
        out.push(Row::new(fields, -1)?);
    }
    Ok(out)
}

fn train(rows: &[&Row], seed: u64) -> Vec<f32> {
    let mut weights = vec![0.0f32; BUCKETS * CLASSES];
    let mut squares = vec![1.0f32; BUCKETS * CLASSES];
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let mut dice = Dice::new(seed);
    for _ in 0..ROUNDS {
        dice.shuffle(&mut order);
        for &i in &order {
            let row = rows[i];
            let share = share(&row.features);
            let p = probabilities(|f, c| weights[f * CLASSES + c], &row.features);
            for (c, p) in p.iter().enumerate() {
                let error = (p - if c == row.class.index() { 1.0 } else { 0.0 }) * share;
                for f in &row.features {
                    let at = f * CLASSES + c;
                    let gradient = error + DECAY * weights[at];
                    squares[at] += gradient * gradient;
                    weights[at] -= RATE * gradient / squares[at].sqrt();
                }
            }
        }
    }
    weights.iter().map(|w| (w * SCALE).round().clamp(-127.0, 127.0) / SCALE).collect()
}

#[derive(Default)]
struct Score {
    n: u32,
    right: u32,
    tp: u32,
    fp: u32,
    missed: u32,
    bounced: u32,
    burnt: u32,
    sure: [(u32, u32); 10],
}

impl Score {
    fn add(&mut self, row: &Row, weights: &[f32]) {
        let (guess, p) = best(&probabilities(|f, c| weights[f * CLASSES + c], &row.features));
        self.note(row, guess, p);
    }
    /// Rules and fallback together, with only those patterns that another cluster bears out.
    fn audit(&mut self, row: &Row, weights: &[f32], support: &Support) {
        let spread = probabilities(|f, c| weights[f * CLASSES + c], &row.features);
        let borne_out = |_: &route::rules::Rule, pattern: &'static str| {
            support.get(pattern).is_some_and(|seen| seen.iter().any(|c| *c != row.cluster))
        };
        let ruled = route::rules::first_of(&row.refusal(), &row.said.3, borne_out);
        let reading = route::classify::combine(ruled, spread, &row.said.3);
        let permanent = row.said.0 >= 500;
        let remedy = reading.remedy(permanent);
        self.bounced += u32::from(row.class == Class::IpReputation && remedy == Remedy::Bounce);
        let theirs = matches!(row.class, Class::Recipient | Class::Content);
        self.burnt += u32::from(theirs && remedy == Remedy::OtherEgress);
        self.note(row, reading.class, reading.confidence);
        if reading.class != row.class && std::env::args().any(|a| a == "misses") {
            let said = row.said.3.tokens.iter().take(30).cloned().collect::<Vec<_>>().join(" ");
            println!(
                "{} read as {} [{}] {:?} {} | {said}",
                row.class, reading.class, reading.rule, row.said.1, row.said.0
            );
        }
    }
    fn note(&mut self, row: &Row, guess: Class, p: f32) {
        self.n += 1;
        self.right += u32::from(guess == row.class);
        let cell = &mut self.sure[((p * 10.0) as usize).min(9)];
        *cell = (cell.0 + u32::from(guess == row.class), cell.1 + 1);
        match (row.class == Class::IpReputation, guess == Class::IpReputation) {
            (true, true) => self.tp += 1,
            (false, true) => self.fp += 1,
            (true, false) => self.missed += 1,
            _ => {}
        }
    }
    fn print(&self, what: &str) {
        let f1 = 2.0 * f64::from(self.tp) / f64::from(2 * self.tp + self.fp + self.missed).max(1.0);
        println!(
            "{what}: {:.3} of {}, ip_reputation F1 {f1:.3} ({} right, {} wrong, {} missed; {} bounced, {} burnt); by certainty {:?}",
            f64::from(self.right) / f64::from(self.n.max(1)),
            self.n,
            self.tp,
            self.fp,
            self.missed,
            self.bounced,
            self.burnt,
            self.sure
        );
    }
}

/// Pattern → the clusters it is found in, own sentences as cluster -1.
type Support = BTreeMap<&'static str, BTreeSet<i64>>;

fn support(rows: &[Row]) -> Support {
    let mut out = Support::new();
    for rule in route::rules::ORDER.iter().flat_map(|g| g.iter()) {
        for pattern in rule.says {
            let seen = rows.iter().filter(|r| r.said.3.has(pattern)).map(|r| r.cluster);
            out.entry(pattern).or_default().extend(seen);
        }
    }
    out
}

fn main() -> Result<(), Fault> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let file = args.first().ok_or("train FILE.jsonl OUT|- [MORE.txt ...]")?;
    let mut rows = labelled(file)?;
    let mut tests = Vec::new();
    for more in args.iter().skip(2).filter(|a| *a != "misses") {
        match more.strip_prefix("test:") {
            Some(path) => tests.push((path.to_owned(), sentences(path)?)),
            None => rows.extend(sentences(more)?),
        }
    }
    let fold = |cluster: i64| Dice::new(cluster as u64).below(FOLDS);
    let (mut unseen, mut audited) = (Score::default(), Score::default());
    let support = support(&rows);
    let lone = support.values().filter(|s| s.len() == 1).count();
    println!("{} patterns, {lone} of them borne out by one cluster only", support.len());
    for k in 0..FOLDS {
        let seen: Vec<&Row> = rows.iter().filter(|r| r.cluster < 0 || fold(r.cluster) != k).collect();
        let weights = train(&seen, 1);
        for row in rows.iter().filter(|r| r.cluster >= 0 && fold(r.cluster) == k) {
            unseen.add(row, &weights);
            audited.audit(row, &weights, &support);
        }
    }
    unseen.print("unseen clusters, fallback alone");
    audited.print("unseen clusters, fallback and patterns that another cluster bears out");
    let all: Vec<&Row> = rows.iter().collect();
    let weights = train(&all, 1);
    for (name, rows) in &tests {
        let mut score = Score::default();
        rows.iter().for_each(|r| score.add(r, &weights));
        score.print(name);
    }
    if let Some(out) = args.get(1).filter(|o| *o != "-") {
        let bytes: Vec<u8> = weights.iter().map(|w| (w * SCALE) as i8 as u8).collect();
        std::fs::write(out, bytes)?;
        println!("wrote {out}");
    }
    Ok(())
}
