//! Arguments, environment, clocks, random bytes, the end of the program, and bad arguments to everything.

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use common::*;
use kiln_wasi::{BuildError, DirAccess, Errno, GuestMemory, I32Exit, WasiCtx, WasiCtxBuilder, for_each_function};

#[test]
fn arguments_and_variables_arrive() {
    let mut builder = WasiCtxBuilder::new();
    builder.arg("program").args(["", "two words"]).arg(OsStr::from_bytes(b"\xff"));
    builder.env("A", "1").env("EMPTY", "").env("A", "2=3").envs([("LAST", "x")]);
    let mut guest = Guest::new(&mut builder);
    guest.call(|ctx, memory| ctx.args_sizes_get(memory, RESULT, RESULT + 4)).unwrap();
    assert_eq!((guest.u32(RESULT), guest.u32(RESULT + 4)), (4, 21));
    guest.call(|ctx, memory| ctx.args_get(memory, RESULT, DATA)).unwrap();
    assert_eq!(guest.get(DATA), *b"program\0\0two words\0\xff\0");
    let pointers: Vec<_> = (0..4).map(|index| guest.u32(RESULT + index * 4) - DATA).collect();
    assert_eq!(pointers, [0, 8, 9, 19]);
    guest.call(|ctx, memory| ctx.environ_sizes_get(memory, RESULT, RESULT + 4)).unwrap();
    assert_eq!((guest.u32(RESULT), guest.u32(RESULT + 4)), (3, 20));
    guest.call(|ctx, memory| ctx.environ_get(memory, RESULT, DATA)).unwrap();
    assert_eq!(guest.get(DATA), *b"A=2=3\0EMPTY=\0LAST=x\0");
    assert_eq!(guest.call(|ctx, memory| ctx.args_get(memory, RESULT, 0xfffff)), Err(Errno::Fault));
    assert_eq!(guest.call(|ctx, memory| ctx.args_get(memory, 0xffff8, DATA)), Err(Errno::Fault));
}

#[test]
fn no_arguments_and_no_variables_are_fine() {
    let mut guest = Guest::new(&mut WasiCtxBuilder::new());
    guest.call(|ctx, memory| ctx.args_sizes_get(memory, RESULT, RESULT + 4)).unwrap();
    assert_eq!(guest.u64(RESULT), 0);
    guest.call(|ctx, memory| ctx.args_get(memory, RESULT, DATA)).unwrap();
    guest.call(|ctx, memory| ctx.environ_get(memory, RESULT, DATA)).unwrap();
}

#[test]
fn what_cannot_be_passed_is_an_error_at_build() {
    let error = WasiCtxBuilder::new().args(["fine", "a\0b"]).build().unwrap_err();
    assert!(matches!(&error, BuildError::ArgumentWithNul { index: 1, .. }), "{error}");
    for (name, value) in [("A\0", "x"), ("A", "x\0"), ("", "x"), ("A=B", "x")] {
        let error = WasiCtxBuilder::new().env(name, value).build().unwrap_err();
        assert!(matches!(&error, BuildError::Variable { .. }), "{error}");
    }
    assert!(WasiCtxBuilder::new().env("=C:", "/").build().is_ok());
    let error = WasiCtxBuilder::new().preopened_dir("/does/not/exist", "/", DirAccess::ReadOnly).unwrap_err();
    assert_eq!(error.to_string(), "cannot open /does/not/exist as \"/\" for the guest");
    assert!(std::error::Error::source(&error).is_some());
    assert!(WasiCtxBuilder::new().preopened_dir("/dev/null", "/", DirAccess::ReadOnly).is_err());
    assert!(WasiCtxBuilder::new().preopened_dir("/", "a\0b", DirAccess::ReadOnly).is_err());
}

#[test]
fn clocks_tell_time() {
    let mut guest = Guest::new(&mut WasiCtxBuilder::new());
    let time = |guest: &mut Guest, id| {
        guest.call(|ctx, memory| ctx.clock_time_get(memory, id, 1, RESULT)).map(|()| guest.u64(RESULT))
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    assert!(time(&mut guest, 0).unwrap().abs_diff(now) < 1_000_000_000);
    for id in 1..4 {
        let before = time(&mut guest, id).unwrap();
        // Long enough for clocks of processor time to move.
        let mut sum = 0u64;
        for number in 0..3_000_000u64 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(number));
        }
        assert!(time(&mut guest, id).unwrap() > before, "{id} {sum}");
    }
    for id in 0..4 {
        guest.call(|ctx, memory| ctx.clock_res_get(memory, id, RESULT)).unwrap();
        assert!((1..=1_000_000_000).contains(&guest.u64(RESULT)), "{id}");
    }
    for id in [4, u32::MAX] {
        assert_eq!(time(&mut guest, id), Err(Errno::Inval));
        assert_eq!(guest.call(|ctx, memory| ctx.clock_res_get(memory, id, RESULT)), Err(Errno::Inval));
    }
}

#[test]
fn random_bytes_come_from_the_system_or_the_embedder() {
    let mut guest = Guest::new(&mut WasiCtxBuilder::new());
    guest.call(|ctx, memory| ctx.random_get(memory, 0, 0x100000)).unwrap();
    let zeros = guest.bytes.iter().filter(|&&byte| byte == 0).count();
    assert!((1000..10_000).contains(&zeros), "{zeros}");
    assert_eq!(guest.call(|ctx, memory| ctx.random_get(memory, 1, 0x100000)), Err(Errno::Fault));
    assert_eq!(guest.call(|ctx, memory| ctx.random_get(memory, 0x100000, 0)), Ok(()));
    let mut next = 0;
    let mut guest = Guest::new(WasiCtxBuilder::new().random(move |bytes| {
        for byte in bytes {
            next += 1;
            *byte = next;
        }
    }));
    guest.call(|ctx, memory| ctx.random_get(memory, DATA, 3)).unwrap();
    guest.call(|ctx, memory| ctx.random_get(memory, DATA + 3, 2)).unwrap();
    assert_eq!(guest.get(DATA), [1, 2, 3, 4, 5, 0]);
}

#[test]
fn the_end_of_a_program_is_an_error_that_carries_its_code() {
    let mut guest = Guest::new(&mut WasiCtxBuilder::new());
    assert_eq!(guest.ctx.proc_exit(33), Err(I32Exit(33)));
    assert_eq!(guest.ctx.proc_exit(u32::MAX), Err(I32Exit(-1)));
    assert_eq!(I32Exit(-1).process_exit_code(), 255);
    assert_eq!(I32Exit(256).process_exit_code(), 1);
    assert_eq!(I32Exit(0).process_exit_code(), 0);
    assert_eq!(guest.ctx.proc_raise(6), Err(I32Exit(134)));
    assert_eq!(guest.ctx.proc_raise(0), Ok(Ok(())));
    assert_eq!(guest.ctx.proc_raise(18), Ok(Err(Errno::Notsup)));
    assert_eq!(guest.ctx.proc_raise(31), Ok(Err(Errno::Inval)));
    assert_eq!(guest.call(|ctx, memory| ctx.sched_yield(memory)), Ok(()));
}

/// A generator of arguments that a hostile guest might pass.
struct Hostile(u64);

impl Hostile {
    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn u32(&mut self) -> u32 {
        const EDGES: [u32; 14] =
            [0, 1, 2, 3, 4, 5, 8, 0xffff, 0x10000, 0xfffff, 0x100000, 0x7fff_ffff, 0x8000_0000, u32::MAX];
        let bits = self.bits();
        match bits >> 62 {
            0 => EDGES[(bits % EDGES.len() as u64) as usize],
            1 => bits as u32 % 0x100001,
            2 => bits as u32 % 8,
            _ => bits as u32,
        }
    }

    fn u64(&mut self) -> u64 {
        let bits = self.bits();
        match bits >> 62 {
            0 => u64::from(self.u32()),
            1 => u64::MAX - bits % 4,
            2 => bits % 8,
            _ => bits,
        }
    }

    fn i64(&mut self) -> i64 {
        self.u64().cast_signed()
    }
}

type Call = fn(&mut WasiCtx, &mut GuestMemory<'_>, &mut Hostile);

macro_rules! calls {
    (
        errno { $($name:ident($($param:ident: $ty:ident),*);)* }
        raise { $($raise:ident($($rparam:ident: $rty:ident),*);)* }
        exit { $($exit:ident($($eparam:ident: $ety:ident),*);)* }
        unstable { $($_name:ident = $unstable:ident($($uparam:ident: $uty:ident),*);)* }
    ) => {
        &[
            $((stringify!($name), |ctx, memory, hostile| {
                let _ = &hostile;
                let _ = ctx.$name(memory $(, hostile.$ty())*);
            }),)*
            $((stringify!($raise), |ctx, _, hostile| {
                let _ = ctx.$raise($(hostile.$rty()),*);
            }),)*
            $((stringify!($exit), |ctx, _, hostile| {
                let _ = ctx.$exit($(hostile.$ety()),*);
            }),)*
            $((stringify!($unstable), |ctx, memory, hostile| {
                let _ = ctx.$unstable(memory $(, hostile.$uty())*);
            }),)*
        ]
    };
}

/// Calls everything with random arguments and random memory. Whatever happens is an error number.
#[test]
fn no_argument_makes_the_host_panic() {
    let calls: &[(&str, Call)] = for_each_function!(calls);
    let temp = tempfile::tempdir().unwrap();
    let mut hostile = Hostile(0x2545_f491_4f6c_dd1d);
    for round in 0..40 {
        let folder = temp.path().join(round.to_string());
        std::fs::create_dir(&folder).unwrap();
        let mut builder = WasiCtxBuilder::new();
        builder.stdin("input").args(["a", "b"]).preopened_dir(&folder, "/", DirAccess::ReadWrite).unwrap();
        let mut guest = Guest::new(&mut builder);
        for byte in &mut guest.bytes {
            // Small numbers are often valid pointers, lengths, descriptors and flags.
            let bits = hostile.bits();
            *byte = if bits >> 63 == 0 { 0 } else { bits as u8 };
        }
        for _ in 0..2000 {
            let (name, call) = calls[(hostile.bits() % calls.len() as u64) as usize];
            // These may rightly wait, or fill the disk.
            if name.starts_with("poll_oneoff") || name == "fd_allocate" {
                continue;
            }
            guest.call(|ctx, memory| call(ctx, memory, &mut hostile));
        }
    }
}
