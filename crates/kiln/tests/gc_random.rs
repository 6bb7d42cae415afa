//! Random programs that move references through locals, tables, globals, calls, handlers and exceptions while the host
//! collects. Each reference travels with the number of its value; the host checks that they still belong together.

use std::fmt::Write;

use kiln::*;

/// A small generator of pseudo-random numbers (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

const LOCALS: u64 = 6;
const CELLS: u64 = 8;
const FUNCS: u64 = 8;

/// One function. Pair `i` is the reference `$r{i}` and its number `$n{i}`, 0 for null. Functions call only those after
/// them, so that programs end.
fn function(random: &mut Random, index: u64) -> String {
    let mut text =
        format!("(func $f{index} (export \"f{index}\") (param $r0 externref) (param $n0 i32) (result externref i32)\n");
    for i in 1..LOCALS {
        write!(text, "(local $r{i} externref) (local $n{i} i32) ").unwrap();
    }
    text.push_str("(local $e exnref)\n");
    let ops = 10 + random.below(20);
    for op in 0..ops {
        let (i, j, cell) = (random.below(LOCALS), random.below(LOCALS), random.below(CELLS));
        let call = match random.below(3) {
            0 if index + 1 < FUNCS => {
                let callee = index + 1 + random.below(FUNCS - index - 1);
                format!("(call $f{callee} (local.get $r{j}) (local.get $n{j}))")
            }
            _ => format!("(call $host (local.get $r{j}) (local.get $n{j}))"),
        };
        let line = match random.below(12) {
            0 | 1 => format!("(call $make) (local.set $n{i}) (local.set $r{i})"),
            2 => format!("(local.set $r{i} (local.get $r{j})) (local.set $n{i} (local.get $n{j}))"),
            3 => format!(
                "(table.set $t (i32.const {cell}) (local.get $r{i})) (i32.store (i32.const {}) (local.get $n{i}))",
                cell * 4
            ),
            4 => format!(
                "(local.set $r{i} (table.get $t (i32.const {cell}))) (local.set $n{i} (i32.load (i32.const {})))",
                cell * 4
            ),
            5 => format!("(global.set $g (local.get $r{i})) (global.set $gn (local.get $n{i}))"),
            6 => format!("(local.set $r{i} (global.get $g)) (local.set $n{i} (global.get $gn))"),
            7 => format!("{call} (local.set $n{i}) (local.set $r{i})"),
            8 => format!(
                "(block $h{op} (result externref i32) (try_table (result externref i32) (catch $tag $h{op}) {call}))
                 (local.set $n{i}) (local.set $r{i})"
            ),
            9 => format!(
                "(block $h{op} (result externref i32 exnref)
                    (try_table (catch_ref $tag $h{op}) {call} (local.set $n{i}) (local.set $r{i}))
                    (local.get $r{i}) (local.get $n{i}) (ref.null exn))
                 (local.set $e) (local.set $n{i}) (local.set $r{i})"
            ),
            10 => format!(
                "(if (i32.and (call $coin) (i32.const 1)) (then
                    (if (ref.is_null (local.get $e))
                        (then (throw $tag (local.get $r{i}) (local.get $n{i})))
                        (else (throw_ref (local.get $e))))))"
            ),
            _ => format!("(call $check (local.get $r{i}) (local.get $n{i}))"),
        };
        writeln!(text, "{line}").unwrap();
    }
    for i in 0..LOCALS {
        writeln!(text, "(call $check (local.get $r{i}) (local.get $n{i}))").unwrap();
    }
    let i = random.below(LOCALS);
    writeln!(text, "(local.get $r{i}) (local.get $n{i}))").unwrap();
    text
}

fn program(random: &mut Random) -> String {
    let funcs: String = (0..FUNCS).map(|i| function(random, i)).collect();
    format!(
        r#"(module
        (type $pair (func (param externref i32) (result externref i32)))
        (import "host" "make" (func $make (result externref i32)))
        (import "host" "host" (func $host (type $pair)))
        (import "host" "check" (func $check (param externref i32)))
        (import "host" "coin" (func $coin (result i32)))
        (import "host" "tag" (tag $tag (param externref i32)))
        (table $t {CELLS} externref)
        (memory 1)
        (global $g (mut externref) (ref.null extern))
        (global $gn (mut i32) (i32.const 0))
        {funcs})"#
    )
}

struct State {
    random: Random,
    next: i32,
    checks: usize,
    tag: Option<Tag>,
    depth: u32,
}

type Pair = (Option<Rooted<ExternRef>>, i32);

fn check(mut caller: Caller<'_, State>, r: Option<Rooted<ExternRef>>, n: i32) {
    let found = r.map_or(0, |r| *r.data(&caller).unwrap().unwrap().downcast_ref::<i32>().unwrap());
    assert_eq!(found, n, "a reference is of another value than it should be");
    caller.data_mut().checks += 1;
}

fn make(caller: &mut Caller<'_, State>) -> anyhow::Result<Pair> {
    let n = caller.data().next;
    caller.data_mut().next += 1;
    Ok((Some(ExternRef::new(&mut *caller, n)?), n))
}

/// Collects, throws, calls back, or returns its argument or a new value.
fn host(mut caller: Caller<'_, State>, r: Option<Rooted<ExternRef>>, n: i32) -> anyhow::Result<Pair> {
    match caller.data_mut().random.below(5) {
        0 => {
            caller.gc();
            Ok((r, n))
        }
        1 => {
            let tag = caller.data().tag.unwrap();
            let (r, n) = make(&mut caller)?;
            caller.gc();
            let exception = ExnRef::new(&mut caller, &tag, &[r.into(), n.into()])?;
            caller.throw(exception)
        }
        2 if caller.data().depth < 2 => {
            let name = format!("f{}", FUNCS - 1 - caller.data_mut().random.below(3));
            let f = caller.get_export(&name).unwrap().into_func().unwrap();
            let f = f.typed::<Pair, Pair>(&caller)?;
            caller.data_mut().depth += 1;
            let result = f.call(&mut caller, (r, n));
            caller.data_mut().depth -= 1;
            if result.is_err() {
                // Exceptions go on to the next activation; here they are only collected around.
                caller.gc();
            }
            result
        }
        3 => make(&mut caller),
        _ => Ok((r, n)),
    }
}

fn run(seed: u64, tiering: Tiering) -> usize {
    let engine = Engine::new(Config::new().tiering(tiering)).unwrap();
    let mut random = Random(seed);
    let module = Module::new(&engine, program(&mut random)).unwrap();
    let mut store = Store::new(&engine, State { random, next: 1, checks: 0, tag: None, depth: 0 });
    let ty = FuncType::new(&engine, [ValType::EXTERNREF, ValType::I32], []);
    let tag = Tag::new(&mut store, &TagType::new(ty)).unwrap();
    store.data_mut().tag = Some(tag);
    let mut linker = Linker::new(&engine);
    linker.define(&store, "host", "tag", tag).unwrap();
    linker.func_wrap("host", "make", |mut caller: Caller<'_, State>| make(&mut caller)).unwrap();
    linker.func_wrap("host", "host", host).unwrap();
    linker.func_wrap("host", "check", check).unwrap();
    linker.func_wrap("host", "coin", |mut caller: Caller<'_, State>| caller.data_mut().random.below(4) as i32).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<Pair, Pair>(&mut store, "f0").unwrap();
    for _ in 0..20 {
        let mut scope = RootScope::new(&mut store);
        match f.call(&mut scope, (None, 0)) {
            Ok((r, n)) => {
                let found = r.map_or(0, |r| *r.data(&scope).unwrap().unwrap().downcast_ref::<i32>().unwrap());
                assert_eq!(found, n);
            }
            Err(error) => {
                assert!(error.is::<ThrownException>(), "seed {seed}: {error:?}");
                let exception = scope.as_context_mut().take_pending_exception().unwrap();
                scope.as_context_mut().gc();
                let fields = exception.fields(&mut scope).unwrap();
                let r = fields[0].unwrap_externref();
                let found = r.map_or(0, |r| *r.data(&scope).unwrap().unwrap().downcast_ref::<i32>().unwrap());
                assert_eq!(found, fields[1].unwrap_i32());
            }
        }
    }
    store.data().checks
}

#[test]
fn references_stay_with_their_values() {
    let seeds = if cfg!(debug_assertions) { 20 } else { 400 };
    for seed in 0..seeds {
        let eager = run(seed, Tiering::Eager);
        assert!(eager > 0);
        assert_eq!(run(seed, Tiering::Lazy), eager, "seed {seed}");
    }
}
