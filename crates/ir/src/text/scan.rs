//! The scanner: where we are in the text, what stands there, and what was expected instead.

use crate::Error;

/// What is wrong, and at which byte.
#[derive(Debug)]
pub(super) struct Problem {
    pub at: usize,
    pub message: String,
    /// The error that it is, if somebody else found it.
    pub error: Option<Box<Error>>,
}

pub(super) type Scanned<T> = Result<T, Problem>;

impl Problem {
    pub fn new(at: usize, message: impl Into<String>) -> Problem {
        Problem { at, message: message.into(), error: None }
    }

    /// The error with line and column, both counted from 1, columns in characters.
    pub fn into_error(self, text: &str) -> Error {
        let before = text.get(..self.at).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        let told = Error::new(format!("line {line}, column {column}: {}", self.message));
        self.error.iter().fold(told, |told, error| told.caused_as(error))
    }
}

/// A place in a text.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Self {
        Scanner { text, at: 0 }
    }

    /// The place of the next character that counts.
    pub fn place(&mut self) -> usize {
        self.skip();
        self.at
    }

    /// What is left, from this very place on.
    pub fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    /// Whether nothing but space and comments is left.
    pub fn at_end(&mut self) -> bool {
        self.skip();
        self.rest().is_empty()
    }

    /// The next character that counts.
    pub fn peek(&mut self) -> Option<char> {
        self.skip();
        self.rest().chars().next()
    }

    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let spaces = rest.len() - rest.trim_start().len();
            self.at += spaces;
            let Some(comment) = self.rest().strip_prefix("//") else { return };
            self.at += 2 + comment.find('\n').unwrap_or(comment.len());
        }
    }

    /// What stands at a place instead of what was expected there.
    pub fn expected(&mut self, what: &str) -> Problem {
        let at = self.place();
        let rest = self.rest();
        let found = match rest.chars().next() {
            None => "the end of the text".to_string(),
            Some(c) => {
                let word: String = rest.chars().take_while(|c| token_char(*c)).take(32).collect();
                format!("'{}'", if word.is_empty() { c.escape_debug().to_string() } else { word })
            }
        };
        Problem::new(at, format!("expected {what}, found {found}"))
    }

    /// Takes a mark if it is next.
    pub fn eat(&mut self, mark: char) -> bool {
        let next = self.peek() == Some(mark);
        if next {
            self.at += mark.len_utf8();
        }
        next
    }

    /// Takes a mark if it is the very next character, without skipping space.
    pub fn eat_here(&mut self, mark: char) -> bool {
        let next = self.rest().starts_with(mark);
        if next {
            self.at += mark.len_utf8();
        }
        next
    }

    /// Takes a mark that must be next.
    pub fn expect(&mut self, mark: char, whither: &str) -> Scanned<()> {
        match self.eat(mark) {
            true => Ok(()),
            false => Err(self.expected(&format!("'{mark}' {whither}"))),
        }
    }

    /// Takes a word if it is next.
    pub fn eat_word(&mut self, word: &str) -> bool {
        self.skip();
        let next = self.rest().strip_prefix(word).is_some_and(|r| !r.starts_with(token_char));
        if next {
            self.at += word.len();
        }
        next
    }

    /// The longest run of such characters from this very place on.
    pub fn take_while(&mut self, of: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !of(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    /// A number or word such as `-1.5e-3`, `half-even` or `stochastic(7)`.
    pub fn token(&mut self, what: &str) -> Scanned<&'a str> {
        let start = self.place();
        if self.take_while(token_char).is_empty() {
            return Err(self.expected(what));
        }
        if self.eat_here('(') {
            self.take_while(token_char);
            self.expect(')', "behind an argument")?;
        }
        Ok(self.text.get(start..self.at).unwrap_or(""))
    }

    /// A name: bare or quoted, right behind its sigil.
    pub fn name(&mut self, what: &str) -> Scanned<String> {
        if self.rest().starts_with('"') {
            return self.string(what);
        }
        match self.take_while(name_char) {
            "" => Err(self.expected(what)),
            name => Ok(name.to_string()),
        }
    }

    /// What stands between two quotes, as it is.
    pub fn raw_string(&mut self, what: &str) -> Scanned<(usize, &'a str)> {
        if !self.eat('"') {
            return Err(self.expected(&format!("{what} in quotes")));
        }
        let start = self.at;
        let body = self.take_while(|c| c != '"');
        match self.eat_here('"') {
            true => Ok((start, body)),
            false => Err(Problem::new(start - 1, format!("expected a closing quote behind {what}"))),
        }
    }

    /// A string with its escapes resolved.
    pub fn string(&mut self, what: &str) -> Scanned<String> {
        if !self.eat('"') {
            return Err(self.expected(&format!("{what} in quotes")));
        }
        let open = self.at - 1;
        let mut out = String::new();
        loop {
            out.push_str(self.take_while(|c| c != '"' && c != '\\' && c != '\n'));
            let at = self.at;
            if self.eat_here('"') {
                return Ok(out);
            }
            if !self.eat_here('\\') {
                return Err(Problem::new(open, format!("expected a closing quote behind {what}")));
            }
            let escaped = self.rest().chars().next();
            self.at += escaped.map_or(0, char::len_utf8);
            match escaped {
                Some(c @ ('"' | '\\')) => out.push(c),
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('t') => out.push('\t'),
                Some('u') => out.push(self.code_point(at)?),
                _ => return Err(Problem::new(at, r#"expected one of \" \\ \n \r \t \u{...}"#)),
            }
        }
    }

    fn code_point(&mut self, at: usize) -> Scanned<char> {
        let open = self.eat_here('{');
        let digits = self.take_while(|c| c.is_ascii_hexdigit());
        let code = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
        match (open && self.eat_here('}'), code) {
            (true, Some(c)) => Ok(c),
            _ => Err(Problem::new(at, r"expected a character's number such as \u{1f}")),
        }
    }
}

/// What names are made of that need no quotes.
pub(super) fn name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

/// What numbers and words are made of.
fn token_char(c: char) -> bool {
    name_char(c) || c == '-' || c == '+'
}

/// A string in quotes that [`Scanner::string`] reads back.
pub(super) fn quote(s: &str, out: &mut String) {
    out.push('"');
    for c in s.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Line separators and direction marks would make the text look other than it reads.
            c if c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}') => {
                out.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
