//! The protocol as the real workerd speaks it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::support::{LIMIT, Reply, Service};

const WORKER: &str = r#"
export default {
  async fetch(request) {
    const url = new URL(request.url);
    const cache = url.searchParams.has('ns') ? await caches.open(url.searchParams.get('ns')) : caches.default;
    const key = 'https://kado.invalid' + url.searchParams.get('key');
    const fresh = { 'cache-control': 'max-age=600', etag: '"e"', 'content-type': 'text/plain' };
    const text = new TextEncoder();
    const put = (response) => cache.put(key, response).then(() => new Response('stored'));
    try {
      switch (url.pathname) {
        case '/match': return (await cache.match(new Request(key, request))) ?? new Response('none', { status: 404 });
        case '/delete': return new Response(String(await cache.delete(key)));
        case '/put': return await put(new Response('0123456789', { headers: fresh }));
        case '/put-empty': return await put(new Response(null, { status: 204, headers: fresh }));
        case '/put-cookie': return await put(new Response('x', { headers: { ...fresh, 'set-cookie': 'a=b' } }));
        case '/put-large': return await put(new Response(new Uint8Array(3 * 1024 * 1024), { headers: fresh }));
        case '/put-stream': {
          const { readable, writable } = new TransformStream();
          const writer = writable.getWriter();
          const stored = put(new Response(readable, { headers: fresh }));
          for (const part of ['4\r\n', 'aaaa', '\r\n0\r\n\r\n']) await writer.write(text.encode(part));
          await (url.searchParams.has('cut') ? writer.abort(new Error('cut')) : writer.close());
          return await stored;
        }
      }
    } catch (error) {
      return new Response('threw ' + error.message, { status: 500 });
    }
    return new Response('unknown', { status: 400 });
  },
};
"#;

fn workerd() -> Option<PathBuf> {
    // Not `.bin/workerd`: unless npm ran install scripts that is a script, and the server a child of it which would stay.
    let packages = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../node_modules/@cloudflare");
    let binaries = std::fs::read_dir(packages).into_iter().flatten().flatten();
    let mut binaries = binaries.map(|package| package.path().join("bin/workerd"));
    if let Some(binary) = binaries.find(|binary| binary.exists()) {
        return Some(binary);
    }
    assert!(
        std::env::var_os("KADO_REQUIRE_ALL").is_none(),
        "workerd is not installed: npm ci"
    );
    println!("not run: workerd is not installed (npm ci)");
    None
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn get(socket: &std::path::Path, path: &str, fields: &[(&str, &str)]) -> Reply {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::builder().uri(path).header("host", "worker.test");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap());
    let (head, body) = tokio::time::timeout(LIMIT, answer).await.unwrap().unwrap().into_parts();
    Reply {
        status: head.status,
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

#[tokio::test]
async fn workerds_cache_api_works_on_this_service() {
    let Some(binary) = workerd() else { return };
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path()).await;
    std::fs::write(dir.path().join("worker.js"), WORKER).unwrap();
    let config = format!(
        r#"using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = (modules = [(name = "worker.js", esModule = embed "worker.js")],
      compatibilityDate = "2026-11-01", cacheApiOutbound = "cache")),
    (name = "cache", external = (address = "unix:{}", http = (style = proxy))) ],
  sockets = [(name = "http", address = "unix:{}", http = (), service = "main")]
);"#,
        service.socket.display(),
        dir.path().join("w").display()
    );
    std::fs::write(dir.path().join("config.capnp"), config).unwrap();
    let child = Command::new(binary)
        .args(["serve", "config.capnp"])
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let running = Running(child);
    let socket = dir.path().join("w");
    let start = Instant::now();
    while UnixStream::connect(&socket).await.is_err() {
        assert!(start.elapsed() < LIMIT, "workerd did not listen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let text = |reply: &Reply| String::from_utf8_lossy(&reply.body).into_owned();
    assert_eq!(get(&socket, "/match?key=/a", &[]).await.status, 404);
    assert_eq!(text(&get(&socket, "/put?key=/a", &[]).await), "stored");
    let hit = get(&socket, "/match?key=/a", &[]).await;
    assert_eq!(
        (hit.status.as_u16(), text(&hit).as_str(), hit.cache_status()),
        (200, "0123456789", "HIT")
    );
    let part = get(&socket, "/match?key=/a", &[("range", "bytes=2-4")]).await;
    assert_eq!((part.status.as_u16(), text(&part).as_str()), (206, "234"));
    assert_eq!(
        get(&socket, "/match?key=/a", &[("if-none-match", "\"e\"")])
            .await
            .status,
        304
    );
    assert_eq!(get(&socket, "/match?key=/a&ns=other", &[]).await.status, 404);

    assert_eq!(text(&get(&socket, "/put-stream?key=/s", &[]).await), "stored");
    assert_eq!(
        text(&get(&socket, "/match?key=/s", &[]).await),
        "4\r\naaaa\r\n0\r\n\r\n"
    );
    assert_eq!(get(&socket, "/put-stream?key=/cut&cut=1", &[]).await.status, 500);
    assert_eq!(get(&socket, "/match?key=/cut", &[]).await.status, 404);
    assert_eq!(text(&get(&socket, "/put-empty?key=/n", &[]).await), "stored");
    assert_eq!(get(&socket, "/match?key=/n", &[]).await.status, 204);

    // What may not be stored is dropped silently, as on Cloudflare.
    for case in ["/put-cookie?key=/c", "/put-large?key=/l"] {
        assert_eq!(text(&get(&socket, case, &[]).await), "stored", "{case}");
    }
    assert_eq!(get(&socket, "/match?key=/c", &[]).await.status, 404);
    assert_eq!(get(&socket, "/match?key=/l", &[]).await.status, 404);

    assert_eq!(text(&get(&socket, "/delete?key=/a", &[]).await), "true");
    assert_eq!(text(&get(&socket, "/delete?key=/a", &[]).await), "false");
    assert_eq!(get(&socket, "/match?key=/a", &[]).await.status, 404);
    drop(running);
    service.stop().await;
}
