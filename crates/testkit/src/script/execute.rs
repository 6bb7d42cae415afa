//! Calls and assertions.

use anyhow::{Context as _, Result, bail, ensure};
use kiln::{Module, Val};
use wast::{QuoteWat, WastExecute, WastInvoke, WastRet};

use super::{Context, described, trap, values};

impl<'scope, 'a: 'scope> Context<'scope, 'a> {
    /// Calls an exported function.
    pub(super) fn invoke(&mut self, invoke: WastInvoke<'a>) -> Result<Vec<Val>> {
        let instance = self.instance(invoke.module)?;
        let function = instance
            .get_func(&mut self.store, invoke.name)
            .with_context(|| format!("there is no exported function {:?}", invoke.name))?;
        let mut args = Vec::new();
        for arg in &invoke.args {
            args.push(values::argument(arg, &mut self.store).with_context(|| described(&invoke))?);
        }
        let results = function.ty(&self.store).results().len();
        let mut results = vec![Val::I32(0); results];
        function.call(&mut self.store, &args, &mut results)?;
        Ok(results)
    }

    /// Does what an assertion is about.
    fn execute(&mut self, execute: WastExecute<'a>) -> Result<Vec<Val>> {
        match execute {
            WastExecute::Invoke(invoke) => self.invoke(invoke),
            WastExecute::Wat(module) => {
                let module = self.compile(QuoteWat::Wat(module)).context("module does not compile")?;
                self.instantiate(&module).map(|_| Vec::new())
            }
            WastExecute::Get { module, global, .. } => {
                let instance = self.instance(module)?;
                let found = instance.get_global(&mut self.store, global);
                Ok(vec![found.with_context(|| format!("there is no exported global {global:?}"))?.get(&mut self.store)])
            }
        }
    }

    pub(super) fn assert_return(&mut self, execute: WastExecute<'a>, expected: &[WastRet<'a>]) -> Result<()> {
        let got = self.execute(execute).context("should have returned")?;
        ensure!(got.len() == expected.len(), "returned {} values, expected {}", got.len(), expected.len());
        for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
            values::compare(got, expected, &mut self.store).with_context(|| format!("result {i}"))?;
        }
        Ok(())
    }

    pub(super) fn assert_trap(&mut self, execute: WastExecute<'a>, expected: &str) -> Result<()> {
        match self.execute(execute) {
            Ok(values) => bail!("returned {values:?}, expected the trap {expected:?}"),
            Err(error) => trap::compare(&error, expected),
        }
    }

    pub(super) fn assert_exception(&mut self, execute: WastExecute<'a>) -> Result<()> {
        match self.execute(execute) {
            Ok(values) => bail!("returned {values:?}, expected an exception"),
            Err(error) if trap::is_exception(&error) => {
                trap::forget_exception(&mut self.store);
                Ok(())
            }
            Err(error) => Err(error.context("expected an exception")),
        }
    }

    /// The text of the message is not compared: engines word it differently.
    pub(super) fn assert_rejected(&mut self, mut module: QuoteWat<'a>, why: &str) -> Result<()> {
        let Ok(bytes) = module.encode() else { return Ok(()) };
        ensure!(Module::new(self.store.engine(), bytes).is_err(), "module was accepted, but it is {why}");
        Ok(())
    }

    pub(super) fn assert_unlinkable(&mut self, module: QuoteWat<'a>) -> Result<()> {
        let module = self.compile(module).context("module does not compile")?;
        match self.instantiate(&module) {
            Ok(_) => bail!("module was linked, but it should not be"),
            Err(error) if trap::is_trap(&error) => Err(error.context("linked, then trapped")),
            Err(_) => Ok(()),
        }
    }
}
