//! The body of a scrape: unpacked while it comes in, never beyond its limit.
//!
//! Pure: it knows neither HTTP nor what the bytes mean.

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

/// Takes the bytes of a body.
pub(super) struct Sink {
    decoder: Decoder,
    /// Bytes so far on the wire.
    received: usize,
    limit: usize,
}

enum Decoder {
    Identity(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>),
}

/// A buffer that refuses to grow beyond its limit.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    is_full: bool,
}

impl Sink {
    /// A sink for at most `limit` bytes, packed or not. `length` is what the sender announced.
    pub(super) fn new(is_gzip: bool, length: Option<u64>, limit: usize) -> Result<Self, BodyError> {
        if length.is_some_and(|length| length > limit as u64) {
            return Err(BodyError::TooLarge {
                limit,
                form: Form::Wire,
            });
        }
        let buffer = Bounded {
            bytes: Vec::new(),
            limit,
            is_full: false,
        };
        let decoder = if is_gzip {
            Decoder::Gzip(Box::new(MultiGzDecoder::new(buffer)))
        } else {
            Decoder::Identity(buffer)
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
        match &mut self.decoder {
            Decoder::Identity(buffer) => {
                buffer.bytes.extend_from_slice(data);
                Ok(())
            }
            Decoder::Gzip(decoder) => {
                let outcome = decoder.write_all(data);
                outcome.map_err(|error| gzip_error(decoder.get_ref(), error))
            }
        }
    }

    /// The whole body.
    pub(super) fn finish(self) -> Result<Vec<u8>, BodyError> {
        match self.decoder {
            Decoder::Identity(buffer) => Ok(buffer.bytes),
            Decoder::Gzip(mut decoder) => {
                let outcome = decoder.try_finish();
                outcome.map_err(|error| gzip_error(decoder.get_ref(), error))?;
                Ok(std::mem::take(&mut decoder.get_mut().bytes))
            }
        }
    }
}

fn gzip_error(buffer: &Bounded, error: io::Error) -> BodyError {
    if buffer.is_full {
        BodyError::TooLarge {
            limit: buffer.limit,
            form: Form::Unpacked,
        }
    } else {
        BodyError::Gzip(error)
    }
}

impl Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.len() > self.limit - self.bytes.len() {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
