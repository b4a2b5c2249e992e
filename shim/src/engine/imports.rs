//! What guests may import, and what one imports that it may not.
//!
//! Looked at before anything is compiled, so that a guest for another host is refused in
//! milliseconds and by the import's name. Whether each function of an interface has the right
//! type is the linker's business, later.
use registry::artifact::{Interface, Kind};
use wasmparser::{Parser, Payload};

/// The interfaces of WASI 0.2 that the node implements.
const INTERFACES: [&str; 29] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// The module of preview 1.
const PREVIEW_1: &str = "wasi_snapshot_preview1";

/// As many imports as an error names.
const NAMED: usize = 8;

/// What a guest imports: a component's interfaces; a module's functions, as `module::function`.
pub(super) fn imports(wasm: &[u8], interface: Interface) -> Vec<String> {
    if interface.kind == Kind::Component {
        return interface.imports.into_iter().collect();
    }
    let sections = Parser::new(0).parse_all(wasm).filter_map(|payload| match payload {
        Ok(Payload::ImportSection(section)) => Some(section),
        _ => None,
    });
    let imports = sections.flat_map(|section| section.into_imports());
    let named = imports.filter_map(|import| {
        let import = import.ok()?;
        Some(format!("{}::{}", import.module, import.name))
    });
    named.collect()
}

/// What of a guest's imports the node does not offer, in words; `None` if there is nothing.
pub(super) fn unmet(kind: Kind, imports: &[String]) -> Option<String> {
    let offered = |name: &str| match kind {
        Kind::Module => name.split("::").next() == Some(PREVIEW_1),
        Kind::Component => is_offered(name),
    };
    let missing: Vec<&str> =
        imports.iter().map(String::as_str).filter(|name| !offered(name)).collect();
    let first = missing.first()?;
    let mut names = missing.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    if missing.len() > NAMED {
        names.push_str(" and more");
    }
    let hint = if missing.iter().any(|name| name.starts_with("fermyon:spin/")) {
        "; that is an interface of Spin's own host: use those of WASI instead"
    } else if missing.iter().any(|name| name.starts_with("wasi:") && name.contains("@0.3.")) {
        "; WASI 0.3 is not run by this version: build it for WASI 0.2 (wasm32-wasip2)"
    } else if kind == Kind::Module && first.starts_with("env::") {
        "; it was built for another host: build it for wasm32-wasip1 or wasm32-wasip2"
    } else {
        ""
    };
    Some(format!("it imports {names}, which this node does not offer{hint}"))
}

/// Whether an import is one of ours, of any release of WASI 0.2: later ones only add.
fn is_offered(name: &str) -> bool {
    let Some((interface, version)) = name.split_once('@') else { return false };
    let patch = version.strip_prefix("0.2.");
    let released = patch.is_some_and(|patch| patch.bytes().all(|byte| byte.is_ascii_digit()));
    released && INTERFACES.contains(&interface)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn importing(kind: Kind, imports: &[&str]) -> Option<String> {
        let imports: Vec<String> = imports.iter().map(|name| (*name).to_owned()).collect();
        unmet(kind, &imports)
    }

    #[test]
    fn every_release_of_wasi_0_2_is_offered() {
        for version in ["0.2.0", "0.2.3", "0.2.8", "0.2.12", "0.2.99"] {
            let io = format!("wasi:io/streams@{version}");
            let http = format!("wasi:http/types@{version}");
            assert_eq!(importing(Kind::Component, &[&io, &http]), None, "{version}");
        }
        assert_eq!(importing(Kind::Module, &["wasi_snapshot_preview1::fd_write"]), None);
    }

    #[test]
    fn what_is_not_offered_is_named_with_what_to_do() {
        let said = |kind, name: &str| importing(kind, &[name]).unwrap();
        for (kind, name, hint) in [
            (Kind::Component, "fermyon:spin/variables@2.0.0", "Spin"),
            (Kind::Component, "wasi:cli/environment@0.3.0", "wasm32-wasip2"),
            (Kind::Component, "wasi:cli/environment@0.2.0-rc-2023-11-10", "does not offer"),
            (Kind::Component, "wasi:keyvalue/store@0.2.0-draft", "does not offer"),
            (Kind::Module, "env::abort", "another host"),
        ] {
            let said = said(kind, name);
            assert!(said.contains(name) && said.contains(hint), "{said}");
        }
        let many: Vec<String> = (0..20).map(|n| format!("a:b/c{n:02}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let said = importing(Kind::Component, &many).unwrap();
        assert!(said.contains("c07 and more") && !said.contains("c08"), "{said}");
    }
}
