//! What files synchronise threads with that `models/` compiles as well, where it comes from the model checker.

pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, atomic};
