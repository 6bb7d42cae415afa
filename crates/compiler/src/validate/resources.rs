//! What the validation of bodies asks about the module.

use kiln_env::FuncIndex;
use kiln_env::module::Module;
use wasmparser::types::CoreTypeId;
use wasmparser::{
    Error, FuncType, GlobalType, HeapType, MemoryType, RefType, SubType, TableType, ValType, ValidatorResources,
    WasmModuleResources,
};

/// The validator's answers, but for which functions references exist: it has not seen the lists of element segments.
#[derive(Clone, Copy)]
pub(super) struct Resources<'a> {
    inner: &'a ValidatorResources,
    module: &'a Module,
}

impl<'a> Resources<'a> {
    /// Of one and the same module.
    pub(super) fn new(inner: &'a ValidatorResources, module: &'a Module) -> Resources<'a> {
        Resources { inner, module }
    }
}

impl WasmModuleResources for Resources<'_> {
    fn is_function_referenced(&self, index: u32) -> bool {
        self.module.funcs.get(FuncIndex(index)).is_some_and(|f| f.escapes)
    }

    fn table_at(&self, at: u32) -> Option<TableType> {
        self.inner.table_at(at)
    }

    fn memory_at(&self, at: u32) -> Option<MemoryType> {
        self.inner.memory_at(at)
    }

    fn tag_at(&self, at: u32) -> Option<&FuncType> {
        self.inner.tag_at(at)
    }

    fn global_at(&self, at: u32) -> Option<GlobalType> {
        self.inner.global_at(at)
    }

    fn sub_type_at(&self, at: u32) -> Option<&SubType> {
        self.inner.sub_type_at(at)
    }

    fn sub_type_at_id(&self, id: CoreTypeId) -> &SubType {
        self.inner.sub_type_at_id(id)
    }

    fn type_id_of_function(&self, func: u32) -> Option<CoreTypeId> {
        self.inner.type_id_of_function(func)
    }

    fn type_index_of_function(&self, func: u32) -> Option<u32> {
        self.inner.type_index_of_function(func)
    }

    fn element_type_at(&self, at: u32) -> Option<RefType> {
        self.inner.element_type_at(at)
    }

    fn is_subtype(&self, a: ValType, b: ValType) -> bool {
        self.inner.is_subtype(a, b)
    }

    fn is_shared(&self, ty: RefType) -> bool {
        self.inner.is_shared(ty)
    }

    fn check_heap_type(&self, ty: &mut HeapType, offset: u64) -> Result<(), Error> {
        self.inner.check_heap_type(ty, offset)
    }

    fn top_type(&self, ty: &HeapType) -> HeapType {
        self.inner.top_type(ty)
    }

    fn element_count(&self) -> u32 {
        self.inner.element_count()
    }

    fn data_count(&self) -> Option<u32> {
        self.inner.data_count()
    }

    fn has_function_exact_type(&self, func: u32) -> bool {
        self.inner.has_function_exact_type(func)
    }
}
