//! The verifier on code that the compiler makes: it is accepted, and refused once it was changed so that it could leave
//! the sandbox.
#![cfg(target_arch = "x86_64")]

mod accepted;
mod faults;

use std::sync::Arc;

use iced_x86::{Decoder, DecoderOptions, Instruction};
use kiln_compiler::{Compiler, CompilerConfig};
use kiln_env::settings::{Fingerprint, Tunables};
use kiln_env::{DefinedFuncIndex, FuncKey, Image, Module};
use kiln_verify::{Function, Refusal, Rule, Scratch, Statistics, Verifier};

/// A compiled module.
struct Compiled {
    module: Arc<Module>,
    fingerprint: Fingerprint,
    image: Image,
}

/// Compiles a module in the text format with settings of Cranelift, for a processor with the least features.
fn compile_with(wat: &str, flags: &[(&str, &str)], tunables: Tunables) -> Compiled {
    let wasm = wat::parse_str(wat).unwrap();
    let flags = flags.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let target = Some("x86_64-unknown-linux-gnu".to_owned());
    let config = CompilerConfig { threads: 1, target, flags, tunables, ..CompilerConfig::default() };
    let compiler = Compiler::new(&config).unwrap();
    let module = compiler.parse(&wasm).and_then(|parsed| compiler.validate(parsed, &wasm)).unwrap();
    let (image, _) = compiler.compile_module(&module, &wasm, &|_| {}).unwrap();
    Compiled { module: module.module().clone(), fingerprint: compiler.fingerprint().clone(), image }
}

fn compile(wat: &str) -> Compiled {
    compile_with(wat, &[], Tunables::default())
}

impl Compiled {
    fn key_at(&self, offset: i64) -> Option<FuncKey> {
        let offset = u32::try_from(offset).ok()?;
        self.image.func_at(offset).filter(|func| func.start == offset).map(|func| func.key)
    }

    /// Checks the function at a position of the image.
    fn check(&self, position: usize) -> Result<Statistics, Refusal> {
        let func = &self.image.funcs[position];
        let code = &self.image.text[func.start as usize..][..func.len as usize];
        let at = |distance: i64| self.key_at(i64::from(func.start) + distance);
        let verifier = Verifier::new(&self.module, &self.fingerprint).unwrap();
        let function = Function { key: func.key, code, tables: &func.tables, at: &at, sites: 0 };
        verifier.check(&mut Scratch::default(), &function)
    }

    fn position(&self, func: u32) -> usize {
        let key = FuncKey::Wasm(DefinedFuncIndex(func));
        self.image.funcs.iter().position(|func| func.key == key).unwrap()
    }

    /// The instructions of a function up to the first bytes that are none, with their offsets in the text.
    fn instructions(&self, func: u32) -> Vec<(usize, Instruction)> {
        let func = &self.image.funcs[self.position(func)];
        let code = &self.image.text[func.start as usize..][..func.len as usize];
        let instructions = Decoder::with_ip(64, code, 0, DecoderOptions::NONE).into_iter();
        let instructions = instructions.take_while(|instruction| !instruction.is_invalid());
        instructions.map(|instruction| (func.start as usize + instruction.ip() as usize, instruction)).collect()
    }

    /// The bytes of the first instruction of a function for which this holds.
    fn find(&mut self, func: u32, what: impl Fn(&Instruction) -> bool) -> &mut [u8] {
        let (at, instruction) = self.instructions(func).into_iter().find(|(_, i)| what(i)).expect("an instruction");
        &mut self.image.text[at..at + instruction.len()]
    }

    /// Expects a function to be refused by a rule; gives the whole message.
    #[track_caller]
    fn refused(&self, func: u32, rule: Rule) -> String {
        let refusal = self.check(self.position(func)).expect_err("it was accepted");
        assert_eq!(refusal.rule, rule, "{refusal}");
        let message = refusal.to_string();
        assert!(message.starts_with(&format!("wasm[{func}], instruction at 0x")), "{message}");
        message
    }

    /// Expects all functions with a body to be accepted.
    #[track_caller]
    fn accepted(self) -> Compiled {
        for (position, func) in self.image.funcs.iter().enumerate() {
            if let (FuncKey::Wasm(_), Err(refusal)) = (func.key, self.check(position)) {
                panic!("{refusal}");
            }
        }
        self
    }
}

/// Replaces an instruction by one that does nothing.
fn drop_instruction(bytes: &mut [u8]) {
    bytes.fill(0x90);
}
