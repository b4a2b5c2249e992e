//! The options of list and watch.
use crate::api::{ApiError, FieldError, FieldErrors, FieldPath, FieldSelector, LabelSelector};
use crate::server::call::Call;
use crate::server::query::{Query, refuse};
use crate::storage::{ListQuery, ResourceVersionMatch, WatchQuery};

/// The page of a list that a request asks for.
pub fn list_query(call: &Call<'_>) -> Result<ListQuery, ApiError> {
    let query = call.query;
    let (labels, fields) = selectors(call)?;
    let version = resource_version(query)?;
    let matching = query.text("resourceVersionMatch");
    let mut errors = FieldErrors::default();
    let path = || FieldPath::new("resourceVersionMatch");
    let matching = match matching {
        None => None,
        Some("Exact") => Some(ResourceVersionMatch::Exact),
        Some("NotOlderThan") => Some(ResourceVersionMatch::NotOlderThan),
        Some(other) => {
            let supported = ["Exact", "NotOlderThan"].map(str::to_owned).to_vec();
            errors.push(FieldError::NotSupported(path(), other.into(), supported));
            None
        }
    };
    let exact = matching == Some(ResourceVersionMatch::Exact);
    let continues = query.text("continue").is_some();
    let forbidden = if matching.is_some() && continues {
        Some("resourceVersionMatch is forbidden when continue is provided")
    } else if matching.is_some() && query.text("resourceVersion").is_none() {
        Some("resourceVersionMatch is forbidden unless resourceVersion is provided")
    } else if exact && version == Some(0) {
        Some("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")
    } else {
        None
    };
    if let Some(why) = forbidden {
        errors.push(FieldError::Forbidden(path(), why.into()));
    }
    if query.flag("sendInitialEvents") {
        let why = "sendInitialEvents is forbidden for list".to_owned();
        errors.push(FieldError::Forbidden(FieldPath::new("sendInitialEvents"), why));
    }
    refuse("ListOptions", errors)?;
    let limit = query.number("limit")?.and_then(|limit| usize::try_from(limit).ok());
    Ok(ListQuery {
        namespace: namespace(call),
        labels,
        fields,
        limit: limit.filter(|limit| *limit > 0),
        continue_token: query.text("continue").map(str::to_owned),
        resource_version: version,
        resource_version_match: matching,
    })
}

/// The changes that a request wants to follow.
pub fn watch_query(call: &Call<'_>) -> Result<WatchQuery, ApiError> {
    let query = call.query;
    let (labels, fields) = selectors(call)?;
    let version = resource_version(query)?;
    let bookmarks = query.flag("allowWatchBookmarks");
    let initial_events = query.text("sendInitialEvents").map(|_| query.flag("sendInitialEvents"));
    let matching = query.text("resourceVersionMatch");
    let mut errors = FieldErrors::default();
    if initial_events.is_some() && matching != Some("NotOlderThan") {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        let path = FieldPath::new("resourceVersionMatch");
        errors.push(FieldError::Forbidden(path, why.into()));
    }
    if initial_events.is_none() && matching.is_some() {
        let why =
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        let path = FieldPath::new("resourceVersionMatch");
        errors.push(FieldError::Forbidden(path, why.into()));
    }
    refuse("ListOptions", errors)?;
    Ok(WatchQuery {
        namespace: namespace(call),
        labels,
        fields,
        after: version.filter(|version| *version > 0),
        initial_events,
        bookmarks,
    })
}

fn namespace(call: &Call<'_>) -> Option<String> {
    Some(call.path.namespace.clone()).filter(|namespace| !namespace.is_empty())
}

fn resource_version(query: &Query) -> Result<Option<u64>, ApiError> {
    let Some(text) = query.text("resourceVersion") else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        ApiError::BadRequest(format!(
            "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        ))
    })
}

fn selectors(call: &Call<'_>) -> Result<(LabelSelector, FieldSelector), ApiError> {
    let bad = |error: crate::api::SelectorError| ApiError::BadRequest(error.to_string());
    let text = |name| call.query.text(name).unwrap_or_default();
    let labels = LabelSelector::parse(text("labelSelector")).map_err(bad)?;
    let fields = FieldSelector::parse(text("fieldSelector")).map_err(bad)?;
    if !fields.is_empty() {
        let selectable = call.row.behaviour.selectable_fields();
        let known = |path: &str| {
            path == "metadata.name"
                || (path == "metadata.namespace" && call.row.namespaced())
                || selectable.contains(&path)
        };
        if let Some(path) = fields.paths().find(|path| !known(path)) {
            let why = format!("field label not supported: {path}");
            return Err(ApiError::BadRequest(why));
        }
    }
    Ok((labels, fields))
}
