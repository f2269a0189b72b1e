//! Liveness and readiness, as an operator's probes see them.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use kado_tests::{Client, Site, external, own_system, site, wait_until};
use xtask::system::Part;

#[test]
fn liveness_is_answered_by_the_edge_exactly() -> Result<()> {
    let client = Client::new(&site::shared()?.edge, "any.host.example");
    let answer = client.get("/api/health/liveness")?;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, br#"{"ok":true,"status":"alive"}"#);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    Ok(())
}

#[test]
fn readiness_names_every_component() -> Result<()> {
    let answer = Client::new(&site::shared()?.edge, "localhost").get("/api/health")?;
    let body = answer.json();
    assert_eq!(
        (answer.status, &body["ready"]),
        (200, &serde_json::json!(true)),
        "{body}"
    );
    for component in ["database", "migrations", "startup"] {
        assert_eq!(body["components"][component]["ok"], true, "{component}: {body}");
    }
    assert!(body["version"].is_string() && body["uptime"].is_number(), "{body}");
    Ok(())
}

#[test]
fn readiness_falls_with_the_database_and_comes_back_with_it_while_liveness_and_cached_pictures_stay() -> Result<()> {
    let system = own_system(|_| {})?;
    let run = system.run_file();
    let site = Site::in_system(&run)?;
    let id = site.upload(&kado_tests::pictures::photo_jpeg(800, 600))?;
    let address = format!("/img/w=100/u/{id}");
    assert_eq!(site.client.get(&address)?.cache(), "miss");
    wait_until("the picture is cached", Duration::from_secs(5), || {
        site.client.get(&address).ok().filter(|answer| answer.cache() == "hit")
    })?;

    system.suspend(Part::Postgres)?;
    let down = wait_until("readiness says 503", Duration::from_secs(15), || {
        site.client
            .get("/api/health")
            .ok()
            .filter(|answer| answer.status == 503)
    })?;
    assert_eq!(down.json()["ready"], false, "{}", down.json());
    assert_eq!(site.client.get("/api/health/liveness")?.status, 200);
    let cached = site.client.get(&address)?;
    assert_eq!((cached.status, cached.cache()), (200, "hit"));
    let refused = site.login(&site.email, &site.password)?;
    assert_eq!(refused.outcome(), (503, "unavailable".to_owned()), "{}", refused.json());
    assert!(refused.header("retry-after").is_some());

    let pid = system.status(Part::Origin).pid;
    system.resume(Part::Postgres)?;
    wait_until("readiness says 200 again", Duration::from_secs(20), || {
        site.client
            .get("/api/health")
            .ok()
            .filter(|answer| answer.status == 200)
    })?;
    assert_eq!(
        system.status(Part::Origin).pid,
        pid,
        "the origin recovered without a restart"
    );
    assert_eq!(site.login(&site.email, &site.password)?.status, 200);
    system.stop();
    Ok(())
}

#[test]
fn without_an_origin_the_edge_itself_says_that_the_site_is_not_ready() -> Result<()> {
    let system = own_system(|_| {})?;
    let client = Client::new(&system.edge(), "localhost");
    system.suspend(Part::Origin)?;
    let answer = wait_until("readiness says 503", Duration::from_secs(15), || {
        client.get("/api/health").ok().filter(|answer| answer.status == 503)
    })?;
    assert_eq!(answer.json()["components"]["origin"]["ok"], false, "{}", answer.json());
    assert_eq!(client.get("/api/health/liveness")?.status, 200);
    let api = client.get("/api/auth/me")?;
    assert!(matches!(api.status, 401 | 503), "{}", api.status);
    system.resume(Part::Origin)?;
    wait_until("readiness says 200 again", Duration::from_secs(20), || {
        client.get("/api/health").ok().filter(|answer| answer.status == 200)
    })?;
    system.stop();
    Ok(())
}

#[test]
fn without_its_redis_the_site_is_degraded_but_ready_and_recovers() -> Result<()> {
    let Some(program) = external::program(&["redis-server"])? else {
        return Ok(());
    };
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port().to_string();
    drop(listener);
    let start = || {
        external::Running::start(Command::new(&program).args(["--bind", "127.0.0.1", "--port", &port, "--save", ""]))
    };
    let mut redis = start()?;
    let system = own_system(|options| {
        let address = format!("redis://127.0.0.1:{port}");
        options.environment.push(("REDIS_URL".to_owned(), address));
    })?;
    let client = Client::new(&system.edge(), "localhost");
    let until = |status: &str| {
        wait_until(status, Duration::from_secs(15), || {
            let answer = client.get("/api/health").ok()?;
            (answer.status == 200 && answer.json()["status"] == status && answer.json()["ready"] == true)
                .then_some(answer)
        })
    };
    assert_eq!(until("healthy")?.json()["components"]["redis"]["ok"], true);
    redis.kill()?;
    assert_eq!(until("degraded")?.json()["components"]["redis"]["ok"], false);
    let _redis_again = start()?;
    until("healthy")?;
    system.stop();
    Ok(())
}
