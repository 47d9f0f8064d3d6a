//! A line from node to node: a channel of gRPC, with TLS where nodes have it, on which a node says
//! that it is one of the cluster.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use access::tls::Connection;
use access::{NodeTrust, Tls};
use futures::FutureExt;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use schemas::Fault;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const AUTHORIZATION: &str = "authorization";

pub(crate) type Line = InterceptedService<Channel, Said>;

pub(crate) fn endpoint(address: &str) -> Result<Endpoint, Fault> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| Fault::invalid(format!("`{address}` is no address: {error}")))?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_while_idle(true))
}

/// Connects on first use and again whenever the connection breaks.
pub(crate) fn line(endpoint: &Endpoint, address: &str, trust: &NodeTrust) -> Line {
    let channel = match &trust.tls {
        None => endpoint.connect_lazy(),
        Some(tls) => endpoint.connect_with_connector_lazy(OverTls {
            address: address.into(),
            tls: tls.clone(),
        }),
    };
    InterceptedService::new(channel, Said::by(trust))
}

/// What a node says about itself with every call.
#[derive(Clone, Debug)]
pub(crate) struct Said(Option<MetadataValue<Ascii>>);

impl Said {
    fn by(trust: &NodeTrust) -> Self {
        let value = trust.said().and_then(|said| said.parse().ok());
        Self(value.map(|mut value: MetadataValue<Ascii>| {
            value.set_sensitive(true);
            value
        }))
    }
}

impl Interceptor for Said {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(said) = &self.0 {
            request.metadata_mut().insert(AUTHORIZATION, said.clone());
        }
        Ok(request)
    }
}

/// Answers nodes of the cluster alone.
#[derive(Clone, Debug)]
pub(crate) struct Believed(pub(crate) NodeTrust);

impl Interceptor for Believed {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let said = request.metadata().get(AUTHORIZATION);
        match self.0.believes(said.map(MetadataValue::as_encoded_bytes)) {
            true => Ok(request),
            false => Err(Status::unauthenticated(
                "this is no node of the cluster: its `security.cluster_token_file` holds another \
                 token, or none",
            )),
        }
    }
}

/// What was connected last counts: a line that breaks takes the newest certificate.
#[derive(Clone, Debug)]
struct OverTls {
    address: Arc<str>,
    tls: Tls,
}

trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

impl Service<Uri> for OverTls {
    type Response = TokioIo<Box<dyn Bytes>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { address, tls } = self.clone();
        async move {
            let stream = TcpStream::connect(&*address).await?;
            stream.set_nodelay(true)?;
            let stream = tls.connect(&address, stream).await?;
            Ok(TokioIo::new(Box::new(stream) as Box<dyn Bytes>))
        }
        .boxed()
    }
}

/// As tonic takes connections.
#[derive(Debug)]
pub(crate) struct Accepted(pub(crate) Connection);

impl tonic::transport::server::Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
