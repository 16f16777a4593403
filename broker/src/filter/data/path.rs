//! Paths into data: `$`, `.name`, `['name']` and `[0]`, a part of JSONPath (RFC 9535) that names
//! one place.

use std::fmt::{self, Write};

/// The longest path, in bytes.
pub const MAX_LENGTH: usize = 1024;
/// The most steps of a path.
pub const MAX_STEPS: usize = 32;

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To the member of an object.
    Member(Box<str>),
    /// To the element of an array, from 0.
    Element(usize),
}

/// A place in data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Box<[Step]>);

/// A text is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} (at byte {position})")]
pub struct PathError {
    /// The byte at which the text stops making sense.
    pub position: usize,
    /// What is wrong there.
    pub problem: &'static str,
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    ///
    /// Where the text is no path.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let fail = |position, problem| Err(PathError { position, problem });
        if text.len() > MAX_LENGTH {
            return fail(MAX_LENGTH, "a path has at most 1024 bytes");
        }
        let Some(mut rest) = text.strip_prefix('$') else {
            return fail(0, "a path begins with $, like $.order.total");
        };
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let at = text.len() - rest.len();
            if steps.len() == MAX_STEPS {
                return fail(at, "a path has at most 32 steps");
            }
            let (step, after) = if let Some(rest) = rest.strip_prefix('.') {
                name(rest).map_err(|problem| PathError {
                    position: at + 1,
                    problem,
                })?
            } else if let Some(rest) = rest.strip_prefix('[') {
                bracket(rest).map_err(|problem| PathError {
                    position: at + 1,
                    problem,
                })?
            } else {
                return fail(at, "expected .name, ['name'] or [number]");
            };
            steps.push(step);
            rest = after;
        }
        Ok(Self(steps.into()))
    }

    /// The steps from the whole of the data on.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }
}

fn name(rest: &str) -> Result<(Step, &str), &'static str> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let end = rest.find(|c| !plain(c)).unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    if name.is_empty() {
        return Err("expected a name of letters, digits, _ and -; write others as ['name']");
    }
    Ok((Step::Member(name.into()), after))
}

fn bracket(rest: &str) -> Result<(Step, &str), &'static str> {
    if let Some(quote) = rest.chars().next().filter(|c| matches!(c, '\'' | '"')) {
        let mut name = String::new();
        let mut chars = rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            if c == quote {
                let after = rest.get(at + 1..).and_then(|rest| rest.strip_prefix(']'));
                let after = after.ok_or("expected ] after the name")?;
                return Ok((Step::Member(name.into()), after));
            }
            if c == '\\' {
                match chars.next() {
                    Some((_, escaped @ ('\\' | '\'' | '"'))) => name.push(escaped),
                    _ => return Err("after \\ only a quote or another \\ may stand"),
                }
            } else {
                name.push(c);
            }
        }
        return Err("the name has no closing quote");
    }
    let (digits, after) = rest.split_once(']').ok_or("expected a closing ]")?;
    let good = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let element = digits.parse().ok().filter(|_| good);
    let element = element.ok_or("expected the number of an element, or a name in quotes")?;
    Ok((Step::Element(element), after))
}

/// Reads back as the same path.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('$')?;
        for step in &self.0 {
            match step {
                Step::Element(element) => write!(f, "[{element}]")?,
                Step::Member(member) if name(member).is_ok_and(|(_, after)| after.is_empty()) => {
                    write!(f, ".{member}")?;
                }
                Step::Member(member) => {
                    let text = member.replace('\\', "\\\\").replace('\'', "\\'");
                    write!(f, "['{text}']")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn faults_have_a_place() {
        for (text, position) in [
            ("", 0),
            ("order", 0),
            ("$order", 1),
            ("$.", 2),
            ("$.a..b", 4),
            ("$.a b", 3),
            ("$[", 2),
            ("$[-1]", 2),
            ("$[1", 2),
            ("$['a]", 2),
            ("$['a'", 2),
            ("$['\\n']", 2),
            ("$[*]", 2),
        ] {
            assert_eq!(
                Path::parse(text).unwrap_err().position,
                position,
                "{text:?}"
            );
        }
        assert!(Path::parse(&"$".repeat(MAX_LENGTH + 1)).is_err());
        assert!(Path::parse(&format!("${}", ".a".repeat(MAX_STEPS))).is_ok());
        assert!(Path::parse(&format!("${}", ".a".repeat(MAX_STEPS + 1))).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            steps in prop::collection::vec(
                prop_oneof![
                    (0..1000usize).prop_map(Step::Element),
                    "[a-zé_]{1,4}|.{0,5}".prop_map(|name| Step::Member(name.into())),
                ],
                0..6,
            ),
        ) {
            let path = Path(steps.into());
            prop_assert_eq!(Path::parse(&path.to_string()), Ok(path));
        }

        #[test]
        fn reading_does_not_panic(text in "\\$?([.\\[\\]'\"\\\\a0é*]|.){0,12}") {
            let _ = Path::parse(&text);
        }
    }
}
