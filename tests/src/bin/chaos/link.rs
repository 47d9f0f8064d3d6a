//! A connection on its way: what listens on one address and hands every byte on to another, until
//! it is told to cut, to hold or to slow.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Passes,
    /// Connections are closed, and new ones too.
    Cut,
    /// Bytes are taken and go nowhere until it is over: nobody is told.
    Held,
    /// Each piece is late by so much.
    Slow(Duration),
}

/// Ends with its owner.
#[derive(Debug)]
pub(crate) struct Link {
    mode: Arc<watch::Sender<Mode>>,
    /// Aborted when dropped.
    _task: JoinSet<()>,
}

impl Link {
    pub(crate) async fn open(name: &str, from: SocketAddr, to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(from)
            .await
            .with_context(|| format!("listening on {from} for {name}"))?;
        let mode = Arc::new(watch::Sender::new(Mode::Passes));
        let own = Arc::clone(&mode);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((client, _)) = listener.accept() => {
                        let mode = own.subscribe();
                        connections.spawn(pass(client, to, mode));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self { mode, _task: task })
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn pass(client: TcpStream, to: SocketAddr, mode: watch::Receiver<Mode>) {
    if *mode.borrow() == Mode::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(to).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Whichever side ends, the connection does.
    tokio::select! {
        () = copy(from_client, to_server, mode.clone()) => {}
        () = copy(from_server, to_client, mode.clone()) => {}
        () = until_cut(mode) => {}
    }
}

async fn copy(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut mode: watch::Receiver<Mode>,
) {
    let mut piece = vec![0; 16 << 10];
    loop {
        let Ok(size @ 1..) = from.read(&mut piece).await else {
            return;
        };
        let now = *mode.borrow_and_update();
        match now {
            Mode::Slow(late) => tokio::time::sleep(late).await,
            Mode::Held => {
                if mode.wait_for(|mode| *mode != Mode::Held).await.is_err() {
                    return;
                }
            }
            Mode::Passes | Mode::Cut => {}
        }
        if to.write_all(&piece[..size]).await.is_err() {
            return;
        }
    }
}

async fn until_cut(mut mode: watch::Receiver<Mode>) {
    let _ = mode.wait_for(|mode| *mode == Mode::Cut).await;
}
