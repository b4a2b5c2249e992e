//! What a command that changes objects prints: a line for each, or with `-o` the objects.
use anyhow::Result;
use serde_json::Value;

use super::Format;
use crate::cli::say;

/// The changes of one command.
pub(in crate::cli) struct Report<'f> {
    format: Option<&'f Format>,
    objects: Vec<Value>,
}

impl<'f> Report<'f> {
    /// Of a command to which `-o` said this.
    pub(in crate::cli) fn new(format: &'f Option<Format>) -> Self {
        Self { format: format.as_ref(), objects: Vec::new() }
    }

    /// Notes what was done to an object, as `deployment.apps/web` `scaled`.
    pub(in crate::cli) fn add(&mut self, slashed: &str, done: &str, object: Value) -> Result<()> {
        match self.format {
            None => say(&format!("{slashed} {done}\n")),
            Some(Format::Name) => say(&format!("{slashed}\n")),
            Some(_) => {
                self.objects.push(object);
                Ok(())
            }
        }
    }

    /// Prints what was not printed yet.
    pub(in crate::cli) fn end(self) -> Result<()> {
        match self.format {
            Some(format) if !self.objects.is_empty() => say(&format.objects(&self.objects)?),
            _ => Ok(()),
        }
    }
}
