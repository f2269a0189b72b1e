//! Starting, ending, and what happens when something is killed.

use std::io::Read;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Client, Edge, IDLE, Job, Metrics, command, runs, signal, workerd};

#[tokio::test]
async fn both_roles_have_their_bindings_and_nothing_else() {
    let Some(workerd) = workerd() else { return };
    let dir = tempfile::tempdir().unwrap();
    let flags = [
        "--production",
        "--client-ip",
        "header:x-real-ip",
        "--trusted-proxies",
        "10.0.0.0/8",
    ];
    let edge = Edge::start(dir.path(), &workerd, &flags).await;
    let env: serde_json::Value = serde_json::from_slice(&edge.get("/env").await.body).unwrap();
    assert_eq!(
        env["texts"],
        serde_json::json!({
            "ROLE": "gateway",
            "CLIENT_IP": "header:x-real-ip",
            "TRUSTED_PROXIES": "10.0.0.0/8",
            "ENVIRONMENT": "production",
            // Empty: there is no second origin.
            "SHADOW_URL": "",
            "EDGE_SECRET": "a secret of the tests that is long enough to sign with",
        })
    );
    let services = [
        "FLIGHT",
        "INTERNAL",
        "ORIGIN",
        "OUTBOX",
        "RATE_LIMITER",
        "SHADOW",
        "SNAPSHOT",
        "TRANSFORM",
    ];
    for name in services {
        assert!(env["all"].as_array().unwrap().contains(&name.into()), "{name}");
    }
    assert_eq!(env["all"].as_array().unwrap().len(), services.len() + 6);

    // No network by fetch(), neither to this machine nor to the world.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let inside = format!("http://{}/", listener.local_addr().unwrap());
    for to in [inside.as_str(), "http://93.184.215.14/"] {
        let gateway = edge.get(&format!("/network?to={to}")).await;
        assert!(gateway.text().starts_with("threw"), "{}", gateway.text());
        let transform = edge.job(&Job::new(&format!("network={to}"))).await;
        assert!(transform.text().starts_with("threw"), "{}", transform.text());
    }
    assert!(listener.accept().is_err(), "nobody connected");
}

#[tokio::test]
async fn durable_objects_survive_a_restart_and_a_second_edge_is_kept_off_their_disk() {
    let Some(workerd) = workerd() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut edge = Edge::start(dir.path(), &workerd, &[]).await;
    assert_eq!(edge.get("/count").await.text(), "1");
    assert_eq!(edge.get("/count").await.text(), "2");

    let mut second = command(dir.path(), &workerd, &["--socket-dir", "/tmp"])
        .spawn()
        .unwrap();
    let mut message = String::new();
    second.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    assert!(!second.wait().unwrap().success());
    assert!(message.contains("StateDirLocked"), "{message}");
    assert_eq!(edge.get("/count").await.text(), "3", "the first goes on");

    assert!(edge.end().await.success());
    let edge = Edge::start(dir.path(), &workerd, &[]).await;
    assert_eq!(edge.get("/count").await.text(), "4");
}

#[tokio::test]
async fn a_killed_gateway_comes_back_on_its_port_and_no_connection_is_refused() {
    let Some(workerd) = workerd() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut edge = Edge::start(dir.path(), &workerd, &[]).await;
    let address = edge.address;
    let first = edge.gateway();
    let knocking = tokio::spawn(async move {
        // One new connection after the other, from before the kill until well after it; each must be accepted, and
        // each asked after the kill is answered by the next gateway.
        let (mut refused, mut answered) = (0, 0);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            match tokio::net::TcpStream::connect(address).await {
                Err(_) => refused += 1,
                Ok(mut stream) => {
                    let request = b"GET /env HTTP/1.1\r\nHost: edge.test\r\nConnection: close\r\n\r\n";
                    let mut answer = Vec::new();
                    let whole = stream.write_all(request).await.is_ok()
                        && stream.read_to_end(&mut answer).await.is_ok()
                        && answer.starts_with(b"HTTP/1.1 200");
                    answered += usize::from(whole);
                }
            }
        }
        (refused, answered)
    });
    signal(first, "KILL");
    edge.until("another gateway", || ![0, first].contains(&edge.gateway()))
        .await;
    let (refused, answered) = knocking.await.unwrap();
    assert_eq!(refused, 0);
    assert!(answered > 10, "{answered}");
    assert_eq!(edge.get("/api/health/liveness").await.text(), "alive");

    let second = edge.gateway();
    signal(second, "KILL");
    edge.until("a third gateway", || ![0, first, second].contains(&edge.gateway()))
        .await;
    assert_eq!(edge.job(&Job::new("sleep=1")).await.text(), "slept");
    assert!(edge.end().await.success(), "the supervision still obeys");
}

#[tokio::test]
async fn a_killed_transform_process_is_replaced() {
    let Some(workerd) = workerd() else { return };
    let dir = tempfile::tempdir().unwrap();
    let edge = Edge::start(dir.path(), &workerd, &[]).await;
    for _ in 0..3 {
        let pid = edge.transform().await;
        signal(pid, "KILL");
        assert_eq!(edge.job(&Job::new("sleep=1")).await.text(), "slept");
        assert_ne!(edge.transform().await, pid);
    }
}

#[tokio::test]
async fn nothing_outlives_an_edge_that_is_killed() {
    let Some(workerd) = workerd() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut edge = Edge::start(dir.path(), &workerd, &["--transform-processes", "2"]).await;
    let all: Vec<u32> = edge.transforms().into_iter().chain([edge.gateway()]).collect();
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|pid| runs(*pid)));
    edge.kill();
    edge.until("all processes have ended", || !all.iter().any(|pid| runs(*pid)))
        .await;
    // And the next one starts where it stood.
    let edge = Edge::start(dir.path(), &workerd, &[]).await;
    assert_eq!(edge.get("/api/health/liveness").await.text(), "alive");
}

#[tokio::test]
async fn sigterm_lets_requests_under_way_end() {
    let Some(workerd) = workerd() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut edge = Edge::start(dir.path(), &workerd, &Metrics::FLAGS).await;
    let metrics = Metrics::of(&edge);
    let all: Vec<u32> = edge.transforms().into_iter().chain([edge.gateway()]).collect();
    let address = edge.address;
    let slow = tokio::spawn(async move {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let mut client = Client::over(stream).await;
        let job = Job::new("sleep=1500").header();
        client
            .send("GET", "/transform", &[("kado-job", &job)], vec![])
            .await
            .unwrap()
    });
    metrics.until(IDLE, 0).await;
    let status = edge.end().await;
    assert!(status.success(), "{status}");
    assert_eq!(slow.await.unwrap().text(), "slept");
    assert!(!all.iter().any(|pid| runs(*pid)));
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn bad_configuration_is_said_in_words() {
    let Some(workerd) = workerd() else { return };
    let dir = tempfile::tempdir().unwrap();
    let refusal = |change: &dyn Fn(&mut std::process::Command), more: &[&str]| {
        let mut command = command(dir.path(), &workerd, more);
        change(&mut command);
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let no_secret = refusal(
        &|c| {
            c.env_remove("EDGE_SECRET");
        },
        &[],
    );
    assert!(no_secret.contains("EDGE_SECRET"), "{no_secret}");
    let no_worker = refusal(&|_| {}, &["--worker-dir", "/nowhere"]);
    assert!(no_worker.contains("cargo xtask build-edge"), "{no_worker}");
    let no_workerd = refusal(&|_| {}, &["--workerd", "/nowhere/workerd"]);
    assert!(no_workerd.contains("npm ci"), "{no_workerd}");
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = refusal(&|_| {}, &["--listen", &busy.local_addr().unwrap().to_string()]);
    assert!(taken.contains("Listen"), "{taken}");
}
