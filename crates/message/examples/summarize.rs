//! Prints what a mailbox would cache of each file, for comparing with other servers:
//! `summarize FILE…` writes one JSON object per line; `summarize --time FILE…` measures instead.

use std::io::Write;
use std::time::Instant;

use message::Summary;

fn main() -> std::io::Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let timed = args.first().is_some_and(|a| a == "--time");
    if timed {
        args.remove(0);
    }
    let mut out = std::io::stdout().lock();
    for path in args {
        let data = std::fs::read(&path)?;
        if timed {
            measure(&path, &data, &mut out)?;
            continue;
        }
        let s = Summary::of(&data);
        let parts: Vec<String> = s
            .structure
            .parts()
            .iter()
            .map(|p| format!("[{},{},{},{},{}]", p.depth, p.head.start, p.body.start, p.body.end, p.lines))
            .collect();
        writeln!(
            out,
            "{{\"file\":{:?},\"envelope\":\"{}\",\"bodystructure\":\"{}\",\"parts\":[{}]}}",
            path,
            hex(&s.envelope),
            hex(&s.bodystructure),
            parts.join(",")
        )?;
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The best of several rounds, for the machine is shared.
fn measure(path: &str, data: &[u8], out: &mut impl Write) -> std::io::Result<()> {
    let (mut best, mut best_unpack) = (f64::MAX, f64::MAX);
    let packed = Summary::of(data).to_bytes();
    for _ in 0..20 {
        let start = Instant::now();
        for _ in 0..200 {
            std::hint::black_box(Summary::of(std::hint::black_box(data)).to_bytes());
        }
        best = best.min(start.elapsed().as_secs_f64() / 200.0);
        let start = Instant::now();
        for _ in 0..200 {
            std::hint::black_box(Summary::from_bytes(std::hint::black_box(&packed)));
        }
        best_unpack = best_unpack.min(start.elapsed().as_secs_f64() / 200.0);
    }
    writeln!(
        out,
        "{path}: {} bytes, summary and packing {:.2} us, unpacking {:.2} us, row {} bytes",
        data.len(),
        best * 1e6,
        best_unpack * 1e6,
        packed.len()
    )
}
