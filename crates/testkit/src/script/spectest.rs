//! The module `spectest`, which scripts of the official suite import from.

use anyhow::Result;
use kiln::{
    Extern, Global, GlobalType, Linker, Memory, MemoryType, Mutability, Ref, RefType, SharedMemory, Store, Table,
    TableType, Val, ValType,
};

use crate::modes::Mode;

const NAME: &str = "spectest";

/// Defines the module's functions, globals, tables and memories. What the functions would print goes nowhere.
pub(super) fn define(linker: &mut Linker<()>, store: &mut Store<()>, mode: &Mode) -> Result<()> {
    linker.func_wrap(NAME, "print", || {})?;
    linker.func_wrap(NAME, "print_i32", |_: i32| {})?;
    linker.func_wrap(NAME, "print_i64", |_: i64| {})?;
    linker.func_wrap(NAME, "print_f32", |_: f32| {})?;
    linker.func_wrap(NAME, "print_f64", |_: f64| {})?;
    linker.func_wrap(NAME, "print_i32_f32", |_: i32, _: f32| {})?;
    linker.func_wrap(NAME, "print_f64_f64", |_: f64, _: f64| {})?;
    let globals = [
        ("global_i32", ValType::I32, Val::I32(666)),
        ("global_i64", ValType::I64, Val::I64(666)),
        ("global_f32", ValType::F32, Val::F32(666.6f32.to_bits())),
        ("global_f64", ValType::F64, Val::F64(666.6f64.to_bits())),
    ];
    for (name, ty, value) in globals {
        let global = Global::new(&mut *store, GlobalType::new(ty, Mutability::Const), value)?;
        linker.define(&*store, NAME, name, global)?;
    }
    let table = Table::new(&mut *store, TableType::new(RefType::FUNCREF, 10, Some(20)), Ref::Func(None))?;
    linker.define(&*store, NAME, "table", table)?;
    if mode.features.memory64 {
        let table = Table::new(&mut *store, TableType::new64(RefType::FUNCREF, 10, Some(20)), Ref::Func(None))?;
        linker.define(&*store, NAME, "table64", table)?;
    }
    let memory = Memory::new(&mut *store, MemoryType::new(1, Some(2)))?;
    linker.define(&*store, NAME, "memory", memory)?;
    if mode.features.threads {
        let memory = SharedMemory::new(store.engine(), MemoryType::shared(1, 2))?;
        linker.define(&*store, NAME, "shared_memory", Extern::SharedMemory(memory))?;
    }
    Ok(())
}
