//! `cargo run -p route --release --example train -- FILE.jsonl crates/route/data/weights.bin`:
//! learns the linear fallback from labelled replies and says how it does on clusters it has not
//! seen (ten folds). The output holds weights only.

use route::linear::{BUCKETS, CLASSES, SCALE, best, features, probabilities};
use route::text::Text;
use route::{Class, Refusal};
use stdx::Dice;

const ROUNDS: usize = 60;
const RATE: f32 = 0.25;
const DECAY: f32 = 2e-4;
const FOLDS: u64 = 10;

struct Row {
    features: Vec<usize>,
    class: Class,
    cluster: i64,
    ruled: Option<Class>,
}

fn rows(path: &str) -> Result<Vec<Row>, Box<dyn std::error::Error>> {
    let mut out = Vec::new();
    for line in std::fs::read_to_string(path)?.lines().filter(|l| !l.trim().is_empty()) {
        let row: serde_json::Value = serde_json::from_str(line)?;
        let s = |k: &str| row[k].as_str().unwrap_or("").to_owned();
        let (said, provider) = (s("text"), s("provider"));
        let refusal = Refusal {
            code: s("code").parse().unwrap_or(0),
            enhanced: s("enhanced").parse().ok(),
            text: &said,
            provider: Some(provider.as_str()),
            ..Refusal::default()
        };
        let text = Text::fold(&said);
        out.push(Row {
            features: features(&refusal, &text),
            class: s("label").parse().map_err(|()| "no such label")?,
            cluster: row["cluster"].as_i64().unwrap_or(0),
            ruled: route::rules::first(&refusal, &text).map(|r| r.class),
        });
    }
    Ok(out)
}

fn train(rows: &[&Row], seed: u64) -> Vec<f32> {
    let mut weights = vec![0.0f32; BUCKETS * CLASSES];
    let mut squares = vec![1e-2f32; BUCKETS * CLASSES];
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let mut dice = Dice::new(seed);
    for _ in 0..ROUNDS {
        dice.shuffle(&mut order);
        for &i in &order {
            let row = rows[i];
            let p = probabilities(|f, c| weights[f * CLASSES + c], &row.features);
            for (c, p) in p.iter().enumerate() {
                let error = p - if c == row.class.index() { 1.0 } else { 0.0 };
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

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let file = args.next().ok_or("train FILE.jsonl [weights.bin]")?;
    let rows = rows(&file)?;
    let fold = |cluster: i64| Dice::new(cluster as u64).below(FOLDS);
    let (mut right, mut both, mut silent) = (0, 0, (0, 0));
    let (mut tp, mut fp, mut fneg) = (0, 0, 0);
    for k in 0..FOLDS {
        let seen: Vec<&Row> = rows.iter().filter(|r| fold(r.cluster) != k).collect();
        let weights = train(&seen, 1);
        for row in rows.iter().filter(|r| fold(r.cluster) == k) {
            let (guess, _) = best(&probabilities(|f, c| weights[f * CLASSES + c], &row.features));
            right += usize::from(guess == row.class);
            both += usize::from(row.ruled.unwrap_or(guess) == row.class);
            if row.ruled.is_none() {
                silent = (silent.0 + usize::from(guess == row.class), silent.1 + 1);
            }
            match (row.class == Class::IpReputation, guess == Class::IpReputation) {
                (true, true) => tp += 1,
                (false, true) => fp += 1,
                (true, false) => fneg += 1,
                _ => {}
            }
        }
    }
    let n = rows.len() as f64;
    let f1 = 2.0 * f64::from(tp) / f64::from(2 * tp + fp + fneg);
    println!("unseen clusters: fallback alone {:.3}, its ip_reputation F1 {f1:.3}", right as f64 / n);
    println!(
        "rules (not cross-validated) + fallback {:.3}; where rules are silent {}/{}",
        both as f64 / n,
        silent.0,
        silent.1
    );
    if let Some(out) = args.next() {
        let all: Vec<&Row> = rows.iter().collect();
        let bytes: Vec<u8> = train(&all, 1).iter().map(|w| (w * SCALE) as i8 as u8).collect();
        std::fs::write(&out, bytes)?;
        println!("wrote {out}");
    }
    Ok(())
}
