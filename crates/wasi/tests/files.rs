//! Files and folders: contents, positions, flags, rights, names, listings, times.

mod common;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};

use common::*;
use kiln_wasi::{DirAccess, Errno, WasiCtxBuilder};

fn guest() -> (Guest, tempfile::TempDir) {
    let temp = tempfile::tempdir().unwrap();
    (Guest::in_folder(temp.path(), DirAccess::ReadWrite), temp)
}

#[test]
fn contents_go_through_vectors_both_ways() {
    let (mut guest, temp) = guest();
    let file = guest.open(3, "file", CREAT, READ | WRITE).unwrap();
    guest.put(DATA, b"abcdefghij");
    // Out of order, with an empty piece, and one piece twice: all fine for writing.
    let count = guest.iovs(&[(DATA + 5, 5), (DATA, 0), (DATA, 3), (DATA, 3)]);
    guest.call(|ctx, memory| ctx.fd_write(memory, file, IOVS, count, RESULT)).unwrap();
    assert_eq!(guest.u32(RESULT), 11);
    assert_eq!(fs::read(temp.path().join("file")).unwrap(), b"fghijabcabc");

    assert_eq!(guest.seek(file, 0, 0), Ok(0));
    let count = guest.iovs(&[(DATA + 100, 4), (DATA + 50, 4), (DATA + 200, 100)]);
    guest.call(|ctx, memory| ctx.fd_read(memory, file, IOVS, count, RESULT)).unwrap();
    assert_eq!(guest.u32(RESULT), 11);
    assert_eq!(guest.get(DATA + 100), *b"fghi");
    assert_eq!(guest.get(DATA + 50), *b"jabc");
    assert_eq!(guest.get(DATA + 200), *b"abc");

    // Pieces that overlap are filled one after the other.
    let count = guest.iovs(&[(DATA, 4), (DATA + 2, 4)]);
    guest.call(|ctx, memory| ctx.fd_pread(memory, file, IOVS, count, 0, RESULT)).unwrap();
    assert_eq!(guest.u32(RESULT), 8);
    assert_eq!(guest.get(DATA), *b"fgjabc");

    let count = guest.iovs(&[(DATA, 1), (DATA + 1, 1)]);
    guest.call(|ctx, memory| ctx.fd_pwrite(memory, file, IOVS, count, 9, RESULT)).unwrap();
    assert_eq!(fs::read(temp.path().join("file")).unwrap(), b"fghijabcafg");
    assert_eq!(guest.seek(file, 0, 1), Ok(11), "pread and pwrite leave the position");
}

#[test]
fn thousands_of_pieces_make_a_short_transfer() {
    let (mut guest, temp) = guest();
    let file = guest.open(3, "file", CREAT, READ | WRITE).unwrap();
    let pieces: Vec<_> = (0..3000).map(|index| (DATA + index, 1)).collect();
    let data: Vec<u8> = (0..3000).map(|index| (index % 251) as u8).collect();
    guest.put(DATA, &data);
    let count = guest.iovs(&pieces);
    guest.call(|ctx, memory| ctx.fd_write(memory, file, IOVS, count, RESULT)).unwrap();
    assert_eq!(guest.u32(RESULT), 1024);
    assert_eq!(fs::read(temp.path().join("file")).unwrap(), data[..1024]);
    guest.put(DATA, &[0; 3000]);
    guest.call(|ctx, memory| ctx.fd_pread(memory, file, IOVS, count, 0, RESULT)).unwrap();
    assert_eq!(guest.u32(RESULT), 1024);
    assert_eq!(guest.get::<1024>(DATA), data[..1024]);
}

#[test]
fn flags_of_opening_do_what_they_say() {
    let (mut guest, temp) = guest();
    let path = temp.path().join("file");
    assert_eq!(guest.open(3, "file", 0, READ), Err(Errno::Noent));
    assert_eq!(guest.open(3, "none/file", CREAT, READ), Err(Errno::Noent));
    // To create a file in order to read it is legal.
    let file = guest.open(3, "file", CREAT, READ).unwrap();
    assert_eq!(guest.read(file, 1).unwrap(), b"");
    assert_eq!(guest.write(file, b"x"), Err(Errno::Notcapable));
    assert_eq!(guest.open(3, "file", CREAT | EXCL, WRITE), Err(Errno::Exist));
    fs::write(&path, "0123456789").unwrap();
    let file = guest.open(3, "file", TRUNC, READ | WRITE).unwrap();
    assert_eq!(guest.write(file, b"new"), Ok(3));
    assert_eq!(fs::read(&path).unwrap(), b"new");
    let append = guest.open_with(3, 0, "file", 0, READ | WRITE, APPEND).unwrap();
    assert_eq!(guest.seek(append, 0, 0), Ok(0));
    assert_eq!(guest.write(append, b"er"), Ok(2));
    assert_eq!(fs::read(&path).unwrap(), b"newer");
    assert_eq!(guest.fdstat(append).unwrap().1, APPEND as u16);
    assert_eq!(guest.open(3, "file", DIRECTORY, READ), Err(Errno::Notdir));
    assert_eq!(guest.open(3, "file/", 0, READ), Err(Errno::Notdir));
    assert_eq!(guest.open(3, "file/x", 0, READ), Err(Errno::Notdir));
    assert_eq!(guest.open(3, ".", 0, WRITE), Err(Errno::Isdir));
    assert_eq!(guest.open(3, ".", DIRECTORY, WRITE), Err(Errno::Isdir));
    assert_eq!(guest.open(3, "new", DIRECTORY | CREAT, FOLDER), Err(Errno::Inval));
    assert!(!temp.path().join("new").exists());
    assert_eq!(guest.open(3, "", 0, READ), Err(Errno::Noent));
    assert_eq!(guest.open(3, "a\0b", 0, READ), Err(Errno::Inval));
    assert_eq!(guest.open(3, "a".repeat(256), CREAT, WRITE), Err(Errno::Nametoolong));
    assert_eq!(guest.open(3, "a/".repeat(2100), 0, READ), Err(Errno::Nametoolong));
    assert_eq!(guest.open_with(3, 2, "file", 0, READ, 0), Err(Errno::Inval));
    assert_eq!(guest.open_with(3, 0, "file", 16, READ, 0), Err(Errno::Inval));
    assert_eq!(guest.open_with(3, 0, "file", 0, READ, 32), Err(Errno::Inval));
    assert_eq!(guest.open(99, "file", 0, READ), Err(Errno::Badf));
    assert_eq!(guest.open(file, "file", 0, READ), Err(Errno::Notdir));
    assert_eq!(guest.open(1, "file", 0, READ), Err(Errno::Notdir));
}

#[test]
fn links_are_followed_when_asked() {
    let (mut guest, temp) = guest();
    fs::write(temp.path().join("file"), "file").unwrap();
    guest.symlink("file", 3, "link").unwrap();
    guest.symlink("nowhere", 3, "dangling").unwrap();
    guest.symlink("loop", 3, "loop").unwrap();
    assert!(guest.open_with(3, SYMLINK_FOLLOW, "link", 0, READ, 0).is_ok());
    assert_eq!(guest.open_with(3, 0, "link", 0, READ, 0), Err(Errno::Loop));
    assert_eq!(guest.open_with(3, 1, "dangling", 0, READ, 0), Err(Errno::Noent));
    assert_eq!(guest.open_with(3, 1, "loop", 0, READ, 0), Err(Errno::Loop));
    assert_eq!(guest.stat(3, 0, "link").unwrap().filetype, 7);
    assert_eq!(guest.stat(3, 1, "link").unwrap().filetype, 4);
    assert_eq!(guest.stat(3, 1, "dangling"), Err(Errno::Noent));
    assert_eq!(guest.stat(3, 0, "dangling").unwrap().size, 7);
    assert_eq!(guest.stat(3, 1, "loop"), Err(Errno::Loop));
    assert_eq!(guest.readlink(3, "link", 100).unwrap(), b"file");
    assert_eq!(guest.readlink(3, "link", 2).unwrap(), b"fi");
    assert_eq!(guest.readlink(3, "file", 2), Err(Errno::Inval));
    assert_eq!(guest.link(3, SYMLINK_FOLLOW, "link", 3, "hard"), Err(Errno::Inval));
    assert_eq!(guest.symlink("file", 3, "link"), Err(Errno::Exist));
    assert_eq!(guest.symlink("", 3, "empty"), Err(Errno::Noent));
    // Creating a file through a dangling link creates what it points at.
    assert!(guest.open(3, "dangling", CREAT, WRITE).is_ok());
    assert!(temp.path().join("nowhere").exists());
}

#[test]
fn positions_are_checked() {
    let (mut guest, _temp) = guest();
    let file = guest.open(3, "file", CREAT, READ | WRITE | 1 << 7).unwrap();
    guest.write(file, b"0123456789").unwrap();
    assert_eq!(guest.seek(file, -3, 2), Ok(7));
    assert_eq!(guest.seek(file, 2, 1), Ok(9));
    assert_eq!(guest.seek(file, 100, 0), Ok(100));
    assert_eq!(guest.seek(file, -1, 0), Err(Errno::Inval));
    assert_eq!(guest.seek(file, -101, 1), Err(Errno::Inval));
    assert_eq!(guest.seek(file, i64::MIN, 2), Err(Errno::Inval));
    assert_eq!(guest.seek(file, 0, 3), Err(Errno::Inval));
    assert_eq!(guest.seek(file, 0, u32::MAX), Err(Errno::Inval));
    // `wasi_unstable` numbers the origins differently.
    guest.call(|ctx, memory| ctx.fd_seek_unstable(memory, file, -4, 1, RESULT)).unwrap();
    assert_eq!(guest.u64(RESULT), 6);
    guest.call(|ctx, memory| ctx.fd_seek_unstable(memory, file, 1, 0, RESULT)).unwrap();
    assert_eq!(guest.u64(RESULT), 7);
    guest.call(|ctx, memory| ctx.fd_seek_unstable(memory, file, 1, 2, RESULT)).unwrap();
    assert_eq!(guest.u64(RESULT), 1);
    let count = guest.iovs(&[(DATA, 1)]);
    for offset in [1 << 63, u64::MAX] {
        let read = guest.call(|ctx, memory| ctx.fd_pread(memory, file, IOVS, count, offset, RESULT));
        assert_eq!(read, Err(Errno::Inval));
        let write = guest.call(|ctx, memory| ctx.fd_pwrite(memory, file, IOVS, count, offset, RESULT));
        assert_eq!(write, Err(Errno::Inval));
        assert_eq!(guest.call(|ctx, memory| ctx.fd_filestat_set_size(memory, file, offset)), Err(Errno::Inval));
        assert_eq!(guest.call(|ctx, memory| ctx.fd_advise(memory, file, offset, 1, 0)), Err(Errno::Inval));
        assert_eq!(
            guest.call(|ctx, memory| ctx.fd_allocate(memory, file, offset, 1)),
            Err(Errno::Notcapable),
            "not asked for when it was opened"
        );
    }
    assert_eq!(guest.seek(0, 0, 0), Err(Errno::Spipe), "no position in what lies in memory");
    assert_eq!(guest.seek(3, 0, 1), Err(Errno::Notcapable), "no position in a folder");
}

#[test]
fn rights_only_shrink() {
    let (mut guest, _temp) = guest();
    let file = guest.open(3, "file", CREAT, READ | WRITE).unwrap();
    let (filetype, _, rights, inheriting) = guest.fdstat(file).unwrap();
    assert_eq!((filetype, rights, inheriting), (4, READ | WRITE, 0));
    let set = |guest: &mut Guest, rights| guest.call(|ctx, memory| ctx.fd_fdstat_set_rights(memory, file, rights, 0));
    assert_eq!(set(&mut guest, READ | WRITE | 1 << 29), Err(Errno::Notcapable));
    assert_eq!(set(&mut guest, READ), Ok(()));
    assert_eq!(guest.write(file, b"x"), Err(Errno::Notcapable));
    assert_eq!(set(&mut guest, READ | WRITE), Err(Errno::Notcapable));
    assert_eq!(set(&mut guest, 0), Ok(()));
    assert_eq!(guest.read(file, 1), Err(Errno::Notcapable));
    assert_eq!(guest.stat_fd(file), Err(Errno::Notcapable));
    assert_eq!(guest.seek(file, 0, 0), Err(Errno::Notcapable));
    // A folder hands on what it may, and nothing more.
    guest.mkdir(3, "dir").unwrap();
    let len = guest.put(PATH, b"dir");
    guest.call(|ctx, memory| ctx.path_open(memory, 3, 0, PATH, len, DIRECTORY, FOLDER, READ, 0, RESULT)).unwrap();
    let dir = guest.u32(RESULT);
    assert_eq!(guest.open(dir, "file", CREAT, WRITE), Err(Errno::Notcapable));
    assert!(guest.open(dir, "file", CREAT, READ).is_ok());
}

#[test]
fn numbers_are_reused_and_moved() {
    let (mut guest, _temp) = guest();
    let a = guest.open(3, "a", CREAT, READ | WRITE).unwrap();
    let b = guest.open(3, "b", CREAT, READ | WRITE).unwrap();
    assert_eq!((a, b), (4, 5));
    guest.write(a, b"a").unwrap();
    guest.call(|ctx, memory| ctx.fd_renumber(memory, a, b)).unwrap();
    assert_eq!(guest.stat_fd(b).unwrap().size, 1);
    assert_eq!(guest.close(a), Err(Errno::Badf));
    for (from, to) in [(b, 77), (77, b), (b, u32::MAX), (u32::MAX, u32::MAX)] {
        assert_eq!(guest.call(|ctx, memory| ctx.fd_renumber(memory, from, to)), Err(Errno::Badf));
    }
    assert_eq!(guest.open(3, "a", 0, READ), Ok(4));
    // A standard stream can be closed and replaced by a file.
    guest.close(1).unwrap();
    assert_eq!(guest.open(3, "out", CREAT, WRITE), Ok(1));
    assert_eq!(guest.write(1, b"hello"), Ok(5));
    assert_eq!(guest.close(3), Ok(()));
    assert_eq!(guest.call(|ctx, memory| ctx.fd_prestat_get(memory, 3, RESULT)), Err(Errno::Badf));
}

#[test]
fn names_need_not_be_utf8() {
    let (mut guest, temp) = guest();
    let odd = OsStr::from_bytes(b"caf\xe9\xff");
    fs::write(temp.path().join(odd), "latin").unwrap();
    let entries = guest.readdir(3, 4096).unwrap();
    assert_eq!(entries.iter().map(|entry| &entry.name[..]).collect::<Vec<_>>(), [odd.as_bytes()]);
    let file = guest.open(3, odd, 0, READ).unwrap();
    assert_eq!(guest.read(file, 10).unwrap(), b"latin");
    assert_eq!(guest.stat(3, 1, odd).unwrap().size, 5);
    guest.unlink(3, odd).unwrap();
    assert!(!temp.path().join(odd).exists());
    guest.mkdir(3, OsStr::from_bytes(b"\xc3\x28")).unwrap();
    assert_eq!(guest.readdir(3, 4096).unwrap()[0].name, b"\xc3\x28");
}

#[test]
fn listings_go_on_where_a_cookie_says() {
    let (mut guest, temp) = guest();
    let mut names: Vec<String> = (0..300).map(|index| format!("{index:03}{}", "x".repeat(index % 100))).collect();
    for name in &names {
        fs::write(temp.path().join(name), "").unwrap();
    }
    names.sort();
    // Buffers of all sizes that take one entry; with too small a one nothing comes whole.
    for room in [150, 151, 200, 1000, 4096, 65536] {
        let listed = guest.readdir(3, room).unwrap();
        let listed: Vec<_> = listed.iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect();
        assert_eq!(listed, names, "{room}");
    }
    let (entries, used) = guest.readdir_once(3, 25, 0).unwrap();
    assert!(used == 25 && entries.len() <= 1);
    let (entries, used) = guest.readdir_once(3, 10, 0).unwrap();
    assert_eq!((entries.len(), used), (0, 10));
    assert_eq!(guest.readdir_once(3, 0, 0).unwrap().1, 0);
    // Cookies stay good when others are used in between and when files go.
    let (first, _) = guest.readdir_once(3, 4096, 0).unwrap();
    let (expected, _) = guest.readdir_once(3, 4096, first[10].next).unwrap();
    guest.readdir_once(3, 4096, first[20].next).unwrap();
    assert_eq!(guest.readdir_once(3, 4096, first[10].next).unwrap().0, expected);
    assert_eq!(expected[0], first[11]);
    let (rest, used) = guest.readdir_once(3, 65536, first.last().unwrap().next).unwrap();
    assert!(used < 65536);
    assert_eq!(guest.readdir_once(3, 65536, rest.last().unwrap().next).unwrap().1, 0);
    let self_entry = first.iter().find(|entry| entry.name == b".").unwrap();
    assert_eq!(self_entry.ino, guest.stat_fd(3).unwrap().ino);
    assert_eq!(self_entry.filetype, 3);
    let file = guest.open(3, "file", CREAT, READ | 1 << 14).unwrap();
    assert_eq!(guest.readdir_once(file, 100, 0), Err(Errno::Notdir));
}

#[test]
fn cookies_fit_in_what_telldir_gives() {
    let (mut guest, temp) = guest();
    for index in 0..300 {
        fs::write(temp.path().join(format!("file-{index:03}")), "").unwrap();
    }
    let (all, _) = guest.readdir_once(3, 65536, 0).unwrap();
    assert_eq!(all.len(), 302);
    for (index, entry) in all.iter().enumerate() {
        assert_eq!(entry.next, index as u64 + 1, "`long` has 32 bits there");
    }
    // They lead to the same place through a descriptor that listed nothing yet.
    let other = guest.open(3, ".", DIRECTORY, FOLDER).unwrap();
    assert_eq!(guest.readdir_once(other, 65536, all[199].next).unwrap().0, all[200..]);
    assert_eq!(guest.readdir_once(other, 65536, all[99].next).unwrap().0, all[100..]);
    assert_eq!(guest.readdir_once(other, 65536, 400).unwrap().1, 0);
    assert_eq!(guest.readdir_once(other, 65536, 1 << 40), Err(Errno::Inval));
    // A guest that deletes what it listed comes to all entries.
    let (mut cookie, mut gone) = (0, 0);
    loop {
        let (entries, used) = guest.readdir_once(3, 500, cookie).unwrap();
        for entry in entries {
            cookie = entry.next;
            if entry.filetype == 4 {
                guest.unlink(3, OsStr::from_bytes(&entry.name)).unwrap();
                gone += 1;
            }
        }
        if used < 500 {
            break;
        }
    }
    assert_eq!((gone, fs::read_dir(temp.path()).unwrap().count()), (300, 0));
}

#[test]
fn directories_of_more_entries_than_are_counted_are_listed() {
    const FILES: usize = 70_000;
    let (mut guest, temp) = guest();
    fs::write(temp.path().join("0"), "").unwrap();
    // A file takes a limited number of links: 65,000 on ext4.
    fs::write(temp.path().join("1"), "").unwrap();
    for index in 2..FILES {
        fs::hard_link(temp.path().join((index % 2).to_string()), temp.path().join(index.to_string())).unwrap();
    }
    let (mut seen, mut cookie, mut cookies) = (BTreeSet::new(), 0, Vec::new());
    loop {
        let (entries, used) = guest.readdir_once(3, 4096, cookie).unwrap();
        for entry in entries {
            cookie = entry.next;
            cookies.push(entry.next);
            assert!(seen.insert(entry.name));
        }
        if used < 4096 {
            break;
        }
    }
    assert_eq!(seen.len(), FILES + 2);
    // The cookies behind the counted ones are good, too.
    assert_eq!(guest.readdir_once(3, 4096, cookies[69_000]).unwrap().0[0].next, cookies[69_001]);
    assert!(cookies[65_535] == 65_536 && cookies[65_536] > 65_537);
}

#[test]
fn types_are_told() {
    let (mut guest, temp) = guest();
    fs::create_dir(temp.path().join("dir")).unwrap();
    fs::write(temp.path().join("file"), "").unwrap();
    symlink("file", temp.path().join("link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(temp.path().join("socket")).unwrap();
    let types: Vec<_> = guest.readdir(3, 4096).unwrap().into_iter().map(|entry| entry.filetype).collect();
    assert_eq!(types, [3, 4, 7, 6]);
    assert_eq!(guest.fdstat(3).unwrap().0, 3);
    let devices = Guest::in_folder("/dev".as_ref(), DirAccess::ReadWrite);
    let mut guest = devices;
    let null = guest.open(3, "null", 0, READ | WRITE).unwrap();
    assert_eq!(guest.fdstat(null).unwrap().0, 2);
    assert_eq!(guest.stat(3, 1, "null").unwrap().filetype, 2);
    assert_eq!(guest.write(null, b"gone"), Ok(4));
    assert_ne!(guest.fdstat(null).unwrap().2 & 1 << 2, 0, "/dev/null is no terminal");
}

#[test]
fn folders_and_files_are_removed_as_what_they_are() {
    let (mut guest, temp) = guest();
    guest.mkdir(3, "dir").unwrap();
    assert_eq!(guest.mkdir(3, "dir"), Err(Errno::Exist));
    guest.mkdir(3, "dir/sub/").unwrap();
    fs::write(temp.path().join("file"), "").unwrap();
    assert_eq!(guest.rmdir(3, "dir"), Err(Errno::Notempty));
    assert_eq!(guest.rmdir(3, "file"), Err(Errno::Notdir));
    assert_eq!(guest.rmdir(3, "none"), Err(Errno::Noent));
    assert_eq!(guest.rmdir(3, "."), Err(Errno::Inval));
    assert_eq!(guest.unlink(3, "dir"), Err(Errno::Isdir));
    assert_eq!(guest.unlink(3, "dir/"), Err(Errno::Isdir));
    assert_eq!(guest.unlink(3, "file/"), Err(Errno::Notdir));
    assert_eq!(guest.rename(3, "file", 3, "dir"), Err(Errno::Isdir));
    assert_eq!(guest.rename(3, "dir", 3, "file"), Err(Errno::Notdir));
    assert_eq!(guest.rename(3, "dir", 3, "dir/sub/x"), Err(Errno::Inval));
    assert_eq!(guest.rename(3, "none", 3, "x"), Err(Errno::Noent));
    assert_eq!(guest.link(3, 0, "dir", 3, "x"), Err(Errno::Perm));
    guest.rmdir(3, "dir/sub///").unwrap();
    guest.rename(3, "dir/", 3, "dir2/").unwrap();
    guest.rmdir(3, "dir2").unwrap();
    guest.link(3, 0, "file", 3, "file2").unwrap();
    assert_eq!(guest.stat(3, 0, "file2").unwrap().nlink, 2);
    guest.unlink(3, "file").unwrap();
    guest.unlink(3, "file2").unwrap();
    assert_eq!(guest.readdir(3, 4096).unwrap(), []);
}

#[test]
fn times_are_set_on_files_and_on_links() {
    let (mut guest, temp) = guest();
    let path = temp.path().join("file");
    fs::write(&path, "").unwrap();
    guest.symlink("file", 3, "link").unwrap();
    guest.mkdir(3, "dir").unwrap();
    let (atim, mtim) = (1_000_000_000_123_456_789, 1_500_000_000_000_000_001);
    guest.set_times(3, SYMLINK_FOLLOW, "link", atim, mtim, 1 | 4).unwrap();
    let stat = guest.stat(3, 1, "link").unwrap();
    assert_eq!((stat.atim, stat.mtim), (atim, mtim));
    assert_eq!(
        (fs::metadata(&path).unwrap().atime(), fs::metadata(&path).unwrap().atime_nsec()),
        (1_000_000_000, 123_456_789)
    );
    assert!(guest.stat(3, 0, "link").unwrap().mtim > mtim, "the link itself stays");
    guest.set_times(3, 0, "link", 5, 6, 1 | 4).unwrap();
    assert_eq!(guest.stat(3, 0, "link").unwrap().mtim, 6);
    assert_eq!(guest.stat(3, 1, "link").unwrap().mtim, mtim);
    guest.set_times(3, SYMLINK_FOLLOW, "dir/../link", 7, 8, 4).unwrap();
    let stat = guest.stat(3, 1, "link").unwrap();
    assert_eq!((stat.atim, stat.mtim), (atim, 8), "only what is asked for");
    guest.set_times(3, 0, "dir/../link", 7, 9, 4).unwrap();
    assert_eq!(guest.stat(3, 0, "link").unwrap().mtim, 9);
    guest.set_times(3, 1, "file", 0, 0, 2 | 8).unwrap();
    assert!(guest.stat(3, 1, "file").unwrap().atim > atim);
    assert_eq!(guest.set_times(3, 1, "file", 0, 0, 3), Err(Errno::Inval));
    assert_eq!(guest.set_times(3, 1, "file", 0, 0, 12), Err(Errno::Inval));
    assert_eq!(guest.set_times(3, 1, "file", 0, 0, 16), Err(Errno::Inval));
    // A file that can only be read, and one that runs, can be touched as well.
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o444)).unwrap();
    guest.set_times(3, 1, "file", 1, 1, 5).unwrap();
    let dir = guest.open(3, "dir", DIRECTORY, FOLDER).unwrap();
    guest.call(|ctx, memory| ctx.fd_filestat_set_times(memory, dir, 3, 4, 5)).unwrap();
    assert_eq!(guest.stat(3, 0, "dir").unwrap().mtim, 4);
}

#[test]
fn sizes_grow_and_shrink() {
    let (mut guest, temp) = guest();
    let file = guest.open(3, "file", CREAT, READ | WRITE | 1 << 8 | 1 << 7 | 1 << 4 | 1).unwrap();
    guest.write(file, b"0123456789").unwrap();
    guest.call(|ctx, memory| ctx.fd_filestat_set_size(memory, file, 4)).unwrap();
    assert_eq!(fs::read(temp.path().join("file")).unwrap(), b"0123");
    guest.call(|ctx, memory| ctx.fd_filestat_set_size(memory, file, 6)).unwrap();
    assert_eq!(fs::read(temp.path().join("file")).unwrap(), b"0123\0\0");
    match guest.call(|ctx, memory| ctx.fd_allocate(memory, file, 0, 100)) {
        Ok(()) => assert_eq!(guest.stat_fd(file).unwrap().size, 100),
        Err(errno) => assert_eq!(errno, Errno::Notsup),
    }
    assert_eq!(guest.call(|ctx, memory| ctx.fd_allocate(memory, file, 0, 0)), Err(Errno::Inval));
    assert_eq!(guest.call(|ctx, memory| ctx.fd_advise(memory, file, 0, 0, 3)), Ok(()));
    assert_eq!(guest.call(|ctx, memory| ctx.fd_advise(memory, file, 0, 0, 6)), Err(Errno::Inval));
    assert_eq!(guest.call(|ctx, memory| ctx.fd_sync(memory, file)), Ok(()));
    assert_eq!(guest.call(|ctx, memory| ctx.fd_datasync(memory, file)), Ok(()));
    let flags = |guest: &mut Guest, flags| guest.call(|ctx, memory| ctx.fd_fdstat_set_flags(memory, file, flags));
    assert_eq!(flags(&mut guest, APPEND), Err(Errno::Notcapable), "not asked for when it was opened");
}

#[test]
fn flags_change_as_far_as_linux_lets_them() {
    let (mut guest, temp) = guest();
    let file = guest.open(3, "file", CREAT, READ | WRITE | 1 << 3).unwrap();
    let set = |guest: &mut Guest, flags| guest.call(|ctx, memory| ctx.fd_fdstat_set_flags(memory, file, flags));
    assert_eq!(set(&mut guest, APPEND | NONBLOCK), Ok(()));
    assert_eq!(guest.fdstat(file).unwrap().1, (APPEND | NONBLOCK) as u16);
    guest.write(file, b"a").unwrap();
    guest.seek(file, 0, 0).unwrap();
    guest.write(file, b"b").unwrap();
    assert_eq!(fs::read(temp.path().join("file")).unwrap(), b"ab");
    assert_eq!(set(&mut guest, 16), Err(Errno::Notsup));
    assert_eq!(set(&mut guest, 32), Err(Errno::Inval));
    assert_eq!(set(&mut guest, 0), Ok(()));
    assert_eq!(guest.fdstat(file).unwrap().1, 0);
}

#[test]
fn a_removed_folder_is_an_error_not_a_crash() {
    let temp = tempfile::tempdir().unwrap();
    let gone = temp.path().join("gone");
    fs::create_dir(&gone).unwrap();
    let mut guest = Guest::in_folder(&gone, DirAccess::ReadWrite);
    fs::remove_dir(&gone).unwrap();
    assert_eq!(guest.open(3, "file", CREAT, WRITE), Err(Errno::Noent));
    assert_eq!(guest.stat(3, 1, "file"), Err(Errno::Noent));
    assert_eq!(guest.mkdir(3, "dir"), Err(Errno::Noent));
    // It can still be asked about and listed.
    assert_eq!(guest.stat_fd(3).unwrap().nlink, 0);
    assert_eq!(guest.readdir(3, 4096).unwrap(), []);
    assert!(WasiCtxBuilder::new().preopened_dir(&gone, "/", DirAccess::ReadWrite).is_err());
}

#[test]
fn names_of_folders_are_told() {
    let temp = tempfile::tempdir().unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder.preopened_dir(temp.path(), "/work", DirAccess::ReadWrite).unwrap();
    let cap = cap_std::fs::Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
    builder.preopened_cap_dir(cap, ".", DirAccess::ReadOnly).unwrap();
    let mut guest = Guest::new(&mut builder);
    guest.call(|ctx, memory| ctx.fd_prestat_get(memory, 3, RESULT)).unwrap();
    assert_eq!((guest.u32(RESULT), guest.u32(RESULT + 4)), (0, 5));
    let name = |guest: &mut Guest, fd, len| guest.call(|ctx, memory| ctx.fd_prestat_dir_name(memory, fd, DATA, len));
    assert_eq!(name(&mut guest, 3, 4), Err(Errno::Nametoolong));
    name(&mut guest, 3, 5).unwrap();
    assert_eq!(guest.get(DATA), *b"/work");
    name(&mut guest, 4, 100).unwrap();
    assert_eq!(guest.get(DATA), *b".");
    assert_eq!(name(&mut guest, 5, 100), Err(Errno::Badf));
    assert_eq!(name(&mut guest, 0, 100), Err(Errno::Badf));
    // The folder that came through cap-std can be listed.
    assert_eq!(guest.readdir(4, 4096).unwrap(), []);
    assert_eq!(guest.mkdir(4, "x"), Err(Errno::Rofs));
}
