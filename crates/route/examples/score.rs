//! `cargo run -p route --release --example score -- FILE.jsonl [misses]`: how the classifier does
//! on labelled replies.

use std::collections::BTreeMap;

use route::{Class, Refusal};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let file = args.next().ok_or("give the file of labelled replies: score FILE.jsonl [misses]")?;
    let show = args.next().is_some();
    let text = std::fs::read_to_string(file)?;
    let (mut n, mut right, mut by_rule, mut by_linear) = (0, 0, (0, 0), (0, 0));
    let (mut tp, mut fp, mut fneg, mut ip_bounced, mut ip5, mut burnt, mut rc) = (0, 0, 0, 0, 0, 0, 0);
    let mut wrong: BTreeMap<&str, u32> = BTreeMap::new();
    let mut clusters: BTreeMap<i64, (u32, u32)> = BTreeMap::new();
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        let row: serde_json::Value = serde_json::from_str(line)?;
        let s = |k: &str| row[k].as_str().unwrap_or("").to_owned();
        let (said, provider, want) = (s("text"), s("provider"), s("label"));
        let refusal = Refusal {
            code: s("code").parse().unwrap_or(0),
            enhanced: s("enhanced").parse().ok(),
            text: &said,
            provider: Some(provider.as_str()).filter(|p| *p != "other"),
            ..Refusal::default()
        };
        let got = route::classify(&refusal);
        let want: Class = want.parse().map_err(|()| format!("no such label: {want}"))?;
        let ok = got.class == want;
        n += 1;
        right += u32::from(ok);
        let cell = if got.rule == "linear" { &mut by_linear } else { &mut by_rule };
        *cell = (cell.0 + u32::from(ok), cell.1 + 1);
        let c = clusters.entry(row["cluster"].as_i64().unwrap_or(-1)).or_default();
        *c = (c.0 + u32::from(ok), c.1 + 1);
        match (want == Class::IpReputation, got.class == Class::IpReputation) {
            (true, true) => tp += 1,
            (false, true) => fp += 1,
            (true, false) => fneg += 1,
            _ => {}
        }
        let permanent = refusal.code >= 500;
        if want == Class::IpReputation {
            ip5 += 1;
            ip_bounced += u32::from(got.remedy(permanent) == route::Remedy::Bounce);
        }
        if matches!(want, Class::Recipient | Class::Content) {
            rc += 1;
            burnt += u32::from(got.remedy(permanent) == route::Remedy::OtherEgress);
        }
        if !ok {
            *wrong.entry(got.rule).or_default() += 1;
            if show {
                println!(
                    "{want} read as {} [{}] {} {} | {}",
                    got.class,
                    got.rule,
                    refusal.code,
                    s("enhanced"),
                    said.chars().take(200).collect::<String>()
                );
            }
        }
    }
    let (p, r) = (f64::from(tp) / f64::from(tp + fp), f64::from(tp) / f64::from(tp + fneg));
    let macro_clusters: f64 =
        clusters.values().map(|c| f64::from(c.0) / f64::from(c.1)).sum::<f64>() / clusters.len() as f64;
    println!("replies {n}, accuracy {:.3}, per cluster {macro_clusters:.3}", f64::from(right) / f64::from(n));
    println!("rules {}/{}, linear {}/{}", by_rule.0, by_rule.1, by_linear.0, by_linear.1);
    println!("ip_reputation precision {p:.3} recall {r:.3} F1 {:.3}", 2.0 * p * r / (p + r));
    println!(
        "ip refusals that would bounce {ip_bounced} of {ip5}; recipient/content refusals sent through another egress {burnt} of {rc}"
    );
    println!("wrong by rule: {wrong:?}");
    Ok(())
}
