//! The rooms of the crate and the doors between them.
//!
//! A room may use the rooms it lists, `clock`, `metrics`, `platform`, and nothing else of the crate.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
use std::fs;
use std::path::Path;

/// Each room, with the rooms and sister crates it may use.
const DOORS: &[(&str, &[&str])] = &[
    ("store", &[]),
    ("api", &[]),
    ("storage", &["api", "store"]),
    ("apis", &["api"]),
    ("admission", &["api", "storage"]),
    ("auth", &["api", "storage"]),
    ("server", &["admission", "api", "apis", "auth", "storage"]),
    ("client", &["api"]),
    ("controllers", &["client"]),
    ("scheduler", &["client"]),
    ("node", &["client", "shim", "registry"]),
    ("proxy", &["client", "shim"]),
];

/// Sister crates; a room that does not list them may not use them.
const SISTERS: &[&str] = &["shim", "registry"];

/// As many lines as a file may have.
const LONGEST_FILE: usize = 600;

#[test]
fn rooms_use_only_the_rooms_below_them() {
    let mut broken = Vec::new();
    for (room, doors) in DOORS {
        each_file(&Path::new("src").join(room), &mut |path, text| {
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                let ours = code.split("crate::").skip(1).map(first_word);
                let sisters = SISTERS.iter().copied().filter(|sister| {
                    code.split(&format!("{sister}::")).next().is_some_and(|before| {
                        before.len() < code.len()
                            && !before
                                .ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':'))
                    })
                });
                for used in ours.chain(sisters) {
                    if used != *room
                        && !["clock", "metrics", "platform"].contains(&used)
                        && !used.is_empty()
                        && !doors.contains(&used)
                    {
                        broken.push(format!(
                            "{}:{}: {room} uses {used}",
                            path.display(),
                            number + 1
                        ));
                    }
                }
            }
        });
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn files_stay_short() {
    let mut long = Vec::new();
    for folder in ["src", "../shim/src", "../registry/src", "../tests"] {
        each_file(Path::new(folder), &mut |path, text| {
            let lines = text.lines().count();
            if lines > LONGEST_FILE {
                long.push(format!("{}: {lines} lines", path.display()));
            }
        });
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

fn each_file(dir: &Path, visit: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_file(&path, visit);
        } else if path.extension().is_some_and(|e| e == "rs") {
            visit(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}
