//! A Service: its addresses, and who answers behind them.
use anyhow::Result;
use serde_json::Value;

use super::sheet::Sheet;
use crate::cli::output::table::{self, pairs};
use crate::cli::session::{Query, Session};
use crate::cli::targets::text;

/// Endpoints that are listed.
const MAX_ENDPOINTS: usize = 16;

/// What is told about a Service.
pub(super) async fn describe(session: &Session, object: &Value, sheet: &mut Sheet) -> Result<()> {
    let spec = &object["spec"];
    sheet.line(0, "Selector", &pairs(&spec["selector"], ","));
    sheet.some(0, "Type", &spec["type"]);
    sheet.some(0, "IP", &spec["clusterIP"]);
    sheet.some(0, "External Name", &spec["externalName"]);
    let (name, namespace) =
        (text(&object["metadata"]["name"]), text(&object["metadata"]["namespace"]));
    sheet.line(0, "DNS Name", &format!("{name}.{namespace}.svc.cluster.local"));
    let slices = slices(session, name, namespace).await?;
    for port in spec["ports"].as_array().into_iter().flatten() {
        let name = port["name"].as_str().map(|name| format!("{name} ")).unwrap_or_default();
        let target = table::text(&port["targetPort"]);
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        sheet.line(0, "Port", &format!("{name}{}/{protocol} to {target}", port["port"]));
        if !port["nodePort"].is_null() {
            sheet.line(0, "Node Port", &port["nodePort"].to_string());
        }
        sheet.line(0, "Endpoints", &endpoints(&slices, port));
    }
    sheet.some(0, "Session Affinity", &spec["sessionAffinity"]);
    Ok(())
}

/// The EndpointSlices of a Service.
pub(super) async fn slices(session: &Session, name: &str, namespace: &str) -> Result<Vec<Value>> {
    let served = session.catalog().await?.find("endpointslices.discovery.k8s.io")?;
    let query =
        Query::default().with("labelSelector", format!("kubernetes.io/service-name={name}"));
    let mut list = session.get(&query.on(&served.path(Some(namespace), None))).await?;
    Ok(list["items"].take().as_array().cloned().unwrap_or_default())
}

/// Who is ready to answer on a port.
pub(super) fn endpoints(slices: &[Value], port: &Value) -> String {
    let mut found = Vec::new();
    for slice in slices {
        let ports = slice["ports"].as_array().into_iter().flatten();
        let same = |p: &&Value| text(&p["name"]) == text(&port["name"]);
        let Some(number) = ports.into_iter().find(same).map(|p| p["port"].to_string()) else {
            continue;
        };
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            // Unknown counts as ready.
            if endpoint["conditions"]["ready"] != false {
                let addresses = endpoint["addresses"].as_array().into_iter().flatten();
                found.extend(addresses.map(|address| format!("{}:{number}", text(address))));
            }
        }
    }
    let more = found.len().saturating_sub(MAX_ENDPOINTS);
    found.truncate(MAX_ENDPOINTS);
    match (found.is_empty(), more) {
        (true, _) => "<none>".into(),
        (false, 0) => found.join(", "),
        (false, more) => format!("{} and {more} more", found.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_ready_endpoints_of_the_port_are_listed() {
        let slice = json!({"ports": [{"name": "web", "port": 8080}], "endpoints": [
            {"addresses": ["10.64.0.1"], "conditions": {"ready": true}},
            {"addresses": ["10.64.0.2"], "conditions": {"ready": false}},
            {"addresses": ["10.64.0.3"]}]});
        let slices = [slice];
        assert_eq!(endpoints(&slices, &json!({"name": "web"})), "10.64.0.1:8080, 10.64.0.3:8080");
        assert_eq!(endpoints(&slices, &json!({"name": "other"})), "<none>");
    }
}
