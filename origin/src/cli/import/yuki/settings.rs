//! Settings that mean the same here, as the tenant's own. Values are never told: there are keys and passwords among them.

use kado_shared::{
    settings::{find, validate},
    tenant::TenantId,
};
use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::Part;
use crate::{
    audit::{self, Actor, Entry},
    database::DatabaseError,
    settings,
};

pub(super) async fn take(
    source: &mut PgConnection,
    target: &mut PgConnection,
    tenant: TenantId,
    now: OffsetDateTime,
) -> Result<Part, DatabaseError> {
    let rows: Vec<(String, Value)> = sqlx::query_as("select key, value from system_settings order by key")
        .fetch_all(source)
        .await?;
    settings::lock(target, Some(tenant)).await?;
    let own = settings::load(target, tenant).await?.tenant;
    let (mut part, mut before, mut after) = (Part::new("settings"), Map::new(), Map::new());
    for (key, value) in rows {
        let (name, value) = match translate(&key, plain(value)) {
            Ok(translated) => translated,
            Err(why) => {
                part.skip(&key, why);
                continue;
            }
        };
        match own.get(name) {
            Some(current) if *current == value => part.already += 1,
            Some(_) => part.skip(&key, "the tenant has a value of its own"),
            None => {
                settings::write(target, Some(tenant), name, Some(&value), None, now).await?;
                before.insert(name.to_owned(), Value::Null);
                after.insert(name.to_owned(), value);
                part.taken += 1;
            }
        }
    }
    if !after.is_empty() {
        let entry = Entry {
            tenant: Some(tenant.0),
            at: now,
            actor: Actor::Operator,
            action: "settings.update",
            target: None,
            before: Some(before.into()),
            after: Some(after.into()),
            request_id: None,
            client_ip: None,
        };
        audit::record(target, entry).await?;
    }
    Ok(part)
}

/// The old admin page wrapped what was no object.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(mut fields) if fields.len() == 1 && fields.contains_key("value") => {
            fields.remove("value").unwrap_or_default()
        }
        other => other,
    }
}

/// The setting here and its value, or why there is none.
fn translate(key: &str, value: Value) -> Result<(&'static str, Value), String> {
    let (name, value) = match key {
        "maxFileSize" | "max_file_size" => ("maxFileSize", number(&value, 1)?),
        // Minutes there, seconds here.
        "sessionTimeout" => ("sessionTimeout", number(&value, 60)?),
        "allowRegistration" => ("allowRegistration", value),
        "corsOrigins" => ("corsOrigins", origins(value)?),
        "maintenance" | "maintenanceMode" => {
            return Err("maintenance has a beginning and an end here: see the setting maintenance".to_owned());
        }
        "rateLimit" => return Err("limits are set one by one here: limitApi, limitProcess, limitLogin".to_owned()),
        _ => return Err("there is no such setting here".to_owned()),
    };
    debug_assert!(find(name).is_some_and(|setting| !setting.secret), "{name}");
    validate(name, &value).map(|()| (name, value))
}

/// A whole number, which the old admin page may have written as text, in another unit.
fn number(value: &Value, factor: i64) -> Result<Value, String> {
    let text = value.as_str().and_then(|text| text.trim().parse().ok());
    let number = value.as_i64().or(text).ok_or("it is no whole number there")?;
    number
        .checked_mul(factor)
        .map(Value::from)
        .ok_or_else(|| "it is too large".to_owned())
}

fn origins(value: Value) -> Result<Value, String> {
    match value {
        Value::String(text) if text.trim() == "*" => Err("only exact origins are let in here, not *".to_owned()),
        Value::String(text) => {
            let origins = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
            Ok(json!(origins.collect::<Vec<_>>()))
        }
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::{plain, translate};
    use serde_json::json;

    #[test]
    fn values_are_translated_or_refused_with_a_reason() {
        for (key, value, wanted) in [
            ("maxFileSize", json!({"value": "10485760"}), json!(10_485_760)),
            ("sessionTimeout", json!(30), json!(1800)),
            (
                "corsOrigins",
                json!("https://a.example, https://b.example"),
                json!(["https://a.example", "https://b.example"]),
            ),
            ("allowRegistration", json!({"value": false}), json!(false)),
        ] {
            assert_eq!(translate(key, plain(value)).unwrap().1, wanted, "{key}");
        }
        for (key, value, hint) in [
            ("sessionTimeout", json!(i64::MAX), "too large"),
            ("sessionTimeout", json!(0), "60"),
            ("maxFileSize", json!("much"), "whole number"),
            ("allowRegistration", json!("yes"), "true or false"),
            ("smtpPassword", json!("hunter2"), "no such setting"),
        ] {
            let why = translate(key, value).unwrap_err();
            assert!(why.contains(hint) && !why.contains("hunter2"), "{key}: {why}");
        }
    }
}
