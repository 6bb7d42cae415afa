//! What a function's code depends on, found without translating it: the first level of the cache.
//!
//! The key of a body is a hash of its bytes in which every index into the module is replaced by what the module says about
//! the thing that it names: a callee by its signature and by the position at which the body first calls it, a type by its
//! contents, a memory, table, global or tag by its declaration and its place in the context. So a function has the same
//! key wherever in a module it stands, and in every module in which it would become the same code.
//!
//! The list of immediates is made from `wasmparser`'s list of operators: one that nobody has thought about here is an
//! error of the Rust compiler.

use kiln_env::layout::{MemoryPlace, MemoryStyle, Place};
use kiln_env::module::Module;
use kiln_env::types::{FuncType, GlobalType, Limits, MemoryType, RefRepr, RefType, TableType, ValType};
use kiln_env::{
    ContextLayout, DefinedFuncIndex, FuncIndex, GlobalIndex, MemoryIndex, TableIndex, TagIndex, Tunables, TypeIndex,
};
use wasmparser::{BlockType, Catch, FunctionBody, MemArg, MemArgTarget, Operator, TryTable};

use crate::error::Result;

/// Hash of a signature: of what compiled code can tell of its types.
type Signature = [u8; 16];

/// Bytes of the largest access to a memory.
const MAX_ACCESS: u64 = 16;

/// What the scans of one module's bodies share.
pub(crate) struct Declarations {
    signatures: Vec<Signature>,
    /// For each memory, up to which offset accesses to it depend on no size; 0 if all do.
    unchecked: Vec<u64>,
    /// Whether references lead to functions of the same instance only.
    own_references: bool,
}

impl Declarations {
    /// For the bodies of this module.
    pub(crate) fn new(module: &Module, tunables: &Tunables) -> Declarations {
        let signature = |ty: &kiln_env::types::SubType| ty.as_func().map_or([0; 16], signature);
        let unchecked = |ty: &MemoryType| match MemoryStyle::of(ty, tunables) {
            MemoryStyle::Reserved { guard } => guard.saturating_sub(MAX_ACCESS),
            MemoryStyle::Checked { .. } => 0,
        };
        Declarations {
            signatures: module.types.values().map(signature).collect(),
            unchecked: module.memories.values().map(unchecked).collect(),
            own_references: module.has_own_references_only(),
        }
    }
}

fn signature(ty: &FuncType) -> Signature {
    let mut out = Material::default();
    for types in [&ty.params, &ty.results] {
        out.number(types.len() as u64);
        types.iter().for_each(|ty| out.val_type(*ty));
    }
    let hash = blake3::hash(&out.bytes);
    std::array::from_fn(|i| hash.as_bytes()[i])
}

/// Bytes to be hashed. Whatever is put in says first what it is, and has a fixed length or says it.
#[derive(Default)]
struct Material {
    bytes: Vec<u8>,
}

/// What stands in the material.
#[derive(Clone, Copy)]
enum Item {
    Raw = 1,
    Body,
    Callee,
    KnownCallee,
    IndirectCall,
    ReferenceCall,
    Block,
    TryTable,
    Memory,
    MemorySize,
    Table,
    Global,
    Tag,
}

impl Material {
    fn item(&mut self, item: Item) {
        self.bytes.push(item as u8);
    }

    fn number(&mut self, n: u64) {
        self.bytes.extend_from_slice(&n.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    /// The type that a concrete reference names makes no difference to code beyond the representation.
    fn val_type(&mut self, ty: ValType) {
        self.bytes.push(ty.number());
        if let ValType::Ref(ty) = ty {
            self.bytes.push(match ty.repr() {
                RefRepr::FuncPointer => 0,
                RefRepr::Gc => 1,
            });
        }
    }

    fn ref_type(&mut self, ty: RefType) {
        self.val_type(ValType::Ref(ty));
    }

    fn limits(&mut self, limits: Limits) {
        let Limits { min, max, is_64 } = limits;
        self.number(min);
        self.bytes.push(u8::from(max.is_some()));
        self.number(max.unwrap_or(0));
        self.bytes.push(u8::from(is_64));
    }

    fn place(&mut self, place: Place) {
        let (kind, at) = match place {
            Place::Inline(at) => (0, at),
            Place::Indirect(at) => (1, at),
        };
        self.bytes.push(kind);
        self.number(at.into());
    }
}

/// The scan of one body. Keeps its buffers from body to body.
#[derive(Default)]
pub(crate) struct BodyScan {
    material: Material,
    /// The callees in the order in which the body first names them.
    callees: Vec<FuncIndex>,
    /// Positions in `callees`.
    known: std::collections::HashMap<FuncIndex, u32>,
    /// What the body has named of the module's other things.
    named: std::collections::HashSet<(u8, u32)>,
    /// Whether memory 0 is among them: nearly always it alone.
    memory_zero: bool,
    /// Whether the body names something that this scan cannot describe.
    opaque: bool,
}

/// A scan in a module.
struct Scan<'a> {
    module: &'a Module,
    layout: &'a ContextLayout,
    declarations: &'a Declarations,
    scan: &'a mut BodyScan,
}

impl BodyScan {
    /// The hash of a body together with what it uses of its module; then [`BodyScan::callees`] are its callees. `None` if
    /// it uses something that cannot be told apart without translating it.
    pub(crate) fn hash(
        &mut self,
        module: &Module,
        layout: &ContextLayout,
        declarations: &Declarations,
        func: DefinedFuncIndex,
        body: &FunctionBody<'_>,
    ) -> Result<Option<blake3::Hash>> {
        self.material.bytes.clear();
        self.callees.clear();
        self.known.clear();
        self.named.clear();
        (self.memory_zero, self.opaque) = (false, false);
        let ty = module.funcs[module.func_index(func)].ty;
        self.material.item(Item::Body);
        self.material.bytes.extend_from_slice(&declarations.signatures[ty.0 as usize]);
        Scan { module, layout, declarations, scan: self }.body(body)?;
        Ok((!self.opaque).then(|| blake3::hash(&self.material.bytes)))
    }

    /// The functions that the body names in calls, in the order in which it first does.
    pub(crate) fn callees(&self) -> &[FuncIndex] {
        &self.callees
    }
}

macro_rules! define_visit {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident $ann:tt)*) => {
        /// Describes what the immediates of an operator name.
        #[inline]
        fn visit(scan: &mut Scan<'_>, op: &Operator<'_>) {
            match op {
                $(Operator::$op $({ $($arg),* })? => { $($(scan.$arg($arg);)*)? })*
                _ => scan.scan.opaque = true,
            }
        }
    };
}

wasmparser::for_each_operator!(define_visit);

impl Scan<'_> {
    fn body(&mut self, body: &FunctionBody<'_>) -> Result<()> {
        let bytes = body.as_bytes();
        let start = body.range().start;
        for local in body.get_locals_reader()? {
            let (_, ty) = local?;
            self.ty(&ty);
        }
        let mut reader = body.get_operators_reader()?;
        let mut described = 0;
        while !reader.eof() {
            let (op, offset) = reader.read_with_offset()?;
            if !is_replaced(&op) {
                visit(self, &op);
                continue;
            }
            // The bytes up to here as they are, and this operator by what it means.
            let (from, to) = ((offset - start) as usize, (reader.original_position() - start) as usize);
            self.raw(&bytes[described..from]);
            self.replaced(&op);
            // What follows keeps its distance from the beginning: compiled code knows wasm offsets.
            self.scan.material.number(to as u64);
            described = to;
        }
        self.raw(&bytes[described..]);
        Ok(())
    }

    fn raw(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.scan.material.item(Item::Raw);
            self.scan.material.bytes(bytes);
        }
    }

    /// An operator in place of whose bytes stands what they mean.
    fn replaced(&mut self, op: &Operator<'_>) {
        match *op {
            Operator::Call { function_index } => self.call(0, FuncIndex(function_index)),
            Operator::ReturnCall { function_index } => self.call(1, FuncIndex(function_index)),
            Operator::CallIndirect { type_index, table_index } => self.call_indirect(0, type_index, table_index),
            Operator::ReturnCallIndirect { type_index, table_index } => self.call_indirect(1, type_index, table_index),
            Operator::CallRef { type_index } => self.call_ref(0, type_index),
            Operator::ReturnCallRef { type_index } => self.call_ref(1, type_index),
            Operator::Block { blockty } => self.block(0, blockty),
            Operator::Loop { blockty } => self.block(1, blockty),
            Operator::If { blockty } => self.block(2, blockty),
            Operator::Try { blockty } => self.block(3, blockty),
            _ => self.scan.opaque = true,
        }
    }

    fn signature_of(&mut self, ty: u32) {
        let signature = self.declarations.signatures[ty as usize];
        self.scan.material.bytes.extend_from_slice(&signature);
    }

    fn call(&mut self, tail: u8, func: FuncIndex) {
        let scan = &mut *self.scan;
        if let Some(position) = scan.known.get(&func) {
            scan.material.item(Item::KnownCallee);
            scan.material.bytes.push(tail);
            scan.material.number((*position).into());
            return;
        }
        scan.known.insert(func, scan.callees.len() as u32);
        scan.callees.push(func);
        scan.material.item(Item::Callee);
        scan.material.bytes.push(tail);
        match self.module.defined_func(func) {
            Some(_) => scan.material.bytes.push(0),
            None => {
                scan.material.bytes.push(1);
                scan.material.number(self.layout.imported_func(func).into());
            }
        }
        self.signature_of(self.module.funcs[func].ty.0);
    }

    fn call_indirect(&mut self, tail: u8, ty: u32, table: u32) {
        self.scan.material.item(Item::IndirectCall);
        self.scan.material.bytes.extend([tail, u8::from(self.declarations.own_references)]);
        self.scan.material.number(table.into());
        self.scan.material.number(self.layout.type_id(TypeIndex(ty)).into());
        self.signature_of(ty);
        self.table(&table);
    }

    fn call_ref(&mut self, tail: u8, ty: u32) {
        self.scan.material.item(Item::ReferenceCall);
        self.scan.material.bytes.extend([tail, u8::from(self.declarations.own_references)]);
        self.signature_of(ty);
    }

    fn block(&mut self, kind: u8, ty: BlockType) {
        self.scan.material.item(Item::Block);
        self.scan.material.bytes.push(kind);
        match ty {
            BlockType::FuncType(ty) => self.signature_of(ty),
            BlockType::Empty | BlockType::Type(_) => self.scan.opaque = true,
        }
    }

    /// Whether this is the first time that the body names the thing.
    fn first(&mut self, item: Item, index: u32) -> bool {
        self.scan.named.insert((item as u8, index))
    }
}

/// Whether the bytes of an operator contain an index that may differ where the code does not. Other indices do go into
/// the code (segments and tables as arguments of builtins), or stand for the same place in most modules.
fn is_replaced(op: &Operator<'_>) -> bool {
    match op {
        Operator::Call { .. }
        | Operator::ReturnCall { .. }
        | Operator::CallIndirect { .. }
        | Operator::ReturnCallIndirect { .. }
        | Operator::CallRef { .. }
        | Operator::ReturnCallRef { .. } => true,
        Operator::Block { blockty }
        | Operator::Loop { blockty }
        | Operator::If { blockty }
        | Operator::Try { blockty } => matches!(blockty, BlockType::FuncType(_)),
        _ => false,
    }
}

/// Immediates that are in the bytes and name nothing.
macro_rules! plain {
    ($($name:ident: $ty:ty),*) => {
        impl Scan<'_> {
            $(#[inline] fn $name(&mut self, _: &$ty) {})*
        }
    };
}

plain! {
    local_index: u32, relative_depth: u32, lane: u8, lanes: [u8; 16],
    // As arguments of builtins they are in the code, and the bytes have them.
    function_index: u32, data_index: u32, elem_index: u32
}

/// Immediates of proposals that are not supported, and names of types that say more than a representation.
macro_rules! opaque {
    ($($name:ident: $ty:ty),*) => {
        // The names are those of immediates, whatever they sound like.
        #[allow(clippy::wrong_self_convention)]
        impl Scan<'_> {
            $(fn $name(&mut self, _: &$ty) { self.scan.opaque = true; })*
        }
    };
}

opaque! {
    array_type_index: u32, struct_type_index: u32, cont_type_index: u32, array_type_index_dst: u32,
    array_type_index_src: u32, array_elem_index: u32, array_data_index: u32, array_size: u32, field_index: u32,
    argument_index: u32, result_index: u32, ordering: wasmparser::Ordering, resume_table: wasmparser::ResumeTable,
    to_ref_type: wasmparser::RefType, from_ref_type: wasmparser::RefType, type_index: u32
}

/// Immediates that name things of the module.
impl Scan<'_> {
    #[inline]
    fn value<X>(&mut self, _: &X) {}

    fn targets(&mut self, _: &wasmparser::BrTable<'_>) {}

    #[inline]
    fn memarg(&mut self, memarg: &MemArg) {
        match memarg.target {
            MemArgTarget::Memory(memory) => {
                if memarg.offset >= self.declarations.unchecked[memory as usize] {
                    self.mem(&memory);
                } else {
                    self.access(memory);
                }
            }
            _ => self.scan.opaque = true,
        }
    }

    /// A memory whose size makes a difference.
    #[inline]
    fn mem(&mut self, index: &u32) {
        self.access(*index);
        if self.first(Item::MemorySize, *index) {
            let out = &mut self.scan.material;
            out.item(Item::MemorySize);
            out.limits(self.module.memories[MemoryIndex(*index)].limits);
        }
    }

    /// A memory that is so large that no access is checked.
    #[inline]
    fn access(&mut self, index: u32) {
        if index == 0 {
            if !std::mem::replace(&mut self.scan.memory_zero, true) {
                self.describe_memory(0);
            }
        } else if self.first(Item::Memory, index) {
            self.describe_memory(index);
        }
    }

    fn describe_memory(&mut self, index: u32) {
        let MemoryType { limits, shared, page_size_log2 } = self.module.memories[MemoryIndex(index)];
        let (kind, at) = match self.layout.memory(MemoryIndex(index)) {
            MemoryPlace::Inline(at) => (0, at),
            MemoryPlace::Indirect(at) => (1, at),
        };
        let out = &mut self.scan.material;
        out.item(Item::Memory);
        out.number(index.into());
        // Whether accesses are checked follows from the tunables and these.
        out.bytes.extend([u8::from(limits.is_64), u8::from(shared), page_size_log2, kind]);
        out.number(at.into());
    }

    fn dst_mem(&mut self, index: &u32) {
        self.mem(index);
    }

    fn src_mem(&mut self, index: &u32) {
        self.mem(index);
    }

    fn table(&mut self, index: &u32) {
        if !self.first(Item::Table, *index) {
            return;
        }
        let TableType { element, limits } = self.module.tables[TableIndex(*index)];
        let place = self.layout.table(TableIndex(*index));
        let out = &mut self.scan.material;
        out.item(Item::Table);
        out.number((*index).into());
        out.ref_type(element);
        // How long it is and may become is not in the code.
        out.bytes.push(u8::from(limits.is_64));
        out.place(place);
    }

    fn table_index(&mut self, index: &u32) {
        self.table(index);
    }

    fn dst_table(&mut self, index: &u32) {
        self.table(index);
    }

    fn src_table(&mut self, index: &u32) {
        self.table(index);
    }

    fn global_index(&mut self, index: &u32) {
        if !self.first(Item::Global, *index) {
            return;
        }
        let global = GlobalIndex(*index);
        let GlobalType { content, mutable } = self.module.globals[global];
        let place = self.layout.global(global);
        let out = &mut self.scan.material;
        out.item(Item::Global);
        out.number((*index).into());
        out.val_type(content);
        out.bytes.push(u8::from(mutable));
        out.place(place);
        let init = self.module.defined_global(global).filter(|_| !mutable);
        let init = init.map(|g| format!("{:?}", self.module.global_inits[g])).unwrap_or_default();
        out.bytes(init.as_bytes());
    }

    fn tag_index(&mut self, index: &u32) {
        if !self.first(Item::Tag, *index) {
            return;
        }
        let tag = TagIndex(*index);
        let place = self.layout.tag(tag);
        self.scan.material.item(Item::Tag);
        self.scan.material.number((*index).into());
        self.scan.material.place(place);
        self.signature_of(self.module.tags[tag].ty.0);
    }

    fn try_table(&mut self, table: &TryTable) {
        self.scan.material.item(Item::TryTable);
        self.blockty(&table.ty);
        if let BlockType::FuncType(ty) = table.ty {
            // Its index stays among the bytes: only code that is in the same module gains.
            self.signature_of(ty);
        }
        for catch in &table.catches {
            if let Catch::One { tag, .. } | Catch::OneRef { tag, .. } = catch {
                self.tag_index(tag);
            }
        }
    }

    fn blockty(&mut self, ty: &BlockType) {
        if let BlockType::Type(ty) = ty {
            self.ty(ty);
        }
    }

    fn ty(&mut self, ty: &wasmparser::ValType) {
        if let wasmparser::ValType::Ref(ty) = ty {
            self.hty(&ty.heap_type());
        }
    }

    fn tys(&mut self, types: &[wasmparser::ValType]) {
        types.iter().for_each(|ty| self.ty(ty));
    }

    fn hty(&mut self, ty: &wasmparser::HeapType) {
        if !matches!(ty, wasmparser::HeapType::Abstract { .. }) {
            self.scan.opaque = true;
        }
    }
}
