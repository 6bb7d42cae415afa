//! Access to elements of tables.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};
use kiln_env::layout::{GC_ELEMENT_SIZE, Place, TYPE_LAZY, func_ref, table, table_element_size};
use kiln_env::types::RefRepr;
use kiln_env::{Builtin, TableIndex, TrapCode};

use crate::codegen::trap_code;
use crate::translate::emitter::{Emitter, Region};

/// A field of a table's `VmTable`. Loaded where it is needed, even if it never changes: most uses stand before a call,
/// and a value that lives across calls takes one of a few registers.
fn field(e: &mut Emitter, index: TableIndex, offset: u32) -> Value {
    let flags = e.trusted(Region::Context);
    let (base, at) = match e.env.layout.table(index) {
        Place::Inline(at) => (e.env.vmctx, at + offset),
        Place::Indirect(at) => (e.context_constant(I64, at), offset),
    };
    e.b.ins().load(I64, flags, base, at as i32)
}

/// The number of elements, in 64 bits. Also of a table that can never have another it is no constant in the code, so that
/// programs with tables of different lengths can share functions.
fn len(e: &mut Emitter, index: TableIndex) -> Value {
    field(e, index, table::len)
}

/// The address of element `element` (64 bits), and the flags for the first access to it: either the index has been
/// checked, or that access traps with `code` if the index is outside.
pub(crate) fn element_address(
    e: &mut Emitter,
    index: TableIndex,
    element: Value,
    code: TrapCode,
) -> (Value, MemFlagsData) {
    e.flush_fuel();
    let size = table_element_size(e.env.module.tables[index].element.repr());
    let len = len(e, index);
    let outside = e.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, element, len);
    let flags = e.trusted(Region::Table);
    let by_fault = e.env.table_spectre && e.env.tunables.signals;
    if !by_fault {
        e.trap_if(outside, code);
    }
    let base = field(e, index, table::base);
    let offset = e.b.ins().ishl_imm_u(element, i64::from(size.trailing_zeros()));
    let address = e.b.ins().iadd(base, offset);
    if !e.env.table_spectre {
        return (address, flags);
    }
    // One conditional move keeps speculation inside, and makes the access fault: nothing is mapped at address 0.
    let null = e.i64(0);
    let address = e.b.ins().select_spectre_guard(outside, null, address);
    (address, if by_fault { flags.with_trap_code(Some(trap_code(code))) } else { flags })
}

pub(super) fn visit_table_get(e: &mut Emitter, [element]: [Value; 1], table: u32) -> Value {
    let table = TableIndex(table);
    let ty = e.env.module.tables[table];
    let element = e.widen(element);
    let (address, first) = element_address(e, table, element, TrapCode::TableOutOfBounds);
    let flags = e.trusted(Region::Table);
    match ty.element.repr() {
        RefRepr::Gc => {
            let value = e.b.ins().load(I32, first, address, 0);
            e.collected(value);
            value
        }
        RefRepr::FuncPointer => {
            let type_field = e.type_id_field();
            let type_id = e.b.ins().load(I32, first, address, type_field);
            let reference = e.b.ins().load(I64, flags, address, func_ref::reference as i32);
            let lazy = e.b.ins().icmp_imm_u(IntCC::Equal, type_id, i64::from(TYPE_LAZY));
            e.unlikely_value(lazy, reference, |e| {
                let table = e.i32(table.0);
                e.builtin_value(Builtin::TableGetFunc, &[table, element])
            })
        }
    }
}

pub(super) fn visit_table_set(e: &mut Emitter, [element, value]: [Value; 2], table: u32) {
    let index = TableIndex(table);
    let element = e.widen(element);
    match e.env.module.tables[index].element.repr() {
        RefRepr::FuncPointer => {
            let table = e.i32(table);
            e.builtin(Builtin::TableSetFunc, &[table, element, value]);
        }
        RefRepr::Gc => {
            const { assert!(GC_ELEMENT_SIZE == 4) };
            let (address, first) = element_address(e, index, element, TrapCode::TableOutOfBounds);
            e.store_barrier(address, value);
            e.b.ins().store(first, value, address, 0);
        }
    }
}

pub(super) fn visit_table_size(e: &mut Emitter, []: [Value; 0], table: u32) -> Value {
    let table = TableIndex(table);
    let len = len(e, table);
    e.as_index(len, e.env.module.tables[table].limits.is_64)
}
