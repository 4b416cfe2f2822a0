//! The service behind a VIP in the tests: `fabric-echo NAME ADDRESS...` answers everything that
//! comes to one of these addresses, UDP and TCP, with what came and its own name.
//!
//! It is bound to addresses that its host may not have (`IP_FREEBIND`), and answers from the one that
//! was asked. So it starts before the VIP comes and stays when it goes, like a service that nobody
//! told; whether it is reached is up to the kernel and to Azure.

use std::error::Error;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::thread;

use rustix::net::sockopt::{set_ip_freebind, set_ipv6_freebind, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};

/// `echo`.
const PORT: u16 = 7;

fn bound(address: &str, kind: SocketType) -> Result<OwnedFd, Box<dyn Error>> {
    let address: IpAddr = address.parse()?;
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    match address {
        IpAddr::V4(_) => set_ip_freebind(&socket, true)?,
        IpAddr::V6(_) => set_ipv6_freebind(&socket, true)?,
    }
    // A restart must not wait for the connections of the one before.
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddr::new(address, PORT))?;
    Ok(socket)
}

fn datagrams(name: &str, socket: &UdpSocket) {
    let mut packet = [0; 512];
    loop {
        // An error is somebody else's: an answer to a client that has gone.
        let Ok((length, from)) = socket.recv_from(&mut packet) else { continue };
        let _ = socket.send_to(&[&packet[..length], name.as_bytes()].concat(), from);
    }
}

fn lines(name: &str, stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut answers = stream.try_clone()?;
    for line in BufReader::new(stream).lines() {
        answers.write_all(format!("{} {name}\n", line?).as_bytes())?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let name = words.next().ok_or("usage: fabric-echo NAME ADDRESS...")?;
    let mut threads = Vec::new();
    for address in words {
        let socket = UdpSocket::from(bound(&address, SocketType::DGRAM)?);
        let own = name.clone();
        threads.push(thread::spawn(move || datagrams(&own, &socket)));
        let socket = bound(&address, SocketType::STREAM)?;
        listen(&socket, 64)?;
        let listener = TcpListener::from(socket);
        let own = name.clone();
        threads.push(thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = own.clone();
                // It ends with its client.
                thread::spawn(move || lines(&own, stream));
            }
        }));
    }
    for thread in threads {
        let _ = thread.join();
    }
    Ok(())
}
