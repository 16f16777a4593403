//! From tokens to a tree, by precedence climbing.
//!
//! From tight to loose (specification, section 3.6): calls; `NOT x` and `-x`; LIKE; EXISTS; IN;
//! `* / %`; `+ -`; comparisons; AND, OR and XOR, which share one level. Operators of one level go
//! from left to right. So `NOT a = b` is `(NOT a) = b`, and `a OR b AND c` is `(a OR b) AND c`.
//!
//! The parser bounds what it builds: nesting of the text and depth of the tree by [`MAX_DEPTH`], the
//! number of nodes by [`MAX_TERMS`]. It stops at the first fault, with its position.

use std::borrow::Cow;

use super::ast::{Arithmetic, At, Callee, Comparison, Expr, Logic, Node};
use super::error::{MAX_DEPTH, MAX_LENGTH, MAX_TERMS, ParseError, Problem};
use super::functions::Function;
use super::lexer::{Lexer, Spanned, Token};
use super::like::Pattern;
use super::value::Value;
use crate::event::packed::MAX_NAME;

/// How much of the text an error repeats, in characters.
const SHOWN: usize = 32;

/// The levels of the operators between two operands.
const LOGIC: u8 = 1;
const COMPARISON: u8 = 2;
const SUM: u8 = 3;
const PRODUCT: u8 = 4;

/// Reads an expression.
pub(super) fn parse(source: &str) -> Result<Expr, ParseError> {
    if source.len() > MAX_LENGTH {
        return Err(ParseError::new(MAX_LENGTH, Problem::Length));
    }
    let mut lexer = Lexer::new(source);
    let next = lexer.next()?;
    let mut parser = Parser {
        source,
        lexer,
        next,
        nesting: 0,
        terms: 0,
    };
    let tree = parser.expression(LOGIC)?;
    if parser.next.token != Token::End {
        return Err(parser.expected("an operator or the end of the expression"));
    }
    Ok(tree.expr)
}

/// A tree and how deep it is.
struct Tree {
    expr: Expr,
    depth: usize,
}

struct Parser<'s> {
    source: &'s str,
    lexer: Lexer<'s>,
    next: Spanned<'s>,
    nesting: usize,
    terms: usize,
}

impl<'s> Parser<'s> {
    /// Takes the next token.
    fn take(&mut self) -> Result<Spanned<'s>, ParseError> {
        let next = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    /// Takes the next token if it is this one.
    fn take_if(&mut self, token: &Token<'_>) -> Result<bool, ParseError> {
        let same = self.next.token == *token;
        if same {
            self.take()?;
        }
        Ok(same)
    }

    fn expected(&self, what: &'static str) -> ParseError {
        let text = self
            .source
            .get(self.next.start..self.next.end)
            .unwrap_or_default();
        let found = match (&self.next.token, text.char_indices().nth(SHOWN)) {
            (Token::End, _) => "the end".into(),
            (_, Some((end, _))) => format!("`{}...`", text.get(..end).unwrap_or_default()).into(),
            (_, None) => format!("`{text}`").into(),
        };
        ParseError::new(self.next.start, Problem::Expected { what, found })
    }

    /// Makes a node of what stands below it, which is `below` deep.
    fn node(&mut self, node: Node, start: usize, below: usize) -> Result<Tree, ParseError> {
        self.terms += 1;
        if self.terms > MAX_TERMS {
            return Err(ParseError::new(start, Problem::Terms));
        }
        if below >= MAX_DEPTH {
            return Err(ParseError::new(start, Problem::Depth));
        }
        Ok(Tree {
            expr: Expr {
                node,
                at: At(u32::try_from(start).unwrap_or(u32::MAX)),
            },
            depth: below + 1,
        })
    }

    /// Runs `parse` one level deeper in the text.
    fn nested<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        if self.nesting == MAX_DEPTH {
            return Err(ParseError::new(self.next.start, Problem::Depth));
        }
        self.nesting += 1;
        let parsed = parse(self);
        self.nesting -= 1;
        parsed
    }

    /// An operand and all operators behind it that bind at least as tightly as `level`.
    fn expression(&mut self, level: u8) -> Result<Tree, ParseError> {
        let mut left = self.prefix()?;
        loop {
            let start = self.next.start;
            left = match self.next.token {
                Token::Like | Token::In | Token::Not => self.postfix(left)?,
                Token::And | Token::Or | Token::Xor if level <= LOGIC => self.logic(left)?,
                _ => {
                    if let Some(op) = comparison(&self.next.token).filter(|_| level <= COMPARISON) {
                        let (sides, depth) = self.sides(left, SUM)?;
                        self.node(Node::Compare(op, sides), start, depth)?
                    } else if let Some((op, of)) =
                        arithmetic(&self.next.token).filter(|(_, of)| level <= *of)
                    {
                        let (sides, depth) = self.sides(left, of + 1)?;
                        self.node(Node::Arithmetic(op, sides), start, depth)?
                    } else {
                        return Ok(left);
                    }
                }
            };
        }
    }

    /// The operator, and the operand behind it.
    fn sides(&mut self, left: Tree, level: u8) -> Result<(Box<[Expr; 2]>, usize), ParseError> {
        self.take()?;
        let right = self.expression(level)?;
        let depth = left.depth.max(right.depth);
        Ok((Box::new([left.expr, right.expr]), depth))
    }

    /// `AND x OR y ...`
    fn logic(&mut self, first: Tree) -> Result<Tree, ParseError> {
        let start = self.next.start;
        let (mut rest, mut depth) = (Vec::new(), first.depth);
        loop {
            let op = match self.next.token {
                Token::And => Logic::And,
                Token::Or => Logic::Or,
                Token::Xor => Logic::Xor,
                _ => break,
            };
            self.take()?;
            let operand = self.expression(COMPARISON)?;
            depth = depth.max(operand.depth);
            rest.push((op, operand.expr));
        }
        self.node(Node::Logic(Box::new(first.expr), rest.into()), start, depth)
    }

    /// `LIKE`, `IN`, `NOT LIKE` or `NOT IN`, and what follows.
    fn postfix(&mut self, left: Tree) -> Result<Tree, ParseError> {
        let start = self.next.start;
        let operand = Box::new(left.expr);
        let negated = self.take_if(&Token::Not)?;
        if self.take_if(&Token::Like)? {
            let Token::Text(text) = &self.next.token else {
                return Err(self.expected("a pattern in quotes"));
            };
            let pattern = Pattern::new(text)
                .ok_or_else(|| ParseError::new(self.next.start, Problem::PatternLength))?;
            self.take()?;
            let node = Node::Like {
                operand,
                pattern: Box::new(pattern),
                negated,
            };
            return self.node(node, start, left.depth);
        }
        if !self.take_if(&Token::In)? {
            return Err(self.expected("LIKE or IN"));
        }
        if !self.take_if(&Token::Open)? {
            return Err(self.expected("`(` and a list of values"));
        }
        let (set, depth) = self.list()?;
        let node = Node::In {
            operand,
            set,
            negated,
        };
        self.node(node, start, left.depth.max(depth))
    }

    /// One or more expressions up to the closing parenthesis, and how deep the deepest is.
    fn list(&mut self) -> Result<(Box<[Expr]>, usize), ParseError> {
        let (mut list, mut depth) = (Vec::new(), 0);
        loop {
            let element = self.nested(|parser| parser.expression(LOGIC))?;
            depth = depth.max(element.depth);
            list.push(element.expr);
            if self.take_if(&Token::Close)? {
                return Ok((list.into(), depth));
            }
            if !self.take_if(&Token::Comma)? {
                return Err(self.expected("`,` or `)`"));
            }
        }
    }

    /// An operand with the operators in front of it.
    fn prefix(&mut self) -> Result<Tree, ParseError> {
        let start = self.next.start;
        match self.next.token {
            Token::Not => {
                self.take()?;
                let operand = self.nested(Self::prefix)?;
                self.node(Node::Not(Box::new(operand.expr)), start, operand.depth)
            }
            Token::Minus => {
                self.take()?;
                if let Token::Integer(digits) = self.next.token {
                    return self.integer(&format!("-{digits}"), start);
                }
                let operand = self.nested(Self::prefix)?;
                self.node(Node::Negate(Box::new(operand.expr)), start, operand.depth)
            }
            Token::Plus => {
                self.take()?;
                match self.next.token {
                    Token::Integer(digits) => self.integer(digits, start),
                    _ => Err(self.expected("an integer")),
                }
            }
            Token::Exists => {
                self.take()?;
                let Token::Word(word) = self.next.token else {
                    return Err(self.expected("the name of an attribute"));
                };
                let name = self.attribute_name(word)?;
                self.take()?;
                self.node(Node::Exists(name), start, 0)
            }
            _ => self.primary(),
        }
    }

    fn primary(&mut self) -> Result<Tree, ParseError> {
        let start = self.next.start;
        let value = match &mut self.next.token {
            Token::Open => {
                self.take()?;
                let inner = self.nested(|parser| parser.expression(LOGIC))?;
                if !self.take_if(&Token::Close)? {
                    return Err(self.expected("an operator or `)`"));
                }
                return Ok(inner);
            }
            Token::Integer(digits) => {
                let digits = *digits;
                return self.integer(digits, start);
            }
            Token::Word(word) => {
                let word = *word;
                return self.word(word, start);
            }
            Token::Text(text) => Value::String(Cow::Owned(std::mem::take(text).into_owned())),
            Token::True => Value::Boolean(true),
            Token::False => Value::Boolean(false),
            _ => return Err(self.expected("an expression")),
        };
        self.take()?;
        self.node(Node::Literal(value), start, 0)
    }

    /// The number that is next, with its sign.
    fn integer(&mut self, digits: &str, start: usize) -> Result<Tree, ParseError> {
        let number = digits
            .parse()
            .map_err(|_| ParseError::new(start, Problem::IntegerRange))?;
        self.take()?;
        self.node(Node::Literal(Value::Integer(number)), start, 0)
    }

    /// An attribute or a call, whose name is next.
    fn word(&mut self, word: &str, start: usize) -> Result<Tree, ParseError> {
        let function =
            word.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_') && !word.starts_with('_');
        if !function {
            let name = self.attribute_name(word)?;
            self.take()?;
            return self.node(Node::Attribute(name), start, 0);
        }
        self.take()?;
        if self.next.token != Token::Open {
            if word.contains('_') {
                // Only functions have such names.
                return Err(self.expected("`(` behind the name of a function"));
            }
            let name = checked_name(word, start)?;
            return self.node(Node::Attribute(name), start, 0);
        }
        self.take()?;
        let (arguments, depth) = if self.take_if(&Token::Close)? {
            (Box::default(), 0)
        } else {
            self.list()?
        };
        let callee = match Function::find(word, arguments.len()) {
            Some(function) => Callee::Known(function),
            None => Callee::Unknown(word.to_ascii_uppercase().into()),
        };
        self.node(Node::Call(callee, arguments), start, depth)
    }

    /// The name of an attribute, which is next.
    fn attribute_name(&self, word: &str) -> Result<Box<str>, ParseError> {
        if word.contains('_') {
            return Err(self.expected("a name of letters and digits"));
        }
        checked_name(word, self.next.start)
    }
}

/// The name in small letters, as events have it.
fn checked_name(word: &str, start: usize) -> Result<Box<str>, ParseError> {
    if word.len() > MAX_NAME {
        return Err(ParseError::new(start, Problem::NameLength));
    }
    Ok(word.to_ascii_lowercase().into())
}

fn comparison(token: &Token<'_>) -> Option<Comparison> {
    Some(match token {
        Token::Equal => Comparison::Equal,
        Token::NotEqual => Comparison::NotEqual,
        Token::Less => Comparison::Less,
        Token::LessOrEqual => Comparison::LessOrEqual,
        Token::Greater => Comparison::Greater,
        Token::GreaterOrEqual => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

/// The operator and its level.
fn arithmetic(token: &Token<'_>) -> Option<(Arithmetic, u8)> {
    Some(match token {
        Token::Plus => (Arithmetic::Add, SUM),
        Token::Minus => (Arithmetic::Subtract, SUM),
        Token::Star => (Arithmetic::Multiply, PRODUCT),
        Token::Slash => (Arithmetic::Divide, PRODUCT),
        Token::Percent => (Arithmetic::Remainder, PRODUCT),
        _ => return None,
    })
}
