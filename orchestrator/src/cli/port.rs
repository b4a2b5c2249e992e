//! `podium port`: where the cluster on this machine listens, and how its Services are reached.
use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::data_dir::{DataDir, Holder, Running, holder};
use super::output::table::Grid;
use super::output::{Format, OBJECT_FORMS, one_of};
use super::session::{Cluster, Session};
use super::targets::{self, Selection, Target, text};
use super::{completion, say};

/// Flags of `podium port`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this: api, registry, gateway, gateway-tls, node, or the name of a Service.
    #[arg(add = completion::names_of("services"))]
    name: Option<String>,
    /// json, yaml, name or jsonpath=TEMPLATE
    #[arg(short, long, value_name = "FORM", value_parser = one_of(OBJECT_FORMS))]
    output: Option<Format>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    cluster: Cluster,
}

pub(super) async fn run(args: Args) -> Result<()> {
    let data_dir = args.cluster.data_dir.clone().map_or_else(DataDir::default_path, Ok)?;
    let shown = data_dir.display();
    let Some(running) = Running::read(&data_dir)? else {
        bail!("no cluster has run in {shown}; start one with `podium up`");
    };
    if holder(&data_dir)? == Holder::Nobody {
        bail!("the cluster in {shown} does not run; start it with `podium up --data-dir {shown}`");
    }
    let parts = parts(&running, args.name.as_deref());
    let services = if args.name.is_some() && !parts.is_empty() {
        Vec::new()
    } else {
        let cluster = Cluster { data_dir: Some(data_dir.clone()), ..args.cluster.clone() };
        services(&args, &cluster.open().await?, &running).await?
    };
    say(&match &args.output {
        Some(Format::Name) => names(&parts, &services),
        Some(format) => format.document(&document(&parts, &services))?,
        None => match (parts.as_slice(), services.as_slice()) {
            ([(_, address)], []) => format!("{address}\n"),
            (parts, services) => tables(parts, services),
        },
    })
}

/// A part of the cluster and its address.
type Part = (&'static str, String);

/// The parts of a cluster, or the one of this name.
fn parts(running: &Running, wanted: Option<&str>) -> Vec<Part> {
    let parts = [
        ("api", format!("https://{}", running.api)),
        ("registry", running.registry.clone()),
        ("gateway", format!("http://{}", running.gateway)),
        ("gateway-tls", format!("https://{}", running.gateway_tls)),
        ("node", format!("https://{}", running.node_api)),
    ];
    parts.into_iter().filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name)).collect()
}

fn document(parts: &[Part], services: &[Value]) -> Value {
    let addresses: serde_json::Map<String, Value> =
        parts.iter().map(|(name, address)| ((*name).to_owned(), json!(address))).collect();
    json!({"cluster": addresses, "services": services})
}

fn names(parts: &[Part], services: &[Value]) -> String {
    let parts = parts.iter().map(|(name, _)| format!("{name}\n"));
    let services = services.iter().map(|service| format!("service/{}\n", text(&service["name"])));
    parts.chain(services).collect()
}

fn tables(parts: &[Part], services: &[Value]) -> String {
    let mut out = String::new();
    if !parts.is_empty() {
        let mut grid = Grid::new(["PART", "ADDRESS"]);
        for (name, address) in parts {
            grid.row([*name, address]);
        }
        out = grid.render(0);
    }
    if services.is_empty() {
        return out;
    }
    if !out.is_empty() {
        out.push('\n');
    }
    let mut grid = Grid::new(["NAMESPACE", "SERVICE", "FROM HERE", "FROM PODS"]);
    for service in services {
        let from_here = service["fromHere"].as_array().into_iter().flatten();
        let from_here: Vec<&str> = from_here.map(text).collect();
        let from_here = if from_here.is_empty() { "<none>".into() } else { from_here.join(", ") };
        grid.row([
            text(&service["namespace"]),
            text(&service["name"]),
            &from_here,
            text(&service["fromPods"]),
        ]);
    }
    out.push_str(&grid.render(0));
    out
}

/// The Services that are asked for, with their addresses.
async fn services(args: &Args, session: &Session, running: &Running) -> Result<Vec<Value>> {
    let served = session.catalog().await?.find("services")?;
    // Without a name or a namespace it is a survey.
    let survey = args.name.is_none() && args.cluster.namespace.is_none();
    let selection = Selection {
        all_namespaces: survey || args.selection.all_namespaces,
        ..args.selection.clone()
    };
    let target = match &args.name {
        Some(name) => Target::One(served, name.clone()),
        None => Target::All(served),
    };
    let services = targets::objects(session, &[target], &selection).await?;
    let ingresses = session.catalog().await?.find("ingresses.networking.k8s.io")?;
    let ingresses = session.get(&ingresses.path(None, None)).await?;
    let mut ingresses = ingresses["items"].as_array().cloned().unwrap_or_default();
    // Those of a class that is not the gateway's have no address.
    ingresses.retain(|ingress| ingress["status"]["loadBalancer"]["ingress"].is_array());
    let wanted = |service: &&Value| {
        let selector = &service["spec"]["selector"];
        args.name.is_some() || selector.as_object().is_some_and(|selector| !selector.is_empty())
    };
    let services: Vec<Value> = services.into_iter().map(|(_, service)| service).collect();
    Ok(services
        .iter()
        .filter(wanted)
        .map(|service| addresses(service, &ingresses, running))
        .collect())
}

/// How a Service is reached: through the gateway and node ports, and from within.
fn addresses(service: &Value, ingresses: &[Value], running: &Running) -> Value {
    let metadata = &service["metadata"];
    let (name, namespace) = (text(&metadata["name"]), text(&metadata["namespace"]));
    let gateway = running.gateway.rsplit(':').next().unwrap_or_default();
    let mut from_here = Vec::new();
    let ports: Vec<&Value> = service["spec"]["ports"].as_array().into_iter().flatten().collect();
    let is_tcp =
        |port: &&&Value| port["protocol"].as_str().is_none_or(|protocol| protocol == "TCP");
    let first = ports.iter().find(is_tcp);
    if first.is_some() && text(&service["spec"]["clusterIP"]) != "None" {
        let host =
            if namespace == "default" { name.to_owned() } else { format!("{name}.{namespace}") };
        from_here.push(format!("http://{host}.localhost:{gateway}/"));
    }
    let gateway_tls = running.gateway_tls.rsplit(':').next().unwrap_or_default();
    for ingress in ingresses.iter().filter(|i| i["metadata"]["namespace"] == metadata["namespace"])
    {
        let tls: Vec<&Value> = ingress["spec"]["tls"].as_array().into_iter().flatten().collect();
        for rule in ingress["spec"]["rules"].as_array().into_iter().flatten() {
            for path in rule["http"]["paths"].as_array().into_iter().flatten() {
                if text(&path["backend"]["service"]["name"]) == name {
                    let host = rule["host"].as_str().unwrap_or("localhost");
                    let path = path["path"].as_str().unwrap_or("/");
                    from_here.push(format!("http://{host}:{gateway}{path}"));
                    let hosts = |tls: &&Value| tls["hosts"].as_array().cloned().unwrap_or_default();
                    if tls.iter().flat_map(hosts).any(|secured| secured == host) {
                        from_here.push(format!("https://{host}:{gateway_tls}{path}"));
                    }
                }
            }
        }
    }
    let node = running.gateway.rsplit_once(':').map_or("127.0.0.1", |(host, _)| host);
    for port in &ports {
        if let Some(number) = port["nodePort"].as_u64() {
            from_here.push(format!("{node}:{number}"));
        }
    }
    let port = first.and_then(|port| port["port"].as_u64());
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let from_pods = format!("{name}.{namespace}{port}");
    json!({"namespace": namespace, "name": name, "fromHere": from_here, "fromPods": from_pods})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Running {
        Running {
            api: "127.0.0.1:1".into(),
            registry: "127.0.0.1:2".into(),
            gateway: "127.0.0.1:8080".into(),
            gateway_tls: "127.0.0.1:8443".into(),
            node_api: "127.0.0.1:4".into(),
        }
    }

    #[test]
    fn a_part_that_is_named_is_alone_in_every_form() {
        let part = parts(&running(), Some("gateway"));
        let expected = json!({"cluster": {"gateway": "http://127.0.0.1:8080"}, "services": []});
        assert_eq!(document(&part, &[]), expected);
        assert_eq!(names(&part, &[]), "gateway\n");
        assert_eq!(parts(&running(), None).len(), 5);
        let none = parts(&running(), Some("web"));
        assert_eq!(names(&none, &[json!({"name": "web"})]), "service/web\n");
    }

    #[test]
    fn a_service_is_reached_by_its_name_its_ingresses_and_its_node_port() {
        let service = json!({"metadata": {"name": "web", "namespace": "team"},
            "spec": {"ports": [{"port": 80, "nodePort": 30080}]}});
        let ingress = json!({"metadata": {"namespace": "team"}, "spec": {"rules": [
            {"host": "web.example", "http": {"paths": [
                {"path": "/a", "backend": {"service": {"name": "web"}}},
                {"path": "/b", "backend": {"service": {"name": "other"}}}]}}]}});
        let found = addresses(&service, &[ingress], &running());
        let expected = json!([
            "http://web.team.localhost:8080/",
            "http://web.example:8080/a",
            "127.0.0.1:30080"
        ]);
        assert_eq!(found["fromHere"], expected);
        assert_eq!(found["fromPods"], "web.team:80");
    }
}
