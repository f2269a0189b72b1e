//! Who is asking: the token is verified and its session looked up on every request, whatever the edge said.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, Method, header, request::Parts},
};
use kado_shared::{
    api_key::{self, Fingerprint, Requirement, Scope},
    claims::{AccessClaims, Expiry, Role},
    problem::Code,
    quota::{Action, Allowance, Price, Standing},
    settings::Settings,
    tenant::normalize_host,
};
use sqlx::PgConnection;
use std::sync::Arc;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    context::{Observation, RequestId},
    edge::Caller,
    failure::Failure,
};
use crate::{
    audit::{Actor, Entry},
    clock::unix,
    database::{DatabaseError, TenantTransaction},
    identity::{
        api_key as stored_key,
        session::{self, Lifetimes, Stored},
        turns::Turn,
    },
    quota::{self, Account, Cost},
    service::App,
};

/// Name of the session cookie. The prefix makes browsers insist on Secure, Path=/ and no Domain.
pub(crate) const COOKIE: &str = "__Host-kado";

/// A signed-in user whose password is their own.
#[derive(Clone, Debug)]
pub(crate) struct SignedIn(pub(crate) Principal);

/// A signed-in user who may still have to change the first password.
#[derive(Clone, Debug)]
pub(crate) struct SignedInAtAll(pub(crate) Principal);

/// A signed-in administrator whose password is their own.
#[derive(Clone, Debug)]
pub(crate) struct Administrator(pub(crate) Principal);

/// Who is asking, and how.
#[derive(Clone, Debug)]
pub(crate) struct Principal {
    pub(crate) caller: Caller,
    pub(crate) user: Uuid,
    pub(crate) email: String,
    pub(crate) role: Role,
    /// The session; none for an API key.
    pub(crate) session: Option<Uuid>,
    /// Whether the token came as a cookie.
    pub(crate) is_cookie: bool,
    pub(crate) must_change_password: bool,
    /// Revision of the configuration that was current when the session was checked.
    pub(crate) revision: u64,
    pub(crate) request_id: RequestId,
    /// What may be spent in an hour.
    pub(crate) allowance: Allowance,
    /// What the answer will tell.
    observation: Option<Arc<Observation>>,
}

impl Principal {
    /// What this user spends from.
    pub(crate) const fn account(&self, action: Action) -> Account {
        Account {
            tenant: self.caller.tenant,
            user: self.user,
            action,
        }
    }

    /// Tells in the answer's headers where the user stands.
    pub(crate) fn stands(&self, standing: Standing) {
        if let Some(observation) = &self.observation {
            observation.stands(standing);
        }
    }

    /// The session, for what only somebody who has signed in may do.
    ///
    /// # Errors
    /// 403 for an API key.
    pub(crate) fn session(&self) -> Result<Uuid, Failure> {
        self.session.ok_or_else(|| not_enough(None))
    }

    /// An audit entry of something this user does.
    pub(crate) fn entry<'a>(&'a self, app: &App, action: &'a str) -> Entry<'a> {
        Entry {
            tenant: Some(self.caller.tenant.0),
            at: app.clock.now(),
            actor: Actor::User(self.user),
            action,
            target: None,
            before: None,
            after: None,
            request_id: Some(self.request_id.as_str()),
            client_ip: Some(&self.caller.client_ip),
        }
    }
}

impl FromRequestParts<App> for SignedInAtAll {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        authenticate(parts, app).await.map(Self)
    }
}

impl FromRequestParts<App> for SignedIn {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let principal = authenticate(parts, app).await?;
        if principal.must_change_password {
            let detail = "The first password must be changed with POST /api/auth/password before anything else";
            return Err(Failure::new(Code::PasswordChangeRequired, detail));
        }
        Ok(Self(principal))
    }
}

impl FromRequestParts<App> for Administrator {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let SignedIn(principal) = SignedIn::from_request_parts(parts, app).await?;
        if principal.role != Role::Admin {
            let challenge = HeaderValue::from_static(r#"Bearer realm="kado", error="insufficient_scope""#);
            let failure = Failure::new(Code::Forbidden, "This needs the role ADMIN");
            return Err(failure.header(header::WWW_AUTHENTICATE, challenge));
        }
        Ok(Self(principal))
    }
}

/// Where a token came from.
#[derive(Debug, PartialEq, Eq)]
enum Presented {
    Bearer(String),
    Cookie(String),
}

/// A token that is rightly signed for this tenant, though it may have expired, and how it came. Its session has not been
/// looked at.
#[derive(Clone, Debug)]
pub(crate) struct SignedToken {
    pub(crate) caller: Caller,
    pub(crate) request_id: RequestId,
    pub(crate) claims: AccessClaims,
    pub(crate) is_cookie: bool,
}

impl FromRequestParts<App> for SignedToken {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let token = signed_token(parts, app, Expiry::Ignored).await?;
        if token.is_cookie && !parts.method.is_safe() {
            let mut transaction = app.database.begin(token.caller.tenant).await?;
            require_same_site(transaction.connection(), &parts.method, &parts.headers).await?;
            transaction.commit().await?;
        }
        Ok(token)
    }
}

/// On whose behalf the edge speaks, and in which request.
fn asked(parts: &Parts) -> Result<(Caller, RequestId), Failure> {
    let extension = |name: &str| Failure::internal(&Unsigned(name.to_owned()));
    let caller = parts
        .extensions
        .get::<Caller>()
        .cloned()
        .ok_or_else(|| extension("caller"))?;
    let request_id = parts
        .extensions
        .get::<RequestId>()
        .cloned()
        .ok_or_else(|| extension("request id"))?;
    Ok((caller, request_id))
}

async fn signed_token(parts: &Parts, app: &App, expiry: Expiry) -> Result<SignedToken, Failure> {
    let (caller, request_id) = asked(parts)?;
    let presented = presented(&parts.headers)?.ok_or_else(unauthorized)?;
    let (Presented::Bearer(token) | Presented::Cookie(token)) = &presented;
    let keys = app.keyring.current_for(token).await?;
    let claims = keys
        .verifier
        .verify(token, unix(app.clock.now()), expiry)
        .map_err(|error| invalid_token(&error))?;
    if claims.tenant != caller.tenant {
        return Err(invalid_token(&session::Refusal::OtherTenant));
    }
    Ok(SignedToken {
        caller,
        request_id,
        claims,
        is_cookie: matches!(presented, Presented::Cookie(_)),
    })
}

async fn authenticate(parts: &mut Parts, app: &App) -> Result<Principal, Failure> {
    if let Some(Presented::Bearer(key)) = presented(&parts.headers)?
        && key.starts_with(api_key::START)
    {
        return authenticate_key(parts, app, &key).await;
    }
    let SignedToken {
        caller,
        request_id,
        claims,
        is_cookie,
    } = signed_token(parts, app, Expiry::Required).await?;
    let now = app.clock.now();
    let _turn = turn_to_count(app, parts, claims.sub).await;
    let mut transaction = app.database.begin(caller.tenant).await?;
    let stored = session::load(transaction.connection(), claims.sid)
        .await?
        .ok_or_else(|| invalid_token(&session::Refusal::NoSession))?;
    let settings = app
        .settings
        .of_revision(transaction.connection(), caller.tenant, stored.revision)
        .await?;
    let lifetimes = lifetimes_of(&settings);
    session::check(&claims, caller.tenant, &stored, lifetimes, now).map_err(|refusal| invalid_token(&refusal))?;
    if is_cookie && !parts.method.is_safe() {
        require_same_site(transaction.connection(), &parts.method, &parts.headers).await?;
    }
    if session::is_due(&stored, now) {
        session::touch(transaction.connection(), claims.sid, now).await?;
    }
    let allowance = Allowance::of(&settings, stored.role, stored.granted.at(now));
    let principal = Principal {
        caller,
        user: stored.user,
        email: stored.email,
        role: stored.role,
        session: Some(claims.sid),
        is_cookie,
        must_change_password: stored.must_change_password,
        revision: stored.revision,
        request_id,
        allowance,
        observation: parts.extensions.get::<Arc<Observation>>().cloned(),
    };
    admit(app, parts, transaction, principal, now).await
}

/// All calls of a user are counted in one row: whoever waits for it waits without a connection.
async fn turn_to_count<'a>(app: &'a App, parts: &Parts, name: Uuid) -> Option<Turn<'a>> {
    match Price::of(parts.uri.path()) {
        Price::Nothing => None,
        _ => Some(app.calls.wait(name).await),
    }
}

/// Counts the request in the transaction that found out who makes it, and ends that.
///
/// # Errors
/// 429 for a user who has no calls left.
async fn admit(
    app: &App,
    parts: &Parts,
    mut transaction: TenantTransaction,
    principal: Principal,
    now: OffsetDateTime,
) -> Result<Principal, Failure> {
    if let Some(observation) = &principal.observation {
        let _ = observation.user.set(principal.user);
    }
    let price = Price::of(parts.uri.path());
    let mut refused = None;
    if price != Price::Nothing {
        let cost = Cost {
            count: 1,
            limit: principal.allowance.api_call,
            enforced: price == Price::Limited,
        };
        let account = principal.account(Action::ApiCall);
        let verdict = quota::spend(transaction.connection(), account, cost, now).await?;
        principal.stands(verdict.standing);
        app.metrics.spent(Action::ApiCall, 1, verdict.admitted);
        refused = (!verdict.admitted).then_some(verdict.standing);
    }
    transaction.commit().await?;
    match refused {
        Some(standing) => Err(quota::exceeded(Action::ApiCall, standing, now)),
        None => Ok(principal),
    }
}

/// An API key speaks for its user, on the routes that its scopes open.
async fn authenticate_key(parts: &Parts, app: &App, key: &str) -> Result<Principal, Failure> {
    let (caller, request_id) = asked(parts)?;
    let fingerprint = Fingerprint::of(key).ok_or_else(|| invalid_token(&stored_key::Refusal::Malformed))?;
    let now = app.clock.now();
    // Whose key it is is not known yet: many of one user's keep at most one connection each.
    let name = Uuid::from_slice(&fingerprint.sha256[..16]).unwrap_or_default();
    let _turn = turn_to_count(app, parts, name).await;
    let mut transaction = app.database.begin(caller.tenant).await?;
    let stored = stored_key::find(transaction.connection(), &fingerprint, now)
        .await?
        .map_err(|refusal| invalid_token(&refusal))?;
    match api_key::requirement(parts.method.as_str(), parts.uri.path()) {
        Requirement::Scope(scope) if stored.scopes.contains(&scope) => {}
        Requirement::Scope(scope) => return Err(not_enough(Some(scope))),
        // A route that asks who is there, and that no scope is for, is for people.
        Requirement::Session | Requirement::Nothing => return Err(not_enough(None)),
    }
    stored_key::touch(transaction.connection(), &stored, now).await?;
    let settings = app
        .settings
        .of_revision(transaction.connection(), caller.tenant, stored.revision)
        .await?;
    let principal = Principal {
        caller,
        user: stored.user,
        email: stored.email,
        role: stored.role,
        session: None,
        is_cookie: false,
        must_change_password: false,
        revision: stored.revision,
        request_id,
        allowance: Allowance::of(&settings, stored.role, stored.granted.at(now)),
        observation: parts.extensions.get::<Arc<Observation>>().cloned(),
    };
    admit(app, parts, transaction, principal, now).await
}

fn not_enough(scope: Option<Scope>) -> Failure {
    let detail = scope.map_or_else(
        || "No API key opens this: sign in with POST /api/auth/login".to_owned(),
        |scope| format!("The API key lacks the scope {scope}"),
    );
    let failure = Failure::new(Code::InsufficientScope, detail);
    match HeaderValue::from_str(&api_key::insufficient_scope(scope)) {
        Ok(challenge) => failure.header(header::WWW_AUTHENTICATE, challenge),
        Err(_) => failure,
    }
}

#[derive(Debug, thiserror::Error)]
#[error("an endpoint that needs a {0} is mounted outside the middleware that provides it")]
struct Unsigned(String);

/// How long the session may live, and be idle.
pub(crate) async fn lifetimes(
    app: &App,
    connection: &mut PgConnection,
    caller: &Caller,
    stored: &Stored,
) -> Result<Lifetimes, DatabaseError> {
    let settings = app
        .settings
        .of_revision(connection, caller.tenant, stored.revision)
        .await?;
    Ok(lifetimes_of(&settings))
}

fn lifetimes_of(settings: &Settings) -> Lifetimes {
    let seconds = |name| Duration::seconds(i64::try_from(settings.integer(name)).unwrap_or(i64::MAX));
    Lifetimes {
        idle: seconds("sessionTimeout"),
        whole: seconds("sessionMaxAge"),
    }
}

/// The token of a request; the `Authorization` header decides where a cookie comes too.
fn presented(headers: &HeaderMap) -> Result<Option<Presented>, Failure> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    if let Some(value) = given.next() {
        let token = value.to_str().ok().and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
        });
        return match (token, given.next()) {
            (Some(token), None) if !token.is_empty() => Ok(Some(Presented::Bearer(token))),
            _ => Err(invalid_token(&NotBearer)),
        };
    }
    Ok(cookie(headers).map(Presented::Cookie))
}

#[derive(Debug, thiserror::Error)]
#[error("the Authorization header is not one Bearer token")]
struct NotBearer;

fn cookie(headers: &HeaderMap) -> Option<String> {
    let pairs = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'));
    pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value.to_owned())
}

/// A cookie is sent by the browser, whoever asked it to; so a change needs the browser's word that it was our own page.
async fn require_same_site(connection: &mut PgConnection, method: &Method, headers: &HeaderMap) -> Result<(), Failure> {
    let refuse = |detail: &str| Failure::new(Code::CrossSite, format!("{method} with a cookie {detail}"));
    let site = headers
        .get("sec-fetch-site")
        .map(|value| value.to_str().unwrap_or_default());
    if site.is_some_and(|site| site != "same-origin") {
        return Err(refuse(
            "must come from the site's own pages (Sec-Fetch-Site: same-origin)",
        ));
    }
    let origin = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok());
    let host = origin
        .and_then(|origin| origin.split_once("://"))
        .and_then(|(_, host)| normalize_host(host));
    let host = host.ok_or_else(|| refuse("needs the Origin of the site's own pages"))?;
    let own = sqlx::query_scalar!(
        r#"select exists (select from tenant_hosts where host = $1) as "own!""#,
        host
    )
    .fetch_one(connection)
    .await
    .map_err(DatabaseError::from)?;
    if own {
        Ok(())
    } else {
        Err(refuse("needs the Origin of the site's own pages"))
    }
}

fn unauthorized() -> Failure {
    Failure::new(
        Code::Unauthorized,
        "Sign in with POST /api/auth/login and send the token as `Authorization: Bearer ..`",
    )
    .header(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static(r#"Bearer realm="kado""#),
    )
}

/// One answer for every reason: which one it was is for the log.
pub(crate) fn invalid_token(reason: &dyn std::error::Error) -> Failure {
    Failure::new(Code::InvalidToken, "The access token is not valid, or not any more")
        .because(reason)
        .header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(r#"Bearer realm="kado", error="invalid_token""#),
        )
}

#[cfg(test)]
mod tests {
    use super::{Presented, presented};
    use axum::http::{HeaderMap, HeaderName, HeaderValue};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn bearer_decides_where_both_come() {
        let both = headers(&[("cookie", "a=b; __Host-kado=c"), ("authorization", "bearer t")]);
        assert_eq!(presented(&both).unwrap(), Some(Presented::Bearer("t".into())));
        let cookie = headers(&[("cookie", "a=b; __Host-kado=c; d=e")]);
        assert_eq!(presented(&cookie).unwrap(), Some(Presented::Cookie("c".into())));
        assert_eq!(presented(&headers(&[("cookie", "x__Host-kado=c")])).unwrap(), None);
        assert_eq!(presented(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn another_scheme_is_no_token() {
        for value in ["Basic YTpi", "Bearer", "Bearer ", ""] {
            assert!(presented(&headers(&[("authorization", value)])).is_err(), "{value}");
        }
        let mut twice = headers(&[("authorization", "Bearer a")]);
        twice.append("authorization", HeaderValue::from_static("Bearer b"));
        assert!(presented(&twice).is_err());
    }
}
