//! Scene files: those that come with us are right, wrong ones are told where and what to write.

use std::path::{Path, PathBuf};

use scenes::Scene;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn every_scene_that_comes_with_us_can_be_read() {
    let files = std::fs::read_dir(root().join("scenes")).expect("a folder of scenes");
    let mut read = 0;
    for file in files.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "toml")) {
        let scene = Scene::read(&file).unwrap_or_else(|faults| panic!("{faults}"));
        assert!(!scene.checks.is_empty() && !scene.title.is_empty(), "{}", file.display());
        read += 1;
    }
    assert!(read >= 7, "{read}");
}

#[test]
fn the_documentation_knows_every_measure_and_its_example_is_right() {
    let page = std::fs::read_to_string(root().join("docs/operating/drills.md")).expect("the page");
    for (name, what) in scenes::measure::MEASURES {
        assert!(page.contains(&format!("| `{name}` | {what} |")), "{name}");
    }
    let example = page.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let scene = Scene::parse("drills.md", example).unwrap_or_else(|faults| panic!("{faults}"));
    let record = scenes::stage::play(&scene, &|_, _| Box::pin(async { Ok(String::new()) })).expect("played");
    let report = scenes::verdict::judge(&scene, &record, false);
    assert!(report.passed(), "{}", report.text());
}

fn small() -> String {
    "[scene]\nname = \"x\"\nlength = \"1 h\"\n[[egress]]\nname = \"A\"\naddress = \"127.1.0.36\"\n\
     [[sender]]\naccounts = [\"a@home.example\"]\n[[peer]]\nname = \"p\"\n[[peer.rule]]\nsay = \"550 no\"\n\
     [[destination]]\nname = \"d\"\ndomains = [\"d.example\"]\npeer = \"p\"\n[[traffic]]\nto = [\"d\"]\nmessages = 1\n\
     [[check]]\nthat = \"dsns = 1\"\n"
        .to_owned()
}

fn fault(from: &str, to: &str) -> String {
    let text = small();
    assert!(text.contains(from), "{from}");
    match Scene::parse("x.toml", &text.replacen(from, to, 1)) {
        Ok(_) => String::new(),
        Err(faults) => faults.to_string(),
    }
}

#[test]
fn a_wrong_file_is_told_where_it_is_wrong_and_what_to_write() {
    assert_eq!(fault("dsns = 1", "dsns = 0"), "");
    for (from, to, place, says) in [
        ("length = \"1 h\"", "length = \"1 hour\"", "x.toml:3:10", "is no unit of time"),
        ("length = \"1 h\"", "length = 3600", "x.toml:3:10", "has no unit"),
        ("length = \"1 h\"\n", "", "x.toml:1:", "[scene] lacks length"),
        ("messages", "mesages", "x.toml:19:1", "did you mean messages?"),
        ("peer = \"p\"", "peer = \"q\"", "x.toml:16:8", "there is no [[peer]] \"q\""),
        ("to = [\"d\"]", "to = [\"e\"]", "x.toml:18:7", "there is no [[destination]] \"e\""),
        ("dsns = 1", "dnss = 1", "x.toml:21:8", "did you mean dsns?"),
        ("dsns = 1", "dsns is 1", "x.toml:21:8", "compares a measure with a bound"),
        ("550 no", "250 yes", "x.toml:12:7", "does not begin with a code that refuses"),
        ("d.example", "d{1..", "x.toml:15:12", "a { without a }"),
        ("127.1.0.36", "127.1.0", "x.toml:6:11", "is no address"),
        ("a@home.example", "home", "x.toml:8:13", "is no address"),
        ("[[peer]]", "[peer]", "x.toml:9:", "begin each with a line [[peer]]"),
        ("say =", "at = \"mail\"\nto = [\"d\"]\nsay =", "x.toml:", "no recipient is known yet"),
        ("say =", "doing = \"hang\"\nsay =", "x.toml:12:1", "has no key doing"),
    ] {
        let said = fault(from, to);
        assert!(said.contains(place) && said.contains(says), "{to}: {said}");
    }
}
