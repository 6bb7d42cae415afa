//! Cranelift's code of one operator, cut to a stencil.
//!
//! x86-64. The shape of the code is asserted, not assumed: another version of Cranelift that emits something else makes
//! no stencils, and the build fails.

use kiln_env::TrapCode;
use kiln_env::stencil::ALIGN_PHASE;

/// What Cranelift made.
#[derive(Clone)]
pub(super) struct Raw {
    pub(super) code: Vec<u8>,
    /// Exits: position of the displacement; whether it is the branch that is taken.
    pub(super) exits: Vec<(usize, bool)>,
    /// Calls of builtins: position of the displacement, number.
    pub(super) calls: Vec<(usize, u32)>,
    pub(super) traps: Vec<(usize, TrapCode)>,
    /// Basic blocks.
    pub(super) blocks: usize,
    /// Whether constants follow the code, which must keep their alignment.
    pub(super) aligned: bool,
}

/// Code that goes on behind its last byte.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cut {
    pub(super) code: Vec<u8>,
    pub(super) branch: Option<usize>,
    pub(super) calls: Vec<(usize, u32)>,
    pub(super) traps: Vec<(usize, TrapCode)>,
    pub(super) aligned: bool,
}

/// `push rbp; mov rbp, rsp; sub rsp, …`
const PROLOGUE: [u8; 7] = [0x55, 0x48, 0x89, 0xe5, 0x48, 0x81, 0xec];
/// `add rsp, …`
const EPILOGUE: [u8; 3] = [0x48, 0x81, 0xc4];
/// `mov rsp, rbp; pop rbp; jmp …`
const EPILOGUE_END: [u8; 5] = [0x48, 0x89, 0xec, 0x5d, 0xe9];
/// Bytes of an exit up to its displacement.
const EXIT: usize = 12;
/// A `nop` of nine bytes, and one of two.
const NOP: [u8; 11] = [0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0, 0x66, 0x90];

/// Cuts prologue and exits off. `one_jump`: the branch depends on a single flag, so that it can be inverted.
pub(super) fn cut(raw: &Raw, one_jump: bool) -> Result<Cut, String> {
    let mut c = raw.code.clone();
    if !c.starts_with(&PROLOGUE) {
        return Err(format!("prologue {:02x?}", &c[..c.len().min(12)]));
    }
    c.drain(..ALIGN_PHASE);
    let shift = |at: usize| at - ALIGN_PHASE;
    let mut next = None;
    let mut taken = None;
    for (at, is_taken) in &raw.exits {
        let at = shift(*at);
        let shaped = at >= EXIT && c[at - EXIT..].starts_with(&EPILOGUE) && c[at - 5..at] == EPILOGUE_END;
        if !shaped {
            return Err(format!("an exit without an epilogue: {c:02x?}"));
        }
        let place = if *is_taken { &mut taken } else { &mut next };
        if place.replace(at).is_some() {
            return Err("an exit in two places".into());
        }
    }
    let mut next = next.ok_or("no exit")?;
    let mut branch = None;
    if let Some(at) = taken {
        let jump = at.checked_sub(EXIT + 6).filter(|j| {
            let b = &c[*j..];
            // Constants behind the code are addressed by their distance, which must stay.
            one_jump
                && !raw.aligned
                && raw.blocks == 3
                && raw.traps.is_empty()
                && next > at
                && b[0] == 0x0f
                && b[1] & 0xf0 == 0x80
                && b[2..6] == [EXIT as u8 + 4, 0, 0, 0]
        });
        branch = Some(match jump {
            // A jump over the exit: the inverse jump is the exit.
            Some(jump) => {
                c[jump + 1] ^= 1;
                c.drain(jump + 6..at + 4);
                next -= at + 4 - (jump + 6);
                jump + 2
            }
            None => {
                c[at - EXIT..at - 1].copy_from_slice(&NOP);
                at
            }
        });
    }
    let end = next - EXIT;
    if next + 4 == c.len() {
        c.truncate(end);
    } else {
        // Unlikely code and constants follow.
        c[end..next + 4].fill(0xcc);
        let distance = c.len() - (end + 2);
        if distance < 128 {
            c[end..end + 2].copy_from_slice(&[0xeb, distance as u8]);
        } else {
            c[end] = 0xe9;
            let distance = (c.len() - (end + 5)) as u32;
            c[end + 1..end + 5].copy_from_slice(&distance.to_le_bytes());
        }
    }
    if let Some(at) = branch {
        c[at..at + 4].fill(0);
    }
    let calls: Vec<_> = raw.calls.iter().map(|(at, builtin)| (shift(*at), *builtin)).collect();
    for (at, _) in &calls {
        c[*at..at + 4].fill(0);
    }
    let traps = raw.traps.iter().map(|(at, code)| (shift(*at), *code)).collect();
    Ok(Cut { code: c, branch, calls, traps, aligned: raw.aligned })
}
