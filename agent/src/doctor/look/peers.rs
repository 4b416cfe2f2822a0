//! Whether the peers can be reached: one TCP connection to each, without a word.

use std::{io, time::Duration};

use tokio::{net::TcpStream, time::timeout};

use super::super::facts::Reach;

/// Longer than two retransmissions of a SYN.
const PATIENCE: Duration = Duration::from_secs(4);

pub(crate) async fn reach(address: &str) -> Reach {
    let Ok(found) = timeout(PATIENCE, tokio::net::lookup_host(address)).await else {
        return Reach::NoSuchName("the name server does not answer".to_owned());
    };
    let mut addresses = match found {
        Ok(addresses) => addresses,
        Err(error) => return Reach::NoSuchName(error.to_string()),
    };
    let Some(first) = addresses.next() else {
        return Reach::NoSuchName("the name has no address".to_owned());
    };
    match timeout(PATIENCE, TcpStream::connect(first)).await {
        Ok(Ok(_)) => Reach::Connected,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Reach::Refused,
        Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Reach::TimedOut,
        Ok(Err(error)) => Reach::Failed(error.to_string()),
        Err(_) => Reach::TimedOut,
    }
}
