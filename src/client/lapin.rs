//! The lapin adapter.
