//! `kado events`: what was done and counted for a tenant, as JSON lines, oldest first; for exports and for questions
//! about single requests.

use serde_json::Value;
use sqlx::PgConnection;
use std::process::ExitCode;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use super::{CommandError, connect::DatabaseArgs, say, settings};
use crate::database::DatabaseError;

/// Events of one query.
const PAGE: i64 = 1000;

/// Flags of `kado events`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A host of the tenant concerned.
    #[arg(long, value_name = "HOST")]
    tenant: String,
    /// The sums of each hour instead of single events: hits, refusals, bytes.
    #[arg(long)]
    counts: bool,
    /// Only what was done at this time or later, such as 2027-01-15T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<OffsetDateTime>,
    #[command(flatten)]
    database: DatabaseArgs,
}

fn parse_time(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|error| format!("{error}; a time looks like 2027-01-15T08:00:00Z"))
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, CommandError> {
    let mut connection = args.database.connect_as_system("events").await?;
    let tenant = settings::resolve(&mut connection, Some(&args.tenant)).await?;
    // A host that is nobody's is refused above.
    let tenant = tenant.map_or(Uuid::nil(), |tenant| tenant.0);
    let since = args.since.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    if args.counts {
        for line in counts(&mut connection, tenant, since).await? {
            say(&line.to_string());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut after = (since, Uuid::nil());
    loop {
        let page = events(&mut connection, tenant, after).await?;
        let Some((last, _)) = page.last() else {
            return Ok(ExitCode::SUCCESS);
        };
        after = *last;
        for (_, line) in page {
            say(&line.to_string());
        }
    }
}

type Position = (OffsetDateTime, Uuid);

async fn events(
    connection: &mut PgConnection,
    tenant: Uuid,
    (at, id): Position,
) -> Result<Vec<(Position, Value)>, DatabaseError> {
    let rows = sqlx::query!(
        r#"select at, id, jsonb_strip_nulls(jsonb_build_object(
               'id', id, 'at', at, 'kind', kind, 'result', result, 'requestId', request_id, 'traceId', trace_id,
               'user', user_id, 'ms', ms, 'lane', lane, 'sourceFormat', source_format, 'bytesIn', bytes_in,
               'format', format, 'width', width, 'height', height, 'bytesOut', bytes_out)) as "line!"
           from image_events where tenant_id = $1 and (at, id) > ($2, $3) order by at, id limit $4"#,
        tenant,
        at,
        id,
        PAGE,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| ((row.at, row.id), row.line)).collect())
}

async fn counts(
    connection: &mut PgConnection,
    tenant: Uuid,
    since: OffsetDateTime,
) -> Result<Vec<Value>, DatabaseError> {
    Ok(sqlx::query_scalar!(
        r#"select jsonb_build_object('hour', hour, 'name', name, 'count', count) as "line!"
           from edge_counts where tenant_id = $1 and hour >= $2 order by hour, name"#,
        tenant,
        since,
    )
    .fetch_all(connection)
    .await?)
}

#[cfg(test)]
mod tests {
    use super::{PAGE, counts, events, parse_time};
    use crate::api::testing::TestApp;
    use std::collections::HashSet;
    use time::OffsetDateTime;
    use uuid::Uuid;

    #[tokio::test]
    async fn every_event_is_shown_once_though_many_share_a_moment() {
        let Some(app) = TestApp::start().await else { return };
        app.execute(
            "insert into image_events (tenant_id, id, at, received_at, kind, result, request_id, ms)
             select id, gen_random_uuid(), now(), now(), 'upload', 'ok', '12345678', 1 from tenants, generate_series(1, 2500)",
        )
        .await;
        let mut connection = app.database().superuser().acquire().await.unwrap();
        let (mut after, mut seen, mut pages) = ((OffsetDateTime::UNIX_EPOCH, Uuid::nil()), HashSet::new(), 0);
        loop {
            let page = events(&mut connection, app.tenant.0, after).await.unwrap();
            let Some((last, line)) = page.last() else { break };
            assert_eq!((line["kind"].as_str(), line.get("lane")), (Some("upload"), None));
            after = *last;
            pages += 1;
            seen.extend(page.into_iter().map(|((_, id), _)| id));
        }
        assert_eq!(
            (seen.len(), pages),
            (2500, 2500_usize.div_ceil(usize::try_from(PAGE).unwrap()))
        );
        assert!(
            counts(&mut connection, app.tenant.0, OffsetDateTime::UNIX_EPOCH)
                .await
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_time_that_is_none_is_told_how_one_looks() {
        assert!(parse_time("yesterday").unwrap_err().contains("2027-01-15T08:00:00Z"));
        assert!(parse_time("2027-01-15T08:00:00+02:00").is_ok());
    }
}
