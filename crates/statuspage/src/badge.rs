//! A small picture for other sites: the verdict in a word.

use watch::State;
use web::page::escape;

use crate::model::Snapshot;

pub fn svg(label: &str, state: State) -> String {
    let colour = match state {
        State::Operational => "#1a7f37",
        State::Maintenance => "#0969da",
        State::NoData => "#57606a",
        State::Degraded => "#9a6700",
        State::PartialOutage => "#bc4c00",
        State::MajorOutage => "#cf222e",
    };
    let width = |text: &str| 14 + 7 * text.chars().count();
    let (a, b) = (width(label), width(state.word()));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"22\" role=\"img\" aria-label=\"{label}: {word}\"><title>{label}: {word}</title>\
         <rect width=\"{w}\" height=\"22\" rx=\"4\" fill=\"#30363d\"/><path d=\"M{a} 0h{b0}a4 4 0 0 1 4 4v14a4 4 0 0 1-4 4H{a}z\" fill=\"{colour}\"/>\
         <g fill=\"#fff\" font-family=\"system-ui,sans-serif\" font-size=\"12\"><text x=\"7\" y=\"15\">{label}</text><text x=\"{x}\" y=\"15\">{word}</text></g></svg>\n",
        w = a + b,
        b0 = b - 4,
        x = a + 7,
        label = escape(label),
        word = state.word(),
    )
}

pub fn of_site(s: &Snapshot) -> String {
    svg("mail", s.verdict())
}
