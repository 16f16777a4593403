//! The help texts, as users read them.

use clap::CommandFactory as _;

use crate::cli::{Cli, code_of, try_parse};

#[test]
fn the_definitions_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_explains_itself() {
    let mut cli = Cli::command().term_width(100);
    cli.build();
    insta::assert_snapshot!("heddle", cli.render_long_help().to_string());
    for command in cli.get_subcommands_mut() {
        let name = command.get_name().to_owned();
        let help = command.clone().term_width(100).render_long_help();
        insta::assert_snapshot!(format!("heddle-{name}"), help.to_string());
    }
}

#[test]
fn wrong_usage_is_not_taken() {
    for line in [
        &["heddle"][..],
        &["heddle", "nonsense"],
        &["heddle", "get"],
        &["heddle", "apply"],
        &["heddle", "delete"],
        &["heddle", "get", "brokers", "-o", "xml"],
        &["heddle", "get", "brokers", "-l", "a b"],
        &["heddle", "send", "--count", "0"],
        &["heddle", "send", "--rate", "-1"],
        &["heddle", "send", "--ext", "Bad=x"],
        &["heddle", "send", "--data", "x", "--data-file", "y"],
        &["heddle", "listen", "--status", "99"],
        &["heddle", "listen", "--delay", "-5s"],
        &["heddle", "events", "--from", "yesterday"],
        &["heddle", "up", "--listen", "8080"],
        &["heddle", "--api", "http://127.0.0.1:9", "up"],
        &["heddle", "up", "--max-event-bytes", "1"],
        &["heddle", "up", "--event-ttl", "0s"],
    ] {
        let error = try_parse(line).expect_err("this is wrong usage");
        assert_eq!(code_of(&error), 64, "{line:?}");
    }
    for line in [["heddle", "--help"], ["heddle", "--version"]] {
        let error = try_parse(line).expect_err("this ends at once");
        assert_eq!(code_of(&error), 0, "{line:?}");
    }
}
