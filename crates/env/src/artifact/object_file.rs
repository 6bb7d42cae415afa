//! Relocatable objects: a module's code for other linkers, and a C header that says what is in there.
//!
//! The object has all code of the module and refers to nothing outside. Whoever links it provides what the runtime
//! otherwise does: contexts, memory, the builtins that the code calls. The header declares the structures of
//! [`crate::layout`], from the same tables, and what is where in a context of this module.

use std::fmt::Write;
use std::str::FromStr;

use object::write::{Object, Relocation, SectionId, StandardSection, Symbol, SymbolId, SymbolSection};
use object::{BinaryFormat, Endianness, RelocationEncoding, RelocationFlags, RelocationKind};
use object::{SymbolFlags, SymbolKind, SymbolScope};
use target_lexicon::{Architecture, Triple};

use super::{CodeVariant, Contents, WriteError, eh_frame, write};
use crate::builtins::{Builtin, BuiltinType};
use crate::func_key::FuncKey;
use crate::index::*;
use crate::layout::{ContextLayout, MAGIC_HOST, MAGIC_INSTANCE, MemoryPlace, Place};
use crate::module::{ConstOp, Module};
use crate::types::FuncType;

/// An object and its header.
pub struct ObjectFile {
    /// The relocatable object.
    pub object: Vec<u8>,
    /// The C header.
    pub header: String,
}

/// A name as a C identifier: other characters become underscores.
pub fn c_identifier(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let mut identifier: String = name.chars().map(plain).collect();
    if !identifier.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        identifier.insert(0, '_');
    }
    identifier
}

/// Makes an object of the first variant of `contents`, whose symbols begin with `prefix`.
///
/// # Errors
/// The target is not known, or the ELF library refuses. A context of the module would be too large.
pub fn object_file(contents: &Contents<'_>, prefix: &str) -> Result<ObjectFile, WriteError> {
    let variant = contents.variants.first().ok_or(WriteError::Variants(0))?;
    let target = || WriteError::Target(variant.fingerprint.target.clone());
    let triple = Triple::from_str(&variant.fingerprint.target).map_err(|_| target())?;
    let architecture = match triple.architecture {
        Architecture::X86_64 | Architecture::X86_64h => object::Architecture::X86_64,
        Architecture::Aarch64(_) => object::Architecture::Aarch64,
        Architecture::Riscv64(_) => object::Architecture::Riscv64,
        Architecture::S390x => object::Architecture::S390x,
        _ => return Err(target()),
    };
    let endian = match triple.endianness() {
        Ok(target_lexicon::Endianness::Big) => Endianness::Big,
        _ => Endianness::Little,
    };
    let layout = ContextLayout::new(contents.module)?;
    let mut object = Object::new(BinaryFormat::Elf, architecture, endian);
    add_code(&mut object, variant, prefix, &triple)?;
    let data = add_data(&mut object, contents, &layout, prefix);
    let header = header(contents, variant, &layout, prefix, &data);
    Ok(ObjectFile { object: object.write()?, header })
}

/// The symbol of a function.
fn symbol_name(prefix: &str, key: FuncKey) -> String {
    match key {
        FuncKey::Wasm(func) => format!("{prefix}_wasm_{}", func.0),
        FuncKey::ArrayToWasm(ty) => format!("{prefix}_enter_{}", ty.0),
        FuncKey::WasmToHost(ty) => format!("{prefix}_host_{}", ty.0),
        FuncKey::WasmToBuiltin(builtin) => format!("{prefix}_builtin_{}", builtin.name()),
        FuncKey::Osr { func, offset } => format!("{prefix}_wasm_{}_at_{offset}", func.0),
    }
}

fn add_symbol(
    object: &mut Object<'_>,
    section: SectionId,
    name: String,
    value: u64,
    size: u64,
    text: bool,
) -> SymbolId {
    object.add_symbol(Symbol {
        name: name.into_bytes(),
        value,
        size,
        kind: if text { SymbolKind::Text } else { SymbolKind::Data },
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    })
}

fn add_code(
    object: &mut Object<'_>,
    variant: &CodeVariant<'_>,
    prefix: &str,
    triple: &Triple,
) -> Result<(), WriteError> {
    let image = variant.image;
    let text = object.section_id(StandardSection::Text);
    let base = object.append_section_data(text, &image.text, 64);
    for func in &image.funcs {
        let at = base + u64::from(func.start);
        add_symbol(object, text, symbol_name(prefix, func.key), at, func.len.into(), true);
    }
    let (frames, places) = eh_frame::section(&triple.architecture, image, 0);
    if frames.is_empty() {
        return Ok(());
    }
    // The terminator is the C library's to put.
    let frames = frames.strip_suffix(&[0; 4]).unwrap_or(&frames);
    let section = object.section_id(StandardSection::EhFrame);
    let start = object.append_section_data(section, frames, 8);
    let symbol = object.section_symbol(text);
    for (at, function) in places {
        let flags = RelocationFlags::Generic {
            kind: RelocationKind::Relative,
            encoding: RelocationEncoding::Generic,
            size: 32,
        };
        let addend = (base + u64::from(function)) as i64;
        object.add_relocation(section, Relocation { offset: start + at, symbol, addend, flags })?;
    }
    Ok(())
}

/// What the header says about data.
struct Data {
    runs: usize,
    bytes: usize,
}

/// Adds a context with everything that is the same in each instance, and the first contents of memories.
fn add_data(object: &mut Object<'_>, contents: &Contents<'_>, layout: &ContextLayout, prefix: &str) -> Data {
    let section = object.section_id(StandardSection::ReadOnlyData);
    let mut add = |name: &str, bytes: &[u8], align| {
        let at = object.append_section_data(section, bytes, align);
        add_symbol(object, section, format!("{prefix}_{name}"), at, bytes.len() as u64, false);
    };
    add("context_template", &template(contents.module, layout), 16);
    let mut bytes = Vec::new();
    let images = write::images(contents.module, contents.wasm, &mut bytes);
    let mut runs = Vec::new();
    for (memory, image) in images.iter().enumerate() {
        for run in image.iter().flat_map(|i| &i.runs) {
            runs.extend([memory as u64, run.offset, run.at, run.len]);
        }
    }
    let data = Data { runs: runs.len() / 4, bytes: bytes.len() };
    // An empty array is no C.
    runs.extend([0; 4]);
    bytes.push(0);
    add("memory_runs", &runs.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>(), 8);
    add("memory_bytes", &bytes, 16);
    data
}

fn template(module: &Module, layout: &ContextLayout) -> Vec<u8> {
    let mut template = vec![0; layout.size() as usize];
    template[..8].copy_from_slice(&MAGIC_INSTANCE.to_le_bytes());
    for (index, init) in module.global_inits.iter() {
        let Place::Inline(at) = layout.global(module.global_index(index)) else { continue };
        let value: u128 = match &*init.0 {
            [ConstOp::I32(v)] => (*v as u32).into(),
            [ConstOp::I64(v)] => (*v as u64).into(),
            [ConstOp::F32(v)] => (*v).into(),
            [ConstOp::F64(v)] => (*v).into(),
            [ConstOp::V128(v)] => *v,
            _ => continue,
        };
        template[at as usize..at as usize + 16].copy_from_slice(&value.to_le_bytes());
    }
    template
}

macro_rules! c_structs {
    ($($(#[doc = $doc:literal])* $name:ident $module:ident { $($(#[doc = $fdoc:literal])* $field:ident: $ty:ident,)* })*) => {
        /// The structures that code and host share, in C.
        fn c_structs() -> String {
            let mut out = String::new();
            $(
                out += concat!($("/*", $doc, " */\n",)* "typedef struct kiln_", stringify!($module), " {\n");
                $(
                    out += concat!($("    /*", $fdoc, " */\n",)*);
                    out += match stringify!($ty) { "ptr" => "    void *", "i64" => "    int64_t ", _ => "    uint64_t " };
                    out += concat!(stringify!($field), ";\n");
                )*
                out += concat!("} kiln_", stringify!($module), ";\n\n");
            )*
            out
        }
    };
}

crate::for_each_vm_struct!(c_structs);

fn c_builtins() -> String {
    let ty = |ty: BuiltinType| match ty {
        BuiltinType::Pointer => "void *",
        BuiltinType::I32 => "uint32_t",
        BuiltinType::I64 => "uint64_t",
    };
    let mut out = String::from(
        "/* Functions that code calls through the context's array `builtins`, by position. A result of 1 << 63 means that the\n   \
         function failed: then code calls `raise`, which must not return. */\n",
    );
    for (i, builtin) in Builtin::ALL.iter().enumerate() {
        let params: Vec<&str> = builtin.params().iter().map(|p| ty(*p)).collect();
        let result = if builtin.fallible() { "uint64_t" } else { builtin.result().map_or("void", ty) };
        out += &format!("/* {i}: {result} {}({}) */\n", builtin.name(), params.join(", "));
    }
    out + &format!("#define KILN_BUILTINS {}\n\n", Builtin::ALL.len())
}

/// What is the same for all modules; guarded, so that several headers can be included.
fn common() -> String {
    let mut out = String::from("#ifndef KILN_ABI\n#define KILN_ABI\n\n");
    out += "/* A parameter or result: 16 bytes, the value in the first of them. */\n\
            typedef union kiln_value {\n    int32_t i32;\n    int64_t i64;\n    float f32;\n    double f64;\n    \
            uint8_t v128[16];\n    uint64_t words[2];\n} kiln_value;\n\n";
    out += &c_structs();
    out += "/* The context of a host function: what an import of a module points to. `call` returns 1, or 0 if it failed: then code\n   \
            calls the builtin `raise`. */\n\
            typedef struct kiln_host_function {\n    kiln_context header;\n    \
            uint64_t (*call)(struct kiln_host_function *self, kiln_context *caller, kiln_value *values);\n} kiln_host_function;\n\n";
    _ = writeln!(out, "#define KILN_MAGIC_INSTANCE {MAGIC_INSTANCE:#x}u");
    _ = writeln!(out, "#define KILN_MAGIC_HOST {MAGIC_HOST:#x}u\n");
    out += &c_builtins();
    out + "#endif\n\n"
}

fn signature(ty: &FuncType) -> String {
    let list = |types: &[crate::types::ValType]| types.iter().map(|t| format!("{t}")).collect::<Vec<_>>().join(" ");
    format!("({}) -> ({})", list(&ty.params), list(&ty.results))
}

fn header(
    contents: &Contents<'_>,
    variant: &CodeVariant<'_>,
    layout: &ContextLayout,
    prefix: &str,
    data: &Data,
) -> String {
    let module = contents.module;
    let guard = format!("{}_H", prefix.to_uppercase());
    let mut out = format!(
        "/* Made by {} for {}.\n\n   \
         To call a function: copy {prefix}_context_template to {prefix}_CONTEXT_SIZE bytes, aligned to 16; set `store` to a zeroed\n   \
         kiln_store_context, `stack_limit` to the lowest stack address that code may use (0: no limit), `builtins` to an array\n   \
         of KILN_BUILTINS functions; fill in the memories, imports and tables below; then call one of the functions\n   \
         below with the context and as many values as it has parameters or results, whichever is more. It returns 1 if\n   \
         it came to its end, and has put its results in place of the parameters.\n   \
         A trap is an instruction that faults, as `ud2`: a host that wants to go on handles SIGSEGV, SIGILL and SIGFPE, and goes\n   \
         on at `entry_handler` of the store with `entry_sp` and `entry_fp`; the call then returns 0.\n   \
         32-bit memories need 4 GiB + {:#x} bytes of address space that is inaccessible behind `len`. */\n\n",
        variant.fingerprint.compiler, variant.fingerprint.target, variant.fingerprint.tunables.memory_guard
    );
    _ = writeln!(out, "#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n");
    out += &common();
    out += "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n";
    _ = writeln!(out, "#define {prefix}_CONTEXT_SIZE {}", layout.size());
    _ = writeln!(out, "extern const uint8_t {prefix}_context_template[{prefix}_CONTEXT_SIZE];\n");
    _ = writeln!(out, "/* What memories begin with: memory, offset in it, offset in {prefix}_memory_bytes, bytes. */");
    _ = writeln!(out, "#define {prefix}_MEMORY_RUNS {}", data.runs);
    _ = writeln!(out, "extern const uint64_t {prefix}_memory_runs[{}][4];", data.runs + 1);
    _ = writeln!(out, "extern const uint8_t {prefix}_memory_bytes[{}];\n", data.bytes + 1);
    places(&mut out, module, layout, prefix);
    functions(&mut out, contents, variant, prefix);
    out + "#ifdef __cplusplus\n}\n#endif\n\n#endif\n"
}

/// Where things are in a context.
fn places(out: &mut String, module: &Module, layout: &ContextLayout, prefix: &str) {
    for (index, ty) in module.memories.iter() {
        let (at, what) = match layout.memory(index) {
            MemoryPlace::Inline(at) => (at, "kiln_memory"),
            MemoryPlace::Indirect(at) => (at, "kiln_memory *, then its base"),
        };
        _ = writeln!(out, "#define {prefix}_MEMORY_{} {at} /* {what}; at least {} pages */", index.0, ty.limits.min);
    }
    for index in module.tables.keys() {
        let (at, what) = place(layout.table(index), "kiln_table");
        _ = writeln!(out, "#define {prefix}_TABLE_{} {at} /* {what} of kiln_func_ref, or of references */", index.0);
    }
    for (index, ty) in module.globals.iter() {
        let (at, what) = place(layout.global(index), "kiln_value");
        _ = writeln!(out, "#define {prefix}_GLOBAL_{} {at} /* {what}: {} */", index.0, ty.content);
    }
    for index in module.types.keys() {
        let at = layout.type_id(index);
        _ = writeln!(
            out,
            "#define {prefix}_TYPE_{} {at} /* uint32_t: number of a type, the same for equal ones */",
            index.0
        );
    }
    for import in &module.imports {
        if let EntityIndex::Func(func) = import.index {
            let at = layout.imported_func(func);
            let ty = module.canonical_signatures()[module.funcs[func].ty];
            let name = format!("{}.{}", import.module, import.name).replace("*/", "* /");
            _ = writeln!(
                out,
                "#define {prefix}_IMPORT_{} {at} /* kiln_imported_func: {name}; code: {}; context: a kiln_host_function */",
                func.0,
                symbol_name(prefix, FuncKey::WasmToHost(ty))
            );
        }
    }
    out.push('\n');
}

fn place(place: Place, what: &str) -> (u32, String) {
    match place {
        Place::Inline(at) => (at, what.to_owned()),
        Place::Indirect(at) => (at, format!("{what} *")),
    }
}

fn functions(out: &mut String, contents: &Contents<'_>, variant: &CodeVariant<'_>, prefix: &str) {
    let module = contents.module;
    for func in &variant.image.funcs {
        let symbol = symbol_name(prefix, func.key);
        match func.key {
            FuncKey::Wasm(defined) => {
                let name = (contents.names)(func.key).replace("*/", "* /");
                let ty = signature(module.func_type(module.func_index(defined)));
                _ = writeln!(out, "extern const uint8_t {symbol}[]; /* {name} {ty} */");
            }
            FuncKey::ArrayToWasm(_) => {
                let params = "kiln_context *context, const void *function, kiln_value *values";
                _ = writeln!(out, "uint64_t {symbol}({params});");
            }
            _ => _ = writeln!(out, "extern const uint8_t {symbol}[];"),
        }
    }
    let canonical = module.canonical_signatures();
    let mut names = std::collections::BTreeSet::new();
    for export in &module.exports {
        let EntityIndex::Func(func) = export.index else { continue };
        let (Some(defined), name) = (module.defined_func(func), c_identifier(&export.name)) else { continue };
        if !names.insert(name.clone()) {
            continue;
        }
        let enter = symbol_name(prefix, FuncKey::ArrayToWasm(canonical[module.funcs[func].ty]));
        let symbol = symbol_name(prefix, FuncKey::Wasm(defined));
        let ty = signature(module.func_type(func));
        _ = writeln!(
            out,
            "\n/* {ty} */\nstatic inline uint64_t {prefix}_{name}(kiln_context *context, kiln_value *values) {{\n    \
             return {enter}(context, {symbol}, values);\n}}"
        );
    }
    out.push('\n');
}
