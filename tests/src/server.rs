//! Servers that pictures are fetched from: each counts who came, and answers what the test wants.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Result;

/// A server on loopback for as long as the test lives.
#[derive(Debug)]
pub struct SourceServer {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl SourceServer {
    /// Starts a server that gives every connection, with the path that was asked for, to `respond`.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start(respond: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, respond) = (Arc::clone(&connections), Arc::new(respond));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::SeqCst);
                let respond = Arc::clone(&respond);
                thread::spawn(move || serve(stream, respond.as_ref()));
            }
        });
        Ok(Self { address, connections })
    }

    /// A server that answers every path with these bytes.
    ///
    /// # Errors
    /// When no port is free.
    pub fn of_bytes(bytes: Vec<u8>) -> Result<Self> {
        Self::start(move |_, stream| answer(stream, "200 OK", &[], &bytes))
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections were made.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, respond: &(impl Fn(&str, &mut TcpStream) + ?Sized)) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.extend_from_slice(&byte),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    respond(head.split(' ').nth(1).unwrap_or("/"), &mut stream);
}

/// Writes an answer with the right length.
pub fn answer(stream: &mut TcpStream, status: &str, headers: &[(&str, &str)], body: &[u8]) {
    let mut head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n",
        body.len()
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    // A client that has heard enough closes; that is its right.
    let _ = stream.write_all(&[head.as_bytes(), b"\r\n", body].concat());
}
