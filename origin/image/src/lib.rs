//! `kado image`: the transform engine on files, folders and patterns, and a look at what it plans and how long it takes.
//!
//! What lives here: which files, under which names, in which order, and what a person is told. What a picture becomes is
//! `kado-imaging`'s.

mod args;
mod batch;
mod budget;
mod error;
mod explain;
mod inputs;
mod picture;
mod progress;
mod resident;
mod single;
mod source;
mod wish;
mod write;

pub use args::Args;
pub use error::ImageCommandError;

use inputs::Inputs;
use kado_imaging::Limits;
use std::process::ExitCode;
use wish::Wish;

/// Limits of the command: those of the native lane.
const LIMITS: Limits = Limits::HEAVY;

/// Does what the command line says.
///
/// The exit code is 1 where some of several pictures could not be made; which, and why, is then said on standard error.
///
/// # Errors
/// [`ImageCommandError`] where nothing was done, or where the one picture asked for could not be made.
pub fn run(args: &Args) -> Result<ExitCode, ImageCommandError> {
    let wish = Wish::parse(&args.options)?;
    match Inputs::expand(&args.input)? {
        Inputs::Stdin => single::run(None, &wish, args),
        Inputs::File(path) => single::run(Some(&path), &wish, args),
        Inputs::Several(several) => batch::run(&several, &wish, args),
    }
}
