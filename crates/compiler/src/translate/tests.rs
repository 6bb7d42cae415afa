//! Translates modules and runs Cranelift's verifier and code generator over the result.

use cranelift_codegen::isa::{OwnedTargetIsa, TargetIsa};
use cranelift_codegen::settings::{Configurable, Flags, builder};
use cranelift_codegen::{Context, verify_function};
use kiln_env::tier::Tier;
use kiln_env::{Builtin, DefinedFuncIndex, FuncKey, Tunables, TypeIndex};
use wasmparser::{BinaryReader, FunctionBody, Operator};

use super::Translator;
use crate::func_ir::FuncIr;
use crate::module_env::ModuleEnv;
use crate::pool::Pool;
use crate::validate::validate;
use crate::{Features, ValidatedModule, parse};

fn isa() -> OwnedTargetIsa {
    let mut flags = builder();
    flags.set("opt_level", "speed").unwrap();
    flags.enable("preserve_frame_pointers").unwrap();
    flags.enable("enable_multi_ret_implicit_sret").unwrap();
    cranelift_native::builder().unwrap().finish(Flags::new(flags)).unwrap()
}

/// Every way in which tunables change code.
fn modes() -> Vec<(&'static str, Tunables)> {
    let default = Tunables::default();
    vec![
        ("default", default.clone()),
        ("fuel and epochs", Tunables { fuel: true, epochs: true, ..default.clone() }),
        ("no signals", Tunables { signals: false, ..default.clone() }),
        ("no signals, fuel", Tunables { signals: false, fuel: true, ..default.clone() }),
        ("no reservation", Tunables { memory_reservation: 0, memory_guard: 0, ..default }),
    ]
}

struct Loaded {
    bytes: Vec<u8>,
    module: ValidatedModule,
}

impl Loaded {
    fn new(bytes: Vec<u8>) -> Loaded {
        let parsed = parse(&bytes, &Features::default()).unwrap_or_else(|e| panic!("{e}"));
        let module = validate(parsed, &bytes, &Pool::new(1, None).unwrap(), &|_| ()).unwrap_or_else(|e| panic!("{e}"));
        Loaded { bytes, module }
    }

    fn env<'a>(&'a self, tunables: &'a Tunables, isa: &'a dyn TargetIsa) -> ModuleEnv<'a> {
        ModuleEnv {
            module: self.module.module(),
            layout: self.module.layout(),
            tunables,
            infos: self.module.infos(),
            isa,
            profile: None,
            own_references: self.module.module().has_own_references_only(),
            bulk_in_line: true,
        }
    }

    fn function(&self, env: &ModuleEnv<'_>, translator: &mut Translator, index: DefinedFuncIndex) -> FuncIr {
        translator.function(env, index, Tier::Optimized, &self.body(index), None).unwrap()
    }

    fn body(&self, index: DefinedFuncIndex) -> FunctionBody<'_> {
        let range = &self.module.module().bodies[index];
        let bytes = &self.bytes[range.start as usize..range.end as usize];
        let features = Features::default().to_wasmparser();
        FunctionBody::new(BinaryReader::new_features(bytes, range.start.into(), features))
    }

    /// A function in the first tier, and in the second entered at each of its loops that the first may leave.
    fn changing(&self, env: &ModuleEnv<'_>, translator: &mut Translator, index: DefinedFuncIndex) -> Vec<FuncIr> {
        let body = self.body(index);
        let mut irs = vec![translator.function(env, index, Tier::Baseline, &body, None).unwrap()];
        let mut operators = body.get_operators_reader().unwrap();
        while !operators.eof() {
            if let (Operator::Loop { .. }, at) = operators.read_with_offset().unwrap() {
                let offset = (at - body.range().start) as u32;
                // A loop that cannot be reached is not there.
                irs.extend(translator.function_from_loop(env, index, offset, &body, None));
            }
        }
        irs
    }

    fn trampolines(&self) -> Vec<FuncKey> {
        let types = self.module.module().types.keys().collect::<Vec<TypeIndex>>();
        let mut keys: Vec<_> = types.iter().flat_map(|t| [FuncKey::ArrayToWasm(*t), FuncKey::WasmToHost(*t)]).collect();
        keys.extend(Builtin::ALL.iter().map(|b| FuncKey::WasmToBuiltin(*b)));
        keys
    }
}

fn verify(ir: &FuncIr, isa: &dyn TargetIsa, what: &str) {
    if let Err(errors) = verify_function(&ir.func, isa) {
        panic!("{what}, {}: {errors}\n{}", ir.key, ir.func.display());
    }
}

/// Translates all functions and trampolines of a module in all modes, verifies and compiles them.
fn check(wat: &str) {
    let loaded = Loaded::new(wat::parse_str(wat).unwrap_or_else(|e| panic!("{e}")));
    let isa = isa();
    let mut translator = Translator::new();
    for (name, tunables) in modes() {
        let env = loaded.env(&tunables, &*isa);
        let mut irs: Vec<FuncIr> =
            loaded.module.module().bodies.keys().map(|i| loaded.function(&env, &mut translator, i)).collect();
        for index in loaded.module.module().bodies.keys() {
            irs.extend(loaded.changing(&env, &mut translator, index));
        }
        irs.extend(loaded.trampolines().into_iter().map(|key| translator.trampoline(&env, key).unwrap()));
        for ir in irs {
            verify(&ir, &*isa, name);
            let text = ir.func.display().to_string();
            let key = ir.key;
            let mut context = Context::for_function(ir.func);
            if let Err(e) = context.compile(&*isa, &mut Default::default()) {
                panic!("{name}, {key}: {:?}\n{text}", e.inner);
            }
        }
    }
}

/// The IR of the first function under some tunables.
fn clif(wat: &str, tunables: &Tunables) -> String {
    let loaded = Loaded::new(wat::parse_str(wat).unwrap());
    let isa = isa();
    let ir = loaded.function(&loaded.env(tunables, &*isa), &mut Translator::new(), DefinedFuncIndex(0));
    ir.func.display().to_string()
}

/// A function that applies one operator to its parameters.
fn operator(op: &str, params: &str, result: &str) -> String {
    let count = params.split_whitespace().count();
    let gets: String = (0..count).map(|i| format!("local.get {i} ")).collect();
    let result = if result.is_empty() { String::new() } else { format!("(result {result})") };
    let params = if count == 0 { String::new() } else { format!("(param {params})") };
    format!("(func {params} {result} {gets} {op})\n")
}

#[test]
fn numbers() {
    let mut funcs = String::new();
    for ty in ["i32", "i64"] {
        let two = format!("{ty} {ty}");
        for op in "add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr".split(' ') {
            funcs += &operator(&format!("{ty}.{op}"), &two, ty);
        }
        for op in "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u".split(' ') {
            funcs += &operator(&format!("{ty}.{op}"), &two, "i32");
        }
        for op in "clz ctz popcnt extend8_s extend16_s".split(' ') {
            funcs += &operator(&format!("{ty}.{op}"), ty, ty);
        }
        funcs += &operator(&format!("{ty}.eqz"), ty, "i32");
        for from in ["f32", "f64"] {
            for op in "trunc_FROM_s trunc_FROM_u trunc_sat_FROM_s trunc_sat_FROM_u".split(' ') {
                funcs += &operator(&format!("{ty}.{}", op.replace("FROM", from)), from, ty);
            }
        }
    }
    for ty in ["f32", "f64"] {
        let two = format!("{ty} {ty}");
        for op in "add sub mul div min max copysign".split(' ') {
            funcs += &operator(&format!("{ty}.{op}"), &two, ty);
        }
        for op in "eq ne lt gt le ge".split(' ') {
            funcs += &operator(&format!("{ty}.{op}"), &two, "i32");
        }
        for op in "abs neg ceil floor trunc nearest sqrt".split(' ') {
            funcs += &operator(&format!("{ty}.{op}"), ty, ty);
        }
        for from in ["i32", "i64"] {
            for op in ["convert_FROM_s", "convert_FROM_u"] {
                funcs += &operator(&format!("{ty}.{}", op.replace("FROM", from)), from, ty);
            }
        }
    }
    for (op, from, to) in [
        ("i32.wrap_i64", "i64", "i32"),
        ("i64.extend_i32_s", "i32", "i64"),
        ("i64.extend_i32_u", "i32", "i64"),
        ("i64.extend32_s", "i64", "i64"),
        ("f32.demote_f64", "f64", "f32"),
        ("f64.promote_f32", "f32", "f64"),
        ("i32.reinterpret_f32", "f32", "i32"),
        ("i64.reinterpret_f64", "f64", "i64"),
        ("f32.reinterpret_i32", "i32", "f32"),
        ("f64.reinterpret_i64", "i64", "f64"),
        ("i32.const -5", "", "i32"),
        ("i64.const -5", "", "i64"),
        ("f32.const nan:0x200000", "", "f32"),
        ("f64.const -0.5", "", "f64"),
        ("select", "f64 f64 i32", "f64"),
        ("select (result externref)", "externref externref i32", "externref"),
    ] {
        funcs += &operator(op, from, to);
    }
    check(&format!("(module {funcs})"));
}

#[test]
fn memory_accesses() {
    for (memory, index) in [
        ("(memory 1)", "i32"),
        ("(memory 0)", "i32"),
        ("(memory i64 1)", "i64"),
        ("(memory 1 4 shared)", "i32"),
        ("(import \"\" \"m\" (memory 1))", "i32"),
        ("(import \"\" \"m\" (memory i64 1))", "i64"),
    ] {
        let mut funcs = String::new();
        let large: &[&str] =
            if index == "i64" { &["0xffff_ffff_ffff_fff9", "0x1_0000_0000"] } else { &["0xffff_ffff"] };
        for offset in ["0", "8", "0x100_0000", "0x1000_0000"].iter().chain(large) {
            for (ty, ops) in [
                ("i32", "load load8_s load8_u load16_s load16_u store store8 store16"),
                ("i64", "load load8_s load8_u load16_s load16_u load32_s load32_u store store8 store16 store32"),
                ("f32", "load store"),
                ("f64", "load store"),
            ] {
                for op in ops.split(' ') {
                    let text = format!("{ty}.{op} offset={offset}");
                    funcs += &if op.starts_with("load") {
                        operator(&text, index, ty)
                    } else {
                        operator(&text, &format!("{index} {ty}"), "")
                    };
                }
            }
        }
        funcs += &operator("memory.size", "", index);
        funcs += &operator("memory.grow", index, index);
        funcs += &operator("memory.copy", &format!("{index} {index} {index}"), "");
        funcs += &operator("memory.fill", &format!("{index} i32 {index}"), "");
        funcs += &operator("memory.init 0", &format!("{index} i32 i32"), "");
        funcs += &operator("data.drop 0", "", "");
        check(&format!("(module {memory} (data \"x\") {funcs})"));
    }
}

#[test]
fn several_memories() {
    check(
        "(module (import \"\" \"m\" (memory $a 1)) (memory $b i64 2)
           (func (param i32 i64 i32)
             (memory.copy $a $b (local.get 0) (local.get 1) (local.get 2))
             (i32.store $a (local.get 0) (i32.load $b (local.get 1)))))",
    );
}

#[test]
fn tables_globals_and_references() {
    for (table, index) in [
        ("(table $f 4 funcref) (table $x 4 externref)", "i32"),
        ("(table $f 4 4 funcref) (table $x 4 4 externref)", "i32"),
        ("(table $f i64 4 funcref) (table $x i64 4 externref)", "i64"),
        ("(import \"\" \"f\" (table $f 4 funcref)) (import \"\" \"x\" (table $x 4 externref))", "i32"),
    ] {
        let mut funcs = String::new();
        for (name, ty) in [("$f", "funcref"), ("$x", "externref")] {
            funcs += &operator(&format!("table.get {name}"), index, ty);
            funcs += &operator(&format!("table.set {name}"), &format!("{index} {ty}"), "");
            funcs += &operator(&format!("table.size {name}"), "", index);
            funcs += &operator(&format!("table.grow {name}"), &format!("{ty} {index}"), index);
            funcs += &operator(&format!("table.fill {name}"), &format!("{index} {ty} {index}"), "");
            funcs += &operator(&format!("table.copy {name} {name}"), &format!("{index} {index} {index}"), "");
        }
        funcs += &operator("table.init $f $e", &format!("{index} i32 i32"), "");
        funcs += &operator("elem.drop $e", "", "");
        check(&format!("(module {table} (func $g) (elem $e func $g) {funcs})"));
    }
    let mut globals = String::new();
    for (i, ty) in ["i32", "i64", "f32", "f64", "v128", "funcref", "externref"].iter().enumerate() {
        let zero = match *ty {
            "v128" => "v128.const i64x2 1 2".into(),
            t if t.ends_with("ref") => format!("ref.null {}", t.trim_end_matches("ref")),
            t => format!("{t}.const 1"),
        };
        globals = format!(
            "(import \"\" \"{i}\" (global $i{i} {ty})) (import \"\" \"m{i}\" (global $im{i} (mut {ty}))) {globals}
            (global $c{i} {ty} ({zero})) (global $m{i} (mut {ty}) ({zero}))
            (func (global.set $m{i} (global.get $i{i})) (global.set $im{i} (global.get $c{i})))"
        );
    }
    check(&format!("(module {globals})"));
    check(
        "(module (type $t (func)) (func $f) (elem declare func $f)
           (func (result funcref) ref.func $f)
           (func (param funcref externref) (result i32 i32 funcref externref)
             (ref.is_null (local.get 0)) (ref.is_null (local.get 1)) (ref.null func) (ref.null extern))
           (func (param (ref null $t)) (result (ref $t)) (ref.as_non_null (local.get 0)))
           (func (param (ref null $t)) (block $b (br_on_null $b (local.get 0)) (call_ref $t)))
           (func (param externref) (result externref) (local externref)
             (block $b (result (ref extern)) (br_on_non_null $b (local.get 0)) (return (local.get 1)))))",
    );
}

#[test]
fn control_flow() {
    check(
        "(module
           (func (result i32) (loop (br 0)) )
           (func (param i32) (result i32) (if (result i32) (local.get 0) (then (i32.const 1)) (else (i32.const 2))))
           (func (param i32) (if (local.get 0) (then (return))))
           (func (param i32) (if (local.get 0) (then (unreachable) (drop (i32.add)))))
           (func (param i32) (result i32) (i32.const 7) (if (param i32) (result i32) (local.get 0) (then (drop) (i32.const 3))))
           (func (param i32) (result i32) (local.get 0) (loop (param i32) (result i32) (i32.const 1) (i32.sub) (br_if 0 (local.tee 0) (local.get 0))))
           (func (param i32) (result i32 i64) (block (result i32 i64) (i32.const 1) (i64.const 2) (br_if 0 (local.get 0)) (br 1)))
           (func (param i32) (result i32)
             (block $a (result i32) (block $b (result i32) (br_table $a $b $b $a 2 $b (i32.const 9) (local.get 0))) (i32.const 1) (i32.add)))
           (func (param i32) (block (block (block (br_table 0 1 2 0 1 2 3 (local.get 0)))) (nop)))
           (func (param i32) (br_table 0 0 (local.get 0)))
           (func (result i32) (unreachable) (block (br 0)) (loop (br 0)) (if (then) (else)) (i32.const 1) (return))
           (func (result i32) (block (result i32) (br 0 (i32.const 1)) (if (param) (result i32) (then (i32.const 1)) (else (i32.const 2)))) )
           (func (param i32 i32 externref v128) (local f32 f64 v128 externref funcref)
             (loop $l (local.set 0 (i32.add (local.get 0) (local.get 1))) (local.set 3 (local.get 6)) (local.set 2 (local.get 7))
               (br_if $l (i32.lt_s (local.get 0) (i32.const 10))))))"
            .replace("(func (result i32) (loop (br 0)) )", "(func (result i32) (loop (br 0)) (unreachable))")
            .as_str(),
    );
}

const MANY: &str = "i32 i64 f32 f64 i32 i64 f32 f64 i32 i64 f32 f64 i32 i64 f32 f64 i32 i64 f32 f64 i32 i64 f32 f64 i32 i64 f32 f64 i32 i64 f32 f64 i32 i64 f32 f64 i32 i64 f32 f64 v128 externref funcref";

#[test]
fn calls() {
    let call_many: String = (0..43).map(|i| format!("local.get {i} ")).collect();
    check(&format!(
        "(module
           (type $t (func (param i32) (result i32)))
           (type $many (func (param {MANY}) (result {MANY})))
           (import \"\" \"f\" (func $i (type $t)))
           (import \"\" \"many\" (func $im (type $many)))
           (table $f 4 funcref) (table $t64 i64 4 funcref) (table $fixed 4 4 funcref)
           (func $d (type $t) (call $i (call $d (local.get 0))))
           (func $tail (type $t) (return_call $tail (local.get 0)))
           (func (type $t) (return_call $i (local.get 0)))
           (func (type $t) (call_indirect $f (type $t) (local.get 0) (local.get 0)))
           (func (type $t) (call_indirect $fixed (type $t) (local.get 0) (local.get 0)))
           (func (type $t) (call_indirect $t64 (type $t) (local.get 0) (i64.const 3)))
           (func (type $t) (return_call_indirect $f (type $t) (local.get 0) (local.get 0)))
           (func (param (ref null $t)) (result i32) (call_ref $t (i32.const 1) (local.get 0)))
           (func (param (ref null $t)) (result i32) (return_call_ref $t (i32.const 1) (local.get 0)))
           (func (param externref) (result i32 externref) (call $d (i32.const 1)) (local.get 0))
           (func $m (type $many) {call_many} (call $im) (call $m) (return_call $m)))"
    ));
}

#[test]
fn exceptions() {
    check(
        "(module
           (type $v (func))
           (import \"\" \"t\" (tag $i (param i64))) (import \"\" \"f\" (func $f (param i32) (result i32)))
           (tag $e (param i32 externref))
           (table 2 funcref)
           (func (param externref) (throw $e (i32.const 1) (local.get 0)))
           (func (throw $i (i64.const 1)))
           (func (param exnref) (throw_ref (local.get 0)))
           (func (param i32 externref) (result i32 externref exnref)
             (block $all (result exnref)
               (block $one (result i32 externref exnref)
                 (try_table (catch_ref $e $one) (catch_all_ref $all)
                   (local.set 0 (call $f (local.get 0)))
                   (call_indirect (type $v) (local.get 0))
                   (throw $e (local.get 0) (local.get 1)))
                 (return (local.get 0) (local.get 1) (ref.null exn)))
               (return))
             (return (local.get 0) (local.get 1) (unreachable)))
           (func (param i32) (result i32) (local $n i32)
             (loop $again (block $h (result i64)
               (try_table (result i32) (catch $i $h) (catch_all $again)
                  (local.set $n (i32.add (local.get $n) (i32.const 1)))
                  (try_table (result i32) (catch $i $h) (call $f (local.get $n))))
               (return))
             (drop) (br $again)) (unreachable)))"
            .replace(
                "(return (local.get 0) (local.get 1) (unreachable)))",
                "(drop) (return (local.get 0) (local.get 1) (ref.null exn)))",
            )
            .as_str(),
    );
}

#[test]
fn legacy_exceptions() {
    check(
        "(module
           (import \"\" \"f\" (func $f (param i32) (result i32)))
           (tag $e (param i32 externref)) (tag $n)
           (func (param i32) (result i32)
             try (result i32)
               local.get 0 call $f
             catch $e
               drop local.get 0 i32.add
             catch $n
               rethrow 0
             catch_all
               i32.const 2
             end)
           (func (param i32) (result i32)
             try $outer (result i32)
               try (result i32) local.get 0 call $f delegate $outer
             catch_all
               i32.const 1
             end)
           (func (param i32) (result i32)
             try (result i32)
               i32.const 1
             catch $n
               i32.const 4
             catch_all
               try rethrow 1 catch $n end
               i32.const 2
             end)
           (func try throw $n catch $n end)
           (func try i32.const 0 call $f drop catch_all try i32.const 1 call $f drop catch $n rethrow 1 end end)
           (func
             try
               try i32.const 0 call $f drop delegate 1
             catch_all
               try delegate 0
             end))",
    );
}

#[test]
fn fuel_is_flushed_before_what_may_trap() {
    let fuel = Tunables { fuel: true, ..Tunables::default() };
    let text = clif(
        "(module (memory 1) (func (param i32) (drop (i32.load (local.get 0))) (drop (i32.load (local.get 0)))))",
        &fuel,
    );
    // Each load costs its own operator and the local.get before it; the drop between them is free.
    assert_eq!(text.matches("iconst.i64 2").count(), 2, "{text}");
}

#[test]
fn code_without_calls_checks_no_stack() {
    let text =
        clif("(module (func (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))))", &Tunables::default());
    assert!(!text.contains("stack_limit"), "{text}");
    let text = clif("(module (func $f (call $f)))", &Tunables::default());
    assert!(text.contains("stack_limit"), "{text}");
}

#[test]
fn handlers_are_used_only_where_they_apply() {
    let text = clif(
        "(module (func $f (block (try_table (catch_all 0) (nop))) (call $f) (return_call $f)))",
        &Tunables::default(),
    );
    assert!(!text.contains("try_call"), "{text}");
}

#[test]
fn throwing_to_a_handler_of_the_same_function_is_a_branch() {
    let body = |catch: &str, tag: &str| {
        format!(
            "(module (import \"\" \"a\" (tag $a)) (import \"\" \"b\" (tag $b)) (tag $t (param i32))
               (func (param i32) (result i32)
                 (block $h (result i32) (block $n (try_table {catch} (throw {tag}))) (i32.const 1))))"
        )
    };
    let text = clif(&body("(catch $a $n) (catch $t $h)", "$t (local.get 0)"), &Tunables::default());
    assert!(!text.contains("call"), "{text}");
    let text = clif(&body("(catch_all $n)", "$a"), &Tunables::default());
    assert!(!text.contains("call"), "{text}");
    // The two imports may be one tag.
    let text = clif(&body("(catch $a $n) (catch $b $n)", "$b"), &Tunables::default());
    assert!(text.contains("try_call"), "{text}");
    // A reference to the exception needs the exception, but nothing is unwound.
    let text = clif(
        &body("(catch_all_ref $h)", "$a")
            .replace("$h (result i32)", "$h (result exnref)")
            .replace("(i32.const 1))))", "(ref.null exn)) (drop) (i32.const 1)))"),
        &Tunables::default(),
    );
    assert!(text.contains("call") && !text.contains("try_call"), "{text}");
}

#[test]
fn unsupported_operators_are_errors() {
    let bytes =
        wat::parse_str("(module (func (result i64 i64) (drop (ref.i31 (i32.const 1))) (i64.const 1) (i64.const 1)))")
            .unwrap();
    // Validation refuses such a body, so the translator gets it in the place of another of the same type.
    let loaded = Loaded::new(wat::parse_str("(module (func (result i64 i64) i64.const 1 i64.const 1))").unwrap());
    let (isa, tunables) = (isa(), Tunables::default());
    let env = loaded.env(&tunables, &*isa);
    let parsed = parse(&bytes, &Features::default()).unwrap();
    let range = &parsed.module().bodies[DefinedFuncIndex(0)];
    let bytes = &bytes[range.start as usize..range.end as usize];
    let body = FunctionBody::new(BinaryReader::new(bytes, range.start.into()));
    let mut translator = Translator::new();
    let error = translator.function(&env, DefinedFuncIndex(0), Tier::Optimized, &body, None).err().unwrap();
    assert!(error.message().contains("RefI31"), "{error}");
    assert!(translator.trampoline(&env, FuncKey::Wasm(DefinedFuncIndex(0))).is_err());
}

#[test]
fn loops_are_entered_wherever_they_stand() {
    check(
        r#"(module
          (tag $t (param i32))
          (func (param i32 externref) (result i32) (local v128 f32 externref)
            (i32.const 7)
            (table.get (i32.const 0))
            (loop $outer (param externref) (result i32)
              (local.set 1)
              (local.get 1)
              (i64.const 5)
              (block $b
                (br_if $b (local.get 0))
                (loop $inner (br_if $inner (i32.eqz (local.get 0))) (br_if $b (local.get 0)))
                (if (local.get 0) (then (loop (br_if 0 (local.get 0))) (br $b)) (else nop)))
              (drop)
              (br_if $outer (local.get 0))
              (local.set 1)
              (local.get 0))
            (i32.add))
          (table 1 externref)
          (func (param i32) (result i32 i32 i32 i32 i32 i32 i32 i32 i32)
            (block $h (result i32)
              (try_table (catch $t $h)
                (loop $l (throw $t (local.get 0)) (br $l)))
              (i32.const 0))
            (loop $l (param i32) (result i32) (br_if $l (local.get 0)))
            (local.get 0) (local.get 0) (local.get 0) (local.get 0) (local.get 0) (local.get 0) (local.get 0) (local.get 0))
          (func (result i32)
            (i32.const 1)
            try (result i32)
              (throw $t (i32.const 1))
            catch $t
              (loop $l (param i32) (result i32) (br_if $l (i32.const 0)))
            end
            (i32.add)
            (loop (br_if 0 (i32.const 0)))))"#,
    );
}

/// All wasm files below the folder that `KILN_CORPUS` names: translated and verified, in the modes that differ most.
#[test]
fn real_modules() {
    let Some(root) = std::env::var_os("KILN_CORPUS") else {
        eprintln!("skipped: KILN_CORPUS names no folder");
        return;
    };
    let isa = isa();
    let mut folders = vec![std::path::PathBuf::from(root)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "wasm") {
                let loaded = Loaded::new(std::fs::read(&path).unwrap());
                let mut translator = Translator::new();
                for (name, tunables) in &modes()[..3] {
                    let env = loaded.env(tunables, &*isa);
                    for index in loaded.module.module().bodies.keys() {
                        verify(&loaded.function(&env, &mut translator, index), &*isa, name);
                        let changing = loaded.changing(&env, &mut translator, index);
                        changing.iter().for_each(|ir| verify(ir, &*isa, name));
                    }
                }
                eprintln!("{}: {} functions", path.display(), loaded.module.module().bodies.len());
            }
        }
    }
}
