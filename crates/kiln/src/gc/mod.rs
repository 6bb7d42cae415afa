//! The collected heap of a store, its roots, and the handles of the host.
