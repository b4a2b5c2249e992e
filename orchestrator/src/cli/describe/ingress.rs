//! An Ingress: which hosts and paths lead to which Services.
use anyhow::Result;
use serde_json::Value;

use super::service::{endpoints, slices};
use super::sheet::Sheet;
use crate::cli::output::table::{self, Grid};
use crate::cli::session::Session;
use crate::cli::targets::text;

/// What is told about an Ingress.
pub(super) async fn describe(session: &Session, object: &Value, sheet: &mut Sheet) -> Result<()> {
    let spec = &object["spec"];
    let namespace = text(&object["metadata"]["namespace"]);
    let addresses = object["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
    let addresses: Vec<&str> = addresses
        .map(|address| address["ip"].as_str().unwrap_or_else(|| text(&address["hostname"])))
        .collect();
    sheet.line(0, "Address", &or_none(&addresses.join(", ")));
    sheet.line(0, "Ingress Class", &or_none(text(&spec["ingressClassName"])));
    let default = &spec["defaultBackend"];
    sheet.line(0, "Default Backend", &backend(session, namespace, default).await?);
    for (i, tls) in spec["tls"].as_array().into_iter().flatten().enumerate() {
        let hosts = tls["hosts"].as_array().into_iter().flatten().map(text);
        let hosts = hosts.collect::<Vec<_>>().join(", ");
        let secret = or_none(text(&tls["secretName"]));
        let line = format!("{secret} for {}", if hosts.is_empty() { "every host" } else { &hosts });
        sheet.line(0, if i == 0 { "TLS" } else { "" }, &line);
    }
    let mut grid = Grid::new(["Host", "Path", "Backends"]);
    for rule in spec["rules"].as_array().into_iter().flatten() {
        let mut host = rule["host"].as_str().unwrap_or("*");
        for path in rule["http"]["paths"].as_array().into_iter().flatten() {
            let to = backend(session, namespace, &path["backend"]).await?;
            grid.row([host, path["path"].as_str().unwrap_or("/"), &to]);
            host = "";
        }
    }
    if !grid.is_empty() {
        sheet.block("Rules", &grid.render(2));
    }
    Ok(())
}

/// A Service's port and who answers there.
async fn backend(session: &Session, namespace: &str, backend: &Value) -> Result<String> {
    let service = &backend["service"];
    let Some(name) = service["name"].as_str() else { return Ok("<none>".into()) };
    let wanted = &service["port"];
    let port = [&wanted["name"], &wanted["number"]];
    let port = port.into_iter().find(|port| !port.is_null()).map(table::text).unwrap_or_default();
    let services = session.catalog().await?.find("services")?;
    let found = match session.get(&services.path(Some(namespace), Some(name))).await {
        Ok(found) => found,
        Err(error) if error.code() == 404 => {
            return Ok(format!("{name}:{port} (there is no Service {name})"));
        }
        Err(error) => return Err(error.into()),
    };
    let slices = slices(session, name, namespace).await?;
    Ok(format!("{name}:{port} ({})", behind(&found, wanted, &slices)))
}

/// The endpoints of the Service's port that is meant.
fn behind(service: &Value, wanted: &Value, slices: &[Value]) -> String {
    let same = |port: &&Value| match wanted["name"].as_str() {
        Some(name) => text(&port["name"]) == name,
        None => port["port"] == wanted["number"],
    };
    let ports = service["spec"]["ports"].as_array();
    match ports.and_then(|ports| ports.iter().find(same)) {
        Some(port) => endpoints(slices, port),
        None => "the Service has no such port".into(),
    }
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "<none>".into() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_backend_is_told_with_who_answers_or_why_nobody_does() {
        let service = json!({"spec": {"ports": [{"name": "web", "port": 80}]}});
        let slices = [json!({"ports": [{"name": "web", "port": 8080}],
            "endpoints": [{"addresses": ["10.64.0.1"]}]})];
        assert_eq!(behind(&service, &json!({"number": 80}), &slices), "10.64.0.1:8080");
        assert_eq!(behind(&service, &json!({"name": "web"}), &slices), "10.64.0.1:8080");
        let wrong = behind(&service, &json!({"number": 81}), &slices);
        assert_eq!(wrong, "the Service has no such port");
    }
}
