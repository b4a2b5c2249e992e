//! The versions of a Deployment: its ReplicaSets.
use anyhow::{Result, bail};
use http::Method;
use serde_json::{Value, json};

use super::{Change, paused, revisions};
use crate::api::yaml;
use crate::cli::output::table::Grid;
use crate::cli::say;
use crate::cli::session::{Body, Session};
use crate::cli::targets::{get_one, path_of, text};
use crate::client::Served;

/// The label that a Deployment adds to the template of each ReplicaSet.
const HASH: &str = "pod-template-hash";

/// Prints the revisions, or one of them whole.
pub(super) async fn print(
    session: &Session,
    served: &Served,
    name: &str,
    wanted: Option<i64>,
) -> Result<()> {
    let object = get_one(session, served, name).await?;
    let revisions = revisions(session, served, &object).await?;
    if let Some(wanted) = wanted {
        let Some((_, set)) = revisions.iter().find(|(revision, _)| *revision == wanted) else {
            bail!("{}", unknown(served, name, wanted, &revisions));
        };
        let template = yaml::to_string(&set["spec"]["template"])?;
        return say(&format!("{} with revision #{wanted}\n{template}", served.slashed(name)));
    }
    let mut grid = Grid::new(["REVISION", "IMAGES", "CHANGE-CAUSE"]);
    for (revision, set) in &revisions {
        let containers = set["spec"]["template"]["spec"]["containers"].as_array();
        let images: Vec<_> = containers.into_iter().flatten().map(|c| text(&c["image"])).collect();
        let cause = set["metadata"]["annotations"]["kubernetes.io/change-cause"].as_str();
        grid.row([revision.to_string(), images.join(","), cause.unwrap_or("<none>").to_owned()]);
    }
    say(&format!("{}\n{}", served.slashed(name), grid.render(0)))
}

/// Makes an earlier revision the newest one.
pub(super) async fn undo(
    session: &Session,
    served: &Served,
    name: &str,
    to: i64,
) -> Result<Option<Change>> {
    let object = get_one(session, served, name).await?;
    if object["spec"]["paused"] == true {
        bail!(paused(served, name, "undo"));
    }
    let revisions = revisions(session, served, &object).await?;
    let found = match to {
        0 => revisions.iter().rev().nth(1),
        to => revisions.iter().find(|(revision, _)| *revision == to),
    };
    let Some((revision, set)) = found else {
        if to == 0 {
            bail!("{} has no earlier revision", served.slashed(name));
        }
        bail!("{}", unknown(served, name, to, &revisions));
    };
    let template = without_hash(&set["spec"]["template"]);
    if template == without_hash(&object["spec"]["template"]) {
        let why = format!("current template already matches revision {revision}");
        return Ok(Some((format!("skipped rollback ({why})"), object)));
    }
    let operations = json!([{"op": "replace", "path": "/spec/template", "value": template}]);
    let body = Body::Patch("application/json-patch+json", &operations);
    let changed = session.send(Method::PATCH, &path_of(served, &object), body).await?;
    Ok(Some((format!("rolled back to revision {revision}"), changed)))
}

fn unknown(served: &Served, name: &str, wanted: i64, known: &[(i64, Value)]) -> String {
    let known: Vec<String> = known.iter().map(|(revision, _)| revision.to_string()).collect();
    format!("{} has no revision {wanted}; it has {}", served.slashed(name), known.join(", "))
}

fn without_hash(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(HASH);
    }
    template
}
