//! Call glue: what is called, and with which context.
//!
//! # Own references
//! Where declarations say so (`Module::has_own_references_only`) every function that a table or a reference leads to has a body in this
//! module, and the reference was made by this instance. Then its context is that of the caller: it need not be
//! loaded and compared, the callee's context is prepared already, and there is no code for a foreign one. Types of elements are still
//! compared, because elements may be null, not built yet, or of other types; so are indices.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{BlockArg, FuncRef, InstBuilder, MemFlagsData, SigRef, Value};
use kiln_env::layout::{context, func_ref, imported_func, own_number};
use kiln_env::{Builtin, DefinedFuncIndex, FuncIndex, TableIndex, TrapCode, TypeIndex};

use super::reference::is_null;
use super::table::element_address;
use crate::codegen::trap_code;
use crate::translate::emitter::{Emitter, Region};

/// A function about to be called.
#[derive(Clone, Copy)]
pub(crate) struct Callee {
    /// Its code.
    pub(crate) target: Target,
    /// Its context: the first argument.
    pub(crate) context: Value,
}

/// The code of a function.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// Known by name.
    Direct(FuncRef),
    /// By address.
    Indirect(SigRef, Value),
}

/// The function of a `call`.
pub(crate) fn direct(e: &mut Emitter, func: FuncIndex) -> Callee {
    e.flush_fuel();
    match e.env.module.defined_func(func) {
        Some(defined) => Callee { target: Target::Direct(e.wasm_func(defined)), context: e.env.vmctx },
        None => {
            let ty = e.env.module.funcs[func].ty;
            let at = e.env.layout.imported_func(func);
            let code = e.context_constant(I64, at + imported_func::code);
            let context = e.context_constant(I64, at + imported_func::context);
            foreign(e, ty, code, context)
        }
    }
}

/// What an indirect call takes its callee from, before that is known to be one.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    kind: SourceKind,
    /// Where the `VmFuncRef` is.
    address: Value,
    /// Flags of the next access to it: the first one may trap.
    next: MemFlagsData,
}

#[derive(Clone, Copy)]
enum SourceKind {
    /// This element of a table.
    Element(TableIndex, Value),
    /// A reference.
    Reference,
}

impl Source {
    /// Element `element` of a table.
    pub(crate) fn element(e: &mut Emitter, table: TableIndex, element: Value) -> Source {
        e.flush_fuel();
        let element = e.widen(element);
        let (address, next) = element_address(e, table, element, TrapCode::UndefinedElement);
        Source { kind: SourceKind::Element(table, element), address, next }
    }

    /// A function reference.
    pub(crate) fn reference(e: &mut Emitter, reference: Value) -> Source {
        e.flush_fuel();
        let trusted = e.trusted(Region::Table);
        let next = if e.env.tunables.signals {
            // Nothing is mapped at address 0: the load is the check.
            let region = trusted.alias_region();
            MemFlagsData::new()
                .with_aligned()
                .with_alias_region(region)
                .with_trap_code(Some(trap_code(TrapCode::NullReference)))
        } else {
            let null = is_null(e, reference);
            e.trap_if(null, TrapCode::NullReference);
            trusted
        };
        Source { kind: SourceKind::Reference, address: reference, next }
    }

    /// Which function it is; an element that is null or not built yet is none.
    pub(crate) fn identity(&mut self, e: &mut Emitter) -> Identity {
        let trusted = e.trusted(Region::Table);
        let number_field = e.own_number_field();
        let number = e.b.ins().load(I32, self.next, self.address, number_field);
        self.next = trusted;
        let is_own = (!e.env.own_references).then(|| {
            let context = e.b.ins().load(I64, trusted, self.address, func_ref::context as i32);
            let vmctx = e.env.vmctx;
            e.b.ins().icmp(IntCC::Equal, context, vmctx)
        });
        Identity { number, is_own }
    }

    /// The callee, which is to be of a type.
    pub(crate) fn callee(self, e: &mut Emitter, ty: TypeIndex) -> Callee {
        let Source { kind, address, next } = self;
        match kind {
            SourceKind::Element(table, element) => indirect(e, ty, (table, element), (address, next)),
            SourceKind::Reference => reference(e, ty, address, next),
        }
    }
}

/// What tells which function an indirect call calls.
#[derive(Clone, Copy)]
pub(crate) struct Identity {
    /// Its number, if it is one of the same instance.
    number: Value,
    /// Whether it is, unless that is known.
    is_own: Option<Value>,
}

impl Identity {
    /// Whether it is this function of the same instance.
    pub(crate) fn is(self, e: &mut Emitter, func: DefinedFuncIndex) -> Value {
        let same_number = e.b.ins().icmp_imm_u(IntCC::Equal, self.number, i64::from(own_number(func)));
        match self.is_own {
            Some(is_own) => e.b.ins().band(same_number, is_own),
            None => same_number,
        }
    }
}

/// The function of a `call_indirect` through an element of a table, which is at `entry`.
fn indirect(
    e: &mut Emitter,
    ty: TypeIndex,
    (table, element): (TableIndex, Value),
    (entry, first): (Value, MemFlagsData),
) -> Callee {
    if e.env.own_references {
        return own_element(e, ty, (table, element), (entry, first));
    }
    let flags = e.trusted(Region::Table);
    let type_field = e.type_id_field();
    let found = e.b.ins().load(I32, first, entry, type_field);
    let code = e.b.ins().load(I64, flags, entry, func_ref::code as i32);
    let context = e.b.ins().load(I64, flags, entry, func_ref::context as i32);
    // Not as a constant: hoisted it would take a register across the call, or be spilled.
    let wanted = e.context_field(I32, e.env.layout.type_id(ty));
    let same = e.b.ins().icmp(IntCC::Equal, found, wanted);

    let own = e.b.create_block();
    let resolve = e.b.create_block();
    let foreign = e.b.create_block();
    let call = e.b.create_block();
    for block in [resolve, foreign] {
        e.b.set_cold_block(block);
    }
    let [foreign_code, foreign_context, final_code, final_context] =
        [foreign, foreign, call, call].map(|block| e.b.append_block_param(block, I64));
    e.b.ins().brif(same, own, &[], resolve, &[]);
    e.b.seal_block(own);
    e.b.seal_block(resolve);

    e.b.switch_to_block(own);
    let vmctx = e.env.vmctx;
    let other = e.b.ins().icmp(IntCC::NotEqual, context, vmctx);
    let callee: [BlockArg; 2] = [code.into(), context.into()];
    e.b.ins().brif(other, foreign, &callee, call, &callee);

    e.b.switch_to_block(resolve);
    let table = e.i32(table.0);
    let reference = e.builtin_value(Builtin::ResolveIndirect, &[table, element, wanted]);
    let code = e.b.ins().load(I64, flags, reference, func_ref::code as i32);
    let context = e.b.ins().load(I64, flags, reference, func_ref::context as i32);
    // It may be a function of this instance after all, where this does no harm.
    e.b.ins().jump(foreign, &[code.into(), context.into()]);
    e.b.seal_block(foreign);

    e.b.switch_to_block(foreign);
    enter_foreign(e, foreign_context);
    e.b.ins().jump(call, &[foreign_code.into(), foreign_context.into()]);
    e.b.seal_block(call);

    e.b.switch_to_block(call);
    Callee { target: Target::Indirect(e.sig_ref(ty), final_code), context: final_context }
}

/// The same where all functions are the instance's own.
fn own_element(
    e: &mut Emitter,
    ty: TypeIndex,
    (table, element): (TableIndex, Value),
    (entry, first): (Value, MemFlagsData),
) -> Callee {
    let flags = e.trusted(Region::Table);
    let type_field = e.type_id_field();
    let found = e.b.ins().load(I32, first, entry, type_field);
    let code = e.b.ins().load(I64, flags, entry, func_ref::code as i32);
    let wanted = e.context_field(I32, e.env.layout.type_id(ty));
    let differs = e.b.ins().icmp(IntCC::NotEqual, found, wanted);
    let code = e.unlikely_value(differs, code, |e| {
        let table = e.i32(table.0);
        let reference = e.builtin_value(Builtin::ResolveIndirect, &[table, element, wanted]);
        e.b.ins().load(I64, flags, reference, func_ref::code as i32)
    });
    Callee { target: Target::Indirect(e.sig_ref(ty), code), context: e.env.vmctx }
}

/// The function of a `call_ref`.
fn reference(e: &mut Emitter, ty: TypeIndex, reference: Value, first: MemFlagsData) -> Callee {
    let trusted = e.trusted(Region::Table);
    let code = e.b.ins().load(I64, first, reference, func_ref::code as i32);
    if e.env.own_references {
        return Callee { target: Target::Indirect(e.sig_ref(ty), code), context: e.env.vmctx };
    }
    let context = e.b.ins().load(I64, trusted, reference, func_ref::context as i32);
    perhaps_foreign(e, ty, code, context)
}

/// A function that may belong to another instance or to the host. Mostly it does not: one comparison is less than what
/// [`foreign`] does.
fn perhaps_foreign(e: &mut Emitter, ty: TypeIndex, code: Value, context: Value) -> Callee {
    let vmctx = e.env.vmctx;
    let other = e.b.ins().icmp(IntCC::NotEqual, context, vmctx);
    e.unlikely(other, |e| enter_foreign(e, context));
    Callee { target: Target::Indirect(e.sig_ref(ty), code), context }
}

/// A function of another instance or of the host.
fn foreign(e: &mut Emitter, ty: TypeIndex, code: Value, context: Value) -> Callee {
    enter_foreign(e, context);
    Callee { target: Target::Indirect(e.sig_ref(ty), code), context }
}

/// Leaves the stack limit and the caller in a callee's context.
fn enter_foreign(e: &mut Emitter, context: Value) {
    let limit = e.context_field(I64, context::stack_limit);
    let flags = e.trusted(Region::Context);
    e.b.ins().store(flags, limit, context, context::stack_limit as i32);
    let vmctx = e.env.vmctx;
    e.b.ins().store(flags, vmctx, context, context::caller as i32);
}
