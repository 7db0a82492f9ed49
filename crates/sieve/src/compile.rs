//! From what is written to what can be run: names, arguments and extensions are checked here,
//! so that [`crate::evaluate`] meets only what makes sense.

use std::collections::BTreeSet;

use crate::fault::{Fault, Faults, Place};
use crate::limits::Limits;
use crate::matching::{Comparator, Kind, Matching};
use crate::parse::{Argument, Node, parse};
use crate::spec::{self, Spec, Tests, Want};
use crate::template::{Piece, Template};

mod include;
mod rules;

/// A script that can be run.
#[derive(Clone, Debug)]
pub struct Script {
    pub(crate) programs: Vec<Program>,
}

/// The script itself (the first) or an included one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) body: Vec<Command>,
    /// `variables` is required: wildcards set match variables.
    pub(crate) variables: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Command {
    If {
        branches: Vec<(Test, Vec<Command>)>,
        otherwise: Vec<Command>,
    },
    Include {
        program: usize,
        once: bool,
    },
    Call(Box<Call>),
    #[cfg(test)]
    Guest(Box<Call>, Vec<Command>),
}

#[derive(Clone, Debug)]
pub(crate) enum Test {
    Known(bool),
    Not(Box<Test>),
    AnyOf(Vec<Test>),
    AllOf(Vec<Test>),
    Call(Box<Call>),
}

/// A command or test with its arguments, checked.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) tags: Vec<(&'static str, Value)>,
    pub(crate) arguments: Vec<Value>,
    pub(crate) matching: Matching,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Nothing,
    Number(u64),
    Texts(Vec<Template>),
}

impl Call {
    pub(crate) fn tag(&self, name: &str) -> Option<&Value> {
        self.tags.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tag(name).is_some()
    }
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        match self.tag(name) {
            Some(Value::Number(n)) => Some(*n),
            _ => None,
        }
    }
    pub(crate) fn tag_text(&self, name: &str) -> Option<&Template> {
        match self.tag(name) {
            Some(Value::Texts(texts)) => texts.first(),
            _ => None,
        }
    }
    pub(crate) fn texts(&self, at: usize) -> &[Template] {
        match self.arguments.get(at) {
            Some(Value::Texts(texts)) => texts,
            _ => &[],
        }
    }
}

/// Where included scripts come from.
pub trait Library {
    /// The text of a personal or global script.
    fn script(&self, global: bool, name: &str) -> Option<String>;
}

/// A library without scripts.
pub struct Alone;

impl Library for Alone {
    fn script(&self, _global: bool, _name: &str) -> Option<String> {
        None
    }
}

/// Reads and checks a script, and those it includes.
pub fn compile(text: &str, library: &dyn Library, limits: &Limits) -> Result<Script, Vec<Fault>> {
    let mut compiler = Compiler::new(library, limits);
    compiler.programs.push(Program::default());
    if let Some(program) = compiler.program(text, "") {
        compiler.programs[0] = program;
    }
    if compiler.faults.list.is_empty() {
        Ok(Script { programs: compiler.programs })
    } else {
        Err(compiler.faults.list)
    }
}

pub(crate) struct Compiler<'a> {
    library: &'a dyn Library,
    limits: &'a Limits,
    pub(crate) faults: Faults,
    pub(crate) programs: Vec<Program>,
    /// Included so far, by location and name, and their places in `programs`.
    included: Vec<((bool, String), usize)>,
    /// The scripts that are being compiled, one inside the other.
    open: Vec<(bool, String)>,
    required: BTreeSet<String>,
    globals: BTreeSet<String>,
    declared: BTreeSet<String>,
    #[cfg(test)]
    pub(crate) guests: &'static [(Spec, bool)],
}

impl<'a> Compiler<'a> {
    pub(crate) fn new(library: &'a dyn Library, limits: &'a Limits) -> Compiler<'a> {
        Compiler {
            library,
            limits,
            faults: Faults::default(),
            programs: Vec::new(),
            included: Vec::new(),
            open: Vec::new(),
            required: BTreeSet::new(),
            globals: BTreeSet::new(),
            declared: BTreeSet::new(),
            #[cfg(test)]
            guests: &[],
        }
    }

    pub(crate) fn program(&mut self, text: &str, name: &str) -> Option<Program> {
        if text.len() > self.limits.script_max {
            let max = self.limits.script_max;
            self.faults.add(Place { line: 1, column: 1 }, format!("the script is longer than {max} octets"));
            return None;
        }
        let before = self.faults.list.len();
        let outer = (
            std::mem::take(&mut self.required),
            std::mem::take(&mut self.globals),
            std::mem::take(&mut self.declared),
            std::mem::replace(&mut self.faults.script, name.to_owned()),
        );
        let nodes = parse(text, &mut self.faults);
        let body = if self.faults.list.len() == before { self.block(&nodes, true) } else { Vec::new() };
        let variables = self.needs("variables");
        (self.required, self.globals, self.declared, self.faults.script) = outer;
        (self.faults.list.len() == before).then(|| Program { name: name.to_owned(), body, variables })
    }

    fn needs(&self, extension: &str) -> bool {
        self.required.contains(extension)
    }

    fn add(&mut self, place: Place, says: impl Into<String>) {
        self.faults.add(place, says);
    }

    fn block(&mut self, nodes: &[Node], top: bool) -> Vec<Command> {
        let mut out = Vec::new();
        let mut requires_end = !top;
        // The chain an elsif or else belongs to, and whether else has been.
        let mut chain: Option<bool> = None;
        for node in nodes {
            let is_require = node.name == "require";
            if is_require && requires_end {
                self.add(node.place, "require must stand before all other commands");
                chain = None;
                continue;
            }
            requires_end |= !is_require;
            match node.name.as_str() {
                "if" => {
                    chain = Some(false);
                    let branch = self.branch(node);
                    out.push(Command::If { branches: branch.into_iter().collect(), otherwise: Vec::new() });
                }
                "elsif" | "else" => {
                    if chain != Some(false) {
                        self.add(node.place, format!("{} has no if before it", node.name));
                    }
                    chain = Some(node.name == "else");
                    let branch = self.branch(node);
                    if let (Some(Command::If { branches, otherwise }), Some((test, body))) =
                        (out.last_mut(), branch)
                    {
                        if node.name == "else" {
                            *otherwise = body;
                        } else {
                            branches.push((test, body));
                        }
                    }
                }
                _ => {
                    chain = None;
                    out.extend(self.command(node));
                }
            }
        }
        out
    }

    fn branch(&mut self, node: &Node) -> Option<(Test, Vec<Command>)> {
        let spec = spec::COMMANDS.iter().find(|s| s.name == node.name)?;
        let fits = self.arguments(node, spec).is_some();
        let test = match node.tests.first() {
            Some(test) if spec.tests == Tests::One && !node.listed => self.test(test),
            _ => Some(Test::Known(true)),
        };
        let broken = test.is_none();
        let test = test.unwrap_or(Test::Known(true));
        // RFC 5463 §4: what stands behind an ihave that fails need not make sense.
        let body = match (&test, &node.block) {
            (Test::Known(false), _) | (_, None) => Vec::new(),
            (_, Some(block)) => self.block(block, false),
        };
        (fits && !broken).then_some((test, body))
    }

    fn find(&self, name: &str, test: bool) -> Option<&'static Spec> {
        #[cfg(test)]
        if let Some((spec, _)) = self.guests.iter().find(|(s, is_test)| s.name == name && *is_test == test) {
            return Some(spec);
        }
        let list = if test { spec::TESTS } else { spec::COMMANDS };
        let found = list.iter().find(|s| s.name == name)?;
        (found.needs.is_empty() || self.needs(found.needs)).then_some(found)
    }

    fn unknown(&mut self, node: &Node, test: bool) {
        let (what, other) = if test { ("test", "command") } else { ("command", "test") };
        let name = &node.name;
        let list = if test { spec::TESTS } else { spec::COMMANDS };
        let says = match list.iter().find(|s| s.name == name) {
            Some(s) => format!("the {what} {name} needs: require \"{}\";", s.needs),
            None if self.find(name, !test).is_some() => {
                format!("{name} is a {other}, but a {what} should stand here")
            }
            None => format!("there is no {what} \"{name}\""),
        };
        self.add(node.place, says);
    }

    fn command(&mut self, node: &Node) -> Option<Command> {
        let Some(spec) = self.find(&node.name, false) else {
            self.unknown(node, false);
            return None;
        };
        let mut call = self.arguments(node, spec)?;
        match spec.name {
            "require" => {
                self.require(&call);
                None
            }
            "include" => self.include(&call),
            "global" => {
                self.global(&call);
                None
            }
            #[cfg(test)]
            name if self.guests.iter().any(|(s, _)| s.name == name) => {
                let body = node.block.as_ref().map(|b| self.block(b, false)).unwrap_or_default();
                Some(Command::Guest(Box::new(call), body))
            }
            _ => {
                self.check_command(&call)?;
                self.reach_globals(&mut call);
                Some(Command::Call(Box::new(call)))
            }
        }
    }

    fn require(&mut self, call: &Call) {
        for text in call.texts(0) {
            let Some(name) = text.constant() else { continue };
            let known = spec::is_known(name);
            #[cfg(test)]
            let known = known || (name.starts_with("vnd.dovecot.") && !self.guests.is_empty());
            if known {
                self.enable(name);
            } else {
                self.add(call.place, format!("the extension \"{name}\" is not known here"));
            }
        }
    }

    fn enable(&mut self, name: &str) {
        self.required.insert(name.to_owned());
        // RFC 6131 §2: vacation-seconds brings vacation with it.
        if name == "vacation-seconds" {
            self.required.insert("vacation".to_owned());
        }
    }

    pub(crate) fn test(&mut self, node: &Node) -> Option<Test> {
        let Some(spec) = self.find(&node.name, true) else {
            self.unknown(node, true);
            return None;
        };
        let mut call = self.arguments(node, spec)?;
        Some(match spec.name {
            "true" => Test::Known(true),
            "false" => Test::Known(false),
            "not" => match self.test(node.tests.first()?)? {
                Test::Known(value) => Test::Known(!value),
                test => Test::Not(Box::new(test)),
            },
            "anyof" | "allof" => return self.several(node, spec.name == "anyof"),
            "ihave" => self.ihave(&call),
            _ => {
                self.check_test(&call)?;
                self.reach_globals(&mut call);
                Test::Call(Box::new(call))
            }
        })
    }

    fn several(&mut self, node: &Node, any: bool) -> Option<Test> {
        let mut tests = Vec::new();
        let mut fine = true;
        for node in &node.tests {
            match self.test(node) {
                // What decides the whole is kept; what changes nothing is left out.
                Some(Test::Known(value)) if value == any => {
                    return Some(Test::Known(any));
                }
                Some(Test::Known(_)) => {}
                Some(test) => tests.push(test),
                None => fine = false,
            }
        }
        match (fine, tests.is_empty(), any) {
            (false, ..) => None,
            (_, true, any) => Some(Test::Known(!any)),
            (.., true) => Some(Test::AnyOf(tests)),
            (.., false) => Some(Test::AllOf(tests)),
        }
    }

    fn ihave(&mut self, call: &Call) -> Test {
        let names: Vec<&str> = call.texts(0).iter().filter_map(Template::constant).collect();
        // RFC 5463 §4 leaves these out: they change how the whole script is read.
        let late = ["variables", "encoded-character"];
        let all = names.iter().all(|n| spec::is_known(n) && (!late.contains(n) || self.needs(n)));
        if all {
            names.into_iter().for_each(|n| self.enable(n));
        }
        Test::Known(all)
    }

    /// Checks arguments, tests and block against what is wanted, in the order in which a person
    /// would like to hear of faults.
    fn arguments(&mut self, node: &Node, spec: &'static Spec) -> Option<Call> {
        let before = self.faults.list.len();
        let mut call = Call {
            name: spec.name,
            place: node.place,
            tags: Vec::new(),
            arguments: Vec::new(),
            matching: Matching::default(),
        };
        let mut given = node.arguments.iter().peekable();
        while let Some((place, argument)) = given.next() {
            match argument {
                Argument::Tag(name) => {
                    if !call.arguments.is_empty() {
                        self.add(
                            *place,
                            format!("the tag :{name} must stand before the other arguments of {}", spec.name),
                        );
                        return None;
                    }
                    let value = given.peek().map(|(p, a)| (*p, a));
                    if self.tag(*place, name, value, (spec, &mut call))? {
                        given.next();
                    }
                }
                argument => {
                    let value = self.value(*place, argument)?;
                    call.arguments.push(value);
                }
            }
        }
        self.shape(node, spec);
        if node.tests.first().is_some_and(|t| is_tag(spec, &t.name)) {
            self.positions(node, spec, &mut call)?;
        }
        if self.faults.list.len() > before {
            return None;
        }
        self.positions(node, spec, &mut call)?;
        self.matching(&mut call)?;
        Some(call)
    }

    /// One tag; true if it took the argument behind it.
    fn tag(
        &mut self,
        place: Place,
        name: &str,
        value: Option<(Place, &Argument)>,
        (spec, call): (&'static Spec, &mut Call),
    ) -> Option<bool> {
        let Some(tag) = spec.tags.iter().copied().flatten().find(|t| t.name == name) else {
            self.add(place, format!("{} knows no tag :{name}", spec.name));
            return None;
        };
        if !tag.needs.is_empty() && !self.needs(tag.needs) {
            self.add(place, format!("the tag :{name} needs: require \"{}\";", tag.needs));
            return None;
        }
        let group = |t: &str| spec.tags.iter().copied().flatten().find(|s| s.name == t).map(|s| s.group);
        if call.tags.iter().any(|(other, _)| group(other) == Some(tag.group)) {
            self.add(
                place,
                format!("{} was given a {} already; :{name} is one too many", spec.name, tag.group),
            );
            return None;
        }
        let Some(want) = tag.value else {
            call.tags.push((tag.name, Value::Nothing));
            return Some(false);
        };
        let fits = |a: &Argument| {
            matches!(
                (want, a),
                (Want::Number, Argument::Number(_))
                    | (Want::Text | Want::Texts, Argument::Text(_))
                    | (Want::Texts, Argument::List(_))
            )
        };
        match value {
            Some((at, argument)) if fits(argument) => {
                let value = self.value(at, argument)?;
                call.tags.push((tag.name, value));
                Some(true)
            }
            _ => {
                self.add(place, format!("the tag :{name} wants {} behind it", want.describe()));
                None
            }
        }
    }

    fn value(&mut self, place: Place, argument: &Argument) -> Option<Value> {
        Some(match argument {
            Argument::Number(n) => Value::Number(*n),
            Argument::Text(text) => Value::Texts(vec![self.template(place, text)?]),
            Argument::List(list) => {
                let texts = list.iter().map(|(place, text)| self.template(*place, text));
                Value::Texts(texts.collect::<Option<_>>()?)
            }
            Argument::Tag(_) => Value::Nothing,
        })
    }

    fn template(&mut self, place: Place, text: &str) -> Option<Template> {
        match Template::read(text, self.needs("encoded-character"), self.needs("variables")) {
            Ok(mut template) => {
                for piece in &mut template.0 {
                    match piece {
                        Piece::Own(name) if self.globals.contains(name) => {
                            *piece = Piece::Global(std::mem::take(name));
                        }
                        Piece::Global(_) if !self.needs("include") => {
                            self.add(
                                place,
                                "variables of the namespace \"global\" need: require \"include\";",
                            );
                            return None;
                        }
                        _ => {}
                    }
                }
                Some(template)
            }
            Err(says) => {
                self.add(place, says);
                None
            }
        }
    }

    fn shape(&mut self, node: &Node, spec: &Spec) {
        let name = spec.name;
        let tests_fit = match spec.tests {
            Tests::None => node.tests.is_empty(),
            Tests::One => node.tests.len() == 1 && !node.listed,
            Tests::Several => node.listed,
        };
        if !tests_fit {
            let says = match (spec.tests, node.tests.first()) {
                (Tests::None, Some(test)) if is_tag(spec, &test.name) => {
                    format!("{name} takes no test; is a colon missing before \"{}\"?", test.name)
                }
                (Tests::None, Some(test)) if self.find(&test.name, true).is_none() => {
                    format!("{name} takes no test; is a ; missing before \"{}\"?", test.name)
                }
                (Tests::None, _) => format!("{name} takes no test"),
                (Tests::One, None) => format!("{name} wants a test behind it"),
                (Tests::One, Some(_)) => format!("{name} takes one test; join several with anyof or allof"),
                (Tests::Several, _) => format!("{name} wants tests in parentheses"),
            };
            self.add(node.place, says);
        }
        match (&node.block, spec.block) {
            (None, true) => self.add(node.place, format!("{name} wants a block in braces")),
            (Some(_), false) => self.add(node.place, format!("{name} takes no block")),
            _ => {}
        }
    }

    fn positions(&mut self, node: &Node, spec: &Spec, call: &mut Call) -> Option<()> {
        let (most, given) = (spec.wants.len(), call.arguments.len());
        let least = most - spec.optional - usize::from(spec.open_ended);
        if given > most || given < least {
            let count = if least == most { format!("{most}") } else { format!("{least} to {most}") };
            self.add(node.place, format!("{} takes {count} arguments, not {given}", spec.name));
            return None;
        }
        // Arguments that may be left out at the front stand as empty lists.
        if !spec.open_ended {
            for _ in given..most {
                call.arguments.insert(0, Value::Texts(Vec::new()));
            }
        }
        let lists: Vec<bool> =
            node.arguments.iter().rev().take(given).map(|(_, a)| matches!(a, Argument::List(_))).collect();
        for (i, (value, want)) in call.arguments.iter().zip(spec.wants).enumerate() {
            let from_end = call.arguments.len() - 1 - i;
            let is_list = lists.get(from_end).copied().unwrap_or(false);
            let fits = match (want, value) {
                (Want::Number, Value::Number(_)) | (Want::Texts, Value::Texts(_)) => true,
                // The optional variable list of hasflag and the like may be a list.
                (Want::Text, Value::Texts(_)) => !is_list,
                _ => false,
            };
            if !fits {
                let says = format!("argument {} of {} must be {}", i + 1, spec.name, want.describe());
                self.add(node.place, says);
                return None;
            }
        }
        Some(())
    }

    fn matching(&mut self, call: &mut Call) -> Option<()> {
        let mut out = Matching::default();
        for (name, value) in &call.tags {
            let text = match value {
                Value::Texts(texts) => texts.first().and_then(Template::constant),
                _ => None,
            };
            match *name {
                "is" => out.kind = Kind::Is,
                "contains" => out.kind = Kind::Contains,
                "matches" => out.kind = Kind::Matches,
                "regex" => out.kind = Kind::Regex,
                "count" | "value" => {
                    let Some(relation) = text.and_then(crate::matching::Relation::parse) else {
                        let says = format!(
                            ":{name} wants one of \"gt\" \"ge\" \"lt\" \"le\" \"eq\" \"ne\" behind it"
                        );
                        self.add(call.place, says);
                        return None;
                    };
                    out.kind = if *name == "count" { Kind::Count(relation) } else { Kind::Value(relation) };
                }
                "comparator" => {
                    let known = text.and_then(Comparator::parse);
                    let Some(comparator) = known.filter(|c| c.is_core() || self.needs(c.extension())) else {
                        let says = match (text, known) {
                            (None, _) => "the name of a comparator cannot hold variables".to_owned(),
                            (_, Some(c)) => format!("this comparator needs: require \"{}\";", c.extension()),
                            (Some(text), None) => format!("there is no comparator \"{text}\""),
                        };
                        self.add(call.place, says);
                        return None;
                    };
                    out.comparator = comparator;
                }
                _ => {}
            }
        }
        let substrings = matches!(out.kind, Kind::Contains | Kind::Matches | Kind::Regex);
        if substrings && out.comparator == Comparator::AsciiNumeric {
            self.add(call.place, "i;ascii-numeric compares whole numbers; it cannot look inside a text");
            return None;
        }
        call.matching = out;
        Some(())
    }
}

/// A test of this name may be a tag whose colon was forgotten.
fn is_tag(spec: &Spec, name: &str) -> bool {
    spec.tags.iter().copied().flatten().any(|t| t.name == name)
}

#[cfg(test)]
mod tests;
