//! Compile time grows with the size of the input, not with its square: each generator is run at two sizes, fourfold
//! apart, and the time may grow eightfold at most (a square would make it sixteenfold). Time is that of the thread alone.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasm_encoder::{
    BlockType, CodeSection, ExportKind, ExportSection, Function, FunctionSection, InstructionSink, Module, TypeSection,
    ValType,
};

use crate::{compiler, validate};

/// A module with one function type, `() -> ()`, and these bodies.
fn module(bodies: impl IntoIterator<Item = Function>) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let (mut funcs, mut code) = (FunctionSection::new(), CodeSection::new());
    for body in bodies {
        funcs.function(0);
        code.function(&body);
    }
    let mut module = Module::new();
    module.section(&types).section(&funcs).section(&code);
    module.finish()
}

/// A body with so many `i32` locals.
fn body(locals: u32, emit: impl FnOnce(&mut InstructionSink<'_>)) -> Function {
    let mut f = Function::new([(locals, ValType::I32)]);
    let mut ins = f.instructions();
    emit(&mut ins);
    ins.end();
    f
}

fn thread_time() -> Duration {
    let t = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

/// Least time of a few runs to validate and compile.
fn cost(wasm: &[u8], runs: u32) -> Duration {
    let config = kiln_compiler::CompilerConfig { threads: 1, verify: false, ..Default::default() };
    let compiler = kiln_compiler::Compiler::new(&config).unwrap();
    let run = |_| {
        let start = thread_time();
        let module = validate(&compiler, wasm).unwrap();
        compiler.compile_module(&module, wasm, &|_| {}).unwrap();
        thread_time() - start
    };
    (0..runs).map(run).min().unwrap()
}

#[track_caller]
fn grows_with_size(small: u32, generate: impl Fn(u32) -> Vec<u8>) {
    let (little, much) = (generate(small), generate(4 * small));
    // A run that something disturbed is not the last word.
    let ratios: Vec<f64> = (0..3).map(|_| cost(&much, 2).as_secs_f64() / cost(&little, 3).as_secs_f64()).collect();
    assert!(ratios.iter().any(|r| *r < 8.0), "four times the input took {ratios:.1?} times as long");
}

#[test]
fn many_functions() {
    grows_with_size(2_000, |n| {
        let call = |i: u32| {
            body(1, |f| {
                f.i32_const(i as i32).local_set(0).call(i / 2);
            })
        };
        module((0..n).map(call))
    });
}

#[test]
fn one_huge_function() {
    grows_with_size(5_000, |n| {
        module([body(4, |f| {
            for i in 0..n {
                f.local_get(i % 4)
                    .local_get((i + 1) % 4)
                    .i32_mul()
                    .i32_const(i as i32)
                    .i32_xor()
                    .local_set((i + 2) % 4);
            }
        })])
    });
}

#[test]
fn deep_nesting() {
    grows_with_size(500, |n| {
        module([body(1, |f| {
            for _ in 0..n {
                f.block(BlockType::Empty).local_get(0).br_if(0);
            }
            for i in 0..n {
                f.local_get(0).i32_const(i as i32).i32_add().local_set(0).end();
            }
        })])
    });
}

#[test]
fn deeply_nested_loops() {
    grows_with_size(500, |n| {
        module([body(2, |f| {
            for _ in 0..n {
                f.loop_(BlockType::Empty).local_get(1).i32_const(1).i32_add().local_set(1);
            }
            for _ in 0..n {
                f.local_get(0).br_if(0).end();
            }
        })])
    });
}

#[test]
fn many_locals() {
    grows_with_size(3_000, |n| {
        module([body(n, |f| {
            for i in 0..n {
                f.local_get(i).i32_const(1).i32_add().local_set((i + 1) % n);
            }
            f.block(BlockType::Empty).local_get(0).br_if(0).end();
            for i in 0..n {
                f.local_get(i).drop();
            }
        })])
    });
}

#[test]
fn many_types() {
    grows_with_size(5_000, |n| {
        let mut types = TypeSection::new();
        types.ty().function([], []);
        for i in 0..n {
            let params = (0..16).map(|bit| if i >> bit & 1 == 0 { ValType::I32 } else { ValType::I64 });
            types.ty().function(params, []);
        }
        let (mut funcs, mut code) = (FunctionSection::new(), CodeSection::new());
        funcs.function(0);
        code.function(&body(0, |_| {}));
        let mut module = Module::new();
        module.section(&types).section(&funcs).section(&code);
        module.finish()
    });
}

#[test]
fn many_exports() {
    grows_with_size(5_000, |n| {
        let mut types = TypeSection::new();
        types.ty().function([], []);
        let (mut funcs, mut code, mut exports) = (FunctionSection::new(), CodeSection::new(), ExportSection::new());
        for i in 0..n {
            funcs.function(0);
            code.function(&body(0, |_| {}));
            exports.export(&format!("export {i}"), ExportKind::Func, i);
        }
        let mut module = Module::new();
        module.section(&types).section(&funcs).section(&exports).section(&code);
        module.finish()
    });
}

#[test]
fn huge_branch_table() {
    grows_with_size(2_000, |n| {
        module([body(2, |f| {
            for _ in 0..n {
                f.block(BlockType::Empty);
            }
            let targets: Vec<u32> = (0..n).collect();
            f.local_get(0).br_table(targets, n - 1);
            for i in 0..n {
                f.end().i32_const(i as i32).local_set(1);
            }
        })])
    });
}

#[test]
fn branch_table_with_one_target() {
    grows_with_size(20_000, |n| {
        module([body(2, |f| {
            f.block(BlockType::Empty).block(BlockType::Empty);
            f.local_get(0).br_table((0..n).map(|i| i % 2).collect::<Vec<_>>(), 0).end().end();
        })])
    });
}

#[test]
fn many_calls() {
    let calls = |n| {
        body(0, |f| {
            for _ in 0..n {
                f.call(0);
            }
        })
    };
    grows_with_size(3_000, |n| module([calls(0), calls(n)]));
}

/// The same functions twice: the second time nothing new is allocated that would stay.
#[test]
fn workers_are_reused() {
    let wasm = module((0..100).map(|i| {
        body(1, |f| {
            f.i32_const(i).local_set(0);
        })
    }));
    let compiler = compiler();
    let parsed = validate(&compiler, &wasm).unwrap();
    let first = compiler.compile_module(&parsed, &wasm, &|_| {}).unwrap().0;
    assert!(compiler.compile_module(&parsed, &wasm, &|_| {}).unwrap().0 == first);
}

/// Many locals in many blocks: beyond a bound they live in memory.
#[test]
fn many_locals_in_many_blocks() {
    grows_with_size(9_000, |n| {
        module([body(n, |f| {
            for i in 1..n {
                f.local_get(0).if_(BlockType::Empty).local_get(i - 1).local_set(i).end();
            }
        })])
    });
}

#[test]
fn many_locals_in_many_loops() {
    grows_with_size(9_000, |n| {
        module([body(n, |f| {
            for i in 1..n {
                f.loop_(BlockType::Empty).local_get(i - 1).i32_const(1).i32_add().local_tee(i).br_if(0).end();
            }
        })])
    });
}

/// All values are live at once: beyond a bound registers are allocated in a simpler way.
#[test]
fn many_live_locals() {
    grows_with_size(12_000, |n| {
        module([body(n, |f| {
            for i in 1..n {
                f.local_get(0).i32_const(i as i32).i32_xor().local_set(i);
            }
            for i in 1..n {
                f.local_get(i).drop();
            }
            f.call(0);
            for i in 1..n {
                f.local_get(0).local_get(n - i).i32_div_u().local_set(0);
            }
        })])
    });
}

/// A module with one function, which takes an `i32`.
fn module_with_parameter(locals: u32, emit: impl FnOnce(&mut InstructionSink<'_>)) -> Vec<u8> {
    let (mut types, mut funcs, mut code) = (TypeSection::new(), FunctionSection::new(), CodeSection::new());
    types.ty().function([ValType::I32], []);
    funcs.function(0);
    code.function(&body(locals, emit));
    let mut module = Module::new();
    module.section(&types).section(&funcs).section(&code);
    module.finish()
}

/// Unlike above, nobody knows the index.
#[test]
fn branch_table_by_a_parameter() {
    for targets in [2, 50] {
        grows_with_size(25_000, |n| {
            module_with_parameter(0, |f| {
                (0..targets).for_each(|_| _ = f.block(BlockType::Empty));
                f.local_get(0).br_table((0..n).map(|i| i * 7 % targets).collect::<Vec<_>>(), 0);
                (0..targets).for_each(|_| _ = f.end());
            })
        });
    }
}

#[test]
fn branch_table_by_a_parameter_to_many_targets() {
    grows_with_size(5_000, |n| {
        module_with_parameter(1, |f| {
            (0..n).for_each(|_| _ = f.block(BlockType::Empty));
            f.local_get(0).br_table((0..n).collect::<Vec<_>>(), n - 1);
            (0..n).for_each(|i| _ = f.end().i32_const(i as i32).local_set(1));
        })
    });
}

/// Beyond a bound on loops registers are allocated in a simpler way.
#[test]
fn many_loops() {
    grows_with_size(5_000, |n| {
        module_with_parameter(0, |f| {
            for _ in 0..n {
                f.loop_(BlockType::Empty).local_get(0).i32_const(1).i32_sub().local_tee(0).br_if(0).end();
            }
        })
    });
}
