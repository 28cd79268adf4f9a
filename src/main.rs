//! The `lurcher` command.

fn main() -> std::process::ExitCode {
    lurcher::cli::main()
}
