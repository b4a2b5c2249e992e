//! The subcommands, one file each: wiring only.
