//! `GET /api/auth/me`: who the token speaks for.

use axum::Json;
use serde::Serialize;
use uuid::Uuid;

use super::UserView;
use crate::http::{authentication::SignedInAtAll, failure::Failure};

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Me {
    user: UserView,
    session_id: Uuid,
    tenant: Uuid,
}

/// Who the token speaks for.
#[utoipa::path(get, path = "/api/auth/me", responses((status = 200, description = "The user.", body = Me)))]
pub(crate) async fn get_me(SignedInAtAll(principal): SignedInAtAll) -> Result<Json<Me>, Failure> {
    Ok(Json(Me {
        session_id: principal.session()?,
        tenant: principal.caller.tenant.0,
        user: UserView {
            id: principal.user,
            email: principal.email,
            role: principal.role,
            must_change_password: principal.must_change_password,
        },
    }))
}

#[cfg(test)]
mod tests {
    use crate::api::testing::TestApp;
    use kado_shared::{
        claims::{AccessClaims, Expiry, Role, SigningKey, sign},
        tenant::TenantId,
    };
    use time::Duration;
    use uuid::Uuid;

    async fn refused(app: &TestApp, token: &str) -> bool {
        let answer = app.get_as(token, "/api/auth/me").await;
        let challenge = answer
            .header("www-authenticate")
            .unwrap_or_default()
            .contains("invalid_token");
        answer.status == 401 && challenge && answer.json()["code"] == "invalid-token"
    }

    #[tokio::test]
    async fn it_tells_who_asks() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let answer = app.get_as(&token, "/api/auth/me").await;
        let body = answer.json();
        assert_eq!(
            (answer.status, &body["user"]["email"]),
            (200, &"admin@localhost".into())
        );
        assert_eq!(body["tenant"], app.tenant.to_string());
        let without = app.get("/api/auth/me").await;
        assert_eq!(
            (without.status, without.header("www-authenticate")),
            (401, Some(r#"Bearer realm="kado""#))
        );
    }

    #[tokio::test]
    async fn the_session_counts_whatever_the_token_says() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        for (change, back) in [
            ("update users set active = false", "update users set active = true"),
            ("update users set role = 'USER'", "update users set role = 'ADMIN'"),
            (
                "update sessions set generation = 1",
                "update sessions set generation = 0",
            ),
            ("update edge_state set epoch = 2", "update edge_state set epoch = 1"),
            (
                "update sessions set ended_at = now(), end_reason = 'test'",
                "update sessions set ended_at = null, end_reason = null",
            ),
        ] {
            app.execute(change).await;
            assert!(refused(&app, &token).await, "{change}");
            app.execute(back).await;
            assert_eq!(app.get_as(&token, "/api/auth/me").await.status, 200, "{back}");
        }
        app.execute("delete from sessions").await;
        assert!(refused(&app, &token).await);
    }

    #[tokio::test]
    async fn tokens_expire_and_idle_sessions_end() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        app.clock.advance(Duration::minutes(14));
        assert_eq!(app.get_as(&token, "/api/auth/me").await.status, 200);
        app.clock.advance(Duration::minutes(2));
        assert!(refused(&app, &token).await);
        let token = app.admin_token().await;
        app.execute("insert into system_settings (tenant_id, name, value) values (null, 'sessionTimeout', '60')")
            .await;
        app.clock.advance(Duration::seconds(61));
        assert!(refused(&app, &token).await);
    }

    #[tokio::test]
    async fn forged_and_foreign_tokens_do_not_count() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let keys = app.service.keyring.current().await.unwrap();
        let claims = keys.verifier.verify(&token, app.now(), Expiry::Required).unwrap();
        let mint = |claims: &AccessClaims| sign(claims, &keys.kid, &keys.signing).unwrap();
        let foreign = [
            mint(&AccessClaims {
                tenant: TenantId(Uuid::nil()),
                ..claims.clone()
            }),
            mint(&AccessClaims {
                iss: "https://evil.example".into(),
                ..claims.clone()
            }),
            mint(&AccessClaims {
                sid: Uuid::nil(),
                ..claims.clone()
            }),
            mint(&AccessClaims {
                sub: Uuid::nil(),
                ..claims.clone()
            }),
            mint(&AccessClaims {
                role: Role::Premium,
                ..claims.clone()
            }),
            sign(&claims, &keys.kid, &SigningKey::from_bytes(&[1; 32])).unwrap(),
            sign(&claims, "unknown-kid", &keys.signing).unwrap(),
            "garbage".to_owned(),
            "a.b.c".to_owned(),
        ];
        for token in foreign {
            assert!(refused(&app, &token).await, "{token}");
        }
    }

    #[tokio::test]
    async fn a_cookie_signs_in_too() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let request = app
            .signed("GET", "/api/auth/me")
            .header("cookie", format!("__Host-kado={token}"));
        assert_eq!(app.send(request.body("".into()).unwrap()).await.status, 200);
    }
}
