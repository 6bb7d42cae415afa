//! The operating system and the processor: the only place that names either.
