//! What the processor can do.

macro_rules! known {
    ($detect:ident: $($setting:literal $feature:tt,)*) => {
        /// Whether the processor has what a target setting of Cranelift's stands for; `None` if nobody here knows.
        pub(crate) fn has(setting: &str) -> Option<bool> {
            match setting {
                $($setting => Some(std::arch::$detect!($feature)),)*
                _ => None,
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
known! { is_x86_feature_detected:
    "has_cmpxchg16b" "cmpxchg16b",
    "has_sse3" "sse3",
    "has_ssse3" "ssse3",
    "has_sse41" "sse4.1",
    "has_sse42" "sse4.2",
    "has_avx" "avx",
    "has_avx2" "avx2",
    "has_fma" "fma",
    "has_avx_vnni" "avxvnni",
    "has_avx512bitalg" "avx512bitalg",
    "has_avx512dq" "avx512dq",
    "has_avx512vl" "avx512vl",
    "has_avx512vbmi" "avx512vbmi",
    "has_avx512f" "avx512f",
    "has_avx512vnni" "avx512vnni",
    "has_popcnt" "popcnt",
    "has_bmi1" "bmi1",
    "has_bmi2" "bmi2",
    "has_lzcnt" "lzcnt",
}

#[cfg(target_arch = "aarch64")]
known! { is_aarch64_feature_detected:
    "has_lse" "lse",
    "has_pauth" "paca",
    "has_fp16" "fp16",
    "has_dotprod" "dotprod",
    "has_i8mm" "i8mm",
}
