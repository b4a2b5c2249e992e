//! What a `.wasm` file is: module or component, and the names it imports and exports.
use std::collections::BTreeSet;

use wasmparser::{Encoding, Parser, Payload};

/// What every `.wasm` file begins with.
pub const MAGIC: &[u8; 4] = b"\0asm";

/// Module or component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A core module.
    Module,
    /// A component.
    Component,
}

/// What a `.wasm` file says of itself, without its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Module or component.
    pub kind: Kind,
    /// Names it wants: interfaces of a component, modules of a module.
    pub imports: BTreeSet<String>,
    /// Names it offers.
    pub exports: BTreeSet<String>,
}

/// A file that is not Wasm.
#[derive(Debug, thiserror::Error)]
pub enum WasmError {
    /// It begins otherwise.
    #[error("it does not begin with the Wasm magic number{}", looks_like(.0))]
    Magic(Vec<u8>),
    /// It begins as Wasm and goes on as something else.
    #[error("it is broken")]
    Broken(#[source] wasmparser::BinaryReaderError),
    /// It ends within its first eight bytes.
    #[error("it is cut short")]
    CutShort,
}

impl Interface {
    /// Reads the outermost sections of a file.
    pub fn read(file: &[u8]) -> Result<Self, WasmError> {
        kind(file)?;
        let mut found =
            Self { kind: Kind::Module, imports: BTreeSet::new(), exports: BTreeSet::new() };
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(file) {
            match payload.map_err(WasmError::Broken)? {
                Payload::Version { encoding, .. } => {
                    depth += 1;
                    if depth == 1 && encoding == Encoding::Component {
                        found.kind = Kind::Component;
                    }
                }
                Payload::End(_) => depth = depth.saturating_sub(1),
                payload if depth == 1 => found.note(payload).map_err(WasmError::Broken)?,
                _ => {}
            }
        }
        Ok(found)
    }

    fn note(&mut self, payload: Payload<'_>) -> Result<(), wasmparser::BinaryReaderError> {
        match payload {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    self.imports.insert(import?.module.to_owned());
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    self.exports.insert(export?.name.to_owned());
                }
            }
            Payload::ComponentImportSection(imports) => {
                for import in imports {
                    self.imports.insert(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports {
                    self.exports.insert(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The WASI world that its exports speak of, such as `wasi:http/proxy@0.2.0`.
    pub fn target(&self) -> Option<String> {
        let worlds = [
            ("wasi:http/incoming-handler", "wasi:http/proxy"),
            ("wasi:cli/run", "wasi:cli/command"),
        ];
        worlds.iter().find_map(|(interface, world)| {
            let versions = self.exports.iter().filter_map(|name| name.strip_prefix(interface));
            let version = versions.into_iter().find(|v| v.is_empty() || v.starts_with('@'))?;
            Some(format!("{world}{version}"))
        })
    }
}

/// Tells a module from a component by the first eight bytes of a file.
pub fn kind(start: &[u8]) -> Result<Kind, WasmError> {
    if !start.starts_with(MAGIC) {
        return Err(WasmError::Magic(start.iter().copied().take(8).collect()));
    }
    // Version, then layer: 0 for modules, 1 for components.
    match start.get(6..8) {
        Some([0, 0]) => Ok(Kind::Module),
        Some(_) => Ok(Kind::Component),
        None => Err(WasmError::CutShort),
    }
}

/// Names the files that people take for Wasm by mistake.
fn looks_like(start: &[u8]) -> &'static str {
    match start {
        [] => "; it is empty",
        [0x7f, b'E', b'L', b'F', ..] => "; it is a native ELF executable",
        [b'M', b'Z', ..] => "; it is a native Windows executable",
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] => "; it is a native macOS executable",
        [b'(', ..] => "; it looks like WebAssembly text, which must be assembled first",
        [0x1f, 0x8b, ..] => "; it is compressed with gzip",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_wasm_is_told_with_what_it_looks_like() {
        let said = |file: &[u8]| Interface::read(file).unwrap_err().to_string();
        assert!(said(b"\x7fELF\x02\x01\x01\0").contains("ELF"));
        assert!(said(b"(module)").contains("text"));
        assert!(said(b"").contains("empty"));
        assert!(matches!(Interface::read(b"\0asm\x01"), Err(WasmError::CutShort)));
        assert!(matches!(Interface::read(b"\0asm\x01\0\0\0\xff\xff"), Err(WasmError::Broken(_))));
    }

    #[test]
    fn an_empty_module_and_an_empty_component_are_told_apart() {
        assert_eq!(Interface::read(b"\0asm\x01\0\0\0").unwrap().kind, Kind::Module);
        assert_eq!(Interface::read(b"\0asm\x0d\0\x01\0").unwrap().kind, Kind::Component);
    }
}
