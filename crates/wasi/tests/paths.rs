//! Every function that takes a path does what the host's own call does with it: the same result, and the same
//! folder afterwards.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use common::*;
use kiln_wasi::{DirAccess, Errno};
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};

type Outcome = Result<Vec<u8>, Errno>;

/// What there is in a folder in which a path is tried.
const KINDS: [&str; 6] = ["file", "dir", "full", "file_link", "dir_link", "dangling"];

/// The paths that are tried: each name, also one that there is not, in each form, and a few others. None leads
/// out of the folder, which would be `perm`.
fn paths() -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for name in KINDS.into_iter().chain(["missing", "loop", "dir_link_slash"]) {
        for form in ["@", "@/", "@//", "@/.", "./@", ".//@/", "full/../@", "full/../@/", "@/..", "@/inner", "@/inner/"]
        {
            paths.push(form.replace('@', name));
        }
    }
    let long = "n".repeat(256);
    paths.extend(["", ".", "./", "./.", "fi\0le", "file\0", "missing/\0"].map(str::to_owned));
    paths.extend([format!("{long}/"), long, "x/".repeat(2047) + "x", "./".repeat(2047) + "x", "x/".repeat(2048)]);
    paths
}

/// A folder with an entry of each kind.
fn folder() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    fs::write(at("file"), "contents").unwrap();
    fs::write(at("other"), "other contents").unwrap();
    fs::create_dir(at("dir")).unwrap();
    fs::create_dir(at("empty")).unwrap();
    fs::create_dir(at("full")).unwrap();
    fs::write(at("full/inner"), "inner").unwrap();
    for (contents, name) in [
        ("file", "file_link"),
        ("dir", "dir_link"),
        ("dir/", "dir_link_slash"),
        ("nowhere", "dangling"),
        ("loop", "loop"),
    ] {
        symlink(contents, at(name)).unwrap();
    }
    temp
}

/// All that is in a folder: names, what they are, what is in them.
fn contents(folder: &Path) -> Vec<String> {
    let mut list = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (links, mode) = (metadata.nlink(), metadata.mode());
        if metadata.is_symlink() {
            list.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
        } else if metadata.is_dir() {
            list.push(format!("{name}/ {mode:o}"));
            list.extend(contents(&path).into_iter().map(|inner| format!("{name}/{inner}")));
        } else {
            list.push(format!("{name} {mode:o} {links} {:?}", fs::read_to_string(&path).unwrap()));
        }
    }
    list.sort();
    list
}

/// One call, as the guest makes it and as the host does, on one path or on two.
struct Call {
    name: &'static str,
    guest: fn(&mut Guest, &str, &str) -> Outcome,
    host: fn(&fs::File, &str, &str) -> rustix::io::Result<Vec<u8>>,
}

/// The folder of the guest and that of the host, alike, and what is in them.
struct Pair {
    guests: tempfile::TempDir,
    hosts: tempfile::TempDir,
    contents: Vec<String>,
}

impl Pair {
    fn new() -> Self {
        let (guests, hosts) = (folder(), folder());
        let contents = contents(guests.path());
        Self { guests, hosts, contents }
    }

    /// Tries a call in both. Where something is amiss it says what.
    fn compare(&mut self, call: &Call, first: &str, second: &str) -> Option<String> {
        let mut guest = Guest::in_folder(self.guests.path(), DirAccess::ReadWrite);
        let got = (call.guest)(&mut guest, first, second);
        let host = fs::File::open(self.hosts.path()).unwrap();
        let expected = (call.host)(&host, first, second).map_err(Errno::from);
        let (left, right) = (contents(self.guests.path()), contents(self.hosts.path()));
        if left != self.contents || right != self.contents || expected.is_ok() {
            *self = Self::new();
        }
        let short =
            |path: &str| if path.len() > 60 { format!("{}.. ({})", &path[..60], path.len()) } else { path.into() };
        let what = format!("{}({:?}, {:?})", call.name, short(first), short(second));
        if got != expected {
            Some(format!("{what}: {got:?} and not {expected:?}"))
        } else if left != right {
            Some(format!("{what}: {got:?}, but there is\n  {left:?}\nand not\n  {right:?}"))
        } else {
            None
        }
    }
}

fn check(calls: &[Call], pairs: &[(&str, &str)]) {
    let mut folders = Pair::new();
    let mut wrong = Vec::new();
    for call in calls {
        wrong.extend(pairs.iter().filter_map(|(first, second)| folders.compare(call, first, second)));
    }
    assert!(wrong.is_empty(), "{} differences from the host:\n{}", wrong.len(), wrong.join("\n"));
}

/// What is told of an opened file: its type and size.
fn told(filetype: u8, size: u64) -> Vec<u8> {
    // The sizes of directories are the file system's affair.
    if filetype == 3 { vec![3] } else { [vec![filetype], size.to_le_bytes().to_vec()].concat() }
}

fn told_of(stat: &rustix::fs::Stat) -> Vec<u8> {
    let filetype = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::Directory => 3,
        rustix::fs::FileType::RegularFile => 4,
        rustix::fs::FileType::Symlink => 7,
        other => panic!("{other:?}"),
    };
    told(filetype, stat.st_size.cast_unsigned())
}

fn open_guest(guest: &mut Guest, lookup: u32, path: &str, oflags: u32, rights: u64) -> Outcome {
    let fd = guest.open_with(3, lookup, path, oflags, rights, 0)?;
    guest.stat_fd(fd).map(|stat| told(stat.filetype, stat.size))
}

fn open_host(folder: &fs::File, path: &str, flags: OFlags) -> rustix::io::Result<Vec<u8>> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = rustix::fs::openat(folder, path, flags, Mode::from_raw_mode(0o666))?;
    Ok(told_of(&rustix::fs::fstat(file)?))
}

const OPENING: [Call; 7] = [
    Call {
        name: "open",
        guest: |guest, path, _| open_guest(guest, SYMLINK_FOLLOW, path, 0, READ),
        host: |folder, path, _| open_host(folder, path, OFlags::RDONLY),
    },
    Call {
        name: "open without following",
        guest: |guest, path, _| open_guest(guest, 0, path, 0, READ),
        host: |folder, path, _| open_host(folder, path, OFlags::RDONLY | OFlags::NOFOLLOW),
    },
    Call {
        name: "open to write",
        guest: |guest, path, _| open_guest(guest, SYMLINK_FOLLOW, path, 0, WRITE),
        host: |folder, path, _| open_host(folder, path, OFlags::WRONLY),
    },
    Call {
        name: "open as directory",
        guest: |guest, path, _| open_guest(guest, SYMLINK_FOLLOW, path, DIRECTORY, FOLDER),
        host: |folder, path, _| open_host(folder, path, OFlags::RDONLY | OFlags::DIRECTORY),
    },
    Call {
        name: "open to create",
        guest: |guest, path, _| open_guest(guest, SYMLINK_FOLLOW, path, CREAT, READ | WRITE),
        host: |folder, path, _| open_host(folder, path, OFlags::RDWR | OFlags::CREATE),
    },
    Call {
        name: "open to create what is not there",
        guest: |guest, path, _| open_guest(guest, SYMLINK_FOLLOW, path, CREAT | EXCL, WRITE),
        host: |folder, path, _| open_host(folder, path, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL),
    },
    Call {
        name: "open to cut",
        guest: |guest, path, _| open_guest(guest, SYMLINK_FOLLOW, path, TRUNC, WRITE),
        host: |folder, path, _| open_host(folder, path, OFlags::WRONLY | OFlags::TRUNC),
    },
];

#[test]
fn opening() {
    let paths = paths();
    let pairs: Vec<_> = paths.iter().map(|path| (&**path, "")).collect();
    check(&OPENING, &pairs);
}

fn stat_guest(guest: &mut Guest, lookup: u32, path: &str) -> Outcome {
    guest.stat(3, lookup, path).map(|stat| told(stat.filetype, stat.size))
}

fn stat_host(folder: &fs::File, path: &str, flags: AtFlags) -> rustix::io::Result<Vec<u8>> {
    Ok(told_of(&rustix::fs::statat(folder, path, flags)?))
}

/// A time that no file has by itself, in seconds.
const LONG_AGO: u64 = 86_400;

/// Sets the times of a path; the names in the folder whose time was changed.
fn set_times_guest(guest: &mut Guest, lookup: u32, path: &str) -> Outcome {
    guest.set_times(3, lookup, path, 0, LONG_AGO * 1_000_000_000, 4)?;
    let mut changed = Vec::new();
    for name in KINDS {
        if guest.stat(3, 0, name)?.mtim == LONG_AGO * 1_000_000_000 {
            changed.extend(name.as_bytes());
        }
    }
    Ok(changed)
}

fn set_times_host(folder: &fs::File, path: &str, flags: AtFlags) -> rustix::io::Result<Vec<u8>> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: LONG_AGO.cast_signed(), tv_nsec: 0 },
    };
    rustix::fs::utimensat(folder, path, &times, flags)?;
    let mut changed = Vec::new();
    for name in KINDS {
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if stat.st_mtime.cast_unsigned() == LONG_AGO {
            changed.extend(name.as_bytes());
        }
    }
    Ok(changed)
}

const NAMING: [Call; 9] = [
    Call {
        name: "stat",
        guest: |guest, path, _| stat_guest(guest, SYMLINK_FOLLOW, path),
        host: |folder, path, _| stat_host(folder, path, AtFlags::empty()),
    },
    Call {
        name: "lstat",
        guest: |guest, path, _| stat_guest(guest, 0, path),
        host: |folder, path, _| stat_host(folder, path, AtFlags::SYMLINK_NOFOLLOW),
    },
    Call {
        name: "set_times",
        guest: |guest, path, _| set_times_guest(guest, SYMLINK_FOLLOW, path),
        host: |folder, path, _| set_times_host(folder, path, AtFlags::empty()),
    },
    Call {
        name: "set_times without following",
        guest: |guest, path, _| set_times_guest(guest, 0, path),
        host: |folder, path, _| set_times_host(folder, path, AtFlags::SYMLINK_NOFOLLOW),
    },
    Call {
        name: "mkdir",
        guest: |guest, path, _| guest.mkdir(3, path).map(|()| Vec::new()),
        host: |folder, path, _| rustix::fs::mkdirat(folder, path, Mode::from_raw_mode(0o777)).map(|()| Vec::new()),
    },
    Call {
        name: "rmdir",
        guest: |guest, path, _| guest.rmdir(3, path).map(|()| Vec::new()),
        host: |folder, path, _| rustix::fs::unlinkat(folder, path, AtFlags::REMOVEDIR).map(|()| Vec::new()),
    },
    Call {
        name: "unlink",
        guest: |guest, path, _| guest.unlink(3, path).map(|()| Vec::new()),
        host: |folder, path, _| rustix::fs::unlinkat(folder, path, AtFlags::empty()).map(|()| Vec::new()),
    },
    Call {
        name: "readlink",
        guest: |guest, path, _| guest.readlink(3, path, 1000),
        host: |folder, path, _| rustix::fs::readlinkat(folder, path, Vec::new()).map(|link| link.into_bytes()),
    },
    Call {
        name: "symlink",
        guest: |guest, path, _| guest.symlink("file/", 3, path).map(|()| Vec::new()),
        host: |folder, path, _| rustix::fs::symlinkat("file/", folder, path).map(|()| Vec::new()),
    },
];

#[test]
fn naming_one_thing() {
    let paths = paths();
    let pairs: Vec<_> = paths.iter().map(|path| (&**path, "")).collect();
    check(&NAMING, &pairs);
}

#[test]
fn contents_of_links() {
    let call = Call {
        name: "symlink",
        guest: |guest, contents, path| guest.symlink(contents, 3, path).map(|()| Vec::new()),
        host: |folder, contents, path| rustix::fs::symlinkat(contents, folder, path).map(|()| Vec::new()),
    };
    let paths = paths();
    let pairs: Vec<_> = paths.iter().flat_map(|contents| [(&**contents, "new"), (contents, "dir/new")]).collect();
    check(&[call], &pairs);
}

const MOVING: [Call; 2] = [
    Call {
        name: "rename",
        guest: |guest, old, new| guest.rename(3, old, 3, new).map(|()| Vec::new()),
        host: |folder, old, new| rustix::fs::renameat(folder, old, folder, new).map(|()| Vec::new()),
    },
    Call {
        name: "link",
        guest: |guest, old, new| guest.link(3, 0, old, 3, new).map(|()| Vec::new()),
        host: |folder, old, new| rustix::fs::linkat(folder, old, folder, new, AtFlags::empty()).map(|()| Vec::new()),
    },
];

/// Each path of one kind as the old name and as the new one, with others of each kind on the other side.
#[test]
fn moving_one_thing_to_another() {
    let paths = paths();
    let others =
        ["other", "other/", "empty", "empty/", "file_link", "dir_link/", "dangling", "missing", "missing/", "."];
    let there = paths.iter().flat_map(|path| others.map(|other| (&**path, other)));
    let back = paths.iter().flat_map(|path| others.map(|other| (other, &**path)));
    // Where both are wrong, that one is too long may be said first.
    let is_clear = |(old, new): &(&str, &str)| old.len().max(new.len()) < 4096 || [*old, *new].contains(&"other");
    check(&MOVING, &there.chain(back).filter(is_clear).collect::<Vec<_>>());
}

/// The two ways out of the folder by a name alone: nothing is told of what is outside, nor changed there.
#[test]
fn names_of_the_folder_itself_and_of_its_parent() {
    let temp = tempfile::tempdir().unwrap();
    let inside = temp.path().join("inside");
    fs::create_dir(&inside).unwrap();
    fs::write(inside.join("file"), "contents").unwrap();
    let mut guest = Guest::in_folder(&inside, DirAccess::ReadWrite);
    for path in ["..", "../", "../.", "../..", "/", "//", "/."] {
        for call in OPENING.iter().chain(&NAMING) {
            let result = (call.guest)(&mut guest, path, "");
            assert!(result.is_err(), "{} {path}: {result:?}", call.name);
        }
        for call in &MOVING {
            for (old, new) in [("file", path), (path, "file"), (path, "new")] {
                let result = (call.guest)(&mut guest, old, new);
                assert!(result.is_err(), "{} {old} {new}: {result:?}", call.name);
            }
        }
    }
    assert_eq!(contents(temp.path()).len(), 2);
    assert_eq!(fs::read(inside.join("file")).unwrap(), b"contents");
}
