//! No path leads a guest out of its folder, and no read-only folder can be changed.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use kiln_wasi::{DirAccess, Errno, WasiCtxBuilder};

/// `outside/secret`, and `inside` with files and links that point at it.
fn folders() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    let (outside, inside) = (temp.path().join("outside"), temp.path().join("inside"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    fs::create_dir_all(inside.join("a/b")).unwrap();
    fs::write(inside.join("file"), "file").unwrap();
    symlink("/etc", inside.join("absolute_dir")).unwrap();
    symlink("/etc/passwd", inside.join("absolute_file")).unwrap();
    symlink("../outside", inside.join("relative_dir")).unwrap();
    symlink("../outside/secret", inside.join("relative_file")).unwrap();
    symlink("../../../outside/secret", inside.join("a/b/deep")).unwrap();
    symlink("relative_dir/secret", inside.join("indirect")).unwrap();
    symlink("..", inside.join("up")).unwrap();
    symlink("/", inside.join("root")).unwrap();
    symlink("a/b/../../file", inside.join("harmless")).unwrap();
    symlink("a/b", inside.join("harmless_dir")).unwrap();
    temp
}

/// Paths that lead to something that exists outside.
const ESCAPES: &[&str] = &[
    "/",
    "/etc/passwd",
    "//etc/passwd",
    "..",
    "../",
    "../outside",
    "../outside/secret",
    "../inside/file",
    "./../outside/secret",
    "a/../../outside/secret",
    "a/b/../../../outside/secret",
    "a/b/deep",
    "absolute_dir",
    "absolute_dir/",
    "absolute_dir/passwd",
    "absolute_file",
    "relative_dir",
    "relative_dir/secret",
    "relative_file",
    "indirect",
    "up",
    "up/outside/secret",
    "up/inside/file",
    "root/etc/passwd",
];

#[test]
fn no_path_is_opened_outside() {
    let temp = folders();
    let mut guest = Guest::in_folder(&temp.path().join("inside"), DirAccess::ReadWrite);
    for path in ESCAPES {
        for (oflags, rights) in [(0, READ), (0, WRITE), (CREAT, WRITE), (DIRECTORY, FOLDER), (0, 0), (TRUNC, WRITE)] {
            let opened = guest.open(3, path, oflags, rights);
            // Nothing with a slash at its end can be created; the kernel says so before it looks.
            if oflags == CREAT && path.ends_with('/') && opened == Err(Errno::Isdir) {
                continue;
            }
            assert_eq!(opened, Err(Errno::Perm), "{path} {oflags} {rights:#x}");
        }
        assert_eq!(guest.stat(3, SYMLINK_FOLLOW, path), Err(Errno::Perm), "{path}");
        assert_eq!(guest.set_times(3, SYMLINK_FOLLOW, path, 0, 0, 5), Err(Errno::Perm), "{path}");
    }
    assert_eq!(fs::read(temp.path().join("outside/secret")).unwrap(), b"secret");
    assert!(guest.open(3, "harmless_dir", DIRECTORY, FOLDER).is_ok());
    let file = guest.open(3, "harmless", 0, READ).unwrap();
    assert_eq!(guest.read(file, 10).unwrap(), b"file");
}

#[test]
fn nothing_outside_is_made_moved_or_removed() {
    let temp = folders();
    let inside = temp.path().join("inside");
    let mut guest = Guest::in_folder(&inside, DirAccess::ReadWrite);
    for parent in ["..", "../outside", "/tmp", "relative_dir", "absolute_dir", "up", "up/outside", "a/../.."] {
        let new = format!("{parent}/new");
        let secret = format!("{parent}/secret");
        assert_eq!(guest.mkdir(3, &new), Err(Errno::Perm), "{new}");
        assert_eq!(guest.symlink("x", 3, &new), Err(Errno::Perm), "{new}");
        assert_eq!(guest.rename(3, "file", 3, &new), Err(Errno::Perm), "{new}");
        assert_eq!(guest.rename(3, &secret, 3, "stolen"), Err(Errno::Perm), "{secret}");
        assert_eq!(guest.link(3, 0, "file", 3, &new), Err(Errno::Perm), "{new}");
        assert_eq!(guest.link(3, 0, &secret, 3, "stolen"), Err(Errno::Perm), "{secret}");
        assert_eq!(guest.unlink(3, &secret), Err(Errno::Perm), "{secret}");
        assert_eq!(guest.rmdir(3, &secret), Err(Errno::Perm), "{secret}");
        assert_eq!(guest.readlink(3, &secret, 100), Err(Errno::Perm), "{secret}");
        assert_eq!(guest.stat(3, 0, &secret), Err(Errno::Perm), "{secret}");
    }
    let names = |path: &Path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names(&temp.path().join("outside")), ["secret"]);
    assert!(inside.join("file").exists());
    assert!(!inside.join("stolen").exists());
}

#[test]
fn links_to_the_outside_cannot_be_made_absolute_or_followed() {
    let temp = folders();
    let inside = temp.path().join("inside");
    let mut guest = Guest::in_folder(&inside, DirAccess::ReadWrite);
    assert_eq!(guest.symlink("/etc/passwd", 3, "mine"), Err(Errno::Perm));
    // A relative link may say anything, but following it is checked.
    guest.symlink("../outside/secret", 3, "mine").unwrap();
    assert_eq!(guest.readlink(3, "mine", 100).unwrap(), b"../outside/secret");
    assert_eq!(guest.open(3, "mine", 0, READ), Err(Errno::Perm));
    // A hard link to a link names the link itself, and stays inside.
    guest.link(3, 0, "mine", 3, "a/mine").unwrap();
    assert_eq!(guest.stat(3, 0, "a/mine").unwrap().filetype, 7);
    assert_eq!(guest.readlink(3, "absolute_file", 100), Err(Errno::Perm));
}

#[test]
fn subfolders_confine_too() {
    let temp = folders();
    let mut guest = Guest::in_folder(&temp.path().join("inside"), DirAccess::ReadWrite);
    let sub = guest.open(3, "a", DIRECTORY, FOLDER).unwrap();
    for path in ["..", "../file", "b/../../file", "/file", "b/deep"] {
        assert_eq!(guest.open(sub, path, 0, READ), Err(Errno::Perm), "{path}");
    }
    assert!(guest.open(sub, "b/../b/..", DIRECTORY, FOLDER).is_ok());
}

/// While another thread swaps a folder for a link to the outside and renames its parent away, a
/// guest either reads the inside file or gets an error.
#[test]
fn races_with_renames_and_links_do_not_escape() {
    let temp = folders();
    let inside = temp.path().join("inside");
    fs::create_dir_all(inside.join("race/dir")).unwrap();
    fs::write(inside.join("race/dir/secret"), "inside").unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let race = inside.join("race");
            symlink("../../outside", race.join("link")).unwrap();
            while !stop.load(Ordering::Relaxed) {
                let _ = fs::rename(race.join("dir"), race.join("kept"));
                let _ = fs::rename(race.join("link"), race.join("dir"));
                let _ = fs::rename(race.join("dir"), race.join("link"));
                let _ = fs::rename(race.join("kept"), race.join("dir"));
                // The folder itself moves out of the guest's folder and back.
                let _ = fs::rename(race.join("dir"), temp.path().join("moved"));
                let _ = fs::rename(temp.path().join("moved"), race.join("dir"));
            }
        });
        let mut guest = Guest::in_folder(&inside, DirAccess::ReadWrite);
        for path in ["race/dir/secret", "race/dir/../dir/secret", "race/dir/../../../outside/secret"] {
            for _ in 0..4000 {
                if let Ok(fd) = guest.open(3, path, 0, READ) {
                    assert_eq!(guest.read(fd, 10).unwrap(), b"inside", "{path}");
                    guest.close(fd).unwrap();
                }
                if let Ok(stat) = guest.stat(3, 0, path) {
                    assert_eq!(stat.size, 6);
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_read_only_folder_stays_as_it_is() {
    let temp = folders();
    let inside = temp.path().join("inside");
    let mut guest = Guest::in_folder(&inside, DirAccess::ReadOnly);
    let file = guest.open(3, "file", 0, READ).unwrap();
    assert_eq!(guest.read(file, 10).unwrap(), b"file");
    assert_eq!(guest.write(file, b"x"), Err(Errno::Notcapable));
    let set_size = guest.call(|ctx, memory| ctx.fd_filestat_set_size(memory, file, 0));
    assert_eq!(set_size, Err(Errno::Notcapable));
    let set_times = guest.call(|ctx, memory| ctx.fd_filestat_set_times(memory, file, 0, 0, 5));
    assert_eq!(set_times, Err(Errno::Notcapable));
    for (oflags, rights) in [(0, WRITE), (0, READ | WRITE), (CREAT, READ), (TRUNC, READ), (CREAT | EXCL, 0), (0, ALL)] {
        assert_eq!(guest.open(3, "file", oflags, rights), Err(Errno::Rofs), "{oflags} {rights:#x}");
    }
    assert_eq!(guest.mkdir(3, "new"), Err(Errno::Rofs));
    assert_eq!(guest.rmdir(3, "a/b"), Err(Errno::Rofs));
    assert_eq!(guest.unlink(3, "file"), Err(Errno::Rofs));
    assert_eq!(guest.symlink("file", 3, "new"), Err(Errno::Rofs));
    assert_eq!(guest.rename(3, "file", 3, "new"), Err(Errno::Rofs));
    assert_eq!(guest.link(3, 0, "file", 3, "new"), Err(Errno::Rofs));
    assert_eq!(guest.set_times(3, 0, "file", 0, 0, 5), Err(Errno::Rofs));
    // Folders opened through it are the same.
    let sub = guest.open(3, "a", DIRECTORY, FOLDER).unwrap();
    assert_eq!(guest.mkdir(sub, "new"), Err(Errno::Rofs));
    assert_eq!(guest.open(sub, "new", CREAT, WRITE), Err(Errno::Rofs));
    // Programs ask for rights that they do not use; that does not keep them from reading.
    let file = guest.open(3, "file", 0, ALL & !(1 << 6)).unwrap();
    assert_eq!(guest.read(file, 10).unwrap(), b"file");
    assert_eq!(guest.readdir(3, 4096).unwrap().len(), 11);
}

/// All that there is, but for times of access.
fn state(path: &Path) -> Vec<String> {
    let mut list = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let m = fs::symlink_metadata(&path).unwrap();
        let times = (m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
        list.push(format!("{} {:o} {} {} {times:?}", path.display(), m.mode(), m.size(), m.nlink()));
        if m.is_dir() {
            list.extend(state(&path));
        }
    }
    list.sort();
    list
}

/// Every call that could change something, on every way to it: nothing is changed, to the last attribute.
#[test]
fn no_call_changes_a_read_only_folder() {
    type Change = fn(&mut Guest, u32, &str) -> Result<(), Errno>;
    let changes: &[(&str, Change)] = &[
        ("create", |g, fd, p| g.open(fd, format!("{p}new"), CREAT, WRITE).map(drop)),
        ("create without rights", |g, fd, p| g.open(fd, format!("{p}new"), CREAT, 0).map(drop)),
        ("create anew", |g, fd, p| g.open(fd, format!("{p}new"), CREAT | EXCL, READ).map(drop)),
        ("cut", |g, fd, p| g.open(fd, format!("{p}inner"), TRUNC, READ).map(drop)),
        ("write", |g, fd, p| g.open(fd, format!("{p}inner"), 0, WRITE).map(drop)),
        ("append", |g, fd, p| g.open_with(fd, 0, format!("{p}inner"), 0, WRITE, APPEND).map(drop)),
        ("mkdir", |g, fd, p| g.mkdir(fd, format!("{p}new"))),
        ("rmdir", |g, fd, p| g.rmdir(fd, format!("{p}sub"))),
        ("unlink", |g, fd, p| g.unlink(fd, format!("{p}inner"))),
        ("symlink", |g, fd, p| g.symlink("x", fd, format!("{p}new"))),
        ("rename", |g, fd, p| g.rename(fd, &format!("{p}inner"), fd, &format!("{p}new"))),
        ("replace", |g, fd, p| g.rename(fd, &format!("{p}inner"), fd, &format!("{p}other"))),
        ("link", |g, fd, p| g.link(fd, 0, &format!("{p}inner"), fd, &format!("{p}new"))),
        ("times", |g, fd, p| g.set_times(fd, SYMLINK_FOLLOW, &format!("{p}inner"), 0, 0, 5)),
        ("times of a link", |g, fd, p| g.set_times(fd, 0, &format!("{p}link"), 0, 0, 10)),
        ("times of a folder", |g, fd, p| g.set_times(fd, 0, &format!("{p}sub"), 0, 0, 10)),
        ("times of itself", |g, fd, _| g.call(|ctx, memory| ctx.fd_filestat_set_times(memory, fd, 0, 0, 10))),
    ];
    let open_file: &[(&str, Change)] = &[
        ("fd_write", |g, fd, _| g.write(fd, b"x").map(drop)),
        ("fd_pwrite", |g, fd, _| {
            let count = g.iovs(&[(DATA, 1)]);
            g.call(|ctx, memory| ctx.fd_pwrite(memory, fd, IOVS, count, 0, RESULT))
        }),
        ("set_size", |g, fd, _| g.call(|ctx, memory| ctx.fd_filestat_set_size(memory, fd, 0))),
        ("allocate", |g, fd, _| g.call(|ctx, memory| ctx.fd_allocate(memory, fd, 0, 1000))),
        ("set_times", |g, fd, _| g.call(|ctx, memory| ctx.fd_filestat_set_times(memory, fd, 0, 0, 5))),
        ("more rights", |g, fd, _| g.call(|ctx, memory| ctx.fd_fdstat_set_rights(memory, fd, ALL, ALL))),
    ];
    let mutating: u64 = [6, 8, 9, 10, 11, 12, 16, 17, 19, 20, 22, 23, 24, 25, 26].iter().map(|right| 1 << right).sum();
    let temp = tempfile::tempdir().unwrap();
    for folder in ["", "dir"] {
        let folder = temp.path().join("inside").join(folder);
        fs::create_dir_all(folder.join("sub")).unwrap();
        fs::write(folder.join("inner"), "inner").unwrap();
        fs::write(folder.join("other"), "other").unwrap();
        symlink("inner", folder.join("link")).unwrap();
    }
    let inside = temp.path().join("inside");
    let before = state(&inside);
    let mut guest = Guest::in_folder(&inside, DirAccess::ReadOnly);
    let sub = guest.open(3, "dir", DIRECTORY, FOLDER).unwrap();
    // Asking for nothing to be handed on, then for all.
    let plain = guest.open(3, "dir", DIRECTORY, 1 << 13).unwrap();
    for (fd, prefix) in [(3, ""), (3, "dir/"), (3, "dir/../"), (sub, ""), (plain, "")] {
        let (_, _, rights, inheriting) = guest.fdstat(fd).unwrap();
        assert_eq!((rights | inheriting) & mutating, 0, "{fd}");
        for (name, change) in changes {
            let result = change(&mut guest, fd, prefix);
            assert!(matches!(result, Err(Errno::Rofs | Errno::Notcapable)), "{name} {fd} {prefix}: {result:?}");
        }
        for (path, rights) in [("inner", READ), ("inner", ALL & !(1 << 6)), ("link", READ)] {
            let Ok(file) = guest.open(fd, format!("{prefix}{path}"), 0, rights) else {
                assert_eq!(fd, plain);
                continue;
            };
            let (_, _, rights, inheriting) = guest.fdstat(file).unwrap();
            assert_eq!((rights | inheriting) & mutating, 0, "{path}");
            for (name, change) in open_file {
                let result = change(&mut guest, file, "");
                assert_eq!(result, Err(Errno::Notcapable), "{name} {fd} {prefix}{path}");
            }
            guest.close(file).unwrap();
        }
    }
    assert_eq!(state(&inside), before);
}

/// A file of a read-only folder must not become writable by a second name in another folder.
#[test]
fn files_do_not_leave_a_read_only_folder() {
    let temp = tempfile::tempdir().unwrap();
    let (locked, open) = (temp.path().join("locked"), temp.path().join("open"));
    fs::create_dir(&locked).unwrap();
    fs::create_dir(&open).unwrap();
    fs::write(locked.join("file"), "file").unwrap();
    fs::write(open.join("file"), "other").unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder.preopened_dir(&locked, "/locked", DirAccess::ReadOnly).unwrap();
    builder.preopened_dir(&open, "/open", DirAccess::ReadWrite).unwrap();
    let mut guest = Guest::new(&mut builder);
    assert_eq!(guest.link(3, 0, "file", 4, "linked"), Err(Errno::Rofs));
    assert_eq!(guest.rename(3, "file", 4, "moved"), Err(Errno::Rofs));
    assert_eq!(guest.link(4, 0, "file", 3, "linked"), Err(Errno::Rofs));
    assert_eq!(guest.rename(4, "file", 3, "file"), Err(Errno::Rofs));
    assert!(guest.link(4, 0, "file", 4, "linked").is_ok());
}
