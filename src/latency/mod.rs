//! HdrHistogram recorders and the interval log.
//!
//! May use `units` only. Values are whole microseconds from 1 µs to 1 h with 3 significant digits; what is longer is
//! counted as 1 h and reported as clipped, never dropped.
