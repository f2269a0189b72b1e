//! Ports on loopback that are free now and stay ours later.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result, anyhow, bail};

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
    let mut found = BTreeSet::new();
    for _ in 0..ATTEMPTS {
        if found.len() == N {
            break;
        }
        found.insert(free()?);
    }
    let found: Vec<u16> = found.into_iter().collect();
    <[u16; N]>::try_from(found).map_err(|_| anyhow!("no {N} different free ports on 127.0.0.1"))
}

/// A free port on an address, chosen at random.
///
/// # Errors
/// When none is found.
pub fn free_on(address: IpAddr) -> Result<u16> {
    for _ in 0..ATTEMPTS {
        let drawn = random::bytes(2)?;
        let port = RANGE.start + u16::from_be_bytes([drawn[0], drawn[1]]) % (RANGE.end - RANGE.start);
        if TcpListener::bind((address, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port on {address} between {} and {}", RANGE.start, RANGE.end)
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
    fn an_address_of_another_machine_is_an_error_that_names_it() {
        let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        assert!(format!("{:#}", wanted(elsewhere, 8787).unwrap_err()).contains("192.0.2.1:8787"));
    }
}
