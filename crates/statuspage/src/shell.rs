//! What all pages share: head, styles, top and foot. No web font, no foreign address; one small
//! script that says times in the reader's own zone, and every page is whole without it.

use watch::State;
use web::page::escape;

use crate::model::Snapshot;

/// Styles of every page, inline so that a page is one answer. Colours hold 4.5:1 on both grounds.
const STYLE: &str = "\
:root{--bg:#fff;--fg:#1b1f24;--soft:#57606a;--line:#d0d7de;--card:#f6f8fa;--link:#0b57d0;\
--ok:#1a7f37;--maint:#0969da;--none:#6e7781;--warn:#9a6700;--part:#bc4c00;--down:#cf222e}\
@media(prefers-color-scheme:dark){:root{--bg:#0d1117;--fg:#e6edf3;--soft:#9da7b3;--line:#30363d;--card:#161b22;--link:#79b8ff;\
--ok:#3fb950;--maint:#58a6ff;--none:#8b949e;--warn:#d29922;--part:#f0883e;--down:#ff7b72}}\
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);font:1rem/1.55 system-ui,-apple-system,'Segoe UI',sans-serif;overflow-wrap:anywhere}\
a{color:var(--link)}main,header,footer{max-width:58rem;margin:0 auto;padding:0 1rem}\
header{display:flex;flex-wrap:wrap;gap:.25rem 1rem;align-items:baseline;justify-content:space-between;padding-top:1.25rem}\
header a{text-decoration:none;color:inherit}header b{font-size:1.15rem}nav{display:flex;flex-wrap:wrap;gap:.25rem 1rem}nav a{color:var(--link)}\
h1{font-size:1.5rem;line-height:1.25;margin:1.25rem 0 .5rem}h2{font-size:1.15rem;margin:2.25rem 0 .75rem}h3{font-size:1rem;margin:0}\
.verdict{border-radius:.6rem;padding:1rem 1.1rem;margin:1.25rem 0 0;border:1px solid;border-left-width:.5rem}.verdict h1{margin:0}.verdict p{margin:.25rem 0 0;color:var(--soft)}\
.card{border:1px solid var(--line);border-radius:.6rem;padding:.9rem 1.1rem;margin:.75rem 0;background:var(--card)}.card>:last-child{margin-bottom:0}\
.s0{color:var(--ok)}.s1{color:var(--maint)}.s2{color:var(--none)}.s3{color:var(--warn)}.s4{color:var(--part)}.s5{color:var(--down)}\
.b0{--c:var(--ok)}.b1{--c:var(--maint)}.b2{--c:var(--line)}.b3{--c:var(--warn)}.b4{--c:var(--part)}.b5{--c:var(--down)}\
.row{display:flex;justify-content:space-between;gap:1rem;align-items:baseline}.soft,time{color:var(--soft)}.small{font-size:.875rem}\
ul.comps{list-style:none;padding:0;margin:0;border:1px solid var(--line);border-radius:.6rem}ul.comps>li{padding:.7rem 1rem}ul.comps>li+li{border-top:1px solid var(--line)}\
.word{font-weight:600;white-space:nowrap}.bars{display:flex;height:1.6rem;margin:.4rem 0 .1rem}.bars a,.bars i{flex:var(--n,1);min-width:1px;background:repeating-linear-gradient(90deg,var(--c) 0 calc(100%/var(--n,1) - 1px),transparent 0 calc(100%/var(--n,1)))}\
table{border-collapse:collapse;width:100%;overflow-wrap:normal}th,td{text-align:left;padding:.4rem .75rem .4rem 0;border-bottom:1px solid var(--line);vertical-align:top}\
.scroll{overflow-x:auto}td.word,td:last-child{white-space:nowrap}@media(max-width:30rem){th,td{padding-right:.4rem;font-size:.875rem}.place{display:none}}dl{margin:.5rem 0}dt{font-weight:600}dd{margin:0 0 .5rem}.tags a{margin-right:.6rem}\
ol.ups{list-style:none;padding:0;margin:.5rem 0 0}ol.ups>li{padding:.5rem 0;border-top:1px solid var(--line)}ol.ups p{margin:.25rem 0}\
input,textarea,select,button{font:inherit;color:inherit;background:var(--bg);border:1px solid var(--soft);border-radius:.4rem;padding:.45rem .6rem;max-width:100%}\
textarea{width:100%;min-height:5rem}button{cursor:pointer;background:var(--link);color:var(--bg);border-color:var(--link)}pre{white-space:pre-wrap}\
article>h3+p{margin:.1rem 0 .8rem}details{margin:.6rem 0}summary{cursor:pointer}details.card>summary{font-weight:600}label.check{display:flex;gap:.5rem;align-items:baseline}\
fieldset{border:1px solid var(--line);border-radius:.4rem;margin:.75rem 0}input:not([type=checkbox]),select{width:100%}\
code,pre{background:var(--card);border-radius:.3rem;font-size:.9em}pre{padding:.6rem .8rem;border:1px solid var(--line)}pre code{background:none}\
blockquote{margin:.5rem 0;padding-left:.8rem;border-left:.2rem solid var(--line)}\
.late{color:var(--down);font-weight:600}.skip{position:absolute;left:-99rem}.skip:focus{left:1rem}footer{margin-top:3rem;padding-bottom:2rem;border-top:1px solid var(--line)}\
@media print{nav,form,.bars{display:none}.card,ul.comps{border-color:#999}}";

/// Says each time in the reader's own zone too: on hover everywhere, in words beside windows of work.
pub const SCRIPT: &str = "\
for(const t of document.querySelectorAll('time'))t.title=new Date(t.dateTime).toLocaleString();\n\
for(const w of document.querySelectorAll('[data-from]')){\n\
const d=n=>new Date(w.dataset[n]),f=d('from'),t=d('to'),o={hour:'2-digit',minute:'2-digit'};\n\
const same=f.toDateString()===t.toDateString();\n\
w.textContent=' · Where you are: '+f.toLocaleString([],{day:'numeric',month:'long',...o})+' to '+\n\
(same?t.toLocaleTimeString([],o):t.toLocaleString([],{day:'numeric',month:'long',...o}));w.hidden=false}\n";

pub const fn class(state: State) -> usize {
    match state {
        State::Operational => 0,
        State::Maintenance => 1,
        State::NoData => 2,
        State::Degraded => 3,
        State::PartialOutage => 4,
        State::MajorOutage => 5,
    }
}

/// A whole page around `main`. `path` is the page's own address.
pub fn page(snapshot: &Snapshot, title: &str, path: &str, main: &str) -> String {
    let site = &snapshot.site;
    let (company, name, title) = (escape(&site.company), escape(&site.title), escape(title));
    let url = escape(&format!("{}{path}", site.url));
    let links: String = site
        .links
        .iter()
        .map(|(text, to)| format!("<a href=\"{}\">{}</a> ", escape(to), escape(text)))
        .collect();
    // Only the front says when it was made: the others change when what they tell changes.
    let made =
        if path == "/" { format!("This page was made {}. ", time(snapshot.made)) } else { String::new() };
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} · {company} {name}</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <link rel=\"canonical\" href=\"{url}\"><link rel=\"alternate\" type=\"application/rss+xml\" title=\"RSS\" href=\"/feed.rss\">\
         <link rel=\"alternate\" type=\"application/atom+xml\" title=\"Atom\" href=\"/feed.atom\">\
         <link rel=\"icon\" href=\"data:,\"><script src=\"/time.js\" defer></script><style>{STYLE}</style></head><body><a class=\"skip\" href=\"#main\">To the content</a>\
         <header><a href=\"/\"><b>{company}</b> {name}</a><nav aria-label=\"Site\"><a href=\"/archive/\">Archive</a><a href=\"/maintenance.ics\">Calendar</a>\
         <a href=\"/feed.rss\">RSS</a><a href=\"/subscribe\">Subscribe</a></nav></header><main id=\"main\">{main}</main>\
         <footer class=\"small soft\"><p>All times are UTC unless another zone is named. {made}This site stands on a machine of its own.</p>\
         <p>{}</p><p>{links}</p></footer></body></html>\n",
        escape(&site.support),
    )
}

/// A time that a machine can read too.
pub fn time(at: u64) -> String {
    let now = stdx::Now(at);
    format!("<time datetime=\"{}\">{}</time>", now.iso(), watch::zones::stamp(now))
}

/// `27 February 2024 16:00 UTC`.
pub fn short_time(at: u64) -> String {
    let now = stdx::Now(at);
    format!("<time datetime=\"{}\">{}</time>", now.iso(), watch::zones::utc(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_one_script_of_ours_and_no_foreign_address() {
        let page = page(&Snapshot::default(), "a <title>", "/", "x");
        assert_eq!(page.matches("<script").count(), 1);
        assert!(
            page.contains("<script src=\"/time.js\" defer></script>") && page.contains("a &lt;title&gt;")
        );
        assert_eq!((page.matches("src=").count(), page.contains("@import")), (1, false));
    }
}
