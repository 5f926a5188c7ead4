//! A secret key that is kept in a file: 64 hex digits, readable by its owner alone. Does not encrypt it.
//!
//! Invariants: a key is never written over another one; a file that others may read is refused, not repaired.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use data_encoding::HEXLOWER;
use iroh::SecretKey;

use super::id::parse_secret_key;
use crate::model::{Error, ErrorKind};

/// Bytes of the file that are looked at: more is no key. Source: none, a guess.
const MAX_BYTES: u64 = 1024;

/// Reads the key in a file; makes a file with a new key where there is none.
///
/// # Errors
/// `InvalidOption` with what is wrong with the file; nothing of the key is in the text.
pub fn key_in_file(path: &Path) -> Result<SecretKey, Error> {
    let failed = |error: io::Error| {
        Error::with_source(ErrorKind::InvalidOption, format!("the key file {}", path.display()), error)
    };
    match open(path) {
        Ok(file) => read_key(&file, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create(path).map_err(failed)?;
            // Somebody else may have been first: what is there counts.
            read_key(&open(path).map_err(failed)?, path)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Looks at the file that was opened and at no other, whatever its name stands for by now.
fn read_key(file: &File, path: &Path) -> Result<SecretKey, Error> {
    let failed = |error: io::Error| {
        Error::with_source(ErrorKind::InvalidOption, format!("the key file {}", path.display()), error)
    };
    let metadata = file.metadata().map_err(failed)?;
    check_private(&metadata, path)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    parse_key(&bytes, path)
}

fn parse_key(text: &[u8], path: &Path) -> Result<SecretKey, Error> {
    let bytes = HEXLOWER.decode(text.trim_ascii_end()).ok();
    bytes.and_then(|bytes| parse_secret_key(&bytes).ok()).ok_or_else(|| {
        let message = format!("the key file {} does not hold 64 lower-case hex digits", path.display());
        Error::new(ErrorKind::InvalidOption, message)
    })
}

/// Written whole beside its place, then linked there: nobody reads half a key, and the first of two wins.
fn create(path: &Path) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{:016x}.new", rand::random::<u64>()));
    let key = SecretKey::generate();
    let mut file = create_private(Path::new(&beside))?;
    let written = writeln!(file, "{}", HEXLOWER.encode(&key.to_bytes())).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&beside, path));
    fs::remove_file(&beside)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

#[cfg(unix)]
fn create_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Nothing but a regular file is opened: a pipe that nobody writes would be waited for.
fn open(path: &Path) -> io::Result<File> {
    if fs::metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"))
    }
}

#[cfg(unix)]
fn check_private(metadata: &Metadata, path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let message = format!("the key file {} may be read by others (mode {mode:o}); make it 600", path.display());
    Err(Error::new(ErrorKind::InvalidOption, message))
}

#[cfg(not(unix))]
fn check_private(_metadata: &Metadata, _path: &Path) -> Result<(), Error> {
    Ok(())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_found_again() {
        let folder = std::env::temp_dir().join(format!("alkpubsub-key-{:016x}", rand::random::<u64>()));
        fs::create_dir(&folder).expect("a folder of our own");
        let path = folder.join("key");
        let first = key_in_file(&path).expect("a new key");
        assert_eq!(fs::metadata(&path).expect("the file").permissions().mode() & 0o777, 0o600);
        assert_eq!(key_in_file(&path).expect("the same key").to_bytes(), first.to_bytes());
        assert_eq!(fs::read_dir(&folder).expect("the folder").count(), 1, "nothing is left beside it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("a mode");
        let refused = key_in_file(&path).expect_err("others may read it").to_string();
        assert!(refused.contains("640") && !refused.contains(&HEXLOWER.encode(&first.to_bytes())), "{refused}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
        for text in ["not a key".to_owned(), String::new(), "0".repeat(5_000_000)] {
            fs::write(&path, &text).expect("written");
            assert_eq!(key_in_file(&path).expect_err("no key").kind(), ErrorKind::InvalidOption);
            assert_eq!(fs::read_to_string(&path).expect("text"), text, "it is not written over");
        }
        fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn what_is_no_file_is_refused_and_not_waited_for() {
        for path in ["/dev/zero", "/dev/stdin", "/"] {
            let refused = key_in_file(Path::new(path)).expect_err(path);
            assert_eq!(refused.kind(), ErrorKind::InvalidOption, "{refused}");
        }
    }

    #[test]
    fn all_who_make_a_key_at_once_have_the_same() {
        let folder = std::env::temp_dir().join(format!("alkpubsub-key-{:016x}", rand::random::<u64>()));
        fs::create_dir(&folder).expect("a folder of our own");
        let path = folder.join("key");
        let makers: Vec<_> = (0..16)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || key_in_file(&path).expect("a key").to_bytes())
            })
            .collect();
        let keys: std::collections::HashSet<_> =
            makers.into_iter().map(|maker| maker.join().expect("no panic")).collect();
        assert_eq!(keys.len(), 1);
        assert_eq!(fs::read_dir(&folder).expect("the folder").count(), 1, "nothing is left beside it");
        fs::remove_dir_all(&folder).expect("removed");
    }
}
