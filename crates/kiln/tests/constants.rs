//! Operators with constants: the first tier's machine code for one constant is made from that for others.

use std::fmt::Write as _;

use kiln::{Config, Engine, Instance, Module, Store, TierUp, Tiering, TypedFunc};

/// Operators of two integers that take the right one as a constant.
const ARITHMETIC: [&str; 15] = [
    "add", "sub", "mul", "and", "or", "xor", "shl", "shr_s", "shr_u", "rotl", "rotr", "div_s", "div_u", "rem_s",
    "rem_u",
];
const COMPARISONS: [&str; 10] = ["eq", "ne", "lt_s", "lt_u", "gt_s", "gt_u", "le_s", "le_u", "ge_s", "ge_u"];

/// Constants at which compilers take another instruction.
const CONSTANTS: [i64; 24] = [
    0,
    1,
    -1,
    2,
    3,
    4,
    5,
    7,
    8,
    9,
    16,
    127,
    128,
    -128,
    -129,
    255,
    256,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    -0x8000_0000,
    0xffff_ffff,
    i64::MIN,
];

const VALUES: [(i64, i64); 5] = [
    (0, -1),
    (0x0123_4567_89ab_cdef, -0x0123_4567_89ab_cdef),
    (i64::MIN, i64::MAX),
    (-0x6407_dd6f_7b45_6a13, 0x71c8_5f00_7fff_8001),
    (3, 0x8000_0000),
];

/// Functions `0`, `1` and so on of two numbers.
#[derive(Default)]
struct Functions {
    wat: String,
    count: usize,
}

impl Functions {
    fn add(&mut self, body: &str) {
        let n = self.count;
        self.count += 1;
        writeln!(self.wat, r#"(func (export "{n}") (param i64 i64) (result i64) {body})"#).unwrap();
    }

    /// All of them give the same with functions of the first tier as with optimised ones.
    fn compare(&self) {
        let module = format!("(module {})", self.wat);
        let prepare = |config: &mut Config| {
            let engine = Engine::new(config).unwrap();
            let module = Module::new(&engine, &module).unwrap();
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            (store, instance)
        };
        let (mut store, instance) = prepare(&mut Config::new());
        let (mut other_store, other) = prepare(Config::new().tiering(Tiering::Dynamic).tier_up(TierUp::Never));
        for n in 0..self.count {
            type F = TypedFunc<(i64, i64), i64>;
            let f: F = instance.get_typed_func(&mut store, &n.to_string()).unwrap();
            let g: F = other.get_typed_func(&mut other_store, &n.to_string()).unwrap();
            for values in VALUES {
                let results = (f.call(&mut store, values), g.call(&mut other_store, values));
                let text =
                    |result: Result<i64, _>| result.map_err(|error: anyhow::Error| error.root_cause().to_string());
                let (expected, got) = (text(results.0), text(results.1));
                assert_eq!(got, expected, "{values:?}: {}", self.wat.lines().nth(n).unwrap());
            }
        }
    }
}

#[test]
fn integers() {
    let mut functions = Functions::default();
    for n in CONSTANTS {
        let (narrow, wide) = (
            format!("(i32.wrap_i64 (local.get 0)) (i32.const {})", n as i32),
            format!("(local.get 0) (i64.const {n})"),
        );
        for op in ARITHMETIC {
            functions.add(&format!("(i64.extend_i32_s (i32.{op} {narrow}))"));
            functions.add(&format!("(i64.{op} {wide})"));
        }
        for op in COMPARISONS {
            functions.add(&format!("(i64.extend_i32_s (i32.{op} {narrow}))"));
            functions.add(&format!("(i64.extend_i32_s (i64.{op} {wide}))"));
            functions.add(&format!("(if (i64.{op} {wide}) (then (return (i64.const 5)))) (local.get 1)"));
        }
    }
    functions.compare();
}

/// A vector of both numbers.
const VECTOR: &str = "(i64x2.replace_lane 1 (i64x2.splat (local.get 0)) (local.get 1))";

/// A function of a vector, whose result is mixed into one number.
fn of_vector(body: &str) -> String {
    format!(
        "(local v128) (local.set 2 {body}) \
         (i64.add (i64x2.extract_lane 0 (local.get 2)) (i64.rotl (i64x2.extract_lane 1 (local.get 2)) (i64.const 1)))"
    )
}

#[test]
fn shifts_of_lanes() {
    let mut functions = Functions::default();
    for (shape, width) in [("i8x16", 8), ("i16x8", 16), ("i32x4", 32), ("i64x2", 64)] {
        for op in ["shl", "shr_s", "shr_u"] {
            for count in (0..=width + 1).chain([255, 256, -1, 0x3fff_ffff]) {
                functions.add(&of_vector(&format!("({shape}.{op} {VECTOR} (i32.const {count}))")));
            }
        }
    }
    functions.compare();
}

#[test]
fn shuffles() {
    let mut functions = Functions::default();
    let mut seed = 0x9e37_79b9_u32;
    let mut random = move |n: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % n
    };
    for round in 0..1_500 {
        // Groups of 1, 2, 4 or 8 lanes move together, of one operand or both; or all lanes from somewhere on.
        let group = 1 << (round % 4);
        let lanes: Vec<u32> = match round % 9 {
            0 => (round / 9 % 17..).take(16).collect(),
            kind => {
                let reach = if kind < 5 { 16 } else { 32 } / group;
                let group_from = |from: u32| from..from + group;
                (0..16 / group).flat_map(|_| group_from(random(reach) * group)).collect()
            }
        };
        let lanes = lanes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let second = if round % 5 == 0 { VECTOR } else { "(v128.const i32x4 1 0x10203040 -7 0x7f6e5d4c)" };
        functions.add(&of_vector(&format!("(i8x16.shuffle {lanes} {VECTOR} {second})")));
    }
    functions.compare();
}
