//! The bytes of an Avro record, read from front to back. What is read is never past the end.

pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

#[cold]
fn ended() -> String {
    "the record ends before its schema does".to_owned()
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(super) fn long(&mut self) -> Result<i64, String> {
        // Most numbers have one byte or two.
        let (value, used) = match *self.rest {
            [a, ..] if a < 0x80 => (u64::from(a), 1),
            [a, b, ..] if b < 0x80 => (u64::from(a & 0x7F) | u64::from(b) << 7, 2),
            _ => self.long_varint()?,
        };
        self.rest = &self.rest[used..];
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn long_varint(&self) -> Result<(u64, usize), String> {
        let mut value = 0u64;
        for (at, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                return match at == 9 && *byte > 1 {
                    true => Err("a number of the record has more than 64 bits".to_owned()),
                    false => Ok((value, at + 1)),
                };
            }
        }
        match self.rest.len() < 10 {
            true => Err(ended()),
            false => Err("a number of the record has more than 64 bits".to_owned()),
        }
    }

    #[inline]
    pub(super) fn take(&mut self, bytes: usize) -> Result<&'a [u8], String> {
        let Some((taken, rest)) = self.rest.split_at_checked(bytes) else {
            return Err(ended());
        };
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let Some((taken, rest)) = self.rest.split_first_chunk() else {
            return Err(ended());
        };
        self.rest = rest;
        Ok(*taken)
    }

    /// Bytes after their length.
    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = self.long()?;
        match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => Err(format!("a length of the record is {length}")),
        }
    }

    pub(super) fn text(&mut self) -> Result<&'a str, String> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|error| format!("a text is not UTF-8: {error}"))
    }

    pub(super) fn boolean(&mut self) -> Result<bool, String> {
        match self.array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(format!("a boolean of the record is {other}")),
        }
    }

    /// Which of `count` it is: a branch or a symbol.
    #[inline]
    pub(super) fn index(&mut self, count: usize) -> Result<usize, String> {
        let index = self.long()?;
        let valid = usize::try_from(index).ok().filter(|index| *index < count);
        valid.ok_or_else(|| format!("branch or symbol {index} of {count} does not exist"))
    }

    /// Items of the next block of an array or a map, and its bytes where they are told; 0: the end.
    pub(super) fn block(&mut self) -> Result<(u64, Option<usize>), String> {
        let count = self.long()?;
        if count >= 0 {
            return Ok((count as u64, None));
        }
        let bytes = self.long()?;
        let bytes = usize::try_from(bytes).map_err(|_| format!("a block has {bytes} bytes"))?;
        Ok((count.unsigned_abs(), Some(bytes)))
    }
}
