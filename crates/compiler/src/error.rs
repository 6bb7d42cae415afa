//! What can go wrong between wasm bytes and machine code.

use std::fmt;

use cranelift_codegen::ir::Function;
use kiln_env::text::{printable, printable_lines};
use kiln_env::{FuncIndex, FuncKey};

/// The kinds of [`CompileError`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes are no valid wasm module under the enabled features.
    Invalid,
    /// The module is valid, but exceeds one of Kiln's limits (`kiln_env::limits`), which the message names.
    Limit,
    /// The module uses something that Kiln does not support.
    Unsupported,
    /// The compiler's configuration makes no sense.
    Config,
    /// Whoever wanted the code does not want it any more.
    Interrupted,
    /// Cranelift refused a function. The function's IR is attached.
    Codegen,
    /// Kiln or Cranelift panicked: a bug. What was being compiled is attached.
    Internal,
}

/// An error of the compiler: what, in which function, and where.
#[derive(Clone)]
pub struct CompileError(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    offset: Option<u64>,
    func: Option<FuncIndex>,
    func_name: Option<String>,
    key: Option<FuncKey>,
    settings: Option<String>,
    clif: Option<Box<Function>>,
}

/// Result of the compiler's functions.
pub type Result<T, E = CompileError> = std::result::Result<T, E>;

impl CompileError {
    fn new(kind: ErrorKind, message: impl fmt::Display) -> CompileError {
        CompileError(Box::new(Inner {
            kind,
            message: message.to_string(),
            offset: None,
            func: None,
            func_name: None,
            key: None,
            settings: None,
            clif: None,
        }))
    }

    /// The module is not valid. `offset` counts from the first byte of the module.
    pub fn invalid(message: impl fmt::Display, offset: u64) -> CompileError {
        CompileError::new(ErrorKind::Invalid, message).at(offset)
    }

    /// The module exceeds a limit: `what` there is `found` of, where `limit` are allowed.
    pub fn limit(what: &str, found: u64, limit: u64) -> CompileError {
        CompileError::new(ErrorKind::Limit, format_args!("{what}: {found} exceeds the limit of {limit}"))
    }

    /// The same with what the user can do about it.
    pub fn limit_with_advice(what: &str, found: u64, limit: u64, advice: &str) -> CompileError {
        CompileError::limit_message(format_args!("{what}: {found} exceeds the limit of {limit}; {advice}"))
    }

    /// The module exceeds a limit, in words.
    pub fn limit_message(message: impl fmt::Display) -> CompileError {
        CompileError::new(ErrorKind::Limit, message)
    }

    /// The module uses something that is not supported.
    pub fn unsupported(what: impl fmt::Display) -> CompileError {
        CompileError::new(ErrorKind::Unsupported, format_args!("not supported: {what}"))
    }

    /// The configuration makes no sense.
    pub fn config(message: impl fmt::Display) -> CompileError {
        CompileError::new(ErrorKind::Config, message)
    }

    /// Whoever wanted the code does not want it any more.
    pub fn interrupted() -> CompileError {
        CompileError::new(ErrorKind::Interrupted, "compilation was interrupted")
    }

    /// Cranelift refused a function.
    pub fn codegen(message: impl fmt::Display) -> CompileError {
        CompileError::new(ErrorKind::Codegen, message)
    }

    /// A bug in Kiln or Cranelift.
    pub fn internal(message: impl fmt::Display) -> CompileError {
        CompileError::new(ErrorKind::Internal, message)
    }

    /// Says where: the offset in the module's bytes. An offset that is known already stays.
    pub fn at(mut self, offset: u64) -> CompileError {
        self.0.offset.get_or_insert(offset);
        self
    }

    /// Says in which function. What is known already stays.
    pub fn in_func(mut self, func: FuncIndex, name: Option<String>) -> CompileError {
        self.0.func.get_or_insert(func);
        if self.0.func_name.is_none() {
            self.0.func_name = name;
        }
        self
    }

    /// Says which function was being compiled: for those that no wasm function stands for.
    pub fn for_key(mut self, key: FuncKey) -> CompileError {
        self.0.key.get_or_insert(key);
        self
    }

    /// Says under which settings.
    pub fn with_settings(mut self, settings: impl fmt::Display) -> CompileError {
        self.0.settings.get_or_insert(settings.to_string());
        self
    }

    /// Attaches the function in Cranelift's IR.
    pub fn with_clif(mut self, func: Function) -> CompileError {
        self.0.clif.get_or_insert(Box::new(func));
        self
    }

    /// The kind of error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message alone, without the place.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Offset in the module's bytes, where there is one.
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// The wasm function concerned.
    pub fn func(&self) -> Option<FuncIndex> {
        self.0.func
    }

    /// Its name, from the name section.
    pub fn func_name(&self) -> Option<&str> {
        self.0.func_name.as_deref()
    }

    /// What was being compiled.
    pub fn key(&self) -> Option<FuncKey> {
        self.0.key
    }

    /// The function in Cranelift's text format; printed when displayed, not before.
    pub fn clif(&self) -> Option<impl fmt::Display + '_> {
        self.0.clif.as_deref()
    }
}

impl From<wasmparser::Error> for CompileError {
    fn from(e: wasmparser::Error) -> CompileError {
        // It may name what the module calls so.
        CompileError::invalid(printable(e.message()), e.offset())
    }
}

/// One line; with `{:#}` the settings and the IR follow.
impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let e = &*self.0;
        match (e.func, &e.func_name, e.key) {
            (Some(func), Some(name), _) => write!(f, "function {} ({}): ", func.0, printable(name))?,
            (Some(func), None, _) => write!(f, "function {}: ", func.0)?,
            (None, _, Some(key)) => write!(f, "{key}: ")?,
            (None, _, None) => {}
        }
        f.write_str(&printable_lines(&e.message))?;
        if let Some(offset) = e.offset {
            write!(f, " (at offset {offset:#x})")?;
        }
        if f.alternate() {
            if let Some(settings) = &e.settings {
                write!(f, "\nsettings: {settings}")?;
            }
            if let Some(clif) = &e.clif {
                write!(f, "\n{clif}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self:#}", self.0.kind)
    }
}

impl std::error::Error for CompileError {}
