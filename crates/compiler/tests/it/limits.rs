//! Hard limits are errors that name the limit.

use kiln_compiler::{CompileError, ErrorKind};
use kiln_env::limits;
use wasm_encoder::{
    CodeSection, Encode, Function, FunctionSection, Instruction, MemorySection, MemoryType, Module, RefType,
    TableSection, TableType, TypeSection, ValType,
};

use crate::{compiler, validate};

fn refused(module: Module) -> CompileError {
    validate(&compiler(), &module.finish()).map(|_| ()).unwrap_err()
}

fn expect_limit(module: Module, what: &str, limit: u64) {
    let error = refused(module);
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    let message = error.to_string();
    assert!(message.contains(what) && message.contains(&limit.to_string()), "{message}");
}

fn with_body(body: Function) -> Module {
    let mut module = Module::new();
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let mut funcs = FunctionSection::new();
    funcs.function(0);
    let mut code = CodeSection::new();
    code.function(&body);
    module.section(&types).section(&funcs).section(&code);
    module
}

#[test]
fn locals() {
    let body = |n: u32| {
        let mut f = Function::new([(n, ValType::I32)]);
        f.instruction(&Instruction::End);
        with_body(f)
    };
    validate(&compiler(), &body(limits::MAX_LOCALS).finish()).unwrap();
    expect_limit(body(limits::MAX_LOCALS + 1), "locals", limits::MAX_LOCALS.into());
    expect_limit(body(u32::MAX), "locals", limits::MAX_LOCALS.into());
}

#[test]
fn nesting() {
    let body = |n: u32| {
        let mut f = Function::new([]);
        for _ in 0..n {
            f.instruction(&Instruction::Block(wasm_encoder::BlockType::Empty));
        }
        for _ in 0..n {
            f.instruction(&Instruction::End);
        }
        f.instruction(&Instruction::End);
        with_body(f)
    };
    validate(&compiler(), &body(limits::MAX_NESTING - 1).finish()).unwrap();
    expect_limit(body(limits::MAX_NESTING), "nested", limits::MAX_NESTING.into());
}

#[test]
fn body_size() {
    let mut f = Function::new([]);
    f.raw(vec![0x01; limits::MAX_BODY_SIZE as usize]);
    f.instruction(&Instruction::End);
    let error = refused(with_body(f));
    assert_eq!(error.func(), Some(kiln_env::FuncIndex(0)));
    assert!(error.to_string().contains(&limits::MAX_BODY_SIZE.to_string()), "{error}");
}

#[test]
fn memories_tables_and_their_elements() {
    let mut memories = MemorySection::new();
    for _ in 0..=limits::MAX_MEMORIES {
        memories.memory(MemoryType { minimum: 0, maximum: None, memory64: false, shared: false, page_size_log2: None });
    }
    let mut module = Module::new();
    module.section(&memories);
    expect_limit(module, "memories", limits::MAX_MEMORIES.into());

    let table =
        |minimum| TableType { element_type: RefType::FUNCREF, minimum, maximum: None, table64: false, shared: false };
    let mut tables = TableSection::new();
    for _ in 0..=limits::MAX_TABLES {
        tables.table(table(0));
    }
    let mut module = Module::new();
    module.section(&tables);
    expect_limit(module, "tables", limits::MAX_TABLES.into());
}

#[test]
fn parameters() {
    let mut types = TypeSection::new();
    types.ty().function(vec![ValType::I32; limits::MAX_PARAMS as usize + 1], []);
    let mut module = Module::new();
    module.section(&types);
    let message = refused(module).to_string();
    assert!(message.contains("param"), "{message}");
}

#[test]
fn module_size() {
    let error = compiler().parse(&vec![0; limits::MAX_MODULE_SIZE + 1]).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
}

/// A count that no section can hold must not make anything allocate for it.
#[test]
fn huge_counts_are_no_allocations() {
    for section in 1..=12u8 {
        let mut bytes = b"\0asm\x01\0\0\0".to_vec();
        let mut content = Vec::new();
        u32::MAX.encode(&mut content);
        bytes.push(section);
        content.len().encode(&mut bytes);
        bytes.extend(content);
        assert!(validate(&compiler(), &bytes).is_err() || section == 12, "section {section}");
    }
}

/// A function of type `many -> many`, a thousand values each, whose body repeats `step` on a thousand operands.
fn passing_many_values(times: usize, step: impl Fn(&mut Function)) -> Module {
    let many = vec![ValType::I32; limits::MAX_PARAMS as usize];
    let mut types = TypeSection::new();
    types.ty().function(many.clone(), many);
    let mut funcs = FunctionSection::new();
    funcs.function(0);
    let mut f = Function::new([]);
    for i in 0..limits::MAX_PARAMS {
        f.instruction(&Instruction::LocalGet(i));
    }
    (0..times).for_each(|_| step(&mut f));
    f.instruction(&Instruction::End);
    let mut code = CodeSection::new();
    code.function(&f);
    let mut module = Module::new();
    module.section(&types).section(&funcs).section(&code);
    module
}

/// What one optimised function may not be, with the function and what to do.
#[track_caller]
fn expect_too_large(module: Module) {
    let (compiler, wasm) = (compiler(), module.finish());
    let module = validate(&compiler, &wasm).unwrap();
    let error = compiler.compile_module(&module, &wasm, &|_| {}).map(|_| ()).unwrap_err();
    assert_eq!((error.kind(), error.func()), (ErrorKind::Limit, Some(kiln_env::FuncIndex(0))), "{error}");
    let message = error.to_string();
    let limit = limits::MAX_OPTIMIZED_OPERANDS.to_string();
    for part in ["operands of one optimised function", &limit, "split the function", "dynamic tier"] {
        assert!(message.contains(part), "no `{part}` in {message}");
    }
}

/// Two bytes of wasm can pass a thousand values, as arguments and results, to a loop, or by a branch.
#[test]
fn operands_of_one_function() {
    let ty = wasm_encoder::BlockType::FunctionType(0);
    // With more loops it would not be optimised at all.
    type Step<'a> = (usize, &'a dyn Fn(&mut Function));
    let steps: [Step<'_>; 3] = [
        (limits::MAX_OPTIMIZED_LOOPS as usize, &|f| {
            f.instruction(&Instruction::Loop(ty)).instruction(&Instruction::End);
        }),
        (100_000, &|f| {
            f.instruction(&Instruction::Call(0));
        }),
        (100_000, &|f| {
            f.instruction(&Instruction::LocalGet(0)).instruction(&Instruction::BrIf(0));
        }),
    ];
    for (times, step) in steps {
        // Found when the limit is reached, not when all of it is made.
        expect_too_large(passing_many_values(times, step));
    }
}

/// A thousand calls with a thousand arguments and results, in 3 KB of code; and as many calls as a body has room for.
#[test]
fn calls_of_one_function() {
    expect_too_large(passing_many_values(1_000, |f| {
        f.instruction(&Instruction::Call(0));
    }));
    let mut f = Function::new([]);
    (0..3_000_000).for_each(|_| _ = f.instruction(&Instruction::Call(0)));
    f.instruction(&Instruction::End);
    expect_too_large(with_body(f));
}

/// Every call inside of a block passes on to each of its handlers, with the locals that were set meanwhile.
#[test]
fn ways_to_handlers_in_one_function() {
    let catching = |handlers: u32, calls: u32, locals: u32| {
        let mut types = TypeSection::new();
        types.ty().function([], []);
        let (mut funcs, mut tags) = (FunctionSection::new(), wasm_encoder::TagSection::new());
        funcs.function(0);
        for _ in 0..handlers {
            tags.tag(wasm_encoder::TagType { kind: wasm_encoder::TagKind::Exception, func_type_idx: 0 });
        }
        let mut f = Function::new([(locals, ValType::I32)]);
        let mut ins = f.instructions();
        let clauses: Vec<_> = (0..handlers).map(|tag| wasm_encoder::Catch::One { tag, label: 0 }).collect();
        ins.block(wasm_encoder::BlockType::Empty).try_table(wasm_encoder::BlockType::Empty, clauses);
        for i in 0..calls {
            if locals > 0 {
                ins.i32_const(i as i32).local_set(i % locals);
            }
            ins.call(0);
        }
        ins.end().end();
        (0..locals).for_each(|i| _ = ins.local_get(i).drop());
        ins.end();
        let mut code = CodeSection::new();
        code.function(&f);
        let mut module = Module::new();
        module.section(&types).section(&funcs).section(&tags).section(&code);
        module
    };
    expect_too_large(catching(2_000, 2_000, 0));
    expect_too_large(catching(1, 1_000, 1_000));
    // Beyond a bound locals are kept in memory, and nothing is passed.
    let (compiler, wasm) = (compiler(), catching(1, 4_000, 1_000).finish());
    let module = validate(&compiler, &wasm).unwrap();
    compiler.compile_module(&module, &wasm, &|_| {}).unwrap();
}

/// What is too large to be optimised can be compiled in a cheaper way, up to another limit.
#[test]
fn without_optimisation_more_is_possible() {
    let call = |f: &mut Function| {
        f.instruction(&Instruction::Call(0));
    };
    let key = kiln_env::FuncKey::Wasm(kiln_env::DefinedFuncIndex(0));
    let (compiler, wasm) = (compiler(), passing_many_values(600, call).finish());
    let module = validate(&compiler, &wasm).unwrap();
    assert_eq!(compiler.compile_function(&module, &wasm, key).unwrap_err().kind(), ErrorKind::Limit);
    assert_eq!(compiler.take_stats().unoptimized, 0);
    compiler.compile_unoptimized(&module, &wasm, key).unwrap();
    assert_eq!(compiler.take_stats().unoptimized, 1);
    let wasm = passing_many_values(2_000, call).finish();
    let module = validate(&compiler, &wasm).unwrap();
    let error = compiler.compile_unoptimized(&module, &wasm, key).unwrap_err();
    assert!(
        error.kind() == ErrorKind::Limit && error.to_string().contains(&limits::MAX_OPERANDS.to_string()),
        "{error}"
    );
}
