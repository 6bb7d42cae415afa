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

#[track_caller]
fn compile_error(module: Module) -> CompileError {
    let (compiler, wasm) = (compiler(), module.finish());
    let module = validate(&compiler, &wasm).unwrap();
    compiler.compile_module(&module, &wasm, &|_| {}).map(|_| ()).unwrap_err()
}

/// Two bytes of wasm can pass a thousand values.
#[test]
fn values_of_one_function() {
    let ty = wasm_encoder::BlockType::FunctionType(0);
    let steps: [&dyn Fn(&mut Function); 2] = [
        &|f| {
            f.instruction(&Instruction::Loop(ty)).instruction(&Instruction::End);
        },
        &|f| {
            f.instruction(&Instruction::Call(0));
        },
    ];
    for step in steps {
        let error = compile_error(passing_many_values(100_000, step));
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        assert!(error.to_string().contains("values in one function"), "{error}");
    }
}

#[test]
fn uses_of_values_in_one_function() {
    let branches = |f: &mut Function| {
        f.instruction(&Instruction::LocalGet(0)).instruction(&Instruction::BrIf(0));
    };
    let error = compile_error(passing_many_values(200_000, branches));
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
}
