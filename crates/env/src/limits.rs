//! Hard limits, each with its reason. What exceeds one is refused with an error that names the limit.

/// Bytes of a module. Offsets into it are kept in 32 bits in address maps.
pub const MAX_MODULE_SIZE: usize = 1 << 30;
/// Functions, imported ones included; as in the JavaScript API (and in `wasmparser`). pandoc has 620,000.
pub const MAX_FUNCS: u32 = 1_000_000;
/// Bytes of one function body: 7,654,321 in the JavaScript API. A bound on what one compilation can take.
pub const MAX_BODY_SIZE: u32 = 7_654_321;
/// Locals of one function, parameters included; as in the JavaScript API.
pub const MAX_LOCALS: u32 = 50_000;
/// Depth of nested blocks in one function. The translator keeps a frame for each.
pub const MAX_NESTING: u32 = 50_000;
/// Parameters or results of one function type or block type; as in the JavaScript API.
pub const MAX_PARAMS: u32 = 1_000;
/// Memories of one module.
pub const MAX_MEMORIES: u32 = 100;
/// Tables of one module.
pub const MAX_TABLES: u32 = 100_000;
/// Elements of one table; as in the JavaScript API.
pub const MAX_TABLE_ELEMENTS: u64 = 10_000_000;
/// Types of one module.
pub const MAX_TYPES: u32 = 1_000_000;
/// Fields of one structure; as in the JavaScript API.
pub const MAX_STRUCT_FIELDS: usize = 10_000;
/// Bytes of an instance's context: offsets into it are 32-bit displacements in loads.
pub const MAX_CONTEXT_SIZE: u32 = 1 << 28;
/// Bytes of a store's object heap; a bound on what a guest can make the host allocate, like a memory's 4 GiB.
pub const MAX_OBJECT_HEAP: usize = 1 << 32;
/// Locals that hold collected references, in a function so large that its other locals are kept in memory. References
/// cannot be: the collector finds them by maps of what is live.
pub const MAX_REFERENCE_LOCALS: u32 = 100;
/// Clauses of one `try_table`; as in `wasmparser`.
pub const MAX_CATCHES: u32 = 10_000;
/// Operands of one function that is optimised, counted in its IR when everything has been inlined: instructions, their
/// arguments and results, block parameters, and what branches pass. A few bytes of wasm can stand for thousands of them.
/// Operands of calls count four times and those on the way to handlers sixteen times, so that one costs about
/// 1 µs and 160 bytes at most wherever it is; the largest function of real programs has a tenth of this.
pub const MAX_OPTIMIZED_OPERANDS: u64 = 1 << 22;
/// The same for a function that is compiled without optimisation, where operands cost a third of that.
pub const MAX_OPERANDS: u64 = 1 << 23;
/// Loops of one function that is optimised. The time of register allocation grows with their square: 0.4 s for so many.
pub const MAX_OPTIMIZED_LOOPS: u32 = 4_000;
/// Bytes of code that the first tier makes of one function. A call with a thousand operands takes 2 bytes of wasm and 16 KB of
/// code.
pub const MAX_BASELINE_CODE: u32 = 64 << 20;
/// Entries of the lists that the first tier makes for calls and loops of one function: the references that are live there, and
/// the handlers that can be reached, each different list once. Many references live at many calls are as many entries as
/// the product of both. Programs have some thousands.
pub const MAX_BASELINE_ENTRIES: usize = 1 << 22;
/// Locals and operands of a function at a loop up to which it changes its tier there: the size of the buffer through
/// which they go. With more it runs on as it is until it is called again.
pub const MAX_OSR_SLOTS: u32 = 1 << 14;
/// Bytes of code in a snapshot that nothing uses any more, because better code has taken its place, and how many times the
/// bytes that are in use they may be in addition. Beyond that the next run begins anew. What the second tier makes
/// of a function is about half of what the first does, so that a program does not get there by being optimised.
pub const MAX_REPLACED_CODE: u64 = 16 << 20;
/// See [`MAX_REPLACED_CODE`].
pub const MAX_REPLACED_FACTOR: u64 = 3;
/// Modules that wait in the cache to be optimised. More are left as they are until they are run again.
pub const MAX_REFINEMENTS: usize = 64;
/// Seconds of processor time, of all threads together, for optimising what a module's runs used: clang takes 200.
pub const MAX_REFINE_SECONDS: u64 = 900;
/// Bytes of memory for the same, where the machine has twice as much: clang takes 1 GB.
pub const MAX_REFINE_MEMORY: u64 = 4 << 30;
