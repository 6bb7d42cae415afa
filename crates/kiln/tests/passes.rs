//! Passes change nothing but time: modules behave the same with all of them and with none, traps and memory included.

use kiln::*;

/// Functions of up to three parameters that work on bytes: those that [the pass](../../compiler/src/midend/bytes/mod.rs)
/// takes, and others that are nearly the same.
const BYTES: &str = r#"
    (func (export "copy up") (param $a i32) (param $b i32) (param $n i32) (result i32)
      (if (local.get $n) (then (loop $l
        (i32.store8 offset=3 (local.get $a) (i32.load8_u offset=3 (local.get $b)))
        (local.set $a (i32.add (local.get $a) (i32.const 1)))
        (local.set $b (i32.add (local.get $b) (i32.const 1)))
        (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))
      (i32.sub (local.get $a) (local.get $b)))
    (func (export "copy down") (param $a i32) (param $b i32) (param $n i32) (result i32)
      (local.set $a (i32.add (local.get $a) (local.get $n)))
      (local.set $b (i32.add (local.get $b) (local.get $n)))
      (if (local.get $n) (then (loop $l
        (i32.store8 (local.tee $a (i32.sub (local.get $a) (i32.const 1)))
          (i32.load8_u (local.tee $b (i32.sub (local.get $b) (i32.const 1)))))
        (br_if $l (local.tee $n (i32.add (local.get $n) (i32.const -1)))))))
      (i32.sub (local.get $a) (local.get $b)))
    (func (export "copy by index") (param $a i32) (param $b i32) (param $n i32) (result i32) (local $i i32)
      (loop $l
        (i32.store8 (i32.add (local.get $a) (local.get $i)) (i32.load8_s (i32.add (local.get $i) (local.get $b))))
        (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
      (local.get $i))
    (func (export "copy signed") (param $a i32) (param $b i32) (param $n i32) (result i32) (local $i i32)
      (loop $l
        (i32.store8 (i32.add (local.get $a) (local.get $i)) (i32.load8_u (i32.add (local.get $i) (local.get $b))))
        (br_if $l (i32.gt_s (local.get $n) (local.tee $i (i32.add (local.get $i) (i32.const 1))))))
      (local.get $i))
    (func (export "copy until") (param $a i32) (param $b i32) (param $n i32) (result i32)
      (local.set $n (i32.add (local.get $a) (local.get $n)))
      (block $out (loop $l
        (br_if $out (i32.eq (local.get $a) (local.get $n)))
        (i32.store8 (local.get $a) (i32.load8_u (local.get $b)))
        (local.set $a (i32.add (local.get $a) (i32.const 1)))
        (local.set $b (i32.add (local.get $b) (i32.const 1)))
        (br $l)))
      (local.get $b))
    (func (export "copy words") (param $a i32) (param $b i32) (param $n i32) (result i32)
      (loop $l
        (i32.store (local.get $a) (i32.load (local.get $b)))
        (local.set $a (i32.add (local.get $a) (i32.const 4)))
        (local.set $b (i32.add (local.get $b) (i32.const 4)))
        (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (local.get $a))
    (func (export "copy doubles") (param $a i32) (param $b i32) (param $n i32) (result i32)
      (loop $l
        (f64.store (local.get $a) (f64.load offset=1 (local.get $b)))
        (local.set $a (i32.add (local.get $a) (i32.const 8)))
        (local.set $b (i32.add (local.get $b) (i32.const 8)))
        (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (local.get $a))
    (func (export "fill up") (param $a i32) (param $b i32) (param $n i32) (result i32)
      (loop $l
        (i32.store8 offset=1 (local.get $a) (local.get $b))
        (local.set $a (i32.add (local.get $a) (i32.const 1)))
        (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (local.get $a))
    (func (export "fill down") (param $a i32) (param $b i32) (param $n i32) (result i32)
      (loop $l
        (i32.store8 (local.tee $a (i32.sub (local.get $a) (i32.const 1))) (i32.const 0x1ab))
        (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (local.get $a))
    (func (export "fill halves") (param $a i32) (param $b i32) (param $n i32) (result i32)
      (loop $l
        (i32.store16 (local.get $a) (local.get $b))
        (local.set $a (i32.add (local.get $a) (i32.const 2)))
        (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (local.get $a))
    (func (export "fill floats") (param $a i32) (param $b i32) (param $n i32) (result i32) (local $f f32)
      (local.set $f (f32.convert_i32_s (local.get $b)))
      (loop $l
        (f32.store (local.get $a) (local.get $f))
        (local.set $a (i32.add (local.get $a) (i32.const 4)))
        (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (local.get $a))
    (func (export "compare") (param $a i32) (param $b i32) (param $n i32) (result i32) (local $x i32) (local $y i32)
      (block $equal (br_if $equal (i32.eqz (local.get $n)))
        (loop $l
          (if (i32.eq (local.tee $x (i32.load8_u (local.get $a))) (local.tee $y (i32.load8_u (local.get $b)))) (then
            (local.set $a (i32.add (local.get $a) (i32.const 1)))
            (local.set $b (i32.add (local.get $b) (i32.const 1)))
            (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))
            (br $equal))))
        (return (i32.sub (i32.sub (local.get $x) (local.get $y)) (local.get $a))))
      (local.get $a))
    (func (export "compare strings") (param $a i32) (param $b i32) (param $n i32) (result i32) (local $x i32)
      (block $out (loop $l
        (br_if $out (i32.eqz (local.tee $x (i32.load8_u (local.get $a)))))
        (br_if $out (i32.ne (local.get $x) (i32.load8_u (local.get $b))))
        (local.set $a (i32.add (local.get $a) (i32.const 1)))
        (local.set $b (i32.add (local.get $b) (i32.const 1)))
        (br $l)))
      (i32.sub (local.get $a) (local.get $x)))
    (func (export "compare strings at the end") (param $a i32) (param $b i32) (param $n i32) (result i32) (local $x i32)
      (loop $l
        (if (local.tee $x (i32.load8_u (local.get $a))) (then
          (local.set $a (i32.add (local.get $a) (i32.const 1)))
          (br_if $l (i32.eq (local.get $x)
            (i32.load8_u (i32.sub (local.tee $b (i32.add (local.get $b) (i32.const 1))) (i32.const 1))))))))
      (i32.sub (local.get $a) (local.get $x)))
    (func (export "length") (param $a i32) (param $b i32) (param $n i32) (result i32)
      (loop $l
        (br_if $l (i32.load8_u (local.tee $a (i32.add (local.get $a) (i32.const 1))))))
      (local.get $a))
    (func (export "find") (param $a i32) (param $b i32) (param $n i32) (result i32)
      (block $out (loop $l
        (br_if $out (i32.eqz (local.get $n)))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br_if $l (i32.ne (i32.load8_u (local.get $a)) (i32.const 2)) (local.set $a (i32.add (local.get $a) (i32.const 1))))))
      (local.get $a))
    (func (export "span") (param $a i32) (param $b i32) (param $n i32) (result i32)
      (loop $l
        (br_if $l (i32.eq (i32.load8_u offset=7 (local.get $a)) (i32.const 1))
          (local.set $a (i32.add (local.get $a) (i32.const 1)))))
      (local.get $a))
    ;; Nearly the same.
    (func (export "twice as fast") (param $a i32) (param $b i32) (param $n i32) (result i32)
      (loop $l
        (i32.store8 (local.get $a) (i32.load8_u (local.get $b)))
        (local.set $a (i32.add (local.get $a) (i32.const 1)))
        (local.set $b (i32.add (local.get $b) (i32.const 2)))
        (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (local.get $b))
    (func (export "the last byte") (param $a i32) (param $b i32) (param $n i32) (result i32) (local $x i32)
      (loop $l
        (i32.store8 (local.get $a) (local.tee $x (i32.load8_u (local.get $b))))
        (local.set $a (i32.add (local.get $a) (i32.const 1)))
        (local.set $b (i32.add (local.get $b) (i32.const 1)))
        (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (local.get $x))
    (func (export "the byte before") (param $a i32) (param $b i32) (param $n i32) (result i32) (local $x i32)
      (loop $l
        (i32.store8 (local.get $a) (local.get $x))
        (local.set $x (i32.load8_u (local.get $b)))
        (local.set $a (i32.add (local.get $a) (i32.const 1)))
        (local.set $b (i32.add (local.get $b) (i32.const 1)))
        (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (local.get $x))
    (func (export "written first") (param $a i32) (param $b i32) (param $n i32) (result i32)
      (loop $l
        (i32.store8 (local.get $a) (i32.const 1))
        (local.set $b (i32.add (local.get $b) (i32.load8_u (local.get $a))))
        (local.set $a (i32.add (local.get $a) (i32.const 1)))
        (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (local.get $b))
    (func (export "two steps") (param $a i32) (param $b i32) (param $n i32) (result i32)
      (loop $l
        (i32.store8 (local.get $a) (i32.const 1))
        (local.set $a (i32.add (local.get $a) (i32.const 1)))
        (br_if $l (i32.gt_s (local.tee $n (i32.sub (local.get $n) (i32.const 2))) (i32.const 0))))
      (local.get $a))
    (func (export "copy and count") (param $a i32) (param $b i32) (param $n i32) (result i32)
      (loop $l
        (i32.store8 (local.get $a) (i32.load8_u (local.get $b)))
        (local.set $a (i32.add (local.get $a) (i32.const 1)))
        (local.set $b (i32.add (local.get $b) (i32.const 1)))
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (global.get $calls))
    (func (export "signed bytes") (param $a i32) (param $b i32) (param $n i32) (result i32)
      (loop $l
        (br_if $l (i32.ne (i32.load8_s (local.get $a)) (i32.const 255))
          (local.set $a (i32.add (local.get $a) (i32.const 1)))))
      (local.get $a))
"#;

/// A module with one of both kinds of memory, so that the base comes from different places.
fn modules(functions: &str) -> Vec<String> {
    let memories =
        ["(memory (export \"m\") 1 2)", "(memory (export \"m\") 1 1)", "(memory 2) (memory (export \"m\") 1)"];
    let module = |memory: &&str| format!("(module {memory} (global $calls (mut i32) (i32.const 0)) {functions})");
    let mut all: Vec<String> = memories.iter().map(module).collect();
    // The second memory of the third.
    for access in
        ["load8_u", "load8_s", "store8", "store16", "f64.load", "f64.store", "i32.load ", "i32.store ", "f32.store"]
    {
        let bare = access.trim_end();
        all[2] = all[2].replace(&format!("{bare} "), &format!("{bare} $m2 "));
    }
    all[2] = all[2].replace("memory.copy ", "memory.copy $m2 $m2 ").replace("memory.fill ", "memory.fill $m2 ");
    all[2] = all[2].replace("(memory (export", "(memory $m2 (export");
    all
}

fn engine(passes: bool) -> Engine {
    let mut config = Config::new();
    for name in Config::compiler_pass_names() {
        config.compiler_pass(name, passes);
    }
    config.compilation_threads(1);
    Engine::new(&config).unwrap()
}

/// One instance, its functions, and its memory.
struct Side {
    store: Store<()>,
    instance: Instance,
}

impl Side {
    fn new(engine: &Engine, module: &str) -> Side {
        let module = Module::new(engine, module).unwrap();
        let mut store = Store::new(engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        Side { store, instance }
    }

    /// Fills the memory, calls a function, and gives its result or trap, and the memory.
    fn call(&mut self, name: &str, args: (i32, i32, i32), contents: &[u8]) -> (Result<i32, Option<Trap>>, Vec<u8>) {
        let f = self.instance.get_typed_func::<(i32, i32, i32), i32>(&mut self.store, name).unwrap();
        let memory = self.instance.get_memory(&mut self.store, "m").unwrap();
        memory.data_mut(&mut self.store).copy_from_slice(contents);
        let result = f.call(&mut self.store, args).map_err(|e| e.downcast_ref::<Trap>().copied());
        (result, memory.data(&self.store).to_vec())
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    /// An address: mostly near its neighbours, sometimes near the end of the memory, and of the index range.
    fn address(&mut self) -> i32 {
        match self.below(10) {
            0 => 65_536 - self.below(80) as i32,
            1 => -(self.below(80) as i32),
            _ => 1_000 + self.below(90) as i32,
        }
    }
}

/// Long runs of equal bytes, so that searches go far.
fn fill(contents: &mut [u8], random: &mut Random) {
    let (mut byte, change) = (1, [4, 20, 90][random.below(3) as usize]);
    for slot in contents {
        if random.below(change) == 0 {
            byte = [0, 1, 1, 1, 2, 255, 7][random.below(7) as usize];
        }
        *slot = byte;
    }
}

/// Calls all functions of modules with all passes and with none, at addresses and lengths by chance, `rounds` times each; gives how many
/// returned and how many trapped.
fn compare(
    functions: &str,
    modules: &[String],
    rounds: usize,
    mut length: impl FnMut(&mut Random) -> i32,
) -> (usize, usize) {
    let (with, without) = (engine(true), engine(false));
    let names: Vec<&str> = functions.split("(export \"").skip(1).map(|t| t.split('"').next().unwrap()).collect();
    let mut random = Random(11);
    let mut contents = vec![0; 1 << 16];
    let (mut returned, mut trapped) = (0, 0);
    for module in modules {
        let (mut a, mut b) = (Side::new(&with, module), Side::new(&without, module));
        for name in &names {
            for round in 0..rounds {
                if round % 30 == 0 {
                    fill(&mut contents, &mut random);
                }
                let args = (random.address(), random.address(), length(&mut random));
                let (x, y) = (a.call(name, args, &contents), b.call(name, args, &contents));
                assert_eq!(x.0, y.0, "{name} {args:?}");
                assert!(
                    x.1 == y.1,
                    "{name} {args:?} leaves another memory, first at {:?}",
                    x.1.iter().zip(&y.1).position(|(x, y)| x != y)
                );
                *if x.0.is_ok() { &mut returned } else { &mut trapped } += 1;
            }
        }
    }
    (returned, trapped)
}

#[test]
fn loops_over_bytes_are_the_same_in_bulk() {
    let (returned, trapped) = compare(BYTES, &modules(BYTES), 120, |random| 1 + random.below(150) as i32);
    assert!(returned > 1000 && trapped > 300, "{returned} returned, {trapped} trapped");
}

#[test]
fn few_bytes_are_the_same_in_line() {
    let mut functions = String::from(
        "(func (export \"copy\") (param i32 i32 i32) (result i32)
           (memory.copy (local.get 0) (local.get 1) (local.get 2)) (local.get 2))
         (func (export \"fill\") (param i32 i32 i32) (result i32)
           (memory.fill (local.get 0) (local.get 1) (local.get 2)) (local.get 2))",
    );
    for n in (0..70).step_by(3).chain(120..132) {
        functions.push_str(&format!(
            "(func (export \"copy {n}\") (param i32 i32 i32) (result i32)
               (memory.copy (local.get 0) (local.get 1) (i32.const {n})) (local.get 2))
             (func (export \"fill {n}\") (param i32 i32 i32) (result i32)
               (memory.fill (local.get 0) (i32.const {n}) (i32.const {n})) (local.get 2))"
        ));
    }
    let rounds = std::env::var("KILN_ROUNDS").map_or(60, |n| n.parse().unwrap());
    let (returned, trapped) = compare(&functions, &modules(&functions), rounds, |random| random.below(80) as i32);
    assert!(returned > 1000 && trapped > 300, "{returned} returned, {trapped} trapped");
}

/// The product of two numbers of 128 bits, as the C runtime computes it.
const C_PRODUCT: &str = "
    local.get 0 local.get 4 local.get 1 i64.mul local.get 2 local.get 3 i64.mul i64.add
    local.get 3 i64.const 32 i64.shr_u local.tee 2 local.get 1 i64.const 32 i64.shr_u local.tee 4
    i64.mul i64.add local.get 3 i64.const 4294967295 i64.and local.tee 3 local.get 1 i64.const 4294967295
    i64.and local.tee 1 i64.mul local.tee 5 i64.const 32 i64.shr_u local.get 3 local.get 4
    i64.mul i64.add local.tee 3 i64.const 32 i64.shr_u i64.add local.get 3 i64.const 4294967295
    i64.and local.get 2 local.get 1 i64.mul i64.add local.tee 1 i64.const 32 i64.shr_u
    i64.add i64.store offset=8 local.get 0 local.get 1 i64.const 32 i64.shl local.get 5 i64.const 4294967295
    i64.and i64.or i64.store";

/// The same as the Rust runtime computes it.
const RUST_PRODUCT: &str = "
    local.get 0 local.get 3 i64.const 4294967295 i64.and local.tee 5 local.get 1 i64.const 4294967295 i64.and
    local.tee 6 i64.mul local.tee 7 local.get 3 i64.const 32 i64.shr_u local.tee 8 local.get 6
    i64.mul local.tee 6 local.get 5 local.get 1 i64.const 32 i64.shr_u local.tee 9 i64.mul
    i64.add local.tee 5 i64.const 32 i64.shl i64.add local.tee 10 i64.store local.get 0
    local.get 8 local.get 9 i64.mul local.get 5 local.get 6 i64.lt_u i64.extend_i32_u i64.const 32
    i64.shl local.get 5 i64.const 32 i64.shr_u i64.or i64.add local.get 10 local.get 7
    i64.lt_u i64.extend_i32_u i64.add local.get 4 local.get 1 i64.mul local.get 3 local.get 2
    i64.mul i64.add i64.add i64.store offset=8";

/// A word of a body, which one of those that are alike, and what stands there instead.
type Edit = (&'static str, usize, &'static str);

/// The products, and what is nearly one: name, body, and what is edited in that.
const PRODUCTS: [(&str, &str, &[Edit]); 11] = [
    ("c", C_PRODUCT, &[]),
    ("rust", RUST_PRODUCT, &[]),
    ("c shift", C_PRODUCT, &[("32", 0, "31")]),
    ("c mask", C_PRODUCT, &[("4294967295", 0, "2147483647")]),
    ("c operand", C_PRODUCT, &[("1", 4, "4")]),
    ("c sign", C_PRODUCT, &[("i64.shr_u", 4, "i64.shr_s")]),
    ("c missing", C_PRODUCT, &[("32", 3, "4294967295"), ("i64.shr_u", 3, "i64.and")]),
    ("r carry", RUST_PRODUCT, &[("5", 3, "6"), ("6", 3, "5")]),
    ("r signed", RUST_PRODUCT, &[("i64.lt_u", 1, "i64.lt_s")]),
    ("r other", RUST_PRODUCT, &[("7", 1, "6")]),
    ("r no shift", RUST_PRODUCT, &[("32", 3, "33")]),
];

/// A function of each product.
fn products() -> String {
    let mut text = String::new();
    for (name, body, edits) in PRODUCTS {
        let original: Vec<&str> = body.split_whitespace().collect();
        let mut words = original.clone();
        for (word, nth, other) in edits {
            let at = original.iter().enumerate().filter(|(_, w)| *w == word).nth(*nth).expect("the word is there").0;
            words[at] = other;
        }
        let body = words.join(" ");
        text +=
            &format!("(func (export \"{name}\") (param i32 i64 i64 i64 i64) (local i64 i64 i64 i64 i64 i64) {body})\n");
    }
    text
}

#[test]
fn wide_products_are_the_same_at_once() {
    let (with, without) = (engine(true), engine(false));
    let module = format!("(module (memory (export \"m\") 1) {})", products());
    let mut sides = [Side::new(&with, &module), Side::new(&without, &module)];
    let mut random = Random(5);
    let edges = [0, 1, u64::MAX, u64::MAX - 1, 1 << 32, (1 << 32) - 1, 1 << 63, 0xffff_ffff_0000_0000];
    let mut factor = || match random.below(3) {
        0 => edges[random.below(8) as usize],
        1 => random.below(1 << 20),
        _ => random.below(1 << 31) << 33 | random.below(1 << 31) << 11 | random.below(1 << 11),
    };
    for _ in 0..300 {
        let [a, a_high, b, b_high] = [factor(), factor(), factor(), factor()];
        for (name, ..) in PRODUCTS {
            let products = sides.each_mut().map(|side| {
                type Args = (i32, i64, i64, i64, i64);
                let f = side.instance.get_typed_func::<Args, ()>(&mut side.store, name).unwrap();
                f.call(&mut side.store, (64, a as i64, a_high as i64, b as i64, b_high as i64)).unwrap();
                let memory = side.instance.get_memory(&mut side.store, "m").unwrap();
                u128::from_le_bytes(memory.data(&side.store)[64..80].try_into().unwrap())
            });
            assert_eq!(products[0], products[1], "{name} of {a:#x} and {b:#x}");
            if matches!(name, "c" | "rust") {
                let [x, y] = [(a, a_high), (b, b_high)].map(|(low, high)| u128::from(high) << 64 | u128::from(low));
                assert_eq!(products[0], x.wrapping_mul(y), "{name} of {a:#x} and {b:#x}");
            }
        }
    }
}

/// Makes bodies full of branches that are decided by constants: state machines, truth values that are made in one place
/// and asked in another, tables.
struct Machine {
    random: Random,
    text: String,
    /// Labels around.
    depth: u64,
    /// How much may still be made.
    left: u64,
}

impl Machine {
    fn new(seed: u64) -> Machine {
        let mut random = Random(seed);
        _ = random.below(2);
        let mut machine = Machine { random, text: String::new(), depth: 0, left: 40 };
        machine.block();
        machine
    }

    /// One of the locals that hold small numbers.
    fn local(&mut self) -> u64 {
        1 + self.random.below(3)
    }

    fn value(&mut self) -> String {
        let (a, b, c) = (self.local(), self.local(), self.random.below(5));
        match self.random.below(7) {
            0 | 1 => format!("(i32.const {c})"),
            2 => format!("(local.get {a})"),
            3 => format!("(i32.and (i32.add (local.get {a}) (local.get {b})) (i32.const 7))"),
            4 => format!("(i32.eqz (local.get {a}))"),
            5 => format!("(i32.load8_u (i32.and (local.get 0) (i32.const {})))", 1 << c),
            _ => format!("(i32.lt_s (local.get {a}) (i32.const {c}))"),
        }
    }

    fn statement(&mut self) {
        self.left = self.left.saturating_sub(1);
        let (local, value) = (self.local(), self.value());
        let label = self.random.below(self.depth.max(1));
        match self.random.below(12) {
            0..=2 => self.text += &format!("(local.set {local} {value})"),
            3 => self.text += &format!("(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 31)) {value}))"),
            4 => self.text += &format!("(i32.store8 {value} (local.get {local}))"),
            5 if self.depth > 0 => self.text += &format!("(br_if {label} {value})"),
            6 if self.depth > 0 => {
                let labels: Vec<String> =
                    (0..1 + self.random.below(9)).map(|_| self.random.below(self.depth).to_string()).collect();
                self.text += &format!("(br_table {} {value})", labels.join(" "));
            }
            7 => {
                self.text += &format!("(local.set {local} (if (result i32) {value} (then ");
                let (yes, no) = (self.value(), self.value());
                self.text += &format!("{yes}) (else {no})))");
            }
            8 | 9 => {
                self.text += &format!("(if {value} (then ");
                self.nested();
                self.text += ") (else ";
                self.nested();
                self.text += "))";
            }
            10 => {
                self.text += "(block ";
                self.nested();
                self.text += ")";
            }
            // Each round of a loop costs one of what local 4 holds.
            _ => {
                self.text += "(loop (if (i32.eqz (local.get 4)) (then (return (local.get 0))))
                    (local.set 4 (i32.sub (local.get 4) (i32.const 1)))";
                self.nested();
                self.text += ")";
            }
        }
    }

    fn nested(&mut self) {
        self.depth += 1;
        self.block();
        self.depth -= 1;
    }

    fn block(&mut self) {
        for _ in 0..1 + self.random.below(5) {
            if self.left > 0 && self.depth < 12 {
                self.statement();
            }
        }
    }
}

#[test]
fn threaded_branches_lead_where_they_led() {
    let (with, without) = (engine(true), engine(false));
    let mut returned = 0;
    for part in 0..12 {
        let functions: String = (0..40)
            .map(|n| {
                let body = Machine::new(part * 1000 + n).text;
                format!(
                    "(func (export \"{n}\") (param i32 i32 i32) (result i32) (local i32 i32)
                        (local.set 4 (i32.const 50)) (block {body}) (i32.add (local.get 0)
                            (i32.add (local.get 1) (i32.shl (i32.add (local.get 2) (local.get 3)) (i32.const 4)))))"
                )
            })
            .collect();
        let module = format!("(module (memory (export \"m\") 1) {functions})");
        let (mut a, mut b) = (Side::new(&with, &module), Side::new(&without, &module));
        let mut contents = vec![0; 1 << 16];
        let mut random = Random(part);
        for n in 0..40 {
            for _ in 0..6 {
                contents[..64].iter_mut().for_each(|byte| *byte = random.below(6) as u8);
                let args = (random.below(1 << 20) as i32, random.below(6) as i32, random.below(6) as i32);
                let (x, y) = (a.call(&n.to_string(), args, &contents), b.call(&n.to_string(), args, &contents));
                assert!(x == y, "function {n} of part {part} with {args:?}: {:?} and {:?}\n{module}", x.0, y.0);
                returned += u32::from(x.0.is_ok());
            }
        }
    }
    assert!(returned > 2000, "{returned}");
}
