//! What is changed in containers, read from the command line and done to a Pod spec.
use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{UsageError, list, pair, text, workload};
use crate::api::Quantity;

/// The word for every container.
const EVERY: &str = "*";

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edit {
    /// Another image.
    Image { container: String, image: String },
    /// A variable's value, or none to remove it.
    Variable { container: String, name: String, value: Option<String> },
    /// A request or limit, or none to remove it.
    Resource { container: String, list: &'static str, name: String, quantity: Option<String> },
}

impl Edit {
    fn container(&self) -> &str {
        match self {
            Self::Image { container, .. }
            | Self::Variable { container, .. }
            | Self::Resource { container, .. } => container,
        }
    }
}

/// `CONTAINER=IMAGE` of each word.
pub(super) fn images(words: &[String]) -> Result<Vec<Edit>> {
    if words.is_empty() {
        bail!(UsageError("say which image: CONTAINER=IMAGE, or *=IMAGE for every one".into()));
    }
    let edit = |word: &String| {
        let (container, image) = pair(word)?;
        if image.is_empty() {
            bail!(UsageError(format!("{word:?}: the image is missing")));
        }
        Ok(Edit::Image { container: container.into(), image: image.into() })
    };
    words.iter().map(edit).collect()
}

/// `NAME=VALUE` or `NAME-` of each word.
pub(super) fn variables(words: &[String], container: &str) -> Result<Vec<Edit>> {
    if words.is_empty() {
        bail!(UsageError("say which variable: NAME=VALUE, or NAME- to remove it".into()));
    }
    let edit = |word: &String| {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.trim_end_matches('-'), None),
        };
        if name.is_empty() {
            bail!(UsageError(format!("{word:?}: say NAME=VALUE, or NAME- to remove it")));
        }
        Ok(Edit::Variable { container: container.into(), name: name.into(), value })
    };
    words.iter().map(edit).collect()
}

/// `NAME=QUANTITY` of each limit and request.
pub(super) fn resources(
    limits: &[String],
    requests: &[String],
    container: &str,
) -> Result<Vec<Edit>> {
    let mut edits = Vec::new();
    for (list, words) in [("limits", limits), ("requests", requests)] {
        for word in words {
            let (name, quantity) = pair(word)?;
            if let Err(error) = quantity.parse::<Quantity>() {
                bail!(UsageError(format!("--{list} {word:?}: {error}")));
            }
            let quantity = (quantity != "0").then(|| quantity.to_owned());
            edits.push(Edit::Resource {
                container: container.into(),
                list,
                name: name.into(),
                quantity,
            });
        }
    }
    if edits.is_empty() {
        bail!(UsageError("say what: --limits cpu=200m,memory=32Mi or --requests cpu=50m".into()));
    }
    Ok(edits)
}

/// Does every change to a Pod spec; a container that is not there is an error.
pub(super) fn apply(edits: &[Edit], spec: &mut Value) -> Result<()> {
    let mut containers = workload::containers(spec);
    for edit in edits {
        let mut found = false;
        for container in &mut containers {
            if edit.container() == EVERY || text(&container["name"]) == edit.container() {
                found = true;
                apply_one(edit, container);
            }
        }
        if !found {
            let names: Vec<&str> = containers.iter().map(|c| text(&c["name"])).collect();
            bail!("there is no container {:?}; it has {}", edit.container(), names.join(", "));
        }
    }
    Ok(())
}

fn apply_one(edit: &Edit, container: &mut Value) {
    match edit {
        Edit::Image { image, .. } => container["image"] = json!(image),
        Edit::Variable { name, value, .. } => set_variable(container, name, value.as_deref()),
        Edit::Resource { list, name, quantity, .. } => {
            match quantity {
                Some(quantity) => container["resources"][list][name] = json!(quantity),
                None => {
                    if let Some(entries) = container["resources"][list].as_object_mut() {
                        entries.remove(name);
                    }
                }
            }
            if container["resources"].is_null() {
                container["resources"] = json!({});
            }
        }
    }
}

fn set_variable(container: &mut Value, name: &str, value: Option<&str>) {
    let is_it = |variable: &Value| text(&variable["name"]) == name;
    match (list(container, "env"), value) {
        (Some(variables), Some(value)) => {
            let new = json!({"name": name, "value": value});
            match variables.iter_mut().find(|variable| is_it(variable)) {
                Some(variable) => *variable = new,
                None => variables.push(new),
            }
        }
        (Some(variables), None) => variables.retain(|variable| !is_it(variable)),
        (None, _) => {}
    }
    if container["env"].as_array().is_some_and(Vec::is_empty)
        && let Some(container) = container.as_object_mut()
    {
        container.remove("env");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn spec() -> Value {
        json!({"containers": [
            {"name": "a", "image": "x", "env": [{"name": "OLD", "value": "1"}]},
            {"name": "b", "image": "x"}]})
    }

    #[test]
    fn images_are_set_by_container_or_for_all() {
        let mut spec = spec();
        apply(&images(&words("a=y")).unwrap(), &mut spec).unwrap();
        assert_eq!([&spec["containers"][0]["image"], &spec["containers"][1]["image"]], ["y", "x"]);
        apply(&images(&words("*=z@sha256:1")).unwrap(), &mut spec).unwrap();
        assert_eq!(spec["containers"][1]["image"], "z@sha256:1");
        let error = apply(&images(&words("c=y")).unwrap(), &mut spec).unwrap_err().to_string();
        assert_eq!(error, "there is no container \"c\"; it has a, b");
    }

    #[test]
    fn variables_are_set_replaced_and_removed() {
        let mut spec = spec();
        apply(&variables(&words("NEW=a=b OLD-"), "*").unwrap(), &mut spec).unwrap();
        assert_eq!(spec["containers"][0]["env"], json!([{"name": "NEW", "value": "a=b"}]));
        apply(&variables(&words("NEW-"), "b").unwrap(), &mut spec).unwrap();
        assert_eq!(spec["containers"][1].get("env"), None);
    }

    #[test]
    fn quantities_are_checked_before_anything_is_sent() {
        let mut spec = spec();
        let edits = resources(&words("cpu=200m"), &words("memory=1Mi"), "a").unwrap();
        apply(&edits, &mut spec).unwrap();
        let expected = json!({"limits": {"cpu": "200m"}, "requests": {"memory": "1Mi"}});
        assert_eq!(spec["containers"][0]["resources"], expected);
        apply(&resources(&words("cpu=0"), &[], "a").unwrap(), &mut spec).unwrap();
        assert_eq!(spec["containers"][0]["resources"]["limits"], json!({}));
        let error = resources(&words("cpu=much"), &[], "*").unwrap_err();
        assert!(error.is::<UsageError>() && error.to_string().contains("--limits"), "{error}");
    }
}
