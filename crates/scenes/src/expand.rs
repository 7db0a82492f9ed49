//! Names by the dozen: `org{1..21}.example`, `{ann,bob}@home.example`.

/// Most names one pattern may stand for.
const NAMES_MAX: usize = 20_000;

/// All names a pattern stands for. `Err` says what is wrong with it.
pub fn expand(pattern: &str) -> Result<Vec<String>, String> {
    let Some(open) = pattern.find('{') else {
        return match pattern.contains('}') {
            true => Err("a } without a {".into()),
            false => Ok(vec![pattern.to_owned()]),
        };
    };
    let Some(close) = pattern[open..].find('}').map(|at| open + at) else {
        return Err("a { without a }".into());
    };
    let (head, inner, tail) = (&pattern[..open], &pattern[open + 1..close], &pattern[close + 1..]);
    let middles = middles(inner)?;
    let tails = expand(tail)?;
    if middles.len() * tails.len() > NAMES_MAX {
        return Err(format!("it stands for more than {NAMES_MAX} names"));
    }
    Ok(middles.iter().flat_map(|m| tails.iter().map(move |t| format!("{head}{m}{t}"))).collect())
}

fn middles(inner: &str) -> Result<Vec<String>, String> {
    let Some((from, to)) = inner.split_once("..") else {
        return Ok(inner.split(',').map(|w| w.trim().to_owned()).collect());
    };
    let number = |text: &str| {
        text.trim().parse::<u64>().map_err(|_| format!("{{{inner}}} wants two numbers: {{1..21}}"))
    };
    let (from, to) = (number(from)?, number(to)?);
    if to < from || to - from >= NAMES_MAX as u64 {
        return Err(format!("{{{inner}}} does not run upwards, or too far"));
    }
    Ok((from..=to).map(|n| n.to_string()).collect())
}

/// A domain inside another name: `{domain}`, and `{dashed}` with dashes for dots.
pub fn fill(pattern: &str, domain: &str) -> String {
    pattern.replace("{domain}", domain).replace("{dashed}", &domain.replace('.', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_all_their_names() {
        let all = |p: &str| expand(p).expect(p).join(" ");
        assert_eq!(all("a.example"), "a.example");
        assert_eq!(all("o{1..3}.example"), "o1.example o2.example o3.example");
        assert_eq!(all("{ann,bob}@{1..2}.x"), "ann@1.x ann@2.x bob@1.x bob@2.x");
        for wrong in ["a{1..", "a}", "{3..1}", "{a..b}", "{1..999999}"] {
            assert!(expand(wrong).is_err(), "{wrong}");
        }
        assert_eq!(fill("{dashed}.mail.host", "a.b.example"), "a-b-example.mail.host");
    }
}
