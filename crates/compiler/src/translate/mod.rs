//! From wasm function bodies, and from keys of trampolines, to Cranelift's intermediate representation.

mod control;
pub(crate) mod emitter;
mod exceptions;
mod func;
mod inline;
mod locals;
pub(crate) mod ops;
mod size;
mod tier;
mod trampoline;

#[cfg(test)]
mod tests;

use cranelift_codegen::ir::{Function, Signature, ValueListPool};
use cranelift_frontend::FunctionBuilderContext;
use kiln_env::tier::Tier;
use kiln_env::{DefinedFuncIndex, FuncKey};
use wasmparser::FunctionBody;

use crate::error::{CompileError, Result};
use crate::func_ir::FuncIr;
use crate::module_env::ModuleEnv;
pub(crate) use inline::Inlining;

/// Translates one function after the other; keeps its buffers in between. One for each thread.
#[derive(Default)]
pub struct Translator {
    context: FunctionBuilderContext,
    /// A function whose memory is used again.
    spare: Option<Function>,
}

impl Translator {
    /// A translator.
    pub fn new() -> Translator {
        Translator::default()
    }

    /// Translates the body of a function, which must be valid, for a tier, and with it what is to be inlined. Errors:
    /// operators that are not supported.
    pub fn function(
        &mut self,
        env: &ModuleEnv<'_>,
        index: DefinedFuncIndex,
        tier: Tier,
        body: &FunctionBody<'_>,
        inlining: Option<Inlining<'_>>,
    ) -> Result<FuncIr> {
        let spare = self.spare.take();
        let key = FuncKey::Wasm(index);
        let result = func::translate(env, (&mut self.context, spare), (index, key), tier, body, inlining);
        self.recover(result)
    }

    /// Translates the same for the second tier, entered at the `loop` operator at `offset` of the body: see
    /// `kiln_env::tier`. Errors: there is no such loop, likewise.
    pub fn function_from_loop(
        &mut self,
        env: &ModuleEnv<'_>,
        func: DefinedFuncIndex,
        offset: u32,
        body: &FunctionBody<'_>,
        inlining: Option<Inlining<'_>>,
    ) -> Result<FuncIr> {
        let key = FuncKey::Osr { func, offset };
        let spare = self.spare.take();
        let result = func::translate(env, (&mut self.context, spare), (func, key), Tier::Optimized, body, inlining);
        self.recover(result)
    }

    /// Makes the trampoline with this key.
    pub fn trampoline(&mut self, env: &ModuleEnv<'_>, key: FuncKey) -> Result<FuncIr> {
        let result = trampoline::translate(env, &mut self.context, key);
        self.recover(result.ok_or_else(|| CompileError::internal(format_args!("{key} is no trampoline"))))
    }

    /// Makes the code that comes before a function whose frame takes `frame` bytes: see [`crate::stack_guard`].
    pub(crate) fn stack_guard(
        &mut self,
        env: &ModuleEnv<'_>,
        key: FuncKey,
        signature: &Signature,
        frame: u32,
    ) -> Result<FuncIr> {
        let result = trampoline::stack_guard(env, &mut self.context, key, signature, frame);
        self.recover(result.ok_or_else(|| CompileError::internal(format_args!("{key} has no context"))))
    }

    /// Takes the memory of a function that is not needed any more, for one that is translated later.
    pub(crate) fn recycle(&mut self, mut func: Function) {
        func.clear();
        // Left behind by Cranelift.
        func.dfg.exception_tables.clear();
        // Its capacity is a measure for the size of functions, which cannot depend on what came before.
        func.dfg.value_lists = ValueListPool::new();
        self.spare = Some(func);
    }

    /// An abandoned function leaves the buffers in disorder.
    fn recover(&mut self, result: Result<FuncIr>) -> Result<FuncIr> {
        if result.is_err() {
            self.context = FunctionBuilderContext::new();
        }
        result
    }
}
