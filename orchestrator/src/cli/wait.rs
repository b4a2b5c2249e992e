//! `podium wait`: returns when objects are as they shall be.
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::output::{Template, TemplateError};
use super::session::{Cluster, Session};
use super::targets::{self, Selection, Target, path_of, text};
use super::{completion, duration, say};
use crate::client::Served;

/// How often an object is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Flags of `podium wait`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The objects: `pod/web-1`, `deploy web`, `pods -l app=web`, `pods --all`.
    #[arg(value_name = "TYPE[/NAME]", required = true, add = completion::objects())]
    words: Vec<String>,
    /// condition=NAME[=VALUE], create, delete, or jsonpath='{PATH}'[=VALUE].
    #[arg(long = "for", value_name = "WHAT")]
    what: What,
    /// How long, such as `60s`; 0 looks once.
    #[arg(long, value_parser = duration::parse, default_value = "30s")]
    timeout: Duration,
    /// All objects of the type in the namespace.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    cluster: Cluster,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Create,
    Delete,
    Condition { name: String, value: String },
    Path { path: Template, value: Option<String> },
}

#[derive(Debug, thiserror::Error)]
enum WhatError {
    #[error(
        "say condition=NAME, condition=NAME=VALUE, create, delete or jsonpath='{{PATH}}'=VALUE"
    )]
    Unknown,
    #[error(transparent)]
    Path(#[from] TemplateError),
}

impl FromStr for What {
    type Err = WhatError;

    fn from_str(text: &str) -> Result<Self, WhatError> {
        match text.split_once('=') {
            None if text == "create" => Ok(Self::Create),
            None if text == "delete" => Ok(Self::Delete),
            Some(("condition", rest)) if !rest.is_empty() => {
                let (name, value) = rest.split_once('=').unwrap_or((rest, "True"));
                Ok(Self::Condition { name: name.into(), value: value.into() })
            }
            Some(("jsonpath", rest)) => {
                // A filter has `==` within the braces.
                let end = rest.rfind('}').map_or(0, |end| end + 1);
                let (path, value) = match rest[end..].split_once('=') {
                    Some((before, value)) => (&rest[..end + before.len()], Some(value.to_owned())),
                    None => (rest, None),
                };
                Ok(Self::Path { path: Template::parse(path)?, value })
            }
            _ => Err(WhatError::Unknown),
        }
    }
}

impl What {
    /// Whether an object, or its absence, is what is waited for.
    fn holds(&self, object: Option<&Value>) -> Result<bool> {
        let Some(object) = object else { return Ok(matches!(self, Self::Delete)) };
        Ok(match self {
            Self::Create => true,
            Self::Delete => false,
            Self::Condition { name, value } => {
                // A status of an older generation says nothing about this one.
                let generation = object["metadata"]["generation"].as_i64();
                let observed = object["status"]["observedGeneration"].as_i64();
                let current = observed.is_none() || observed >= generation;
                let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
                let mut named = conditions.filter(|c| text(&c["type"]).eq_ignore_ascii_case(name));
                current && named.any(|c| text(&c["status"]).eq_ignore_ascii_case(value))
            }
            Self::Path { path, value } => {
                let found = path.values(object)?;
                match value {
                    None => !found.is_empty(),
                    Some(value) => found.iter().any(|found| match found {
                        Value::String(text) => text == value,
                        other => &format!("{other}") == value,
                    }),
                }
            }
        })
    }
}

/// An object that is waited for.
struct Waiting<'s> {
    served: &'s Served,
    name: String,
    path: String,
    uid: Option<Value>,
}

pub(super) async fn run(args: Args) -> Result<()> {
    let session = args.cluster.open().await?;
    let deadline = Instant::now() + args.timeout;
    for one in waiting(&args, &session).await? {
        loop {
            let object = match session.get(&one.path).await {
                Ok(object) => Some(object),
                Err(error) if error.code() == 404 => None,
                Err(error) => return Err(error.into()),
            };
            // Another one of the same name is not the one that was to go.
            let object = object.filter(|object| {
                let other = one.uid.as_ref().is_some_and(|uid| &object["metadata"]["uid"] != uid);
                !(other && args.what == What::Delete)
            });
            let slashed = one.served.slashed(&one.name);
            if args.what.holds(object.as_ref())? {
                let word = match args.what {
                    What::Delete => "deleted",
                    What::Create => "created",
                    What::Condition { .. } | What::Path { .. } => "condition met",
                };
                say(&format!("{slashed} {word}\n"))?;
                break;
            }
            if object.is_none() && !matches!(args.what, What::Create) {
                let error = session.get(&one.path).await.err();
                if let Some(error) = error {
                    return Err(targets::with_hint(&session, one.served, &one.name, error).await);
                }
            }
            if Instant::now() >= deadline {
                bail!(
                    "{slashed}: not within {:?}; `podium describe {slashed}` says how it is",
                    args.timeout
                );
            }
            sleep(POLL).await;
        }
    }
    Ok(())
}

async fn waiting<'s>(args: &Args, session: &'s Session) -> Result<Vec<Waiting<'s>>> {
    let targets = targets::parse(session.catalog().await?, &args.words)?;
    let mut waiting = Vec::new();
    for target in targets {
        match target {
            Target::One(served, name) => {
                let path = served.path(Some(&session.namespace), Some(&name));
                let uid =
                    session.get(&path).await.ok().map(|object| object["metadata"]["uid"].clone());
                waiting.push(Waiting { served, name, path, uid });
            }
            Target::All(served) => {
                if !args.all && args.selection.is_empty() {
                    let why =
                        "name the objects, choose them with -l or --field-selector, or say --all";
                    return Err(super::UsageError(why.into()).into());
                }
                let found = targets::objects(session, &[target], &args.selection).await?;
                if found.is_empty() && args.what != What::Delete {
                    bail!("no {} match: there is nothing to wait for", served.qualified());
                }
                for (served, object) in found {
                    let name = text(&object["metadata"]["name"]).to_owned();
                    let path = path_of(served, &object);
                    waiting.push(Waiting {
                        served,
                        name,
                        path,
                        uid: Some(object["metadata"]["uid"].clone()),
                    });
                }
            }
        }
    }
    Ok(waiting)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn holds(what: &str, object: &Value) -> bool {
        What::from_str(what).unwrap().holds(Some(object)).unwrap()
    }

    #[test]
    fn conditions_and_paths_are_compared_with_what_is_expected() {
        let pod = json!({"status": {"phase": "Running", "n": 3, "conditions": [
            {"type": "Ready", "status": "True"}, {"type": "Stopped", "status": "False"}]}});
        for what in [
            "condition=Ready",
            "condition=ready=true",
            "condition=Stopped=False",
            "jsonpath={.status.phase}=Running",
            "jsonpath={.status.n}=3",
            "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}=True",
            "jsonpath={.status.phase}",
        ] {
            assert!(holds(what, &pod), "{what}");
        }
        assert!(!holds("condition=Stopped", &pod));
        assert!(!holds("jsonpath={.status.phase}=Failed", &pod));
        assert!(!holds("jsonpath={.status.nothing}", &pod));
    }

    #[test]
    fn the_status_of_an_older_generation_does_not_count() {
        let mut deployment = json!({"metadata": {"generation": 2}, "status": {
            "observedGeneration": 1, "conditions": [{"type": "Available", "status": "True"}]}});
        assert!(!holds("condition=Available", &deployment));
        deployment["status"]["observedGeneration"] = json!(2);
        assert!(holds("condition=Available", &deployment));
    }

    #[test]
    fn absence_is_what_delete_waits_for() {
        assert!(What::Delete.holds(None).unwrap());
        assert!(!What::Create.holds(None).unwrap());
        assert!(What::from_str("ready").is_err());
    }
}
