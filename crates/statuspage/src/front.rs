//! The front page, in the order a client asks: is it working, what is wrong, what is planned, how
//! has it been, which machines, what was said.

use stdx::Span;
use watch::State;
use watch::maintenance::Phase;
use web::page::escape;

use crate::archive;
use crate::markdown;
use crate::model::{Component, DAYS, Incident, Maintenance, Snapshot, System, Update};
use crate::shell::{class, page, short_time, time};

/// Posts on the front page.
const RECENT: usize = 5;
/// Resolved incidents stay on the front page this long.
const RECENT_INCIDENT_MS: u64 = 48 * 3_600_000;

pub fn render(s: &Snapshot) -> String {
    let main =
        [verdict(s), incidents(s), maintenances(s), components(s), systems(s), recent(s), find(s)].concat();
    page(s, s.verdict().word(), "/", &main)
}

fn verdict(s: &Snapshot) -> String {
    let state = s.verdict();
    let troubled: Vec<&str> =
        s.components.iter().filter(|c| c.decides && c.state.is_trouble()).map(|c| c.name.as_str()).collect();
    let sentence = match (state, troubled.as_slice()) {
        (State::Operational, _) => "Mail is working".to_owned(),
        (State::Maintenance, _) => "Planned maintenance is under way".to_owned(),
        (State::NoData, _) => "We cannot see everything right now".to_owned(),
        (_, [one]) => format!("{}: {}", one, state.word().to_lowercase()),
        (_, [one, two]) => format!("{one} and {}: in trouble", lower_first(two)),
        (_, many) => format!("{} things are in trouble", many.len()),
    };
    let oldest = s.components.iter().filter(|c| c.decides).map(|c| c.checked).min().unwrap_or(0);
    let age = s.made.saturating_sub(oldest);
    let checked = if oldest == 0 {
        "Nothing has been checked yet.".to_owned()
    } else {
        format!("Checked {} before this page was made, {}.", Span(age).in_words(), time(s.made))
    };
    format!(
        "<section class=\"verdict s{0}\" aria-label=\"Verdict\"><h1>{1}</h1><p>{checked}</p></section>",
        class(state),
        escape(&sentence)
    )
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |c| c.to_lowercase().chain(chars).collect())
}

fn incidents(s: &Snapshot) -> String {
    let shown: Vec<&Incident> = s
        .incidents
        .iter()
        .filter(|i| {
            i.stage.is_open() || i.resolved.is_some_and(|r| s.made.saturating_sub(r) < RECENT_INCIDENT_MS)
        })
        .collect();
    if shown.is_empty() {
        return String::new();
    }
    let (open, over): (Vec<&Incident>, Vec<&Incident>) = shown.into_iter().partition(|i| i.stage.is_open());
    let cards: String = open.iter().chain(&over).map(|i| incident(s, i, false)).collect();
    let title = if open.is_empty() { "The last two days" } else { "Incidents" };
    format!("<section aria-label=\"Incidents\"><h2>{title}</h2>{cards}</section>")
}

/// An incident as a card; `whole` shows every update, else the newest.
pub fn incident(s: &Snapshot, i: &Incident, whole: bool) -> String {
    let newest = i.updates.iter().rev();
    let updates: String =
        if whole { newest.map(update).collect() } else { newest.take(1).map(update).collect() };
    let automatic = if i.automatic && i.stage.is_open() {
        "<p class=\"small soft\">Written by the monitor from facts; a person will add to it.</p>"
    } else {
        ""
    };
    format!(
        "<article class=\"card\"><div class=\"row\"><h3><a href=\"/incidents/{id}/\">{title}</a></h3><span class=\"word s{colour}\">{stage}</span></div>\
         <p class=\"small soft\">{when}</p>{affected}{automatic}{next}<ol class=\"ups\">{updates}</ol></article>",
        id = i.id,
        title = escape(&i.title),
        colour = if i.stage.is_open() { 5 } else { 0 },
        stage = i.stage.word(),
        when = duration(s, i),
        affected = affected(s, &i.affected, &i.not_affected),
        next = promises(s, i),
    )
}

fn duration(s: &Snapshot, i: &Incident) -> String {
    match i.resolved {
        Some(end) => format!(
            "{} to {}, {} minutes",
            time(i.began),
            time(end),
            (end.saturating_sub(i.began) / 1000 + 30) / 60
        ),
        None => format!("Since {}, {}", time(i.began), Span(s.made.saturating_sub(i.began)).in_words()),
    }
}

fn affected(s: &Snapshot, yes: &[String], no: &[String]) -> String {
    let list = |ids: &[String]| escape(&s.names(ids).join(", "));
    let mut out = String::new();
    if !yes.is_empty() {
        out.push_str(&format!("<p><b>Affected:</b> {}", list(yes)));
    }
    if !no.is_empty() {
        out.push_str(&format!("<br><b>Not affected:</b> {}", list(no)));
    }
    out
}

fn promises(s: &Snapshot, i: &Incident) -> String {
    let mut out = String::new();
    if let Some((_, eta)) = i.etas.last().filter(|_| i.stage.is_open()) {
        let before: Vec<String> = i.etas[..i.etas.len() - 1].iter().map(|(_, e)| short_time(*e)).collect();
        let before =
            if before.is_empty() { String::new() } else { format!(" (said before: {})", before.join(", ")) };
        out.push_str(&format!("<p>Expected to end {}{before}</p>", short_time(*eta)));
    }
    if let Some(next) = i.next_update.filter(|_| i.stage.is_open()) {
        let late = if next < s.made { " <span class=\"late\">(late)</span>" } else { "" };
        out.push_str(&format!("<p>Next update by {}{late}</p>", short_time(next)));
    }
    if let (Some(due), false) = (i.postmortem_due, i.postmortem_done) {
        let late = if due < s.made {
            format!(" <span class=\"late\">(late by {})</span>", Span(s.made - due).in_words())
        } else {
            String::new()
        };
        out.push_str(&format!("<p>Post-mortem promised by {}{late}</p>", short_time(due)));
    }
    out
}

pub fn update(u: &Update) -> String {
    let stage = u.stage.map_or(String::new(), |s| format!("<b>{}</b> ", s.word()));
    let author = if u.author.is_empty() { String::new() } else { format!(" · {}", escape(&u.author)) };
    format!(
        "<li>{stage}<span class=\"small soft\">{}{author}</span>{}</li>",
        time(u.at),
        markdown::to_html(&u.text)
    )
}

fn maintenances(s: &Snapshot) -> String {
    let coming: Vec<&Maintenance> = s.maintenances.iter().filter(|m| m.phase != Phase::Completed).collect();
    if coming.is_empty() {
        return String::new();
    }
    let cards: String = coming.iter().map(|m| maintenance(s, m)).collect();
    format!("<section aria-label=\"Maintenance\"><h2>Maintenance</h2>{cards}</section>")
}

pub fn maintenance(s: &Snapshot, m: &Maintenance) -> String {
    let zones = watch::zones::window(stdx::Now(m.from), stdx::Now(m.to), &s.site.zones());
    let day = stdx::Now(m.from).civil();
    let updates: String = m.updates.iter().rev().map(update).collect();
    let late = if m.phase == Phase::Overrun { "late" } else { "s1" };
    format!(
        "<article class=\"card\"><div class=\"row\"><h3><a href=\"/maintenance/{id}/\">{title}</a></h3><span class=\"word {late}\">{phase}</span></div>\
         <p>{day} {month} {year}: {zones}<span data-from=\"{from}\" data-to=\"{to}\" hidden></span>. <a href=\"/maintenance/{id}.ics\">Add to a calendar</a></p>{affected}{text}<ol class=\"ups\">{updates}</ol></article>",
        id = m.id,
        title = escape(&m.title),
        phase = m.phase.word(),
        from = stdx::Now(m.from).iso(),
        to = stdx::Now(m.to).iso(),
        day = day.day,
        month = watch::zones::month(day.month),
        year = day.year,
        zones = escape(&zones.join(" · ")),
        affected = affected(s, &m.affected, &m.not_affected),
        text = markdown::to_html(&m.text),
    )
}

fn components(s: &Snapshot) -> String {
    let rows = |decides: bool| -> String {
        s.components.iter().filter(|c| c.decides == decides).map(|c| component(s, c)).collect()
    };
    let (flow, parts) = (rows(true), rows(false));
    let explain = if parts.is_empty() {
        String::new()
    } else {
        format!(
            "<details><summary class=\"small soft\">The parts behind it</summary><ul class=\"comps\">{parts}</ul></details>"
        )
    };
    format!(
        "<section aria-label=\"Services\"><h2>Services</h2><ul class=\"comps\">{flow}</ul>{explain}</section>"
    )
}

fn component(s: &Snapshot, c: &Component) -> String {
    let note = if c.note.is_empty() {
        String::new()
    } else {
        format!("<div class=\"small\">{}</div>", escape(&c.note))
    };
    format!(
        "<li id=\"c-{id}\"><div class=\"row\"><span>{name}</span><span class=\"word s{class}\">{word}</span></div>{note}{bars}</li>",
        id = escape(&c.id),
        name = escape(&c.name),
        class = class(c.state),
        word = c.state.word(),
        bars = bars(s, c)
    )
}

/// Ninety thin bars, oldest left. Days nobody watched are grey. Only days with trouble are links,
/// to that day's incidents: the page stays small.
fn bars(s: &Snapshot, c: &Component) -> String {
    let today = watch::day::number(stdx::Now(s.made));
    let first = (today + 1).saturating_sub(DAYS as u64);
    let mut out = String::with_capacity(1024);
    let mut days = Vec::with_capacity(DAYS);
    let mut run = (0, 0);
    for number in first..=today {
        let day = c.days.iter().find(|d| d.day == number).map(crate::model::DayBar::day).unwrap_or_default();
        let colour = day.colour();
        if run.1 > 0 && (colour.is_trouble() || run.0 != class(colour)) {
            close_run(&mut out, &mut run);
        }
        if colour.is_trouble() {
            out.push_str(&trouble(number, &day, colour));
        } else {
            run = (class(colour), run.1 + 1);
        }
        days.push(day);
    }
    close_run(&mut out, &mut run);
    let percent = match watch::day::uptime(&days) {
        Some(share) => format!("{} % up", percent(share)),
        None => "no data yet".to_owned(),
    };
    format!(
        "<div class=\"bars\">{out}</div><div class=\"row small soft\"><span>{DAYS} days ago</span><span>{percent}</span><span>today</span></div>"
    )
}

/// Days of one colour in a row are one element, striped by the style sheet: the page stays small.
fn close_run(out: &mut String, run: &mut (usize, usize)) {
    match run.1 {
        0 => {}
        1 => out.push_str(&format!("<i class=b{}></i>", run.0)),
        n => out.push_str(&format!("<i class=b{} style=--n:{n}></i>", run.0)),
    }
    run.1 = 0;
}

fn trouble(number: u64, day: &watch::day::Day, colour: State) -> String {
    let date = stdx::Now::from_secs(number * 86_400).iso();
    let date = &date[..10];
    let minutes =
        (day.of(State::MajorOutage) + day.of(State::PartialOutage) + day.of(State::Degraded)).div_ceil(60);
    format!(
        "<a class=b{} href=\"/day/{date}/\" title=\"{date}: {minutes} min\" aria-label=\"{date}: {minutes} minutes of trouble\"></a>",
        class(colour)
    )
}

/// Rounded down, so that 100 is said only of 100.
pub fn percent(share: f64) -> String {
    let hundredths = (share * 10_000.0 + 1e-9).floor();
    format!("{:.2}", hundredths / 100.0)
}

fn systems(s: &Snapshot) -> String {
    if s.systems.is_empty() {
        return String::new();
    }
    let rows: String = s.systems.iter().map(system).collect();
    format!(
        "<section aria-label=\"Systems at a glance\"><h2>Systems at a Glance</h2><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of systems\"><table><thead><tr><th scope=\"col\">Loc.\
         <th scope=\"col\">System<th scope=\"col\">Status<th scope=\"col\">Ping</thead><tbody>{rows}</tbody></table></div></section>"
    )
}

fn system(y: &System) -> String {
    let pings: Vec<String> = y
        .pings
        .iter()
        .map(|(from, ms)| match ms {
            Some(ms) => format!("{}&nbsp;{ms}&nbsp;ms", escape(from)),
            None => format!("{}&nbsp;–", escape(from)),
        })
        .collect();
    let role = if y.role.is_empty() {
        String::new()
    } else {
        format!("<div class=\"small soft\">{}</div>", escape(&y.role))
    };
    format!(
        "<tr><td><span title=\"Server {code}, {place}\">{flag}</span> <span class=\"small place\">{place}</span><td>{code}{role}<td class=\"word s{class}\">{word}<td class=\"small\">{pings}",
        code = escape(&y.code),
        place = escape(&y.place),
        flag = flag(&y.country),
        class = class(y.state),
        word = escape(&y.word),
        pings = if pings.is_empty() { "–".to_owned() } else { pings.join("<br>") }
    )
}

/// The flag of a country as two regional letters; nothing is loaded for it.
fn flag(country: &str) -> String {
    let letters: Vec<char> = country.to_ascii_uppercase().chars().filter(char::is_ascii_uppercase).collect();
    if letters.len() != 2 {
        return String::new();
    }
    letters.iter().filter_map(|c| char::from_u32(0x1F1E6 + (*c as u32 - 'A' as u32))).collect()
}

fn recent(s: &Snapshot) -> String {
    let posts: String = s.posts.iter().filter(|p| !p.note).take(RECENT).map(archive::row).collect();
    if posts.is_empty() {
        return String::new();
    }
    format!(
        "<section aria-label=\"Recent posts\"><h2>Recent posts</h2>{posts}<p><a href=\"/archive/\">All posts</a></p></section>"
    )
}

fn find(s: &Snapshot) -> String {
    let tags: String = archive::tag_links(s);
    format!(
        "<section aria-label=\"Find\"><h2>Find</h2><form action=\"/search\" method=\"get\" role=\"search\"><label for=\"q\">Search, or paste the error you got</label>\
         <textarea id=\"q\" name=\"q\" maxlength=\"4000\" required></textarea><button>Find</button></form><p class=\"tags small\">{tags}</p></section>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_per_cent_is_said_only_of_all() {
        assert_eq!(
            (percent(1.0), percent(0.999_999), percent(0.999_98), percent(0.9)),
            ("100.00".into(), "99.99".into(), "99.99".into(), "90.00".into())
        );
    }

    #[test]
    fn flags_are_letters() {
        assert_eq!(flag("nl"), "🇳🇱");
        assert_eq!(flag("x"), "");
    }

    #[test]
    fn an_empty_site_says_that_nothing_was_checked() {
        let page = render(&Snapshot::default());
        assert!(
            page.contains("We cannot see everything right now")
                && page.contains("Nothing has been checked yet")
        );
    }
}
