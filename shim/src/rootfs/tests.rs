//! Root file systems from archives that are made here.
use std::io::Write as _;

use registry::manifest::Descriptor;
use tar::{Builder, EntryType, Header};

use super::*;

/// An archive of these entries: a name, and what it is.
fn archive(entries: &[(&str, Content<'_>)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        // By hand, as the library refuses what an attacker would write.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        let mut data: &[u8] = &[];
        let (kind, link) = match content {
            File(text) => {
                data = text.as_bytes();
                (EntryType::Regular, "")
            }
            Folder => (EntryType::Directory, ""),
            Link(target) => (EntryType::Symlink, *target),
            HardLink(target) => (EntryType::Link, *target),
            Device => (EntryType::Char, ""),
        };
        header.set_entry_type(kind);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }
    builder.into_inner().unwrap()
}

enum Content<'a> {
    File(&'a str),
    Folder,
    Link(&'a str),
    HardLink(&'a str),
    Device,
}
use Content::{Device, File, Folder, HardLink, Link};

struct Setting {
    folder: tempfile::TempDir,
    store: ContentStore,
}

impl Setting {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::open(folder.path().join("blobs")).unwrap();
        std::fs::write(folder.path().join("secret"), "of the host").unwrap();
        Self { folder, store }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    async fn layer(&self, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::of("a/layer", &bytes);
        self.store.put(bytes.into()).await.unwrap();
        descriptor
    }

    async fn unpack(&self, layers: Vec<Vec<u8>>) -> Result<u64, RootfsError> {
        let mut descriptors = Vec::new();
        for layer in layers {
            descriptors.push(self.layer(layer).await);
        }
        self.unpack_files(&Files::Layers(descriptors))
    }

    fn unpack_files(&self, files: &Files) -> Result<u64, RootfsError> {
        std::fs::create_dir(self.root()).unwrap();
        unpack(files, &self.store, &self.root())
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.root().join(name)).unwrap_or_else(|e| format!("{name}: {e}"))
    }

    fn has(&self, name: &str) -> bool {
        self.root().join(name).symlink_metadata().is_ok()
    }
}

#[tokio::test]
async fn layers_are_laid_over_each_other_and_whiteouts_delete_from_those_below() {
    let setting = Setting::new();
    let below = archive(&[
        ("app.wasm", File("old")),
        ("etc/", Folder),
        ("etc/gone", File("x")),
        ("etc/kept", File("kept")),
        ("cache/a", File("x")),
        ("cache/sub/b", File("x")),
        ("turned", File("into a folder")),
        ("dev/null", Device),
    ]);
    let above = archive(&[
        ("./app.wasm", File("new")),
        ("etc/.wh.gone", File("")),
        ("cache/sub/c", File("of this layer")),
        ("cache/.wh..wh..opq", File("")),
        ("turned/inside", File("x")),
    ]);

    let bytes = setting.unpack(vec![below, above]).await.unwrap();

    assert_eq!(bytes, 40);
    assert_eq!(setting.read("app.wasm"), "new");
    assert_eq!(setting.read("etc/kept"), "kept");
    assert_eq!(setting.read("cache/sub/c"), "of this layer");
    assert_eq!(setting.read("turned/inside"), "x");
    for gone in ["etc/gone", "etc/.wh.gone", "cache/a", "cache/sub/b", "dev/null"] {
        assert!(!setting.has(gone), "{gone}");
    }
}

#[tokio::test]
async fn any_compression_unpacks_to_the_same() {
    let plain = archive(&[("a", File("content"))]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let (first, second) = plain.split_at(700);
    let mut zstd = ruzstd::encoding::compress_to_vec(first, level);
    zstd.extend([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
    zstd.extend(ruzstd::encoding::compress_to_vec(second, level));
    for layer in [plain, gzip.finish().unwrap(), zstd] {
        let setting = Setting::new();
        setting.unpack(vec![layer]).await.unwrap();
        assert_eq!(setting.read("a"), "content");
    }
}

#[tokio::test]
async fn nothing_is_written_or_read_outside() {
    for name in ["../out", "a/../../out", "/../out", "a\\..\\out"] {
        let setting = Setting::new();
        let refused = setting.unpack(vec![archive(&[(name, File("x"))])]).await.unwrap_err();
        assert!(matches!(refused, RootfsError::Entry { .. }), "{name}: {refused}");
        assert!(refused.blames_image());
        assert!(!setting.folder.path().join("out").exists());
    }
    let setting = Setting::new();
    let host = setting.folder.path().display().to_string();
    let up = format!("{}out", "../".repeat(8));
    let links = archive(&[
        ("absolute", Link(&host)),
        ("absolute/a", File("x")),
        ("up", Link(&up)),
        ("up/b", File("x")),
        ("/etc/rooted", File("below the root")),
    ]);
    setting.unpack(vec![links]).await.unwrap();
    assert_eq!(setting.read("etc/rooted"), "below the root");
    assert_eq!(setting.read("out/b"), "x");
    assert!(!setting.folder.path().join("a").exists());
    let secret = archive(&[("mine", HardLink("../secret"))]);
    let refused = Setting::new().unpack(vec![secret]).await.unwrap_err();
    assert!(refused.to_string().contains("is not there"), "{refused}");
    let circle = archive(&[("a", Link("b")), ("b", Link("a")), ("a/x", File(""))]);
    let refused = Setting::new().unpack(vec![circle]).await.unwrap_err();
    assert!(refused.to_string().contains("circles"), "{refused}");
}

#[tokio::test]
async fn links_mean_what_they_meant_to_the_image() {
    let setting = Setting::new();
    let layer = archive(&[
        ("usr/lib/data", File("data")),
        ("usr/share/to-root", Link("/usr/lib")),
        ("lib", Link("usr/lib")),
        ("hard", HardLink("lib/data")),
    ]);
    setting.unpack(vec![layer]).await.unwrap();
    assert_eq!(setting.read("usr/share/to-root/data"), "data");
    assert_eq!(setting.read("lib/data"), "data");
    assert_eq!(setting.read("hard"), "data");

    let copied = setting.folder.path().join("copy");
    copy(&setting.root(), &copied).unwrap();
    std::fs::write(copied.join("usr/lib/data"), "changed").unwrap();
    std::fs::write(copied.join("hard"), "changed too").unwrap();
    assert_eq!(setting.read("lib/data"), "data");
    assert_eq!(std::fs::read(copied.join("usr/share/to-root/data")).unwrap(), b"changed");
}

#[tokio::test]
async fn what_is_no_archive_or_breaks_off_is_told_with_its_layer() {
    let whole = archive(&[("a", File("0123456789"))]);
    let bad = [b"nothing of the kind, but long enough ".repeat(20), whole[..515].to_vec()];
    for layer in bad {
        let digest = Digest::of(&layer).to_string();
        let refused = Setting::new().unpack(vec![layer]).await.unwrap_err();
        assert!(refused.to_string().contains(&digest), "{refused}");
        assert!(refused.blames_image());
    }
}

#[tokio::test]
async fn more_than_the_budget_is_refused() {
    let setting = Setting::new();
    std::fs::create_dir(setting.root()).unwrap();
    let layer = archive(&[("a", File("0123456789")), ("b/c", File("x"))]);
    let lay = |bytes, files| {
        let broken = |source| RootfsError::Archive { layer: String::new(), source };
        layer::lay(&setting.root(), layer.as_slice(), &mut Budget { bytes, files }, &broken)
    };
    assert!(matches!(lay(10, 100), Err(RootfsError::TooLarge { .. })));
    assert!(matches!(lay(100, 2), Err(RootfsError::TooLarge { .. })));
    lay(11, 3).unwrap();
}

#[tokio::test]
async fn each_spin_component_finds_its_files_wherever_they_came_from() {
    let setting = Setting::new();
    let single = setting.layer(b"a layer of its own".to_vec()).await;
    let bundle = archive(&[("any/name", File("bundled")), ("other", File("not asked for"))]);
    let bundle = setting.layer(bundle).await;
    let of = |component, path: &str, content| SpinFile { component, path: path.into(), content };
    let file = |path: &str, content| of(0, path, content);
    let files = vec![
        file("/static/single", SpinContent::Named(single.digest.clone())),
        file("bundled", SpinContent::Named(Digest::of(b"bundled"))),
        file("static/inline", SpinContent::Inline(b"inline".to_vec())),
        of(1, "bundled", SpinContent::Inline(b"another's".to_vec())),
    ];
    let layers = vec![single, bundle];
    setting.unpack_files(&Files::Spin { files, layers }).unwrap();
    assert_eq!(setting.read("0/static/single"), "a layer of its own");
    assert_eq!(setting.read("0/bundled"), "bundled");
    assert_eq!(setting.read("0/static/inline"), "inline");
    assert_eq!(setting.read("1/bundled"), "another's");
    assert!(!setting.has("0/other"));

    for (path, content) in [
        ("../out", SpinContent::Inline(Vec::new())),
        ("/", SpinContent::Inline(Vec::new())),
        ("missing", SpinContent::Named(Digest::of(b"nowhere"))),
    ] {
        let files = Files::Spin { files: vec![file(path, content)], layers: Vec::new() };
        let error = Setting::new().unpack_files(&files).unwrap_err();
        assert!(matches!(error, RootfsError::Entry { .. }), "{path}: {error}");
    }
}
