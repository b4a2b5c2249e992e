//! Generates what a C guest needs: `guest bindings WIT WORLD FOLDER` writes
//! the C bindings of a world, `guest component CORE OUT` wraps a linked core
//! module as a component.
//!
//! `examples/build.sh` runs it.
use std::path::Path;

use anyhow::{Context, Result, bail};
use wit_bindgen_core::Files;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["bindings", wit, world, folder] => bindings(wit, world, Path::new(folder)),
        ["component", core, out] => component(core, out),
        _ => bail!("usage: guest bindings WIT WORLD FOLDER | guest component CORE OUT"),
    }
}

fn bindings(wit: &str, world: &str, folder: &Path) -> Result<()> {
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_path(wit).with_context(|| format!("read {wit}"))?;
    let world = resolve.select_world(&[package], Some(world))?;
    let mut files = Files::default();
    let mut generator = wit_bindgen_c::Opts::default().build();
    generator.generate(&mut resolve, world, &mut files)?;
    for (name, contents) in files.iter() {
        let path = folder.join(name);
        std::fs::write(&path, contents).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn component(core: &str, out: &str) -> Result<()> {
    let module = std::fs::read(core).with_context(|| format!("read {core}"))?;
    let mut encoder = wit_component::ComponentEncoder::default();
    encoder.validate(true);
    encoder.module(&module)?;
    std::fs::write(out, encoder.encode()?).with_context(|| format!("write {out}"))
}
