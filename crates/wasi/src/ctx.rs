//! The state of one guest, and how an embedder builds it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::Errno;
use crate::abi::rights_of;
use crate::descriptor::{Descriptor, Node};
use crate::limits::STRING_BYTES;
use crate::stdio::{Stdin, Stdout};
use crate::table::Table;

/// The state of one guest: its open descriptors, arguments, environment and source of random bytes.
///
/// Made by [`WasiCtxBuilder`], kept in the data of a store, handed to the functions by
/// [`add_to_linker`](crate::add_to_linker). Dropping it closes what the guest left open.
pub struct WasiCtx {
    pub(crate) fds: Table,
    pub(crate) args: Strings,
    pub(crate) env: Strings,
    random: Option<RandomSource>,
}

/// Fills a buffer with bytes that the guest takes for random.
type RandomSource = Box<dyn FnMut(&mut [u8]) + Send>;

/// What a guest may do with a folder that it finds open at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirAccess {
    /// Look and read only. An attempt to change anything, also to open a file for writing, fails with
    /// `rofs`, "read-only file system".
    ReadOnly,
    /// Whatever this process may do.
    ReadWrite,
}

/// Why a [`WasiCtx`] cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// An argument contains a NUL byte, which ends a string for the guest.
    #[error("argument {index} contains a NUL byte: {text:?}")]
    ArgumentWithNul {
        /// Its position; 0 is the program's name.
        index: usize,
        /// The argument.
        text: OsString,
    },
    /// The name or the value of a variable contains a NUL byte, or the name is empty or contains `=`.
    #[error("environment variable {name:?} cannot be passed: {reason}")]
    Variable {
        /// The name.
        name: OsString,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The arguments or the variables take more than 1 GiB.
    #[error("the {0} take more than 1 GiB")]
    TooLong(&'static str),
    /// A folder cannot be opened, or its name for the guest contains a NUL byte.
    #[error("cannot open {} as {guest:?} for the guest", host.display())]
    Folder {
        /// Its path on the host.
        host: PathBuf,
        /// Its name for the guest.
        guest: OsString,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl WasiCtx {
    /// A builder; the same as [`WasiCtxBuilder::new`].
    pub fn builder() -> WasiCtxBuilder {
        WasiCtxBuilder::new()
    }

    /// Fills `bytes` from the system's generator, or from the embedder's.
    pub(crate) fn fill_random(&mut self, mut bytes: &mut [u8]) -> Result<(), Errno> {
        if let Some(source) = &mut self.random {
            source(bytes);
            return Ok(());
        }
        while !bytes.is_empty() {
            let flags = rustix::rand::GetRandomFlags::empty();
            let got = rustix::io::retry_on_intr(|| rustix::rand::getrandom(&mut *bytes, flags))?;
            bytes = &mut bytes[got..];
        }
        Ok(())
    }
}

impl fmt::Debug for WasiCtx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasiCtx").field("args", &self.args).field("fds", &self.fds).finish_non_exhaustive()
    }
}

/// Describes what a guest gets to see of the host: nothing, unless a method here gives it.
///
/// ```no_run
/// use kiln_wasi::{DirAccess, WasiCtxBuilder};
///
/// let ctx = WasiCtxBuilder::new()
///     .inherit_stdio()
///     .args(["cc1", "-O2", "hello.c"])
///     .env("LANG", "C.UTF-8")
///     .preopened_dir("src", "/", DirAccess::ReadWrite)?
///     .build()?;
/// # Ok::<(), kiln_wasi::BuildError>(())
/// ```
#[derive(Default)]
pub struct WasiCtxBuilder {
    stdin: Stdin,
    stdout: Stdout,
    stderr: Stdout,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    preopens: Vec<Descriptor>,
    random: Option<RandomSource>,
    rewrite_stdio: bool,
}

impl fmt::Debug for WasiCtxBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasiCtxBuilder").field("args", &self.args).finish_non_exhaustive()
    }
}

impl WasiCtxBuilder {
    /// No arguments, no variables, no folders; standard input is empty and what the guest writes is
    /// discarded.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an argument. The first one is the program's name.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments in order.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Adds a variable; a later one of the same name replaces an earlier one.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        let (name, value) = (name.as_ref().to_owned(), value.as_ref().to_owned());
        match self.env.iter_mut().find(|(known, _)| *known == name) {
            Some(variable) => variable.1 = value,
            None => self.env.push((name, value)),
        }
        self
    }

    /// Adds variables in order.
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(&mut self, vars: impl IntoIterator<Item = (N, V)>) -> &mut Self {
        for (name, value) in vars {
            self.env(name, value);
        }
        self
    }

    /// Adds all variables of this process.
    pub fn inherit_env(&mut self) -> &mut Self {
        self.envs(std::env::vars_os())
    }

    /// Adds all arguments of this process.
    pub fn inherit_args(&mut self) -> &mut Self {
        self.args(std::env::args_os())
    }

    /// Lets the guest use the three standard streams of this process.
    pub fn inherit_stdio(&mut self) -> &mut Self {
        self.inherit_stdin().inherit_stdout().inherit_stderr()
    }

    /// Lets the guest read this process's standard input.
    pub fn inherit_stdin(&mut self) -> &mut Self {
        self.stdin(Stdin::Inherit)
    }

    /// Lets the guest write to this process's standard output.
    pub fn inherit_stdout(&mut self) -> &mut Self {
        self.stdout(Stdout::Inherit)
    }

    /// Lets the guest write to this process's standard error.
    pub fn inherit_stderr(&mut self) -> &mut Self {
        self.stderr(Stdout::Inherit)
    }

    /// Where standard input comes from: bytes, a file, a pipe.
    pub fn stdin(&mut self, stdin: impl Into<Stdin>) -> &mut Self {
        self.stdin = stdin.into();
        self
    }

    /// Where standard output goes: memory, a file, a pipe.
    pub fn stdout(&mut self, stdout: impl Into<Stdout>) -> &mut Self {
        self.stdout = stdout.into();
        self
    }

    /// Where standard error goes: memory, a file, a pipe.
    pub fn stderr(&mut self, stderr: impl Into<Stdout>) -> &mut Self {
        self.stderr = stderr.into();
        self
    }

    /// Whether the guest may seek in, cut, lengthen and overwrite files that are its standard streams, set their
    /// times, and end their appending; it may not by default. It adds to them at their position or, where they are
    /// open for appending, at their end, so that a log stays whole.
    pub fn rewrite_stdio(&mut self, rewrite: bool) -> &mut Self {
        self.rewrite_stdio = rewrite;
        self
    }

    /// Opens the folder `host` now, and lends it to the guest under the name `guest`, an absolute path
    /// or `.` as a rule. Folders and sockets get the descriptors from 3 in the order in which they were added.
    ///
    /// The guest reaches what lies in the folder and below, and nothing else: no `..`, symbolic link
    /// or rename leads out.
    ///
    /// # Errors
    /// [`BuildError::Folder`] where the folder cannot be opened or `guest` contains a NUL byte.
    pub fn preopened_dir(
        &mut self,
        host: impl AsRef<Path>,
        guest: impl AsRef<OsStr>,
        access: DirAccess,
    ) -> Result<&mut Self, BuildError> {
        let (host, guest) = (host.as_ref(), guest.as_ref());
        open_folder(host)
            .and_then(|folder| self.add_folder(folder, guest, access))
            .map_err(|source| BuildError::Folder { host: host.to_owned(), guest: guest.to_owned(), source })?;
        Ok(self)
    }

    /// [`Self::preopened_dir`] for a folder that the caller opened.
    ///
    /// # Errors
    /// [`BuildError::Folder`] where the folder cannot be listed or `guest` contains a NUL byte.
    pub fn preopened_cap_dir(
        &mut self,
        folder: cap_std::fs::Dir,
        guest: impl AsRef<OsStr>,
        access: DirAccess,
    ) -> Result<&mut Self, BuildError> {
        let guest = guest.as_ref();
        // What cap-std opens may be a mere reference to a folder, which cannot be listed.
        rustix::fs::openat(&folder, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(io::Error::from)
            .and_then(|fd| self.add_folder(File::from(fd), guest, access))
            .map_err(|source| BuildError::Folder { host: PathBuf::from("."), guest: guest.to_owned(), source })?;
        Ok(self)
    }

    fn add_folder(&mut self, folder: File, guest: &OsStr, access: DirAccess) -> io::Result<()> {
        if guest.as_bytes().contains(&0) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the guest's name of it contains a NUL byte"));
        }
        let denied = match access {
            DirAccess::ReadOnly => rights_of::MUTATING,
            DirAccess::ReadWrite => 0,
        };
        let inheriting = (rights_of::DIRECTORY | rights_of::FILE) & !denied;
        let mut descriptor = Descriptor::directory(folder, inheriting, inheriting, 0);
        descriptor.preopen = Some(guest.as_bytes().into());
        descriptor.read_only = access == DirAccess::ReadOnly;
        self.preopens.push(descriptor);
        Ok(())
    }

    /// Lends a socket to the guest: one that listens (for `sock_accept`) or one that is connected.
    /// Folders and sockets get the descriptors from 3 in the order in which they were added.
    pub fn preopened_socket(&mut self, socket: impl Into<OwnedFd>) -> &mut Self {
        self.preopens.push(Descriptor::socket(File::from(socket.into())));
        self
    }

    /// Takes the bytes of `random_get` from `source` instead of the system, for runs that have to
    /// repeat exactly. They need not be unpredictable, so guests must not rely on them for secrets.
    pub fn random(&mut self, source: impl FnMut(&mut [u8]) + Send + 'static) -> &mut Self {
        self.random = Some(Box::new(source));
        self
    }

    /// Makes the state, and leaves the builder empty.
    ///
    /// # Errors
    /// [`BuildError`] where an argument or a variable cannot be passed on.
    pub fn build(&mut self) -> Result<WasiCtx, BuildError> {
        let this = std::mem::take(self);
        for (index, arg) in this.args.iter().enumerate() {
            if arg.as_bytes().contains(&0) {
                return Err(BuildError::ArgumentWithNul { index, text: arg.clone() });
            }
        }
        let args = Strings::new(this.args.into_iter().map(OsString::into_vec));
        let mut variables = Vec::with_capacity(this.env.len());
        for (name, value) in this.env {
            variables.push(variable(name, &value)?);
        }
        let mut fds = Table::default();
        let standard = [
            Descriptor::stdin(this.stdin, this.rewrite_stdio),
            Descriptor::stdout(this.stdout, Node::Stdout(io::stdout()), this.rewrite_stdio),
            Descriptor::stdout(this.stderr, Node::Stderr(io::stderr()), this.rewrite_stdio),
        ];
        for descriptor in standard.into_iter().chain(this.preopens) {
            // Cannot fail: there are fewer than 2³² of them.
            let _ = fds.insert(descriptor);
        }
        Ok(WasiCtx {
            fds,
            args: args.ok_or(BuildError::TooLong("arguments"))?,
            env: Strings::new(variables.into_iter()).ok_or(BuildError::TooLong("environment variables"))?,
            random: this.random,
        })
    }
}

/// `NAME=value`, where that is one variable for the guest too.
fn variable(name: OsString, value: &OsStr) -> Result<Vec<u8>, BuildError> {
    let reason = if name.as_bytes().contains(&0) {
        "its name contains a NUL byte"
    } else if value.as_bytes().contains(&0) {
        "its value contains a NUL byte"
    } else if name.is_empty() {
        "its name is empty"
    } else if name.as_bytes()[1..].contains(&b'=') {
        // A leading `=` is legal: some systems keep their current folders in such variables.
        "its name contains `=`"
    } else {
        let mut text = name.into_vec();
        text.push(b'=');
        text.extend_from_slice(value.as_bytes());
        return Ok(text);
    };
    Err(BuildError::Variable { name, reason })
}

/// Opens a folder so that it can be listed, or else, where this process may only pass through it, as
/// a mere reference.
fn open_folder(path: &Path) -> io::Result<File> {
    let open = |flags: OFlags| {
        let flags = flags | OFlags::DIRECTORY;
        File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)
    };
    match open(OFlags::empty()) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open(OFlags::PATH),
        result => result,
    }
}

/// Arguments or variables as the guest wants them: in one buffer, each with a NUL.
pub(crate) struct Strings {
    bytes: Vec<u8>,
    /// Where in `bytes` each one starts.
    starts: Vec<u32>,
}

impl Strings {
    /// `None` if they take more than [`STRING_BYTES`].
    fn new(strings: impl Iterator<Item = Vec<u8>>) -> Option<Self> {
        let mut this = Self { bytes: Vec::new(), starts: Vec::new() };
        for string in strings {
            this.starts.push(this.bytes.len() as u32);
            this.bytes.extend(string);
            this.bytes.push(0);
            if this.bytes.len() > STRING_BYTES {
                return None;
            }
        }
        Some(this)
    }

    /// How many there are, and the bytes of all with their NULs.
    pub(crate) fn sizes(&self) -> (u32, u32) {
        (self.starts.len() as u32, self.bytes.len() as u32)
    }

    /// The buffer.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where in the buffer each one starts.
    pub(crate) fn starts(&self) -> &[u32] {
        &self.starts
    }
}

impl fmt::Debug for Strings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let strings = self.bytes.split(|&byte| byte == 0).take(self.starts.len());
        f.debug_list().entries(strings.map(String::from_utf8_lossy)).finish()
    }
}
