//! Runs Pigeonhole's `.svtest` files: the commands of its `testsuite` extension, for our tests
//! only. The files themselves are not ours and not in this repository; `PIGEONHOLE_TESTS` says
//! where a copy of that project's `tests` folder is.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use stdx::Now;

use crate::actions::{Action, Around, Facts};
use crate::compile::{Call, Command, Compiler, Library, Program, Script, Value};
use crate::eval::{Flow, Ran, Run, Trouble};
use crate::limits::Limits;
use crate::spec::{MATCH, Spec, Tag, Tests, Want, spec, tag};

const INDEX: &[Tag] = &[Tag { name: "index", value: Some(Want::Number), group: "index", needs: "" }];
const EXTENSION: &[Tag] =
    &[Tag { name: "extension", value: Some(Want::Text), group: "extension", needs: "" }];
const FROM: &[Tag] =
    &[tag("smtp", "from"), Tag { name: "folder", value: Some(Want::Text), group: "from", needs: "" }];
const APPEND: &[Tag] = &[tag("append_result", "append")];
const MAILBOX: &[Tag] = &[tag("create", "do"), tag("delete", "do")];
const S: Want = Want::Text;
const L: Want = Want::Texts;
const N: Want = Want::Number;

pub(crate) const GUESTS: &[(Spec, bool)] = &[
    (Spec { block: true, tests: Tests::None, ..spec("test", "", &[S], &[]) }, false),
    (spec("debug_log", "", &[S], &[]), false),
    (spec("test_fail", "", &[S], &[]), false),
    (spec("test_set", "", &[S, S], &[]), false),
    (spec("test_config_set", "", &[S, S], &[]), false),
    (spec("test_config_unset", "", &[S], &[]), false),
    (spec("test_config_reload", "", &[], &[EXTENSION]), false),
    (spec("test_result_reset", "", &[], &[]), false),
    (spec("test_result_print", "", &[], &[]), false),
    (spec("test_message", "", &[N], &[FROM]), false),
    (spec("test_mailbox_create", "", &[S], &[]), false),
    (spec("test_mailbox", "", &[S], &[MAILBOX]), false),
    (spec("test_binary_load", "", &[S], &[]), false),
    (spec("test_binary_save", "", &[S], &[]), false),
    (spec("test_script_compile", "", &[S], &[]), true),
    (spec("test_script_run", "", &[], &[APPEND]), true),
    (spec("test_multiscript", "", &[L], &[]), true),
    (Spec { optional: 0, open_ended: true, ..spec("test_error", "", &[L], &[MATCH, INDEX]) }, true),
    (Spec { optional: 0, open_ended: true, ..spec("test_result_action", "", &[L], &[MATCH, INDEX]) }, true),
    (spec("test_result_execute", "", &[], &[]), true),
    (spec("test_message", "", &[N], &[FROM]), true),
];

/// A stored or sent message, with the envelope or flags it has.
#[derive(Clone)]
struct Post {
    message: Vec<u8>,
    from: String,
    to: String,
    flags: Vec<String>,
}

/// The state of one `.svtest` file.
pub(crate) struct Bench {
    folder: PathBuf,
    state: RefCell<State>,
}

struct State {
    from: Option<String>,
    to: String,
    auth: Option<String>,
    compiled: Option<&'static Script>,
    errors: Vec<String>,
    store: BTreeMap<String, Vec<Post>>,
    sent: Vec<Post>,
    marks: BTreeSet<String>,
    config: BTreeMap<String, String>,
    failures: Vec<String>,
    passed: usize,
}

impl State {
    /// False, and an error, if there is no such folder.
    fn store(&mut self, folder: &str, create: bool, message: Vec<u8>, flags: Vec<String>) -> bool {
        let folder = match folder.to_ascii_uppercase().starts_with("INBOX") {
            true => format!("INBOX{}", &folder[5..]),
            false => folder.to_owned(),
        };
        let known = folder == "INBOX" || self.store.contains_key(&folder);
        if folder.contains('/') || !known && !create {
            let why = if folder.contains('/') { "bad name" } else { "does not exist" };
            self.errors.push(format!("failed to store into mailbox '{folder}': {why}"));
            return false;
        }
        let post = Post { message, from: String::new(), to: String::new(), flags: stored(flags) };
        self.store.entry(folder).or_default().push(post);
        true
    }
}

struct Files(PathBuf);

impl Library for Files {
    fn script(&self, global: bool, name: &str) -> Option<String> {
        let sub = if global { "included-global" } else { "included" };
        let path = self.0.join(sub).join(format!("{name}.sieve"));
        read(&path)
    }
}

fn read(path: &Path) -> Option<String> {
    std::fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

impl Around for Bench {
    fn folder_exists(&self, name: &str) -> bool {
        name.eq_ignore_ascii_case("INBOX") || self.state.borrow().store.contains_key(name)
    }
    fn special_use_exists(&self, _folder: Option<&str>, _special_use: &str) -> bool {
        false
    }
    fn seen(&self, mark: &str) -> bool {
        self.state.borrow().marks.contains(mark)
    }
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

impl Bench {
    fn facts(&'static self, message: Vec<u8>) -> &'static Facts<'static> {
        let state = self.state.borrow();
        let config = |name: &str| state.config.get(name).cloned();
        let own: Vec<String> = config("sieve_user_email").into_iter().collect();
        leak(Facts {
            message: leak(message),
            sender: state.from.clone().map(|f| leak(f).as_str()),
            recipient: leak(state.to.clone()),
            authenticated: state.auth.clone().map(|a| leak(a).as_str()),
            own: leak(own),
            delimiters: leak(config("recipient_delimiter").unwrap_or("+".into())),
            zone_min: 0,
            environment: leak(BTreeMap::from([
                ("host".to_owned(), "mx.example.org".to_owned()),
                ("domain".to_owned(), "example.org".to_owned()),
            ])),
            reply_id: "reply",
            around: self,
        })
    }

    fn limits(&self) -> &'static Limits {
        let state = self.state.borrow();
        let number = |name: &str| {
            state.config.get(name).and_then(|v| v.trim_end_matches(['s', 'd', 'k']).parse::<u64>().ok())
        };
        let mut limits = Limits { vacation_seconds_min: 86_400, ..Limits::default() };
        let set = |slot: &mut usize, name: &str| {
            if let Some(n) = number(name) {
                *slot = n as usize;
            }
        };
        set(&mut limits.actions_max, "sieve_max_actions");
        set(&mut limits.redirects_max, "sieve_max_redirects");
        set(&mut limits.includes_max, "sieve_include_max_includes");
        set(&mut limits.include_depth_max, "sieve_include_max_nesting_depth");
        set(&mut limits.variables_max, "sieve_variables_max_scope_size");
        set(&mut limits.variables_max, "sieve_variables_max_scope_count");
        set(&mut limits.value_max, "sieve_variables_max_variable_size");
        set(&mut limits.value_max, "sieve_variables_max_value_size");
        let sized = ["sieve_variables_max_variable_size", "sieve_variables_max_value_size"];
        let kib = sized.iter().find_map(|n| state.config.get(*n)?.strip_suffix('k')?.parse::<usize>().ok());
        limits.value_max = kib.map_or(limits.value_max, |k| k * 1024);
        let set = |slot: &mut usize, name: &str| {
            if let Some(n) = number(name) {
                *slot = n as usize;
            }
        };
        set(&mut limits.field_max, "sieve_editheader_max_header_size");
        let listed = state.config.get("sieve_editheader_header").cloned().unwrap_or_default();
        for (name, _) in state.config.range("sieve_editheader_header/".to_owned()..) {
            let field = name.split('/').nth(1).unwrap_or("");
            if !listed.split(' ').any(|l| l == field) {
                continue;
            }
            if name.ends_with("/forbid_add") {
                limits.fields_not_added.push(field.to_owned());
            }
            if name.ends_with("/forbid_delete") {
                limits.fields_not_deleted.push(field.to_owned());
            }
        }
        leak(limits)
    }

    fn compile(&self, name: &str) -> Result<&'static Script, Vec<String>> {
        let text = read(&self.folder.join(name)).ok_or_else(|| vec![format!("no file {name}")])?;
        let library = Files(self.folder.clone());
        let mut compiler = Compiler::new(&library, self.limits());
        compiler.guests = GUESTS;
        compiler.programs.push(Program::default());
        if let Some(program) = compiler.program(&text, "") {
            compiler.programs[0] = program;
        }
        if compiler.faults.list.is_empty() {
            return Ok(leak(Script { programs: compiler.programs }));
        }
        if std::env::var_os("SVFAULTS").is_some() {
            compiler.faults.list.iter().for_each(|f| println!("    {name}: {f}"));
        }
        let mut errors: Vec<String> = compiler.faults.list.iter().map(|f| f.says.clone()).collect();
        errors.push("the script has faults".into());
        Err(errors)
    }

    /// Stores and sends what a result wants; false if something could not be done.
    fn execute(&self, run: &mut Run<'_>) -> bool {
        let mut actions = run.actions.clone();
        if run.keeps {
            let version = run.version();
            actions.push(Action::Keep { flags: run.flags.clone(), implicit: true, version });
        }
        let texts: Vec<Vec<u8>> =
            std::iter::once(run.facts.message.to_vec()).chain(run.versions.clone()).collect();
        let state = &mut *self.state.borrow_mut();
        let envelope = (state.from.clone().unwrap_or_default(), state.to.clone());
        let mut fine = true;
        for action in actions {
            match action {
                Action::Keep { flags, version, .. } => {
                    state.store("INBOX", true, texts[version].clone(), flags);
                }
                Action::FileInto { folder, flags, create, version, .. } => {
                    fine &= state.store(&folder, create, texts[version].clone(), flags);
                }
                Action::Redirect { to, version } => {
                    let message = texts[version].clone();
                    state.sent.push(Post { message, from: envelope.0.clone(), to, flags: Vec::new() });
                }
                Action::Vacation(v) => {
                    if let Ok(reply) = v.reply {
                        state.sent.push(Post {
                            message: reply.message,
                            from: String::new(),
                            to: reply.to,
                            flags: Vec::new(),
                        });
                    }
                }
                Action::Reject { reason, .. } => {
                    if !envelope.0.is_empty() {
                        let message = format!(
                            "From: <postmaster@example.org>\r\nTo: <{}>\r\nSubject: Rejected\r\nAuto-Submitted: auto-replied (rejected)\r\n\r\n{reason}\r\n",
                            envelope.0
                        );
                        state.sent.push(Post {
                            message: message.into_bytes(),
                            from: String::new(),
                            to: envelope.0.clone(),
                            flags: Vec::new(),
                        });
                    }
                }
                Action::Discard => {}
            }
        }
        if !fine {
            let post =
                Post { message: texts[0].clone(), from: String::new(), to: String::new(), flags: Vec::new() };
            state.store.entry("INBOX".into()).or_default().push(post);
        }
        state.marks.extend(run.marks.iter().map(|m| m.name.clone()));
        run.keeps = false;
        fine
    }
}

/// The address in a path as SMTP writes it; nothing if it is broken.
fn path(text: &str) -> Option<String> {
    let inner = match (text.strip_prefix('<'), text.ends_with('>')) {
        (Some(rest), true) => &rest[..rest.len() - 1],
        (None, false) => text,
        _ => return None,
    };
    let domain_ok = |d: &str| {
        !d.is_empty()
            && d.split('.')
                .all(|l| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)))
    };
    let inner = match inner.split_once(':') {
        Some((route, rest)) => {
            let well = route.split(',').all(|hop| hop.strip_prefix('@').is_some_and(domain_ok));
            if !well {
                return None;
            }
            rest
        }
        None => inner,
    };
    if inner.is_empty() {
        return Some(String::new());
    }
    let atom = |l: &str| {
        !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b))
    };
    let quoted = |l: &str| l.len() > 1 && l.starts_with('"') && l.ends_with('"');
    match inner.rsplit_once('@') {
        Some((local, domain)) => {
            ((atom(local) || quoted(local)) && domain_ok(domain)).then(|| inner.to_owned())
        }
        None => atom(inner).then(|| inner.to_owned()),
    }
}

fn bench(run: &Run<'_>) -> &'static Bench {
    run.guest.expect("only a bench compiles guests")
}

/// Dovecot marks what it stores in this way; the cases count flags.
fn stored(mut flags: Vec<String>) -> Vec<String> {
    flags.push("$HasNoAttachment".to_owned());
    flags
}

/// Marks the end of a test that has failed.
const FAILED: &str = "\u{1}test failed: ";

/// Puts another message before the script.
fn change(run: &mut Run<'_>, message: Vec<u8>) {
    run.facts = bench(run).facts(message);
    run.edited = None;
    run.fresh = false;
    run.versions.clear();
    run.structure = None;
}

pub(crate) fn command<'a>(run: &mut Run<'a>, call: &'a Call, body: &'a [Command]) -> Ran<Flow> {
    let bench = bench(run);
    match call.name {
        "test" => {
            let name = run.text(call, 0);
            bench.state.borrow_mut().errors.clear();
            run.actions.clear();
            run.keeps = true;
            bench.state.borrow_mut().sent.clear();
            run.flags.clear();
            let depth = (run.stack.len(), run.scopes.len());
            let end = run.commands(body);
            let mut state = bench.state.borrow_mut();
            match end {
                Ok(_) => state.passed += 1,
                Err(Trouble(_, says)) if says.starts_with(FAILED) => {
                    state.failures.push(format!("{name}: {}", &says[FAILED.len()..]));
                }
                Err(Trouble(place, says)) => {
                    state.failures.push(format!("{name}: stopped at line {}: {says}", place.line));
                }
            }
            run.stack.truncate(depth.0);
            run.scopes.truncate(depth.1);
        }
        "test_fail" => {
            return Err(Trouble(
                call.place,
                format!("{FAILED}line {}: {}", call.place.line, run.text(call, 0)),
            ));
        }
        "test_set" => set(run, call),
        "test_config_set" => {
            bench.state.borrow_mut().config.insert(run.text(call, 0), run.text(call, 1));
        }
        "test_config_unset" => {
            bench.state.borrow_mut().config.remove(&run.text(call, 0));
        }
        "test_config_reload" => {
            run.limits = bench.limits();
            run.facts = bench.facts(run.facts.message.to_vec());
        }
        "test_result_reset" => {
            run.actions.clear();
            run.keeps = true;
            run.marks.clear();
            bench.state.borrow_mut().sent.clear();
        }
        "test_message" => {
            message(run, call);
        }
        "test_mailbox_create" => {
            bench.state.borrow_mut().store.entry(run.text(call, 0)).or_default();
        }
        "test_mailbox" => {
            let name = run.text(call, 0);
            let mut state = bench.state.borrow_mut();
            if call.has("delete") {
                state.store.remove(&name);
            } else {
                state.store.entry(name).or_default();
            }
        }
        _ => {}
    }
    Ok(Flow::Next)
}

fn set(run: &mut Run<'_>, call: &Call) {
    let bench = bench(run);
    let (name, value) = (run.text(call, 0), run.text(call, 1));
    {
        let mut state = bench.state.borrow_mut();
        match name.as_str() {
            "envelope.from" => state.from = path(&value),
            "envelope.to" => state.to = path(&value).unwrap_or_default(),
            "message" => {
                let head = message::Head::parse(value.as_bytes());
                let first = |names: &[&str]| {
                    names.iter().find_map(|n| head.get(n)).and_then(|f| {
                        message::addresses::mailboxes(f.raw()).into_iter().next().map(|m| m.address)
                    })
                };
                state.from = first(&["Return-Path", "Sender", "From"]).or(state.from.take());
                if let Some(to) = first(&["Envelope-To", "To"]) {
                    state.to = to;
                }
            }
            "envelope.auth" => state.auth = Some(value.clone()),
            _ => {}
        }
    }
    run.flags.clear();
    let message = if name == "message" { value.into_bytes() } else { run.message().to_vec() };
    change(run, message);
}

fn message(run: &mut Run<'_>, call: &Call) -> bool {
    let bench = bench(run);
    let Some(Value::Number(n)) = call.arguments.first() else { return false };
    let found = {
        let state = bench.state.borrow();
        match run.tag_text(call, "folder") {
            Some(name) => state.store.get(&name).and_then(|list| list.get(*n as usize)).cloned(),
            None => state.sent.get(*n as usize).cloned(),
        }
    };
    let Some(post) = found else { return false };
    if !call.has("folder") {
        let mut state = bench.state.borrow_mut();
        state.from = Some(post.from.clone());
        state.to = post.to.clone();
    }
    run.flags = post.flags;
    change(run, post.message);
    true
}

pub(crate) fn test<'a>(run: &mut Run<'a>, call: &'a Call) -> Ran<bool> {
    let bench = bench(run);
    match call.name {
        "test_script_compile" => {
            let compiled = bench.compile(&run.text(call, 0));
            let mut state = bench.state.borrow_mut();
            state.errors.clear();
            match compiled {
                Ok(script) => state.compiled = Some(script),
                Err(errors) => {
                    state.errors = errors;
                    return Ok(false);
                }
            }
            Ok(true)
        }
        "test_script_run" => {
            let Some(script) = bench.state.borrow().compiled else { return Ok(false) };
            Ok(run_script(run, script, call.has("append_result")))
        }
        "test_multiscript" => {
            run.actions.clear();
            for name in run.list(call, 0) {
                let compiled = bench.compile(&name);
                match compiled {
                    Ok(script) => {
                        if !run_script(run, script, true) {
                            return Ok(false);
                        }
                    }
                    Err(errors) => {
                        bench.state.borrow_mut().errors = errors;
                        return Ok(false);
                    }
                }
            }
            bench.execute(run);
            run.actions.clear();
            run.keeps = true;
            Ok(true)
        }
        "test_error" => {
            let errors = bench.state.borrow().errors.clone();
            chosen(run, call, errors)
        }
        "test_result_action" => {
            let mut names: Vec<String> = run.actions.iter().map(|a| name_of(a).to_owned()).collect();
            if run.keeps {
                names.push("keep".into());
            }
            chosen(run, call, names)
        }
        "test_result_execute" => Ok(bench.execute(run)),
        "test_message" => Ok(message(run, call)),
        name => panic!("no guest {name}"),
    }
}

fn name_of(action: &Action) -> &'static str {
    match action {
        Action::Keep { .. } => "keep",
        Action::FileInto { .. } => "store",
        Action::Redirect { .. } => "redirect",
        Action::Discard => "discard",
        Action::Reject { .. } => "reject",
        Action::Vacation(_) => "vacation",
    }
}

fn chosen<'a>(run: &mut Run<'a>, call: &'a Call, all: Vec<String>) -> Ran<bool> {
    let values = match call.number("index") {
        Some(n) => all.into_iter().skip(n as usize - 1).take(1).collect(),
        None => all,
    };
    let keys = run.list(call, 0);
    if keys.is_empty() {
        return Ok(!values.is_empty());
    }
    run.matches(call, &values, &keys)
}

fn run_script(run: &mut Run<'_>, script: &'static Script, append: bool) -> bool {
    let bench = bench(run);
    bench.state.borrow_mut().errors.clear();
    let facts = bench.facts(run.message().to_vec());
    let limits = bench.limits();
    let mut inner = Run::new(script, facts, run.now, limits);
    inner.guest = Some(bench);
    if append {
        inner.actions = run.actions.clone();
        inner.versions = run.versions.clone();
        inner.flags = run.flags.clone();
        inner.keeps = run.keeps;
    }
    let end = inner.program(0);
    if let Err(Trouble(_, says)) = end {
        bench.state.borrow_mut().errors.push(says);
        run.actions.clear();
        run.keeps = true;
        return false;
    }
    bench.state.borrow_mut().errors.extend(inner.remarks.iter().map(|f| f.says.clone()));
    run.globals.extend(inner.globals);
    run.actions = inner.actions;
    run.keeps = inner.keeps;
    run.versions = inner.versions;
    run.edited = inner.edited;
    run.fresh = inner.fresh;
    run.flags = inner.flags;
    run.marks = inner.marks;
    true
}

/// What a file gave: tests passed and the failures; nothing if it could not be compiled.
fn play(path: &Path) -> Result<(usize, Vec<String>), Vec<String>> {
    let text = read(path).expect("the file is there");
    let folder = path.parent().expect("a file has a folder").to_owned();
    let state = State {
        from: Some("sender@example.com".into()),
        to: "user@example.org".into(),
        auth: None,
        compiled: None,
        errors: Vec::new(),
        store: BTreeMap::new(),
        sent: Vec::new(),
        marks: BTreeSet::new(),
        config: BTreeMap::new(),
        failures: Vec::new(),
        passed: 0,
    };
    let bench = leak(Bench { folder: folder.clone(), state: RefCell::new(state) });
    let limits = leak(Limits::default());
    let library = leak(Files(folder));
    let mut compiler = Compiler::new(library, limits);
    compiler.guests = GUESTS;
    compiler.programs.push(Program::default());
    match compiler.program(&text, "") {
        Some(program) => compiler.programs[0] = program,
        None => return Err(compiler.faults.list.iter().map(ToString::to_string).collect()),
    }
    let script = leak(Script { programs: compiler.programs });
    let facts = bench.facts(b"From: stephan@example.org\r\nSubject: none\r\n\r\nbody\r\n".to_vec());
    let mut run = Run::new(script, facts, Now::from_secs(1_795_358_886), limits);
    run.guest = Some(bench);
    if let Err(Trouble(place, says)) = run.program(0) {
        bench.state.borrow_mut().failures.push(format!(
            "line {}: {}",
            place.line,
            says.trim_start_matches(FAILED)
        ));
    }
    let state = bench.state.borrow();
    Ok((state.passed, state.failures.clone()))
}

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).expect("a folder").filter_map(Result::ok).collect();
    entries.sort_by_key(std::fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            files(&path, out);
        } else if path.extension().is_some_and(|e| e == "svtest") {
            out.push(path);
        }
    }
}

/// Folders of extensions that are not offered.
const NOT_OFFERED: &[&str] =
    &["enotify", "extlists", "metadata", "mime", "spamvirustest", "vnd.dovecot", "plugins"];

#[test]
fn pigeonhole_s_own_tests_are_played() {
    let Some(root) = std::env::var_os("PIGEONHOLE_TESTS").map(PathBuf::from) else {
        eprintln!(
            "SKIPPED: PIGEONHOLE_TESTS does not say where Pigeonhole's tests folder is; nothing was checked"
        );
        return;
    };
    let only = std::env::var("SVTEST").unwrap_or_default();
    let mut paths = Vec::new();
    files(&root, &mut paths);
    let (mut whole, mut all, mut passed, mut failed) = (0, 0, 0, 0);
    for path in paths {
        let name = path.strip_prefix(&root).expect("below the root").display().to_string();
        if NOT_OFFERED.iter().any(|n| name.contains(n)) || !name.contains(&only) {
            continue;
        }
        all += 1;
        match play(&path) {
            Ok((p, failures)) => {
                passed += p;
                failed += failures.len();
                whole += usize::from(failures.is_empty());
                for failure in &failures {
                    println!("{name}: {failure}");
                }
            }
            Err(faults) => {
                println!("{name}: NOT COMPILED: {}", faults.join("; ").chars().take(300).collect::<String>())
            }
        }
    }
    println!("{whole} of {all} files pass whole; {passed} tests pass, {failed} fail");
    assert!(all > 0, "no .svtest file below {}", root.display());
}
