//! Which components of a Spin application requests reach, and by which routes.
//!
//! What nobody can call is left out: a component that no trigger names. One whose trigger is
//! private has no route, and is called by other components alone. An application without any trigger is of
//! an older tool; its only component gets every request.
use serde_json::Value;

use super::lock::{Component, HttpRoute, HttpTrigger, LockedApp, Requirements, Trigger};
use super::{shortened, unsupported};
use crate::artifact::{ArtifactError, Route};

/// Components of one application: more than a team writes into one, few enough that a container,
/// which has surroundings for each of them, starts in no time.
const MAX_COMPONENTS: usize = 64;

/// Triggers of one application: some routes for each component. A request is compared with all.
const MAX_TRIGGERS: usize = 256;

/// Bytes of one route: longer paths than people write by hand, and short enough that comparing
/// a request with every route takes no time.
const MAX_ROUTE: usize = 512;

/// What an application requires whose components call each other.
const CHAINING: &str = "local_service_chaining";

/// The components that can be called, and their routes in the order of the triggers; no route
/// if the only component gets every request.
pub(super) fn reached(app: &LockedApp) -> Result<(Vec<&Component>, Vec<Route>), ArtifactError> {
    check(app)?;
    if app.triggers.is_empty() {
        let only = only(&app.components)?;
        return Ok((vec![only], Vec::new()));
    }
    let (mut components, mut routes) = (Vec::<&Component>::new(), Vec::new());
    for trigger in &app.triggers {
        let (id, path) = called(trigger)?;
        let found = app.components.iter().find(|component| component.id == id);
        let found = found.ok_or_else(|| {
            let (trigger, id) = (shortened(&trigger.id), shortened(&id));
            unsupported(format!(
                "whose trigger {trigger} names a component {id} that it does not have"
            ))
        })?;
        let known = components.iter().position(|component| component.id == id);
        let component = known.unwrap_or(components.len());
        if known.is_none() {
            meets(&found.host_requirements)?;
            components.push(found);
        }
        routes.extend(path.map(|path| Route { path, component }));
    }
    if routes.is_empty() {
        return Err(unsupported("none of whose components has a route; give one a route".into()));
    }
    Ok((components, routes))
}

fn check(app: &LockedApp) -> Result<(), ArtifactError> {
    meets(&app.host_requirements)?;
    for (what, count, limit) in [
        ("components", app.components.len(), MAX_COMPONENTS),
        ("triggers", app.triggers.len(), MAX_TRIGGERS),
    ] {
        if count > limit {
            return Err(unsupported(format!("of {count} {what}, more than {limit}; divide it")));
        }
    }
    Ok(())
}

/// Refuses what the application cannot do without and nobody here offers.
fn meets(requirements: &Requirements) -> Result<(), ArtifactError> {
    let is_unmet = |(feature, value): &(&String, &Value)| {
        value.as_str() != Some("optional") && feature.as_str() != CHAINING
    };
    let Some((feature, _)) = requirements.iter().find(is_unmet) else { return Ok(()) };
    let feature = shortened(feature);
    Err(unsupported(format!("that requires {feature} of its host, which is not offered")))
}

/// The only component of an application without triggers.
fn only(components: &[Component]) -> Result<&Component, ArtifactError> {
    match components {
        [only] => {
            meets(&only.host_requirements)?;
            Ok(only)
        }
        [] => Err(unsupported("without a component".to_owned())),
        several => {
            let first = shortened(&several[0].id);
            let count = several.len();
            Err(unsupported(format!(
                "of {count} components ({first}, …) without a trigger; give each that is to be called a route"
            )))
        }
    }
}

/// The component that a trigger leads to, and the route; `None` if that is private.
fn called(trigger: &Trigger) -> Result<(String, Option<String>), ArtifactError> {
    let refused = |why: &str| {
        let id = shortened(&trigger.id);
        Err(unsupported(format!("whose trigger {id} {why}")))
    };
    if trigger.trigger_type != "http" {
        let kind = shortened(&trigger.trigger_type);
        return refused(&format!(
            "is of type {kind}, and only http is run; take it out of the application, and run its component as a program of its own"
        ));
    }
    if !trigger.dependencies.is_empty() {
        return refused("has middleware, which is not offered; compose it into the component");
    }
    let parsed = serde_json::from_value(trigger.trigger_config.clone());
    let HttpTrigger { component, route, executor } = parsed.map_err(ArtifactError::Config)?;
    let Some(component) = component else {
        return refused("names no component; let a component answer its requests");
    };
    match executor {
        Some(executor) if !matches!(executor.kind.as_str(), "http" | "spin") => {
            let kind = shortened(&executor.kind);
            return refused(&format!(
                "has the executor {kind}; build the component for wasi:http/incoming-handler"
            ));
        }
        _ => {}
    }
    match route {
        HttpRoute::Path(path) if path.len() > MAX_ROUTE => {
            refused(&format!("has a route of more than {MAX_ROUTE} bytes; shorten it"))
        }
        HttpRoute::Path(path) => Ok((component, Some(path))),
        HttpRoute::Private { private: true } => Ok((component, None)),
        HttpRoute::Private { private: false } => {
            refused("is private = false; give it a route, or make it private")
        }
    }
}
