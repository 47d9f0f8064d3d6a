//! One client's connection: frames in, frames out, in order.
//!
//! A frame that cannot be understood closes the connection; nothing a client sends can panic.

use std::io;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, ResponseHeader, api_versions_response,
};
use kafka_protocol::protocol::{Encodable, decode_request_header_from_buffer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::EmbeddedLog;
use super::kafka_error as code;
use super::shape::{SERVED, Served};

const FRAME_BYTES_MAX: usize = 100 << 20;
/// The smallest buffer of a connection, and the largest that is grown before bytes arrive for it.
const READ_BYTES: usize = 64 << 10;

/// One request, its header already read.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) api: ApiKey,
    pub(super) version: i16,
    pub(super) body: Bytes,
}

/// How this client reached the log; it is told to come back the same way.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: i32,
}

fn refuse(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

impl EmbeddedLog {
    pub(super) async fn serve(self: Arc<Self>, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let address = stream.local_addr()?;
        let endpoint = Endpoint {
            host: address.ip().to_string(),
            port: i32::from(address.port()),
        };
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        while let Some(frame) = read_frame(&mut stream, &mut buffer).await? {
            if let Some(answer) = self.answer(frame, &endpoint).await? {
                stream.write_all(&answer).await?;
            }
        }
        Ok(())
    }

    /// `None`: a produce request that wants no answer.
    async fn answer(
        self: &Arc<Self>,
        mut frame: Bytes,
        endpoint: &Endpoint,
    ) -> io::Result<Option<BytesMut>> {
        let Some(head) = frame.first_chunk::<8>() else {
            return Err(refuse("a frame without a header"));
        };
        let api = i16::from_be_bytes([head[0], head[1]]);
        let version = i16::from_be_bytes([head[2], head[3]]);
        let correlation = i32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let known = SERVED.iter().find(|served| served.api as i16 == api);
        let Some(served) = known else {
            return Err(refuse(format!("api key {api} is not served")));
        };
        let api = served.api;
        if api == ApiKey::ApiVersions {
            return framed(correlation, &api_versions(version, served)?).map(Some);
        }
        if version < served.least || version > served.greatest {
            return Err(refuse(format!("{api:?} version {version} is not served")));
        }
        decode_request_header_from_buffer(&mut frame).map_err(|error| refuse(error.to_string()))?;
        if !served.fits(version, &frame) {
            return Err(refuse(format!("{api:?}: the request is cut or too long")));
        }
        let request = Request {
            api,
            version,
            body: frame,
        };
        let body = self.handle(request, endpoint).await;
        match body.map_err(|error| refuse(format!("{api:?}: {error}")))? {
            Some(body) => framed(correlation, &body).map(Some),
            None => Ok(None),
        }
    }
}

/// `None` when the client closed between two frames.
async fn read_frame(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<Option<Bytes>> {
    while buffer.len() < 4 {
        buffer.reserve(READ_BYTES);
        if stream.read_buf(buffer).await? == 0 {
            return match buffer.len() {
                0 => Ok(None),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
    }
    let length = usize::try_from(buffer.get_i32());
    let length = length.ok().filter(|length| *length <= FRAME_BYTES_MAX);
    let length = length.ok_or_else(|| refuse("a frame of more than 100 MiB"))?;
    while buffer.len() < length {
        buffer.reserve((length - buffer.len()).min(READ_BYTES.max(buffer.len())));
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Some(buffer.split_to(length).freeze()))
}

/// Answers of the served versions all have the first form of header.
fn framed(correlation: i32, body: &BytesMut) -> io::Result<BytesMut> {
    let mut header = BytesMut::with_capacity(4);
    ResponseHeader::default()
        .with_correlation_id(correlation)
        .encode(&mut header, 0)
        .map_err(|error| refuse(error.to_string()))?;
    let length = header.len() + body.len();
    let mut frame = BytesMut::with_capacity(4 + length);
    frame.put_u32(u32::try_from(length).map_err(|_| refuse("the answer is too long"))?);
    frame.extend_from_slice(&header);
    frame.extend_from_slice(body);
    Ok(frame)
}

/// A client that is newer than we are asks again with a version that we name here.
fn api_versions(version: i16, served: &Served) -> io::Result<BytesMut> {
    let known = (served.least..=served.greatest).contains(&version);
    let names = |served: &Served| {
        api_versions_response::ApiVersion::default()
            .with_api_key(served.api as i16)
            .with_min_version(served.least)
            .with_max_version(served.greatest)
    };
    let (version, answer) = if known {
        let all = SERVED.iter().map(names).collect();
        (version, ApiVersionsResponse::default().with_api_keys(all))
    } else {
        let refused = ApiVersionsResponse::default().with_error_code(code::UNSUPPORTED_VERSION);
        (0, refused.with_api_keys(vec![names(served)]))
    };
    let mut body = BytesMut::new();
    answer
        .encode(&mut body, version)
        .map_err(|error| refuse(error.to_string()))?;
    Ok(body)
}
