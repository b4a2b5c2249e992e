use super::*;

/// A component's least bytes that can be run: a module with an empty `_start`.
const PROGRAM: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x0a\x01\x06_start\0\0\x0a\x04\x01\x02\0\x0b";

/// The same with a custom section: other contents.
fn other_program() -> Vec<u8> {
    [PROGRAM, b"\0\x02\x01x"].concat()
}

fn pod(image: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec: {{containers: [{{name: c, image: {image:?}}}]}}\n"
    )
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path
    }

    fn files(&self) -> Files {
        Files { files: vec![self.0.path().to_path_buf()], recursive: false }
    }
}

fn image(desired: &Desired) -> String {
    let objects = desired.objects();
    objects[0].object["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
}

#[test]
fn an_image_that_a_file_beside_it_has_is_that_file_by_digest() {
    let folder = Folder::new();
    folder.write("hello.wasm", PROGRAM);
    for named in ["hello", "hello:latest", "./hello.wasm"] {
        folder.write("pod.yaml", pod(named));
        let found = image(&Desired::read(None, &folder.files()).unwrap());
        assert!(found.starts_with("hello@sha256:"), "{named}: {found}");
    }
    for foreign in ["registry.example/hello", "other", "hello@sha256:x"] {
        folder.write("pod.yaml", pod(foreign));
        assert_eq!(image(&Desired::read(None, &folder.files()).unwrap()), foreign);
    }
}

#[test]
fn other_contents_are_another_image() {
    let folder = Folder::new();
    folder.write("hello.wasm", PROGRAM);
    folder.write("pod.yaml", pod("hello"));
    let before = Desired::read(None, &folder.files()).unwrap();
    folder.write("hello.wasm", other_program());
    let mut complaints = Vec::new();
    let after = before.next(None, &folder.files(), &mut complaints).unwrap();
    assert!(complaints.is_empty());
    assert_ne!(image(&before), image(&after));
}

#[test]
fn what_cannot_be_read_any_more_stays_as_it_was() {
    let folder = Folder::new();
    folder.write("hello.wasm", PROGRAM);
    folder.write("pod.yaml", pod("hello"));
    let before = Desired::read(None, &folder.files()).unwrap();
    folder.write("pod.yaml", "a: [");
    folder.write("hello.wasm", "not Wasm");
    let mut complaints = Vec::new();
    let after = before.next(None, &folder.files(), &mut complaints).unwrap();
    assert_eq!(complaints.len(), 2);
    assert_eq!(image(&before), image(&after));
    let error = Desired::read(None, &folder.files()).err().unwrap();
    assert!(format!("{error:#}").contains("pod.yaml"), "{error:#}");
}

#[test]
fn a_file_alone_is_a_deployment_and_a_guest_that_nobody_runs_is_told() {
    let folder = Folder::new();
    let path = folder.write("worker.wasm", PROGRAM);
    let alone = Desired::read(Some(&path), &Files::default()).unwrap();
    assert_eq!(alone.objects()[0].object["kind"], "Deployment");
    assert_eq!(alone.function(), None);
    folder.write("pod.yaml", pod("elsewhere"));
    let beside = Desired::read(None, &folder.files()).unwrap();
    assert_eq!(beside.idle(), ["worker"]);
}

#[test]
fn what_is_mended_or_gone_is_told_once() {
    let folder = Folder::new();
    folder.write("app.wasm", PROGRAM);
    folder.write("pod.yaml", pod("app:latest"));
    let read = |before: &Desired| {
        let mut complaints = Vec::new();
        let next = before.next(None, &folder.files(), &mut complaints).unwrap();
        (next, complaints.len())
    };
    let first = Desired::read(None, &folder.files()).unwrap();
    folder.write("pod.yaml", "a: [");
    folder.write("app.wasm", "x");
    let (broken, complaints) = read(&first);
    assert_eq!((complaints, broken.news(&first)), (2, Vec::new()));
    folder.write("pod.yaml", pod("app:latest"));
    folder.write("app.wasm", PROGRAM);
    let (mended, _) = read(&broken);
    let news = mended.news(&broken).join("\n");
    assert!(news.contains("app.wasm can be read again"), "{news}");
    assert!(news.contains("pod.yaml can be read again"), "{news}");
    std::fs::remove_file(folder.0.path().join("app.wasm")).unwrap();
    let (gone, _) = read(&mended);
    let news = gone.news(&mended).join("\n");
    assert!(news.contains("app.wasm is gone: the image app is what the registry has"), "{news}");
    assert!(read(&gone).0.news(&gone).is_empty());
}
