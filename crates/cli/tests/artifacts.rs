//! `kiln compile` in all its forms, `kiln objdump` and `kiln explore`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const MODULE: &str = r#"
    (module $sample
        (import "host" "twice" (func $twice (param i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 16) "\2a\00\00\00")
        (global $count (mut i64) (i64.const 5))
        (func $sum (export "sum") (param $a i32) (param $b i32) (result i32)
            (i32.add (local.get $a) (local.get $b)))
        (func $load (export "load") (param i32) (result i32) (i32.load (local.get 0)))
        (func $count (export "count") (param i64) (result i64)
            (global.set $count (i64.add (global.get $count) (local.get 0))) (global.get $count))
        (func $imported (export "imported") (param i32) (result i32)
            (i32.add (call $twice (local.get 0)) (i32.const 1)))
        (func $divide (export "divide") (param i32 i32) (result i32)
            (i32.div_u (local.get 0) (local.get 1))))
"#;

/// A program that prints its arguments' number and a file.
const PROGRAM: &str = r#"
    (module
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (data (i32.const 8) "\10\00\00\00\06\00\00\00hello\n")
        (func (export "_start")
            (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 64)))
            (drop (call $sizes (i32.const 64) (i32.const 68)))
            (call $exit (i32.load (i32.const 64)))))
"#;

struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Runs a command in the folder.
    fn command(&self, program: impl AsRef<Path>, args: &[&str]) -> Output {
        let mut command = Command::new(program.as_ref());
        command.args(args).current_dir(self.0.path()).env("KILN_CACHE_DIR", self.path("cache"));
        command.output().unwrap()
    }

    fn kiln(&self, args: &[&str]) -> Output {
        self.command(env!("CARGO_BIN_EXE_kiln"), args)
    }

    /// Runs a command that succeeds; what it prints.
    fn output(&self, args: &[&str]) -> String {
        let output = self.kiln(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

fn has(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        eprintln!("skipped: there is no `{program}` on PATH");
    }
    there
}

#[test]
fn compiled_files_run_and_are_compiled_again_where_they_cannot() {
    let place = Place::new();
    place.write("p.wat", PROGRAM);
    place.output(&["compile", "p.wat"]);
    let run = place.kiln(&["p.kiln", "a", "b"]);
    assert_eq!((run.status.code(), &*run.stdout, &*run.stderr), (Some(3), &b"hello\n"[..], &b""[..]));

    // Another setting: a notice, and the same output.
    let run = place.kiln(&["run", "-W", "fuel=1000000", "p.kiln"]);
    assert_eq!((run.status.code(), &*run.stdout), (Some(1), &b"hello\n"[..]));
    let notice = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(notice.contains("fuel = false") && notice.contains("compiling it again"), "{notice}");

    // Without the module there is nothing to compile.
    place.output(&["compile", "--no-wasm", "p.wat", "-o", "bare.kiln"]);
    assert_eq!(place.kiln(&["bare.kiln"]).status.code(), Some(1));
    let run = place.kiln(&["run", "-W", "fuel=1000000", "bare.kiln"]);
    let message = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.stdout.is_empty() && message.contains("no wasm module"), "{message}");

    // Damage is no reason to compile again.
    let mut bytes = fs::read(place.path("p.kiln")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(place.path("damaged.kiln"), bytes).unwrap();
    for verification in ["marked", "strict"] {
        let run = place.kiln(&["run", "-C", &format!("artifact-verification={verification}"), "damaged.kiln"]);
        let message = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(run.stdout.is_empty() && message.contains("damaged"), "{message}");
    }
}

#[test]
fn an_executable_needs_nothing_else() {
    let place = Place::new();
    place.write("p.wat", PROGRAM);
    place.write(
        "m.wat",
        MODULE
            .replace(
                "(import \"host\" \"twice\" (func $twice (param i32) (result i32)))",
                "(func $twice (param i32) (result i32) (i32.shl (local.get 0) (i32.const 1)))",
            )
            .as_str(),
    );
    place.output(&["compile", "--emit", "exe", "p.wat", "-o", "program"]);
    fs::remove_file(place.path("p.wat")).unwrap();
    let run = place.command(place.path("program"), &["run", "--help"]);
    assert_eq!((run.status.code(), &*run.stdout, &*run.stderr), (Some(3), &b"hello\n"[..], &b""[..]));
    // Options of the runs, and those under which the code was made.
    place.output(&["compile", "--emit", "exe", "-W", "fuel=1000", "m.wat", "-o", "m", "--", "--invoke", "sum"]);
    let run = place.command(place.path("m"), &["40", "2"]);
    assert_eq!(String::from_utf8_lossy(&run.stdout), "42\n", "{}", String::from_utf8_lossy(&run.stderr));
    let wrong = place.kiln(&["compile", "m.wat", "--", "--invoke", "sum"]);
    assert_eq!(wrong.status.code(), Some(2));
}

/// Links the object, gives it a context, a memory and a function to import, and calls everything.
const HOST: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "sample.h"

static uint64_t twice(kiln_host_function *self, kiln_context *caller, kiln_value *values) {
    (void)self;
    if (caller->magic != KILN_MAGIC_INSTANCE) return 0;
    values[0].i32 *= 2;
    return 1;
}

int main(void) {
    static kiln_store_context store;
    static void *builtins[KILN_BUILTINS];
    static uint8_t memory[65536];
    uint8_t *bytes = aligned_alloc(16, (sample_CONTEXT_SIZE + 15) / 16 * 16);
    kiln_context *context = (kiln_context *)bytes;
    memcpy(bytes, sample_context_template, sample_CONTEXT_SIZE);
    context->store = &store;
    context->builtins = builtins;
    for (int i = 0; i < sample_MEMORY_RUNS; i++)
        memcpy(memory + sample_memory_runs[i][1], sample_memory_bytes + sample_memory_runs[i][2], sample_memory_runs[i][3]);
    kiln_memory *place = (kiln_memory *)(bytes + sample_MEMORY_0);
    place->base = memory;
    place->len = sizeof memory;
    kiln_host_function host = { .header = { .magic = KILN_MAGIC_HOST, .store = &store, .builtins = builtins }, .call = twice };
    kiln_imported_func *import = (kiln_imported_func *)(bytes + sample_IMPORT_0);
    import->code = (void *)sample_host_0;
    import->context = &host;

    kiln_value values[2];
    values[0].i32 = 40; values[1].i32 = 2;
    if (!sample_sum(context, values)) return 1;
    printf("%d\n", values[0].i32);
    values[0].i32 = 16;
    if (!sample_load(context, values)) return 2;
    printf("%d\n", values[0].i32);
    values[0].i64 = 37;
    if (!sample_count(context, values)) return 3;
    printf("%lld\n", (long long)values[0].i64);
    values[0].i32 = 20;
    if (!sample_imported(context, values)) return 4;
    printf("%d\n", values[0].i32);
    free(bytes);
    return 0;
}
"#;

#[test]
fn objects_link_into_c_programs() {
    if !has("cc") {
        return;
    }
    let place = Place::new();
    place.write("sample.wat", MODULE);
    place.output(&["compile", "--emit", "obj", "sample.wat"]);
    let header = fs::read_to_string(place.path("sample.h")).unwrap();
    // The trampoline to host functions is named after a type.
    let code =
        header.lines().find_map(|l| l.contains("#define sample_IMPORT_0").then(|| l.split("code: ").nth(1))).flatten();
    let symbol = code.and_then(|c| c.split(';').next()).unwrap();
    place.write("main.c", &HOST.replace("sample_host_0", symbol));
    let linked = place.command("cc", &["-std=c11", "-Wall", "-Werror", "-o", "main", "main.c", "sample.o"]);
    assert!(linked.status.success(), "{}", String::from_utf8_lossy(&linked.stderr));
    let run = place.command(place.path("main"), &[]);
    assert_eq!(String::from_utf8_lossy(&run.stdout), "42\n42\n42\n41\n", "{}", run.status);
}

#[test]
fn intermediate_code_and_assembly_name_operators() {
    let place = Place::new();
    place.write("sample.wat", MODULE);
    place.output(&["compile", "--emit", "clif", "sample.wat"]);
    let clif = fs::read_to_string(place.path("sample.clif")).unwrap();
    assert!(clif.contains("; sum, whose body begins at 0x") && clif.contains("iadd") && clif.contains('@'), "{clif}");
    if !has("objdump") {
        return;
    }
    place.output(&["compile", "--emit", "asm", "sample.wat", "-o", "sample.s"]);
    let text = fs::read_to_string(place.path("sample.s")).unwrap();
    let sum = text.split("# ").find(|f| f.starts_with("sum, body")).unwrap();
    assert!(sum.lines().any(|l| l.trim_start().starts_with("0x")) && sum.contains("ret"), "{sum}");
}

#[test]
fn objdump_shows_functions_sections_traps_and_operators() {
    let place = Place::new();
    place.write("sample.wat", MODULE);
    place.output(&["compile", "sample.wat"]);
    let text = place.output(&["objdump", "sample.kiln"]);
    for expected in ["module     sample", ".kiln.sites", ".text", "sum", "array_to_wasm["] {
        assert!(text.contains(expected), "no {expected} in\n{text}");
    }
    assert!(!text.contains("divide by zero"));
    let text = place.output(&["objdump", "--function", "divide", "sample.kiln"]);
    assert!(
        text.contains("integer divide by zero") && text.contains("operator at 0x") && !text.contains("sum"),
        "{text}"
    );
    let json = place.output(&["objdump", "--json", "--traps", "--addresses", "sample.kiln"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let functions = json["functions"].as_array().unwrap();
    let load = functions.iter().find(|f| f["name"] == "load").unwrap();
    assert_eq!(load["index"], 2);
    assert_eq!(load["traps"][0]["trap"], "out of bounds memory access");
    // The operator is where the wasm module has it: `i32.load` is 0x28.
    let wasm = wat::parse_str(MODULE).unwrap();
    let operator = load["addresses"][0]["operator"].as_u64().unwrap() as usize;
    assert_eq!(wasm[operator], 0x28);
    let wrong = place.kiln(&["objdump", "--function", "nothing", "sample.kiln"]);
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("nothing"));
    assert!(!place.kiln(&["objdump", "sample.wat"]).status.success());
}

#[test]
#[cfg(target_arch = "x86_64")]
fn verify_tells_what_is_proven_and_shows_why() {
    let place = Place::new();
    place.write("sample.wat", MODULE);
    place.output(&["compile", "sample.wat"]);
    let json = String::from_utf8(place.kiln(&["verify", "--json", "sample.kiln"]).stdout).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let refused = json["refused"].as_array().unwrap();
    assert!(refused.iter().all(|r| !r["function"].as_str().unwrap().starts_with("wasm[")), "{json}");
    assert!(json["accepted"].as_u64().unwrap() >= 3);
    let text = place.output(&["verify", "--explain", "wasm[0]", "sample.kiln"]);
    assert!(text.contains("rdi=Context") && text.ends_with("proven\n"), "{text}");
    let wrong = place.kiln(&["verify", "--explain", "nothing", "sample.kiln"]);
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("nothing"));
    assert!(!place.kiln(&["verify", "sample.wat"]).status.success());
}

#[test]
fn explore_links_operators_and_instructions_both_ways() {
    if !has("objdump") {
        return;
    }
    let place = Place::new();
    place.write("sample.wat", MODULE);
    place.output(&["explore", "sample.wat", "-o", "page.html"]);
    let page = fs::read_to_string(place.path("page.html")).unwrap();
    assert!(page.contains("i32.div_u") && page.contains("call $twice") && page.contains("global.set 0"), "{page}");
    assert!(!page.contains("src=") && !page.contains("href="), "the page needs other files");
    let Some(chromium) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|c| has(c)) else { return };
    // Points at an operator, then at an instruction, and notes what is lit.
    let probe = "<script>{
        const over = item => item.dispatchEvent(new MouseEvent('mouseover', {bubbles: true}));
        const lit = kind => document.querySelectorAll('.' + kind + ' .lit').length;
        const pairs = [...document.querySelectorAll('.wat li')].filter(li =>
            li.closest('.pair').querySelector('.asm [data-op=\"' + li.dataset.op + '\"]'));
        const notes = [];
        over(pairs[0]); notes.push(lit('wat') > 0 && lit('asm') > 0);
        const back = pairs[1].closest('.pair').querySelector('.asm [data-op=\"' + pairs[1].dataset.op + '\"]');
        over(back); notes.push(pairs[1].classList.contains('lit') && !pairs[0].classList.contains('lit'));
        document.title = 'probe ' + notes.join(' ');
    }</script>";
    place.write("probe.html", &(page + probe));
    let url = format!("file://{}", place.path("probe.html").display());
    let flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom", &url];
    let dom = place.command(chromium, &flags);
    let dom = String::from_utf8_lossy(&dom.stdout).into_owned();
    assert!(dom.contains("<title>probe true true</title>"), "{}", &dom[..dom.len().min(2000)]);
}
