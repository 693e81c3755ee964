//! The built-ins.
