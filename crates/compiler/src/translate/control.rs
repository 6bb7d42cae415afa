//! Control frames: what `block`, `loop`, `if` and `try` open and `end` closes.

use cranelift_codegen::ir::{Block, Inst, Value};
use kiln_env::types::{FuncType, ValType};
use kiln_env::{Module, TypeIndex};
use wasmparser::BlockType;

use super::exceptions::Handler;
use crate::convert;
use crate::error::Result;

/// Parameters and results of a block.
#[derive(Clone, Copy)]
pub(super) enum BlockSig<'m> {
    /// Nothing to nothing.
    Empty,
    /// Nothing to one result.
    One(ValType),
    /// As a function type says.
    Func(&'m FuncType),
}

impl<'m> BlockSig<'m> {
    /// The signature that a block type stands for.
    pub(super) fn new(module: &'m Module, ty: BlockType) -> Result<BlockSig<'m>> {
        Ok(match ty {
            BlockType::Empty => BlockSig::Empty,
            BlockType::Type(ty) => BlockSig::One(convert::val_type(ty, convert::Kinds::of(&module.types))?),
            BlockType::FuncType(index) => BlockSig::Func(module.signature(TypeIndex(index))),
        })
    }

    /// Types of its parameters.
    pub(super) fn params(&self) -> &[ValType] {
        match self {
            BlockSig::Empty | BlockSig::One(_) => &[],
            BlockSig::Func(ty) => &ty.params,
        }
    }

    /// Types of its results.
    pub(super) fn results(&self) -> &[ValType] {
        match self {
            BlockSig::Empty => &[],
            BlockSig::One(ty) => std::slice::from_ref(ty),
            BlockSig::Func(ty) => &ty.results,
        }
    }
}

/// What a frame was opened by, and what is needed to close it.
pub(super) enum FrameKind {
    /// The function itself: its label returns.
    Function,
    /// `block` and `try_table`, and `else` behind an `if`: its label is the end.
    Block,
    /// `loop`: its label is the header.
    Loop,
    /// `if` as long as no `else` has come.
    If {
        /// The conditional branch.
        branch: Inst,
        /// Where the false condition goes: a block of its own with the frame's parameters if there must be an `else`, else
        /// the label.
        otherwise: Option<Block>,
    },
    /// Legacy `try`.
    Try {
        /// In a handler: the exception it caught.
        caught: Option<Value>,
        /// In a handler: those that follow.
        next: std::vec::IntoIter<Handler>,
    },
}

/// One open frame.
pub(super) struct Frame<'m> {
    pub(super) kind: FrameKind,
    pub(super) sig: BlockSig<'m>,
    /// Where branches to the frame go; made when the first one comes.
    pub(super) label: Option<Block>,
    /// Whether there is such a branch, beside that of an `if` without `else`.
    pub(super) branched: bool,
    /// Height of the operand stack below the frame's parameters.
    pub(super) height: usize,
    /// Whether the frame is a `try` or `try_table` with a scope of handlers.
    pub(super) has_scope: bool,
}

impl Frame<'_> {
    /// Types of what a branch to the frame carries.
    pub(super) fn label_types(&self) -> &[ValType] {
        match self.kind {
            FrameKind::Loop => self.sig.params(),
            _ => self.sig.results(),
        }
    }
}
