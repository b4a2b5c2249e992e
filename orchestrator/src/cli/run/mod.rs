//! `podium run IMAGE|FILE`: runs an artifact without a manifest.
//!
//! A Deployment (with a Service, if it listens), a Job or a Pod, as `--restart` says in
//! kubectl's words; with `--rm` a Pod that runs [`once`].
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::value_parser;
use http::Method;
use registry::Reference;
use serde_json::Value;

use crate::cli::artifact::{Guest, image_name};
use crate::cli::data_dir::{DataDir, Running};
use crate::cli::generate::{FUNCTION_PORT, Workload};
use crate::cli::output::{Format, OBJECT_FORMS, Report, one_of};
use crate::cli::session::{Body, Cluster, Query, Session};
use crate::cli::targets::text;
use crate::cli::{UsageError, duration, progress, push, say};
use crate::client::discovery::nearest;

mod once;

use once::Once;

/// Flags of `podium run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An image, or a .wasm file, which is pushed into the cluster's registry.
    #[arg(value_name = "IMAGE|FILE")]
    image: String,
    /// Arguments of the guest.
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<String>,
    /// The name of the objects; the image's if none is given.
    #[arg(long)]
    name: Option<String>,
    /// Always makes a Deployment, OnFailure a Job, Never a Pod.
    #[arg(long, value_name = "POLICY", value_parser = ["Always", "OnFailure", "Never"])]
    restart: Option<String>,
    /// A variable of its environment; may be repeated.
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Where it listens: a Service is made before it. A function of a file listens on 8080.
    #[arg(long, value_parser = value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// How many.
    #[arg(long, value_parser = value_parser!(u32).range(..=i64::from(i32::MAX)))]
    replicas: Option<u32>,
    /// Labels, such as `tier=web,team=a`.
    #[arg(short, long, value_name = "NAME=VALUE,…", value_delimiter = ',')]
    labels: Vec<String>,
    /// Limits, such as `cpu=200m,memory=32Mi`.
    #[arg(long, value_name = "NAME=QUANTITY,…", value_delimiter = ',')]
    limits: Vec<String>,
    /// Run a Pod once, print its log and delete it; its exit code is this command's.
    #[arg(long, conflicts_with_all = ["replicas", "port", "output"])]
    rm: bool,
    /// With --rm: how long it may take to start, such as `60s`.
    #[arg(long, value_parser = duration::parse, default_value = "60s")]
    timeout: Duration,
    /// Print the objects (json, yaml) and make nothing.
    #[arg(long)]
    dry_run: bool,
    /// json, yaml, name or jsonpath=TEMPLATE
    #[arg(short, long, value_name = "FORM", value_parser = one_of(OBJECT_FORMS))]
    output: Option<Format>,
    #[command(flatten)]
    cluster: Cluster,
}

/// What `--restart` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Deployment,
    Job,
    Pod,
}

pub(super) async fn run(args: Args) -> Result<ExitCode> {
    let shape = shape(&args)?;
    let file = file(&args.image)?;
    let guest = file.as_deref().map(Guest::read).transpose()?;
    if let Some(guest) = &guest {
        guest.must_run()?;
    }
    let mut workload = workload(&args, guest.as_ref())?;
    if args.dry_run {
        let made = objects(&workload, shape);
        if !matches!(args.output, Some(Format::Name)) {
            say(&args.output.as_ref().unwrap_or(&Format::Yaml).objects(&made)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let session = args.cluster.open().await?;
        for object in &made {
            let served = session.resource_of(object).await?;
            say(&format!("{}\n", served.slashed(text(&object["metadata"]["name"]))))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let session = args.cluster.open().await?;
    let data_dir = args.cluster.data_dir.clone().map_or_else(DataDir::default_path, Ok)?;
    if let Some(guest) = &guest {
        let name = guest.name()?;
        // By digest: other contents under the same name roll out.
        workload.image = format!("{name}@{}", guest.digest());
        // What will be refused moves no tag.
        for object in objects(&workload, shape) {
            create(&session, &object, "All").await?;
        }
        let reference = push::to_registry(&data_dir, guest, &name).await?;
        progress(&format!("pushed {reference}"));
    }
    let url = match Running::read(&data_dir)? {
        Some(running) if workload.port.is_some() => Some(url(&session, &workload, &running)),
        _ => None,
    };
    if args.rm {
        let (workload, known) = (&workload, guest.is_some());
        let once = Once { session: &session, workload, timeout: args.timeout, known, url };
        return once.run().await;
    }
    let mut report = Report::new(&args.output);
    for object in objects(&workload, shape) {
        let (slashed, _, object) = create(&session, &object, "").await?;
        report.add(&slashed, "created", object)?;
    }
    report.end()?;
    if let (None, Some(url)) = (&args.output, url) {
        say(&format!("\n{url}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the gateway serves a workload.
fn url(session: &Session, workload: &Workload, running: &Running) -> String {
    let name = &workload.name;
    let host = match session.namespace.as_str() {
        "default" => name.clone(),
        namespace => format!("{name}.{namespace}"),
    };
    let port = running.gateway.rsplit(':').next().unwrap_or_default();
    format!("http://{host}.localhost:{port}/")
}

fn shape(args: &Args) -> Result<Shape> {
    let shape = match args.restart.as_deref() {
        Some("OnFailure") => Shape::Job,
        Some("Never") => Shape::Pod,
        Some(_) if args.rm => {
            bail!(UsageError("--rm runs once: --restart Always excludes it".into()))
        }
        None if args.rm => Shape::Pod,
        _ => Shape::Deployment,
    };
    if shape != Shape::Deployment && (args.replicas.is_some() || args.port.is_some()) {
        let why = "--replicas and --port belong to a Deployment: leave out --restart";
        bail!(UsageError(why.into()));
    }
    Ok(shape)
}

/// The .wasm file that a word means; none if it is an image.
fn file(word: &str) -> Result<Option<PathBuf>> {
    let path = Path::new(word);
    let meant = path.extension().is_some_and(|extension| extension == "wasm")
        || word.starts_with('.')
        || path.is_absolute();
    if !meant {
        return Ok(None);
    }
    if !path.exists() {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let entries = std::fs::read_dir(folder.unwrap_or(Path::new(".")));
        let names = entries.into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let wanted = path.file_name().unwrap_or_default().to_string_lossy();
        let near = nearest(&wanted, names.filter(|name| name.ends_with(".wasm")));
        let hint = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
        bail!("there is no file {word}{hint}");
    }
    Ok(Some(path.to_path_buf()))
}

fn workload(args: &Args, guest: Option<&Guest>) -> Result<Workload> {
    let name = match (&args.name, guest) {
        (Some(name), _) => name.clone(),
        (None, Some(guest)) => guest.name()?,
        // `registry:5001/team/web:v2` is `web`.
        (None, None) => {
            let repository = args.image.split('@').next().unwrap_or_default();
            let last = repository.rsplit('/').next().unwrap_or_default();
            image_name(Path::new(last.split(':').next().unwrap_or_default()))
                .map_err(|error| UsageError(format!("{error}; name it with --name")))?
        }
    };
    if guest.is_none()
        && let Err(error) = Reference::resolve(&args.image, &["localhost".to_owned()])
    {
        bail!(UsageError(format!("{:?} is neither an image nor a file: {error}", args.image)));
    }
    let function = guest.is_some_and(|guest| guest.function);
    let listens = function && (args.rm || shape(args)? == Shape::Deployment);
    Ok(Workload {
        name,
        image: args.image.clone(),
        port: args.port.or(listens.then_some(FUNCTION_PORT)),
        replicas: args.replicas,
        env: pairs("--env", &args.env)?,
        labels: pairs("--labels", &args.labels)?.into_iter().collect(),
        args: args.args.clone(),
        limits: pairs("--limits", &args.limits)?.into_iter().collect::<BTreeMap<_, _>>(),
    })
}

fn pairs(flag: &str, words: &[String]) -> Result<Vec<(String, String)>> {
    let pair = |word: &String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(UsageError(format!("{flag} {word:?}: say NAME=VALUE")).into()),
    };
    words.iter().map(pair).collect()
}

fn objects(workload: &Workload, shape: Shape) -> Vec<Value> {
    match shape {
        Shape::Deployment => workload.deployment(),
        Shape::Job => vec![workload.job()],
        Shape::Pod => vec![workload.pod()],
    }
}

/// Creates an object, or with `dry_run` asks whether it could be; answers its name, its path
/// and itself.
async fn create(
    session: &Session,
    object: &Value,
    dry_run: &str,
) -> Result<(String, String, Value)> {
    let served = session.resource_of(object).await?;
    let name = text(&object["metadata"]["name"]);
    let query = Query::default()
        .with("fieldValidation", "Strict")
        .with("fieldManager", "podium")
        .with("dryRun", dry_run);
    let collection = query.on(&served.path(Some(&session.namespace), None));
    let made = session.send(Method::POST, &collection, Body::Json(object));
    let slashed = served.slashed(name);
    let made = made.await.map_err(|error| match error.code() {
        409 => anyhow::anyhow!(
            "{slashed} is there already; choose another --name, or delete it with `podium delete {slashed}`; `podium push FILE NAME:TAG` and `podium set image` give it another version"
        ),
        _ => error.into(),
    })?;
    Ok((slashed, served.path(Some(&session.namespace), Some(name)), made))
}
