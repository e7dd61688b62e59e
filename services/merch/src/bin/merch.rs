//! The program `merch`. All of it is in the library beside this file, which the compiler can begin
//! before the services are compiled to their end; a program waits for all that it is linked to.

use std::process::ExitCode;

fn main() -> ExitCode {
    merch::main()
}
