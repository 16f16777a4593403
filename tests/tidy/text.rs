//! As much of Rust's syntax as the rules need: where comments and literals are, and where an item
//! ends.

/// The text with comments, strings and character literals replaced by spaces. Lines and columns
/// (in characters) stay as they are.
pub(crate) fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            for c in &chars[at..end] {
                out.push(if *c == '\n' { '\n' } else { ' ' });
            }
            at = end;
        }
    }
    out
}

/// Where the comment or literal that starts at `at` ends; `at` itself where none does.
fn literal_end(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => find(chars, at, |i| chars[i] == '\n'),
        '/' if next == Some('*') => block_comment_end(chars, at),
        '"' => string_end(chars, at),
        'r' if !in_word(chars, at) => raw_string_end(chars, at).unwrap_or(at),
        'b' if !in_word(chars, at) && next == Some('r') => {
            raw_string_end(chars, at + 1).unwrap_or(at)
        }
        '\'' => character_end(chars, at),
        _ => at,
    }
}

fn find(chars: &[char], from: usize, is: impl Fn(usize) -> bool) -> usize {
    (from..chars.len()).find(|i| is(*i)).unwrap_or(chars.len())
}

fn in_word(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut i = at;
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => {
                depth += 1;
                i += 2;
            }
            ('*', '/') => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], at: usize) -> usize {
    let mut i = at + 1;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

fn raw_string_end(chars: &[char], r: usize) -> Option<usize> {
    let quote = (r + 1..chars.len()).find(|i| chars[*i] != '#')?;
    if chars[quote] != '"' {
        return None;
    }
    let hashes = quote - r - 1;
    let closes =
        |i: usize| chars[i] == '"' && (1..=hashes).all(|n| chars.get(i + n).copied() == Some('#'));
    Some((quote + 1..chars.len()).find(|i| closes(*i))? + hashes + 1)
}

/// A character literal, and not a lifetime.
fn character_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), Some(_)) => find(chars, at + 3, |i| chars[i] == '\'') + 1,
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

/// The last line of the item that begins at line `from` (attributes included), given blanked
/// lines: where its braces close, or its semicolon outside all brackets.
pub(crate) fn item_end(code: &[String], from: usize) -> usize {
    let mut depth = 0_i32;
    for (at, line) in code.iter().enumerate().skip(from) {
        for c in line.chars() {
            match c {
                '{' | '(' | '[' => depth += 1,
                '}' | ')' | ']' => {
                    depth -= 1;
                    if depth == 0 && c == '}' {
                        return at;
                    }
                }
                ';' if depth == 0 => return at,
                _ => {}
            }
        }
    }
    code.len() - 1
}

#[test]
fn comments_and_literals_are_blanked() {
    let text = "a // b\n\"c \\\" d\" e '{' '\\'' <'f> r#\"g \" h\"# /* i /* j */ k */ l br\"m\" n";
    let kept: String = blank(text).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(kept, "a e <'f> l n");
    assert_eq!(blank(text).chars().count(), text.chars().count());
}

#[test]
fn items_end_at_their_brace_or_semicolon() {
    let code: Vec<String> = ["#[a(b)]", "fn c(", "d: [u8; 4]) {", "e;", "}", "use f;"]
        .map(str::to_owned)
        .into();
    assert_eq!(item_end(&code, 0), 4);
    assert_eq!(item_end(&code, 5), 5);
}
