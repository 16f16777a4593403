//! Which events are sent: from flags, files and the standard input.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use uuid::Uuid;

use super::SendArgs;
use crate::cli::manifest::{self, is_attribute_name};
use crate::cli::show_event::{Data, Shown, Text};
use crate::cli::{Context, Failure};

/// The most data that is read, in bytes.
const DATA_BYTES_MAX: u64 = 64 * 1024 * 1024;
const TYPE: &str = "dev.heddle.event";
const SOURCE: &str = "/heddle/send";

/// Takes `NAME=VALUE` as an attribute.
pub(super) fn extension(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("expected NAME=VALUE, like region=eu")?;
    if !is_attribute_name(name) {
        return Err(format!(
            "{name:?} cannot be the name of an attribute: lower-case letters and digits only"
        ));
    }
    if value.is_empty() {
        return Err(format!("attribute {name} has no value"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// The events to send: those of a file with the flags put over them, or one from the flags.
pub(super) fn events(args: &SendArgs, context: &mut Context) -> Result<Vec<Shown>, Failure> {
    if let Some(path) = &args.filename {
        let loaded = manifest::load_with(std::slice::from_ref(path), &mut context.stdin)?;
        if let Some(resource) = loaded.resources.first() {
            return Err(Failure::usage(format!(
                "{} holds a {}, which is not a CloudEvent",
                path.display(),
                resource.kind()
            ))
            .with_hint(format!(
                "apply it with `heddle apply -f {}`",
                path.display()
            )));
        }
        let events = loaded.events.iter();
        let mut events: Vec<Shown> = events
            .filter_map(|event| Shown::from_json(&event.json))
            .collect();
        for event in &mut events {
            apply_flags(event, args);
        }
        return Ok(events);
    }
    let mut event = Shown {
        attributes: vec![
            ("specversion".to_owned(), Text::String("1.0".to_owned())),
            ("id".to_owned(), Text::String(Uuid::new_v4().to_string())),
            ("source".to_owned(), Text::String(SOURCE.to_owned())),
            ("type".to_owned(), Text::String(TYPE.to_owned())),
            (
                "time".to_owned(),
                Text::String(context.clock.now().to_string()),
            ),
        ],
        data: Data::None,
    };
    let (bytes, path) = data(args, context)?;
    if let Some(bytes) = bytes {
        let content_type = match &args.content_type {
            Some(given) => given.clone(),
            None => guess_type(&bytes, path.as_deref()).to_owned(),
        };
        set(&mut event, "datacontenttype", content_type);
        event.data = Data::Bytes(bytes);
    }
    apply_flags(&mut event, args);
    Ok(vec![event])
}

fn apply_flags(event: &mut Shown, args: &SendArgs) {
    let given = [
        ("type", &args.ty),
        ("source", &args.source),
        ("id", &args.id),
        ("subject", &args.subject),
        ("datacontenttype", &args.content_type),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            set(event, name, value.clone());
        }
    }
    for (name, value) in &args.ext {
        set(event, name, value.clone());
    }
}

/// Sets an attribute, in its place where the event has it.
pub(super) fn set(event: &mut Shown, name: &str, value: String) {
    let value = Text::String(value);
    match event.attributes.iter_mut().find(|(own, _)| own == name) {
        Some((_, own)) => *own = value,
        None => event.attributes.push((name.to_owned(), value)),
    }
}

/// The data, and the file that it came from.
fn data(
    args: &SendArgs,
    context: &mut Context,
) -> Result<(Option<Bytes>, Option<PathBuf>), Failure> {
    if let Some(text) = &args.data {
        return Ok((Some(text.clone().into()), None));
    }
    let (bytes, path) = match &args.data_file {
        Some(path) if path != Path::new("-") => {
            let bytes = std::fs::File::open(path).and_then(|mut file| read(&mut file));
            let bytes = bytes.map_err(|error| {
                Failure::usage(format!("cannot read {}: {error}", path.display()))
            })?;
            return Ok((Some(bytes), Some(path.clone())));
        }
        None if context.stdin_is_terminal => return Ok((None, None)),
        _ => (read(&mut context.stdin), None),
    };
    let bytes = bytes
        .map_err(|error| Failure::usage(format!("cannot read the standard input: {error}")))?;
    // An empty input is how a script says that there is none.
    Ok(((!bytes.is_empty()).then_some(bytes), path))
}

fn read(reader: &mut dyn std::io::Read) -> std::io::Result<Bytes> {
    let mut bytes = Vec::new();
    reader.take(DATA_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > DATA_BYTES_MAX {
        return Err(std::io::Error::other(format!(
            "more than {DATA_BYTES_MAX} bytes"
        )));
    }
    Ok(bytes.into())
}

/// The media type by the file's name, else by what the data looks like.
fn guess_type(bytes: &[u8], path: Option<&Path>) -> &'static str {
    let extension = path
        .and_then(Path::extension)
        .and_then(|extension| extension.to_str());
    match extension {
        Some("json") => return "application/json",
        Some("xml") => return "application/xml",
        Some("yaml" | "yml") => return "application/yaml",
        Some("txt") => return "text/plain; charset=utf-8",
        Some("csv") => return "text/csv; charset=utf-8",
        Some("html") => return "text/html; charset=utf-8",
        _ => {}
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => {
            "application/json"
        }
        Ok(_) => "text/plain; charset=utf-8",
        Err(_) => "application/octet-stream",
    }
}
