//! What the program says of itself: completions, manual pages, and the configuration as it counts.

use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::ask::say;
use super::{Cli, NOT_DONE, fail};
use crate::config::{Config, effective};

pub fn completions(shell: Shell) -> ExitCode {
    let mut text = vec![];
    clap_complete::generate(shell, &mut Cli::command(), "pgduet", &mut text);
    say(&String::from_utf8_lossy(&text))
}

pub fn pages(directory: Option<&Path>) -> ExitCode {
    let done = match directory {
        Some(directory) => clap_mangen::generate_to(Cli::command(), directory).map(|()| String::new()),
        None => page(),
    };
    match done {
        Ok(text) => say(&text),
        Err(error) => fail(NOT_DONE, &format!("the manual page cannot be written: {error}")),
    }
}

fn page() -> std::io::Result<String> {
    let mut text = vec![];
    clap_mangen::Man::new(Cli::command()).render(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

pub fn configuration(config: &Config) -> ExitCode {
    let lines = effective(&config.source);
    say(&lines.iter().map(|(key, value)| format!("{key}: {value}\n")).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_its_help_names_the_exit_codes() {
        Cli::command().debug_assert();
        assert!(Cli::command().render_help().to_string().contains("Exit codes"));
    }

    #[test]
    fn the_manual_page_names_every_command() {
        let page = page().expect("a page");
        for command in Cli::command().get_subcommands() {
            assert!(
                page.contains(&format!("pgduet\\-{}", command.get_name().replace('-', "\\-"))),
                "{}",
                command.get_name()
            );
        }
    }
}
