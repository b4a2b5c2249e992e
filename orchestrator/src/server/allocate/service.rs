//! The addresses and node ports of Services.
use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::{Pool, Reservation, reserve};
use crate::api::{ApiError, FieldError, FieldErrors, FieldPath, Object, ObjectKey, Resource};
use crate::auth::pki::KUBERNETES_SERVICE_IP;
use crate::server::Server;

/// How often one is picked by chance before the pool counts as full.
const PICKS: usize = 256;

/// Why another Service's address cannot be had, in Kubernetes' words.
const IP_TAKEN: &str = "provided IP is already allocated";

/// Why another Service's port cannot be had.
const PORT_TAKEN: &str = "provided port is already allocated";

/// What a Service holds.
pub fn held(service: &Object) -> BTreeSet<Reservation> {
    let mut held = BTreeSet::new();
    let Some(spec) = service.body.get("spec").and_then(Value::as_object) else { return held };
    let address = text(spec, "clusterIP");
    if is_address(address) && has_address(spec) {
        held.insert(Reservation { pool: Pool::ClusterIps, name: address.to_owned() });
    }
    let ports = spec.get("ports").and_then(Value::as_array).into_iter().flatten();
    for port in ports.filter_map(node_port) {
        held.insert(Reservation { pool: Pool::NodePorts, name: port.to_string() });
    }
    held
}

/// Reserves what `new` asks for beyond what `old` holds; `reserved` says what, even on failure.
pub async fn allocate(
    server: &Server,
    row: &Resource,
    new: &mut Object,
    old: Option<&Object>,
    reserved: &mut Vec<Reservation>,
) -> Result<(), ApiError> {
    let mut have = old.map(held).unwrap_or_default();
    let key = new.key();
    let name = new.metadata.name.clone().unwrap_or_default();
    let refuse = |error: FieldError| ApiError::Invalid {
        group: row.gvk.group.to_string(),
        kind: row.gvk.kind.to_string(),
        name: name.clone(),
        errors: FieldErrors(vec![error]),
    };
    let Some(spec) = new.body.get_mut("spec").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    if has_address(spec) && text(spec, "clusterIP") != "None" {
        let wished = text(spec, "clusterIP").to_owned();
        let wished = Some(wished).filter(|address| !address.is_empty());
        let address = if is_kept(&key, wished.as_deref(), &have) {
            Err(IP_TAKEN.to_owned())
        } else {
            take(server, Pool::ClusterIps, wished.clone(), &mut have, reserved).await?
        };
        let address = address.map_err(|why| {
            let path = FieldPath::new("spec").child("clusterIPs");
            let wished = wished.unwrap_or_default();
            let why = format!("failed to allocate IP {wished}: {why}");
            refuse(FieldError::Invalid(path, json!([wished]), why))
        })?;
        spec.insert("clusterIP".into(), json!(address));
        spec.insert("clusterIPs".into(), json!([address]));
    }
    let wants_ports = wants_node_ports(spec);
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    for (index, port) in ports.into_iter().flatten().enumerate() {
        let wished = node_port(port).map(|port| port.to_string());
        if wished.is_none() && !wants_ports {
            continue;
        }
        let taken = take(server, Pool::NodePorts, wished, &mut have, reserved).await?;
        let taken = taken.map_err(|why| {
            let path = FieldPath::new("spec").child("ports").index(index).child("nodePort");
            refuse(FieldError::Invalid(path, json!(node_port(port)), why))
        })?;
        if let (Some(port), Ok(number)) = (port.as_object_mut(), taken.parse::<u16>()) {
            port.insert("nodePort".into(), json!(number));
        }
    }
    Ok(())
}

/// Whether an address is kept for the Service of the API, even while that is away.
fn is_kept(service: &ObjectKey, wished: Option<&str>, have: &BTreeSet<Reservation>) -> bool {
    let is_ours = service.namespace == "default" && service.name == "kubernetes";
    let address = wished.and_then(|address| address.parse::<IpAddr>().ok());
    address == Some(KUBERNETES_SERVICE_IP)
        && !is_ours
        && !have.iter().any(|held| wished == Some(held.name.as_str()))
}

/// Takes the wished one, or one by chance; the inner error says why it cannot be had.
async fn take(
    server: &Server,
    pool: Pool,
    wished: Option<String>,
    have: &mut BTreeSet<Reservation>,
    reserved: &mut Vec<Reservation>,
) -> Result<Result<String, String>, ApiError> {
    if let Some(name) = wished {
        let reservation = Reservation { pool, name };
        // Two ports of one Service may share a number if their protocols differ.
        if have.contains(&reservation) {
            return Ok(Ok(reservation.name));
        }
        if let Err(why) = pool.check(&reservation.name) {
            return Ok(Err(why));
        }
        if !reserve(server, &reservation).await? {
            let taken = if pool == Pool::NodePorts { PORT_TAKEN } else { IP_TAKEN };
            return Ok(Err(taken.to_owned()));
        }
        have.insert(reservation.clone());
        reserved.push(reservation.clone());
        return Ok(Ok(reservation.name));
    }
    for _ in 0..PICKS {
        let reservation = Reservation { pool, name: pool.pick(server.entropy()) };
        if reserve(server, &reservation).await? {
            have.insert(reservation.clone());
            reserved.push(reservation.clone());
            return Ok(Ok(reservation.name));
        }
    }
    Err(ApiError::Internal("failed to allocate a Service's address or port: range is full".into()))
}

fn has_address(spec: &Map<String, Value>) -> bool {
    text(spec, "type") != "ExternalName"
}

fn wants_node_ports(spec: &Map<String, Value>) -> bool {
    match text(spec, "type") {
        "NodePort" => true,
        "LoadBalancer" => spec.get("allocateLoadBalancerNodePorts") != Some(&json!(false)),
        _ => false,
    }
}

fn is_address(text: &str) -> bool {
    !matches!(text, "" | "None")
}

fn node_port(port: &Value) -> Option<u64> {
    port.get("nodePort").and_then(Value::as_u64).filter(|port| *port > 0)
}

fn text<'a>(spec: &'a Map<String, Value>, name: &str) -> &'a str {
    spec.get(name).and_then(Value::as_str).unwrap_or_default()
}
