//! The words of a filter.

use super::{FilterError, Op};

/// One word and where it begins, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub at: usize,
    pub kind: Kind,
}

/// What a word is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Open,
    Close,
    And,
    Or,
    Op(Op),
    /// A name, with its key if it has one.
    Name {
        name: String,
        key: Option<String>,
    },
    /// What follows an operator.
    Value(String),
}

/// Cuts a filter into words. What follows an operator is a value, in which `:` and `-` are ordinary
/// characters; so `create_time>2030-01-31T12:00:00Z` and `scopes:orders:read` need no quotes.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, FilterError> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens: Vec<Token> = Vec::new();
    loop {
        lexer.skip_space();
        let at = lexer.at;
        let Some(next) = lexer.peek() else { return Ok(tokens) };
        let after_op = matches!(tokens.last(), Some(Token { kind: Kind::Op(_), .. }));
        let kind = if after_op { lexer.value(next)? } else { lexer.other(next)? };
        tokens.push(Token { at, kind });
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn error(&self, at: usize, message: impl Into<String>) -> FilterError {
        FilterError::at(self.text, at, message)
    }

    fn skip_space(&mut self) {
        self.take(char::is_whitespace);
    }

    /// Takes characters for as long as they are wanted.
    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }

    /// Takes one given word.
    fn eat(&mut self, word: &str) -> bool {
        let there = self.rest().starts_with(word);
        if there {
            self.at += word.len();
        }
        there
    }

    fn value(&mut self, next: char) -> Result<Kind, FilterError> {
        if next == '"' {
            return self.quoted().map(Kind::Value);
        }
        let at = self.at;
        match self.take(|c| is_bare(c) || c == ':') {
            "" => Err(self.unexpected(next, "a value")),
            word @ ("AND" | "OR" | "NOT") => Err(self.error(
                at,
                format!("expected a value, found {word}; put it in double quotes if it is one"),
            )),
            word => Ok(Kind::Value(word.to_owned())),
        }
    }

    fn other(&mut self, next: char) -> Result<Kind, FilterError> {
        const OPS: [Op; 7] = [Op::Ne, Op::Le, Op::Ge, Op::Eq, Op::Lt, Op::Gt, Op::Has];
        if self.eat("(") {
            return Ok(Kind::Open);
        }
        if self.eat(")") {
            return Ok(Kind::Close);
        }
        if let Some(op) = OPS.into_iter().find(|op| self.eat(op.as_str())) {
            return Ok(Kind::Op(op));
        }
        let at = self.at;
        match self.take(is_bare) {
            "" => Err(self.unexpected(next, "a field, AND, OR or a parenthesis")),
            "AND" => Ok(Kind::And),
            "OR" => Ok(Kind::Or),
            word if word == "NOT" || word.starts_with('-') => {
                Err(self.error(at, "negation is not supported; use !="))
            }
            word => self.name(at, word),
        }
    }

    /// A name that was just taken, and its key, which may be quoted.
    fn name(&mut self, at: usize, word: &str) -> Result<Kind, FilterError> {
        let Some((name, key)) = word.split_once('.') else {
            return Ok(Kind::Name { name: word.to_owned(), key: None });
        };
        let key_at = at + name.len() + 1;
        let key = if key.is_empty() && self.peek() == Some('"') {
            self.quoted()?
        } else {
            key.to_owned()
        };
        if key.is_empty() {
            return Err(self.error(key_at, "expected a key after '.'"));
        }
        Ok(Kind::Name { name: name.to_owned(), key: Some(key) })
    }

    /// A string in double quotes, of which the first is next.
    fn quoted(&mut self) -> Result<String, FilterError> {
        let start = self.at;
        let mut string = String::new();
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((offset, c)) = characters.next() {
            let at = start + offset;
            match c {
                '"' => {
                    self.at = at + 1;
                    return Ok(string);
                }
                '\\' => match characters.next() {
                    Some((_, escaped @ ('"' | '\\'))) => string.push(escaped),
                    _ => return Err(self.error(at, "expected \\\" or \\\\ in a string")),
                },
                c if c.is_control() => {
                    return Err(self.error(at, "a string must not hold control characters"));
                }
                c => string.push(c),
            }
        }
        Err(self.error(start, "string without closing quote"))
    }

    /// The error for a character that begins no word.
    fn unexpected(&self, found: char, expected: &str) -> FilterError {
        let hint = if found == '\'' { "; strings stand in double quotes" } else { "" };
        self.error(self.at, format!("expected {expected}, found {found:?}{hint}"))
    }
}

/// Whether the character may stand in a word without quotes.
fn is_bare(c: char) -> bool {
    let special = matches!(c, '(' | ')' | '"' | '\'' | '\\' | ',' | '=' | '!' | '<' | '>' | ':');
    !special && !c.is_whitespace() && !c.is_control()
}
