//! `cargo xtask bench`: one file per measurement.

mod document;
mod edge;
mod imaging;
mod load;
mod mosaics;
mod numbers;
mod origin;
mod partner;
mod photos;
mod quality;
mod request;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use xtask::workspace::Workspace;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// A JPEG through the running Worker, against sharp in the same run
    Request(request::Arguments),
    /// The engine: in workerd and native, against sharp, by bench/cases.toml
    Imaging(imaging::Arguments),
    /// The gateway: hits, refusals, tokens, memory, and how soon changes are seen
    Edge(edge::Arguments),
    /// The origin: sessions, the time of logins, and a flood of them
    Origin(origin::Arguments),
    /// How pictures look, by SSIMULACRA2, against sharp's, and what they weigh
    Quality(quality::Arguments),
}

pub(super) fn run(workspace: &Workspace, command: Command) -> Result<ExitCode> {
    match command {
        Command::Request(arguments) => request::run(workspace, &arguments),
        Command::Imaging(arguments) => imaging::run(workspace, &arguments),
        Command::Edge(arguments) => edge::run(workspace, &arguments),
        Command::Origin(arguments) => origin::run(workspace, &arguments),
        Command::Quality(arguments) => quality::run(workspace, &arguments),
    }
}
