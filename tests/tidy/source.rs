//! The files of the tree, and what the rules need to know of each.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::text::{blank, item_end};

/// What a file is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Part of the product.
    Product,
    /// Compiled for tests or benchmarks only.
    Test,
}

/// One Rust file.
#[derive(Debug)]
pub(crate) struct Source {
    /// The path from the root of the tree, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) kind: Kind,
    /// The text with comments, strings and character literals blanked out, line by line.
    code: Vec<String>,
    /// For each line, whether it belongs to an item that is compiled for tests only.
    test_only: Vec<bool>,
}

/// The root of the tree.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files that belong to the tree: those that git knows or would add, and all files where the
/// tree is not a checkout.
pub(crate) fn tracked() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let mut paths: Vec<String> = match listed {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => {
            let text = String::from_utf8(output.stdout).unwrap();
            text.lines().map(str::to_owned).collect()
        }
        _ => walk(&root(), &root()),
    };
    paths.retain(|path| root().join(path).is_file());
    paths.sort();
    paths
}

fn walk(root: &Path, folder: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            let skipped = name.starts_with('.') && name != ".ci" || name == "target";
            if !skipped {
                paths.extend(walk(root, &path));
            }
        } else {
            let path = path.strip_prefix(root).unwrap();
            paths.push(path.to_string_lossy().into_owned());
        }
    }
    paths
}

/// Every Rust file of the tree.
pub(crate) fn all() -> Vec<Source> {
    let mut sources: Vec<Source> = tracked()
        .into_iter()
        .filter(|path| path.ends_with(".rs"))
        .map(Source::read)
        .collect();
    let test_only: BTreeSet<String> = sources.iter().flat_map(Source::test_only_modules).collect();
    for source in &mut sources {
        let below = |module: &String| {
            source.path == format!("{module}.rs") || source.path.starts_with(&format!("{module}/"))
        };
        if test_only.iter().any(below) {
            source.kind = Kind::Test;
        }
    }
    sources
}

impl Source {
    fn read(path: String) -> Self {
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        let code: Vec<String> = blank(&text).lines().map(str::to_owned).collect();
        let test_only = test_only_lines(&code);
        let in_folder = |name: &str| {
            path.starts_with(&format!("{name}/")) || path.contains(&format!("/{name}/"))
        };
        // A file may be a test by its folder, or by what it says of itself.
        let whole = code.iter().any(|line| line.contains("#![cfg(test)]"));
        let test = whole || in_folder("tests") || in_folder("benches") || in_folder("fuzz");
        Self {
            kind: if test { Kind::Test } else { Kind::Product },
            path,
            text,
            code,
            test_only,
        }
    }

    /// Whether it is the module `name` of the crate in `folder`, or one below it.
    pub(crate) fn is_module(&self, folder: &str, name: &str) -> bool {
        self.path == format!("{folder}/{name}.rs")
            || self.path.starts_with(&format!("{folder}/{name}/"))
    }

    /// The lines of code, numbered from one.
    pub(crate) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.code.iter().map(String::as_str))
    }

    /// The lines of code that are part of the product.
    pub(crate) fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let product = |(number, _): &(usize, &str)| !self.test_only[number - 1];
        self.code_lines().filter(product)
    }

    /// Whether `Instant` means tokio's here.
    pub(crate) fn uses_tokio_instant(&self) -> bool {
        self.code.iter().any(|line| {
            let line = line.trim_start();
            line.starts_with("use tokio::time::") && line.contains("Instant")
        })
    }

    /// The functions of the product: name, line and length in lines.
    pub(crate) fn functions(&self) -> Vec<(String, usize, usize)> {
        let mut found = Vec::new();
        for (number, line) in self.product_lines() {
            let Some(name) = function_name(line) else {
                continue;
            };
            let end = item_end(&self.code, number - 1);
            found.push((name, number, end + 2 - number));
        }
        found
    }

    /// The names given to `.register("name", ...)`, which may stand on the next line.
    pub(crate) fn registered_metrics(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let lines: Vec<&str> = self.text.lines().collect();
        for (number, line) in self.product_lines() {
            let Some(at) = line.find(".register") else {
                continue;
            };
            if self.test_only[number - 1] {
                continue;
            }
            // The code's columns are the text's: blanking keeps them.
            let rest: String = lines[number - 1].chars().skip(at).collect();
            let next = lines.get(number).copied().unwrap_or_default();
            let call = format!("{rest} {}", next.trim());
            if let Some(name) = call.split('"').nth(1) {
                found.push((number, name.to_owned()));
            }
        }
        found
    }

    /// The modules that it declares for tests only, as paths without `.rs`.
    fn test_only_modules(&self) -> Vec<String> {
        let path = Path::new(&self.path);
        let folder = path.parent().unwrap();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let own = ["lib", "main", "mod"].contains(&stem.as_str());
        let base = if own {
            folder.to_owned()
        } else {
            folder.join(stem)
        };
        let mut modules = Vec::new();
        for (number, line) in self.code_lines() {
            let declared = line.trim().strip_suffix(';').and_then(|l| {
                let name = l.rsplit_once("mod ")?.1;
                (!name.contains(' ')).then_some(name)
            });
            let Some(name) = declared else { continue };
            if self.test_only[number - 1] {
                // `#[path = "..."]` is a string, and blank in the code.
                let above = self.text.lines().nth(number.saturating_sub(2));
                let renamed = above
                    .filter(|l| l.contains("#[path"))
                    .and_then(|l| l.split('"').nth(1));
                let place = match renamed {
                    Some(file) => folder.join(file.trim_end_matches(".rs")),
                    None => base.join(name),
                };
                modules.push(place.to_string_lossy().into_owned());
            }
        }
        modules
    }
}

/// The name of the function that a line begins.
fn function_name(line: &str) -> Option<String> {
    let at = line.find("fn ")?;
    let before = line[..at].trim();
    let begins = before.split(' ').all(|word| {
        word.is_empty()
            || ["pub", "async", "const", "unsafe", "extern", "default"].contains(&word)
            || word.starts_with("pub(")
            || word.ends_with(')')
    });
    let name: String = line[at + 3..]
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    (begins && !name.is_empty()).then_some(name)
}

/// Marks the lines of each item under a `cfg` that is true in tests only.
fn test_only_lines(code: &[String]) -> Vec<bool> {
    let mut marks = vec![false; code.len()];
    for (at, line) in code.iter().enumerate() {
        let line = line.trim();
        let cfg = line.starts_with("#[cfg(test)]")
            || line.starts_with("#[cfg(any(test")
            || line.starts_with("#[cfg(all(test")
            || line.starts_with("#[test]")
            || line.starts_with("#[tokio::test");
        if cfg {
            let end = item_end(code, at);
            marks[at..=end].fill(true);
        }
    }
    marks
}

#[test]
fn items_for_tests_are_told_apart() {
    let text = "fn a() {\n    b();\n}\n#[cfg(test)]\nmod tests {\n    fn c() {}\n}\nfn d() {}\n\
                #[cfg(test)]\nmod more;\nfn e() {}\n";
    let code: Vec<String> = blank(text).lines().map(str::to_owned).collect();
    let marks = test_only_lines(&code);
    let marked: Vec<usize> = (0..marks.len()).filter(|i| marks[*i]).collect();
    assert_eq!(marked, [3, 4, 5, 6, 8, 9]);
}

#[test]
fn functions_are_measured() {
    let text = "impl X {\n    pub(crate) async fn a(\n        b: u8,\n    ) -> u8 {\n        b\n    }\n\
                    fn c();\n}\n";
    let source = Source {
        path: "x.rs".into(),
        text: text.into(),
        kind: Kind::Product,
        code: text.lines().map(str::to_owned).collect(),
        test_only: vec![false; text.lines().count()],
    };
    assert_eq!(
        source.functions(),
        [("a".to_owned(), 2, 5), ("c".to_owned(), 7, 1)]
    );
}
