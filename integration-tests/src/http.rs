//! As much HTTP/1.1 as a test client needs, so that no client library retries, pools or waits
//! behind our back.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::runtime::block_on;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: String,
    /// Body.
    pub body: String,
}

/// A connection that is kept. Requests may be sent before earlier ones are answered.
#[derive(Debug)]
pub(crate) struct Connection {
    requests: Requests,
    answers: Answers,
}

/// The half that asks.
#[derive(Debug)]
pub(crate) struct Requests {
    stream: OwnedWriteHalf,
    host: String,
}

/// The half that answers come from, in the order of the requests.
#[derive(Debug)]
pub(crate) struct Answers {
    stream: BufReader<OwnedReadHalf>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let requests = Requests { stream: write, host: address.to_string() };
        Ok(Self { requests, answers: Answers { stream: BufReader::new(read) } })
    }

    pub(crate) fn into_split(self) -> (Requests, Answers) {
        (self.requests, self.answers)
    }
}

impl Requests {
    pub(crate) async fn send(&mut self, method: &str, path: &str, body: &str) -> io::Result<()> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await
    }
}

impl Answers {
    pub(crate) async fn next(&mut self) -> io::Result<HttpAnswer> {
        let status_line = self.line().await?;
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| bad(&status_line))?;
        let (mut length, mut content_type) = (None, String::new());
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok(),
                "content-type" => value.trim().clone_into(&mut content_type),
                _ => {}
            }
        }
        let mut body = vec![0; length.ok_or_else(|| bad("no content-length"))?];
        self.stream.read_exact(&mut body).await?;
        let body = String::from_utf8(body).map_err(|_| bad("a body that is not UTF-8"))?;
        Ok(HttpAnswer { status, content_type, body })
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Address and path of `http://127.0.0.1:80/path`.
///
/// # Panics
/// If it is not of that shape: these URLs are a contract.
pub(crate) fn split(url: &str) -> (SocketAddr, String) {
    let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("{url} is not http://"));
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = address.parse().unwrap_or_else(|_| panic!("{url} names no address and port"));
    (address, format!("/{path}"))
}

/// One request on a connection of its own.
pub(crate) async fn ask(
    method: &str,
    url: &str,
    body: &str,
    within: Duration,
) -> io::Result<HttpAnswer> {
    let (address, path) = split(url);
    let work = async {
        let mut connection = Connection::open(address).await?;
        connection.requests.send(method, &path, body).await?;
        connection.answers.next().await
    };
    tokio::time::timeout(within, work)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// `GET` on a connection of its own, within 2 s.
///
/// # Errors
/// No connection, no answer in time, or not HTTP.
pub fn get(url: &str) -> io::Result<HttpAnswer> {
    block_on(ask("GET", url, "", Duration::from_secs(2)))
}

/// `POST` of a JSON text on a connection of its own, within 2 s.
///
/// # Errors
/// No connection, no answer in time, or not HTTP.
pub fn post(url: &str, body: &str) -> io::Result<HttpAnswer> {
    block_on(ask("POST", url, body, Duration::from_secs(2)))
}
