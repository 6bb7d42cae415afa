//! One function's IR to machine code.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::time::{Duration, Instant};

use cranelift_codegen::binemit::Reloc as ClifReloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::dominator_tree::DominatorTree;
use cranelift_codegen::ir::{
    self, ArgumentPurpose, ExternalName, Function, GlobalValueData, MemFlagsData, SourceLoc, types,
};
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::settings::OptLevel;
use cranelift_codegen::{
    CodegenError, CodegenResult, CompiledCode, Context, ExceptionContextLoc, FinalizedMachCallSite,
    FinalizedMachExceptionHandler, FinalizedRelocTarget, MachBufferFinalized, timing,
};
use kiln_env::machine::{
    AddressEntry, FuncTables, Handler, HandlerSite, InlinedBody, NO_WASM_OFFSET, Reloc, RelocKind, StackMap, TrapSite,
};
use kiln_env::unbound::OpenNumber;
use kiln_env::{FuncKey, MachineFunc, TagIndex, TrapCode, Tunables, abi, layout};

use crate::error::{CompileError, Result};
use crate::func_ir::FuncIr;
use crate::locations::LoadLocations;
use crate::midend::numbers::{self, Settler};
use crate::midend::{Bases, Reorder, Split};
use crate::relax::{Relaxer, Wanted};
use crate::unwind;

/// Where Cranelift's own lowerings trap, it uses codes of its own for some of the reasons.
const NATIVE_TRAPS: [(TrapCode, ir::TrapCode); 5] = [
    (TrapCode::StackOverflow, ir::TrapCode::STACK_OVERFLOW),
    (TrapCode::IntegerOverflow, ir::TrapCode::INTEGER_OVERFLOW),
    (TrapCode::MemoryOutOfBounds, ir::TrapCode::HEAP_OUT_OF_BOUNDS),
    (TrapCode::IntegerDivideByZero, ir::TrapCode::INTEGER_DIVISION_BY_ZERO),
    (TrapCode::BadConversionToInteger, ir::TrapCode::BAD_CONVERSION_TO_INTEGER),
];

/// The code for Cranelift's trapping instructions that stands for this trap.
pub fn trap_code(code: TrapCode) -> ir::TrapCode {
    match NATIVE_TRAPS.iter().find(|(kiln, _)| *kiln == code) {
        Some((_, native)) => *native,
        // The table of traps starts at 1 and is far from Cranelift's reserved numbers: see the test.
        None => ir::TrapCode::unwrap_user(code as u8),
    }
}

/// The trap that a code in machine code stands for.
pub fn from_trap_code(code: ir::TrapCode) -> Option<TrapCode> {
    match NATIVE_TRAPS.iter().find(|(_, native)| *native == code) {
        Some((kiln, _)) => Some(*kiln),
        None => TrapCode::from_u8(code.as_raw().get()),
    }
}

/// Makes the function check its stack when it is entered: the limit is loaded from its context, which must be a
/// parameter of purpose `VMContext`. For functions that make calls.
pub fn set_stack_limit(func: &mut Function) {
    let vmctx = func.create_global_value(GlobalValueData::VMContext);
    // Another thread may lower the limit to stop the guest, so the load is not `readonly`.
    let flags = func.dfg.mem_flags.insert_unchecked(MemFlagsData::trusted());
    func.stack_limit = Some(func.create_global_value(GlobalValueData::Load {
        base: vmctx,
        offset: (layout::STACK_LIMIT as i32).into(),
        global_type: types::I64,
        flags,
    }));
}

/// Cranelift's scratch memory, reused from function to function.
pub(crate) struct Codegen {
    context: Context,
    reorder: Reorder,
    bases: Bases,
    split: Split,
    locations: LoadLocations,
    relaxer: Relaxer,
    /// What relaxation cost since somebody last asked.
    pub(crate) relaxed: Relaxed,
    lower: Lower,
    settler: Settler,
    /// Where the function that was generated last holds open numbers; empty if it is for its own only.
    pub(crate) open: Vec<OpenNumber>,
}

/// What relaxation of machine code came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Relaxed {
    pub(crate) time: Duration,
    /// Functions that were left as they were, because something in them was not explained.
    pub(crate) refused: u64,
}

/// Cranelift's way from IR that is optimised, or is not to be, to machine code; with assembly as text if that is wanted.
type Lower = Box<dyn FnMut(&dyn TargetIsa, &Function, &DominatorTree, bool) -> CodegenResult<CompiledCode> + Send>;

/// What Cranelift does behind its optimiser. It has no call for this by itself: [`Context::compile`] optimises first, and
/// so would do all of its analyses again for a function that has been put into order in between.
fn lower() -> Lower {
    let mut register_allocator = Default::default();
    Box::new(move |isa, func, domtree, text| {
        let _time = timing::compile();
        let mut control = ControlPlane::default();
        let code = isa.compile_function(func, domtree, &mut register_allocator, text, &mut control)?;
        Ok(code.apply_params(&func.params))
    })
}

/// What code is generated for.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) isa: &'a dyn TargetIsa,
    /// Whether blocks are put into order behind the optimiser.
    pub(crate) ordered: bool,
    /// Whether addresses that many accesses share are computed once; for x86-64 only.
    pub(crate) bases: bool,
    /// Whether long blocks get copies of what they use often; for x86-64 only.
    pub(crate) split: bool,
    /// Whether the address map names the operator of every instruction, not only of those at which one can stop.
    pub(crate) all_addresses: bool,
    /// What is done about the code that Cranelift makes; nothing but for x86-64.
    pub(crate) relax: Wanted,
}

impl Codegen {
    /// Fresh scratch memory.
    pub(crate) fn new() -> Codegen {
        Codegen {
            context: Context::new(),
            reorder: Reorder::default(),
            bases: Bases::default(),
            split: Split::default(),
            locations: LoadLocations::default(),
            relaxer: Relaxer::default(),
            relaxed: Relaxed::default(),
            lower: lower(),
            settler: Settler::default(),
            open: Vec::new(),
        }
    }

    /// Makes machine code of a function and leaves its emptied memory behind for the next one. Also says how many bytes
    /// its frame takes below the frame pointer.
    ///
    /// # Errors
    /// Cranelift refuses the function or panics, or the code needs something that Kiln's code must not.
    pub(crate) fn generate(
        &mut self,
        target: Target<'_>,
        tunables: &Tunables,
        ir: FuncIr,
    ) -> Result<(MachineFunc, u32)> {
        let key = ir.key;
        let sites = ir.sites;
        self.context.func = ir.func;
        let result = guarded(|| self.generate_current(target, tunables, &ir.inlined, &ir.numbers, key));
        match &result {
            // After a panic no part of the scratch memory can be relied on.
            Err(e) if e.kind() == crate::ErrorKind::Internal => self.forget(),
            _ => self.context.clear(),
        }
        let (func, frame) = result.map_err(|e| e.for_key(key))?;
        Ok((MachineFunc { sites, ..func }, frame))
    }

    fn generate_current(
        &mut self,
        target: Target<'_>,
        tunables: &Tunables,
        inlined: &[InlinedBody],
        numbers: &[u32],
        key: FuncKey,
    ) -> Result<(MachineFunc, u32)> {
        self.optimize(target, numbers)?;
        self.open.clear();
        let (mut func, frame, is_relaxed) = self.emit(target, tunables, inlined, key)?;
        if !self.settler.is_open {
            return Ok((func, frame));
        }
        if is_relaxed {
            let fields: Vec<(u32, i32)> = self.relaxer.fields().collect();
            let (data, needed) = (self.relaxer.data_len(), self.settler.needed);
            if let Some(open) = numbers::fill(&mut func.code, data, &fields, numbers, needed) {
                self.open = open;
                return Ok((func, frame));
            }
        }
        tracing::debug!(%key, "numbers are not told apart from other things in the code");
        self.settler.give_back(&mut self.context.func, numbers);
        let (func, frame, _) = self.emit(target, tunables, inlined, key)?;
        Ok((func, frame))
    }

    /// The same code for these numbers only, without a search for them in it.
    #[cfg(test)]
    pub(crate) fn generate_fixed(
        &mut self,
        target: Target<'_>,
        tunables: &Tunables,
        ir: FuncIr,
    ) -> Result<MachineFunc> {
        self.context.func = ir.func;
        self.optimize(target, &ir.numbers)?;
        self.settler.give_back(&mut self.context.func, &ir.numbers);
        let (func, ..) = self.emit(target, tunables, &ir.inlined, ir.key)?;
        self.context.clear();
        Ok(MachineFunc { sites: ir.sites, ..func })
    }

    /// Makes machine code of what is optimised. Also gives the size of its frame, and says whether it was relaxed.
    fn emit(
        &mut self,
        target: Target<'_>,
        tunables: &Tunables,
        inlined: &[InlinedBody],
        key: FuncKey,
    ) -> Result<(MachineFunc, u32, bool)> {
        let mut code = self.lower(target.isa)?;
        if tunables.signals && self.needs_stack_check_after_all(&code) {
            set_stack_limit(&mut self.context.func);
            code = self.lower(target.isa)?;
        }
        let mut func = machine_func(target.isa, tunables, &self.context.func, &code)?;
        if target.all_addresses {
            func.tables.addresses = all_addresses(&code.buffer);
        }
        func.tables.inlined = inlined_bodies(inlined, &func.tables.addresses);
        let is_read = target.relax.any() || self.settler.is_open;
        let is_relaxed = is_read && self.relax(target.relax, &mut func, &code, key);
        Ok((func, frame_size(&code), is_relaxed))
    }

    fn relax(&mut self, wanted: Wanted, func: &mut MachineFunc, code: &CompiledCode, key: FuncKey) -> bool {
        let start = Instant::now();
        let result = self.relaxer.run(func, &code.bb_starts, code.buffer.alignment, wanted);
        if let Err(reason) = result {
            tracing::debug!(%key, reason, "machine code stays as Cranelift made it");
            self.relaxed.refused += 1;
        }
        self.relaxed.time += start.elapsed();
        result.is_ok()
    }

    /// Starts with fresh memory, but still knows what was counted.
    pub(crate) fn forget(&mut self) {
        *self = Codegen { relaxed: self.relaxed, ..Codegen::new() };
    }

    /// Makes the function what machine code is generated from.
    fn optimize(&mut self, target: Target<'_>, numbers: &[u32]) -> Result<()> {
        if target.ordered {
            self.reorder.note(&self.context.func);
        }
        self.context.optimize(target.isa, &mut ControlPlane::default()).map_err(refusal)?;
        self.settler.run(&mut self.context.func, numbers);
        if target.ordered {
            self.reorder.run(&mut self.context.func);
        }
        if target.bases {
            self.bases.run(&mut self.context.func);
        }
        if target.split {
            self.split.run(&mut self.context.func);
        }
        if target.ordered || target.bases || target.split || !numbers.is_empty() {
            self.context.verify_if(target.isa).map_err(refusal)?;
        }
        self.locations.run(&mut self.context.func);
        Ok(())
    }

    /// The emptied memory of the function that code was generated of last.
    pub(crate) fn spare(&mut self) -> Function {
        std::mem::replace(&mut self.context.func, Function::new())
    }

    /// The function as optimised IR, or as assembly as Cranelift writes it.
    ///
    /// # Errors
    /// As [`Codegen::generate`].
    pub(crate) fn text(&mut self, target: Target<'_>, ir: FuncIr, assembly: bool) -> Result<String> {
        self.context = Context::for_function(ir.func);
        self.context.set_disasm(assembly);
        let result = guarded(|| {
            self.optimize(target, &ir.numbers)?;
            self.settler.give_back(&mut self.context.func, &ir.numbers);
            if !assembly {
                return Ok(self.context.func.display().to_string());
            }
            let text = self.lower(target.isa)?.vcode;
            text.ok_or_else(|| CompileError::internal("Cranelift made no assembly text"))
        });
        self.forget();
        result
    }

    fn lower(&mut self, isa: &dyn TargetIsa) -> Result<CompiledCode> {
        let context = &self.context;
        check_entry(&context.func, &context.domtree)?;
        (self.lower)(isa, &context.func, &context.domtree, context.want_disasm).map_err(refusal)
    }

    /// Functions that make no call run without a stack check, as long as their frame fits in the reserve below the
    /// limit. How large it is shows only now.
    fn needs_stack_check_after_all(&self, code: &CompiledCode) -> bool {
        let func = &self.context.func;
        func.stack_limit.is_none()
            && frame_size(code) > abi::STACK_RESERVE
            && func.signature.uses_special_param(ArgumentPurpose::VMContext)
    }
}

/// Checks that the code of a function will begin where the function is entered. Cranelift lays out blocks as the dominator
/// tree has them, those that are cold after all others, and puts the prologue where its first block is; only its verifier,
/// which is for development, looks whether that is the beginning. So this is done for every function of every tier.
///
/// # Errors
/// The entry block is not the first one, or is cold, or something jumps to it: a pass or the translator is at fault.
pub(crate) fn check_entry(func: &Function, domtree: &DominatorTree) -> Result<()> {
    let wrong = |what: &str| Err(CompileError::internal(format_args!("the entry block {what}")));
    let Some(entry) = func.layout.entry_block() else { return wrong("is missing") };
    if func.layout.is_cold(entry) {
        return wrong("is cold, so that the code would begin with another one");
    }
    if domtree.cfg_rpo().next() != Some(&entry) {
        return wrong("is not the first one in the order of the code");
    }
    let tables = (&func.dfg.jump_tables, &func.dfg.exception_tables);
    let to_entry = |block| {
        let last = func.layout.last_inst(block);
        let targets = last.map(|inst| func.dfg.insts[inst].branch_destination(tables.0, tables.1)).unwrap_or_default();
        targets.iter().any(|call| call.block(&func.dfg.value_lists) == entry)
    };
    if func.layout.blocks().any(to_entry) {
        return wrong("is jumped to");
    }
    Ok(())
}

/// Bytes from the stack pointer to the frame pointer, in the body of a function.
fn frame_size(code: &CompiledCode) -> u32 {
    code.buffer.frame_layout().map_or(0, |f| f.frame_to_fp_offset)
}

/// Cranelift's reason for refusing a function, on one line: the IR is attached elsewhere.
fn refusal(error: CodegenError) -> CompileError {
    match error {
        CodegenError::Verifier(errors) => {
            let errors: Vec<String> = errors.0.iter().map(|e| e.to_string()).collect();
            CompileError::codegen(format_args!("the IR is not valid: {}", errors.join("; ")))
        }
        CodegenError::CodeTooLarge | CodegenError::ImplLimitExceeded => {
            CompileError::limit_message("the function is too large for Cranelift")
        }
        other => CompileError::codegen(other),
    }
}

thread_local! {
    /// How many [`guarded`] are under way on this thread.
    static GUARDS: Cell<u32> = const { Cell::new(0) };
    /// Where the panic happened that is on its way to one of them, if a hook asked [`claims_panic`].
    static PANICKED_AT: Cell<Option<String>> = const { Cell::new(None) };
}

/// Whether the compiler will turn this panic into an error. For panic hooks: these need not print it, and the error says
/// where it happened.
pub fn claims_panic(info: &PanicHookInfo<'_>) -> bool {
    let claims = GUARDS.try_with(|guards| guards.get() > 0).unwrap_or(false);
    if claims {
        PANICKED_AT.set(info.location().map(ToString::to_string));
    }
    claims
}

/// Runs `work`, of which nothing is used any more if it panics.
///
/// # Errors
/// Those of `work`; a panic becomes one, too.
pub fn guarded<R>(work: impl FnOnce() -> Result<R>) -> Result<R> {
    let message = |panic: Box<dyn Any + Send>| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&str>().map_or_else(|_| "without a message".to_owned(), |t| t.to_string()),
    };
    GUARDS.set(GUARDS.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(work));
    GUARDS.set(GUARDS.get() - 1);
    result.unwrap_or_else(|panic| {
        let place = PANICKED_AT.take().map_or_else(String::new, |place| format!(" at {place}"));
        Err(CompileError::internal(format_args!("the compiler panicked{place}: {}", message(panic))))
    })
}

/// Cranelift's result as plain data.
fn machine_func(isa: &dyn TargetIsa, tunables: &Tunables, func: &Function, code: &CompiledCode) -> Result<MachineFunc> {
    let buffer = &code.buffer;
    let alignment = isa.function_alignment();
    let for_speed = isa.flags().opt_level() != OptLevel::None;
    let align = if for_speed { alignment.preferred } else { alignment.minimum };
    let traps = buffer.traps().iter().map(|t| {
        let code = from_trap_code(t.code);
        let code = code.ok_or_else(|| CompileError::codegen(format_args!("unknown trap code {}", t.code)))?;
        Ok(TrapSite { offset: t.offset, code })
    });
    let sites = buffer.call_sites().filter(|s| !s.exception_handlers.is_empty());
    let unwind = if tunables.native_unwind_info { unwind::cfi(isa, &buffer.unwind_info)? } else { Vec::new() };
    Ok(MachineFunc {
        code: buffer.data().to_vec(),
        align: align.max(buffer.alignment),
        relocs: relocs(func, buffer)?,
        tables: FuncTables {
            traps: traps.collect::<Result<_>>()?,
            addresses: if tunables.address_map { addresses(buffer) } else { Vec::new() },
            inlined: Vec::new(),
            stack_maps: buffer.user_stack_maps().iter().map(stack_map).collect(),
            handlers: sites.map(handler_site).collect::<Result<_>>()?,
            unwind,
        },
        sites: Vec::new(),
    })
}

type Buffer = MachBufferFinalized<cranelift_codegen::Final>;

fn relocs(func: &Function, buffer: &Buffer) -> Result<Vec<Reloc>> {
    let mut relocs = Vec::with_capacity(buffer.relocs().len());
    for reloc in buffer.relocs() {
        let refuse = || {
            let target = reloc.target.display(Some(&func.params));
            CompileError::codegen(format_args!("the code refers to {target} by a {:?} relocation", reloc.kind))
        };
        let kind = match reloc.kind {
            ClifReloc::X86CallPCRel4 => RelocKind::X86CallPcRel4,
            ClifReloc::Arm64Call => RelocKind::Arm64Call,
            ClifReloc::RiscvCallPlt => RelocKind::RiscvCallPlt,
            ClifReloc::S390xPLTRel32Dbl => RelocKind::S390xPlt32Dbl,
            _ => return Err(refuse()),
        };
        let FinalizedRelocTarget::ExternalName(ExternalName::User(name)) = reloc.target else { return Err(refuse()) };
        let name = &func.params.user_named_funcs()[name];
        let target = FuncKey::unpack(name.namespace, name.index).map_err(CompileError::internal)?;
        relocs.push(Reloc { offset: reloc.offset, kind, target, addend: reloc.addend });
    }
    relocs.sort_by_key(|r| r.offset);
    Ok(relocs)
}

/// The operators of all instructions.
fn all_addresses(buffer: &Buffer) -> Vec<AddressEntry> {
    let mut entries = Vec::new();
    let mut end = 0;
    for range in buffer.get_srclocs_sorted() {
        if range.start > end {
            entries.push(AddressEntry { offset: end, wasm: NO_WASM_OFFSET });
        }
        let wasm = if range.loc == SourceLoc::default() { NO_WASM_OFFSET } else { range.loc.bits() };
        entries.push(AddressEntry { offset: range.start, wasm });
        end = range.end;
    }
    entries.push(AddressEntry { offset: end, wasm: NO_WASM_OFFSET });
    entries
}

/// The wasm offsets of the places at which one can stop: traps and calls (by the last byte of the call, so that a
/// return address less one finds it).
fn addresses(buffer: &Buffer) -> Vec<AddressEntry> {
    let traps = buffer.traps().iter().map(|t| t.offset);
    let mut places: Vec<u32> = traps.chain(buffer.call_sites().map(|s| s.ret_addr - 1)).collect();
    places.sort_unstable();
    let mut ranges = buffer.get_srclocs_sorted().iter().peekable();
    let mut entries: Vec<AddressEntry> = Vec::with_capacity(places.len());
    let mut last = NO_WASM_OFFSET;
    for place in places {
        while ranges.next_if(|r| r.end <= place).is_some() {}
        let range = ranges.peek().filter(|r| r.start <= place && r.loc != SourceLoc::default());
        let (offset, wasm) = range.map_or((place, NO_WASM_OFFSET), |r| (r.start, r.loc.bits()));
        if wasm != last {
            entries.push(AddressEntry { offset, wasm });
            last = wasm;
        }
    }
    entries.shrink_to_fit();
    entries
}

/// The bodies that addresses lead to, with those around them.
fn inlined_bodies(inlined: &[InlinedBody], addresses: &[AddressEntry]) -> Vec<InlinedBody> {
    let mut used = vec![false; inlined.len()];
    for address in addresses.iter().filter(|a| a.wasm != NO_WASM_OFFSET) {
        let mut location = address.wasm;
        while let Some(at) = inlined.partition_point(|body| body.start <= location).checked_sub(1) {
            if std::mem::replace(&mut used[at], true) {
                break;
            }
            location = inlined[at].call;
        }
    }
    inlined.iter().zip(used).filter_map(|(body, used)| used.then_some(*body)).collect()
}

fn stack_map((offset, fp_to_sp, map): &(u32, u32, ir::UserStackMap)) -> StackMap {
    let mut slots: Vec<u32> = map.entries().map(|(_, offset)| offset).collect();
    slots.sort_unstable();
    StackMap { offset: *offset, fp_to_sp: *fp_to_sp, slots }
}

fn handler_site(site: FinalizedMachCallSite<'_>) -> Result<HandlerSite> {
    let fp_to_sp = site.frame_offset.ok_or_else(|| CompileError::codegen("a call with handlers has no frame size"))?;
    let mut context_slot = None;
    let mut handlers = Vec::with_capacity(site.exception_handlers.len());
    for handler in site.exception_handlers {
        match *handler {
            FinalizedMachExceptionHandler::Tag(tag, target) => {
                handlers.push(Handler { tag: Some(TagIndex(tag.as_u32())), target });
            }
            FinalizedMachExceptionHandler::Default(target) => handlers.push(Handler { tag: None, target }),
            FinalizedMachExceptionHandler::Context(ExceptionContextLoc::SPOffset(slot))
                if context_slot.is_none_or(|s| s == slot) =>
            {
                context_slot = Some(slot);
            }
            FinalizedMachExceptionHandler::Context(loc) => {
                return Err(CompileError::codegen(format_args!("exception context at {loc:?}")));
            }
        }
    }
    Ok(HandlerSite { offset: site.ret_addr, fp_to_sp, context_slot, handlers: handlers.into() })
}

#[cfg(test)]
mod tests {
    use cranelift_codegen::cursor::{Cursor, FuncCursor};
    use cranelift_codegen::ir::{InstBuilder, Signature};
    use cranelift_codegen::isa::CallConv;

    use super::*;
    use crate::ErrorKind;

    fn trivial_ir(emit: impl FnOnce(&mut FuncCursor<'_>)) -> FuncIr {
        let mut func = Function::new();
        func.signature = Signature::new(CallConv::Tail);
        let block = func.dfg.make_block();
        let mut cursor = FuncCursor::new(&mut func);
        cursor.insert_block(block);
        emit(&mut cursor);
        FuncIr {
            key: FuncKey::WasmToBuiltin(kiln_env::Builtin::Raise),
            func,
            inlined: Vec::new(),
            sites: Vec::new(),
            numbers: Vec::new(),
        }
    }

    fn generate(codegen: &mut Codegen, ir: FuncIr) -> Result<MachineFunc> {
        generate_checked(codegen, ir, true)
    }

    fn generate_checked(codegen: &mut Codegen, ir: FuncIr, verify: bool) -> Result<MachineFunc> {
        let config = crate::CompilerConfig { verify, ..crate::CompilerConfig::default() };
        let isa = crate::isa::build(&config).unwrap();
        let target = Target {
            isa: &*isa,
            ordered: false,
            bases: false,
            split: false,
            all_addresses: false,
            relax: Wanted::default(),
        };
        Ok(codegen.generate(target, &config.tunables, ir)?.0)
    }

    #[test]
    fn library_calls_and_invalid_ir_are_refused_and_scratch_memory_stays_good() {
        let mut codegen = Codegen::new();
        let good = || {
            trivial_ir(|c| {
                c.ins().return_(&[]);
            })
        };
        let code = generate(&mut codegen, good()).unwrap();
        let library_call = trivial_ir(|c| {
            let signature = c.func.import_signature(Signature::new(CallConv::SystemV));
            let name = ExternalName::LibCall(ir::LibCall::CeilF32);
            let data = ir::ExtFuncData { name, signature, colocated: true, patchable: false };
            let callee = c.func.import_function(data);
            c.ins().call(callee, &[]);
            c.ins().return_(&[]);
        });
        let error = generate(&mut codegen, library_call).unwrap_err();
        assert!(error.kind() == ErrorKind::Codegen && error.message().contains("CeilF32"), "{error}");
        let no_end = trivial_ir(|c| {
            c.ins().iconst(types::I32, 1);
        });
        let error = generate(&mut codegen, no_end).unwrap_err();
        assert!(error.message().contains("not valid") && !error.message().contains('\n'), "{error}");
        assert_eq!(generate(&mut codegen, good()).unwrap(), code);
    }

    #[test]
    fn an_entry_block_that_is_not_where_the_code_begins_is_refused_without_the_verifier() {
        let two_blocks = |change: fn(&mut Function, ir::Block, ir::Block)| {
            let mut ir = trivial_ir(|c| {
                let (entry, next) = (c.func.layout.entry_block().unwrap(), c.func.dfg.make_block());
                c.ins().jump(next, &[]);
                c.insert_block(next);
                c.ins().return_(&[]);
                change(c.func, entry, next);
            });
            ir.key = FuncKey::Wasm(kiln_env::DefinedFuncIndex(7));
            ir
        };
        let mut codegen = Codegen::new();
        let mut generate = |ir, verify| generate_checked(&mut codegen, ir, verify);
        generate(two_blocks(|_, _, _| {}), false).unwrap();
        generate(two_blocks(|func, _, next| func.layout.set_cold(next)), false).unwrap();
        let error = generate(two_blocks(|func, entry, _| func.layout.set_cold(entry)), false).unwrap_err();
        assert!(error.kind() == ErrorKind::Internal && error.message().contains("entry block is cold"), "{error}");
        assert!(error.to_string().contains("wasm[7]"), "{error}");
        let back = |func: &mut Function, entry, next| {
            let last = func.layout.last_inst(next).unwrap();
            func.replace(last).jump(entry, &[]);
        };
        let error = generate(two_blocks(back), false).unwrap_err();
        // With assertions on, Cranelift's optimiser finds it first.
        let found = ["is jumped to", "cannot be a loop header"].iter().any(|text| error.message().contains(text));
        assert!(error.kind() == ErrorKind::Internal && found, "{error}");
        generate(two_blocks(|_, _, _| {}), true).unwrap();
    }

    #[test]
    fn panics_are_errors() {
        let error = guarded(|| -> Result<()> { panic!("of {} kinds", 2) }).unwrap_err();
        assert!(error.kind() == ErrorKind::Internal && error.message().contains("of 2 kinds"), "{error}");
    }

    #[test]
    fn panics_that_become_errors_can_be_kept_quiet() {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !claims_panic(info) {
                before(info);
            }
        }));
        let error = guarded(|| guarded(|| -> Result<()> { panic!("nested") })).unwrap_err();
        assert!(error.message().contains("codegen.rs:"), "{error}");
        assert_eq!((GUARDS.get(), PANICKED_AT.take()), (0, None));
        // Others are not claimed.
        drop(catch_unwind(|| panic!("on purpose")));
        assert_eq!(PANICKED_AT.take(), None);
    }

    #[test]
    fn trap_codes_round_trip() {
        for &code in TrapCode::ALL {
            assert_eq!(from_trap_code(trap_code(code)), Some(code));
        }
        assert_eq!(from_trap_code(ir::TrapCode::unwrap_user(200)), None);
    }
}
