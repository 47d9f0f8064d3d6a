//! Requests are walked before they are decoded: the decoder allocates what an array's length says.
//!
//! Invariant: a request that passes has all the elements it announces, and at most
//! [`ELEMENTS_MAX`] of them; so decoding allocates in proportion to the frame.
//!
//! Only versions before Kafka's "flexible" ones are served, whose lengths are plain integers.

use kafka_protocol::messages::ApiKey;

const ELEMENTS_MAX: usize = 100_000;

/// One field, or a few of fixed size.
enum Part {
    Fixed(usize),
    /// i16 length, -1 = null.
    Text,
    /// i32 length, -1 = null.
    Blob,
    /// i32 count, -1 = null.
    Many(&'static [Part]),
    /// Only from this version on.
    Since(i16, &'static Part),
}

use Part::{Blob, Fixed, Many, Since, Text};

/// What is served: the least and greatest version, and the body's shape.
pub(super) struct Served {
    pub(super) api: ApiKey,
    pub(super) least: i16,
    pub(super) greatest: i16,
    body: &'static [Part],
}

const fn served(api: ApiKey, least: i16, greatest: i16, body: &'static [Part]) -> Served {
    Served {
        api,
        least,
        greatest,
        body,
    }
}

pub(super) static SERVED: [Served; 14] = [
    served(
        ApiKey::Produce,
        3,
        8,
        &[Text, Fixed(6), Many(&[Text, Many(&[Fixed(4), Blob])])],
    ),
    served(
        ApiKey::Fetch,
        4,
        11,
        &[
            Fixed(17),
            Since(7, &Fixed(8)),
            Many(&[
                Text,
                Many(&[
                    Fixed(4),
                    Since(9, &Fixed(4)),
                    Fixed(8),
                    Since(5, &Fixed(8)),
                    Fixed(4),
                ]),
            ]),
            Since(7, &Many(&[Text, Many(&[Fixed(4)])])),
            Since(11, &Text),
        ],
    ),
    served(
        ApiKey::ListOffsets,
        1,
        5,
        &[
            Fixed(4),
            Since(2, &Fixed(1)),
            Many(&[Text, Many(&[Fixed(4), Since(4, &Fixed(4)), Fixed(8)])]),
        ],
    ),
    served(
        ApiKey::Metadata,
        0,
        8,
        &[Many(&[Text]), Since(4, &Fixed(1)), Since(8, &Fixed(2))],
    ),
    // The body is not read.
    served(ApiKey::ApiVersions, 0, 3, &[]),
    served(ApiKey::FindCoordinator, 0, 2, &[Text, Since(1, &Fixed(1))]),
    served(ApiKey::InitProducerId, 0, 1, &[Text, Fixed(4)]),
    served(
        ApiKey::AddPartitionsToTxn,
        0,
        2,
        &[Text, Fixed(10), Many(&[Text, Many(&[Fixed(4)])])],
    ),
    served(ApiKey::EndTxn, 0, 2, &[Text, Fixed(11)]),
    served(
        ApiKey::CreateTopics,
        2,
        4,
        &[
            Many(&[
                Text,
                Fixed(6),
                Many(&[Fixed(4), Many(&[Fixed(4)])]),
                Many(&[Text, Text]),
            ]),
            Fixed(5),
        ],
    ),
    served(ApiKey::DeleteTopics, 1, 3, &[Many(&[Text]), Fixed(4)]),
    served(
        ApiKey::DeleteRecords,
        0,
        1,
        &[Many(&[Text, Many(&[Fixed(12)])]), Fixed(4)],
    ),
    served(
        ApiKey::CreatePartitions,
        0,
        1,
        &[
            Many(&[Text, Fixed(4), Many(&[Many(&[Fixed(4)])])]),
            Fixed(5),
        ],
    ),
    served(
        ApiKey::DescribeConfigs,
        1,
        3,
        &[
            Many(&[Fixed(1), Text, Many(&[Text])]),
            Fixed(1),
            Since(3, &Fixed(1)),
        ],
    ),
];

impl Served {
    /// Whether `body` holds everything that it announces.
    pub(super) fn fits(&self, version: i16, body: &[u8]) -> bool {
        let mut walk = Walk {
            version,
            rest: body,
            elements_left: ELEMENTS_MAX,
        };
        walk.parts(self.body).is_some()
    }
}

struct Walk<'a> {
    version: i16,
    rest: &'a [u8],
    elements_left: usize,
}

impl Walk<'_> {
    fn parts(&mut self, parts: &[Part]) -> Option<()> {
        parts.iter().try_for_each(|part| self.part(part))
    }

    fn part(&mut self, part: &Part) -> Option<()> {
        match part {
            Fixed(bytes) => self.skip(*bytes),
            Text => {
                let (length, rest) = self.rest.split_first_chunk()?;
                self.rest = rest;
                self.skip(announced(i64::from(i16::from_be_bytes(*length)))?)
            }
            Blob => {
                let length = self.length()?;
                self.skip(length)
            }
            Many(parts) => {
                let count = self.length()?;
                self.elements_left = self.elements_left.checked_sub(count)?;
                (0..count).try_for_each(|_| self.parts(parts))
            }
            Since(version, part) if self.version >= *version => self.part(part),
            Since(..) => Some(()),
        }
    }

    fn length(&mut self) -> Option<usize> {
        let (length, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        announced(i64::from(i32::from_be_bytes(*length)))
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.rest = self.rest.get(bytes..)?;
        Some(())
    }
}

/// -1 announces null, which takes no room.
fn announced(length: i64) -> Option<usize> {
    usize::try_from(if length == -1 { 0 } else { length }).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::messages::*;
    use kafka_protocol::protocol::Decodable;

    use super::*;

    fn of(api: ApiKey) -> &'static Served {
        SERVED.iter().find(|served| served.api == api).unwrap()
    }

    /// A request with one element in each array.
    fn example(parts: &[Part], version: i16, into: &mut Vec<u8>) {
        for part in parts {
            match part {
                Fixed(bytes) => into.resize(into.len() + bytes, 0),
                Text => into.extend([0, 1, b'a']),
                Blob => into.extend([0, 0, 0, 1, 7]),
                Many(parts) => {
                    into.extend([0, 0, 0, 1]);
                    example(parts, version, into);
                }
                Since(least, part) if version >= *least => {
                    example(std::slice::from_ref(part), version, into);
                }
                Since(..) => {}
            }
        }
    }

    /// What the decoder leaves of an example.
    fn left_by<T: Decodable>(version: i16, example: &[u8]) -> usize {
        let mut bytes = Bytes::copy_from_slice(example);
        T::decode(&mut bytes, version).unwrap();
        bytes.len()
    }

    fn left(api: ApiKey, version: i16, example: &[u8]) -> usize {
        let left = match api {
            ApiKey::Produce => left_by::<ProduceRequest>,
            ApiKey::Fetch => left_by::<FetchRequest>,
            ApiKey::ListOffsets => left_by::<ListOffsetsRequest>,
            ApiKey::Metadata => left_by::<MetadataRequest>,
            ApiKey::FindCoordinator => left_by::<FindCoordinatorRequest>,
            ApiKey::InitProducerId => left_by::<InitProducerIdRequest>,
            ApiKey::AddPartitionsToTxn => left_by::<AddPartitionsToTxnRequest>,
            ApiKey::EndTxn => left_by::<EndTxnRequest>,
            ApiKey::CreateTopics => left_by::<CreateTopicsRequest>,
            ApiKey::DeleteTopics => left_by::<DeleteTopicsRequest>,
            ApiKey::DeleteRecords => left_by::<DeleteRecordsRequest>,
            ApiKey::CreatePartitions => left_by::<CreatePartitionsRequest>,
            ApiKey::DescribeConfigs => left_by::<DescribeConfigsRequest>,
            _ => return 0,
        };
        left(version, example)
    }

    #[test]
    fn shapes_are_those_of_the_decoder() {
        for served in &SERVED {
            for version in served.least..=served.greatest {
                let mut whole = Vec::new();
                example(served.body, version, &mut whole);
                let api = served.api;
                assert!(served.fits(version, &whole), "{api:?} {version}");
                assert_eq!(left(api, version, &whole), 0, "{api:?} {version}");
                for cut in 0..whole.len() {
                    assert!(
                        !served.fits(version, &whole[..cut]),
                        "{api:?} {version} {cut}"
                    );
                }
            }
        }
    }

    #[test]
    fn an_array_that_lies_about_its_length_is_refused() {
        let metadata = of(ApiKey::Metadata);
        assert!(!metadata.fits(0, &i32::MAX.to_be_bytes()));
        assert!(!metadata.fits(0, &i32::MIN.to_be_bytes()));
        // Empty texts, but too many of them.
        let count = ELEMENTS_MAX + 1;
        let mut many = (count as i32).to_be_bytes().to_vec();
        many.resize(4 + count * 2, 0);
        assert!(!metadata.fits(0, &many));
    }
}
