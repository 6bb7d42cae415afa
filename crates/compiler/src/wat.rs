//! Operators in the notation of the text format, for people who read code beside them.

use kiln_env::{FuncIndex, FuncKey};
use wasmparser::{BinaryReader, BlockType, FunctionBody, Operator};

use crate::error::{CompileError, Result};
use crate::validate::ValidatedModule;

/// One operator of a function.
#[derive(Clone, Debug)]
pub struct WatLine {
    /// Its offset in the module.
    pub offset: u64,
    /// How deep it is nested in blocks.
    pub depth: usize,
    /// The operator with its immediates.
    pub text: String,
}

/// The operators of a function. `name` names functions that are called; `source` is the module's bytes.
///
/// # Errors
/// The function does not exist, or its body is damaged.
pub fn operators(
    module: &ValidatedModule,
    source: &[u8],
    key: FuncKey,
    name: &dyn Fn(FuncIndex) -> String,
) -> Result<Vec<WatLine>> {
    let missing = || CompileError::config(format_args!("the module has no function {key}"));
    let range = key.body().and_then(|f| module.module().bodies.get(f)).ok_or_else(missing)?;
    let bytes = source.get(range.start as usize..range.end as usize).ok_or_else(missing)?;
    let features = module.features().to_wasmparser();
    let body = FunctionBody::new(BinaryReader::new_features(bytes, range.start.into(), features));
    let mut lines = Vec::new();
    let mut depth = 0usize;
    for item in body.get_operators_reader()?.into_iter_with_offsets() {
        let (op, offset) = item?;
        if matches!(
            op,
            Operator::End | Operator::Else | Operator::Catch { .. } | Operator::CatchAll | Operator::Delegate { .. }
        ) {
            depth = depth.saturating_sub(1);
        }
        lines.push(WatLine { offset, depth, text: text(&op, name) });
        if opens(&op) {
            depth += 1;
        }
    }
    Ok(lines)
}

fn opens(op: &Operator<'_>) -> bool {
    use Operator::*;
    matches!(op, Block { .. } | Loop { .. } | If { .. } | Else | Try { .. } | TryTable { .. } | Catch { .. } | CatchAll)
}

macro_rules! define_visitor_name {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident $ann:tt)*) => {
        /// What `wasmparser` calls the visitor of an operator.
        fn visitor_name(op: &Operator<'_>) -> &'static str {
            match op {
                $(Operator::$op { .. } => stringify!($visit),)*
                _ => "visit_unknown",
            }
        }
    };
}

wasmparser::for_each_operator!(define_visitor_name);

/// First parts of names behind which the text format has a dot.
const FAMILIES: [&str; 22] = [
    "i32", "i64", "f32", "f64", "v128", "i8x16", "i16x8", "i32x4", "i64x2", "f32x4", "f64x2", "local", "global",
    "memory", "table", "ref", "elem", "data", "atomic", "struct", "array", "any",
];

fn mnemonic(op: &Operator<'_>) -> String {
    let name = visitor_name(op).trim_start_matches("visit_");
    let name = name.strip_prefix("typed_").filter(|n| *n == "select").unwrap_or(name);
    let Some((family, rest)) = name.split_once('_').filter(|(family, _)| FAMILIES.contains(family)) else {
        return name.to_owned();
    };
    match rest.strip_prefix("atomic_") {
        Some(atomic) => format!("{family}.atomic.{}", atomic.replacen("rmw8_", "rmw8.", 1).replacen("rmw_", "rmw.", 1)),
        None => format!("{family}.{rest}"),
    }
}

fn block_type(ty: &BlockType) -> String {
    match ty {
        BlockType::Empty => String::new(),
        BlockType::Type(ty) => format!(" (result {ty})"),
        BlockType::FuncType(index) => format!(" (type {index})"),
    }
}

fn text(op: &Operator<'_>, name: &dyn Fn(FuncIndex) -> String) -> String {
    let immediates = match op {
        Operator::I32Const { value } => format!(" {value}"),
        Operator::I64Const { value } => format!(" {value}"),
        Operator::F32Const { value } => format!(" {}", f32::from_bits(value.bits())),
        Operator::F64Const { value } => format!(" {}", f64::from_bits(value.bits())),
        Operator::Call { function_index }
        | Operator::ReturnCall { function_index }
        | Operator::RefFunc { function_index } => format!(" ${}", name(FuncIndex(*function_index))),
        Operator::Block { blockty }
        | Operator::Loop { blockty }
        | Operator::If { blockty }
        | Operator::Try { blockty } => block_type(blockty),
        Operator::CallIndirect { type_index, table_index }
        | Operator::ReturnCallIndirect { type_index, table_index } => {
            format!(" {table_index} (type {type_index})")
        }
        Operator::BrTable { targets } => {
            let labels: Vec<String> = targets.targets().flatten().map(|l| l.to_string()).collect();
            format!(" {} {}", labels.join(" "), targets.default())
        }
        _ => other_immediates(op),
    };
    mnemonic(op) + &immediates
}

macro_rules! define_memarg_of {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident $ann:tt)*) => {
        /// The immediates of operators that are written like all others: a memory argument, or numbers.
        fn other_immediates(op: &Operator<'_>) -> String {
            match op {
                $(Operator::$op { $($($arg),*)? } => {
                    #[allow(unused_mut, reason = "many operators have no immediates")]
                    let mut out = String::new();
                    $($(out += &immediate(&format!("{:?}", $arg));)*)?
                    out
                })*
                _ => String::new(),
            }
        }
    };
}

wasmparser::for_each_operator!(define_memarg_of);

/// An immediate as its type prints itself, brought closer to the text format.
fn immediate(debug: &str) -> String {
    if let Some(fields) = debug.strip_prefix("MemArg { ").and_then(|d| d.strip_suffix(" }")) {
        let field = |name: &str| {
            let value = fields.split(", ").find_map(|f| f.strip_prefix(name)?.strip_prefix(": "));
            value.and_then(|v| v.parse::<u64>().ok()).unwrap_or(0)
        };
        let mut out = String::new();
        let memory: String =
            fields.rsplit("target").next().unwrap_or_default().chars().filter(char::is_ascii_digit).collect();
        if !matches!(&*memory, "" | "0") {
            out += &format!(" {memory}");
        }
        if field("offset") != 0 {
            out += &format!(" offset={}", field("offset"));
        }
        if field("align") != field("max_align") {
            out += &format!(" align={}", 1u64 << field("align").min(63));
        }
        return out;
    }
    format!(" {}", debug.to_lowercase())
}
