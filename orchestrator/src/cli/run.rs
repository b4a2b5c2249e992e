//! `podium run IMAGE|FILE`: runs an artifact without a manifest.
//!
//! A Deployment (with a Service, if it listens), a Job or a Pod, as `--restart` says in
//! kubectl's words. With `--rm` a Pod runs once: its log is printed, its exit code is
//! the command's, and it is gone afterwards.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::{AsyncReadExt as _, TryFutureExt as _};
use http::Method;
use registry::Reference;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::artifact::{Guest, image_name};
use super::data_dir::{DataDir, Running};
use super::generate::{FUNCTION_PORT, Workload};
use super::output::Format;
use super::session::{Body, Cluster, Query, Session};
use super::targets::text;
use super::{UsageError, delete, duration, events, progress, push, say, say_bytes, trouble};
use crate::client::discovery::nearest;

/// How often a Pod is looked at.
const POLL: Duration = Duration::from_millis(20);

/// As much of a log as is copied at once.
const PIECE: usize = 16 << 10;

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
    #[arg(long)]
    port: Option<u16>,
    /// How many.
    #[arg(long)]
    replicas: Option<u32>,
    /// Labels, such as `tier=web,team=a`.
    #[arg(short, long, value_name = "NAME=VALUE,…", value_delimiter = ',')]
    labels: Vec<String>,
    /// Limits, such as `cpu=200m,memory=32Mi`.
    #[arg(long, value_name = "NAME=QUANTITY,…", value_delimiter = ',')]
    limits: Vec<String>,
    /// Run a Pod once, print its log and delete it; its exit code is this command's.
    #[arg(long, conflicts_with_all = ["replicas", "port"])]
    rm: bool,
    /// With --rm: how long it may take to start, such as `60s`.
    #[arg(long, value_parser = duration::parse, default_value = "60s")]
    timeout: Duration,
    /// Print the objects (json, yaml) and make nothing.
    #[arg(long)]
    dry_run: bool,
    /// json, yaml, name or jsonpath=…
    #[arg(short, long, value_name = "FORM")]
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
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects(&workload, shape)});
        let format = args.output.clone().unwrap_or(Format::Yaml);
        say(&format.document(&list)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let session = args.cluster.open().await?;
    let data_dir = args.cluster.data_dir.clone().map_or_else(DataDir::default_path, Ok)?;
    if let Some(guest) = &guest {
        let name = guest.name()?;
        let reference = push::to_registry(&data_dir, guest, &name).await?;
        progress(&format!("pushed {reference}"));
        // By digest: other contents under the same name roll out.
        workload.image = format!("{name}@{}", guest.digest());
    }
    if args.rm {
        return once(&args, &session, workload).await;
    }
    for object in objects(&workload, shape) {
        create(&args, &session, &object).await?;
    }
    if let Some(running) = Running::read(&data_dir)?
        && workload.port.is_some()
        && shape == Shape::Deployment
        && args.output.is_none()
    {
        let host = match session.namespace.as_str() {
            "default" => workload.name,
            namespace => format!("{}.{namespace}", workload.name),
        };
        let port = running.gateway.rsplit(':').next().unwrap_or_default();
        say(&format!("\nhttp://{host}.localhost:{port}/\n"))?;
    }
    Ok(ExitCode::SUCCESS)
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
    let function = guest.is_some_and(|guest| guest.function) && !args.rm;
    let listens = function && shape(args)? == Shape::Deployment;
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

/// Creates an object; answers its path.
async fn create(args: &Args, session: &Session, object: &Value) -> Result<String> {
    let served = session.resource_of(object).await?;
    let name = text(&object["metadata"]["name"]);
    let query = Query::default().with("fieldValidation", "Strict").with("fieldManager", "podium");
    let collection = query.on(&served.path(Some(&session.namespace), None));
    let made = session.send(Method::POST, &collection, Body::Json(object));
    let slashed = served.slashed(name);
    let made = made.map_err(|error| match error.code() {
        409 => anyhow::anyhow!(
            "{slashed} is there already; choose another --name, or delete it with `podium delete {slashed}`"
        ),
        _ => error.into(),
    });
    let made = made.await?;
    if !args.rm {
        say(&match args.output.as_ref() {
            None | Some(Format::Table | Format::Wide) => format!("{slashed} created\n"),
            Some(Format::Name) => format!("{slashed}\n"),
            Some(format) => format.document(&made)?,
        })?;
    }
    Ok(served.path(Some(&session.namespace), Some(name)))
}

/// Runs a Pod once; Ctrl-C ends it.
async fn once(args: &Args, session: &Session, workload: Workload) -> Result<ExitCode> {
    let path = create(args, session, &workload.pod()).await?;
    let outcome = tokio::select! {
        outcome = watch_over(args, session, &path) => outcome,
        stopped = crate::platform::stop_signal() => {
            stopped.context("listen for signals").and_then(|()| bail!("interrupted"))
        }
    };
    let gone = delete::quietly(session, &path).await;
    let code = outcome?;
    gone?;
    Ok(ExitCode::from(code))
}

/// Prints the log of a Pod until it ends; answers its exit code.
async fn watch_over(args: &Args, session: &Session, path: &str) -> Result<u8> {
    let deadline = Instant::now() + args.timeout;
    loop {
        let pod = session.get(path).await?;
        let state = &pod["status"]["containerStatuses"][0]["state"];
        if state["running"].is_object() || state["terminated"].is_object() {
            break;
        }
        if let Some(trouble) = trouble::of_pod(&pod).filter(|trouble| !trouble.may_pass()) {
            bail!("it does not start: {trouble}");
        }
        if Instant::now() > deadline {
            let last = events::about(session, &pod).await?.pop();
            let why = last.map(|event| events::message(&event)).unwrap_or_default();
            bail!("it does not start within {:?}: {why}", args.timeout);
        }
        sleep(POLL).await;
    }
    let mut log = Box::pin(session.stream(&format!("{path}/log?follow=true")).await?);
    let mut piece = vec![0; PIECE];
    loop {
        match log.read(&mut piece).await.context("read the log")? {
            0 => break,
            n => say_bytes(&piece[..n])?,
        }
    }
    loop {
        let pod = session.get(path).await?;
        let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
        if ended.is_object() {
            let code = ended["exitCode"].as_i64().unwrap_or(1);
            let reason = text(&ended["reason"]);
            if code != 0 && reason != "Error" {
                progress(&format!("{reason}: {}", text(&ended["message"])));
            }
            return Ok(u8::try_from(code).unwrap_or(1));
        }
        sleep(POLL).await;
    }
}
