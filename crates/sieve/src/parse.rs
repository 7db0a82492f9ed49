//! The generic grammar (RFC 5228 §8.2): commands, arguments, tests, blocks. What a name means,
//! and which arguments it takes, is checked later.

use crate::fault::{Faults, Place};
use crate::lexer::{Token, tokens};
use crate::limits::{ARGUMENTS_MAX, NESTING_MAX, STRINGS_MAX};

#[derive(Clone, Debug)]
pub(crate) enum Argument {
    Number(u64),
    Tag(String),
    Text(String),
    List(Vec<(Place, String)>),
}

/// A command or a test as it is written.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) name: String,
    pub(crate) arguments: Vec<(Place, Argument)>,
    pub(crate) tests: Vec<Node>,
    /// The tests stood in parentheses.
    pub(crate) listed: bool,
    pub(crate) block: Option<Vec<Node>>,
}

struct Parser<'f> {
    tokens: Vec<(Place, Token)>,
    at: usize,
    faults: &'f mut Faults,
}

/// Reads a script. Where something is wrong it goes on behind it, to find the next fault too.
pub(crate) fn parse(text: &str, faults: &mut Faults) -> Vec<Node> {
    let tokens = tokens(text, faults);
    let mut parser = Parser { tokens, at: 0, faults };
    let nodes = parser.commands(0);
    if parser.peek() != &Token::End {
        let place = parser.place();
        parser.faults.add(place, "a } closes a block that was never opened");
    }
    nodes
}

/// Something was wrong and has been told; the text up to the next place of safety is lost.
struct Lost;

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].1
    }
    fn place(&self) -> Place {
        self.tokens[self.at].0
    }
    fn bump(&mut self) -> Token {
        let token = self.tokens[self.at].1.clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }
    fn takes(&mut self, sign: char) -> bool {
        let fits = *self.peek() == Token::Sign(sign);
        if fits {
            self.bump();
        }
        fits
    }
    fn lost(&mut self, says: String) -> Lost {
        let place = self.place();
        self.faults.add(place, says);
        Lost
    }

    fn commands(&mut self, depth: usize) -> Vec<Node> {
        let mut out = Vec::new();
        loop {
            match self.peek() {
                Token::End | Token::Sign('}') => return out,
                Token::Name(_) => match self.command(depth) {
                    Ok(node) => out.push(node),
                    Err(Lost) => self.recover(),
                },
                other => {
                    let says = format!("a command should begin here, not {}", other.describe());
                    self.lost(says);
                    self.recover();
                }
            }
        }
    }

    /// Goes to the end of the broken command: behind its `;` or block, or before the `}` of the
    /// block around it.
    fn recover(&mut self) {
        let mut depth = 0usize;
        loop {
            match self.peek() {
                Token::End => return,
                Token::Sign(';') if depth == 0 => {
                    self.bump();
                    return;
                }
                Token::Sign('{') => depth += 1,
                Token::Sign('}') if depth == 0 => return,
                Token::Sign('}') if depth == 1 => {
                    self.bump();
                    return;
                }
                Token::Sign('}') => depth -= 1,
                _ => {}
            }
            self.bump();
        }
    }

    fn command(&mut self, depth: usize) -> Result<Node, Lost> {
        let mut node = self.call(0)?;
        match self.peek() {
            Token::Sign(';') => {
                self.bump();
            }
            Token::Sign('{') => {
                if depth >= NESTING_MAX {
                    return Err(self.lost(format!("blocks are nested deeper than {NESTING_MAX}")));
                }
                let open = self.place();
                self.bump();
                node.block = Some(self.commands(depth + 1));
                if !self.takes('}') {
                    self.faults.add(open, "this block has no end; close it with }");
                }
            }
            other => {
                let says = format!("\"{}\" should end with ; here, not with {}", node.name, other.describe());
                return Err(self.lost(says));
            }
        }
        Ok(node)
    }

    /// A name with its arguments and tests.
    fn call(&mut self, depth: usize) -> Result<Node, Lost> {
        let place = self.place();
        let Token::Name(name) = self.bump() else { return Err(Lost) };
        let arguments = self.arguments()?;
        let mut node = Node { place, name, arguments, tests: Vec::new(), listed: false, block: None };
        match self.peek() {
            Token::Name(_) => node.tests = vec![self.test(depth)?],
            Token::Sign('(') => {
                node.listed = true;
                self.bump();
                loop {
                    node.tests.push(self.test(depth)?);
                    if self.takes(')') {
                        break;
                    }
                    if !self.takes(',') {
                        let says = format!("a , or ) should stand here, not {}", self.peek().describe());
                        return Err(self.lost(says));
                    }
                }
            }
            _ => {}
        }
        Ok(node)
    }

    fn test(&mut self, depth: usize) -> Result<Node, Lost> {
        if depth >= NESTING_MAX {
            return Err(self.lost(format!("tests are nested deeper than {NESTING_MAX}")));
        }
        if !matches!(self.peek(), Token::Name(_)) {
            let says = format!("a test should begin here, not {}", self.peek().describe());
            return Err(self.lost(says));
        }
        self.call(depth + 1)
    }

    fn arguments(&mut self) -> Result<Vec<(Place, Argument)>, Lost> {
        let mut out = Vec::new();
        loop {
            let place = self.place();
            let argument = match self.peek().clone() {
                Token::Number(n) => Argument::Number(n),
                Token::Tag(tag) => Argument::Tag(tag),
                Token::Text(text) => Argument::Text(text),
                Token::Sign('[') => {
                    self.bump();
                    out.push((place, Argument::List(self.list()?)));
                    continue;
                }
                Token::Garbage => {
                    return Err(self.lost("an argument, a test, or ; should stand here".into()));
                }
                _ => return Ok(out),
            };
            self.bump();
            out.push((place, argument));
            if out.len() > ARGUMENTS_MAX {
                return Err(self.lost(format!("more than {ARGUMENTS_MAX} arguments")));
            }
        }
    }

    fn list(&mut self) -> Result<Vec<(Place, String)>, Lost> {
        let mut out = Vec::new();
        loop {
            let place = self.place();
            match self.bump() {
                Token::Text(text) => out.push((place, text)),
                other => {
                    self.faults.add(place, format!("a list holds strings, not {}", other.describe()));
                    return Err(Lost);
                }
            }
            if self.takes(']') {
                return Ok(out);
            }
            if !self.takes(',') {
                let says = format!("a , or ] should stand here, not {}", self.peek().describe());
                return Err(self.lost(says));
            }
            if out.len() >= STRINGS_MAX {
                return Err(self.lost(format!("more than {STRINGS_MAX} strings in one list")));
            }
        }
    }
}
