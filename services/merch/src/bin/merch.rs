//! The program `merch`. Cargo can compile the library before the services are linked.

use std::process::ExitCode;

fn main() -> ExitCode {
    merch::main()
}
