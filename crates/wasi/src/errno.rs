//! The error numbers of WASI preview 1 and their conversions from the host's.

use std::fmt;
use std::io;

use rustix::io::Errno as Host;

/// Declares [`Errno`] from one table: variant, number, name in the specification, the host errors
/// that mean the same, and the sentence to print.
macro_rules! errnos {
    ($($variant:ident = $number:literal, $name:literal, [$($host:ident),*], $text:literal;)*) => {
        /// An error number as WASI preview 1 defines it.
        ///
        /// Success is not a member: functions return `Result<(), Errno>`, and [`Errno::code`]
        /// gives the number that the guest sees for an error.
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Errno {
            $(#[doc = concat!("`", $name, "`: ", $text)] $variant = $number,)*
        }

        impl Errno {
            /// The specification's name, such as `badf`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One sentence for people.
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The error with this number; `None` for 0 (success) and for numbers that mean nothing.
            pub fn from_code(code: u16) -> Option<Self> {
                match code { $($number => Some(Self::$variant),)* _ => None }
            }
        }

        impl From<Host> for Errno {
            fn from(host: Host) -> Self {
                match host {
                    $($(Host::$host => Self::$variant,)*)*
                    _ => Self::Io,
                }
            }
        }
    };
}

errnos! {
    Toobig = 1, "2big", [TOOBIG], "argument list too long";
    Acces = 2, "acces", [ACCESS], "permission denied";
    Addrinuse = 3, "addrinuse", [ADDRINUSE], "address in use";
    Addrnotavail = 4, "addrnotavail", [ADDRNOTAVAIL], "address not available";
    Afnosupport = 5, "afnosupport", [AFNOSUPPORT], "address family not supported";
    Again = 6, "again", [AGAIN], "resource unavailable, or the operation would block";
    Already = 7, "already", [ALREADY], "connection already in progress";
    Badf = 8, "badf", [BADF], "bad file descriptor";
    Badmsg = 9, "badmsg", [BADMSG], "bad message";
    Busy = 10, "busy", [BUSY], "device or resource busy";
    Canceled = 11, "canceled", [CANCELED], "operation canceled";
    Child = 12, "child", [CHILD], "no child processes";
    Connaborted = 13, "connaborted", [CONNABORTED], "connection aborted";
    Connrefused = 14, "connrefused", [CONNREFUSED], "connection refused";
    Connreset = 15, "connreset", [CONNRESET], "connection reset";
    Deadlk = 16, "deadlk", [DEADLK], "resource deadlock would occur";
    Destaddrreq = 17, "destaddrreq", [DESTADDRREQ], "destination address required";
    Dom = 18, "dom", [DOM], "argument out of the domain of the function";
    Dquot = 19, "dquot", [DQUOT], "disk quota exceeded";
    Exist = 20, "exist", [EXIST], "file exists";
    Fault = 21, "fault", [FAULT], "bad address";
    Fbig = 22, "fbig", [FBIG], "file too large";
    Hostunreach = 23, "hostunreach", [HOSTUNREACH], "host is unreachable";
    Idrm = 24, "idrm", [IDRM], "identifier removed";
    Ilseq = 25, "ilseq", [ILSEQ], "illegal byte sequence";
    Inprogress = 26, "inprogress", [INPROGRESS], "operation in progress";
    Intr = 27, "intr", [INTR], "interrupted function";
    Inval = 28, "inval", [INVAL], "invalid argument";
    Io = 29, "io", [IO], "input or output error";
    Isconn = 30, "isconn", [ISCONN], "socket is connected";
    Isdir = 31, "isdir", [ISDIR], "is a directory";
    Loop = 32, "loop", [LOOP], "too many levels of symbolic links";
    Mfile = 33, "mfile", [MFILE], "file descriptor value too large";
    Mlink = 34, "mlink", [MLINK], "too many links";
    Msgsize = 35, "msgsize", [MSGSIZE], "message too large";
    Multihop = 36, "multihop", [MULTIHOP], "multihop attempted";
    Nametoolong = 37, "nametoolong", [NAMETOOLONG], "file name too long";
    Netdown = 38, "netdown", [NETDOWN], "network is down";
    Netreset = 39, "netreset", [NETRESET], "connection aborted by the network";
    Netunreach = 40, "netunreach", [NETUNREACH], "network is unreachable";
    Nfile = 41, "nfile", [NFILE], "too many files open in the system";
    Nobufs = 42, "nobufs", [NOBUFS], "no buffer space available";
    Nodev = 43, "nodev", [NODEV], "no such device";
    Noent = 44, "noent", [NOENT], "no such file or directory";
    Noexec = 45, "noexec", [NOEXEC], "not an executable file";
    Nolck = 46, "nolck", [NOLCK], "no locks available";
    Nolink = 47, "nolink", [NOLINK], "link has been severed";
    Nomem = 48, "nomem", [NOMEM], "not enough space";
    Nomsg = 49, "nomsg", [NOMSG], "no message of the desired type";
    Noprotoopt = 50, "noprotoopt", [NOPROTOOPT], "protocol not available";
    Nospc = 51, "nospc", [NOSPC], "no space left on the device";
    Nosys = 52, "nosys", [NOSYS], "function not supported";
    Notconn = 53, "notconn", [NOTCONN], "socket is not connected";
    Notdir = 54, "notdir", [NOTDIR], "not a directory";
    Notempty = 55, "notempty", [NOTEMPTY], "directory not empty";
    Notrecoverable = 56, "notrecoverable", [NOTRECOVERABLE], "state not recoverable";
    Notsock = 57, "notsock", [NOTSOCK], "not a socket";
    Notsup = 58, "notsup", [OPNOTSUPP], "not supported";
    Notty = 59, "notty", [NOTTY], "inappropriate I/O control operation";
    Nxio = 60, "nxio", [NXIO], "no such device or address";
    Overflow = 61, "overflow", [OVERFLOW], "value too large for its type";
    Ownerdead = 62, "ownerdead", [OWNERDEAD], "previous owner died";
    Perm = 63, "perm", [PERM], "operation not permitted";
    Pipe = 64, "pipe", [PIPE], "broken pipe";
    Proto = 65, "proto", [PROTO], "protocol error";
    Protonosupport = 66, "protonosupport", [PROTONOSUPPORT], "protocol not supported";
    Prototype = 67, "prototype", [PROTOTYPE], "wrong protocol type for the socket";
    Range = 68, "range", [RANGE], "result too large";
    Rofs = 69, "rofs", [ROFS], "read-only file system";
    Spipe = 70, "spipe", [SPIPE], "invalid seek";
    Srch = 71, "srch", [SRCH], "no such process";
    Stale = 72, "stale", [STALE], "stale file handle";
    Timedout = 73, "timedout", [TIMEDOUT], "connection timed out";
    Txtbsy = 74, "txtbsy", [TXTBSY], "text file busy";
    Xdev = 75, "xdev", [XDEV], "cross-device link";
    Notcapable = 76, "notcapable", [], "the file descriptor lacks the right for this";
}

impl Errno {
    /// The number that the guest sees: 1 to 76.
    pub fn code(self) -> u16 {
        self as u16
    }
}

/// Errors of cap-std carry either the host's error number, or, where a path would have left its
/// folder, only a kind.
impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Self {
        if let Some(host) = Host::from_io_error(&error) {
            return host.into();
        }
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Perm,
            io::ErrorKind::InvalidInput => Self::Inval,
            io::ErrorKind::NotFound => Self::Noent,
            io::ErrorKind::Unsupported => Self::Notsup,
            _ => Self::Io,
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text(), self.name())
    }
}

impl std::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_go_both_ways() {
        for code in 1..=76 {
            assert_eq!(Errno::from_code(code).map(Errno::code), Some(code));
        }
        assert_eq!(Errno::from_code(0), None);
        assert_eq!(Errno::from_code(77), None);
    }

    #[test]
    fn host_errors_keep_their_meaning() {
        assert_eq!(Errno::from(Host::NOENT), Errno::Noent);
        assert_eq!(Errno::from(Host::AGAIN), Errno::Again);
        assert_eq!(Errno::from(Host::NOTSUP), Errno::Notsup);
        assert_eq!(Errno::from(io::Error::from_raw_os_error(13)), Errno::Acces);
        // How cap-std reports a path that leads outside.
        let escape = io::Error::new(io::ErrorKind::PermissionDenied, "outside");
        assert_eq!(Errno::from(escape), Errno::Perm);
    }
}
