//! `cargo xtask sqlx`: the committed metadata by which SQL queries are checked without a database.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use xtask::postgres::Postgres;
use xtask::temporary::TemporaryFolder;
use xtask::workspace::{Workspace, cargo};
use xtask::{invoke, progress, tools};

/// Renew .sqlx from a live database: starts an embedded PostgreSQL, migrates it, and lets the compiler describe every
/// query of the origin. Commit what changed.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Change nothing; fail when .sqlx is not what a live database says
    #[arg(long)]
    check: bool,
}

/// File names and contents.
type Metadata = BTreeMap<String, Vec<u8>>;

pub(super) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    tools::require_bare_machine()?;
    let postgres = tools::ensure_npm_packages(workspace)?.postgres()?;
    if arguments.check {
        progress::step("Comparing .sqlx with a live database", || compare(workspace, &postgres))?;
        return Ok(ExitCode::SUCCESS);
    }
    let changes = progress::step("Describing every query", || {
        let found = describe(workspace, &postgres)?;
        let committed = read(&workspace.path(".sqlx"))?;
        write(&workspace.path(".sqlx"), &committed, &found)?;
        Ok(differences(&committed, &found))
    })?;
    for change in &changes {
        progress::detail(change);
    }
    progress::detail(format_args!("{} files changed in .sqlx", changes.len()));
    Ok(ExitCode::SUCCESS)
}

/// Fails when the committed metadata is not what a live database says.
pub(super) fn compare(workspace: &Workspace, postgres: &Path) -> Result<()> {
    let changes = differences(&read(&workspace.path(".sqlx"))?, &describe(workspace, postgres)?);
    if changes.is_empty() {
        return Ok(());
    }
    bail!(
        ".sqlx is out of date; run `cargo xtask sqlx` and commit:\n  {}",
        changes.join("\n  ")
    )
}

/// What sqlx's macros write when they see a database.
fn describe(workspace: &Workspace, postgres: &Path) -> Result<Metadata> {
    let database = Postgres::temporary(postgres)?;
    let url = database.url();
    // An example without checked queries lays out the schema: `kado` itself does not compile while they are out of date.
    let mut prepare = invoke::command(cargo());
    prepare
        .current_dir(&workspace.root)
        .args([
            "run",
            "--quiet",
            "--package",
            "kado-origin",
            "--example",
            "prepare_database",
        ])
        .env("DATABASE_URL", &url);
    invoke::run(&mut prepare).context("laying out the database")?;
    let folder = TemporaryFolder::new("sqlx")?;
    // The macros run only when the compiler does. What it makes of a live database must not pass for a build against
    // the committed metadata either, so it is made to run again afterwards.
    let main = workspace.path("origin/src/main.rs");
    touch(&main)?;
    let mut check = invoke::command(cargo());
    check
        .current_dir(&workspace.root)
        .args(["check", "--quiet", "--package", "kado-origin", "--all-targets"])
        .env("SQLX_OFFLINE", "false")
        .env("DATABASE_URL", &url)
        .env("SQLX_OFFLINE_DIR", folder.path());
    let checked = invoke::run(&mut check);
    touch(&main)?;
    checked.context("compiling the origin against a live database")?;
    read(folder.path())
}

/// A newer time of change makes cargo compile again.
fn touch(path: &Path) -> Result<()> {
    fs::File::options()
        .append(true)
        .open(path)
        .and_then(|file| file.set_modified(std::time::SystemTime::now()))
        .with_context(|| format!("touching {}", path.display()))
}

fn read(folder: &Path) -> Result<Metadata> {
    let mut found = Metadata::new();
    let Ok(listing) = fs::read_dir(folder) else {
        return Ok(found);
    };
    for entry in listing {
        let entry = entry.with_context(|| format!("listing {}", folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("query-") && name.ends_with(".json") {
            found.insert(
                name,
                fs::read(entry.path()).with_context(|| format!("reading {}", entry.path().display()))?,
            );
        }
    }
    Ok(found)
}

fn write(folder: &Path, committed: &Metadata, found: &Metadata) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    for name in committed.keys().filter(|name| !found.contains_key(*name)) {
        fs::remove_file(folder.join(name)).with_context(|| format!("removing {name}"))?;
    }
    for (name, content) in found {
        fs::write(folder.join(name), content).with_context(|| format!("writing {name}"))?;
    }
    Ok(())
}

/// One line for each file that is missing, left over or different.
fn differences(committed: &Metadata, found: &Metadata) -> Vec<String> {
    let missing = found
        .keys()
        .filter(|name| !committed.contains_key(*name))
        .map(|name| format!("missing: {name}"));
    let left = committed
        .keys()
        .filter(|name| !found.contains_key(*name))
        .map(|name| format!("left over: {name}"));
    let changed = found
        .iter()
        .filter(|(name, content)| committed.get(*name).is_some_and(|committed| committed != *content))
        .map(|(name, _)| format!("different: {name}"));
    missing.chain(left).chain(changed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(files: &[(&str, &str)]) -> Metadata {
        files
            .iter()
            .map(|(name, content)| ((*name).to_owned(), content.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn every_kind_of_difference_is_named() {
        let committed = metadata(&[("query-a.json", "1"), ("query-b.json", "1"), ("query-c.json", "1")]);
        let found = metadata(&[("query-a.json", "1"), ("query-b.json", "2"), ("query-d.json", "1")]);
        let wanted = [
            "missing: query-d.json",
            "left over: query-c.json",
            "different: query-b.json",
        ];
        assert_eq!(differences(&committed, &found), wanted);
        assert!(differences(&found, &found).is_empty());
    }

    #[test]
    fn writing_makes_a_folder_equal_and_leaves_other_files() {
        let folder = TemporaryFolder::new("metadata").unwrap();
        fs::write(folder.path().join("query-old.json"), "1").unwrap();
        fs::write(folder.path().join("README"), "kept").unwrap();
        let found = metadata(&[("query-new.json", "2")]);
        write(folder.path(), &read(folder.path()).unwrap(), &found).unwrap();
        assert_eq!(read(folder.path()).unwrap(), found);
        assert!(folder.path().join("README").exists());
    }
}
