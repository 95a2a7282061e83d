//! Files that hold secrets: how they are read and written.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::SettingsError;

/// The largest such file; a handful of lines is what they hold.
const MAX_BYTES: u64 = 64 * 1024;

/// The text of a file that others must not be able to read. Group-readable is allowed: it is how
/// Kubernetes mounts Secrets for a user that is not root. `what` names the file in errors, e.g.
/// "root key file".
pub fn read(what: &str, path: &Path) -> Result<Zeroizing<String>, SettingsError> {
    let refuse = |why: String| SettingsError(format!("{what} {}: {why}", path.display()));
    let (file, metadata) = open_regular(path).map_err(refuse)?;
    if metadata.mode() & 0o007 != 0 {
        let mode = metadata.mode() & 0o777;
        return Err(refuse(format!(
            "can be used by others (mode {mode:04o}); close it with `chmod o-rwx {}`",
            quoted(path)
        )));
    }
    if metadata.len() > MAX_BYTES {
        return Err(refuse(format!("is larger than {MAX_BYTES} bytes")));
    }
    // Sized at once: a string that grows would leave copies behind that nobody zeroizes.
    let capacity = usize::try_from(metadata.len()).unwrap_or(0).saturating_add(1);
    let mut text = Zeroizing::new(String::with_capacity(capacity));
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(|error| refuse(in_words(&error)))?;
    Ok(text)
}

/// Opens a regular file. A pipe would be waited for at its opening, for ever, so what stands there is
/// looked at before, and, since it may be swapped in between, of the open file again.
pub(super) fn open_regular(path: &Path) -> Result<(File, Metadata), String> {
    let regular = |metadata: Metadata| {
        if metadata.is_file() { Ok(metadata) } else { Err("is not a regular file".to_owned()) }
    };
    regular(std::fs::metadata(path).map_err(|error| in_words(&error))?)?;
    let file = File::open(path).map_err(|error| in_words(&error))?;
    let metadata = regular(file.metadata().map_err(|error| in_words(&error))?)?;
    Ok((file, metadata))
}

/// Writes a file that nobody had before, with mode 0600, onto the disk: it is there whole, or not at
/// all. Never overwrites; of two that create it at once, one gets `AlreadyExists`.
pub fn create(path: &Path, text: &str) -> io::Result<()> {
    if path.try_exists()? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let temporary = written_beside(path, text)?;
    // A rename would overwrite; a second name for the same file does not.
    let linked = std::fs::hard_link(&temporary, path);
    std::fs::remove_file(&temporary)?;
    named_or_written(linked, path, text)?;
    sync_folder_of(path)
}

/// Some file systems have one name a file only, and say so, or that it is not permitted (EPERM, as Linux
/// says of FAT). There the file is written in its place; where nothing may be written that fails too.
fn named_or_written(named: io::Result<()>, path: &Path, text: &str) -> io::Result<()> {
    use io::ErrorKind::{PermissionDenied, Unsupported};
    match named {
        Err(error) if matches!(error.kind(), Unsupported | PermissionDenied) => {
            write_new(path, text)
        }
        other => other,
    }
}

/// Puts a file in the place of what was there, so that a crash at any moment leaves the old one or the
/// new one, whole. It has the rights of the old one, or mode 0600.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let temporary = written_beside(path, text)?;
    if let Ok(old) = std::fs::metadata(path) {
        std::fs::set_permissions(&temporary, old.permissions())?;
    }
    std::fs::rename(&temporary, path)?;
    sync_folder_of(path)
}

/// A temporary file in the same folder with that text, on the disk.
fn written_beside(path: &Path, text: &str) -> io::Result<PathBuf> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    // One of a process of the same number that a crash left behind holds nothing that is wanted.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_new(&temporary, text)?;
    Ok(temporary)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    // The process's umask may have taken rights away, never added any.
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A rename or a new name is on the disk only when the folder is.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// An error of the file system without its number.
pub fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::InvalidData => "is not text".to_owned(),
        io::ErrorKind::AlreadyExists => "exists already".to_owned(),
        _ => error.to_string(),
    }
}

/// A path as one word of a shell.
pub fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) && !text.starts_with('-') {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_or_a_device_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg("-m600").arg(&pipe).status();
        assert!(made.expect("mkfifo is part of every system").success());
        for path in [pipe.as_path(), Path::new("/dev/zero"), folder.path()] {
            let refused = read("root key file", path).expect_err("refused").to_string();
            assert!(refused.ends_with("is not a regular file"), "{refused}");
            let refused = crate::config::file::read(path).expect_err("refused").to_string();
            assert!(refused.ends_with("is not a regular file"), "{refused}");
        }
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    fn with_mode(mode: u32) -> Result<String, String> {
        let folder = folder();
        let path = folder.path().join("file");
        create(&path, "text").expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
        read("key file", &path).map(|text| text.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn owner_and_group_may_read_and_others_may_do_nothing() {
        for mode in [0o400, 0o600, 0o640, 0o440] {
            assert_eq!(with_mode(mode), Ok("text".to_owned()), "mode {mode:o}");
        }
        for mode in [0o604, 0o644, 0o602, 0o601] {
            let error = with_mode(mode).expect_err("open to others");
            assert!(error.contains("can be used by others"), "{error}");
            assert!(error.contains("chmod o-rwx"), "{error}");
        }
    }

    #[test]
    fn a_missing_file_and_a_folder_are_refused_in_one_line() {
        let folder = folder();
        for path in [folder.path().join("absent"), folder.path().to_owned()] {
            let error = read("key file", &path).expect_err("refused").to_string();
            assert!(!error.contains('\n') && error.starts_with("key file /"), "{error}");
        }
    }

    #[test]
    fn a_file_is_never_overwritten_by_create_and_always_whole_after_replace() {
        let folder = folder();
        let path = folder.path().join("file");
        create(&path, "one").expect("written");
        assert_eq!(
            create(&path, "two").map_err(|error| error.kind()),
            Err(io::ErrorKind::AlreadyExists)
        );
        let left = folder.path().join(format!("file.{}.new", std::process::id()));
        std::fs::write(&left, "left by a crash").expect("written");
        replace(&path, "three").expect("replaced");
        assert_eq!(std::fs::read_to_string(&path).expect("readable"), "three");
        let mode = std::fs::metadata(&path).expect("there").mode() & 0o777;
        assert_eq!(mode, 0o600);
        let names = std::fs::read_dir(folder.path()).expect("readable").count();
        assert_eq!(names, 1, "a temporary file is left");
    }

    #[test]
    fn where_a_file_has_one_name_only_it_is_written_in_its_place() {
        const EPERM: i32 = 1;
        let folder = folder();
        let path = folder.path().join("file");
        named_or_written(Err(io::Error::from_raw_os_error(EPERM)), &path, "text").expect("written");
        assert_eq!(*read("key file", &path).expect("readable"), "text");
        let again = named_or_written(Err(io::ErrorKind::Unsupported.into()), &path, "other");
        assert_eq!(again.map_err(|error| error.kind()), Err(io::ErrorKind::AlreadyExists));
        let full = named_or_written(Err(io::ErrorKind::StorageFull.into()), &path, "other");
        assert_eq!(full.map_err(|error| error.kind()), Err(io::ErrorKind::StorageFull));
    }

    #[test]
    fn quoting_is_only_used_where_it_is_needed() {
        assert_eq!(quoted(Path::new("countersign-data/admin.env")), "countersign-data/admin.env");
        assert_eq!(quoted(Path::new("/my data/it's")), "'/my data/it'\\''s'");
        assert_eq!(quoted(Path::new("")), "''");
    }
}
