//! `cargo xtask up`

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use xtask::interrupt::Interrupt;
use xtask::sample::{self, Shown};
use xtask::system::{self, Binaries, Database, Options, System, ports};
use xtask::workspace::Workspace;
use xtask::{progress, tools};

use super::fresh;

/// Build everything and run it: PostgreSQL, origin, cache service and edge (workerd), watched over and started again
/// when they end. Uploads a picture, asks for it transformed twice, and prints where to look.
///
/// Data is kept in .kado/, logs in .kado/logs/, addresses for scripts in .kado/run.json while it runs.
/// Ctrl-C or SIGTERM stops everything.
///
/// Environment: DATABASE_URL uses that PostgreSQL instead of the embedded one (a role that may create roles);
/// KADO_ADMIN_PASSWORD sets the first admin's password; REDIS_URL is passed on to the origin.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The edge's port; 0 for any free one
    #[arg(long, default_value_t = 8787)]
    port: u16,
    /// The address that the edge listens on; 0.0.0.0 lets other machines in
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
    /// Throw away what former runs kept, database and pictures included
    #[arg(long)]
    fresh: bool,
    /// Cargo's profile for the native services; `native` is the optimised one
    #[arg(long, default_value = "dev", value_name = "PROFILE")]
    profile: String,
    /// How many transform processes; by default one less than there are cores
    #[arg(long, value_name = "N")]
    transform_processes: Option<usize>,
    /// The first admin's e-mail address
    #[arg(long, default_value = "admin@localhost", value_name = "EMAIL")]
    admin_email: String,
}

pub(super) fn run(workspace: &Workspace, arguments: Arguments) -> Result<ExitCode> {
    let started = Instant::now();
    tools::require_bare_machine()?;
    let data = workspace.path(".kado");
    // Both are looked at again when they matter; nobody should wait for a build to hear of them.
    system::require_idle(&data)?;
    ports::wanted(arguments.bind, arguments.port)?;
    if arguments.fresh {
        progress::step("Removing what former runs kept", || fresh::remove_data(&data))?;
    }
    let binaries = Binaries::build(workspace, &arguments.profile)?;
    // Until here a signal simply ends us and whatever we are running. From here on there is something to stop in order.
    let interrupt = Interrupt::listen()?;
    let system = System::start(Options {
        interrupt: interrupt.clone(),
        ..options(arguments, binaries, &data)
    })?;
    let shown = progress::step("Uploading a sample and asking for it twice", || {
        sample::show(&system.run_file(), &system.secrets().admin_password, &data)
    })?;
    report(&system, shown.as_ref(), started);
    progress::say(format_args!("\nstopping ({})", interrupt.wait()));
    progress::step("Stopping edge, cache, origin and PostgreSQL", || {
        system.stop();
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn options(arguments: Arguments, binaries: Binaries, data: &Path) -> Options {
    let mut options = Options::kept(binaries, data.to_owned());
    options.bind = arguments.bind;
    options.port = arguments.port;
    options.admin_email = arguments.admin_email;
    options.transform_processes = arguments.transform_processes;
    options.admin_password = variable("KADO_ADMIN_PASSWORD");
    if let Some(url) = variable("DATABASE_URL") {
        options.database = Database::Url(url);
    }
    options
}

/// A variable that is set to something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn report(system: &System, shown: Option<&Shown>, started: Instant) {
    let run = system.run_file();
    let line = |name: &str, value: &str| progress::say(format_args!("  {name:<10}{value}"));
    progress::say(format_args!(
        "\nKado runs ({}).\n",
        progress::seconds(started.elapsed())
    ));
    line("edge", &run.edge);
    line("origin", &format!("{} (internal {})", run.origin, run.internal));
    line("admin", &run.admin_email);
    if system.first_start() {
        line(
            "password",
            &format!("{}  (shown this once)", system.secrets().admin_password),
        );
    }
    match shown {
        Some(shown) => {
            line("picture", &progress::paint("1;4", &shown.link));
            line("", &format!("first  {}", shown.first));
            line("", &format!("second {}", shown.second));
        }
        None => line(
            "picture",
            "none: the sample is gone and the admin's password has changed since the first start",
        ),
    }
    line("logs", &run.logs.display().to_string());
    progress::say("\nCtrl-C stops it; the data stays.");
}
