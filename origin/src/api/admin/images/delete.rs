//! `DELETE /api/admin/images/{id}`: anybody's picture. What that takes is in `api/images/delete.rs`.

use axum::{extract::State, http::StatusCode};

use crate::{
    api::{
        images::delete::{DeleteError, Whose, delete},
        openapi::parameters::IdInPath as IdInPathParameter,
    },
    http::{authentication::Administrator, extract::IdInPath},
    service::App,
};

/// Deletes anybody's original.
///
/// The bytes go when no other upload has the same ones, and what caches have of it within 5 s.
#[utoipa::path(delete, path = "/api/admin/images/{id}", operation_id = "delete_image_of_anybody", params(IdInPathParameter),
    responses((status = 204, description = "It is gone.")))]
pub(crate) async fn delete_image(
    State(app): State<App>,
    Administrator(principal): Administrator,
    IdInPath(id): IdInPath,
) -> Result<StatusCode, DeleteError> {
    delete(&app, &principal, id, Whose::Anybodys).await
}

#[cfg(test)]
mod tests {
    use crate::api::testing::{TestApp, png};
    use serde_json::{Value, json};

    #[tokio::test(flavor = "multi_thread")]
    async fn anybodys_picture_is_deleted_and_audited_with_whose_it_was() {
        let Some(app) = TestApp::start().await else { return };
        let (admin, user) = (app.admin_token().await, app.user_token("user@localhost").await);
        let uploaded = app.upload(&user, png(6, 4)).await.json();
        let id = uploaded["id"].as_str().unwrap();
        let target = format!("/api/admin/images/{id}");
        assert_eq!(app.delete_as(&user, &target).await.status, 403);
        assert_eq!(app.delete_as(&admin, &target).await.status, 204);
        assert_eq!(app.delete_as(&admin, &target).await.status, 404);
        assert_eq!((app.files(), app.count("select count(*) from blobs").await), (0, 0));
        let before: Value = sqlx::query_scalar("select before from audit_logs where action = 'images.delete'")
            .fetch_one(app.database().superuser())
            .await
            .unwrap();
        let of: String = sqlx::query_scalar("select id::text from users where email = 'user@localhost'")
            .fetch_one(app.database().superuser())
            .await
            .unwrap();
        assert_eq!(
            (
                &before["userId"],
                &before["width"],
                &before["height"],
                &before["format"]
            ),
            (&json!(of), &json!(6), &json!(4), &json!("png"))
        );
        assert!(before["sha256"].is_string());
        assert_eq!(
            app.count("select count(*) from cache_purges").await,
            1,
            "caches are told"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn another_tenants_picture_is_not_there() {
        let Some(app) = TestApp::start().await else { return };
        let admin = app.admin_token().await;
        app.execute("insert into tenants (name) values ('other')").await;
        app.execute("insert into blobs select id, sha256(''), 1, 1, now() from tenants where name = 'other'")
            .await;
        app.execute(
            "insert into images select tenant_id, '6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d', sha256, null, 1, 1, 'png', now()
             from blobs",
        )
        .await;
        let target = "/api/admin/images/6f1c1b9e-7c0a-4d8e-9d51-0b8f5a1f2e3d";
        assert_eq!(app.delete_as(&admin, target).await.status, 404);
        assert_eq!(app.get_as(&admin, "/api/admin/images").await.json()["items"], json!([]));
        assert_eq!(app.count("select count(*) from images").await, 1);
    }
}
