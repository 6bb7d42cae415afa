//! What the compiler makes of a module, for people and for other tools: intermediate code, object files.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result};
use kiln_compiler::inspect::Stage;
use kiln_compiler::{Compiler, CompilerConfig, ValidatedModule, wat};
use kiln_env::artifact::{self, CodeVariant, Contents, WasmSource, bytes_of};
use kiln_env::{DefinedFuncIndex, FuncKey, Image, Module};

use crate::compile::{ModuleCompiler, to_binary};
use crate::engine::Engine;
use crate::symbols::{self, Names};

/// A module's code for other linkers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CompiledObject {
    /// A relocatable ELF object. It refers to nothing outside.
    pub object: Vec<u8>,
    /// A C header: its symbols, the structures that its code expects, where things are in them.
    pub header: String,
    /// What the code of each function of the module is.
    pub functions: Vec<CompiledFunction>,
}

/// Where a function's code came from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CompiledFunction {
    /// Its symbol in the object.
    pub symbol: String,
    /// Its name in the module, or one made of its index.
    pub name: String,
    /// Where its body is in the module, in bytes.
    pub body: Range<u64>,
    /// Its first byte in the object's text, and how many there are.
    pub code: Range<u64>,
    /// For offsets in its code, ascending: the operator's offset in the module, up to the next entry; `None` if the code is
    /// no operator's.
    pub operators: Vec<(u32, Option<u64>)>,
    /// Its operators, one a line: offset in the module, depth of nesting, text.
    pub wat: Vec<(u64, usize, String)>,
}

/// One function in Cranelift's IR.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IrFunction {
    /// Its name in the module, or one made of its index.
    pub name: String,
    /// The IR. `@` stands before operators' offsets in the function's body.
    pub text: String,
    /// Where the body begins in the module.
    pub body: u64,
}

/// Of what an [`IrFunction`] is the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum IrStage {
    /// As the operators were translated.
    Translated,
    /// Behind all optimisations.
    #[default]
    Optimized,
}

/// A module that was compiled to be looked at.
struct Inspected {
    wasm: Vec<u8>,
    validated: ValidatedModule,
    compiler: Arc<Compiler>,
    names: Names,
}

impl Inspected {
    fn new(compiler: &ModuleCompiler, bytes: &[u8]) -> Result<Inspected> {
        let wasm = to_binary(bytes)?.into_owned();
        let settings = CompilerConfig { all_addresses: true, cache: None, ..compiler.settings.clone() };
        let compiler = Arc::new(Compiler::new(&settings)?);
        let validated = compiler.validate(compiler.parse(&wasm)?, &wasm)?;
        let module = validated.module();
        let names = Names::parse(module.custom("name").map(|r| bytes_of(&wasm, r)).unwrap_or_default());
        Ok(Inspected { wasm, validated, compiler, names })
    }

    fn module(&self) -> &Module {
        self.validated.module()
    }

    fn name(&self, key: FuncKey) -> String {
        symbols::linker_name(self.module(), &self.names, key)
    }

    /// The functions' code with what it stands for. `symbol` names them.
    fn functions(&self, image: &Image, symbol: &dyn Fn(DefinedFuncIndex) -> String) -> Vec<CompiledFunction> {
        let bodies = &self.module().bodies;
        let function = |func: &kiln_env::image::ImageFunc| {
            let FuncKey::Wasm(index) = func.key else { return None };
            let operators = func.tables.addresses.iter().map(|entry| {
                let position = func.tables.positions(entry.offset).next()?;
                let start = bodies.get(position.inlined.unwrap_or(index))?.start;
                Some(u64::from(start) + u64::from(position.wasm?))
            });
            let module = self.module();
            let called = |callee| match module.defined_func(callee) {
                Some(defined) => self.name(FuncKey::Wasm(defined)),
                None => self.names.func(callee).map_or_else(|| callee.0.to_string(), str::to_owned),
            };
            // The module is valid, so that its operators can be read.
            let wat = wat::operators(&self.validated, &self.wasm, func.key, &called).unwrap_or_default();
            Some(CompiledFunction {
                wat: wat.into_iter().map(|line| (line.offset, line.depth, line.text)).collect(),
                symbol: symbol(index),
                name: self.name(func.key),
                body: bodies[index].start.into()..bodies[index].end.into(),
                code: u64::from(func.start)..u64::from(func.start) + u64::from(func.len),
                operators: func.tables.addresses.iter().map(|e| e.offset).zip(operators).collect(),
            })
        };
        image.funcs.iter().filter_map(function).collect()
    }
}

impl Engine {
    /// Compiles a module, in binary or text form, to a relocatable object whose symbols begin with `prefix`, of which
    /// letters, digits and underscores are kept.
    ///
    /// # Errors
    /// As for [`Module::new`](crate::Module::new); or objects for the target are not known.
    ///
    /// ```
    /// use kiln::Engine;
    ///
    /// let made = Engine::default().compile_object(br#"(module (func (export "f")))"#, "mine")?;
    /// assert!(made.header.contains("mine_f("));
    /// assert_eq!(made.functions[0].symbol, "mine_wasm_0");
    /// # anyhow::Ok(())
    /// ```
    pub fn compile_object(&self, bytes: &[u8], prefix: &str) -> Result<CompiledObject> {
        let inspected = Inspected::new(self.compiler()?, bytes)?;
        let prefix = artifact::c_identifier(prefix);
        let (image, _) = inspected.compiler.compile_module(&inspected.validated, &inspected.wasm, &|_| {})?;
        let variant = CodeVariant { suffix: "", fingerprint: inspected.compiler.fingerprint(), image: &image };
        let contents = Contents {
            module: inspected.module(),
            wasm: &inspected.wasm,
            source: WasmSource::Reduced,
            variants: &[variant],
            names: &|key| inspected.name(key),
        };
        let made = artifact::object_file(&contents, &prefix).context("cannot make an object file")?;
        let functions = inspected.functions(&image, &|index| format!("{prefix}_wasm_{}", index.0));
        Ok(CompiledObject { object: made.object, header: made.header, functions })
    }

    /// The functions of a module, in binary or text form, in Cranelift's IR.
    ///
    /// # Errors
    /// As for [`Module::new`](crate::Module::new).
    pub fn compile_ir(&self, bytes: &[u8], stage: IrStage) -> Result<Vec<IrFunction>> {
        let inspected = Inspected::new(self.compiler()?, bytes)?;
        let stage = match stage {
            IrStage::Translated => Stage::Clif,
            IrStage::Optimized => Stage::Optimized,
        };
        let bodies = inspected.module().bodies.iter();
        let functions = bodies.map(|(index, body)| {
            let key = FuncKey::Wasm(index);
            let text = inspected.compiler.inspect(&inspected.validated, &inspected.wasm, key, stage)?;
            Ok(IrFunction { name: inspected.name(key), text, body: body.start.into() })
        });
        functions.collect()
    }
}
