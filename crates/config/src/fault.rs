//! What is wrong with a file, shown where it is wrong.

use std::fmt;
use std::ops::Range;

/// One thing that is wrong: where, what, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: Range<usize>,
    pub what: String,
    pub remedy: String,
}

/// All that is wrong with one file.
#[derive(Clone, Debug)]
pub struct Faults {
    file: String,
    text: String,
    pub faults: Vec<Fault>,
}

/// Faults shown at once; after so many the rest follows from the first.
const SHOWN_MAX: usize = 12;

impl Faults {
    pub fn new(file: &str, text: &str, mut faults: Vec<Fault>) -> Faults {
        faults.sort_by_key(|fault| fault.at.start);
        Faults { file: file.to_owned(), text: text.to_owned(), faults }
    }
    /// The file could not be read at all.
    pub fn unreadable(file: &str, why: &std::io::Error) -> Faults {
        let remedy = match why.kind() {
            std::io::ErrorKind::NotFound => "name the right file with --config".to_owned(),
            std::io::ErrorKind::PermissionDenied => "run as a user who may read it".to_owned(),
            _ => "see whether it is a file of text".to_owned(),
        };
        Faults::new(file, "", vec![Fault { at: 0..0, what: format!("it cannot be read: {why}"), remedy }])
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().take(SHOWN_MAX).enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            show(f, &self.file, &self.text, fault)?;
        }
        if self.faults.len() > SHOWN_MAX {
            write!(f, "\nand {} more", self.faults.len() - SHOWN_MAX)?;
        }
        Ok(())
    }
}
impl std::error::Error for Faults {}

fn show(f: &mut fmt::Formatter<'_>, file: &str, text: &str, fault: &Fault) -> fmt::Result {
    if text.is_empty() {
        return write!(f, "{file}: {}\n  {}", fault.what, fault.remedy);
    }
    let start = floor(text, fault.at.start.min(text.len()));
    let line_start = text[..start].rfind('\n').map_or(0, |p| p + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |p| start + p);
    let line = text[line_start..line_end].trim_end();
    let number = text[..line_start].matches('\n').count() + 1;
    let column = text[line_start..start].chars().count() + 1;
    let end = floor(text, fault.at.end.clamp(start, line_end));
    let carets = text[start..end].trim_end().chars().count().max(1);
    // Tabs before the caret stay tabs, so that it stands under its word.
    let pad: String = text[line_start..start].chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let gutter = " ".repeat(number.to_string().len());
    writeln!(f, "{file}:{number}:{column}: {}", fault.what)?;
    writeln!(f, " {number} | {line}")?;
    write!(f, " {gutter} | {pad}{} {}", "^".repeat(carets), fault.remedy)
}

fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
