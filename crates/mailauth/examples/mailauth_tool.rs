//! The evaluators on the command line, for outside tests:
//! `spf FILE.json`, `arc FILE.json` run a public suite (turned into JSON); `keygen rsa|ed25519`
//! prints a key and its record; `sign KEY.pem DOMAIN SELECTOR NOW` signs standard input;
//! `verify ZONE.json NOW` prints the results for standard input.

#[path = "../src/zone.rs"]
mod zone;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Read, Write};

use mailauth::keys::{Algorithm, SigningKey};
use mailauth::{arc, dkim, spf};
use serde_json::Value;
use stdx::Now;
use zone::{Record, Zone};

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["spf", file] => suite_spf(&json(file)?),
        ["arc", file] => suite_arc(&json(file)?),
        ["keygen", kind] => keygen(kind),
        ["sign", key, domain, selector, at] => sign(key, domain, selector, at.parse()?),
        ["verify", file, at] => verify(&json(file)?, at.parse()?),
        _ => Err("spf FILE | arc FILE | keygen KIND | sign KEY DOMAIN SELECTOR NOW | verify ZONE NOW".into()),
    }
}

fn json(file: &str) -> Result<Value, Box<dyn Error>> {
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}

fn input() -> Result<Vec<u8>, Box<dyn Error>> {
    let mut data = Vec::new();
    std::io::stdin().read_to_end(&mut data)?;
    Ok(data)
}

fn text(v: &Value) -> String {
    match v {
        Value::String(s) => s.clone(),
        Value::Array(list) => list.iter().map(text).collect(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The suite's rule: records of type SPF stand for TXT where no TXT is given.
fn spf_zone(data: &Value) -> Zone {
    let mut out = BTreeMap::new();
    for (name, list) in data.as_object().into_iter().flatten() {
        let entries: Vec<(String, &Value)> = list
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|e| match e {
                Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), v)).collect(),
                other => vec![(text(other), &Value::Null)],
            })
            .collect();
        let has_txt = entries.iter().any(|(k, _)| k == "TXT");
        let mut records = Vec::new();
        for (kind, value) in entries {
            let kind = if kind == "SPF" && !has_txt { "TXT" } else { &kind[..] };
            if text(value) == "TIMEOUT" {
                records.push(Record::Timeout(kind.into()));
                continue;
            }
            match kind {
                "TIMEOUT" => records.push(Record::Timeout(String::new())),
                "A" => records.extend(text(value).parse().map(Record::A)),
                "AAAA" => records.extend(text(value).parse().map(Record::Aaaa)),
                "MX" => records.push(Record::Mx(value[0].as_u64().unwrap_or(0) as u16, text(&value[1]))),
                "TXT" if text(value) != "NONE" => records.push(Record::Txt(text(value))),
                "PTR" => records.push(Record::Ptr(text(value))),
                "CNAME" => records.push(Record::Cname(text(value))),
                _ => {}
            }
        }
        out.insert(name.trim_end_matches('.').to_ascii_lowercase(), records);
    }
    Zone(out)
}

fn suite_spf(scenarios: &Value) -> Outcome {
    let (mut good, mut bad) = (0, 0);
    for scenario in scenarios.as_array().into_iter().flatten() {
        let dns = spf_zone(&scenario["zonedata"]);
        for (name, test) in scenario["tests"].as_object().into_iter().flatten() {
            let (helo, sender, host) = (text(&test["helo"]), text(&test["mailfrom"]), text(&test["host"]));
            let question = spf::Question {
                ip: host.parse()?,
                helo: &helo,
                sender: &sender,
                receiver: "receiver.example",
                now: Now::from_secs(1_000_000),
            };
            let got = zone::now(spf::check(&dns, &question));
            let result = got.result.to_string();
            let wanted = match &test["result"] {
                Value::Array(list) => list.iter().any(|v| *v == result),
                one => *one == result,
            };
            // Explanations the suite calls DEFAULT are the receiver's own words: ours are none.
            let explained = match text(&test["explanation"]) {
                e if e.is_empty() => true,
                e if e == "DEFAULT" => got.explanation.is_none(),
                e => got.explanation.as_deref() == Some(&e[..]),
            };
            if wanted && explained {
                good += 1;
            } else {
                bad += 1;
                println!(
                    "{}: {name}: {result} ({}) {:?}, wanted {} {}",
                    text(&scenario["description"]),
                    got.reason,
                    got.explanation,
                    test["result"],
                    test["explanation"]
                );
            }
        }
    }
    println!("{good} pass, {bad} fail");
    if bad == 0 && good > 0 { Ok(()) } else { Err("the SPF suite does not pass".into()) }
}

fn plain_zone(data: &Value) -> Zone {
    let mut out = Zone::default();
    for (name, value) in data.as_object().into_iter().flatten() {
        out.0.insert(name.to_ascii_lowercase(), vec![Record::Txt(text(value))]);
    }
    out
}

fn suite_arc(scenarios: &Value) -> Outcome {
    let (mut good, mut bad) = (0, 0);
    for scenario in scenarios.as_array().into_iter().flatten() {
        let dns = plain_zone(&scenario["txt-records"]);
        for (name, test) in scenario["tests"].as_object().into_iter().flatten() {
            let message = text(&test["message"]).replace("\r\n", "\n").replace('\n', "\r\n");
            let got = zone::now(arc::verify(&dns, message.as_bytes(), Now::from_secs(1_500_000_000)));
            let wanted = match &test["cv"] {
                Value::Null => "none".to_owned(),
                v => text(v).to_ascii_lowercase(),
            };
            // The suite leaves it empty where a seal itself says `fail`: RFC 8617 §5.2 step 2.
            let wanted = if wanted.trim().is_empty() { "fail".to_owned() } else { wanted.trim().to_owned() };
            if got.result.to_string() == wanted {
                good += 1;
            } else {
                bad += 1;
                println!("{name}: {} ({}), wanted {wanted}: {}", got.result, got.reason, test["description"]);
            }
        }
    }
    println!("{good} pass, {bad} fail");
    if bad == 0 && good > 0 { Ok(()) } else { Err("the ARC suite does not pass".into()) }
}

/// The system's randomness.
struct Os;

impl world::Random for Os {
    fn fill(&self, bytes: &mut [u8]) {
        use ring::rand::SecureRandom;
        ring::rand::SystemRandom::new().fill(bytes).expect("the system has randomness");
    }
}

fn keygen(kind: &str) -> Outcome {
    let algorithm = if kind == "rsa" { Algorithm::Rsa } else { Algorithm::Ed25519 };
    let pem = SigningKey::generate(algorithm, &Os)?.into_inner();
    let record = SigningKey::from_pem(&pem)?.record();
    println!("{}", serde_json::json!({ "pem": pem, "record": record }));
    Ok(())
}

fn sign(key: &str, domain: &str, selector: &str, at: u64) -> Outcome {
    let key = SigningKey::from_pem(&std::fs::read_to_string(key)?)?;
    let signer = dkim::Signer { domain: words::Domain::new(domain)?, selector: selector.into(), key };
    let data = input()?;
    let field = dkim::sign_message(&[signer], &data, Now::from_secs(at))?;
    let mut out = std::io::stdout().lock();
    out.write_all(field.as_bytes())?;
    out.write_all(&data)?;
    Ok(())
}

fn verify(zone: &Value, at: u64) -> Outcome {
    let dns = plain_zone(zone);
    let data = input()?;
    for d in zone::now(dkim::verify(&dns, &data, Now::from_secs(at))) {
        println!("{} {} {} {}", d.result, d.domain, d.algorithm, d.reason);
    }
    let arc = zone::now(arc::verify(&dns, &data, Now::from_secs(at)));
    println!("arc {} {}", arc.result, arc.reason);
    Ok(())
}
