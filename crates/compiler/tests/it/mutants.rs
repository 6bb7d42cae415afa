//! Damaged modules are refused or compiled; they never make the compiler panic or disagree with itself.

use kiln_compiler::ErrorKind;

use crate::{compiler, validate, varied_module, wasm};

/// xorshift64*: the same mutants in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

/// Changes a few bytes: other values, exchanged, left out, or repeated.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = 8 + random.below(bytes.len() - 8);
        match random.below(6) {
            0 => bytes[at] = random.below(256) as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at] = bytes[at].wrapping_add(1),
            3 => {
                let other = 8 + random.below(bytes.len() - 8);
                bytes.swap(at, other);
            }
            4 => drop(bytes.remove(at)),
            _ => bytes.insert(at, bytes[at]),
        }
    }
}

#[test]
fn mutants_do_not_panic() {
    let exceptions = wasm(
        "(module (import \"m\" \"f\" (func $f (param externref))) (tag $a (param i32)) (table 3 externref) (memory 1)
           (func (export \"g\") (param externref v128) (result i32)
             (block $h (result i32)
               (try_table (catch $a $h) (call $f (local.get 0)) (table.set (i32.const 1) (local.get 0)))
               (i32.atomic.rmw.add (i32.const 8) (i8x16.extract_lane_s 3 (local.get 1))))
             (return_call $k))
           (func $k (param i32) (result i32) (throw $a (local.get 0))))",
    );
    let compiler = compiler();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut compiled, mut refused) = (0, 0);
    for base in [varied_module(2), exceptions] {
        for _ in 0..1_500 {
            let mut bytes = base.clone();
            mutate(&mut bytes, &mut random);
            let result = validate(&compiler, &bytes).and_then(|m| compiler.compile_module(&m, &bytes, &|_| {}));
            match result {
                Ok(_) => compiled += 1,
                Err(e) => {
                    assert!(!matches!(e.kind(), ErrorKind::Internal | ErrorKind::Codegen), "{bytes:?}\n{e:?}");
                    refused += 1;
                }
            }
        }
    }
    // Both happen, or the test tests nothing.
    assert!(compiled > 100 && refused > 1_000, "{compiled} compiled, {refused} refused");
}
