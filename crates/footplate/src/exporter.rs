//! Serves a run's metrics over HTTP: one request at a time, each bounded in size and time.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use footplate_views::metrics;

use crate::failure::{Failure, Kind};
use crate::live::Board;

/// A request's head may be so long; a body is not read.
const REQUEST_BYTES_MAX: usize = 4096;
/// A client that takes longer is dropped.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause after the system could not give a connection.
const PAUSE: Duration = Duration::from_millis(200);

/// Where metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MetricsAddress(pub(crate) SocketAddr);

impl FromStr for MetricsAddress {
    type Err = String;

    /// `9184`, `:9184`, `127.0.0.1:9184`, `[::1]:9184`. Without an address: this machine only.
    fn from_str(text: &str) -> Result<Self, String> {
        let port = text.strip_prefix(':').unwrap_or(text);
        if let Ok(port) = port.parse() {
            return Ok(Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)));
        }
        let local = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
        if let Some(port) = local {
            return Ok(Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)));
        }
        text.parse().map(Self).map_err(|_| {
            "must be PORT, or ADDRESS:PORT such as 127.0.0.1:9184; 0.0.0.0:9184 for all of the machine's networks"
                .to_owned()
        })
    }
}

/// Serves until it is dropped.
pub(crate) struct Exporter {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Exporter {
    /// Begins to listen.
    pub(crate) fn start(address: MetricsAddress, board: Arc<Board>) -> Result<Self, Failure> {
        let refused = |error: &io::Error| {
            let failure = Failure::new(Kind::Machine, format!("--metrics {}: {error}", address.0));
            match error.kind() {
                io::ErrorKind::AddrInUse => failure.hint("another program has this port: choose another one"),
                io::ErrorKind::PermissionDenied => {
                    failure.hint("ports below 1024 are root's: choose a higher one")
                }
                io::ErrorKind::AddrNotAvailable => failure.hint("this machine does not have that address"),
                _ => failure,
            }
        };
        let listener = TcpListener::bind(address.0).map_err(|e| refused(&e))?;
        let bound = listener.local_addr().map_err(|e| refused(&e))?;
        let ended = Arc::new(AtomicBool::new(false));
        let its_ended = ended.clone();
        let serve = move || serve(&listener, &board, &its_ended);
        let thread =
            thread::Builder::new().name("metrics".to_owned()).spawn(serve).map_err(|e| refused(&e))?;
        Ok(Self { address: bound, ended, thread: Some(thread) })
    }

    /// Where it listens; the port is the system's choice if 0 was asked for.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // The thread waits for a connection: it gets one.
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        let woken = TcpStream::connect_timeout(&address, PATIENCE).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, board: &Board, ended: &AtomicBool) {
    while !ended.load(Ordering::Relaxed) {
        match listener.accept() {
            // A client that went away or is too slow is its own affair.
            Ok((stream, _)) => drop(answer(stream, board)),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

fn answer(mut stream: TcpStream, board: &Board) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = head(&mut stream)?;
    let reply =
        reply(&head, || board.look(|state, since_last, _| metrics::text(state, since_last.as_secs_f64())));
    stream.write_all(reply.as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)
}

/// Reads a request up to its empty line, or as much of it as is allowed.
fn head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let since = Instant::now();
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while head.len() < REQUEST_BYTES_MAX && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        // The whole head has the time, not each piece of it.
        let left = PATIENCE.checked_sub(since.elapsed()).filter(|left| !left.is_zero());
        stream.set_read_timeout(Some(left.ok_or(io::ErrorKind::TimedOut)?))?;
        match stream.read(&mut piece)? {
            0 => break,
            count => head.extend_from_slice(&piece[..count]),
        }
    }
    Ok(head)
}

/// The whole answer to a request.
fn reply(head: &[u8], page: impl FnOnce() -> String) -> String {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    let plain = "text/plain; charset=utf-8";
    let (status, kind, body) = match (method, path) {
        ("GET" | "HEAD", "/metrics") => ("200 OK", metrics::CONTENT_TYPE, page()),
        ("GET" | "HEAD", "/") => ("200 OK", plain, "footplate: metrics are at /metrics\n".to_owned()),
        ("GET" | "HEAD", _) if !path.is_empty() => {
            ("404 Not Found", plain, "only /metrics is here\n".to_owned())
        }
        ("GET" | "HEAD" | "", _) => ("400 Bad Request", plain, "not a request\n".to_owned()),
        _ => ("405 Method Not Allowed", plain, "only GET\n".to_owned()),
    };
    let length = body.len();
    let shown = if method == "HEAD" { "" } else { &body };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{shown}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<String> {
        text.parse::<MetricsAddress>().ok().map(|address| address.0.to_string())
    }

    #[test]
    fn only_a_written_address_leaves_the_machine() {
        assert_eq!(parsed("9184").as_deref(), Some("127.0.0.1:9184"));
        assert_eq!(parsed(":9184").as_deref(), Some("127.0.0.1:9184"));
        assert_eq!(parsed("localhost:9184").as_deref(), Some("127.0.0.1:9184"));
        assert_eq!(parsed("0.0.0.0:9184").as_deref(), Some("0.0.0.0:9184"));
        assert_eq!(parsed("[::1]:9184").as_deref(), Some("[::1]:9184"));
        for bad in ["", ":", "99999", "example.org:80", "127.0.0.1", "http://127.0.0.1:9184"] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }

    fn ask(exporter: &Exporter, request: &str) -> String {
        let mut stream = TcpStream::connect(exporter.address()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    }

    #[test]
    fn requests_are_answered_and_bad_ones_refused() {
        let exporter = Exporter::start("0".parse().unwrap(), Board::new()).unwrap();
        let page = ask(&exporter, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(page.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"), "{page}");
        let (head, body) = page.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
        assert!(body.contains("footplate_run_phase{phase=\"preparing\"} 1\n"), "{body}");
        let without_body = ask(&exporter, "HEAD /metrics HTTP/1.1\r\n\r\n");
        assert!(without_body.starts_with("HTTP/1.1 200") && without_body.ends_with("\r\n\r\n"));
        for (request, status) in [
            ("GET /other HTTP/1.1\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("GET\r\n\r\n", "400"),
        ] {
            assert!(ask(&exporter, request).starts_with(&format!("HTTP/1.1 {status}")), "{request}");
        }
        // A request without an end is answered or dropped, and the next one is still served.
        ask(&exporter, &"x".repeat(100_000));
        assert!(ask(&exporter, "GET /metrics?x=1 HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 200"));
    }

    #[test]
    fn a_port_in_use_is_told_before_training_begins() {
        let first = Exporter::start("0".parse().unwrap(), Board::new()).unwrap();
        let second = Exporter::start(MetricsAddress(first.address()), Board::new());
        let failure = second.map(|_| ()).unwrap_err();
        assert_eq!(failure.kind, Kind::Machine);
        assert!(failure.hint.is_some());
    }

    #[test]
    fn a_client_that_says_nothing_does_not_keep_the_exporter() {
        let exporter = Exporter::start("0".parse().unwrap(), Board::new()).unwrap();
        let silent = TcpStream::connect(exporter.address()).unwrap();
        let since = Instant::now();
        assert!(ask(&exporter, "GET /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200"));
        assert!(since.elapsed() < PATIENCE * 3);
        drop(silent);
    }
}
