//! Which objects a command is about: `TYPE[,TYPE] [NAME…]`, `TYPE/NAME…`, a category, selectors.
use anyhow::Result;
use serde_json::Value;

use super::failures::Failures;
use super::session::{Query, RequestError, Session};
use super::{UsageError, lacking};
use crate::client::discovery::nearest;
use crate::client::{Catalog, Served};

/// The category that is meant by a word that a server may leave without one.
const ALL: &str = "all";

/// Flags that choose among the objects of a type.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Selection")]
pub(super) struct Selection {
    /// Only objects with these labels, such as `app=web,tier in (a,b)`.
    #[arg(
        short = 'l',
        long = "selector",
        value_name = "LABELS",
        default_value = "",
        hide_default_value = true
    )]
    pub(super) labels: String,
    /// Only objects with these fields, such as `status.phase=Running`.
    #[arg(
        long = "field-selector",
        value_name = "FIELDS",
        default_value = "",
        hide_default_value = true
    )]
    pub(super) fields: String,
    /// In all namespaces.
    #[arg(short = 'A', long)]
    pub(super) all_namespaces: bool,
}

impl Selection {
    /// The namespace to look in; none for all.
    pub(super) fn namespace<'a>(&self, session: &'a Session) -> Option<&'a str> {
        (!self.all_namespaces).then_some(session.namespace.as_str())
    }

    /// The query of a list or a watch.
    pub(super) fn query(&self) -> Query {
        Query::default().with("labelSelector", &*self.labels).with("fieldSelector", &*self.fields)
    }

    /// Whether it chooses at all.
    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }
}

/// Objects of one type that are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target<'c> {
    /// Those that the selection chooses.
    All(&'c Served),
    /// That of this name.
    One(&'c Served, String),
}

impl<'c> Target<'c> {
    /// Their type.
    pub(super) fn served(&self) -> &'c Served {
        match self {
            Self::All(served) | Self::One(served, _) => served,
        }
    }
}

/// What the words of a command line mean.
pub(super) fn parse<'c>(catalog: &'c Catalog, words: &[String]) -> Result<Vec<Target<'c>>> {
    let Some(first) = words.first() else {
        let example = "name a resource, such as `pods`, `deployment/web` or `svc,deploy`";
        return Err(UsageError(example.into()).into());
    };
    if words.iter().any(|word| word.contains('/')) {
        return words.iter().map(|word| one(catalog, word)).collect();
    }
    let mut types = Vec::new();
    for word in first.split(',').filter(|word| !word.is_empty()) {
        let category = catalog.category(word);
        if category.is_empty() {
            types.push(lacking::find(catalog, word)?);
        } else if word == ALL || catalog.find(word).is_err() {
            types.extend(category);
        } else {
            types.push(lacking::find(catalog, word)?);
        }
    }
    let names = &words[1..];
    if names.is_empty() {
        return Ok(types.into_iter().map(Target::All).collect());
    }
    let of = |served: &'c Served| names.iter().map(move |name| Target::One(served, name.clone()));
    Ok(types.into_iter().flat_map(of).collect())
}

fn one<'c>(catalog: &'c Catalog, word: &str) -> Result<Target<'c>> {
    match word.split_once('/') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() => {
            Ok(Target::One(lacking::find(catalog, kind)?, name.to_owned()))
        }
        _ => Err(UsageError(format!("{word:?}: say TYPE/NAME for each, such as pod/web")).into()),
    }
}

/// An object that is named is to be there.
pub(super) async fn get_one(session: &Session, served: &Served, name: &str) -> Result<Value> {
    let path = served.path(Some(&session.namespace), Some(name));
    match session.get(&path).await {
        Ok(object) => Ok(object),
        Err(error) => Err(with_hint(session, served, name, error).await),
    }
}

/// Adds the name that was perhaps meant to a 404.
pub(super) async fn with_hint(
    session: &Session,
    served: &Served,
    name: &str,
    error: RequestError,
) -> anyhow::Error {
    if error.code() != 404 {
        return error.into();
    }
    let known = names(session, served).await.unwrap_or_default();
    match nearest(name, known) {
        Some(near) => anyhow::anyhow!("{error}; did you mean {near:?}?"),
        None => error.into(),
    }
}

/// The names of the objects of a type in the namespace.
pub(super) async fn names(session: &Session, served: &Served) -> Result<Vec<String>, RequestError> {
    let list = session.get(&served.path(Some(&session.namespace), None)).await?;
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(items.iter().map(|item| text(&item["metadata"]["name"]).to_owned()).collect())
}

/// Every object that is meant, whole, with its type.
pub(super) async fn objects<'c>(
    session: &Session,
    targets: &[Target<'c>],
    selection: &Selection,
) -> Result<Vec<(&'c Served, Value)>> {
    let mut found = Vec::new();
    for target in targets {
        match target {
            Target::One(served, name) => {
                found.push((*served, get_one(session, served, name).await?));
            }
            Target::All(served) => {
                let path = served.path(selection.namespace(session), None);
                let mut list = session.get(&selection.query().on(&path)).await?;
                let items = list["items"].take();
                for mut item in items.as_array().cloned().unwrap_or_default() {
                    item["apiVersion"] = served.api_version().into();
                    item["kind"] = served.kind.clone().into();
                    found.push((*served, item));
                }
            }
        }
    }
    Ok(found)
}

/// As [`objects`], without those that cannot be read, which are told.
pub(super) async fn readable<'c>(
    session: &Session,
    targets: &[Target<'c>],
    selection: &Selection,
    failures: &mut Failures,
) -> Result<Vec<(&'c Served, Value)>> {
    let mut found = Vec::new();
    for target in targets {
        let these = objects(session, std::slice::from_ref(target), selection).await;
        found.extend(failures.take(these)?.unwrap_or_default());
    }
    Ok(found)
}

/// The path of an object that was read.
pub(super) fn path_of(served: &Served, object: &Value) -> String {
    let metadata = &object["metadata"];
    let namespace = metadata["namespace"].as_str();
    served.path(namespace, Some(text(&metadata["name"])))
}

/// Text, or nothing.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn catalog() -> Catalog {
        Catalog::of(["pods", "services"].map(|plural| Served {
            plural: plural.into(),
            singular: plural.trim_end_matches('s').into(),
            version: "v1".into(),
            namespaced: true,
            categories: vec!["all".into()],
            ..Served::default()
        }))
    }

    #[test]
    fn words_name_types_objects_or_a_category() {
        let catalog = catalog();
        let kinds = |line: &str| -> Vec<String> {
            let targets = parse(&catalog, &words(line)).unwrap();
            let show = |target: &Target<'_>| match target {
                Target::All(served) => served.plural.clone(),
                Target::One(served, name) => served.slashed(name),
            };
            targets.iter().map(show).collect()
        };
        assert_eq!(kinds("pods"), ["pods"]);
        assert_eq!(kinds("pods,service"), ["pods", "services"]);
        assert_eq!(kinds("pod a b"), ["pod/a", "pod/b"]);
        assert_eq!(kinds("pod/a service/b"), ["pod/a", "service/b"]);
        assert_eq!(kinds("all"), ["pods", "services"]);
    }

    #[test]
    fn a_type_is_not_named_twice() {
        let error = parse(&catalog(), &words("pods pod/a")).unwrap_err().to_string();
        assert!(error.contains("TYPE/NAME"), "{error}");
        assert!(parse(&catalog(), &[]).unwrap_err().to_string().contains("name a resource"));
    }
}
