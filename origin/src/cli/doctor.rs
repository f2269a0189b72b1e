//! `kado doctor`: one line per thing that has to be right, with what to do where it is not.

use std::{process::ExitCode, sync::Arc};

use super::{CommandError, configuration, say};
use crate::{
    clock::SystemClock,
    database::{Database, MIN_SCHEMA, SchemaState, check_role, schema_state},
    entropy::{Entropy, SystemEntropy},
    http::failure::chain,
    identity::keyring::Keyring,
    seal::{Purpose, Sealer},
};

/// Flags of `kado doctor`: those of `kado serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    configuration: configuration::Args,
}

/// The lines so far.
#[derive(Debug, Default)]
struct Findings {
    good: usize,
    bad: usize,
}

impl Findings {
    fn good(&mut self, name: &str, detail: &str) {
        self.good += 1;
        say(&format!("ok    {name:<14} {detail}"));
    }

    fn bad(&mut self, name: &str, detail: &str) {
        self.bad += 1;
        let detail = kado_shared::redact::redact_text(detail).unwrap_or_else(|| detail.to_owned());
        say(&format!("WRONG {name:<14} {detail}"));
    }

    fn result<E: std::error::Error>(&mut self, name: &str, result: Result<String, E>) {
        match result {
            Ok(detail) => self.good(name, &detail),
            Err(error) => self.bad(name, &chain(&error)),
        }
    }
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, CommandError> {
    let mut findings = Findings::default();
    let configuration = match args.configuration.check() {
        Ok(configuration) => configuration,
        Err(error) => {
            for fault in error.to_string().split("; ") {
                findings.bad("configuration", fault);
            }
            return Ok(ExitCode::from(64));
        }
    };
    findings.good("configuration", &configuration.public_url);
    let database = Database::connect_lazily(&configuration.database_url, &configuration.system_database_url, 2)?;
    check_database(&database, &mut findings).await;
    let sealer = Sealer::new(&configuration.jwt_secret, Purpose::SIGNING_KEYS);
    let keyring = Keyring::new(
        database.app().clone(),
        sealer,
        configuration.public_url.clone(),
        Arc::new(SystemClock),
    );
    findings.result(
        "signing keys",
        keyring
            .current()
            .await
            .map(|keys| format!("{} signs, {} published", keys.kid, keys.published.len())),
    );
    let entropy: &dyn Entropy = &SystemEntropy;
    match configuration.open_blobs() {
        Ok(blobs) => findings.result(
            "blob store",
            blobs
                .check(entropy.uuid())
                .await
                .map(|()| configuration.blob_folder.display().to_string()),
        ),
        Err(error) => findings.bad("blob store", &error.to_string()),
    }
    match &configuration.redis {
        None => findings.good("redis", "not configured"),
        Some(redis) => findings.result("redis", redis.ping().await.map(|()| "answers".to_owned())),
    }
    say(&format!("{} right, {} wrong", findings.good, findings.bad));
    Ok(if findings.bad == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(70)
    })
}

async fn check_database(database: &Database, findings: &mut Findings) {
    match schema_state(database.app()).await {
        Ok(SchemaState::Sufficient(version)) => {
            findings.good("database", "answers");
            findings.good("schema", &format!("{version}, needs {MIN_SCHEMA}"));
        }
        Ok(SchemaState::TooOld(version)) => {
            findings.good("database", "answers");
            findings.bad(
                "schema",
                &format!("{version} is older than {MIN_SCHEMA}: run `kado migrate up`"),
            );
        }
        Err(error) => findings.bad("database", &chain(&error)),
    }
    for (pool, variable, role) in [
        (database.app(), "DATABASE_URL", "kado_app"),
        (database.system(), "SYSTEM_DATABASE_URL", "kado_system"),
    ] {
        match check_role(pool, variable, role).await {
            Ok(verdict) => findings.result(role, verdict.map(|()| format!("{variable} logs in as it"))),
            Err(error) => findings.bad(role, &chain(&error)),
        }
    }
}
