//! Bulk operations on memories, tables and segments. The runtime does them.

use cranelift_codegen::ir::Value;
use kiln_env::types::RefRepr;
use kiln_env::{Builtin, TableIndex};

use crate::translate::emitter::Emitter;

pub(super) fn visit_memory_init(e: &mut Emitter, [dst, src, len]: [Value; 3], data_index: u32, mem: u32) {
    let args = [e.i32(mem), e.i32(data_index), e.widen(dst), e.widen(src), e.widen(len)];
    e.builtin(Builtin::MemoryInit, &args);
}

pub(super) fn visit_data_drop(e: &mut Emitter, []: [Value; 0], data_index: u32) {
    let data = e.i32(data_index);
    e.builtin(Builtin::DataDrop, &[data]);
}

pub(super) fn visit_memory_copy(e: &mut Emitter, [dst, src, len]: [Value; 3], dst_mem: u32, src_mem: u32) {
    let args = [e.i32(dst_mem), e.i32(src_mem), e.widen(dst), e.widen(src), e.widen(len)];
    e.builtin(Builtin::MemoryCopy, &args);
}

pub(super) fn visit_memory_fill(e: &mut Emitter, [dst, value, len]: [Value; 3], mem: u32) {
    let args = [e.i32(mem), e.widen(dst), value, e.widen(len)];
    e.builtin(Builtin::MemoryFill, &args);
}

pub(super) fn visit_table_init(e: &mut Emitter, [dst, src, len]: [Value; 3], elem_index: u32, table: u32) {
    let args = [e.i32(table), e.i32(elem_index), e.widen(dst), e.widen(src), e.widen(len)];
    e.builtin(Builtin::TableInit, &args);
}

pub(super) fn visit_elem_drop(e: &mut Emitter, []: [Value; 0], elem_index: u32) {
    let elem = e.i32(elem_index);
    e.builtin(Builtin::ElemDrop, &[elem]);
}

pub(super) fn visit_table_copy(e: &mut Emitter, [dst, src, len]: [Value; 3], dst_table: u32, src_table: u32) {
    let args = [e.i32(dst_table), e.i32(src_table), e.widen(dst), e.widen(src), e.widen(len)];
    e.builtin(Builtin::TableCopy, &args);
}

pub(super) fn visit_table_fill(e: &mut Emitter, [dst, value, len]: [Value; 3], table: u32) {
    let builtin = match e.env.module.tables[TableIndex(table)].element.repr() {
        RefRepr::FuncPointer => Builtin::TableFillFunc,
        RefRepr::Gc => Builtin::TableFillRef,
    };
    let args = [e.i32(table), e.widen(dst), value, e.widen(len)];
    e.builtin(builtin, &args);
}

pub(super) fn visit_table_grow(e: &mut Emitter, [init, delta]: [Value; 2], table: u32) -> Value {
    let ty = e.env.module.tables[TableIndex(table)];
    let builtin = match ty.element.repr() {
        RefRepr::FuncPointer => Builtin::TableGrowFunc,
        RefRepr::Gc => Builtin::TableGrowRef,
    };
    let args = [e.i32(table), e.widen(delta), init];
    let old = e.builtin_value(builtin, &args);
    e.as_index(old, ty.limits.is_64)
}
