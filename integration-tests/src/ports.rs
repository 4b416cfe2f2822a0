//! Ports of the system's choice.

use std::net::TcpListener;

/// Ports that are free now.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    // All at once, so that no two are the same.
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}
