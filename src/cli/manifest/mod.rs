//! Manifests: YAML or JSON files, directories and the standard input, read with their positions.
//!
//! * [`source`]: where a text came from, and how a mistake in it is shown.
//! * [`tree`]: a document that remembers where everything stood.
//! * `parse`: text to trees.
//! * `check`: what every resource must have.
//! * [`event`]: CloudEvents in files.
//! * `lines`: CloudEvents as JSON, one a line.
//!
//! Laws: reading is bounded ([`FILE_BYTES_MAX`], [`FILES_MAX`]); every mistake that can be found
//! without the API is reported at once, each with file, line, column, field and what was
//! expected; a mistake that the API finds is shown at the same place in the same way.

mod check;
pub mod event;
mod lines;
mod parse;
pub mod source;
pub mod tree;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

pub(crate) use check::{is_label_name, is_label_value, is_name};
pub use event::EventDocument;
pub(crate) use event::is_attribute_name;
pub use source::{Diagnostic, Mark, Region, Source};
use tree::{Node, Yaml};

/// The largest file that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The most files of one call.
pub const FILES_MAX: usize = 10_000;
/// The most mistakes that are shown; the rest is counted.
const MISTAKES_SHOWN_MAX: usize = 50;

/// Everything that was read.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Kubernetes objects, in the order of the files and of the documents in them.
    pub resources: Vec<Manifest>,
    /// CloudEvents, in the same order.
    pub events: Vec<EventDocument>,
}

/// A Kubernetes object and the document that it came from.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The object. It has `apiVersion`, `kind` and `metadata.name`.
    pub object: Value,
    source: Arc<Source>,
    node: Arc<Node>,
}

impl Manifest {
    /// Its `apiVersion`.
    #[must_use]
    pub fn api_version(&self) -> &str {
        self.text("/apiVersion").unwrap_or_default()
    }

    /// Its `kind`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.text("/kind").unwrap_or_default()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text("/metadata/name").unwrap_or_default()
    }

    /// Its namespace, where the document names one.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.text("/metadata/namespace")
    }

    /// The file that it came from.
    #[must_use]
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// A mistake in the field of that path, shown in the document. A field that the document does
    /// not have is shown at the nearest one around it.
    #[must_use]
    pub fn diagnostic(&self, field: &str, message: String) -> Diagnostic {
        Diagnostic {
            source: Arc::clone(&self.source),
            region: self.node.locate(field),
            field: field.to_owned(),
            message,
        }
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.object.pointer(pointer).and_then(Value::as_str)
    }
}

/// Why manifests could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file or directory could not be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// A file is too large.
    #[error("{path} is larger than {FILE_BYTES_MAX} bytes; split it")]
    TooLarge {
        /// Which.
        path: String,
    },
    /// There are too many files.
    #[error("{path} makes more than {FILES_MAX} files; name fewer")]
    TooManyFiles {
        /// The path that was one too many.
        path: String,
    },
    /// A directory has no manifests.
    #[error("{path} has no files that end in .yaml, .yml or .json")]
    NoFiles {
        /// Which.
        path: String,
    },
    /// A file has no documents.
    #[error("{path} has no documents")]
    Empty {
        /// Which.
        path: String,
    },
    /// Documents have mistakes.
    #[error("{}", Mistakes(.0))]
    Invalid(Vec<Diagnostic>),
}

struct Mistakes<'a>(&'a [Diagnostic]);

impl fmt::Display for Mistakes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().take(MISTAKES_SHOWN_MAX).enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{mistake}")?;
        }
        match self.0.len().saturating_sub(MISTAKES_SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

/// Reads manifests. A directory stands for the `.yaml`, `.yml` and `.json` files in it, sorted by
/// name, without those of its own directories; `-` is the standard input.
///
/// # Errors
///
/// When something cannot be read, or with all mistakes of all documents.
pub fn load(paths: &[PathBuf]) -> Result<Loaded, ManifestError> {
    load_with(paths, &mut std::io::stdin())
}

/// As [`load`], with the standard input as a parameter.
///
/// # Errors
///
/// As [`load`].
pub fn load_with(paths: &[PathBuf], stdin: &mut dyn Read) -> Result<Loaded, ManifestError> {
    let mut loaded = Loaded::default();
    let mut mistakes = Vec::new();
    for path in files(paths)? {
        let source = if path == Path::new("-") {
            read_source("<stdin>".to_owned(), stdin)
        } else {
            let name = path.display().to_string();
            match std::fs::File::open(&path) {
                Ok(mut file) => read_source(name, &mut file),
                Err(error) => Err(ManifestError::Read { path: name, error }),
            }
        };
        match source {
            Ok(source) => add_source(source, &mut loaded, &mut mistakes)?,
            Err(ManifestError::Invalid(found)) => mistakes.extend(found),
            Err(error) => return Err(error),
        }
    }
    if mistakes.is_empty() {
        Ok(loaded)
    } else {
        Err(ManifestError::Invalid(mistakes))
    }
}

/// Reads manifests out of a text; `name` is what messages call it.
///
/// # Errors
///
/// With all mistakes of all documents.
pub fn parse_text(name: &str, text: &str) -> Result<Loaded, ManifestError> {
    let mut loaded = Loaded::default();
    let mut mistakes = Vec::new();
    let source = Source {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    add_source(source, &mut loaded, &mut mistakes)?;
    if mistakes.is_empty() {
        Ok(loaded)
    } else {
        Err(ManifestError::Invalid(mistakes))
    }
}

fn add_source(
    source: Source,
    loaded: &mut Loaded,
    mistakes: &mut Vec<Diagnostic>,
) -> Result<(), ManifestError> {
    let source = Arc::new(source);
    if let Some(read) = lines::read(&source) {
        match read {
            Ok(events) => loaded.events.extend(events),
            Err(found) => mistakes.extend(found),
        }
        return Ok(());
    }
    let documents = match parse::parse(&source) {
        Ok(documents) => documents,
        Err(found) => {
            mistakes.extend(found);
            return Ok(());
        }
    };
    if documents.is_empty() {
        return Err(ManifestError::Empty {
            path: source.name.clone(),
        });
    }
    for document in documents {
        if let Err(found) = add_document(&source, document, loaded) {
            mistakes.extend(found);
        }
    }
    Ok(())
}

fn add_document(
    source: &Arc<Source>,
    document: Node,
    loaded: &mut Loaded,
) -> Result<(), Vec<Diagnostic>> {
    match check::form(&document) {
        check::Form::Event => loaded.events.push(event::read(source, &document)?),
        check::Form::Batch => {
            let Yaml::List(items) = document.value else {
                return Ok(());
            };
            for item in items {
                loaded.events.push(event::read(source, &item)?);
            }
        }
        check::Form::List => {
            let Some(items) = document.get("items") else {
                return Ok(());
            };
            let Yaml::List(items) = &items.value.value else {
                let mut checker = check::Checker::new(source, &document);
                let message = format!("expected a list, found {}", items.value.describe());
                checker.wrong(items.region(), "items", message);
                return Err(checker.found);
            };
            for item in items {
                loaded.resources.push(resource(source, item.clone())?);
            }
        }
        check::Form::Resource => loaded.resources.push(resource(source, document)?),
    }
    Ok(())
}

fn resource(source: &Arc<Source>, node: Node) -> Result<Manifest, Vec<Diagnostic>> {
    let mut checker = check::Checker::new(source, &node);
    checker.resource();
    if !checker.found.is_empty() {
        return Err(checker.found);
    }
    Ok(Manifest {
        object: node.to_value(),
        source: Arc::clone(source),
        node: Arc::new(node),
    })
}

/// The files that paths stand for.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ManifestError> {
    let mut files = Vec::new();
    for path in paths {
        let name = || path.display().to_string();
        if path != Path::new("-") && path.is_dir() {
            let found = manifests_in(path).map_err(|error| ManifestError::Read {
                path: name(),
                error,
            })?;
            if found.is_empty() {
                return Err(ManifestError::NoFiles { path: name() });
            }
            files.extend(found);
        } else {
            files.push(path.clone());
        }
        if files.len() > FILES_MAX {
            return Err(ManifestError::TooManyFiles { path: name() });
        }
    }
    Ok(files)
}

fn manifests_in(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let is_manifest = path
            .extension()
            .and_then(|extension| extension.to_str())
            .is_some_and(|extension| matches!(extension, "yaml" | "yml" | "json"));
        if is_manifest && path.is_file() {
            found.push(path);
        }
        if found.len() > FILES_MAX {
            break;
        }
    }
    found.sort();
    Ok(found)
}

fn read_source(name: String, reader: &mut dyn Read) -> Result<Source, ManifestError> {
    let mut bytes = Vec::new();
    if let Err(error) = reader.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes) {
        return Err(ManifestError::Read { path: name, error });
    }
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ManifestError::TooLarge { path: name });
    }
    match String::from_utf8(bytes) {
        Ok(text) => {
            let text = match text.strip_prefix('\u{feff}') {
                Some(stripped) => stripped.to_owned(),
                None => text,
            };
            Ok(Source { name, text })
        }
        Err(error) => Err(ManifestError::Invalid(vec![not_text(name, &error)])),
    }
}

/// Points at the first byte that is not UTF-8.
fn not_text(name: String, error: &std::string::FromUtf8Error) -> Diagnostic {
    let bytes = error.as_bytes();
    let good = bytes
        .get(..error.utf8_error().valid_up_to())
        .unwrap_or_default();
    let before = String::from_utf8_lossy(good);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let start = Mark {
        line: before.matches('\n').count() + 1,
        column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
    };
    let byte = bytes.get(good.len()).copied().unwrap_or_default();
    Diagnostic {
        source: Arc::new(Source {
            name,
            text: String::from_utf8_lossy(bytes).into_owned(),
        }),
        region: Region { start, end: start },
        field: String::new(),
        message: format!("expected UTF-8 text, found the byte 0x{byte:02x}"),
    }
}
