//! Backtraces of wasm frames.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use kiln_env::text::printable;

use crate::code::ModuleCode;
use crate::code::frames::RawBacktrace;
use crate::store::AsContext;
use crate::symbols;
use crate::vm::module::ModuleInfo;
use crate::vm::store::StoreOpaque;

/// Where wasm code was: its frames, newest first.
///
/// Errors that a call into wasm returns carry one, as [context](anyhow::Error::context): their message is the
/// backtrace, the reason is their source, and they downcast to both. Names and source positions are looked up when
/// somebody asks for them or prints the backtrace.
///
/// ```
/// use kiln::{Engine, Instance, Module, Store, Trap, WasmBacktrace};
///
/// let engine = Engine::default();
/// let module = Module::new(&engine, r#"(module $m (func $crash (export "run") unreachable))"#)?;
/// let mut store = Store::new(&engine, ());
/// let run = Instance::new(&mut store, &module, &[])?.get_typed_func::<(), ()>(&mut store, "run")?;
/// let error = run.call(&mut store, ()).unwrap_err();
/// assert_eq!(error.downcast_ref(), Some(&Trap::UnreachableCodeReached));
/// let backtrace: &WasmBacktrace = error.downcast_ref().unwrap();
/// assert_eq!(backtrace.frames()[0].func_name(), Some("crash"));
/// # anyhow::Ok(())
/// ```
pub struct WasmBacktrace {
    raw: RawBacktrace,
    frames: OnceLock<Box<[FrameInfo]>>,
}

impl WasmBacktrace {
    /// The wasm frames that are under way in a store: of interest to a host function. Without any, it is empty.
    pub fn capture(store: impl AsContext) -> WasmBacktrace {
        let store: &StoreOpaque = store.as_context().0;
        WasmBacktrace::new(store.backtrace())
    }

    fn new(raw: RawBacktrace) -> WasmBacktrace {
        WasmBacktrace { raw, frames: OnceLock::new() }
    }

    /// The frames, newest first. The first call of this reads names and debug information of the modules involved.
    pub fn frames(&self) -> &[FrameInfo] {
        self.frames.get_or_init(|| describe(&self.raw))
    }

    /// Whether older frames were left out: it has the 128 newest ones.
    pub fn is_truncated(&self) -> bool {
        self.raw.truncated
    }
}

/// One wasm frame of a backtrace.
pub struct FrameInfo {
    /// Keeps what is known about the module.
    code: Arc<ModuleCode>,
    func_index: u32,
    func_name: Option<String>,
    func_offset: Option<usize>,
    module_offset: Option<usize>,
    symbols: Vec<FrameSymbol>,
}

/// A source function that a frame's code is of. A frame has several if functions were inlined, the innermost first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FrameSymbol {
    pub(crate) name: Option<String>,
    pub(crate) file: Option<String>,
    pub(crate) line: Option<u32>,
    pub(crate) column: Option<u32>,
}

impl FrameInfo {
    /// The function, in its module's index space.
    pub fn func_index(&self) -> u32 {
        self.func_index
    }

    /// Its module's code.
    pub(crate) fn code(&self) -> &Arc<ModuleCode> {
        &self.code
    }

    /// The function's name in the name section, as it stands there.
    pub fn func_name(&self) -> Option<&str> {
        self.func_name.as_deref()
    }

    /// The module's name in the name section.
    pub fn module_name(&self) -> Option<&str> {
        self.code.info::<ModuleInfo>()?.env().name.as_deref()
    }

    /// Where the frame's next operator is, in bytes from the start of the module.
    pub fn module_offset(&self) -> Option<usize> {
        self.module_offset
    }

    /// Where the frame's next operator is, in bytes from the start of the function's body.
    pub fn func_offset(&self) -> Option<usize> {
        self.func_offset
    }

    /// Source functions and positions, if the module says anything about them.
    pub fn symbols(&self) -> &[FrameSymbol] {
        &self.symbols
    }
}

impl FrameSymbol {
    /// The function's name, demangled.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The source file.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The line, from 1.
    pub fn line(&self) -> Option<u32> {
        self.line
    }

    /// The column, from 1.
    pub fn column(&self) -> Option<u32> {
        self.column
    }
}

fn describe(raw: &RawBacktrace) -> Box<[FrameInfo]> {
    let mut frames: Vec<FrameInfo> = Vec::new();
    for frame in &raw.frames {
        let (Some(info), Some(defined)) = (frame.code.info::<ModuleInfo>(), frame.key.body()) else { continue };
        let Some(body) = info.body_start(defined) else { continue };
        let func_index = info.env().func_index(defined);
        frames.push(FrameInfo {
            code: frame.code.clone(),
            func_index: func_index.0,
            func_name: info.symbols().names(info).func(func_index).map(str::to_owned),
            func_offset: frame.wasm_offset.map(|offset| offset as usize),
            module_offset: frame.wasm_offset.map(|offset| body as usize + offset as usize),
            symbols: Vec::new(),
        });
    }
    // Each module's debug information is read once.
    for first in 0..frames.len() {
        let code = frames[first].code.clone();
        if frames[..first].iter().any(|f| Arc::ptr_eq(&f.code, &code)) {
            continue;
        }
        let Some(info) = code.info::<ModuleInfo>() else { continue };
        let mut of_module: Vec<&mut FrameInfo> =
            frames[first..].iter_mut().filter(|f| Arc::ptr_eq(&f.code, &code)).collect();
        let offsets: Vec<Option<usize>> = of_module.iter().map(|f| f.module_offset).collect();
        for (frame, symbols) in of_module.iter_mut().zip(symbols::symbolize(info, &offsets)) {
            frame.symbols = symbols;
        }
    }
    frames.into()
}

impl fmt::Display for WasmBacktrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("error while executing\nwasm backtrace:")?;
        for (i, frame) in self.frames().iter().enumerate() {
            write!(f, "\n{i:>5}: ")?;
            match frame.module_offset() {
                Some(offset) => write!(f, "{offset:#x} - ")?,
                None => f.write_str("? - ")?,
            }
            write!(f, "{}!", frame.module_name().map_or(Cow::Borrowed("<unknown>"), printable))?;
            let symbols = frame.symbols();
            match (symbols.first().and_then(FrameSymbol::name), frame.func_name()) {
                (Some(name), _) => f.write_str(&printable(name))?,
                (None, Some(name)) => f.write_str(&printable(&symbols::demangle(name)))?,
                (None, None) => write!(f, "<wasm function {}>", frame.func_index())?,
            }
            for (i, symbol) in symbols.iter().enumerate() {
                if i > 0 {
                    write!(f, "\n              - {}", symbol.name().map_or(Cow::Borrowed("<inlined>"), printable))?;
                }
                position(f, symbol)?;
            }
        }
        if self.is_truncated() {
            f.write_str("\n      … older frames left out")?;
        }
        Ok(())
    }
}

fn position(f: &mut fmt::Formatter<'_>, symbol: &FrameSymbol) -> fmt::Result {
    let Some(file) = symbol.file() else { return Ok(()) };
    write!(f, "\n                    at {}", printable(file))?;
    for number in [symbol.line(), symbol.column()] {
        let Some(number) = number else { break };
        write!(f, ":{number}")?;
    }
    Ok(())
}

impl fmt::Debug for WasmBacktrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.frames()).finish()
    }
}

impl fmt::Debug for FrameInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameInfo")
            .field("module_name", &self.module_name())
            .field("func_index", &self.func_index)
            .field("func_name", &self.func_name)
            .field("module_offset", &self.module_offset)
            .field("symbols", &self.symbols)
            .finish()
    }
}

/// Adds to an error where wasm was when it happened, unless that is known or it was not in wasm.
#[cold]
pub(crate) fn attach_raw(error: anyhow::Error, raw: RawBacktrace) -> anyhow::Error {
    if raw.frames.is_empty() || error.is::<WasmBacktrace>() {
        return error;
    }
    error.context(WasmBacktrace::new(raw))
}
