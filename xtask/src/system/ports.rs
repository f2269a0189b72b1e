//! Ports on loopback that are free now and stay ours later.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use crate::random;

/// Below the range from which systems take the near end of outgoing connections (Linux 32768.., macOS 49152..): a port
/// from there could be taken while the service that listens on it is being started again.
const RANGE: std::ops::Range<u16> = 20_000..32_000;
/// So many taken ports in a row do not happen by chance.
const ATTEMPTS: usize = 200;

/// A free port on 127.0.0.1, chosen at random.
///
/// # Errors
/// When none is found.
pub fn free() -> Result<u16> {
    free_on(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// Different free ports on 127.0.0.1.
///
/// # Errors
/// When they are not found.
pub fn several_free<const N: usize>() -> Result<[u16; N]> {
    let mut found = [0; N];
    for port in &mut found {
        *port = free()?;
    }
    Ok(found)
}

/// A free port on an address, chosen at random. No other process that asks here gets it while this one lives: who has
/// several systems started at once would else have two of them choose one port before either listens.
///
/// # Errors
/// When none is found.
pub fn free_on(address: IpAddr) -> Result<u16> {
    for _ in 0..ATTEMPTS {
        let drawn = random::bytes(2)?;
        let port = RANGE.start + u16::from_be_bytes([drawn[0], drawn[1]]) % (RANGE.end - RANGE.start);
        if reserve(port) && TcpListener::bind((address, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port on {address} between {} and {}", RANGE.start, RANGE.end)
}

/// Takes a port's lock, which the process holds until it ends; false where another holds it, or this one does already.
fn reserve(port: u16) -> bool {
    static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let folder = reservations();
    let file = fs::create_dir_all(&folder).and_then(|()| {
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(port.to_string()))
    });
    // Where another user's folder is in the way, to see that nobody listens has to do.
    let Ok(file) = file else { return true };
    if file.try_lock().is_err() {
        return false;
    }
    HELD.lock().unwrap_or_else(PoisonError::into_inner).push(file);
    true
}

/// The folder of the locks: one empty file for each port that was ever drawn.
fn reservations() -> PathBuf {
    std::env::temp_dir().join("kado-ports")
}

/// The wanted port, or a free one where 0 is wanted.
///
/// # Errors
/// When the wanted port is taken; says so and what to do about it.
pub fn wanted(address: IpAddr, port: u16) -> Result<u16> {
    if port == 0 {
        return free_on(address);
    }
    let wanted = SocketAddr::new(address, port);
    match TcpListener::bind(wanted) {
        Ok(_free) => Ok(port),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            bail!(
                "port {port} on {address} is taken by another program: choose another with --port N, or any free one with --port 0"
            )
        }
        Err(error) => Err(error).with_context(|| format!("listening on {wanted}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn a_taken_port_is_named_with_the_way_out() {
        let holder = TcpListener::bind((LOOPBACK, 0)).unwrap();
        let port = holder.local_addr().unwrap().port();
        let text = format!("{:#}", wanted(LOOPBACK, port).unwrap_err());
        assert!(
            text.contains(&format!("port {port}")) && text.contains("--port 0"),
            "{text}"
        );
        drop(holder);
        assert_eq!(wanted(LOOPBACK, port).unwrap(), port);
    }

    #[test]
    fn a_free_port_is_outside_the_range_of_outgoing_connections() {
        let port = wanted(LOOPBACK, 0).unwrap();
        assert!(RANGE.contains(&port));
        TcpListener::bind((LOOPBACK, port)).unwrap();
    }

    #[test]
    fn a_port_is_given_once_before_anybody_listens_on_it() {
        let port = free().unwrap();
        TcpListener::bind((LOOPBACK, port)).unwrap();
        assert!(!reserve(port), "{port} could be taken again");
        let mut all = several_free::<300>().unwrap();
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "{all:?}");
    }

    #[test]
    fn an_address_of_another_machine_is_an_error_that_names_it() {
        let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        assert!(format!("{:#}", wanted(elsewhere, 8787).unwrap_err()).contains("192.0.2.1:8787"));
    }
}
