//! The program `merch`. Its code is in the library beside it, which Cargo can compile before the
//! services are linked.

use std::process::ExitCode;

fn main() -> ExitCode {
    merch::main()
}
