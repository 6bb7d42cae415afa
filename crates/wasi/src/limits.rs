//! Hard limits, each with its reason. Exceeding one is an error number for the guest.

/// Pieces of a vector that one read or write passes to the kernel: its own limit (`UIO_MAXIOV`).
/// A longer vector makes a short transfer, as POSIX allows.
pub(crate) const IOVECS: usize = 1024;

/// Bytes that a read into overlapping pieces transfers at most, since it needs a buffer on the host.
pub(crate) const BOUNCE_BYTES: usize = 1 << 20;

/// Bytes that a call moves at once if it may be broken off, so that a deadline is met within about a millisecond.
pub(crate) const PIECE_BYTES: usize = 1 << 20;

/// Bytes that a call moves for one unit of fuel, in pieces beyond its first: about as much as the host copies in the time of an
/// instruction or two.
pub(crate) const BYTES_OF_FUEL: usize = 16;

/// The most that Linux moves in one call, and so what a call moves altogether: counts stay below 2³¹.
pub(crate) const MOVED_BYTES: usize = 0x7fff_f000;

/// Bytes for which a pipe or a terminal that can be written to has room (`PIPE_BUF`).
pub(crate) const PIPE_BYTES: usize = 4096;

/// Nanoseconds after which it is looked again whether a FIFO has another end: nothing tells of that.
pub(crate) const FIFO_PATIENCE: u64 = 5_000_000;

/// Threads of one program at a time, unless the embedder says otherwise: each has a stack of the host's.
pub const THREADS: usize = 256;

/// Bytes of a path, without a NUL: Linux refuses longer ones (`PATH_MAX`), and refusing them first
/// keeps a guest from making the host copy gigabytes.
pub(crate) const PATH_BYTES: usize = 4095;

/// Subscriptions in one `poll_oneoff`: the host keeps 8 to 32 bytes for each.
pub(crate) const SUBSCRIPTIONS: u32 = 16_384;

/// Bytes of directory entries fetched from the host at once, on the stack. A name takes at most 255.
pub(crate) const READDIR_BYTES: usize = 8192;

/// Entries of one open directory whose cookies are small numbers: the host keeps 8 bytes for each.
/// Those behind them have the host's positions for cookies, which `telldir` of 32-bit guests cuts.
pub(crate) const DIR_COOKIES: usize = 1 << 16;

/// Bytes of `args` or of `env`, with their NULs: pointers to them are 32 bits wide.
pub(crate) const STRING_BYTES: usize = 1 << 30;
