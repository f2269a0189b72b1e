//! `cargo xtask sheet`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use xtask::temporary::TemporaryFolder;
use xtask::workspace::Workspace;
use xtask::{cargo, invoke, picture, progress};

/// Size of the drawn landscape, in pixels.
const DRAWN: (u16, u16) = (1200, 900);

/// Draw one photo through every option of the grammar, side by side in one PNG, each with its options beneath: what an
/// option has become is seen at a glance.
#[derive(Args)]
pub(crate) struct Arguments {
    /// A picture in any format that is read; without it a landscape drawn in code
    #[arg(long, value_name = "FILE")]
    photo: Option<PathBuf>,
    /// The PNG that is written
    #[arg(long, value_name = "FILE", default_value = "sheet.png")]
    out: PathBuf,
    /// Side of a picture on the sheet, in pixels
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(60..=900))]
    side: u32,
}

pub(super) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let draw = cargo::build_example(workspace, "kado-imaging", "sheet", "dev")?;
    let scratch = TemporaryFolder::new("sheet")?;
    let photo = match &arguments.photo {
        Some(photo) => photo.clone(),
        None => {
            let drawn = scratch.path().join("landscape.jpeg");
            let file = picture::jpeg(DRAWN.0, DRAWN.1)?;
            std::fs::write(&drawn, file).with_context(|| format!("writing {}", drawn.display()))?;
            drawn
        }
    };
    let mut command = invoke::command(draw);
    command.arg(photo).arg(&arguments.out).arg(arguments.side.to_string());
    progress::step("Drawing", || invoke::run(&mut command))?;
    progress::say(arguments.out.display());
    Ok(ExitCode::SUCCESS)
}
