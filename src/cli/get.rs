//! `heddle get`: resources as tables, names or documents, once or as they change.

mod watch;

use clap::Args;
use serde_json::Value;

use super::api::{AS_JSON, AS_TABLE, Api};
use super::http::query_encode;
use super::kinds::{self, Kind};
use super::selector::Selector;
use super::table::Table;
use super::{Context, Failure, Format, Global};
use watch::Watch;

/// Show resources
///
/// Kinds go by any of their names in any case (brokers, broker, Broker, imc), several separated by
/// commas, or by a category (all, knative).
#[derive(Args, Debug)]
pub struct GetArgs {
    /// The kind, or KIND/NAME
    #[arg(value_name = "KIND")]
    pub kind: String,
    /// The names; all where none is given
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Go on and show what changes
    #[arg(short, long)]
    pub watch: bool,
    /// Only resources with these labels (app=web,tier!=db,env in (a,b),!old)
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<Selector>,
    /// Without the headings of tables
    #[arg(long)]
    pub no_headers: bool,
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
}

/// Which objects of one kind are asked for.
struct Query<'a> {
    kind: &'a Kind,
    /// `None` for all namespaces.
    namespace: Option<String>,
    name: Option<&'a str>,
    selector: Option<&'a Selector>,
}

impl Query<'_> {
    fn path(&self, extra: &str) -> String {
        let path = self.kind.path(self.namespace.as_deref(), self.name);
        let mut query = extra.to_owned();
        if let Some(selector) = self.selector {
            let encoded = query_encode(&selector.to_string());
            query.push_str(&format!("&labelSelector={encoded}"));
        }
        match query.trim_start_matches('&') {
            "" => path,
            query => format!("{path}?{query}"),
        }
    }

    /// The path of a watch from that version on. One object is watched as a list of one.
    fn watch_path(&self, version: &str) -> String {
        let mut extra = format!("watch=true&resourceVersion={}", query_encode(version));
        if let Some(name) = self.name {
            extra.push_str(&format!(
                "&fieldSelector={}",
                query_encode(&format!("metadata.name={name}"))
            ));
        }
        Query {
            kind: self.kind,
            namespace: self.namespace.clone(),
            name: None,
            selector: self.selector,
        }
        .path(&extra)
    }

    fn all_namespaces(&self) -> bool {
        self.namespace.is_none() && self.kind.namespaced
    }
}

/// Shows what the arguments name.
///
/// # Errors
///
/// When the API cannot be reached, or has no such kind or name.
pub async fn run(args: GetArgs, context: &mut Context) -> Result<(), Failure> {
    let GetArgs {
        kind,
        names,
        watch,
        selector,
        no_headers,
        global: _,
    } = args;
    let (kind, names) = kinds::kind_and_names(&kind, &names)?;
    let all = context.settings.all_namespaces;
    if all && !names.is_empty() {
        return Err(Failure::usage(
            "a name belongs to one namespace; leave out -A or the name",
        ));
    }
    if selector.is_some() && !names.is_empty() {
        return Err(Failure::usage("give names or a selector, not both"));
    }
    let api = context.api().await?;
    let served = kinds::discover(api.client())
        .await
        .map_err(|error| api.failure(error))?;
    let found = kinds::resolve(&served, &kind)?;
    if watch && (found.len() > 1 || names.len() > 1) {
        return Err(Failure::usage(
            "only one kind or one resource can be watched at a time",
        ));
    }
    let namespace = (!all).then(|| context.settings.namespace.clone());
    let mut queries = Vec::new();
    for kind in &found {
        let query = |name| Query {
            kind,
            namespace: namespace.clone(),
            name,
            selector: selector.as_ref(),
        };
        if names.is_empty() {
            queries.push(query(None));
        } else {
            queries.extend(names.iter().map(|name| query(Some(name.as_str()))));
        }
    }
    match context.settings.output {
        Some(Format::Json | Format::Yaml | Format::Name) => {
            if let (true, [query]) = (watch, queries.as_slice()) {
                return watch_documents(&api, query, context).await;
            }
            documents(&api, &queries, context).await
        }
        _ => tables(&api, &queries, watch, !no_headers, found.len() > 1, context).await,
    }
}

/// Prints documents or names. One object by name is itself; anything else is a `List`.
async fn documents(api: &Api, queries: &[Query<'_>], context: &mut Context) -> Result<(), Failure> {
    let mut objects = Vec::new();
    for query in queries {
        let answer = api.get(&query.path(""), AS_JSON).await?;
        for object in items(answer, query.kind) {
            objects.push((query.kind, object));
        }
    }
    if context.settings.output == Some(Format::Name) {
        for (kind, object) in &objects {
            let name = object.pointer("/metadata/name").and_then(Value::as_str);
            let name = name.unwrap_or_default();
            writeln!(context.out, "{}/{name}", kind.full_name())?;
        }
        return Ok(());
    }
    let mut objects: Vec<Value> = objects.into_iter().map(|(_, object)| object).collect();
    let one = matches!(queries, [query] if query.name.is_some());
    let document = match (one, objects.len()) {
        (true, 1) => objects.remove(0),
        _ => serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects}),
    };
    print_document(&document, context)
}

fn print_document(document: &Value, context: &mut Context) -> Result<(), Failure> {
    if context.settings.output == Some(Format::Yaml) {
        let text = to_yaml(document)?;
        writeln!(context.out, "{}", text.trim_end())?;
    } else {
        writeln!(context.out, "{document:#}")?;
    }
    Ok(())
}

/// A JSON value as YAML.
///
/// # Errors
///
/// When it cannot be written as YAML.
pub fn to_yaml(value: &Value) -> Result<String, Failure> {
    serde_saphyr::to_string(value)
        .map_err(|error| Failure::failed(format!("cannot write this as YAML: {error}")))
}

/// The objects of a list, each with its kind, which lists leave out.
fn items(answer: Value, kind: &Kind) -> Vec<Value> {
    let Value::Object(mut fields) = answer else {
        return Vec::new();
    };
    let Some(Value::Array(items)) = fields.remove("items") else {
        return vec![Value::Object(fields)];
    };
    let api_version = if kind.group.is_empty() {
        kind.version.clone()
    } else {
        format!("{}/{}", kind.group, kind.version)
    };
    items
        .into_iter()
        .map(|mut item| {
            if let Some(fields) = item.as_object_mut() {
                fields
                    .entry("apiVersion")
                    .or_insert_with(|| api_version.clone().into());
                fields
                    .entry("kind")
                    .or_insert_with(|| kind.kind.clone().into());
            }
            item
        })
        .collect()
}

/// Prints one table for each kind, and then what changes.
async fn tables(
    api: &Api,
    queries: &[Query<'_>],
    watch: bool,
    headings: bool,
    title_kinds: bool,
    context: &mut Context,
) -> Result<(), Failure> {
    let mut seen = 0_usize;
    let mut printed: Option<(&str, Vec<usize>)> = None;
    let mut failure = None;
    for query in queries {
        let answer = match api.get(&query.path(""), AS_TABLE).await {
            Ok(answer) => answer,
            // One name of several that does not exist does not hide the others.
            Err(Failure::Failed { message, .. }) if queries.len() > 1 => {
                writeln!(context.err, "error: {message}")?;
                failure = Some(Failure::Reported {
                    code: super::failure::FAILED,
                });
                continue;
            }
            Err(error) => return Err(error),
        };
        let version = version_of(&answer);
        let columns = answer.get("columnDefinitions").cloned();
        let mut table = to_table(answer, query, context);
        if table.rows.is_empty() && !watch {
            continue;
        }
        let same_kind = printed
            .as_ref()
            .is_some_and(|(plural, _)| *plural == query.kind.plural);
        if title_kinds {
            put_kind_before_names(&mut table, query);
        }
        if seen > 0 && !same_kind {
            writeln!(context.out)?;
        }
        seen += table.rows.len();
        let before = match &printed {
            Some((_, widths)) if same_kind => widths.clone(),
            _ => Vec::new(),
        };
        let widths = table.widths(&before);
        let color = context.color;
        let headings = headings && !same_kind;
        table.print(&mut context.out, &widths, headings, color)?;
        context.out.flush()?;
        printed = Some((&query.kind.plural, widths.clone()));
        if watch {
            return Watch::new(api, query, version)
                .with_table(columns, widths)
                .run(context)
                .await;
        }
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    if seen == 0 {
        say_nothing_found(queries.first(), context)?;
    }
    Ok(())
}

fn say_nothing_found(query: Option<&Query<'_>>, context: &mut Context) -> std::io::Result<()> {
    let place = match query {
        Some(query) if query.kind.namespaced && query.namespace.is_some() => {
            format!(" in namespace {}", context.settings.namespace)
        }
        _ => String::new(),
    };
    writeln!(context.err, "nothing found{place}")
}

/// Where several kinds are shown, each name says which it is of.
fn put_kind_before_names(table: &mut Table, query: &Query<'_>) {
    let at = usize::from(query.all_namespaces());
    let names = table.rows.iter_mut().filter_map(|row| row.get_mut(at));
    for name in names {
        *name = format!("{}/{name}", query.kind.full_name());
    }
}

/// Prints what is there, and then a document or name for every change.
async fn watch_documents(
    api: &Api,
    query: &Query<'_>,
    context: &mut Context,
) -> Result<(), Failure> {
    let answer = api.get(&query.path(""), AS_JSON).await?;
    let version = version_of(&answer);
    for object in items(answer, query.kind) {
        print_change("ADDED", &object, query.kind, context)?;
    }
    context.out.flush()?;
    Watch::new(api, query, version).run(context).await
}

fn to_table(answer: Value, query: &Query<'_>, context: &Context) -> Table {
    let wide = context.settings.output == Some(Format::Wide);
    match Table::from_api(&answer, wide, query.all_namespaces()) {
        Some(table) => table,
        None => {
            let objects = items(answer, query.kind);
            Table::from_objects(&objects, query.all_namespaces(), context.clock.now())
        }
    }
}

fn version_of(answer: &Value) -> String {
    let version = answer.pointer("/metadata/resourceVersion");
    version.and_then(Value::as_str).unwrap_or("0").to_owned()
}

fn print_change(
    what: &str,
    object: &Value,
    kind: &Kind,
    context: &mut Context,
) -> Result<(), Failure> {
    match context.settings.output {
        Some(Format::Name) => {
            let name = object.pointer("/metadata/name").and_then(Value::as_str);
            let (full, name) = (kind.full_name(), name.unwrap_or_default());
            writeln!(context.out, "{full}/{name} {}", what.to_lowercase())?;
        }
        Some(Format::Yaml) => {
            let text = to_yaml(object)?;
            writeln!(context.out, "---\n{}", text.trim_end())?;
        }
        _ => writeln!(context.out, "{object}")?,
    }
    Ok(())
}
