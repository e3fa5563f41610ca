//! Just enough HTTP/1.1 over a Unix socket to look at a node from outside, independent of the client under test.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;

/// An answer with its body still to be read.
pub struct Answer {
    pub status: u16,
    body: Body,
}

struct Body {
    from: BufReader<UnixStream>,
    chunked: bool,
    /// Bytes left of the chunk or of the whole body; `None` until the connection closes.
    left: Option<u64>,
    ended: bool,
}

/// Sends a request. `Err` says what went wrong: nobody there, or not HTTP.
pub fn request(socket: &Path, method: &str, path: &str, body: Option<&str>) -> Result<Answer, String> {
    let told = |e: std::io::Error| format!("{} {path} at {}: {e}", method, socket.display());
    let mut stream = UnixStream::connect(socket).map_err(told)?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).map_err(told)?;
    stream.set_write_timeout(Some(Duration::from_secs(20))).map_err(told)?;
    let body = body.unwrap_or("");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).map_err(told)?;
    let mut from = BufReader::new(stream);
    let mut line = String::new();
    from.read_line(&mut line).map_err(told)?;
    let status = line.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or(format!("not HTTP: {line:?}"))?;
    let (mut chunked, mut left) = (false, None);
    loop {
        line.clear();
        from.read_line(&mut line).map_err(told)?;
        let header = line.trim().to_ascii_lowercase();
        match header.split_once(':') {
            None => break,
            Some(("transfer-encoding", v)) => chunked = v.contains("chunked"),
            Some(("content-length", v)) => left = v.trim().parse().ok(),
            Some(_) => {}
        }
    }
    if chunked {
        left = Some(0);
    }
    Ok(Answer { status, body: Body { from, chunked, left, ended: false } })
}

impl Body {
    fn next_chunk(&mut self) -> std::io::Result<()> {
        let mut line = String::new();
        while line.trim().is_empty() {
            line.clear();
            if self.from.read_line(&mut line)? == 0 {
                self.ended = true;
                return Ok(());
            }
        }
        let len = u64::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        self.left = Some(len);
        self.ended = len == 0;
        Ok(())
    }
}

impl Read for Body {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if self.chunked && self.left == Some(0) && !self.ended {
            self.next_chunk()?;
        }
        if self.ended || self.left == Some(0) {
            return Ok(0);
        }
        let most = self.left.map_or(buf.len(), |l| buf.len().min(usize::try_from(l).unwrap_or(usize::MAX)));
        let got = self.from.read(&mut buf[..most])?;
        self.left = self.left.map(|l| l - got as u64);
        if got == 0 {
            self.ended = true;
        }
        Ok(got)
    }
}

impl Answer {
    /// The whole body.
    pub fn bytes(mut self) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        self.body.read_to_end(&mut out).map_err(|e| e.to_string())?;
        Ok(out)
    }
    /// The body line by line, as it comes.
    pub fn lines(self) -> impl Iterator<Item = String> {
        BufReader::new(self.body).lines().map_while(Result::ok)
    }
}

/// GET and decode. Anything but 200 is an error with its body.
pub fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, String> {
    let answer = request(socket, "GET", path, None)?;
    let status = answer.status;
    let bytes = answer.bytes()?;
    if status != 200 {
        return Err(format!("GET {path}: {status} {}", String::from_utf8_lossy(&bytes)));
    }
    serde_json::from_slice(&bytes).map_err(|e| format!("GET {path}: {e} in {}", String::from_utf8_lossy(&bytes)))
}
