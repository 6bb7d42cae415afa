//! Hard limits, each with its reason. Exceeding one is an error number for the guest.

/// Pieces of a vector that one read or write passes to the kernel: its own limit (`UIO_MAXIOV`).
/// A longer vector makes a short transfer, as POSIX allows.
pub(crate) const IOVECS: usize = 1024;

/// Bytes that a read into overlapping pieces transfers at most, since it needs a buffer on the host.
pub(crate) const BOUNCE_BYTES: usize = 1 << 20;

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
