//! The table of all functions: bindings and signatures are generated from it.

/// Calls a macro with the table of all functions of `wasi_snapshot_preview1`.
///
/// The macro gets lists of lines `name(parameter: type, …);` in braces, whose types are `u32`, `u64` and `i64`:
/// * `errno { … }`: methods of [`WasiCtx`](crate::WasiCtx) with [`GuestMemory`](crate::GuestMemory) as first
///   parameter. They return `Result<(), Errno>`, and the wasm function returns the error number as `i32`.
/// * `raise { … }`: as before without memory, and the result in another `Result<_, I32Exit>`.
/// * `exit { … }`: return `Result<(), I32Exit>`; the wasm function returns nothing.
/// * `unstable { … }`: what `wasi_unstable` has instead of the function whose name it begins with, in the form
///   `name = method(…);`. All its other functions are the same.
///
/// Anything in parentheses after the macro's name is passed on in front of the lists.
#[macro_export]
macro_rules! for_each_function {
    ($callback:ident $(, ($($context:tt)*))?) => {
        $callback! {
            $($($context)*)?
            errno {
                args_get(argv: u32, argv_buf: u32);
                args_sizes_get(argc: u32, argv_buf_size: u32);
                clock_res_get(id: u32, resolution: u32);
                clock_time_get(id: u32, precision: u64, time: u32);
                environ_get(environ: u32, environ_buf: u32);
                environ_sizes_get(environc: u32, environ_buf_size: u32);
                fd_advise(fd: u32, offset: u64, len: u64, advice: u32);
                fd_allocate(fd: u32, offset: u64, len: u64);
                fd_close(fd: u32);
                fd_datasync(fd: u32);
                fd_fdstat_get(fd: u32, stat: u32);
                fd_fdstat_set_flags(fd: u32, flags: u32);
                fd_fdstat_set_rights(fd: u32, fs_rights_base: u64, fs_rights_inheriting: u64);
                fd_filestat_get(fd: u32, stat: u32);
                fd_filestat_set_size(fd: u32, size: u64);
                fd_filestat_set_times(fd: u32, atim: u64, mtim: u64, fst_flags: u32);
                fd_pread(fd: u32, iovs: u32, iovs_len: u32, offset: u64, nread: u32);
                fd_prestat_dir_name(fd: u32, path: u32, path_len: u32);
                fd_prestat_get(fd: u32, prestat: u32);
                fd_pwrite(fd: u32, iovs: u32, iovs_len: u32, offset: u64, nwritten: u32);
                fd_read(fd: u32, iovs: u32, iovs_len: u32, nread: u32);
                fd_readdir(fd: u32, buf: u32, buf_len: u32, cookie: u64, bufused: u32);
                fd_renumber(fd: u32, to: u32);
                fd_seek(fd: u32, offset: i64, whence: u32, newoffset: u32);
                fd_sync(fd: u32);
                fd_tell(fd: u32, offset: u32);
                fd_write(fd: u32, iovs: u32, iovs_len: u32, nwritten: u32);
                path_create_directory(fd: u32, path: u32, path_len: u32);
                path_filestat_get(fd: u32, flags: u32, path: u32, path_len: u32, stat: u32);
                path_filestat_set_times(fd: u32, flags: u32, path: u32, path_len: u32, atim: u64, mtim: u64, fst_flags: u32);
                path_link(old_fd: u32, old_flags: u32, old_path: u32, old_path_len: u32, new_fd: u32, new_path: u32, new_path_len: u32);
                path_open(fd: u32, dirflags: u32, path: u32, path_len: u32, oflags: u32, fs_rights_base: u64, fs_rights_inheriting: u64, fdflags: u32, opened_fd: u32);
                path_readlink(fd: u32, path: u32, path_len: u32, buf: u32, buf_len: u32, bufused: u32);
                path_remove_directory(fd: u32, path: u32, path_len: u32);
                path_rename(fd: u32, old_path: u32, old_path_len: u32, new_fd: u32, new_path: u32, new_path_len: u32);
                path_symlink(old_path: u32, old_path_len: u32, fd: u32, new_path: u32, new_path_len: u32);
                path_unlink_file(fd: u32, path: u32, path_len: u32);
                poll_oneoff(subscriptions: u32, events: u32, nsubscriptions: u32, nevents: u32);
                random_get(buf: u32, buf_len: u32);
                sched_yield();
                sock_accept(fd: u32, flags: u32, accepted_fd: u32);
                sock_recv(fd: u32, ri_data: u32, ri_data_len: u32, ri_flags: u32, ro_datalen: u32, ro_flags: u32);
                sock_send(fd: u32, si_data: u32, si_data_len: u32, si_flags: u32, so_datalen: u32);
                sock_shutdown(fd: u32, how: u32);
            }
            raise {
                proc_raise(sig: u32);
            }
            exit {
                proc_exit(rval: u32);
            }
            unstable {
                fd_filestat_get = fd_filestat_get_unstable(fd: u32, stat: u32);
                fd_seek = fd_seek_unstable(fd: u32, offset: i64, whence: u32, newoffset: u32);
                path_filestat_get = path_filestat_get_unstable(fd: u32, flags: u32, path: u32, path_len: u32, stat: u32);
                poll_oneoff = poll_oneoff_unstable(subscriptions: u32, events: u32, nsubscriptions: u32, nevents: u32);
            }
        }
    };
}

/// The type of a parameter in WebAssembly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WasmType {
    /// `i32`.
    I32,
    /// `i64`.
    I64,
}

/// One function of `wasi_snapshot_preview1`.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Its parameters: the specification's names and the types.
    pub params: &'static [(&'static str, WasmType)],
    /// Whether it returns an error number as `i32`.
    pub returns_errno: bool,
}

macro_rules! wasm_type {
    (u32) => {
        WasmType::I32
    };
    (u64) => {
        WasmType::I64
    };
    (i64) => {
        WasmType::I64
    };
}

macro_rules! signatures {
    (
        errno { $($name:ident($($param:ident: $ty:ident),*);)* }
        raise { $($raise:ident($($rparam:ident: $rty:ident),*);)* }
        exit { $($exit:ident($($eparam:ident: $ety:ident),*);)* }
        unstable { $($unstable:tt)* }
    ) => {
        &[
            $(Function {
                name: stringify!($name),
                params: &[$((stringify!($param), wasm_type!($ty))),*],
                returns_errno: true,
            },)*
            $(Function {
                name: stringify!($raise),
                params: &[$((stringify!($rparam), wasm_type!($rty))),*],
                returns_errno: true,
            },)*
            $(Function {
                name: stringify!($exit),
                params: &[$((stringify!($eparam), wasm_type!($ety))),*],
                returns_errno: false,
            },)*
        ]
    };
}

/// All functions of `wasi_snapshot_preview1` with their signatures.
pub const FUNCTIONS: &[Function] = for_each_function!(signatures);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_complete() {
        assert_eq!(FUNCTIONS.len(), 46);
        let mut names: Vec<_> = FUNCTIONS.iter().map(|function| function.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 46);
    }
}
