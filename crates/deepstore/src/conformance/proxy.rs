//! An HTTP/1 proxy that does to requests what networks and stores do to them.
//!
//! Invariant: troubles are taken one by one, each by the next request; when none is left requests
//! pass, unless the proxy is told to be away. What is answered ends with its connection.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use runtime::TaskGroup;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing is passed on; this is the answer.
    Status(u16, &'static str),
    /// Passed on; of the answer only so many bytes of its body come.
    CutAfter(usize),
    /// Passed on; a bit of the answer's body is another.
    FlipBit,
    /// Passed on after a while.
    Late(Duration),
    /// Passed on and done; the answer never comes.
    Unanswered,
}

/// Asked for too much, in S3's words.
pub const SLOW_DOWN: Trouble = Trouble::Status(
    503,
    "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
);

#[derive(Debug, Default)]
struct State {
    next: Mutex<VecDeque<Trouble>>,
    /// Every request, until told otherwise.
    always: Mutex<Option<Trouble>>,
    is_away: Mutex<bool>,
    requests: AtomicUsize,
}

#[derive(Debug)]
pub struct FaultyProxy {
    address: String,
    state: Arc<State>,
    tasks: TaskGroup,
}

impl FaultyProxy {
    /// Before the host at `upstream`, `http://host:port`.
    pub async fn start(upstream: &str) -> io::Result<Self> {
        let upstream: Arc<str> = upstream.trim_start_matches("http://").into();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(State::default());
        let tasks = TaskGroup::new("proxy");
        let (shared, group) = (Arc::clone(&state), tasks.clone());
        tasks.spawn("accept", |stop| async move {
            let accept = async {
                while let Ok((client, _)) = listener.accept().await {
                    let (state, upstream) = (Arc::clone(&shared), Arc::clone(&upstream));
                    group.spawn("serve", |stop| async move {
                        // Whoever is cut off finds out.
                        let served = serve(&state, &upstream, client);
                        let _ = stop.run_until_cancelled(served).await;
                    });
                }
            };
            stop.run_until_cancelled(accept).await;
        });
        Ok(Self {
            address,
            state,
            tasks,
        })
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// For the next requests, in this order.
    pub fn next(&self, troubles: impl IntoIterator<Item = Trouble>) {
        self.state.next.lock().extend(troubles);
    }

    /// For every request, or for none any more.
    pub fn always(&self, trouble: Option<Trouble>) {
        *self.state.always.lock() = trouble;
    }

    /// Connections are closed as soon as they are there.
    pub fn set_away(&self, is_away: bool) {
        *self.state.is_away.lock() = is_away;
    }

    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Troubles that no request has met yet.
    pub fn left(&self) -> usize {
        self.state.next.lock().len()
    }
}

impl Drop for FaultyProxy {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

async fn serve(state: &State, upstream: &str, mut client: TcpStream) -> io::Result<()> {
    if *state.is_away.lock() {
        return Ok(());
    }
    let request = read_request(&mut client).await?;
    state.requests.fetch_add(1, Ordering::Relaxed);
    let trouble = state.next.lock().pop_front();
    let trouble = trouble.or_else(|| state.always.lock().clone());
    match &trouble {
        Some(Trouble::Status(status, body)) => {
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} Trouble\r\nContent-Length: {length}\r\n\
                 Connection: close\r\n\r\n{body}"
            );
            return client.write_all(answer.as_bytes()).await;
        }
        Some(Trouble::Late(wait)) => tokio::time::sleep(*wait).await,
        _ => {}
    }
    let mut answer = pass_on(upstream, &request).await?;
    let body = head_end(&answer).unwrap_or(answer.len());
    match trouble {
        Some(Trouble::CutAfter(bytes)) => answer.truncate(body + bytes),
        Some(Trouble::FlipBit) => {
            let middle = body + (answer.len() - body) / 2;
            if let Some(byte) = answer.get_mut(middle) {
                *byte ^= 1;
            }
        }
        Some(Trouble::Unanswered) => return Ok(()),
        _ => {}
    }
    client.write_all(&answer).await?;
    client.shutdown().await
}

async fn read_request(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    loop {
        if let Some(end) = head_end(&request) {
            let wanted = end + content_length(&request[..end]);
            if request.len() >= wanted {
                return Ok(request);
            }
            request.reserve(wanted - request.len());
        }
        if client.read_buf(&mut request).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// On a connection of its own, so that the answer ends with it.
async fn pass_on(upstream: &str, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream).await?;
    let end = head_end(request).unwrap_or(request.len());
    let line = request.windows(2).position(|pair| pair == b"\r\n");
    let line = line.map_or(0, |at| at + 2);
    server.write_all(&request[..line]).await?;
    server.write_all(b"Connection: close\r\n").await?;
    server.write_all(&request[line..end]).await?;
    server.write_all(&request[end..]).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    Ok(answer)
}

fn head_end(message: &[u8]) -> Option<usize> {
    let at = message.windows(4).position(|four| four == b"\r\n\r\n");
    at.map(|at| at + 4)
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head);
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse().ok())?
    });
    length.unwrap_or(0)
}
