//! Executable code: memory it lives in, lookup by address, lazy compilation, entering and leaving it.
