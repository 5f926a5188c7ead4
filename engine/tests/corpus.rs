//! The committed corpus of the fuzzers, through the same checks: what fuzzing has found stays found. Fuzzing itself: docs/fuzzing.md.

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

// Public, because what is in it is.
#[path = "../../fuzz/src/lib.rs"]
pub mod checks;

/// One corpus at most, so that a clone stays small. Source: none, a guess.
const MAX_FILES: usize = 200;
const MAX_BYTES: usize = 200 << 10;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| unreachable!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// Replays one target's corpus; a failure names the file.
fn replay(target: &str) {
    let (_, check) = checks::TARGETS.iter().find(|(name, _)| *name == target).expect("a target of that name");
    let files = files(&folder().join(target));
    assert!(!files.is_empty(), "the corpus of {target} is empty");
    for file in &files {
        let input = fs::read(file).expect("a file of the corpus");
        if let Err(cause) = panic::catch_unwind(|| check(&input)) {
            eprintln!("this input fails: {}", file.display());
            panic::resume_unwind(cause);
        }
    }
}

#[test]
fn frames_replay() {
    replay("frames");
}

#[test]
fn envelopes_replay() {
    replay("envelopes");
}

#[test]
fn controls_replay() {
    replay("controls");
}

#[test]
fn permissions_replay() {
    replay("permissions");
}

#[test]
fn the_router_replays() {
    replay("router");
}

#[test]
fn the_outbox_replays() {
    replay("outbox");
}

#[test]
fn each_corpus_belongs_to_a_target_and_is_small() {
    let mut targets: Vec<&str> = checks::TARGETS.iter().map(|(name, _)| *name).collect();
    targets.sort_unstable();
    let corpora = files(&folder());
    let names: Vec<_> = corpora.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    assert_eq!(names, targets);
    for corpus in &corpora {
        let files = files(corpus);
        let bytes: u64 = files.iter().map(|file| fs::metadata(file).expect("a file").len()).sum();
        assert!(files.len() <= MAX_FILES, "{} files in {}", files.len(), corpus.display());
        assert!(bytes <= MAX_BYTES as u64, "{bytes} bytes in {}", corpus.display());
    }
}
