//! RFC 6609: scripts inside scripts, and the variables they share.

use super::{Call, Command, Compiler, Program, Value};
use crate::template::Template;

impl Compiler<'_> {
    pub(super) fn global(&mut self, call: &Call) {
        if !self.needs("variables") {
            return self.add(call.place, "global needs: require \"variables\";");
        }
        for text in call.texts(0) {
            let Some(name) = text.constant() else { continue };
            if !crate::template::is_identifier(name) {
                self.add(call.place, format!("\"{name}\" cannot be a variable's name"));
            } else if self.declared.contains(&name.to_ascii_lowercase()) {
                self.add(
                    call.place,
                    format!("\"{name}\" was used as a variable of this script alone before"),
                );
            } else {
                self.globals.insert(name.to_ascii_lowercase());
            }
        }
    }

    /// Names of variables that were declared global get their namespace.
    pub(super) fn reach_globals(&self, call: &mut Call) {
        if !matches!(call.name, "set" | "setflag" | "addflag" | "removeflag" | "hasflag") {
            return;
        }
        if let Some(Value::Texts(names)) = call.arguments.first_mut() {
            for name in names {
                let global =
                    name.constant().map(str::to_ascii_lowercase).filter(|n| self.globals.contains(n));
                if let Some(global) = global {
                    *name = Template::plain(format!("global.{global}"));
                }
            }
        }
    }

    // RFC 6609 §3.2.
    pub(super) fn include(&mut self, call: &Call) -> Option<Command> {
        let Some(name) = call.texts(0).first().and_then(Template::constant) else {
            self.add(call.place, "the name of an included script cannot hold variables");
            return None;
        };
        let odd = |c: char| c.is_control() || matches!(c, '/' | '\u{2028}' | '\u{2029}' | '\u{fffd}');
        if name.is_empty() || name.len() > 255 || name.chars().any(odd) {
            self.add(call.place, "that cannot be a script's name");
            return None;
        }
        let key = (call.has("global"), name.to_owned());
        let once = call.has("once");
        if let (true, true, Some((_, program))) =
            (once, self.open.contains(&key), self.included.iter().find(|(k, _)| *k == key))
        {
            return Some(Command::Include { program: *program, once });
        }
        if self.open.contains(&key) {
            self.add(call.place, format!("the script \"{name}\" would include itself"));
            return None;
        }
        if let Some((_, program)) = self.included.iter().find(|(k, _)| *k == key) {
            return Some(Command::Include { program: *program, once });
        }
        let Some(text) = self.library.script(key.0, name) else {
            if !call.has("optional") {
                self.add(call.place, format!("there is no script \"{name}\" to include"));
            }
            return None;
        };
        if self.open.len() >= self.limits.include_depth_max {
            self.add(
                call.place,
                format!("scripts include each other deeper than {}", self.limits.include_depth_max),
            );
            return None;
        }
        if self.included.len() >= self.limits.includes_max {
            self.add(call.place, format!("more than {} scripts are included", self.limits.includes_max));
            return None;
        }
        let place = self.programs.len();
        self.programs.push(Program::default());
        self.included.push((key.clone(), place));
        self.open.push(key);
        let program = self.program(&text, name);
        self.open.pop();
        match program {
            Some(program) => self.programs[place] = program,
            None => {
                self.add(call.place, format!("the included script \"{name}\" has faults"));
                return None;
            }
        }
        Some(Command::Include { program: place, once })
    }
}
