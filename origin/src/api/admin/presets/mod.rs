//! Presets of the tenant: made, listed, read, changed, deleted. Every edge knows within 5 s.

pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod list;
pub(crate) mod read;

use axum::{
    Json,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use kado_imaging::options::{Overlay, Preset};
use kado_shared::{problem::FieldError, purge, source::Source, tenant::TenantId};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    api::page::timestamp,
    cdn,
    database::DatabaseError,
    http::{conditional::entity_tag, failure::Failure},
};

/// Longest options, in bytes, as given and in normal form.
const LONGEST_OPTIONS: usize = 2_000;
/// Longest title, in characters.
const LONGEST_TITLE: usize = 100;
/// Longest description, in characters.
const LONGEST_DESCRIPTION: usize = 500;

/// A preset as administrators see it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Preset)]
pub(crate) struct PresetView {
    #[schema(pattern = "^[a-z0-9_-]{1,64}$")]
    name: String,
    /// In normal form.
    #[schema(max_length = 2_000)]
    options: String,
    #[schema(max_length = 100)]
    title: String,
    #[schema(max_length = 500)]
    description: String,
    /// Whether pictures made by it may carry the watermark.
    branding: bool,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

/// What a view is made of.
struct Row {
    id: Uuid,
    name: String,
    options: String,
    title: String,
    description: String,
    branding: bool,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl Row {
    fn view(self) -> PresetView {
        PresetView {
            name: self.name,
            options: self.options,
            title: self.title,
            description: self.description,
            branding: self.branding,
            created_at: timestamp(self.created_at),
            updated_at: timestamp(self.updated_at),
        }
    }
}

impl PresetView {
    /// Strong entity tag: changes with every change.
    fn etag(&self) -> String {
        entity_tag(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// The preset with its entity tag, for a later `If-Match`.
    fn answer(self) -> Result<Response, Failure> {
        let etag = HeaderValue::from_str(&self.etag()).map_err(|error| Failure::internal(&error))?;
        Ok(([(header::ETAG, etag)], Json(self)).into_response())
    }

    /// For the audit log.
    fn audited(&self) -> Value {
        json!({ "options": self.options, "title": self.title, "description": self.description, "branding": self.branding })
    }
}

/// What administrators decide about a preset.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    options: String,
    title: String,
    description: String,
    branding: bool,
}

impl Content {
    /// The same with its options in normal form, or every fault.
    fn check(self) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut complain = |field: String, detail: String| errors.push(FieldError { field, detail });
        let title = self.title.trim().to_owned();
        if title.chars().count() > LONGEST_TITLE || title.chars().any(char::is_control) {
            let detail = format!("must have at most {LONGEST_TITLE} characters, no control characters among them");
            complain("title".to_owned(), detail);
        }
        let description = self.description.trim().to_owned();
        let hostile = |character: char| character.is_control() && character != '\n';
        if description.chars().count() > LONGEST_DESCRIPTION || description.chars().any(hostile) {
            let detail = format!(
                "must have at most {LONGEST_DESCRIPTION} characters, no control characters but newlines among them"
            );
            complain("description".to_owned(), detail);
        }
        let options = if self.options.len() > LONGEST_OPTIONS {
            Err(vec![too_long()])
        } else {
            read_options(&self.options, self.branding)
        };
        match options {
            Ok(options) if errors.is_empty() => Ok(Self {
                options,
                title,
                description,
                branding: self.branding,
            }),
            Ok(_) => Err(errors),
            Err(mut of_options) => {
                of_options.append(&mut errors);
                Err(of_options)
            }
        }
    }
}

fn too_long() -> FieldError {
    FieldError {
        field: "options".to_owned(),
        detail: format!("may have {LONGEST_OPTIONS} bytes, in normal form as well"),
    }
}

/// The options in normal form, or every fault of theirs: `options.width`.
fn read_options(text: &str, branding: bool) -> Result<String, Vec<FieldError>> {
    let preset = Preset::parse(text, branding).map_err(|errors| {
        let field = |error: &kado_imaging::OptionError| FieldError {
            field: format!("options.{}", error.option),
            detail: error.detail(),
        };
        errors.iter().map(field).collect::<Vec<_>>()
    })?;
    if let Some(Overlay::Picture(id)) = preset.options().draw.as_ref().map(|draw| &draw.overlay)
        && Source::parse(&format!("u/{id}"), None).is_err()
    {
        return Err(vec![FieldError {
            field: "options.draw".to_owned(),
            detail: format!("'u:{id}' is not valid: u: and the identifier of a stored picture, a lower-case UUID"),
        }]);
    }
    let normal_form = preset.normal_form();
    if normal_form.len() > LONGEST_OPTIONS {
        return Err(vec![too_long()]);
    }
    Ok(normal_form)
}

/// Tells a CDN in front that what was made by a preset is no longer what it stands for. Our own caches need no word: the
/// options are in their keys.
async fn tell_cdn(
    connection: &mut PgConnection,
    tenant: TenantId,
    name: &str,
    now: OffsetDateTime,
) -> Result<(), DatabaseError> {
    cdn::enqueue(connection, tenant, &[purge::preset_tag(tenant, name)], now).await
}
