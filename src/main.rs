use std::process::ExitCode;

fn main() -> ExitCode {
    pgduet::cli::run()
}
