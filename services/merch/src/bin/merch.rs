//! The program `merch`. Cargo can compile the library before the services are linked.

use std::process::ExitCode;

/// Returns the memory of a burst within seconds. glibc keeps it: 240 MB after 2,500 connections.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    merch::main()
}
