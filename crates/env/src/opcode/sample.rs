//! For each operator a module that uses it.

use super::{Class, Immediates, Op, OperandType};

/// A valid module in the text format that uses an operator; `None` if nothing here says how, which tests do not accept.
///
/// Tests go through all operators with it: whoever adds one finds out what it has been left out of.
pub fn sample(op: Op) -> Option<String> {
    let body = match op.signature() {
        Some(_) => plain(op)?,
        None => special(op)?.to_owned(),
    };
    let aggregates = match op.class() {
        Class::Aggregate => AGGREGATES,
        _ => "",
    };
    Some(format!("(module {aggregates} {DECLARATIONS} (func $sample (export \"sample\") {LOCALS} {body}))"))
}

const AGGREGATES: &str = "(type $struct (struct (field (mut i32)))) (type $small (struct (field (mut i8))))
    (type $array (array (mut i32))) (type $bytes (array (mut i8))) (type $refs (array (mut funcref)))";

const DECLARATIONS: &str =
    "(type $f (func)) (tag $e) (memory 1) (table $t 1 funcref) (global $g (mut i32) (i32.const 0))
    (data $d \"\") (elem $s funcref) (elem declare func $sample)";

const LOCALS: &str = "(local $i32 i32) (local $i64 i64) (local $f32 f32) (local $f64 f64) (local $v128 v128)
    (local $func funcref) (local $exn exnref)";

fn operand(ty: OperandType) -> &'static str {
    match ty {
        OperandType::I32 | OperandType::Index => "local.get $i32 ",
        OperandType::I64 => "local.get $i64 ",
        OperandType::F32 => "local.get $f32 ",
        OperandType::F64 => "local.get $f64 ",
        OperandType::V128 => "local.get $v128 ",
    }
}

/// An operator whose operands have fixed types.
fn plain(op: Op) -> Option<String> {
    let types = op.signature()?;
    let operands: String = types.params.iter().map(|ty| operand(*ty)).collect();
    let immediates = match op.immediates() {
        Immediates::None | Immediates::MemArg(_) | Immediates::Ordering => "",
        Immediates::Index if op.class() == Class::Memory && op != Op::DataDrop => "",
        Immediates::Index | Immediates::MemArgLane(_) | Immediates::Lane(_) => "0",
        Immediates::TwoIndices => "0",
        Immediates::I32 | Immediates::I64 | Immediates::F32 | Immediates::F64 => "1",
        Immediates::Lanes => "0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23",
        Immediates::V128 => "i64x2 1 2",
        Immediates::Block | Immediates::Labels | Immediates::HeapType => return None,
        Immediates::Types | Immediates::TryTable | Immediates::Cast => return None,
    };
    let results: String = types.results.iter().rev().map(|ty| operand(*ty).replace("get", "set")).collect();
    Some(format!("{operands} {} {immediates} {results}", op.name()))
}

/// An operator whose types depend on what is around it.
fn special(op: Op) -> Option<&'static str> {
    Some(match op {
        Op::Unreachable => "unreachable",
        Op::Block => "block end",
        Op::Loop => "loop end",
        Op::If => "local.get $i32 if end",
        Op::Else => "local.get $i32 if else end",
        Op::End => "block end",
        Op::Br => "block br 0 end",
        Op::BrIf => "block local.get $i32 br_if 0 end",
        Op::BrTable => "block local.get $i32 br_table 0 0 end",
        Op::Return => "return",
        Op::BrOnNull => "block local.get $func br_on_null 0 drop end",
        Op::BrOnNonNull => "block (result (ref func)) local.get $func br_on_non_null 0 unreachable end drop",
        Op::Try => "try end",
        Op::Catch => "try catch $e end",
        Op::CatchAll => "try catch_all end",
        Op::Rethrow => "try catch $e rethrow 0 end",
        Op::Delegate => "try delegate 0",
        Op::Throw => "throw $e",
        Op::ThrowRef => "local.get $exn throw_ref",
        Op::TryTable => "try_table end",
        Op::Call => "call $sample",
        Op::CallIndirect => "local.get $i32 call_indirect $t (type $f)",
        Op::CallRef => "ref.func $sample call_ref $f",
        Op::ReturnCall => "return_call $sample",
        Op::ReturnCallIndirect => "local.get $i32 return_call_indirect $t (type $f)",
        Op::ReturnCallRef => "ref.func $sample return_call_ref $f",
        Op::Drop => "local.get $i32 drop",
        Op::Select => "local.get $i64 local.get $i64 local.get $i32 select drop",
        Op::TypedSelect => "local.get $func local.get $func local.get $i32 select (result funcref) drop",
        Op::LocalGet => "local.get $f32 drop",
        Op::LocalSet => "local.get $i32 local.set $i32",
        Op::LocalTee => "local.get $i32 local.tee $i32 drop",
        Op::GlobalGet => "global.get $g drop",
        Op::GlobalSet => "local.get $i32 global.set $g",
        Op::TableGet => "local.get $i32 table.get $t drop",
        Op::TableSet => "local.get $i32 local.get $func table.set $t",
        Op::TableGrow => "local.get $func local.get $i32 table.grow $t drop",
        Op::TableFill => "local.get $i32 local.get $func local.get $i32 table.fill $t",
        Op::TableCopy => "local.get $i32 local.get $i32 local.get $i32 table.copy $t $t",
        Op::MemoryCopy => "local.get $i32 local.get $i32 local.get $i32 memory.copy",
        Op::RefNull => "ref.null func drop",
        Op::RefIsNull => "local.get $func ref.is_null drop",
        Op::RefFunc => "ref.func $sample drop",
        Op::RefAsNonNull => "local.get $func ref.as_non_null drop",
        _ => return aggregate(op),
    })
}

/// An operator on structures, arrays and small integers.
fn aggregate(op: Op) -> Option<&'static str> {
    Some(match op {
        Op::RefEq => "ref.null i31 ref.null i31 ref.eq drop",
        Op::StructNew => "local.get $i32 struct.new $struct drop",
        Op::StructNewDefault => "struct.new_default $struct drop",
        Op::StructGet => "ref.null $struct struct.get $struct 0 drop",
        Op::StructGetS => "ref.null $small struct.get_s $small 0 drop",
        Op::StructGetU => "ref.null $small struct.get_u $small 0 drop",
        Op::StructSet => "ref.null $struct local.get $i32 struct.set $struct 0",
        Op::ArrayNew => "local.get $i32 local.get $i32 array.new $array drop",
        Op::ArrayNewDefault => "local.get $i32 array.new_default $array drop",
        Op::ArrayNewFixed => "local.get $i32 array.new_fixed $array 1 drop",
        Op::ArrayNewData => "local.get $i32 local.get $i32 array.new_data $array $d drop",
        Op::ArrayNewElem => "local.get $i32 local.get $i32 array.new_elem $refs $s drop",
        Op::ArrayGet => "ref.null $array local.get $i32 array.get $array drop",
        Op::ArrayGetS => "ref.null $bytes local.get $i32 array.get_s $bytes drop",
        Op::ArrayGetU => "ref.null $bytes local.get $i32 array.get_u $bytes drop",
        Op::ArraySet => "ref.null $array local.get $i32 local.get $i32 array.set $array",
        Op::ArrayLen => "ref.null $array array.len drop",
        Op::ArrayFill => "ref.null $array local.get $i32 local.get $i32 local.get $i32 array.fill $array",
        Op::ArrayCopy => {
            "ref.null $array local.get $i32 ref.null $array local.get $i32 local.get $i32 array.copy $array $array"
        }
        Op::ArrayInitData => "ref.null $array local.get $i32 local.get $i32 local.get $i32 array.init_data $array $d",
        Op::ArrayInitElem => "ref.null $refs local.get $i32 local.get $i32 local.get $i32 array.init_elem $refs $s",
        Op::RefTestNonNull => "ref.null any ref.test (ref i31) drop",
        Op::RefTestNullable => "ref.null any ref.test (ref null i31) drop",
        Op::RefCastNonNull => "ref.null any ref.cast (ref i31) drop",
        Op::RefCastNullable => "ref.null any ref.cast (ref null i31) drop",
        Op::BrOnCast => "block (result anyref) ref.null any br_on_cast 0 anyref i31ref end drop",
        Op::BrOnCastFail => "block (result anyref) ref.null any br_on_cast_fail 0 anyref i31ref end drop",
        Op::AnyConvertExtern => "ref.null extern any.convert_extern drop",
        Op::ExternConvertAny => "ref.null any extern.convert_any drop",
        Op::RefI31 => "local.get $i32 ref.i31 drop",
        Op::I31GetS => "ref.null i31 i31.get_s drop",
        Op::I31GetU => "ref.null i31 i31.get_u drop",
        _ => return None,
    })
}
