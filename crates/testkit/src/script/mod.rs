//! Runs `.wast` scripts: the format of the official test suite.
//!
//! A script is a list of directives: modules to instantiate, functions to call, and assertions about what happens.
//! Every assertion counts as passed or becomes a [`Failure`] with its place; a failure never ends the script.

mod execute;
mod spectest;
mod trap;
mod values;

use std::collections::HashMap;
use std::fmt;
use std::thread::{Scope, ScopedJoinHandle};

use anyhow::{Context as _, Result, anyhow, bail};
use kiln::{Engine, Instance, Linker, Module, Store};
use wast::lexer::Lexer;
use wast::parser::{self, ParseBuffer};
use wast::token::{Id, Span};
use wast::{QuoteWat, Wast, WastDirective, WastExecute, WastInvoke, WastThread};

use crate::legacy;
use crate::modes::Mode;

/// A directive that did not do what it says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Name of the script, as given to [`run`].
    pub script: String,
    /// Line of the directive, from 1.
    pub line: usize,
    /// Column of the directive, from 1.
    pub column: usize,
    /// What happened, and what should have.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.script, self.line, self.column, self.message)
    }
}

/// What a script gave.
#[derive(Clone, Default, Debug)]
pub struct Outcome {
    /// Directives that did what they say.
    pub passed: usize,
    /// Directives about the contents of custom sections, which Kiln, as the specification allows, does not look at.
    pub skipped: usize,
    /// Directives that did not do what they say, in the order of the script.
    pub failures: Vec<Failure>,
    /// Where fuel is counted: line and units of each directive that used some, but for those that use up the stack, of
    /// which a frame takes more in one tier than in another.
    pub fuel: Vec<(usize, u64)>,
}

impl Outcome {
    fn add(&mut self, other: Outcome) {
        self.passed += other.passed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures);
    }
}

/// Runs the script `text` on an engine that was made for `mode`. `name` is what failures call the script. Legacy exceptions
/// may be written [folded](legacy).
///
/// # Errors
/// The script cannot be parsed.
pub fn run(name: &str, text: &str, engine: &Engine, mode: &Mode) -> Result<Outcome> {
    let place = |mut error: wast::Error| {
        error.set_path(name.as_ref());
        error.set_text(text);
        anyhow!(error)
    };
    let unfolded = if buffer(text).is_ok_and(|b| parser::parse::<Wast<'_>>(&b).is_ok()) {
        None
    } else {
        // Legacy exceptions in the old text form; if not, the error is told below.
        Some(legacy::unfold(text)).filter(|text| buffer(text).is_ok_and(|b| parser::parse::<Wast<'_>>(&b).is_ok()))
    };
    let text = unfolded.as_deref().unwrap_or(text);
    let buffer = buffer(text).map_err(place)?;
    let script = parser::parse::<Wast<'_>>(&buffer).map_err(place)?;
    let source = Source { name, text };
    std::thread::scope(|scope| {
        let mut context = Context::new(source, engine, mode)?;
        context.directives(scope, script.directives);
        context.wait_for_all();
        Ok(context.outcome)
    })
}

/// The tokens of a script, which may have any characters in its strings.
fn buffer(text: &str) -> std::result::Result<ParseBuffer<'_>, wast::Error> {
    let mut lexer = Lexer::new(text);
    lexer.allow_confusing_unicode(true);
    ParseBuffer::new_with_lexer(lexer)
}

/// A script and what it is called.
#[derive(Clone, Copy)]
struct Source<'a> {
    name: &'a str,
    text: &'a str,
}

/// What one thread of a script has at hand.
struct Context<'scope, 'a> {
    source: Source<'a>,
    mode: &'a Mode,
    store: Store<()>,
    /// What modules can import: `spectest` and what was registered.
    linker: Linker<()>,
    /// The instance that directives without a name mean.
    current: Option<Instance>,
    instances: HashMap<String, Instance>,
    /// The module that `module instance` without a name means.
    definition: Option<Module>,
    definitions: HashMap<String, Module>,
    threads: HashMap<String, ScopedJoinHandle<'scope, Result<Outcome>>>,
    outcome: Outcome,
}

/// How a directive went.
enum Verdict {
    Passed,
    Skipped,
}

impl<'scope, 'a: 'scope> Context<'scope, 'a> {
    fn new(source: Source<'a>, engine: &Engine, mode: &'a Mode) -> Result<Context<'scope, 'a>> {
        let mut store = Store::new(engine, ());
        mode.prepare(&mut store)?;
        let mut linker = Linker::new(engine);
        linker.allow_shadowing(true);
        spectest::define(&mut linker, &mut store, mode).context("cannot make the spectest module")?;
        Ok(Context {
            source,
            mode,
            store,
            linker,
            current: None,
            instances: HashMap::new(),
            definition: None,
            definitions: HashMap::new(),
            threads: HashMap::new(),
            outcome: Outcome::default(),
        })
    }

    fn directives<'env>(&mut self, scope: &'scope Scope<'scope, 'env>, directives: Vec<WastDirective<'a>>) {
        for directive in directives {
            let span = directive.span();
            let exhausts = matches!(directive, WastDirective::AssertExhaustion { .. });
            let fuel = self.store.get_fuel().unwrap_or(0);
            match self.directive(scope, directive) {
                Ok(Verdict::Passed) => self.outcome.passed += 1,
                Ok(Verdict::Skipped) => self.outcome.skipped += 1,
                Err(error) => self.fail(span, &error),
            }
            let used = fuel - self.store.get_fuel().unwrap_or(0);
            if used > 0 && !exhausts {
                self.outcome.fuel.push((span.linecol_in(self.source.text).0 + 1, used));
            }
        }
    }

    fn fail(&mut self, span: Span, error: &anyhow::Error) {
        let (line, column) = span.linecol_in(self.source.text);
        let message = format!("{error:#}").replace('\n', " ");
        let script = self.source.name.to_owned();
        self.outcome.failures.push(Failure { script, line: line + 1, column: column + 1, message });
    }

    fn directive<'env>(&mut self, scope: &'scope Scope<'scope, 'env>, directive: WastDirective<'a>) -> Result<Verdict> {
        match directive {
            WastDirective::Module(module) => self.module(module)?,
            WastDirective::ModuleDefinition(module) => self.module_definition(module)?,
            WastDirective::ModuleInstance { instance, module, .. } => self.module_instance(instance, module)?,
            WastDirective::Register { name, module, .. } => self.register(name, module)?,
            WastDirective::Invoke(invoke) => drop(self.invoke(invoke)?),
            WastDirective::AssertReturn { exec, results, .. } => self.assert_return(exec, &results)?,
            WastDirective::AssertTrap { exec, message, .. } => self.assert_trap(exec, message)?,
            WastDirective::AssertExhaustion { call, message, .. } => {
                self.assert_trap(WastExecute::Invoke(call), message)?;
            }
            WastDirective::AssertException { exec, .. } => self.assert_exception(exec)?,
            WastDirective::AssertInvalid { module, .. } => self.assert_rejected(module, "invalid")?,
            WastDirective::AssertMalformed { module, .. } => self.assert_rejected(module, "malformed")?,
            WastDirective::AssertUnlinkable { module, .. } => self.assert_unlinkable(QuoteWat::Wat(module))?,
            WastDirective::AssertInvalidCustom { .. } | WastDirective::AssertMalformedCustom { .. } => {
                return Ok(Verdict::Skipped);
            }
            WastDirective::AssertSuspension { .. } => bail!("stack switching is not supported"),
            WastDirective::Thread(thread) => self.spawn(scope, thread)?,
            WastDirective::Wait { thread, .. } => self.wait(thread.name())?,
        }
        Ok(Verdict::Passed)
    }

    /// Compiles a module of the script.
    fn compile(&self, mut module: QuoteWat<'a>) -> Result<Module> {
        let bytes = module.encode().map_err(|e| anyhow!("the text is malformed: {}", e.message()))?;
        self.mode.module(self.store.engine(), &bytes)
    }

    fn instantiate(&mut self, module: &Module) -> Result<Instance> {
        self.linker.instantiate(&mut self.store, module)
    }

    fn module(&mut self, module: QuoteWat<'a>) -> Result<()> {
        self.current = None;
        let name = module.name();
        let module = self.compile(module).context("module does not compile")?;
        let instance = self.instantiate(&module).context("module does not instantiate")?;
        self.set_current(name, instance);
        Ok(())
    }

    fn set_current(&mut self, name: Option<Id<'a>>, instance: Instance) {
        self.current = Some(instance);
        if let Some(name) = name {
            self.instances.insert(name.name().to_owned(), instance);
        }
    }

    fn module_definition(&mut self, module: QuoteWat<'a>) -> Result<()> {
        self.definition = None;
        let name = module.name();
        let module = self.compile(module).context("module does not compile")?;
        if let Some(name) = name {
            self.definitions.insert(name.name().to_owned(), module.clone());
        }
        self.definition = Some(module);
        Ok(())
    }

    fn module_instance(&mut self, name: Option<Id<'a>>, module: Option<Id<'a>>) -> Result<()> {
        let definition = match module {
            Some(id) => self.definitions.get(id.name()),
            None => self.definition.as_ref(),
        };
        let module = definition.context("there is no such module definition")?.clone();
        let instance = self.instantiate(&module).context("module does not instantiate")?;
        self.set_current(name, instance);
        Ok(())
    }

    fn instance(&self, name: Option<Id<'a>>) -> Result<Instance> {
        match name {
            Some(id) => self.instances.get(id.name()).copied(),
            None => self.current,
        }
        .context("there is no such instance")
    }

    fn register(&mut self, name: &str, module: Option<Id<'a>>) -> Result<()> {
        let instance = self.instance(module)?;
        self.linker.instance(&mut self.store, name, instance)?;
        Ok(())
    }

    fn spawn<'env>(&mut self, scope: &'scope Scope<'scope, 'env>, thread: WastThread<'a>) -> Result<()> {
        let mut context = Context::new(self.source, self.store.engine(), self.mode)?;
        if let Some(id) = thread.shared_module {
            let instance = self.instance(Some(id))?;
            let shared = self.shared_memories(instance);
            for (name, memory) in shared {
                context.linker.define(&context.store, id.name(), &name, memory)?;
            }
        }
        let name = thread.name.name().to_owned();
        let directives = thread.directives;
        let shared_name = thread.shared_module.map(|id| id.name().to_owned());
        let handle = scope.spawn(move || {
            context.thread(scope, shared_name.as_deref(), directives);
            context.wait_for_all();
            Ok(context.outcome)
        });
        self.threads.insert(name, handle);
        Ok(())
    }

    /// The directives of a thread: in them, registering the shared module under a name makes its memories importable.
    fn thread<'env>(
        &mut self,
        scope: &'scope Scope<'scope, 'env>,
        shared: Option<&str>,
        directives: Vec<WastDirective<'a>>,
    ) {
        for directive in directives {
            match directive {
                WastDirective::Register { span, name, module: Some(id) } if Some(id.name()) == shared => {
                    match self.linker.alias_module(id.name(), name) {
                        Ok(_) => self.outcome.passed += 1,
                        Err(error) => self.fail(span, &error),
                    }
                }
                other => self.directives(scope, vec![other]),
            }
        }
    }

    fn shared_memories(&mut self, instance: Instance) -> Vec<(String, kiln::Extern)> {
        let exports: Vec<(String, kiln::Extern)> =
            instance.exports(&mut self.store).map(|e| (e.name().to_owned(), e.into_extern())).collect();
        exports.into_iter().filter(|(_, e)| matches!(e, kiln::Extern::SharedMemory(_))).collect()
    }

    fn wait(&mut self, name: &str) -> Result<()> {
        let handle = self.threads.remove(name).with_context(|| format!("there is no thread ${name}"))?;
        let outcome = handle.join().map_err(|_| anyhow!("the thread ${name} panicked"))??;
        self.outcome.add(outcome);
        Ok(())
    }

    /// Threads that the script did not wait for.
    fn wait_for_all(&mut self) {
        let names: Vec<String> = self.threads.keys().cloned().collect();
        for name in names {
            if let Err(error) = self.wait(&name) {
                self.fail(Span::from_offset(0), &error);
            }
        }
    }
}

/// The parts of an invocation that the rest of the runner needs.
fn described(invoke: &WastInvoke<'_>) -> String {
    format!("{}({} arguments)", invoke.name, invoke.args.len())
}
