//! HTTP/1.1 over one connection that is kept, as thin as it can be: what is measured is the node.
//!
//! It understands what the node sends and nothing more: an answer has a `Content-Length`. Faults
//! are asked for as HTTP's statuses, which Pinot's doors give only then.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

const READ_MAX: Duration = Duration::from_secs(300);
const HEAD_END: &[u8] = b"\r\n\r\n";

#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    host: String,
    request: Vec<u8>,
    answer: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Connection {
    pub(crate) fn open(host: &str) -> Result<Self> {
        let stream = TcpStream::connect(host).with_context(|| format!("connecting to {host}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_MAX))?;
        Ok(Self {
            stream,
            host: host.to_owned(),
            request: Vec::new(),
            answer: Vec::new(),
        })
    }

    /// Sends a JSON body and reads the whole answer.
    pub(crate) fn post(&mut self, path: &str, body: &[u8]) -> Result<Answer<'_>> {
        self.request.clear();
        write!(
            self.request,
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Pinot-Use-Http-Status-For-Errors: true\r\nContent-Length: {}\r\n\r\n",
            self.host,
            body.len()
        )?;
        self.request.extend_from_slice(body);
        self.stream.write_all(&self.request)?;
        self.read()
    }

    fn read(&mut self) -> Result<Answer<'_>> {
        self.answer.clear();
        let head_end = loop {
            let seen = self.answer.len().saturating_sub(HEAD_END.len() - 1);
            self.read_more()?;
            let new = &self.answer[seen..];
            let found = new.windows(HEAD_END.len()).position(|w| w == HEAD_END);
            if let Some(at) = found {
                break seen + at + HEAD_END.len();
            }
        };
        let head = std::str::from_utf8(&self.answer[..head_end]).context("an answer's head")?;
        let (status, length) = parse_head(head)?;
        while self.answer.len() < head_end + length {
            self.read_more()?;
        }
        Ok(Answer {
            status,
            body: &self.answer[head_end..head_end + length],
        })
    }

    fn read_more(&mut self) -> Result<()> {
        const STEP: usize = 64 << 10;
        let begin = self.answer.len();
        self.answer.resize(begin + STEP, 0);
        let count = self.stream.read(&mut self.answer[begin..])?;
        self.answer.truncate(begin + count);
        ensure!(count > 0, "the node closed the connection");
        Ok(())
    }
}

/// Status and length of the body.
fn parse_head(head: &str) -> Result<(u16, usize)> {
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.and_then(|status| status.parse().ok());
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    match (status, length) {
        (Some(status), Some(length)) => Ok((status, length)),
        _ => bail!("an answer without status or length: {head}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_length_are_found_in_any_case() {
        let head = "HTTP/1.1 429 Too Many Requests\r\nA: b\r\ncontent-LENGTH: 17\r\n\r\n";
        assert_eq!(parse_head(head).unwrap(), (429, 17));
        assert!(parse_head("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
    }
}
