//! Text as search sees it: folded to lower case, cut into words.
//!
//! A word is a run of letters and digits. Folding and cutting are the same for what is indexed
//! and for what is looked for, which is what makes the index exact.

/// Longer words are not indexed; their message is looked at itself whenever one could matter.
pub const WORD_LEN_MAX: usize = 64;

/// Lower case, as comparison wants it. Bytes that are no UTF-8 become U+FFFD.
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        text.chars().flat_map(char::to_lowercase).collect()
    }
}

/// Calls `f` with each word of a folded text and the place where it begins.
pub fn words<'t>(folded: &'t str, mut f: impl FnMut(usize, &'t str)) {
    let bytes = folded.as_bytes();
    let mut at = 0;
    let mut start = None;
    while at < bytes.len() {
        let (is_word, len) = if bytes[at] < 0x80 {
            (bytes[at].is_ascii_alphanumeric(), 1)
        } else {
            match folded[at..].chars().next() {
                Some(c) => (c.is_alphanumeric() || c == '\u{FFFD}', c.len_utf8()),
                None => (false, 1),
            }
        };
        match (is_word, start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                f(from, &folded[from..at]);
                start = None;
            }
            _ => {}
        }
        at += len;
    }
    if let Some(from) = start {
        f(from, &folded[from..]);
    }
}

/// How a piece of a needle may lie in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lies {
    Anywhere,
    AtStart,
    AtEnd,
    Whole,
}

/// What the index is asked for a needle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needle {
    /// Folded.
    pub text: String,
    /// Its words and how each may lie; a message without all of them cannot match.
    pub pieces: Vec<(String, Lies)>,
    /// Whether a message with all pieces matches for certain.
    pub exact: bool,
}

impl Needle {
    pub fn new(text: &str) -> Needle {
        let text = fold(text);
        let mut pieces = Vec::new();
        words(&text, |at, word| {
            let lies = match (at == 0, at + word.len() == text.len()) {
                (true, true) => Lies::Anywhere,
                (true, false) => Lies::AtEnd,
                (false, true) => Lies::AtStart,
                (false, false) => Lies::Whole,
            };
            pieces.push((word.to_owned(), lies));
        });
        let exact = pieces.len() == 1 && pieces[0].0.len() == text.len();
        Needle { text, pieces, exact }
    }
    /// Whether a folded text holds the needle.
    pub fn is_in(&self, folded: &str) -> bool {
        memchr::memmem::find(folded.as_bytes(), self.text.as_bytes()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_and_digits() {
        let text = fold("Grüße, person77@Example.org\u{2014}漢字 x");
        let mut all = Vec::new();
        words(&text, |_, w| all.push(w.to_owned()));
        assert_eq!(all, ["grüße", "person77", "example", "org", "漢字", "x"]);
    }

    #[test]
    fn a_needle_knows_how_its_words_may_lie() {
        assert_eq!(Needle::new("anz").pieces, [("anz".into(), Lies::Anywhere)]);
        assert!(Needle::new("anz").exact);
        let n = Needle::new("son77@exa");
        assert_eq!(n.pieces, [("son77".into(), Lies::AtEnd), ("exa".into(), Lies::AtStart)]);
        assert!(!n.exact);
        assert_eq!(Needle::new("a b c").pieces[1], ("b".into(), Lies::Whole));
        assert!(Needle::new("!!").pieces.is_empty());
        assert!(!Needle::new("x!").exact);
    }
}
