//! Which kinds the API serves, and which of them a user means.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use kube::Client;

use super::failure::Failure;

/// The most letters that a misspelt kind may differ in for the right one to be suggested.
const DISTANCE_MAX: usize = 2;

/// A kind as the API serves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    /// The group; empty for the core group.
    pub group: String,
    /// The version.
    pub version: String,
    /// Like `Broker`.
    pub kind: String,
    /// Like `brokers`.
    pub plural: String,
    /// Like `broker`.
    pub singular: String,
    /// Like `imc`.
    pub short_names: Vec<String>,
    /// Like `all`.
    pub categories: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Whether it can be listed (and got and watched).
    pub listable: bool,
}

impl Kind {
    /// The path of one object, or of all in a namespace, or of all.
    #[must_use]
    pub fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let mut path = group_path(&self.group, &self.version);
        if self.namespaced
            && let Some(namespace) = namespace
        {
            path.push_str("/namespaces/");
            path.push_str(namespace);
        }
        path.push('/');
        path.push_str(&self.plural);
        if let Some(name) = name {
            path.push('/');
            path.push_str(name);
        }
        path
    }

    /// How output calls it: `broker.eventing.knative.dev`, or `namespace` in the core group.
    #[must_use]
    pub fn full_name(&self) -> String {
        let singular = if self.singular.is_empty() {
            self.kind.to_lowercase()
        } else {
            self.singular.clone()
        };
        if self.group.is_empty() {
            singular
        } else {
            format!("{singular}.{}", self.group)
        }
    }

    fn is_called(&self, name: &str) -> bool {
        let own = |text: &str| {
            text == self.plural || text == self.singular || text == self.kind.to_lowercase()
        };
        own(name)
            || self.short_names.iter().any(|short| short == name)
            || name.split_once('.').is_some_and(|(first, group)| {
                own(first)
                    && (group == self.group || group == format!("{}.{}", self.version, self.group))
            })
    }
}

/// The path of a group and version.
fn group_path(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{group}/{version}")
    }
}

/// All kinds that the API serves, each in the version that its group prefers of those it has.
///
/// # Errors
///
/// When the API cannot be reached or does not answer.
pub async fn discover(client: &Client) -> Result<Vec<Kind>, kube::Error> {
    let mut kinds = of_group(client, "", "v1").await?;
    for group in client.list_api_groups().await?.groups {
        let preferred = group.preferred_version.into_iter();
        let mut asked = BTreeSet::new();
        for version in preferred.chain(group.versions) {
            if !asked.insert(version.version.clone()) {
                continue;
            }
            for kind in of_group(client, &group.name, &version.version).await? {
                let known = |found: &Kind| found.group == kind.group && found.plural == kind.plural;
                if !kinds.iter().any(known) {
                    kinds.push(kind);
                }
            }
        }
    }
    Ok(kinds)
}

/// The kinds of one group and version.
///
/// # Errors
///
/// When the API cannot be reached or has no such group and version.
pub async fn of_group(
    client: &Client,
    group: &str,
    version: &str,
) -> Result<Vec<Kind>, kube::Error> {
    let list = if group.is_empty() {
        client.list_core_api_resources(version).await?
    } else {
        client
            .list_api_group_resources(&format!("{group}/{version}"))
            .await?
    };
    Ok(list
        .resources
        .into_iter()
        // Subresources (`brokers/status`) are listed too.
        .filter(|resource| !resource.name.contains('/'))
        .map(|resource| from_resource(resource, group, version))
        .collect())
}

fn from_resource(resource: meta::APIResource, group: &str, version: &str) -> Kind {
    Kind {
        group: resource.group.unwrap_or_else(|| group.to_owned()),
        version: resource.version.unwrap_or_else(|| version.to_owned()),
        kind: resource.kind,
        plural: resource.name,
        singular: resource.singular_name,
        short_names: resource.short_names.unwrap_or_default(),
        categories: resource.categories.unwrap_or_default(),
        namespaced: resource.namespaced,
        listable: resource.verbs.iter().any(|verb| verb == "list"),
    }
}

/// The kinds that a name means: one by any of its names, or all of a category. Several names are
/// separated by commas. Case does not matter.
///
/// # Errors
///
/// When a name means nothing here; the failure suggests what may have been meant.
pub fn resolve<'k>(kinds: &'k [Kind], names: &str) -> Result<Vec<&'k Kind>, Failure> {
    let mut found = Vec::new();
    for name in names.split(',').filter(|name| !name.is_empty()) {
        let lower = name.to_lowercase();
        if let Some(kind) = kinds.iter().find(|kind| kind.is_called(&lower)) {
            found.push(kind);
            continue;
        }
        let members = kinds
            .iter()
            .filter(|kind| kind.listable && kind.categories.contains(&lower));
        let before = found.len();
        found.extend(members);
        if found.len() == before {
            return Err(unknown(kinds, name, &lower));
        }
    }
    if found.is_empty() {
        return Err(Failure::usage("expected a kind, like brokers or triggers"));
    }
    Ok(found)
}

fn unknown(kinds: &[Kind], name: &str, lower: &str) -> Failure {
    let near = kinds
        .iter()
        .flat_map(|kind| [&kind.plural, &kind.singular])
        .map(|candidate| (distance(lower, candidate), candidate))
        .filter(|(distance, _)| *distance <= DISTANCE_MAX)
        .min();
    let hint = if let Some((_, candidate)) = near {
        format!("did you mean {candidate}?")
    } else {
        let mut all: Vec<&str> = kinds.iter().map(|kind| kind.plural.as_str()).collect();
        all.sort_unstable();
        format!("this API has {}", all.join(", "))
    };
    Failure::usage(format!("there is no kind {name:?}")).with_hint(hint)
}

/// How many letters must be changed, added or removed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (to, &above) in b.iter().zip(row.iter().skip(1)) {
            let cost = diagonal + usize::from(from != *to);
            diagonal = above;
            left = cost.min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// Takes `KIND NAME...` or `KIND/NAME`.
///
/// # Errors
///
/// When both forms are mixed, or a name cannot be one.
pub fn kind_and_names(kind: &str, names: &[String]) -> Result<(String, Vec<String>), Failure> {
    let (kind, names) = match kind.split_once('/') {
        Some((kind, name)) if names.is_empty() => (kind.to_owned(), vec![name.to_owned()]),
        Some(_) => {
            return Err(Failure::usage(
                "write KIND NAME or KIND/NAME, not both at once",
            ));
        }
        None => (kind.to_owned(), names.to_vec()),
    };
    for name in &names {
        if !super::manifest::is_name(name) {
            return Err(Failure::usage(format!(
                "{name:?} cannot be the name of a resource"
            )));
        }
    }
    Ok((kind, names))
}
