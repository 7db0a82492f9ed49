//! The rules that read a refusal, as data: each names a cause, the providers it holds for, the
//! codes and the words it wants. Order is precedence: the first rule that holds speaks.
//!
//! What it is not: knowledge of single replies. A rule states a cause in the words providers
//! document or that mail servers ship with. Begin with [`Rule`] and [`ORDER`].

use words::Enhanced;

use crate::refusal::{Class, Reading, Refusal};
use crate::text::Text;

mod address;
mod hints;
mod mail;
mod party;
mod providers;
mod setup;
mod traffic;

/// One rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub name: &'static str,
    pub class: Class,
    pub sub: &'static str,
    /// Percent.
    pub sure: u8,
    /// Provider ids it holds for; empty for all.
    pub at: &'static [&'static str],
    /// Reply codes: `550`, `4xx`; empty for all.
    pub codes: &'static [&'static str],
    /// Enhanced codes: `5.7.606-649`, `x.7.25`; empty for all.
    pub enhanced: &'static [&'static str],
    /// Any one of these must be found; empty if codes suffice.
    pub says: &'static [&'static str],
    /// None of these may be found.
    pub unless: &'static [&'static str],
}

const fn rule(name: &'static str, class: Class, sub: &'static str, sure: u8) -> Rule {
    Rule { name, class, sub, sure, at: &[], codes: &[], enhanced: &[], says: &[], unless: &[] }
}

impl Rule {
    const fn at(mut self, at: &'static [&'static str]) -> Rule {
        self.at = at;
        self
    }
    const fn codes(mut self, codes: &'static [&'static str]) -> Rule {
        self.codes = codes;
        self
    }
    const fn enhanced(mut self, enhanced: &'static [&'static str]) -> Rule {
        self.enhanced = enhanced;
        self
    }
    const fn says(mut self, says: &'static [&'static str]) -> Rule {
        self.says = says;
        self
    }
    const fn unless(mut self, unless: &'static [&'static str]) -> Rule {
        self.unless = unless;
        self
    }

    /// Everything but what it wants the text to say.
    fn fits(&self, refusal: &Refusal<'_>, text: &Text) -> bool {
        (self.at.is_empty() || refusal.provider.is_some_and(|p| self.at.iter().any(|a| p.starts_with(a))))
            && (self.codes.is_empty() || self.codes.iter().any(|c| code_is(c, refusal.code)))
            && (self.enhanced.is_empty()
                || refusal.enhanced.is_some_and(|e| self.enhanced.iter().any(|p| enhanced_is(p, e))))
            && !self.unless.iter().any(|p| text.has(p))
    }
}

fn code_is(pattern: &str, code: u16) -> bool {
    match pattern {
        "4xx" => (400..500).contains(&code),
        "5xx" => (500..600).contains(&code),
        exact => exact.parse() == Ok(code),
    }
}

fn enhanced_is(pattern: &str, e: Enhanced) -> bool {
    let mut parts = pattern.split('.');
    let mut next = |have: u16| {
        let part = parts.next().unwrap_or("x");
        match part.split_once('-') {
            Some((low, high)) => {
                low.parse().is_ok_and(|l| have >= l) && high.parse().is_ok_and(|h: u16| have <= h)
            }
            None => part == "x" || part.parse() == Ok(have),
        }
    };
    next(u16::from(e.0)) && next(e.1) && next(e.2)
}

/// Where the providers' own codes stand in [`ORDER`].
const PROVIDERS: usize = 1;

/// All rules in the order of their precedence.
pub const ORDER: &[&[Rule]] = &[
    address::RESOLVER,
    providers::RULES,
    address::STRONG,
    mail::PLAIN,
    address::DOMAIN,
    setup::GREETING,
    party::COUNTS,
    party::RECIPIENT,
    setup::RULES,
    address::RULES,
    traffic::RULES,
    mail::RULES,
    party::SENDER,
    traffic::ROUTING,
    traffic::TRANSIENT,
    hints::RULES,
];

/// What a provider documents of its own codes is as sure as can be.
const DOCUMENTED: f32 = 0.985;

/// The first rule that holds.
pub fn first(refusal: &Refusal<'_>, text: &Text) -> Option<Reading> {
    first_of(refusal, text, |_, _| true)
}

/// As [`first`], with only those patterns that `may` admits; for audits that ask what the rules
/// would say had a text never been seen.
pub fn first_of(
    refusal: &Refusal<'_>,
    text: &Text,
    may: impl Fn(&'static Rule, &'static str) -> bool,
) -> Option<Reading> {
    let (rule, documented) = ORDER.iter().enumerate().find_map(|(group, rules)| {
        let found = rules.iter().find(|rule| {
            rule.fits(refusal, text)
                && (rule.says.is_empty() || rule.says.iter().any(|p| may(rule, p) && text.has(p)))
        });
        found.map(|rule| (rule, group == PROVIDERS))
    })?;
    let sure = f32::from(rule.sure) / 100.0;
    let confidence = if documented { sure.max(DOCUMENTED) } else { sure };
    Some(Reading { class: rule.class, sub: rule.sub, confidence, rule: rule.name })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_rule_has_its_own_name_a_condition_and_an_honest_certainty() {
        let mut names = BTreeSet::new();
        for rule in ORDER.iter().flat_map(|g| g.iter()) {
            assert!(names.insert(rule.name), "{} twice", rule.name);
            assert!(rule.sure >= 50 && rule.sure <= 99, "{}", rule.name);
            assert!(!rule.says.is_empty() || !rule.enhanced.is_empty() || !rule.codes.is_empty());
            for pattern in rule.says.iter().chain(rule.unless) {
                assert_eq!(*pattern, pattern.to_lowercase(), "{}", rule.name);
                assert!(!pattern.contains("  "), "{}", rule.name);
            }
        }
    }

    #[test]
    fn codes_and_ranges_match() {
        let e = |s: &str| s.parse::<Enhanced>().expect("valid");
        assert!(enhanced_is("5.7.606-649", e("5.7.606")) && enhanced_is("x.7.25", e("4.7.25")));
        assert!(!enhanced_is("5.7.606-649", e("5.7.650")) && !enhanced_is("5.7.1", e("5.7.12")));
        assert!(code_is("4xx", 421) && !code_is("4xx", 550) && code_is("535", 535));
    }
}
