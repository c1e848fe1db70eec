//! The files of a folder as they were at one moment, to begin from there again. They are put back into the very same
//! files: elsewhere they would be copies, and the engine would rightly take them for such.

use std::fs;
use std::path::{Path, PathBuf};

/// All files below a folder.
#[derive(Debug, Clone)]
pub struct Image {
    folder: PathBuf,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Image {
    /// Reads them all. Nobody may have any of them open: a file that is read and closed loses the locks of this process.
    pub fn take(folder: &Path) -> Self {
        let read = |path: PathBuf| (path.clone(), fs::read(&path).expect("a file can be read"));
        Self { folder: folder.to_owned(), files: files(folder).into_iter().map(read).collect() }
    }

    /// Puts them back; files that were not there go.
    pub fn restore(&self) {
        for path in files(&self.folder) {
            if !self.files.iter().any(|(known, _)| *known == path) {
                fs::remove_file(&path).expect("a file can be removed");
            }
        }
        for (path, content) in &self.files {
            fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a folder");
            fs::write(path, content).expect("a file can be written");
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Copies a database, its log with it, so that it can be looked at without anybody's recovery being done for them.
pub fn copy_database(from: &Path, to: &Path) {
    for suffix in ["", "-wal", "-journal"] {
        let name = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        let _ = fs::remove_file(name(to)); // it may not be there
        if name(from).exists() {
            fs::copy(name(from), name(to)).expect("a file can be copied");
        }
    }
    let _ = fs::remove_file(format!("{}-shm", to.display())); // of an earlier copy
}
