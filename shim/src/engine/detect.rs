//! What an artifact is, read from its exports before anything is compiled.
use wasmparser::{Encoding, ExternalKind, Parser, Payload};

/// How an artifact is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A component that exports `wasi:http/incoming-handler`: called per request.
    Function,
    /// A component that exports `wasi:cli/run`.
    Program,
    /// A core module with `_start`, over WASI preview 1.
    Module,
}

/// Why an artifact is nothing that can be run.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// Something else altogether.
    #[error("it is not WebAssembly: it does not begin with \\0asm")]
    NotWasm,
    /// It breaks off or is malformed.
    #[error("it is broken WebAssembly")]
    Malformed(#[source] wasmparser::BinaryReaderError),
    /// A component with neither entry point; its exports.
    #[error(
        "the component exports neither wasi:http/incoming-handler (a function) nor wasi:cli/run (a program), but {0}"
    )]
    NoComponentEntry(String),
    /// A component of a WASI that is newer than ours; the entry point it has.
    #[error(
        "the component exports {0}: WASI 0.3 is not run by this version; build it for WASI 0.2 (wasm32-wasip2)"
    )]
    NewerWasi(String),
    /// A core module without entry point.
    #[error(
        "the core module has no _start export; a library or a module for another host cannot be run"
    )]
    NoStart,
}

/// The WIT interface of functions, any 0.2 version.
const HTTP_HANDLER: &str = "wasi:http/incoming-handler@0.2.";

/// The WIT interface of programs, any 0.2 version.
const CLI_RUN: &str = "wasi:cli/run@0.2.";

/// Entry points of WASI 0.3.
const NEWER: [&str; 3] =
    ["wasi:http/handler@0.3.", "wasi:http/incoming-handler@0.3.", "wasi:cli/run@0.3."];

/// As many exports as an error names.
const NAMED_EXPORTS: usize = 8;

/// Tells what `wasm` is from its outermost exports.
pub fn detect(wasm: &[u8]) -> Result<Kind, DetectError> {
    if !wasm.starts_with(b"\0asm") {
        return Err(DetectError::NotWasm);
    }
    let (encoding, exports) = outer_exports(wasm).map_err(DetectError::Malformed)?;
    let has = |wanted: &str| exports.iter().any(|name| name.starts_with(wanted));
    match encoding {
        Encoding::Component if has(HTTP_HANDLER) => Ok(Kind::Function),
        Encoding::Component if has(CLI_RUN) => Ok(Kind::Program),
        Encoding::Component => {
            let newer = |name: &&String| NEWER.iter().any(|newer| name.starts_with(newer));
            Err(match exports.iter().find(newer) {
                Some(newer) => DetectError::NewerWasi(newer.clone()),
                None => DetectError::NoComponentEntry(named(&exports)),
            })
        }
        Encoding::Module if exports.iter().any(|name| name == "_start") => Ok(Kind::Module),
        Encoding::Module => Err(DetectError::NoStart),
    }
}

fn named(exports: &[String]) -> String {
    match exports {
        [] => "nothing".to_owned(),
        few if few.len() <= NAMED_EXPORTS => few.join(", "),
        many => format!("{} and more", many[..NAMED_EXPORTS].join(", ")),
    }
}

fn outer_exports(wasm: &[u8]) -> Result<(Encoding, Vec<String>), wasmparser::BinaryReaderError> {
    let mut outer = Encoding::Module;
    let mut depth = 0_usize;
    let mut exports = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::Version { encoding, .. } => {
                if depth == 0 {
                    outer = encoding;
                }
                depth += 1;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ExportSection(section) if depth == 1 => {
                for export in section {
                    let export = export?;
                    if export.kind == ExternalKind::Func {
                        exports.push(export.name.to_owned());
                    }
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((outer, exports))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module of one empty function exported under a name.
    fn module(export: &str) -> Vec<u8> {
        let mut wasm = b"\0asm\x01\0\0\0".to_vec();
        wasm.extend(b"\x01\x04\x01\x60\0\0\x03\x02\x01\0");
        let length = export.len() as u8;
        wasm.extend([7, length + 4, 1, length]);
        wasm.extend(export.bytes());
        wasm.extend(b"\0\0\x0a\x04\x01\x02\0\x0b");
        wasm
    }

    #[test]
    fn a_core_module_with_start_is_a_program_of_preview_1() {
        assert_eq!(detect(&module("_start")).unwrap(), Kind::Module);
    }

    #[test]
    fn a_module_without_start_is_refused_in_words() {
        let refused = detect(&module("add")).unwrap_err();
        assert!(refused.to_string().contains("_start"), "{refused}");
    }

    #[test]
    fn a_component_without_entry_is_refused_with_what_it_exports() {
        let refused = detect(b"\0asm\x0d\0\x01\0").unwrap_err();
        assert!(refused.to_string().ends_with("but nothing"), "{refused}");
    }

    #[test]
    fn what_is_not_wasm_and_what_breaks_off_is_told_apart() {
        assert!(matches!(detect(b"#!/bin/sh"), Err(DetectError::NotWasm)));
        let whole = module("_start");
        assert!(matches!(detect(&whole[..whole.len() - 3]), Err(DetectError::Malformed(_))));
    }
}
