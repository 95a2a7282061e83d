//! From words to a typed expression, by recursive descent.

use super::lexer::{Kind, Token, tokens};
use super::schema::{Field, FieldType, Schema};
use super::{Comparison, Expr, FilterError, MAX_BYTES, MAX_COMPARISONS, MAX_DEPTH, Value};
use crate::domain::Timestamp;

/// Reads a filter over the fields of `schema`. A blank text is no filter.
///
/// # Errors
/// Syntax that is not in the subset, an unknown field or enum value, an operator or a value that does not
/// fit the field's type, or a limit passed: the column says where.
pub fn parse(text: &str, schema: &Schema) -> Result<Option<Expr>, FilterError> {
    if text.len() > MAX_BYTES {
        return Err(FilterError::at(
            text,
            MAX_BYTES,
            format!("filter is longer than {MAX_BYTES} bytes"),
        ));
    }
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Ok(None);
    }
    let mut parser = Parser { text, schema, tokens: tokens.into_iter().peekable(), comparisons: 0 };
    let expr = parser.and(0)?;
    match parser.tokens.next() {
        None => Ok(Some(expr)),
        Some(Token { at, kind: Kind::Close }) => Err(parser.error(at, "')' without '('")),
        Some(Token { at, .. }) => {
            Err(parser.error(at, "expected AND or OR, in capitals, between comparisons"))
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    schema: &'a Schema,
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    comparisons: usize,
}

impl Parser<'_> {
    fn error(&self, at: usize, message: impl Into<String>) -> FilterError {
        FilterError::at(self.text, at, message)
    }

    fn eat(&mut self, wanted: &Kind) -> bool {
        self.tokens.next_if(|token| token.kind == *wanted).is_some()
    }

    /// The next word, or an error that says what should have stood there.
    fn expect(&mut self, what: &str) -> Result<Token, FilterError> {
        let end = self.text.len();
        self.tokens.next().ok_or_else(|| {
            FilterError::at(self.text, end, format!("expected {what}, found the end"))
        })
    }

    /// `depth` parentheses are open around this.
    fn and(&mut self, depth: usize) -> Result<Expr, FilterError> {
        let first = self.or(depth)?;
        let mut parts = vec![first];
        while self.eat(&Kind::And) {
            parts.push(self.or(depth)?);
        }
        Ok(joined(parts, Expr::And))
    }

    fn or(&mut self, depth: usize) -> Result<Expr, FilterError> {
        let first = self.term(depth)?;
        let mut parts = vec![first];
        while self.eat(&Kind::Or) {
            parts.push(self.term(depth)?);
        }
        Ok(joined(parts, Expr::Or))
    }

    fn term(&mut self, depth: usize) -> Result<Expr, FilterError> {
        let token = self.expect("a comparison")?;
        match token.kind {
            Kind::Open if depth >= MAX_DEPTH => {
                Err(self.error(token.at, format!("parentheses are nested deeper than {MAX_DEPTH}")))
            }
            Kind::Open => {
                let inner = self.and(depth + 1)?;
                let close = self.expect("')'")?;
                match close.kind {
                    Kind::Close => Ok(inner),
                    _ => Err(self.error(close.at, "expected AND, OR or ')'")),
                }
            }
            Kind::Name { name, key } => self.comparison(token.at, &name, key).map(Expr::Compare),
            _ => Err(self.error(token.at, "expected a comparison such as field = value")),
        }
    }

    fn comparison(
        &mut self,
        at: usize,
        name: &str,
        key: Option<String>,
    ) -> Result<Comparison, FilterError> {
        self.comparisons += 1;
        if self.comparisons > MAX_COMPARISONS {
            return Err(self.error(at, format!("more than {MAX_COMPARISONS} comparisons")));
        }
        let Some(field) = self.schema.field(name) else {
            let message =
                format!("unknown field {:?}; known fields: {}", shown(name), self.schema.names());
            return Err(self.error(at, message));
        };
        if key.is_some() && field.kind != FieldType::Map {
            return Err(
                self.error(at + name.len(), format!("{name} has no keys; {}", field.usage()))
            );
        }
        let op = self.expect("an operator")?;
        let Kind::Op(operator) = op.kind else {
            return Err(
                self.error(op.at, format!("expected an operator after {name}; {}", field.usage()))
            );
        };
        if !field.allows(operator, key.is_some()) {
            return Err(
                self.error(op.at, format!("operator {operator} does not fit; {}", field.usage()))
            );
        }
        let value = self.expect("a value")?;
        let Kind::Value(written) = value.kind else {
            return Err(self.error(value.at, "expected a value"));
        };
        let value = typed(field, written).map_err(|message| self.error(value.at, message))?;
        Ok(Comparison { field: field.name, path: key, op: operator, value })
    }
}

/// The one part, or all of them joined.
fn joined(mut parts: Vec<Expr>, join: fn(Vec<Expr>) -> Expr) -> Expr {
    match (parts.pop(), parts.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            parts.extend(last);
            join(parts)
        }
    }
}

/// What was written, as a value of the field's type.
fn typed(field: Field, written: String) -> Result<Value, String> {
    let name = field.name;
    match field.kind {
        FieldType::Text | FieldType::TextSet | FieldType::Map => Ok(Value::Text(written)),
        FieldType::Enum(names) => match field.enum_value(names, &written) {
            Some(value) => Ok(Value::Enum(value)),
            None => Err(format!(
                "unknown {name} {:?}; known: {}",
                shown(&written),
                field.enum_names(names)
            )),
        },
        FieldType::Time => {
            let time = Timestamp::parse_rfc3339(&written);
            time.map(Value::Time).map_err(|why| format!("{name} {why}"))
        }
        FieldType::Number => match written.parse() {
            Ok(number) if written.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(Value::Number(number))
            }
            _ => Err(format!("{name} must be a whole number from 0 to {}", u64::MAX)),
        },
    }
}

/// As much of a wrong word as a message repeats: enough to find it, too little to be a secret that was
/// pasted into the wrong place.
fn shown(word: &str) -> &str {
    word.char_indices().nth(20).map_or(word, |(end, _)| word.get(..end).unwrap_or(word))
}
