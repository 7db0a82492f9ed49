//! Do the vantage points agree? Nothing goes public on the word of one point or one try.

use std::collections::BTreeMap;

use stdx::{Now, Span};
use words::{Reason, Verdict};

/// What one try saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Good {
        ms: u64,
    },
    /// The cause in words that do not differ from try to try: `connection refused`.
    Failed {
        cause: String,
    },
    /// The point could not prove that its own line works: this says nothing about the target.
    Unsure,
}

/// One try of one probe from one point.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub point: String,
    pub region: String,
    pub at: Now,
    pub outcome: Outcome,
}

/// When tries become a finding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Points that must see it before it is the target's fault (2 of 3).
    pub points_min: usize,
    /// Failures in a row at one point.
    pub tries_min: usize,
    /// Two tries count as two only this far apart.
    pub apart: Span,
    /// A point is also bad if this share of its tries in the window failed…
    pub share_min: f64,
    /// …of at least this many…
    pub share_tries_min: usize,
    /// …unless so many in a row went well since: then it is over.
    pub well_tries: usize,
    pub window: Span,
    /// A point that has not looked for this long knows nothing.
    pub fresh: Span,
}

impl Default for Rule {
    fn default() -> Rule {
        Rule {
            points_min: 2,
            tries_min: 2,
            apart: Span::secs(15),
            share_min: 0.25,
            share_tries_min: 8,
            well_tries: 3,
            window: Span::mins(5),
            fresh: Span::mins(3),
        }
    }
}

/// What the points say together.
#[derive(Clone, Debug, PartialEq)]
pub enum Agreed {
    Good,
    /// Enough points see it.
    Down {
        since: Now,
    },
    /// Some see it, others prove it works: trouble on the way to some regions.
    DegradedFor {
        regions: Vec<String>,
        since: Now,
    },
    NoData,
}

enum Point {
    Good,
    Bad { since: Now, failed: usize, tries: usize, cause: String },
    Silent,
}

/// Judges one probe from all its tries in the window (any order).
pub fn judge(seen: &[Seen], rule: &Rule, now: Now) -> Verdict<Agreed> {
    let mut by_point: BTreeMap<&str, Vec<&Seen>> = BTreeMap::new();
    for s in seen.iter().filter(|s| now.since(s.at) <= rule.window && s.at <= now) {
        by_point.entry(&s.point).or_default().push(s);
    }
    let mut good = 0;
    let mut bad: Vec<(&str, &str, Point)> = Vec::new();
    for (name, mut tries) in by_point {
        tries.sort_by_key(|s| s.at);
        let region = tries.last().map_or("", |s| s.region.as_str());
        match point(&tries, rule, now) {
            Point::Good => good += 1,
            Point::Silent => {}
            found => bad.push((name, region, found)),
        }
    }
    conclude(good, &bad, rule)
}

fn conclude(good: usize, bad: &[(&str, &str, Point)], rule: &Rule) -> Verdict<Agreed> {
    let since = bad
        .iter()
        .filter_map(|(_, _, p)| if let Point::Bad { since, .. } = p { Some(*since) } else { None })
        .min();
    let evidence = |mut reason: Reason| {
        for (name, _, found) in bad {
            if let Point::Bad { failed, tries, cause, .. } = found {
                let share = failed * 100 / (*tries).max(1);
                reason =
                    reason.with("point", format!("{name}: {failed} of {tries} failed ({share} %), {cause}"));
            }
        }
        reason.with("points_that_see_it_work", good)
    };
    match since {
        None if good == 0 => Verdict::new(
            Agreed::NoData,
            Reason::new("agree.silent", "no point has looked lately or could be sure of its own line"),
        ),
        None => Verdict::new(
            Agreed::Good,
            Reason::new("agree.good", "every point that looked sees it work").with("points", good),
        ),
        // With fewer points than the rule wants, all of them must agree.
        Some(since) if bad.len() >= rule.points_min.min(bad.len() + good) && bad.len() > good => {
            let says = format!("{} of {} points cannot reach it", bad.len(), bad.len() + good);
            Verdict::new(Agreed::Down { since }, evidence(Reason::new("agree.down", says)))
        }
        Some(since) => {
            let mut regions: Vec<String> = bad.iter().map(|(_, region, _)| (*region).to_owned()).collect();
            regions.sort();
            regions.dedup();
            let says = format!("only {} sees it fail; {good} other points see it work", regions.join(", "));
            Verdict::new(Agreed::DegradedFor { regions, since }, evidence(Reason::new("agree.region", says)))
        }
    }
}

fn point(tries: &[&Seen], rule: &Rule, now: Now) -> Point {
    let sure: Vec<&Seen> = tries.iter().copied().filter(|s| s.outcome != Outcome::Unsure).collect();
    let Some(last) = sure.last() else { return Point::Silent };
    if now.since(last.at) > rule.fresh {
        return Point::Silent;
    }
    let failed = |s: &&Seen| matches!(s.outcome, Outcome::Failed { .. });
    let all_failed = sure.iter().filter(|s| failed(s)).count();
    let run: Vec<&Seen> = sure.iter().rev().copied().take_while(failed).collect();
    let cause = match sure.iter().rev().copied().find(failed).map(|s| &s.outcome) {
        Some(Outcome::Failed { cause }) => cause.clone(),
        _ => String::new(),
    };
    let bad = |since| Point::Bad { since, failed: all_failed, tries: sure.len(), cause: cause.clone() };
    if let Some(first) = run.last()
        && apart(&run, rule) >= rule.tries_min
    {
        return bad(first.at);
    }
    let share = all_failed as f64 / sure.len() as f64;
    let well = sure.iter().rev().take_while(|s| !failed(s)).count();
    if sure.len() >= rule.share_tries_min && share >= rule.share_min && well < rule.well_tries {
        let first = sure.iter().copied().find(failed).map_or(last.at, |s| s.at);
        return bad(first);
    }
    Point::Good
}

/// How many of the tries stand far enough apart to count as separate.
fn apart(run: &[&Seen], rule: &Rule) -> usize {
    let mut count = 0;
    let mut before: Option<Now> = None;
    for s in run {
        if before.is_none_or(|b| b.since(s.at) >= rule.apart) {
            count += 1;
            before = Some(s.at);
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(point: &str, secs: u64, ok: bool) -> Seen {
        let outcome = if ok { Outcome::Good { ms: 5 } } else { Outcome::Failed { cause: "time-out".into() } };
        Seen { point: point.into(), region: format!("region of {point}"), at: Now::from_secs(secs), outcome }
    }

    fn judged(seen: &[Seen]) -> Agreed {
        judge(seen, &Rule::default(), Now::from_secs(1000)).decision
    }

    #[test]
    fn two_of_three_points_with_two_tries_make_it_down() {
        let tries: Vec<Seen> = ["m1", "m2"]
            .iter()
            .flat_map(|p| [seen(p, 970, false), seen(p, 995, false)])
            .chain([seen("m3", 995, true)])
            .collect();
        assert_eq!(judged(&tries), Agreed::Down { since: Now::from_secs(970) });
    }

    #[test]
    fn one_false_alarm_is_no_outage() {
        assert_eq!(
            judged(&[seen("m1", 990, false), seen("m2", 990, true), seen("m3", 990, true)]),
            Agreed::Good
        );
        let one_point =
            [seen("m1", 970, false), seen("m1", 995, false), seen("m2", 990, true), seen("m3", 990, true)];
        assert!(matches!(judged(&one_point), Agreed::DegradedFor { .. }));
    }

    #[test]
    fn two_tries_in_the_same_second_are_one() {
        assert_eq!(
            judged(&[seen("m1", 995, false), seen("m1", 995, false), seen("m2", 995, false)]),
            Agreed::Good
        );
    }

    #[test]
    fn half_lost_from_one_region_is_that_regions_trouble() {
        let mut tries: Vec<Seen> = (0..14).map(|i| seen("m3", 720 + i * 20, i % 2 == 0)).collect();
        tries.extend((0..14).flat_map(|i| [seen("m1", 720 + i * 20, true), seen("m2", 720 + i * 20, true)]));
        let verdict = judge(&tries, &Rule::default(), Now::from_secs(1000));
        assert!(
            matches!(&verdict.decision, Agreed::DegradedFor { regions, .. } if regions == &["region of m3"])
        );
        assert!(verdict.reasons.first().to_string().contains("(50 %)"), "{}", verdict.reasons.first());
    }

    #[test]
    fn three_good_tries_end_it() {
        let mut tries: Vec<Seen> = (0..10).map(|i| seen("m1", 740 + i * 20, false)).collect();
        tries.extend((0..2).map(|i| seen("m1", 940 + i * 20, true)));
        assert!(matches!(judged(&tries), Agreed::Down { .. }));
        tries.push(seen("m1", 980, true));
        assert_eq!(judged(&tries), Agreed::Good);
    }

    #[test]
    fn silence_and_a_broken_own_line_are_no_data() {
        assert_eq!(judged(&[]), Agreed::NoData);
        assert_eq!(judged(&[seen("m1", 750, true)]), Agreed::NoData);
        let unsure = Seen { outcome: Outcome::Unsure, ..seen("m1", 999, true) };
        assert_eq!(judged(&[unsure]), Agreed::NoData);
    }

    #[test]
    fn a_single_point_is_believed_if_there_is_no_other() {
        assert!(matches!(judged(&[seen("m1", 970, false), seen("m1", 995, false)]), Agreed::Down { .. }));
    }
}
