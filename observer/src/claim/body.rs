//! The body of a scrape: unpacked and handed on while it comes in, never beyond its limit.
//!
//! Pure: it knows neither HTTP nor what the bytes mean to whom they are handed.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;

/// Why a body is refused.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// More bytes than allowed, on the wire or unpacked.
    #[error("the body is larger than {limit} bytes {form}")]
    TooLarge {
        /// Unit: bytes.
        limit: usize,
        /// Where they were counted.
        form: Form,
    },
    /// Bytes that are no gzip, or a gzip stream that is cut off.
    #[error("the body cannot be unpacked")]
    Gzip(#[source] io::Error),
    /// Whom it was handed to takes no more of it.
    #[error("the body was not read to its end")]
    Refused(#[source] io::Error),
}

/// Where the bytes of a body are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As they come.
    Wire,
    /// After decompression.
    Unpacked,
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Wire => "on the wire",
            Self::Unpacked => "unpacked",
        })
    }
}

/// Takes the bytes of a body, and hands them to `W`.
pub(super) struct Sink<W: Write> {
    decoder: Decoder<W>,
    /// Bytes so far on the wire.
    received: usize,
    limit: usize,
}

enum Decoder<W: Write> {
    Identity(Bounded<W>),
    Gzip(Box<MultiGzDecoder<Bounded<W>>>),
}

/// Hands on no more than its limit.
struct Bounded<W> {
    reader: W,
    /// Bytes that may follow.
    room: usize,
    last: Option<u8>,
    is_full: bool,
    is_refused: bool,
}

impl<W: Write> Sink<W> {
    /// A sink for at most `limit` bytes, packed or not. `length` is what the sender announced.
    pub(super) fn new(
        is_gzip: bool,
        length: Option<u64>,
        limit: usize,
        reader: W,
    ) -> Result<Self, BodyError> {
        if length.is_some_and(|length| length > limit as u64) {
            return Err(BodyError::TooLarge {
                limit,
                form: Form::Wire,
            });
        }
        let bounded = Bounded {
            reader,
            room: limit,
            last: None,
            is_full: false,
            is_refused: false,
        };
        let decoder = if is_gzip {
            Decoder::Gzip(Box::new(MultiGzDecoder::new(bounded)))
        } else {
            Decoder::Identity(bounded)
        };
        Ok(Self {
            decoder,
            received: 0,
            limit,
        })
    }

    pub(super) fn write(&mut self, data: &[u8]) -> Result<(), BodyError> {
        self.received = self.received.saturating_add(data.len());
        if self.received > self.limit {
            return Err(BodyError::TooLarge {
                limit: self.limit,
                form: Form::Wire,
            });
        }
        let written = match &mut self.decoder {
            Decoder::Identity(bounded) => bounded.write_all(data),
            Decoder::Gzip(decoder) => decoder.write_all(data),
        };
        written.map_err(|error| self.failed(error))
    }

    /// The body is complete: its last byte, unpacked.
    pub(super) fn finish(mut self) -> Result<Option<u8>, BodyError> {
        let finished = match &mut self.decoder {
            Decoder::Identity(_) => Ok(()),
            Decoder::Gzip(decoder) => decoder.try_finish(),
        };
        finished.map_err(|error| self.failed(error))?;
        Ok(self.bounded().last)
    }

    fn bounded(&self) -> &Bounded<W> {
        match &self.decoder {
            Decoder::Identity(bounded) => bounded,
            Decoder::Gzip(decoder) => decoder.get_ref(),
        }
    }

    fn failed(&self, error: io::Error) -> BodyError {
        let bounded = self.bounded();
        if bounded.is_full {
            BodyError::TooLarge {
                limit: self.limit,
                form: Form::Unpacked,
            }
        } else if bounded.is_refused {
            BodyError::Refused(error)
        } else {
            BodyError::Gzip(error)
        }
    }
}

impl<W: Write> Write for Bounded<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let Some(room) = self.room.checked_sub(data.len()) else {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        let taken = self.reader.write_all(data);
        self.is_refused = taken.is_err();
        taken?;
        self.room = room;
        self.last = data.last().copied().or(self.last);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
