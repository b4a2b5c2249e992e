//! Manifests as users write them: files, directories, stdin; YAML or JSON, many documents.
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::UsageError;
use crate::api::yaml;

/// Bytes that a manifest may have: more than the API takes in hundreds of objects.
const MAX_SIZE: u64 = 64 << 20;

/// What a manifest's file is called.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Flags that name manifests.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Files {
    /// A manifest, a directory of manifests, or `-` for stdin; may be repeated.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    pub(super) files: Vec<PathBuf>,
    /// Look into the directories below, too.
    #[arg(short = 'R', long, requires = "files")]
    pub(super) recursive: bool,
}

/// An object and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    /// The object.
    pub(super) object: Value,
    /// `web.yaml, document 2`, for errors.
    pub(super) source: String,
}

impl Document {
    /// `Deployment "web"`, for errors.
    pub(super) fn what(&self) -> String {
        let kind = self.object["kind"].as_str().unwrap_or("object");
        let name = self.object["metadata"]["name"].as_str().unwrap_or_default();
        format!("{}: {kind} {name:?}", self.source)
    }
}

impl Files {
    /// Everything that they hold.
    pub(super) fn read(&self) -> Result<Vec<Document>> {
        let mut documents = Vec::new();
        for path in &self.files {
            if path.as_os_str() == "-" {
                let mut text = String::new();
                let stdin = std::io::stdin().lock().take(MAX_SIZE);
                std::io::BufReader::new(stdin).read_to_string(&mut text).context("read stdin")?;
                documents.extend(parse(&text, "stdin")?);
            } else {
                for file in files(path, self.recursive)? {
                    documents.extend(read(&file)?);
                }
            }
        }
        Ok(documents)
    }
}

/// The files of manifests that a path means: itself, or those in a directory, sorted.
pub(super) fn files(path: &Path, recursive: bool) -> Result<Vec<PathBuf>> {
    let text = path.to_string_lossy();
    if text.starts_with("http://") || text.starts_with("https://") {
        let how = "fetch it first, such as with `curl -O`, and look at what it will change";
        return Err(UsageError(format!("{text}: manifests are read from files only; {how}")).into());
    }
    let metadata = std::fs::metadata(path).with_context(|| format!("read {}", path.display()))?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut found = Vec::new();
    collect(path, recursive, &mut found)?;
    if found.is_empty() {
        bail!("{} has no .yaml, .yml or .json files", path.display());
    }
    Ok(found)
}

fn collect(dir: &Path, recursive: bool, found: &mut Vec<PathBuf>) -> Result<()> {
    let doing = || format!("read {}", dir.display());
    let entries = std::fs::read_dir(dir).with_context(doing)?;
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        paths.push(entry.with_context(doing)?.path());
    }
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if recursive {
                collect(&path, true, found)?;
            }
        } else if is_manifest(&path) {
            found.push(path);
        }
    }
    Ok(())
}

/// Whether a file is a manifest, by its name; editors' hidden files are none.
pub(super) fn is_manifest(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let extension = path.extension().and_then(|extension| extension.to_str());
    !name.starts_with('.') && extension.is_some_and(|e| EXTENSIONS.contains(&e))
}

/// The objects of a file.
pub(super) fn read(path: &Path) -> Result<Vec<Document>> {
    let doing = || format!("read {}", path.display());
    let size = std::fs::metadata(path).with_context(doing)?.len();
    if size > MAX_SIZE {
        bail!("{} has {size} bytes, more than {MAX_SIZE}; is it a manifest?", path.display());
    }
    let bytes = std::fs::read(path).with_context(doing)?;
    if bytes.starts_with(b"\0asm") {
        let how = format!("run it with `podium run {0}` or `podium up {0}`", path.display());
        bail!("{} is a Wasm file, not a manifest; {how}", path.display());
    }
    let text = String::from_utf8(bytes)
        .ok()
        .with_context(|| format!("{} is no text; a manifest is YAML or JSON", path.display()))?;
    parse(&text, &path.display().to_string())
}

/// The documents of a text: a line that begins with `---` is between two.
fn texts(text: &str) -> Vec<String> {
    let mut texts = vec![String::new()];
    for line in text.split_inclusive('\n') {
        let (last, rest) = (texts.last_mut().expect("there is one"), line.strip_prefix("---"));
        match rest {
            Some(rest) if rest.is_empty() || rest.starts_with(char::is_whitespace) => {
                // What stands before the first line of that kind is no document unless it says something.
                if texts.len() > 1 || says_something(&texts[0]) {
                    texts.push(rest.to_owned());
                } else {
                    texts[0] = rest.to_owned();
                }
            }
            _ => last.push_str(line),
        }
    }
    texts
}

fn says_something(text: &str) -> bool {
    text.lines().any(|line| !line.trim().is_empty() && !line.starts_with(['#', '%']))
}

/// The objects of a text of one or more documents.
fn parse(text: &str, from: &str) -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    for (i, text) in texts(text).iter().enumerate() {
        let source = format!("{from}, document {}", i + 1);
        let value = yaml::from_str::<Value>(text).with_context(|| source.clone())?;
        match value {
            Value::Null => {}
            Value::Object(mut list) if list.get("kind").is_some_and(is_list) => {
                let items = list.get_mut("items").map(Value::take).unwrap_or_default();
                for (j, object) in
                    items.as_array().cloned().unwrap_or_default().into_iter().enumerate()
                {
                    documents
                        .push(Document { object, source: format!("{source}, item {}", j + 1) });
                }
            }
            object @ Value::Object(_) => documents.push(Document { object, source }),
            _ => bail!("{source}: a manifest is an object with apiVersion and kind"),
        }
    }
    if documents.is_empty() {
        bail!("{from} has no objects");
    }
    Ok(documents)
}

fn is_list(kind: &Value) -> bool {
    kind == "List"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        format!("{:#}", parse(text, "all.yaml").unwrap_err())
    }

    #[test]
    fn a_file_may_have_several_documents_and_lists() {
        let text = "---\nkind: A\n---\n---\nkind: List\nitems: [{kind: B}, {kind: C}]\n";
        let found = parse(text, "all.yaml").unwrap();
        let kinds: Vec<_> = found.iter().map(|document| &document.object["kind"]).collect();
        assert_eq!(kinds, ["A", "B", "C"]);
        assert_eq!(found[2].source, "all.yaml, document 3, item 2");
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_place() {
        assert!(error("kind: A\n---\na: [\n").contains("all.yaml, document 2"));
        assert!(error("# nothing\n").contains("all.yaml has no objects"));
        assert!(error("a: 1\na: 2\n").contains("duplicate"), "{}", error("a: 1\na: 2\n"));
        assert!(error("just text\n").contains("apiVersion and kind"));
    }

    #[test]
    fn a_directory_means_its_manifests_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.json", "notes.txt", ".hidden.yaml", "sub/c.yml"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "kind: A\n").unwrap();
        }
        let names = |recursive| -> Vec<String> {
            let found = files(folder.path(), recursive).unwrap();
            let name =
                |path: &PathBuf| path.strip_prefix(folder.path()).unwrap().display().to_string();
            found.iter().map(name).collect()
        };
        assert_eq!(names(false), ["a.json", "b.yaml"]);
        assert_eq!(names(true), ["a.json", "b.yaml", "sub/c.yml"]);
        let empty = files(&folder.path().join("sub/none"), false).unwrap_err();
        assert!(empty.to_string().starts_with("read "), "{empty}");
    }

    #[test]
    fn urls_and_wasm_files_are_refused_with_the_next_step() {
        let error = files(Path::new("https://example.com/a.yaml"), false).unwrap_err();
        assert!(error.is::<UsageError>() && error.to_string().contains("curl -O"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        std::fs::write(&path, b"\0asm\x01\0\0\0").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("podium run"));
    }
}
