//! From text to tokens (specification, sections 2.2 to 2.4).
//!
//! Keywords are found in any case. A string is taken as it stands, but for its own quote, which is
//! written `\'` or `\"`; every other backslash stays, so that `'a\%'` is the pattern it looks like.

use std::borrow::Cow;

use super::error::{ParseError, Problem};

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'s> {
    /// Letters, digits and underscores that are neither a keyword nor a number.
    Word(&'s str),
    /// Digits.
    Integer(&'s str),
    /// A string, without quotes and escapes.
    Text(Cow<'s, str>),
    True,
    False,
    And,
    Or,
    Xor,
    Not,
    Like,
    Exists,
    In,
    Open,
    Close,
    Comma,
    Star,
    Slash,
    Percent,
    Plus,
    Minus,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    End,
}

const KEYWORDS: [(&str, Token<'static>); 9] = [
    ("TRUE", Token::True),
    ("FALSE", Token::False),
    ("AND", Token::And),
    ("OR", Token::Or),
    ("XOR", Token::Xor),
    ("NOT", Token::Not),
    ("LIKE", Token::Like),
    ("EXISTS", Token::Exists),
    ("IN", Token::In),
];

/// Whether the word is a keyword, and so cannot name an attribute.
#[must_use]
pub fn is_keyword(word: &str) -> bool {
    KEYWORDS
        .iter()
        .any(|(keyword, _)| keyword.eq_ignore_ascii_case(word))
}

/// A token and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Spanned<'s> {
    pub(super) token: Token<'s>,
    /// The first byte.
    pub(super) start: usize,
    /// The byte after the last.
    pub(super) end: usize,
}

/// Walks over the tokens of a text. Behind the last one, [`Token::End`] stands for ever.
#[derive(Clone, Debug)]
pub(super) struct Lexer<'s> {
    source: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    pub(super) fn new(source: &'s str) -> Self {
        Self { source, at: 0 }
    }

    pub(super) fn next(&mut self) -> Result<Spanned<'s>, ParseError> {
        let rest = self.rest(self.at);
        let start = self.source.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
        let rest = self.rest(start);
        let (token, len) = match rest.chars().next() {
            None => (Token::End, 0),
            Some(c) if c.is_ascii_alphanumeric() || c == '_' => word(rest),
            Some(quote @ ('\'' | '"')) => {
                let Some((text, len)) = string(rest, quote) else {
                    return Err(ParseError::new(start, Problem::UnclosedString(quote)));
                };
                (Token::Text(text), len)
            }
            Some(c) => {
                symbol(rest).ok_or_else(|| ParseError::new(start, Problem::UnknownCharacter(c)))?
            }
        };
        self.at = start + len;
        Ok(Spanned {
            token,
            start,
            end: self.at,
        })
    }

    fn rest(&self, at: usize) -> &'s str {
        self.source.get(at..).unwrap_or_default()
    }
}

fn word(rest: &str) -> (Token<'_>, usize) {
    let len = rest
        .bytes()
        .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
        .count();
    let word = rest.get(..len).unwrap_or_default();
    let keyword = KEYWORDS
        .iter()
        .find(|(keyword, _)| keyword.eq_ignore_ascii_case(word));
    let token = match keyword {
        Some((_, token)) => token.clone(),
        None if word.bytes().all(|b| b.is_ascii_digit()) => Token::Integer(word),
        None => Token::Word(word),
    };
    (token, len)
}

fn symbol(rest: &str) -> Option<(Token<'static>, usize)> {
    let mut bytes = rest.bytes();
    Some(match (bytes.next()?, bytes.next()) {
        (b'!', Some(b'=')) | (b'<', Some(b'>')) => (Token::NotEqual, 2),
        (b'<', Some(b'=')) => (Token::LessOrEqual, 2),
        (b'>', Some(b'=')) => (Token::GreaterOrEqual, 2),
        (b'<', _) => (Token::Less, 1),
        (b'>', _) => (Token::Greater, 1),
        (b'=', _) => (Token::Equal, 1),
        (b'(', _) => (Token::Open, 1),
        (b')', _) => (Token::Close, 1),
        (b',', _) => (Token::Comma, 1),
        (b'*', _) => (Token::Star, 1),
        (b'/', _) => (Token::Slash, 1),
        (b'%', _) => (Token::Percent, 1),
        (b'+', _) => (Token::Plus, 1),
        (b'-', _) => (Token::Minus, 1),
        _ => return None,
    })
}

/// The string at the beginning of `rest`, and its length with quotes. None without an end.
pub(super) fn string(rest: &str, quote: char) -> Option<(Cow<'_, str>, usize)> {
    let mut owned: Option<String> = None;
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == quote {
            let text = match owned {
                Some(text) => Cow::Owned(text),
                None => Cow::Borrowed(rest.get(1..at)?),
            };
            return Some((text, at + 1));
        }
        if c != '\\' {
            if let Some(text) = &mut owned {
                text.push(c);
            }
            continue;
        }
        let (_, escaped) = chars.next()?;
        if escaped == quote {
            let text = owned.get_or_insert_with(|| rest.get(1..at).unwrap_or_default().to_owned());
            text.push(quote);
        } else if let Some(text) = &mut owned {
            text.push('\\');
            text.push(escaped);
        }
    }
    None
}
