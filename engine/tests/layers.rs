//! Who may import whom: the rooms of `docs/architecture.md`, read from the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One source file without comments and without its tests.
struct Source {
    /// From `src/`, with slashes.
    path: String,
    code: String,
    head: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    let sources: Vec<Source> = files.iter().map(|file| read(&root, file)).collect();
    assert!(sources.len() > 20, "the sources were found");
    sources
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the crate") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn read(root: &Path, file: &Path) -> Source {
    let text = fs::read_to_string(file).expect("UTF-8");
    let path = file.strip_prefix(root).expect("below the root");
    let path = path.to_string_lossy().replace('\\', "/");
    // Tests stand at the end of a file.
    let tested = text.find("\n#[cfg(test)]\nmod ").unwrap_or(text.len());
    let code =
        text[..tested].lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let head = text.lines().next().unwrap_or_default().to_owned();
    Source { path, code, head }
}

/// A room is a file of that name and the folder beside it.
fn is_in(source: &Source, room: &str) -> bool {
    source.path == format!("{room}.rs") || source.path.starts_with(&format!("{room}/"))
}

/// The rooms that a file names by `crate::`.
fn imports(source: &Source) -> BTreeSet<String> {
    let named =
        source.code.split("crate::").skip(1).map(|rest| {
            rest.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
        });
    named.collect()
}

/// No file of `rooms` names any of `forbidden`, but for `exceptions` (path and name).
fn never_names(rooms: &[&str], forbidden: &[&str]) {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| rooms.iter().any(|room| is_in(source, room))) {
        let named = forbidden.iter().filter(|name| source.code.contains(**name));
        found.extend(named.map(|name| format!("{} names {name}", source.path)));
    }
    assert!(found.is_empty(), "{found:#?}");
}

fn only_imports(room: &str, allowed: &[&str]) {
    for source in sources().iter().filter(|source| is_in(source, room)) {
        for import in imports(source) {
            assert!(
                allowed.contains(&&*import) || import == room,
                "{} imports crate::{import}, {room} may import {allowed:?}",
                source.path
            );
        }
    }
}

#[test]
fn paths_are_written_so_that_this_test_can_read_them() {
    for source in sources() {
        assert!(!source.code.contains("crate::{"), "{}: one `use crate::…` per room", source.path);
        assert!(!source.code.contains("super::super::super"), "{}", source.path);
    }
}

#[test]
fn each_file_says_its_job_in_its_first_line() {
    for source in sources() {
        assert!(source.head.starts_with("//! "), "{}: {}", source.path, source.head);
    }
}

#[test]
fn model_wire_and_route_know_no_runtime_no_clock_and_no_socket() {
    let forbidden =
        ["tokio", "async fn", "Instant::now", "SystemTime", "std::net", "std::fs", "std::thread", "rand::", "println!"];
    never_names(&["model", "wire", "route"], &forbidden);
}

#[test]
fn model_wire_and_route_import_each_other_and_nothing_else() {
    only_imports("model", &["wire"]);
    only_imports("wire", &["model"]);
    only_imports("route", &["model", "wire"]);
}

#[test]
fn the_ports_of_transports_know_the_model_and_the_wire() {
    only_imports("link", &["model", "wire"]);
    only_imports("delivery", &["model", "link"]);
}

#[test]
fn a_transport_knows_links_and_the_wire_but_neither_routing_nor_targets() {
    let forbidden = ["crate::hub", "crate::spoke", "crate::bus", "crate::route", "crate::delivery", "crate::inbound"];
    never_names(&["transport"], &forbidden);
}

#[test]
fn a_transport_does_not_know_another() {
    for source in sources() {
        let Some(rest) = source.path.strip_prefix("transport/") else {
            continue;
        };
        let own = rest.split(['/', '.']).next().unwrap_or_default();
        for import in source.code.split("transport::").skip(1) {
            assert!(
                ["stream", "carried", "tls", own].iter().any(|allowed| import.starts_with(allowed)),
                "{} names transport::{import:.20}",
                source.path
            );
        }
        for other in ["memory", "process", "redis", "websocket"].iter().filter(|other| **other != own) {
            let names_other = source.code.contains(&format!("{other}::"));
            assert!(!names_other, "{} names {other}", source.path);
        }
    }
}

#[test]
fn hub_spoke_and_bus_do_not_know_which_transport_carries_them() {
    let forbidden =
        ["transport::", "crate::transport", "websocket::", "tungstenite", "rustls", "tokio::net", "httparse", "http::"];
    let rooms = ["hub", "spoke", "bus", "link", "inbound", "mailbox", "meter", "delivery"];
    never_names(&rooms, &forbidden);
}

#[test]
fn hub_spoke_and_bus_do_not_know_each_other() {
    never_names(&["hub"], &["crate::spoke", "crate::bus"]);
    never_names(&["spoke"], &["crate::hub", "crate::bus"]);
    never_names(&["bus"], &["crate::hub", "crate::spoke"]);
}

#[test]
fn the_engine_knows_no_javascript() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).expect("the manifest");
    for line in manifest.lines().filter(|line| !line.trim_start().starts_with('#')) {
        assert!(!line.contains("napi") && !line.contains("path ="), "{line}");
    }
    for source in sources() {
        assert!(!source.code.contains("napi"), "{}", source.path);
    }
}
