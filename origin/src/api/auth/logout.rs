//! `POST /api/auth/logout`: ends the session of the token, here at once and at the edges within seconds.

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    audit,
    http::{
        authentication::{COOKIE, SignedInAtAll},
        failure::Failure,
    },
    identity::session,
    service::App,
};

/// Ends the session, here at once and at the edges within 5 s.
#[utoipa::path(post, path = "/api/auth/logout",
    responses((status = 204, description = "It has ended.",
        headers(("Set-Cookie" = String, description = "Takes `__Host-kado` back.")))))]
pub(crate) async fn post_logout(
    State(app): State<App>,
    SignedInAtAll(principal): SignedInAtAll,
) -> Result<Response, Failure> {
    let session = principal.session()?;
    let mut transaction = app.database.begin(principal.caller.tenant).await?;
    let ended = session::end(transaction.connection(), session, "logout", app.clock.now()).await?;
    if ended {
        let mut entry = principal.entry(&app, "auth.logout");
        entry.target = Some(session.to_string());
        audit::record(transaction.connection(), entry).await?;
    }
    transaction.commit().await?;
    app.metrics.session("ended", u64::from(ended));
    let forget = format!("{COOKIE}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict");
    let cookie = HeaderValue::from_str(&forget).map_err(|error| Failure::internal(&error))?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

#[cfg(test)]
mod tests {
    use crate::api::testing::TestApp;
    use serde_json::json;

    #[tokio::test]
    async fn the_token_is_dead_afterwards_and_the_edges_are_told() {
        let Some(app) = TestApp::start().await else { return };
        let (token, other) = (app.admin_token().await, app.admin_token().await);
        let before = app.count("select revision from edge_state").await;
        let answer = app.post_as(&token, "/api/auth/logout", &json!({})).await;
        assert_eq!(answer.status, 204, "{}", answer.text());
        assert!(answer.header("set-cookie").unwrap().contains("Max-Age=0"));
        assert_eq!(app.get_as(&token, "/api/auth/me").await.status, 401);
        assert_eq!(app.get_as(&other, "/api/auth/me").await.status, 200);
        assert!(app.count("select revision from edge_state").await > before);
        assert_eq!(
            app.count("select count(*) from audit_logs where action = 'auth.logout'")
                .await,
            1
        );
    }

    #[tokio::test]
    async fn a_cookie_needs_the_sites_own_page() {
        let Some(app) = TestApp::start().await else { return };
        let token = app.admin_token().await;
        let logout = |headers: &[(&str, &str)]| {
            let request = app
                .signed("POST", "/api/auth/logout")
                .header("cookie", format!("__Host-kado={token}"));
            let request = headers
                .iter()
                .fold(request, |request, (name, value)| request.header(*name, *value));
            app.send(request.body("".into()).unwrap())
        };
        for headers in [
            &[][..],
            &[("origin", "https://evil.example")],
            &[("origin", "null")],
            &[("origin", "http://localhost:8787"), ("sec-fetch-site", "cross-site")],
            &[("origin", "http://localhost:8787"), ("sec-fetch-site", "same-site")],
        ] {
            let answer = logout(headers).await;
            assert_eq!(
                (answer.status, &answer.json()["code"]),
                (403, &json!("cross-site-request")),
                "{headers:?}"
            );
        }
        assert_eq!(
            logout(&[("origin", "http://localhost:8787"), ("sec-fetch-site", "same-origin")])
                .await
                .status,
            204
        );
    }
}
