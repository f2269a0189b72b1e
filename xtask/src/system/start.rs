//! The start of a system, step by step. Whatever has started is stopped again when a later step fails.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::process::Command;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};

use super::announcement::Announcement;
use super::database_url::as_role;
use super::lock::Lock;
use super::services::{self, Plan};
use super::sockets::Sockets;
use super::{Database, Options, Part, RunFile, Secrets, System, ports, readiness};
use crate::postgres::{self, Cluster};
use crate::supervisor::Supervisor;
use crate::temporary::TemporaryFolder;
use crate::{invoke, progress};

/// The roles that the migrations create and the services use.
const APP_ROLE: &str = "kado_app";
const SYSTEM_ROLE: &str = "kado_system";

pub(super) fn start(options: Options, temporary: Option<TemporaryFolder>) -> Result<System> {
    // Others may pass through, not look around: PostgreSQL's account has to reach its own folder.
    fs::DirBuilder::new()
        .mode(0o711)
        .recursive(true)
        .create(&options.data)
        .with_context(|| format!("creating {}", options.data.display()))?;
    let lock = Lock::take(&options.data)?;
    RunFile::clear(&options.data.join("run.json"))?;
    let edge = SocketAddr::new(options.bind, ports::wanted(options.bind, options.port)?);
    let sockets = Sockets::create(&options.data, &std::env::temp_dir())?;
    let (secrets, first_start) = open_secrets(&options)?;
    let [origin, internal, database, origin_metrics, edge_metrics] = ports::several_free()?;
    let cluster = prepare_database(&options, &secrets, database)?;
    let owner_url = match (&cluster, &options.database) {
        (Some(cluster), _) => cluster.owner_url(),
        (None, Database::Url(url)) => url.clone(),
        (None, Database::Embedded(_)) => bail!("the embedded database was not prepared"),
    };
    let plan = plan(
        &options,
        &secrets,
        &sockets,
        [
            edge,
            loopback(origin),
            loopback(internal),
            loopback(origin_metrics),
            loopback(edge_metrics),
        ],
        &owner_url,
    )?;
    let announcement = Arc::new(Mutex::new(Announcement::new(run_file(&options, &plan, &owner_url))));
    let supervisor = Supervisor::new(Announcement::listener(Arc::clone(&announcement), options.verbose))?;

    // From here on an error drops the supervisor, and that stops what has started.
    if let Some(cluster) = &cluster {
        tell(&options, "Starting PostgreSQL", || {
            postgres::start(&supervisor, cluster, &plan.log(Part::Postgres), &options.interrupt).map(drop)
        })?;
    }
    tell(&options, "Migrating and seeding the database", || {
        migrate_and_seed(&options, &plan, &owner_url)
    })?;
    tell(&options, "Starting origin, cache and edge", || {
        for service in plan.services() {
            supervisor.start(service)?;
        }
        readiness::wait_until_ready(&supervisor, &plan, &options.interrupt)
    })?;
    Announcement::publish(&announcement)?;
    let logs = services::log(&options.data, Part::Edge)
        .parent()
        .map(ToOwned::to_owned)
        .unwrap_or_default();
    Ok(System {
        supervisor,
        announcement,
        secrets,
        binaries: options.binaries,
        logs,
        first_start,
        _sockets: sockets,
        _lock: lock,
        temporary,
    })
}

/// Runs a step, told or silent.
fn tell<T>(options: &Options, label: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    options.interrupt.check()?;
    if options.verbose {
        progress::step(label, work)
    } else {
        work()
    }
}

/// The folder's secrets, or new ones for a new folder; and whether this is the first start.
fn open_secrets(options: &Options) -> Result<(Secrets, bool)> {
    let path = options.data.join("secrets.json");
    let has_data = cluster_folder(options).symlink_metadata().is_ok();
    let kept = Secrets::read(&path)?;
    if kept.is_none() && has_data {
        bail!(
            "{} is missing, and the data beside it cannot be opened without: restore it, or start anew with --fresh",
            path.display()
        );
    }
    let first_start = match options.database {
        Database::Embedded(_) => !has_data,
        Database::Url(_) => kept.is_none(),
    };
    let secrets = match (kept, &options.admin_password) {
        // A start that was cut short before there was an admin may have drawn another password.
        (Some(kept), Some(chosen)) if first_start => Secrets {
            admin_password: chosen.clone(),
            ..kept
        },
        (Some(kept), _) => return Ok((kept, first_start)),
        (None, chosen) => Secrets::draw(chosen.clone())?,
    };
    secrets.write(&path)?;
    Ok((secrets, first_start))
}

fn cluster_folder(options: &Options) -> std::path::PathBuf {
    options.data.join("pg")
}

fn prepare_database(options: &Options, secrets: &Secrets, port: u16) -> Result<Option<Cluster>> {
    let Database::Embedded(durability) = options.database else {
        return Ok(None);
    };
    let folder = cluster_folder(options);
    let prepare = || {
        Cluster::prepare(
            &options.binaries.postgres,
            &folder,
            port,
            &secrets.owner_password,
            durability,
        )
        .map(Some)
    };
    if folder.symlink_metadata().is_ok() {
        prepare()
    } else {
        tell(options, "Making a PostgreSQL cluster", prepare)
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

fn plan(
    options: &Options,
    secrets: &Secrets,
    sockets: &Sockets,
    [edge, origin, internal, origin_metrics, edge_metrics]: [SocketAddr; 5],
    owner_url: &str,
) -> Result<Plan> {
    Ok(Plan {
        binaries: options.binaries.clone(),
        data: options.data.clone(),
        sockets: sockets.path().to_owned(),
        secrets: secrets.clone(),
        edge,
        origin,
        internal,
        origin_metrics,
        edge_metrics,
        public_url: public_url(edge),
        app_url: as_role(owner_url, APP_ROLE, &secrets.app_password)?,
        system_url: as_role(owner_url, SYSTEM_ROLE, &secrets.system_password)?,
        transform_processes: options.transform_processes,
        environment: options.environment.clone(),
    })
}

/// The address that a client on this machine uses.
fn public_url(edge: SocketAddr) -> String {
    match edge.ip() {
        ip if ip.is_unspecified() => format!("http://127.0.0.1:{}", edge.port()),
        _ => format!("http://{edge}"),
    }
}

fn run_file(options: &Options, plan: &Plan, owner_url: &str) -> RunFile {
    RunFile {
        edge: plan.public_url.clone(),
        origin: format!("http://{}", plan.origin),
        internal: format!("http://{}", plan.internal),
        origin_metrics: format!("http://{}/metrics", plan.origin_metrics),
        edge_metrics: format!("http://{}/metrics", plan.edge_metrics),
        cache: plan.cache(),
        admin_email: options.admin_email.clone(),
        database_url: owner_url.to_owned(),
        secrets: options.data.join("secrets.json"),
        logs: options.data.join("logs"),
        kado: options.binaries.kado.clone(),
        pid: std::process::id(),
        pids: BTreeMap::new(),
        path: options.data.join("run.json"),
    }
}

fn migrate_and_seed(options: &Options, plan: &Plan, owner_url: &str) -> Result<()> {
    let kado = |arguments: &[&str]| -> Command {
        let mut command = invoke::command(&plan.binaries.kado);
        command
            .current_dir(&options.data)
            .args(arguments)
            .env("DATABASE_URL", owner_url);
        plan.secrets.give_to(&mut command);
        command
    };
    invoke::read(&mut kado(&["migrate", "up"])).context("migrating the database")?;
    let mut seed = kado(&["seed", "--admin-email", &options.admin_email]);
    for host in hosts(options.bind) {
        seed.args(["--host", &host]);
    }
    // The sample is uploaded as this admin, so the password is one that need not be changed first.
    seed.env("KADO_ADMIN_PASSWORD", &plan.secrets.admin_password);
    invoke::read(&mut seed).context("seeding the database")?;
    Ok(())
}

/// The names under which a client on this machine, or one that reaches the bound address, asks for the default tenant.
fn hosts(bind: IpAddr) -> Vec<String> {
    let mut hosts = vec!["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string()];
    if !bind.is_unspecified() && !hosts.contains(&bind.to_string()) {
        hosts.push(bind.to_string());
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Binaries;

    fn options(data: std::path::PathBuf) -> Options {
        let nowhere = std::path::PathBuf::from("/nonexistent");
        let binaries = Binaries {
            kado: nowhere.join("kado"),
            workerd: nowhere.join("workerd"),
            worker: nowhere.join("build"),
            postgres: nowhere,
        };
        Options::throwaway(binaries, data)
    }

    #[test]
    fn secrets_are_drawn_once() {
        let folder = TemporaryFolder::new("start").unwrap();
        let options = options(folder.path().to_owned());
        let (first, new) = open_secrets(&options).unwrap();
        assert!(new);
        assert_eq!(open_secrets(&options).unwrap().0, first);
        fs::create_dir(cluster_folder(&options)).unwrap();
        assert!(!open_secrets(&options).unwrap().1, "with data it is no first start");
    }

    #[test]
    fn data_without_its_secrets_is_refused_with_a_way_out() {
        let folder = TemporaryFolder::new("start").unwrap();
        let options = options(folder.path().to_owned());
        fs::create_dir(cluster_folder(&options)).unwrap();
        assert!(format!("{:#}", open_secrets(&options).unwrap_err()).contains("--fresh"));
    }

    #[test]
    fn a_chosen_password_counts_until_there_is_an_admin() {
        let folder = TemporaryFolder::new("start").unwrap();
        let mut options = options(folder.path().to_owned());
        open_secrets(&options).unwrap();
        options.admin_password = Some("chosen".to_owned());
        assert_eq!(open_secrets(&options).unwrap().0.admin_password, "chosen");
        fs::create_dir(cluster_folder(&options)).unwrap();
        options.admin_password = Some("too late".to_owned());
        assert_eq!(open_secrets(&options).unwrap().0.admin_password, "chosen");
    }

    #[test]
    fn the_default_tenant_answers_to_the_bound_address() {
        assert_eq!(hosts("127.0.0.1".parse().unwrap()), ["localhost", "127.0.0.1"]);
        assert_eq!(hosts("0.0.0.0".parse().unwrap()), ["localhost", "127.0.0.1"]);
        assert_eq!(hosts("192.0.2.7".parse().unwrap())[2], "192.0.2.7");
    }

    #[test]
    fn an_edge_on_every_address_is_reached_on_loopback() {
        assert_eq!(public_url("0.0.0.0:8787".parse().unwrap()), "http://127.0.0.1:8787");
        assert_eq!(public_url("192.0.2.7:80".parse().unwrap()), "http://192.0.2.7:80");
    }
}
