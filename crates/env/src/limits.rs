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
/// Values of one function in the compiler's IR: sixteen times what Cranelift's register allocator can name. Reached only
/// by functions that pass a thousand values at every step.
pub const MAX_FUNC_VALUES: u32 = 1 << 25;
/// Uses of values as arguments of calls and branches in one function. Each takes 4 bytes.
pub const MAX_FUNC_USES: u32 = 1 << 26;
/// Locals and operands of a function at a loop up to which it changes its tier there: the size of the buffer through
/// which they go. With more it runs on as it is until it is called again.
pub const MAX_OSR_SLOTS: u32 = 1 << 14;
/// Bytes of code in a snapshot that nothing uses any more, because better code has taken its place, and how many times the
/// bytes that are in use they may be in addition. Beyond that the next run begins anew. What the second tier makes
/// of a function is about half of what the first does, so that a program does not get there by being optimised.
pub const MAX_REPLACED_CODE: u64 = 16 << 20;
/// See [`MAX_REPLACED_CODE`].
pub const MAX_REPLACED_FACTOR: u64 = 3;
