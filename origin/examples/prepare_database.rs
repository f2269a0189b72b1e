//! Lays out the database that `DATABASE_URL` names, for the checked queries to be checked against.
//!
//! It compiles without any of them, so it also works when the committed metadata is out of date. To renew that metadata:
//!
//! ```text
//! DATABASE_URL=.. cargo run -p kado-origin --example prepare_database
//! rm -f .sqlx/query-*.json; touch origin/src/main.rs
//! SQLX_OFFLINE=false DATABASE_URL=.. SQLX_OFFLINE_DIR="$PWD/.sqlx" cargo check -p kado-origin --all-targets
//! ```
//!
//! The macros write one file per query and overwrite what is there; `SQLX_OFFLINE_DIR` must be absolute and must exist.

use sqlx::{Connection, PgConnection};
use std::process::ExitCode;

#[expect(dead_code, reason = "only `up` is needed here")]
#[path = "../src/database/migration.rs"]
mod migration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Ok(address) = std::env::var("DATABASE_URL") else {
        eprintln!("DATABASE_URL is not set");
        return ExitCode::from(64);
    };
    match prepare(&address).await {
        Ok(versions) => {
            println!("applied {} migrations", versions.len());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!(
                "{error}: {:?}",
                std::error::Error::source(&error).map(ToString::to_string)
            );
            ExitCode::from(70)
        }
    }
}

async fn prepare(address: &str) -> Result<Vec<i64>, migration::MigrationError> {
    let mut connection = PgConnection::connect(address).await?;
    migration::up(&mut connection, &migration::Passwords::default()).await
}
