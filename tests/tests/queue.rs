//! The queue in front of the transform processes: who leaves it is forgotten, and who stays is served.

use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use kado_tests::server::answer;
use kado_tests::{Client, Site, SourceServer, own_system, pictures, wait_until};
use serde_json::json;
use socket2::SockRef;

const SOON: Duration = Duration::from_secs(10);

/// A source that holds its answers back until it is let go.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn wait(&self) {
        let is_open = self.is_open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened.wait_while(is_open, |is_open| !*is_open));
    }

    fn open(&self) {
        *self.is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }
}

/// A sample of the edge's metrics.
fn sample(url: &str, name: &str) -> Option<u64> {
    let answer = Client::new(url.strip_suffix("/metrics")?, "localhost")
        .get("/metrics")
        .ok()?;
    let text = String::from_utf8(answer.body).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn clients_that_leave_the_queue_cost_nothing_more() -> Result<()> {
    let system = own_system(|options| options.transform_processes = Some(1))?;
    let run = system.run_file();
    let site = Site::in_system(&run)?;
    let gate = Arc::new(Gate::default());
    let (held, photo) = (Arc::clone(&gate), pictures::photo_jpeg(300, 200));
    let server = SourceServer::start(move |_, stream| {
        held.wait();
        answer(stream, "200 OK", &[("content-type", "image/jpeg")], &photo);
    })?;
    site.settle(json!({
        "allowedSources": [{"host": "127.0.0.1", "port": server.port(), "allowPrivate": true}],
    }))?;
    let address = |width: u32| format!("/img/w={width}/http://{}/a.jpg", server.authority());
    let waiting = || sample(&run.edge_metrics, "kado_edge_transform_waiting");
    let left = || {
        sample(
            &run.edge_metrics,
            "kado_edge_transform_jobs_total{result=\"client-left\"}",
        )
    };
    let left_before = left().context("the edge counts who left")?;
    std::thread::scope(|scope| -> Result<()> {
        // One is at work and waits for its source; one more stays in the queue behind those that leave.
        let first = scope.spawn(|| site.client.get(&address(100)));
        wait_until("the only process is at work", SOON, || {
            (server.connections() == 1).then_some(())
        })?;
        let mut leaving = Vec::new();
        for width in 101..=105 {
            let mut stream = TcpStream::connect(run.edge.trim_start_matches("http://"))?;
            let request = format!("GET {} HTTP/1.1\r\nhost: {}\r\n\r\n", address(width), site.host);
            stream.write_all(request.as_bytes())?;
            leaving.push(stream);
        }
        wait_until("five wait", SOON, || (waiting()? == 5).then_some(()))?;
        let last = scope.spawn(|| site.client.get(&address(106)));
        wait_until("six wait", SOON, || (waiting()? == 6).then_some(()))?;
        // Reset, as by a browser's tab that is gone with its process: a client that only says that it sends no more may well
        // be listening.
        for stream in leaving {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        }
        wait_until("one waits", SOON, || (waiting()? == 1).then_some(()))?;
        wait_until("five have left", SOON, || (left()? == left_before + 5).then_some(()))?;
        gate.open();
        for asked in [first, last] {
            let answer = asked.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
            assert_eq!(answer.status, 200, "{}", answer.json());
        }
        Ok(())
    })?;
    assert_eq!(server.connections(), 2, "nothing was fetched for those who left");
    Ok(())
}
