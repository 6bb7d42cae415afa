//! Which instructions code may consist of, and what the processor must have for them.

use iced_x86::{Code, CpuidFeature, Instruction, Mnemonic, OpKind, Register};

use crate::plan::Plan;

/// Why an instruction may not be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Verdict {
    #[default]
    Unknown,
    Fine,
    Forbidden,
    /// The function does not claim the processor's feature for it.
    Unclaimed,
}

/// Judges instructions; remembers its verdict for each form.
pub(crate) struct Judge {
    verdicts: Vec<Verdict>,
}

impl Judge {
    pub(crate) fn new() -> Judge {
        Judge { verdicts: Vec::new() }
    }

    /// Why an instruction is refused.
    pub(crate) fn refuse(&mut self, plan: &Plan<'_>, instruction: &Instruction) -> Option<&'static str> {
        let code = instruction.code() as usize;
        if self.verdicts.len() <= code {
            self.verdicts.resize(code + 1, Verdict::Unknown);
        }
        if self.verdicts[code] == Verdict::Unknown {
            self.verdicts[code] = verdict(plan, instruction);
        }
        match self.verdicts[code] {
            Verdict::Fine => prefixes(instruction),
            Verdict::Unclaimed => Some("the code does not claim the processor's feature for it"),
            Verdict::Forbidden | Verdict::Unknown => Some("no compiled code has this instruction"),
        }
    }
}

fn verdict(plan: &Plan<'_>, instruction: &Instruction) -> Verdict {
    let claimed = |feature: &CpuidFeature| match needed(*feature) {
        Some("") => true,
        Some(name) => plan.claims(name),
        None => false,
    };
    if !(is_integer(instruction.mnemonic()) || is_vector(instruction.mnemonic())) {
        return Verdict::Forbidden;
    }
    if instruction.is_privileged() || instruction.code() == Code::INVALID {
        return Verdict::Forbidden;
    }
    if instruction.code().cpuid_features().iter().all(claimed) { Verdict::Fine } else { Verdict::Unclaimed }
}

/// The setting that claims a feature; the empty one for what every x86-64 processor has.
fn needed(feature: CpuidFeature) -> Option<&'static str> {
    Some(match feature {
        CpuidFeature::INTEL8086
        | CpuidFeature::INTEL186
        | CpuidFeature::INTEL286
        | CpuidFeature::INTEL386
        | CpuidFeature::INTEL486
        | CpuidFeature::X64
        | CpuidFeature::CMOV
        | CpuidFeature::MULTIBYTENOP
        | CpuidFeature::CX8
        | CpuidFeature::SSE
        | CpuidFeature::SSE2 => "",
        CpuidFeature::SSE3 => "has_sse3",
        CpuidFeature::SSSE3 => "has_ssse3",
        CpuidFeature::SSE4_1 => "has_sse41",
        CpuidFeature::SSE4_2 => "has_sse42",
        CpuidFeature::POPCNT => "has_popcnt",
        CpuidFeature::AVX => "has_avx",
        CpuidFeature::AVX2 => "has_avx2",
        CpuidFeature::FMA => "has_fma",
        CpuidFeature::BMI1 => "has_bmi1",
        CpuidFeature::BMI2 => "has_bmi2",
        CpuidFeature::LZCNT => "has_lzcnt",
        CpuidFeature::CMPXCHG16B => "has_cmpxchg16b",
        CpuidFeature::AVX512F => "has_avx512f",
        CpuidFeature::AVX512VL => "has_avx512vl",
        CpuidFeature::AVX512DQ => "has_avx512dq",
        CpuidFeature::AVX512_BITALG => "has_avx512bitalg",
        CpuidFeature::AVX512_VBMI => "has_avx512vbmi",
        _ => return None,
    })
}

/// Prefixes and operands that no compiled code has.
fn prefixes(instruction: &Instruction) -> Option<&'static str> {
    if instruction.segment_prefix() != Register::None {
        return Some("it has a segment prefix");
    }
    if instruction.has_rep_prefix() || instruction.has_repne_prefix() {
        return Some("it has a repeat prefix");
    }
    for i in 0..instruction.op_count() {
        match instruction.op_kind(i) {
            OpKind::Register => {
                let register = instruction.op_register(i);
                let plain = register.is_gpr() || register.is_xmm() || register.is_ymm();
                if !plain {
                    return Some("it has an operand in a register that compiled code does not use");
                }
                if matches!(register, Register::AH | Register::BH | Register::CH | Register::DH) {
                    return Some("it has an operand in the second byte of a register");
                }
            }
            OpKind::Memory => {
                let (base, index) = (instruction.memory_base(), instruction.memory_index());
                let wide = |r: Register| r == Register::None || r == Register::RIP || r.is_gpr64();
                if !wide(base) || !wide(index) {
                    return Some("its address has not 64 bits");
                }
            }
            OpKind::MemorySegSI
            | OpKind::MemorySegESI
            | OpKind::MemorySegRSI
            | OpKind::MemorySegDI
            | OpKind::MemorySegEDI
            | OpKind::MemorySegRDI
            | OpKind::MemoryESDI
            | OpKind::MemoryESEDI
            | OpKind::MemoryESRDI
            | OpKind::FarBranch16
            | OpKind::FarBranch32
            | OpKind::NearBranch16
            | OpKind::NearBranch32 => return Some("it is a string operation or has a far target"),
            _ => {}
        }
    }
    None
}

#[rustfmt::skip]
fn is_integer(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        mnemonic,
        Adc | Add | And | Andn | Blsi | Blsmsk | Blsr | Bsf | Bsr | Bswap | Bt | Bzhi | Call | Cbw | Cdq | Cdqe | Cmova
        | Cmovae | Cmovb | Cmovbe | Cmove | Cmovg | Cmovge | Cmovl | Cmovle | Cmovne | Cmovno | Cmovnp | Cmovns | Cmovo
        | Cmovp | Cmovs | Cmp | Cmpxchg | Cmpxchg16b | Cqo | Cwd | Cwde | Dec | Div | Idiv | Imul | Inc | Ja | Jae | Jb | Jbe
        | Je | Jg | Jge | Jl | Jle | Jmp | Jne | Jno | Jnp | Jns | Jo | Jp | Js | Lea | Lfence | Lzcnt | Mfence | Mov | Movsx
        | Movsxd | Movzx | Mul | Mulx | Neg | Nop | Not | Or | Pop | Popcnt | Push | Ret | Rol | Ror | Rorx | Sar | Sarx
        | Sbb | Seta | Setae | Setb | Setbe | Sete | Setg | Setge | Setl | Setle | Setne | Setno | Setnp | Setns | Seto
        | Setp | Sets | Sfence | Shl | Shld | Shlx | Shr | Shrx | Sub | Test | Tzcnt | Ud2 | Xadd | Xchg | Xor
    )
}

#[rustfmt::skip]
pub(crate) fn is_vector(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        mnemonic,
        Addpd | Addps | Addsd | Addss | Andnpd | Andnps | Andpd | Andps | Blendvpd | Blendvps | Cmppd | Cmpps |
        Cmpsd | Cmpss | Cvtdq2pd | Cvtdq2ps | Cvtpd2ps | Cvtps2pd | Cvtsd2si | Cvtsd2ss | Cvtsi2sd | Cvtsi2ss |
        Cvtss2sd | Cvtss2si | Cvttpd2dq | Cvttps2dq | Cvttsd2si | Cvttss2si | Divpd | Divps | Divsd | Divss |
        Extractps | Insertps | Maxpd | Maxps | Maxsd | Maxss | Minpd | Minps | Minsd | Minss | Movapd | Movaps |
        Movd | Movddup | Movdqa | Movdqu | Movhps | Movlhps | Movmskpd | Movmskps | Movq | Movsd | Movss | Movupd
        | Movups | Mulpd | Mulps | Mulsd | Mulss | Orpd | Orps | Pabsb | Pabsd | Pabsw | Packssdw | Packsswb |
        Packusdw | Packuswb | Paddb | Paddd | Paddq | Paddsb | Paddsw | Paddusb | Paddusw | Paddw | Palignr |
        Pand | Pandn | Pavgb | Pavgw | Pblendvb | Pblendw | Pcmpeqb | Pcmpeqd | Pcmpeqq | Pcmpeqw | Pcmpgtb |
        Pcmpgtd | Pcmpgtq | Pcmpgtw | Pextrb | Pextrd | Pextrq | Pextrw | Phaddd | Phaddw | Pinsrb | Pinsrd |
        Pinsrq | Pinsrw | Pmaddubsw | Pmaddwd | Pmaxsb | Pmaxsd | Pmaxsw | Pmaxub | Pmaxud | Pmaxuw | Pminsb |
        Pminsd | Pminsw | Pminub | Pminud | Pminuw | Pmovmskb | Pmovsxbd | Pmovsxbq | Pmovsxbw | Pmovsxdq |
        Pmovsxwd | Pmovsxwq | Pmovzxbd | Pmovzxbq | Pmovzxbw | Pmovzxdq | Pmovzxwd | Pmovzxwq | Pmuldq | Pmulhrsw
        | Pmulhuw | Pmulhw | Pmulld | Pmullw | Pmuludq | Por | Pshufb | Pshufd | Pshufhw | Pshuflw | Pslld |
        Psllq | Psllw | Psrad | Psraw | Psrld | Psrlq | Psrlw | Psubb | Psubd | Psubq | Psubsb | Psubsw | Psubusb
        | Psubusw | Psubw | Ptest | Punpckhbw | Punpckhdq | Punpckhqdq | Punpckhwd | Punpcklbw | Punpckldq |
        Punpcklqdq | Punpcklwd | Pxor | Rcpps | Rcpss | Roundpd | Roundps | Roundsd | Roundss | Rsqrtps | Rsqrtss
        | Shufpd | Shufps | Sqrtpd | Sqrtps | Sqrtsd | Sqrtss | Subpd | Subps | Subsd | Subss | Ucomisd | Ucomiss
        | Unpckhps | Unpcklpd | Unpcklps | Vaddpd | Vaddps | Vaddsd | Vaddss | Vandnpd | Vandnps | Vandpd |
        Vandps | Vblendvpd | Vblendvps | Vbroadcastss | Vcmppd | Vcmpps | Vcmpsd | Vcmpss | Vcvtdq2pd | Vcvtdq2ps
        | Vcvtpd2ps | Vcvtps2pd | Vcvtsd2si | Vcvtsd2ss | Vcvtsi2sd | Vcvtsi2ss | Vcvtss2sd | Vcvtss2si |
        Vcvttpd2dq | Vcvttps2dq | Vcvttsd2si | Vcvttss2si | Vcvtudq2ps | Vdivpd | Vdivps | Vdivsd | Vdivss |
        Vextractps | Vfmadd132pd | Vfmadd132ps | Vfmadd132sd | Vfmadd132ss | Vfmadd213pd | Vfmadd213ps |
        Vfmadd213sd | Vfmadd213ss | Vfmadd231pd | Vfmadd231ps | Vfmadd231sd | Vfmadd231ss | Vfmsub132pd |
        Vfmsub132ps | Vfmsub132sd | Vfmsub132ss | Vfmsub213pd | Vfmsub213ps | Vfmsub213sd | Vfmsub213ss |
        Vfmsub231pd | Vfmsub231ps | Vfmsub231sd | Vfmsub231ss | Vfnmadd132pd | Vfnmadd132ps | Vfnmadd132sd |
        Vfnmadd132ss | Vfnmadd213pd | Vfnmadd213ps | Vfnmadd213sd | Vfnmadd213ss | Vfnmadd231pd | Vfnmadd231ps |
        Vfnmadd231sd | Vfnmadd231ss | Vfnmsub132pd | Vfnmsub132ps | Vfnmsub132sd | Vfnmsub132ss | Vfnmsub213pd |
        Vfnmsub213ps | Vfnmsub213sd | Vfnmsub213ss | Vfnmsub231pd | Vfnmsub231ps | Vfnmsub231sd | Vfnmsub231ss |
        Vinsertps | Vmaxpd | Vmaxps | Vmaxsd | Vmaxss | Vminpd | Vminps | Vminsd | Vminss | Vmovapd | Vmovaps |
        Vmovd | Vmovddup | Vmovdqa | Vmovdqu | Vmovhps | Vmovlhps | Vmovmskpd | Vmovmskps | Vmovq | Vmovsd |
        Vmovss | Vmovupd | Vmovups | Vmulpd | Vmulps | Vmulsd | Vmulss | Vorpd | Vorps | Vpabsb | Vpabsd | Vpabsq
        | Vpabsw | Vpackssdw | Vpacksswb | Vpackusdw | Vpackuswb | Vpaddb | Vpaddd | Vpaddq | Vpaddsb | Vpaddsw |
        Vpaddusb | Vpaddusw | Vpaddw | Vpalignr | Vpand | Vpandn | Vpavgb | Vpavgw | Vpblendvb | Vpblendw |
        Vpbroadcastb | Vpbroadcastd | Vpbroadcastq | Vpbroadcastw | Vpcmpeqb | Vpcmpeqd | Vpcmpeqq | Vpcmpeqw |
        Vpcmpgtb | Vpcmpgtd | Vpcmpgtq | Vpcmpgtw | Vpdpbusd | Vpermi2b | Vpextrb | Vpextrd | Vpextrq | Vpextrw |
        Vphaddd | Vphaddw | Vpinsrb | Vpinsrd | Vpinsrq | Vpinsrw | Vpmaddubsw | Vpmaddwd | Vpmaxsb | Vpmaxsd |
        Vpmaxsw | Vpmaxub | Vpmaxud | Vpmaxuw | Vpminsb | Vpminsd | Vpminsw | Vpminub | Vpminud | Vpminuw |
        Vpmovmskb | Vpmovsxbd | Vpmovsxbq | Vpmovsxbw | Vpmovsxdq | Vpmovsxwd | Vpmovsxwq | Vpmovzxbd | Vpmovzxbq
        | Vpmovzxbw | Vpmovzxdq | Vpmovzxwd | Vpmovzxwq | Vpmuldq | Vpmulhrsw | Vpmulhuw | Vpmulhw | Vpmulld |
        Vpmullq | Vpmullw | Vpmuludq | Vpopcntb | Vpopcntd | Vpopcntq | Vpopcntw | Vpor | Vpshufb | Vpshufd |
        Vpshufhw | Vpshuflw | Vpslld | Vpsllq | Vpsllw | Vpsrad | Vpsraq | Vpsraw | Vpsrld | Vpsrlq | Vpsrlw |
        Vpsubb | Vpsubd | Vpsubq | Vpsubsb | Vpsubsw | Vpsubusb | Vpsubusw | Vpsubw | Vptest | Vpunpckhbw |
        Vpunpckhdq | Vpunpckhqdq | Vpunpckhwd | Vpunpcklbw | Vpunpckldq | Vpunpcklqdq | Vpunpcklwd | Vpxor |
        Vrcpps | Vrcpss | Vroundpd | Vroundps | Vroundsd | Vroundss | Vrsqrtps | Vrsqrtss | Vshufpd | Vshufps |
        Vsqrtpd | Vsqrtps | Vsqrtsd | Vsqrtss | Vsubpd | Vsubps | Vsubsd | Vsubss | Vucomisd | Vucomiss |
        Vunpckhps | Vunpcklpd | Vunpcklps | Vxorpd | Vxorps | Xorpd | Xorps
    )
}
