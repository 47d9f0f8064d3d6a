//! As much of DER as a public key and the dates of a certificate take. Whatever is not as it should
//! be is `None`: the callers say what that means.

/// What is left of a sequence of values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Der<'a>(pub(crate) &'a [u8]);

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version of a certificate, which old ones lack.
const VERSION: u8 = 0xa0;

impl<'a> Der<'a> {
    /// The next value: its tag and its content.
    pub(crate) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let length = match first {
            0..=0x7f => usize::from(first),
            0x81..=0x84 => {
                let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
                rest = after;
                let value = bytes.iter();
                value.fold(0, |sum, byte| (sum << 8) | usize::from(*byte))
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    pub(crate) fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next()
            .and_then(|(tag, content)| (tag == wanted).then_some(content))
    }
}

/// What stands in a SubjectPublicKeyInfo: of RSA the sequence of its numbers, of a curve the point.
pub(crate) fn public_key(info: &[u8]) -> Option<&[u8]> {
    let mut info = Der(Der(info).expect(SEQUENCE)?);
    info.expect(SEQUENCE)?;
    // The first byte counts bits that are left over: none.
    let (0, key) = info.expect(BIT_STRING)?.split_first()? else {
        return None;
    };
    Some(key)
}

/// From when to when a certificate counts, in epoch milliseconds.
pub(crate) fn validity_ms(certificate: &[u8]) -> Option<(i64, i64)> {
    let mut certificate = Der(Der(certificate).expect(SEQUENCE)?);
    let mut signed = Der(certificate.expect(SEQUENCE)?);
    let mut after_version = signed;
    if after_version.next()?.0 == VERSION {
        signed = after_version;
    }
    signed.expect(INTEGER)?;
    signed.expect(SEQUENCE)?;
    signed.expect(SEQUENCE)?;
    let mut validity = Der(signed.expect(SEQUENCE)?);
    Some((time_ms(validity.next()?)?, time_ms(validity.next()?)?))
}

fn time_ms((tag, text): (u8, &[u8])) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let text = match tag {
        // Two digits: up to 2049.
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = chrono::NaiveDateTime::parse_from_str(&text, "%Y%m%d%H%M%SZ").ok()?;
    Some(time.and_utc().timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_to_their_end_and_not_further() {
        let mut der = Der(&[0x02, 0x01, 0x07, 0x30, 0x00]);
        assert_eq!(der.expect(INTEGER), Some(&[7][..]));
        assert_eq!(der.next(), Some((SEQUENCE, &[][..])));
        assert_eq!(der.next(), None);
        for damaged in [
            &[0x02][..],
            &[0x02, 0x05, 1],
            &[0x02, 0x80, 0],
            &[0x02, 0x82, 1],
        ] {
            assert_eq!(Der(damaged).next(), None, "{damaged:?}");
        }
    }

    #[test]
    fn dates_of_both_forms() {
        assert_eq!(time_ms((UTC_TIME, b"700101000001Z")), Some(1_000));
        assert_eq!(
            time_ms((UTC_TIME, b"491231235959Z")),
            Some(2_524_607_999_000)
        );
        let late = (GENERALIZED_TIME, &b"20500101000000Z"[..]);
        assert_eq!(time_ms(late), Some(2_524_608_000_000));
        assert_eq!(time_ms((UTC_TIME, b"7001010000Z")), None);
        assert_eq!(time_ms((INTEGER, b"700101000001Z")), None);
    }
}
