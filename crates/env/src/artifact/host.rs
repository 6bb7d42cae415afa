//! Whether code that was compiled somewhere runs here.

use std::str::FromStr;

use target_lexicon::Triple;

use crate::settings::{Fingerprint, Tunables};

/// What a host offers to code.
pub struct Host<'a> {
    /// The build of Kiln: see [`crate::settings::build_id`].
    pub build: &'a str,
    /// The machine.
    pub target: Triple,
    /// What runtime and code must agree on.
    pub tunables: &'a Tunables,
    /// Settings that the user asked for, by Cranelift's names.
    pub settings: &'a [(String, String)],
    /// Whether the processor has what a target setting (`has_avx2`) stands for; `None` if nobody knows.
    pub has: &'a dyn Fn(&str) -> Option<bool>,
}

/// Why code does not run on a host.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Mismatch {
    /// Another Kiln made it.
    #[error("it was compiled by {found}, but this is {here}")]
    Build {
        /// Who made it.
        found: String,
        /// Who is asked.
        here: String,
    },
    /// It is for another kind of machine.
    #[error("it was compiled for {found}, but this host is {here}")]
    Target {
        /// What it is for.
        found: String,
        /// What this is.
        here: String,
    },
    /// It uses instructions that the processor lacks.
    #[error("it needs the CPU feature {0}, which this processor lacks")]
    Cpu(String),
    /// It uses instructions of which nobody knows whether the processor has them.
    #[error("it needs the CPU feature {0}, which this build of Kiln cannot look for")]
    UnknownCpu(String),
    /// It was made under other settings.
    #[error("it was compiled with {name} = {found}, but this engine has {name} = {here}")]
    Setting {
        /// The setting.
        name: String,
        /// Its value then.
        found: String,
        /// Its value now.
        here: String,
    },
}

/// Checks that code made under `found` may run on `host`.
///
/// # Errors
/// The first difference that matters. Settings that only change how fast or how large code is do not matter.
pub fn check(found: &Fingerprint, host: &Host<'_>) -> Result<(), Mismatch> {
    if found.compiler != host.build {
        return Err(Mismatch::Build { found: found.compiler.clone(), here: host.build.to_owned() });
    }
    let same_target = Triple::from_str(&found.target).is_ok_and(|t| {
        t.architecture == host.target.architecture
            && t.operating_system == host.target.operating_system
            && t.endianness() == host.target.endianness()
    });
    if !same_target {
        return Err(Mismatch::Target { found: found.target.clone(), here: host.target.to_string() });
    }
    for (name, value) in &found.flags {
        if name.starts_with("has_") && value == "true" {
            match (host.has)(name) {
                Some(true) => {}
                Some(false) => return Err(Mismatch::Cpu(name["has_".len()..].to_owned())),
                None => return Err(Mismatch::UnknownCpu(name["has_".len()..].to_owned())),
            }
        }
    }
    let setting = |name: &str, found: &dyn ToString, here: &dyn ToString| Mismatch::Setting {
        name: name.to_owned(),
        found: found.to_string(),
        here: here.to_string(),
    };
    check_tunables(&found.tunables, host.tunables, &setting)?;
    for (name, here) in host.settings {
        let here = if here.is_empty() { "true" } else { here };
        // Target features that code does not use are left out; what is no setting at all is a preset.
        let value = found.flags.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let value = value.or(name.starts_with("has_").then_some("false"));
        match value {
            Some("false") if name.starts_with("has_") => {}
            Some(value) if value != here => return Err(setting(name, &value, &here)),
            _ => {}
        }
    }
    Ok(())
}

fn check_tunables(
    found: &Tunables,
    here: &Tunables,
    setting: &dyn Fn(&str, &dyn ToString, &dyn ToString) -> Mismatch,
) -> Result<(), Mismatch> {
    // The last two only add tables, which cost nothing where nobody asks.
    let Tunables { memory_reservation, memory_guard, signals, fuel, epochs, address_map: _, native_unwind_info: _ } =
        found;
    let fields: [(&str, &dyn ToString, &dyn ToString); 5] = [
        ("memory_reservation", memory_reservation, &here.memory_reservation),
        ("memory_guard", memory_guard, &here.memory_guard),
        ("signals", signals, &here.signals),
        ("fuel", fuel, &here.fuel),
        ("epochs", epochs, &here.epochs),
    ];
    match fields.into_iter().find(|(_, found, here)| found.to_string() != here.to_string()) {
        Some((name, found, here)) => Err(setting(name, found, here)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint() -> Fingerprint {
        Fingerprint {
            compiler: "kiln 1".into(),
            target: "x86_64-unknown-linux-gnu".into(),
            flags: vec![
                ("enable_nan_canonicalization".into(), "false".into()),
                ("has_avx2".into(), "true".into()),
                ("has_avx512f".into(), "false".into()),
            ],
            tunables: Tunables::default(),
        }
    }

    fn message(change: impl FnOnce(&mut Fingerprint), settings: &[(String, String)]) -> String {
        let mut found = fingerprint();
        change(&mut found);
        let host = Host {
            build: "kiln 1",
            target: Triple::from_str("x86_64-unknown-linux-gnu").unwrap(),
            tunables: &Tunables::default(),
            settings,
            has: &|name| match name {
                "has_avx2" => Some(true),
                "has_avx512f" => Some(false),
                _ => None,
            },
        };
        check(&found, &host).map_or_else(|e| e.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn every_mismatch_has_its_own_message() {
        let settings = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        assert_eq!(message(|_| {}, &[]), "fine");
        assert_eq!(message(|f| f.compiler = "kiln 0".into(), &[]), "it was compiled by kiln 0, but this is kiln 1");
        assert!(message(|f| f.target = "aarch64-unknown-linux-gnu".into(), &[]).contains("this host is x86_64"));
        assert!(message(|f| f.target = "nonsense".into(), &[]).contains("compiled for nonsense"));
        let lacks = message(|f| f.flags[2].1 = "true".into(), &[]);
        assert_eq!(lacks, "it needs the CPU feature avx512f, which this processor lacks");
        let unknown = message(|f| f.flags.push(("has_magic".into(), "true".into())), &[]);
        assert!(unknown.contains("magic, which this build"), "{unknown}");
        let fuel = message(|f| f.tunables.fuel = true, &[]);
        assert_eq!(fuel, "it was compiled with fuel = true, but this engine has fuel = false");
        let guard = message(|f| f.tunables.memory_guard = 7, &[]);
        assert!(guard.contains("memory_guard = 7"), "{guard}");
        let nan = message(|_| {}, &settings("enable_nan_canonicalization", "true"));
        assert!(nan.contains("enable_nan_canonicalization = false, but"), "{nan}");
        assert_eq!(message(|_| {}, &settings("enable_nan_canonicalization", "false")), "fine");
        assert_eq!(message(|f| f.tunables.native_unwind_info = false, &[]), "fine");
    }
}
