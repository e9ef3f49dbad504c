//! Processes: fork, wait, signals by pidfd.
