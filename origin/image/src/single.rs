//! One picture, from a file or standard input, to a file or standard output.

use kado_imaging::{Limits, Plan, Resolved, Source, Sources};
use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::{
    Args, ImageCommandError, LIMITS, explain,
    inputs::with_added_extension,
    picture::{look, make, make_timed},
    source::{FileSource, overlay},
    wish::Wish,
    write::Rules,
};

/// Where the answer goes.
enum Target {
    /// Nowhere: only the plan is wanted.
    None,
    Stdout,
    File(PathBuf),
    /// Into a folder, under the source's name.
    Folder(PathBuf),
}

pub(crate) fn run(input: Option<&Path>, wish: &Wish, args: &Args) -> Result<ExitCode, ImageCommandError> {
    let (source, name) = open(input)?;
    let overlay = overlay(args)?;
    let sources = Sources {
        picture: source.as_ref(),
        overlay: overlay.as_ref().map(|file| file as &dyn Source),
    };
    let target = target(args.output.as_deref());
    let resolved = match &target {
        Target::File(path) => wish.resolve_for(path)?,
        _ => wish.resolve(),
    };
    let rules = Rules::new(input, args.force);
    if let Target::File(path) = &target {
        rules.check(path)?;
    }
    let plan = look(sources, &name, &resolved)?;
    let place = place(target, input, &plan)?;
    if args.explain {
        explained(sources, &name, &resolved, &plan, &place, &rules)?;
    } else {
        deliver(&place, &rules, &make(sources, &name, &plan)?.bytes)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn explained(
    sources: Sources<'_>,
    name: &str,
    wish: &Resolved,
    plan: &Plan,
    place: &Target,
    rules: &Rules,
) -> Result<(), ImageCommandError> {
    let mut text = explain::plan(name, wish, plan);
    if !matches!(place, Target::None) {
        let (output, stages) = make_timed(sources, name, plan)?;
        deliver(place, rules, &output.bytes)?;
        text += &explain::stages(&stages, &output);
    }
    // Standard output may be the picture's.
    let said = if matches!(place, Target::Stdout) {
        io::stderr().write_all(text.as_bytes())
    } else {
        io::stdout().write_all(text.as_bytes())
    };
    // Nobody reading it is no reason to fail.
    drop(said);
    Ok(())
}

/// The source, and what to call it.
fn open(input: Option<&Path>) -> Result<(Box<dyn Source>, String), ImageCommandError> {
    let Some(path) = input else {
        return Ok((Box::new(read_stdin(&LIMITS)?), "standard input".to_owned()));
    };
    Ok((Box::new(FileSource::open(path)?), path.display().to_string()))
}

/// One byte more than is allowed is enough for the engine to refuse it.
fn read_stdin(limits: &Limits) -> Result<Vec<u8>, ImageCommandError> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(limits.source_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(ImageCommandError::io(Path::new("standard input")))?;
    Ok(bytes)
}

fn target(output: Option<&Path>) -> Target {
    match output {
        None => Target::None,
        Some(path) if path == Path::new("-") => Target::Stdout,
        Some(path) if path.is_dir() => Target::Folder(path.to_owned()),
        Some(path) => Target::File(path.to_owned()),
    }
}

/// A folder's file is named after the source and what it became.
fn place(target: Target, input: Option<&Path>, plan: &Plan) -> Result<Target, ImageCommandError> {
    let Target::Folder(folder) = target else {
        return Ok(target);
    };
    let stem = input
        .and_then(Path::file_stem)
        .ok_or_else(|| ImageCommandError::usage("standard input has no name: OUTPUT has to be a file or -"))?;
    let name = with_added_extension(Path::new(stem), plan.encoding.format.extension());
    Ok(Target::File(folder.join(name)))
}

fn deliver(place: &Target, rules: &Rules, bytes: &[u8]) -> Result<(), ImageCommandError> {
    match place {
        Target::File(path) => rules.write(path, bytes),
        Target::Stdout => {
            let mut out = io::stdout().lock();
            out.write_all(bytes)
                .and_then(|()| out.flush())
                .map_err(ImageCommandError::io(Path::new("standard output")))
        }
        Target::None | Target::Folder(_) => Ok(()),
    }
}
