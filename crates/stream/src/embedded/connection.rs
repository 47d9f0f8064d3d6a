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

const FRAME_BYTES_MAX: usize = 100 << 20;
const READ_BUFFER_BYTES: usize = 16 << 10;

/// What is answered, with the least and greatest version.
pub(super) const APIS: [(ApiKey, i16, i16); 13] = [
    (ApiKey::Produce, 3, 9),
    (ApiKey::Fetch, 4, 12),
    (ApiKey::ListOffsets, 1, 7),
    (ApiKey::Metadata, 0, 9),
    (ApiKey::ApiVersions, 0, 3),
    (ApiKey::FindCoordinator, 0, 3),
    (ApiKey::InitProducerId, 0, 4),
    (ApiKey::AddPartitionsToTxn, 0, 3),
    (ApiKey::EndTxn, 0, 3),
    (ApiKey::CreateTopics, 2, 5),
    (ApiKey::DeleteTopics, 1, 5),
    (ApiKey::DeleteRecords, 0, 2),
    (ApiKey::CreatePartitions, 0, 3),
];

/// Kafka's flexible headers: `true` when the frame cannot be answered.
fn refuse(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

impl EmbeddedLog {
    pub(super) async fn serve(self: Arc<Self>, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = BytesMut::with_capacity(READ_BUFFER_BYTES);
        while let Some(frame) = read_frame(&mut stream, &mut buffer).await? {
            if let Some(answer) = self.answer(frame).await? {
                stream.write_all(&answer).await?;
            }
        }
        Ok(())
    }

    /// `None`: a produce request that wants no answer.
    async fn answer(&self, mut frame: Bytes) -> io::Result<Option<BytesMut>> {
        if frame.len() < 8 {
            return Err(refuse("a frame without a header"));
        }
        let (api, version) = (peek_i16(&frame, 0), peek_i16(&frame, 2));
        let correlation = (&frame[4..]).get_i32();
        let api = ApiKey::try_from(api).map_err(|()| refuse(format!("api key {api}")))?;
        let known = APIS.iter().find(|(key, _, _)| *key == api);
        let Some((_, least, greatest)) = known else {
            return Err(refuse(format!("{api:?} is not served")));
        };
        if api == ApiKey::ApiVersions && version > *greatest {
            return framed(correlation, 0, &versions_fallback()?).map(Some);
        }
        if version < *least || version > *greatest {
            return Err(refuse(format!("{api:?} version {version} is not served")));
        }
        decode_request_header_from_buffer(&mut frame).map_err(|error| refuse(error.to_string()))?;
        let body = self.handle(api, version, frame).await;
        match body.map_err(|error| refuse(format!("{api:?}: {error}")))? {
            Some(body) => {
                framed(correlation, api.response_header_version(version), &body).map(Some)
            }
            None => Ok(None),
        }
    }
}

fn peek_i16(frame: &[u8], at: usize) -> i16 {
    i16::from_be_bytes([frame[at], frame[at + 1]])
}

/// `None` when the client closed between two frames.
async fn read_frame(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<Option<Bytes>> {
    while buffer.len() < 4 {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let length = buffer.get_i32();
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= FRAME_BYTES_MAX);
    let length = length.ok_or_else(|| refuse("a frame of more than 100 MiB"))?;
    while buffer.len() < length {
        buffer.reserve((length - buffer.len()).min(1 << 20));
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Some(buffer.split_to(length).freeze()))
}

fn framed(correlation: i32, header_version: i16, body: &BytesMut) -> io::Result<BytesMut> {
    let mut header = BytesMut::with_capacity(9);
    ResponseHeader::default()
        .with_correlation_id(correlation)
        .encode(&mut header, header_version)
        .map_err(|error| refuse(error.to_string()))?;
    let mut frame = BytesMut::with_capacity(4 + header.len() + body.len());
    frame.put_u32((header.len() + body.len()) as u32);
    frame.extend_from_slice(&header);
    frame.extend_from_slice(body);
    Ok(frame)
}

/// A client that is newer than we are asks again with the version that we name here.
fn versions_fallback() -> io::Result<BytesMut> {
    let own = api_versions_response::ApiVersion::default()
        .with_api_key(ApiKey::ApiVersions as i16)
        .with_min_version(0)
        .with_max_version(3);
    let mut body = BytesMut::new();
    ApiVersionsResponse::default()
        .with_error_code(code::UNSUPPORTED_VERSION)
        .with_api_keys(vec![own])
        .encode(&mut body, 0)
        .map_err(|error| refuse(error.to_string()))?;
    Ok(body)
}
