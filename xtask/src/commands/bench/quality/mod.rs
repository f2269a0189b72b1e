//! `cargo xtask bench quality`

mod encoder;
mod fit;
mod ladder;
mod report;
mod resize;
mod studio;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use xtask::progress;
use xtask::tools;
use xtask::workspace::Workspace;

use super::document;
use studio::Studio;

/// How our pictures look, by SSIMULACRA2, against sharp's: resized at equal settings, and in bytes at equal score. Writes its
/// section of docs/PERFORMANCE.md.
///
/// The reference is the source, decoded at full size and resized by Lanczos3 in double precision in sRGB values. Both sides
/// resize by Lanczos3 in these values, so that this is what either approaches: what is measured is the price of shortcuts, not
/// the taste of filters.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Photographs (PNG or JPEG), of which mosaics are made too
    #[arg(long, value_name = "FOLDER")]
    photos: PathBuf,
    /// Print the points of the tables that translate quality for other formats, as they should be
    #[arg(long)]
    fit: bool,
    /// Only the first so many photographs; writes no documents
    #[arg(long, value_name = "NUMBER")]
    only: Option<usize>,
    /// Cargo's profile for the native engine and the score
    #[arg(long, default_value = studio::DEFAULT_PROFILE, value_name = "PROFILE")]
    profile: String,
}

pub(super) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    tools::ensure_npm_packages(workspace)?;
    let mut studio = Studio::open(workspace, &arguments.photos, arguments.only, &arguments.profile)?;
    let resized = progress::step("Resizing", || resize::measure(&mut studio))?;
    let finished = progress::step("Preparing pictures to encode", || studio.finished())?;
    let ladders = progress::step("Bytes at equal score", || ladder::measure(&mut studio, &finished))?;
    let formats = progress::step("Quality over formats", || fit::measure(&mut studio, &finished))?;
    let section = report::section(&studio.circumstances(arguments.fit)?, &resized, &ladders, &formats);
    document::print(&section)?;
    if arguments.fit {
        let points = progress::step("Fitting", || fit::points(&mut studio, &finished, &formats))?;
        document::print(&points)?;
    }
    if arguments.only.is_none() {
        document::write(workspace, "quality", &section)?;
    }
    Ok(ExitCode::SUCCESS)
}
