//! Files that somebody changes while they are in use, and files that somebody else has made: what was not validated is not
//! compiled, and what nobody trusted has made is not run.

use std::fs::{self, FileTimes, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln::*;
use tempfile::TempDir;

/// Functions, tables, a handler, and data of all kinds.
const WAT: &str = r#"(module $subject
    (tag $t (param i32))
    (memory (export "memory") 2)
    (data (i32.const 8) "static")
    (data (i32.const 70000) "far")
    (data $passive "passive")
    (table funcref (elem $answer $div))
    (func $answer (export "answer") (result i32) (i32.const 1234567))
    (func $div (export "div") (param i32) (result i32) (i32.div_u (i32.const 10) (local.get 0)))
    (func (export "early") (result i32) (i32.const 1))
    (func (export "byte") (param i32) (result i32) (i32.load8_u (local.get 0)))
    (func (export "init") (result i32)
        (memory.init $passive (i32.const 100) (i32.const 0) (i32.const 7)) (i32.load8_u (i32.const 103)))
    (func $throw (param i32) (throw $t (local.get 0)))
    (func (export "catch") (param i32) (result i32)
        (block $h (result i32) (try_table (catch $t $h) (call $throw (local.get 0))) (i32.const -1))))"#;

const TIERINGS: [Tiering; 3] = [Tiering::Lazy, Tiering::Dynamic, Tiering::Eager];

struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file whose times are not those of what is written to it later.
    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        std::thread::sleep(Duration::from_millis(40));
        path
    }

    fn wasm(&self) -> PathBuf {
        self.write("a.wasm", &wat::parse_str(WAT).unwrap())
    }
}

fn config(tiering: Tiering) -> Config {
    let mut config = Config::new();
    config.tiering(tiering).wasm_exceptions(true);
    config
}

fn engine(tiering: Tiering) -> Engine {
    Engine::new(&config(tiering)).unwrap()
}

/// Overwrites a file in place, and sets its times back.
fn overwrite(path: &Path, change: impl Fn(u8) -> u8) {
    let before = fs::metadata(path).unwrap();
    let bytes: Vec<u8> = fs::read(path).unwrap().into_iter().map(change).collect();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    file.set_times(FileTimes::new().set_modified(before.modified().unwrap())).unwrap();
    assert_eq!(fs::metadata(path).unwrap().modified().unwrap(), before.modified().unwrap());
}

struct Run {
    store: Store<()>,
    instance: Instance,
}

impl Run {
    fn new(module: &Module) -> Run {
        let mut store = Store::new(module.engine(), ());
        let instance = Instance::new(&mut store, module, &[]).unwrap();
        Run { store, instance }
    }

    fn call(&mut self, name: &str, args: &[i32]) -> Result<i32, String> {
        let func = self.instance.get_func(&mut self.store, name).unwrap();
        let args: Vec<Val> = args.iter().map(|arg| Val::I32(*arg)).collect();
        let mut results = [Val::I32(0)];
        let called = func.call(&mut self.store, &args, &mut results);
        called.map(|()| results[0].unwrap_i32()).map_err(|error| format!("{error:#}"))
    }

    /// All that depends on what is in the files.
    #[track_caller]
    fn check(&mut self) {
        assert_eq!(self.call("answer", &[]), Ok(1_234_567));
        assert_eq!(self.call("div", &[5]), Ok(2));
        let trap = self.call("div", &[0]).unwrap_err();
        assert!(trap.contains("divide by zero") && trap.contains("div"), "{trap}");
        assert_eq!(self.call("catch", &[7]), Ok(7));
        assert_eq!(self.call("byte", &[9]), Ok(i32::from(b't')));
        assert_eq!(self.call("byte", &[70_002]), Ok(i32::from(b'r')));
        assert_eq!(self.call("init", &[]), Ok(i32::from(b's')));
    }
}

#[test]
fn what_is_compiled_is_what_was_validated() {
    for tiering in TIERINGS {
        let place = Place::new();
        let file = place.wasm();
        let module = Module::from_file(&engine(tiering), &file).unwrap();
        let mut run = Run::new(&module);
        assert_eq!(run.call("early", &[]), Ok(1));
        // By another name of the file.
        fs::hard_link(&file, place.path("link")).unwrap();
        overwrite(&place.path("link"), |byte| byte ^ 0x55);
        run.check();
        // Another instance, and what is made of the module as a whole.
        Run::new(&module).check();
        let artifact = module.serialize().unwrap();
        let artifact = place.write("a.kiln", &artifact);
        Run::new(&Module::deserialize_file(module.engine(), artifact).unwrap()).check();
    }
}

#[test]
fn what_is_compiled_where_it_is_in_the_file_is_what_was_validated() {
    let early = |file: &Path, tiering| {
        let engine = engine(tiering);
        let module = Module::from_module_file(&engine, ModuleFile::open_in_place(&engine, file).unwrap()).unwrap();
        let mut run = Run::new(&module);
        assert_eq!(run.call("early", &[]), Ok(1));
        run
    };
    for tiering in TIERINGS {
        let place = Place::new();
        // Without the segment because of which the file would be copied.
        let bytes = wat::parse_str(WAT.replace("(data $passive \"passive\")", "(data $passive \"\")")).unwrap();
        let file = place.write("a.wasm", &bytes);
        let mut run = early(&file, tiering);
        let mut touched = early(&file, tiering);
        let mut written = early(&file, tiering);
        let mut truncated = early(&file, tiering);
        // Changed: what was not compiled before never is.
        overwrite(&file, |byte| byte ^ 0x55);
        match tiering {
            Tiering::Eager => assert_eq!(run.call("answer", &[]), Ok(1_234_567)),
            _ => assert!(run.call("answer", &[]).unwrap_err().contains("was changed while it was in use")),
        }
        overwrite(&file, |byte| byte ^ 0x55);
        // The same bytes, with other times.
        fs::File::open(&file).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
        assert_eq!(touched.call("answer", &[]), Ok(1_234_567));
        fs::write(&file, &bytes).unwrap();
        assert_eq!(written.call("answer", &[]), Ok(1_234_567));
        // And the program goes on when they are changed after that.
        overwrite(&file, |byte| byte ^ 0x55);
        assert_eq!(written.call("div", &[5]), Ok(2));
        OpenOptions::new().write(true).open(&file).unwrap().set_len(0).unwrap();
        assert_eq!(truncated.call("answer", &[]).is_ok(), tiering == Tiering::Eager);
        assert_eq!(truncated.call("early", &[]), Ok(1));
    }
}

#[test]
fn what_others_may_write_to_is_copied() {
    let (place, engine) = (Place::new(), engine(Tiering::Dynamic));
    let file = place.wasm();
    let how = || format!("{:?}", ModuleFile::open_in_place(&engine, &file).unwrap());
    assert!(how().contains("mapped"), "{}", how());
    for mode in [0o664, 0o646] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        std::thread::sleep(Duration::from_millis(40));
        assert!(!how().contains("mapped"), "{}", how());
    }
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    assert!(!how().contains("mapped"), "its times could be those of the next change: {}", how());
}

/// Engines that note in a folder what they have checked, with a key.
fn marking(place: &Place, key: Option<u8>, tiering: Tiering) -> Engine {
    let mut config = config(tiering);
    config.artifact_verification(Verification::Marked { records: place.path("records") });
    config.signing_key(key.map(|byte| SigningKey::from([byte; 32])));
    Engine::new(&config).unwrap()
}

#[test]
fn artifacts_run_as_they_were_checked() {
    for verification in ["strict", "checked now", "checked before"] {
        let place = Place::new();
        let engine = match verification {
            "strict" => engine(Tiering::Eager),
            _ => marking(&place, None, Tiering::Eager),
        };
        let bytes = engine.precompile_module(WAT.as_bytes(), &ArtifactOptions::new()).unwrap();
        let file = place.write("a.kiln", &bytes);
        if verification == "checked before" {
            Module::deserialize_file(&engine, &file).unwrap();
            assert_eq!(fs::read_dir(place.path("records")).unwrap().count(), 1);
        }
        let module = Module::deserialize_file(&engine, &file).unwrap();
        let mut run = Run::new(&module);
        // Text, tables, images of memories, the module in it: everything.
        overwrite(&file, |byte| byte ^ 0x55);
        run.check();
        // An instance whose memory is made now.
        Run::new(&module).check();
        assert_eq!(module.serialize().unwrap(), bytes);
        // What was noted of the file says nothing any more.
        assert!(Module::deserialize_file(&engine, &file).is_err());
    }
}

#[test]
fn outlines_and_snapshots_are_used_as_they_were_checked() {
    for marked in [false, true] {
        let place = Place::new();
        let engine = || if marked { marking(&place, Some(1), Tiering::Dynamic) } else { engine(Tiering::Dynamic) };
        let file = place.wasm();
        let (outline, snapshot) = (place.path("outline"), place.path("snapshot"));
        let first = Module::from_file(&engine(), &file).unwrap();
        Run::new(&first).check();
        fs::write(&outline, first.outline().unwrap()).unwrap();
        place.write("snapshot", &first.snapshot().unwrap().unwrap());
        let resume = || {
            let engine = engine();
            Module::resume(&engine, ModuleFile::open(&engine, &file)?, &outline, &snapshot, &[])
        };
        resume().unwrap();
        let module = resume().unwrap();
        let mut run = Run::new(&module);
        overwrite(&outline, |byte| byte ^ 0x55);
        overwrite(&snapshot, |byte| byte ^ 0x55);
        run.check();
        Run::new(&module).check();
        assert!(module.compile_statistics().tiers.unwrap().resumed_functions > 5);
        assert!(resume().is_err());
        overwrite(&outline, |byte| byte ^ 0x55);
        // The snapshot alone is as good as none.
        let module = resume().unwrap();
        Run::new(&module).check();
        assert_eq!(module.compile_statistics().tiers.unwrap().resumed_functions, 0);
        // The module's file, before anything of it was read: nothing is compiled of another one.
        overwrite(&snapshot, |byte| byte ^ 0x55);
        let module = resume().unwrap();
        overwrite(&file, |byte| byte ^ 0x55);
        let mut run = Run::new(&module);
        assert_eq!(run.call("answer", &[]), Ok(1_234_567));
        let error = run.call("early", &[]).unwrap_err();
        assert!(error.contains("not the one of which the outline was made"), "{error}");
    }
}

/// Changes a constant in the machine code of an artifact, and all hashes, as somebody does who knows the format.
fn forge(artifact: &[u8], from: i32, to: i32) -> Vec<u8> {
    let header = kiln_env::artifact::read_header(artifact).unwrap();
    let text = header.variants[0][kiln_env::artifact::CodePart::Text as usize].clone();
    let mut body = artifact[..header.body_len as usize].to_vec();
    let at = body[text.start as usize..text.end as usize].windows(4).position(|w| w == from.to_le_bytes());
    let at = at.expect("the constant is in the code") + text.start as usize;
    body[at..at + 4].copy_from_slice(&to.to_le_bytes());
    let (root, signature) = (1024 + 32..1024 + 64, 1024 + 64..1024 + 96);
    let signed = body[signature.clone()].to_vec();
    body[root.start..signature.end].fill(0);
    let hash = |bytes: &[u8]| kiln_env::artifact::source_hash(bytes);
    let list: Vec<u8> = body.chunks(kiln_env::artifact::CHUNK).flat_map(hash).collect();
    body[root].copy_from_slice(&hash(&list));
    body[signature].copy_from_slice(&signed);
    body.extend(list);
    body
}

#[test]
fn only_what_the_key_signed_runs() {
    let place = Place::new();
    let [none, ours, theirs] = [None, Some(1), Some(2)].map(|key| marking(&place, key, Tiering::Eager));
    let compile = |engine: &Engine| engine.precompile_module(WAT.as_bytes(), &ArtifactOptions::new()).unwrap();
    let load = |engine: &Engine, bytes: &[u8]| Module::deserialize_file(engine, place.write("a.kiln", bytes));
    let answer = |module: Module| Run::new(&module).call("answer", &[]);
    assert_eq!(answer(load(&ours, &compile(&ours)).unwrap()), Ok(1_234_567));
    for stranger in [compile(&none), compile(&theirs), forge(&compile(&ours), 1_234_567, 7_654_321)] {
        let error = load(&ours, &stranger).unwrap_err();
        assert!(
            error.is::<IncompatibleArtifact>() && format!("{error:#}").contains("not that of your key"),
            "{error:#}"
        );
        // It was noted that its bytes are as they were written; that says nothing about who wrote them.
        assert!(Module::deserialize_file(&ours, place.path("a.kiln")).is_err());
    }
    // Whoever asks for it gets it: that the forgery works shows what is at stake.
    let mut config = config(Tiering::Eager);
    config.signing_key(Some(SigningKey::from([1; 32]))).allow_precompiled(true);
    let trusting = Engine::new(&config).unwrap();
    assert_eq!(answer(load(&trusting, &forge(&compile(&ours), 1_234_567, 7_654_321)).unwrap()), Ok(7_654_321));
    assert_eq!(answer(load(&none, &forge(&compile(&none), 1_234_567, 7_654_321)).unwrap()), Ok(7_654_321));
}

#[test]
fn snapshots_of_others_are_as_good_as_none() {
    let place = Place::new();
    let file = place.wasm();
    let ours = || marking(&place, Some(1), Tiering::Dynamic);
    let (outline, snapshot) = (place.path("outline"), place.path("snapshot"));
    let leave = |engine: &Engine| {
        let first = Module::from_file(engine, &file).unwrap();
        Run::new(&first).check();
        (first.outline().unwrap(), first.snapshot().unwrap().unwrap())
    };
    let (good, theirs) = (leave(&ours()), leave(&marking(&place, Some(2), Tiering::Dynamic)));
    let resume = |(first, second): (&[u8], &[u8])| {
        fs::write(&outline, first).unwrap();
        fs::write(&snapshot, second).unwrap();
        let engine = ours();
        Module::resume(&engine, ModuleFile::open(&engine, &file).unwrap(), &outline, &snapshot, &[])
    };
    let resumed = |module: &Module| module.compile_statistics().tiers.unwrap().resumed_functions;
    assert!(resumed(&resume((&good.0, &good.1)).unwrap()) > 5);
    assert!(resume((&theirs.0, &good.1)).is_err());
    for stranger in [theirs.1, forge(&good.1, 1_234_567, 7_654_321)] {
        let module = resume((&good.0, &stranger)).unwrap();
        assert_eq!(resumed(&module), 0);
        Run::new(&module).check();
    }
}

#[test]
fn files_and_folders_that_others_may_write_to_are_not_trusted() {
    let place = Place::new();
    let engine = engine(Tiering::Eager);
    let folder = place.path("folder");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("a.kiln");
    fs::write(&file, engine.precompile_module(WAT.as_bytes(), &ArtifactOptions::new()).unwrap()).unwrap();
    let link = place.path("link.kiln");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for (of_file, of_folder, refused) in [
        (0o644, 0o755, None),
        (0o666, 0o755, Some("everybody may write to it")),
        (0o664, 0o755, Some("its group may write to it")),
        (0o644, 0o777, Some("everybody may write to its folder")),
        (0o644, 0o775, Some("its group may write to its folder")),
        // Nobody can replace there what is not theirs.
        (0o644, 0o1777, None),
        (0o400, 0o700, None),
    ] {
        fs::set_permissions(&file, Permissions::from_mode(of_file)).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(of_folder)).unwrap();
        for path in [&file, &link] {
            match (Module::deserialize_file(&engine, path), refused) {
                (Ok(module), None) => Run::new(&module).check(),
                (Err(error), Some(why)) => {
                    assert!(error.is::<IncompatibleArtifact>() && format!("{error:#}").contains(why), "{error:#}");
                }
                (result, _) => panic!("{of_file:o} in {of_folder:o}: {:?}", result.map(drop)),
            }
        }
    }
}

#[test]
fn artifacts_are_no_modules() {
    let place = Place::new();
    let engine = engine(Tiering::Dynamic);
    let artifact = engine.precompile_module(WAT.as_bytes(), &ArtifactOptions::new()).unwrap();
    let file = place.write("a.wasm", &artifact);
    for result in [
        Module::from_file(&engine, &file),
        Module::new(&engine, &artifact),
        Module::from_binary(&engine, &artifact),
        Module::from_vec(&engine, artifact.clone()),
        ModuleFile::open_in_place(&engine, &file)
            .map_err(Into::into)
            .and_then(|f| Module::from_module_file(&engine, f)),
    ] {
        assert!(result.is_err());
    }
}
