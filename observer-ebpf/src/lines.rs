//! The lines of HTTP/1.x responses (RFC 9112): status lines, header fields, chunk sizes, trailers.
//!
//! It takes bytes and notes in the socket what they say. What follows from a whole header block is
//! `response`'s concern.

use crate::{Phase, Socket, head};

/// What every status line begins with (RFC 9112 section 4); a digit follows.
pub(crate) const VERSION: [u8; 7] = *b"HTTP/1.";
/// Bytes of a status line up to its status code's end: `HTTP/1.1 101`.
const STATUS_LINE: u8 = 12;
/// Longest body that is followed. Unit: bytes.
const MAX_LENGTH: u64 = 1 << 53;
/// The header fields that tell what follows a header block, in lower case, each padded with zeroes.
/// In one array, since the verifier follows an index into it.
const NAMES: [u8; 4 * NAME_SIZE as usize] =
    *b"content-length\0\0\0\0\0\0\0\0\0\0transfer-encoding\0\0\0\0\0\0\0sec-websocket-accept\0\0\0\0upgrade\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const NAME_SIZE: u8 = 24;
/// Indices into `NAMES`.
const CONTENT_LENGTH: u8 = 0;
const TRANSFER_ENCODING: u8 = 1;
const SEC_WEBSOCKET_ACCEPT: u8 = 2;
const UPGRADE: u8 = 3;

/// A token of a list that is not the one that is looked for.
const OTHER_TOKEN: u8 = u8::MAX;

/// Takes several bytes at once where they are as expected or say nothing; returns how many.
#[inline(always)]
pub(crate) fn take_word(socket: &mut Socket, bytes: [u8; 8]) -> Option<u32> {
    let word = u64::from_le_bytes(bytes);
    if socket.phase == Phase::LineStart as u8 && !matches!(bytes[0], b'\r' | b'\n' | b' ' | b'\t') {
        if socket.head & head::TRAILER == 0
            && let Some((field, length)) = name_prefix(word)
        {
            enter(socket, Phase::Name);
            socket.field = field;
            socket.position = length;
            return Some(u32::from(length));
        }
    } else if socket.phase != Phase::Line as u8 {
        return None;
    }
    let ends = newlines(word);
    if ends == 0 {
        enter(socket, Phase::Line);
        return Some(8);
    }
    enter(socket, Phase::LineStart);
    Some((ends.trailing_zeros() >> 3) + 1)
}

/// The field whose name begins with these bytes, and how many of them are the name's.
#[inline(always)]
const fn name_prefix(word: u64) -> Option<(u8, u8)> {
    const fn is(word: u64, prefix: [u8; 8]) -> bool {
        // In lower case, of letters only: another byte has to be as it is.
        let lower = u64::from_le_bytes(prefix);
        let letters = (lower & 0x4040_4040_4040_4040) >> 1;
        word | letters == lower
    }
    if is(word, *b"content-") {
        Some((CONTENT_LENGTH, 8))
    } else if is(word, *b"transfer") {
        Some((TRANSFER_ENCODING, 8))
    } else if is(word, *b"sec-webs") {
        Some((SEC_WEBSOCKET_ACCEPT, 8))
    } else if is(word, *b"upgrade:") {
        Some((UPGRADE, 7))
    } else {
        None
    }
}

/// Marks the newlines among eight bytes: the lowest mark is the first one's, and is exact.
#[inline(always)]
const fn newlines(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let other = word ^ (ONES * b'\n' as u64);
    other.wrapping_sub(ONES) & !other & (ONES << 7)
}

/// What one byte was the last of.
pub(crate) enum Taken {
    /// Nothing that is acted on.
    Byte,
    /// A status code.
    Status,
    /// A header block, or a trailer section.
    HeaderBlock,
    /// A line with a chunk's size.
    Chunk,
    /// No HTTP.
    Nonsense,
}

#[inline(always)]
pub(crate) fn take(socket: &mut Socket, byte: u8) -> Taken {
    match socket.phase {
        phase if phase == Phase::Start as u8 => status_line(socket, byte),
        phase if phase == Phase::LineStart as u8 => line_start(socket, byte),
        phase if phase == Phase::Name as u8 => name(socket, byte),
        phase if phase == Phase::Value as u8 => value(socket, byte),
        phase if phase == Phase::Line as u8 => {
            if byte == b'\n' {
                enter(socket, Phase::LineStart);
            }
            Taken::Byte
        }
        phase if phase == Phase::BlankLine as u8 => match byte {
            b'\n' => Taken::HeaderBlock,
            _ => Taken::Nonsense,
        },
        phase if phase == Phase::ChunkSize as u8 => chunk_size(socket, byte),
        phase if phase == Phase::ChunkExtension as u8 => match byte {
            b'\n' => Taken::Chunk,
            _ => Taken::Byte,
        },
        // ChunkEnd: the line break behind a chunk's data.
        _ => match (socket.position, byte) {
            (0, b'\r') => {
                socket.position = 1;
                Taken::Byte
            }
            (1, b'\n') => {
                begin_chunk(socket);
                Taken::Byte
            }
            _ => Taken::Nonsense,
        },
    }
}

#[inline(always)]
fn status_line(socket: &mut Socket, byte: u8) -> Taken {
    let position = socket.position;
    let is_digit = byte.is_ascii_digit();
    let fits = match position {
        0..7 => VERSION.get(usize::from(position)) == Some(&byte),
        7 => is_digit,
        8 => byte == b' ',
        9..STATUS_LINE => is_digit,
        _ => matches!(byte, b' ' | b'\r' | b'\n'),
    };
    if !fits {
        return Taken::Nonsense;
    }
    if position == STATUS_LINE {
        let is_whole = byte == b'\n';
        enter(
            socket,
            if is_whole {
                Phase::LineStart
            } else {
                Phase::Line
            },
        );
        return Taken::Status;
    }
    if position > 8 {
        socket.status = socket.status * 10 + u16::from(byte - b'0');
    }
    socket.position = position + 1;
    Taken::Byte
}

#[inline(always)]
fn line_start(socket: &mut Socket, byte: u8) -> Taken {
    match byte {
        b'\r' => {
            enter(socket, Phase::BlankLine);
            Taken::Byte
        }
        b'\n' => Taken::HeaderBlock,
        // A folded line goes on with the field before it: obsolete, and not worth following.
        b' ' | b'\t' => Taken::Nonsense,
        _ => {
            let field = match byte.to_ascii_lowercase() {
                b'c' => CONTENT_LENGTH,
                b't' => TRANSFER_ENCODING,
                b's' => SEC_WEBSOCKET_ACCEPT,
                b'u' => UPGRADE,
                _ => u8::MAX,
            };
            if field == u8::MAX || socket.head & head::TRAILER != 0 {
                enter(socket, Phase::Line);
            } else {
                enter(socket, Phase::Name);
                socket.field = field;
                socket.position = 1;
            }
            Taken::Byte
        }
    }
}

#[inline(always)]
fn name(socket: &mut Socket, byte: u8) -> Taken {
    // Both are within their ranges; the masks tell the verifier.
    let at = (socket.field & 3) * NAME_SIZE + (socket.position & 31);
    let expected = NAMES.get(usize::from(at)).copied().unwrap_or(0);
    if expected != 0 {
        if byte.to_ascii_lowercase() == expected {
            socket.position += 1;
        } else {
            enter(socket, line_after(byte));
        }
        return Taken::Byte;
    }
    if byte != b':' {
        enter(socket, line_after(byte));
        return Taken::Byte;
    }
    enter(socket, Phase::Value);
    match socket.field {
        CONTENT_LENGTH if socket.head & head::LENGTH != 0 => return Taken::Nonsense,
        SEC_WEBSOCKET_ACCEPT => {
            socket.head |= head::WEBSOCKET;
            enter(socket, Phase::Line);
        }
        _ => {}
    }
    Taken::Byte
}

/// Where reading goes on behind a byte of a line that says nothing.
#[inline(always)]
const fn line_after(byte: u8) -> Phase {
    if byte == b'\n' {
        Phase::LineStart
    } else {
        Phase::Line
    }
}

#[inline(always)]
fn value(socket: &mut Socket, byte: u8) -> Taken {
    match socket.field {
        CONTENT_LENGTH => return content_length(socket, byte),
        TRANSFER_ENCODING => {
            let is_chunked = token(socket, byte, *b"chunked\0\0");
            if byte == b'\n' {
                // The last coding decides, and the last field of this name (RFC 9112 section 6.1).
                socket.head = socket.head & !head::CHUNKED | head::TRANSFER_ENCODING;
                if is_chunked {
                    socket.head |= head::CHUNKED;
                }
            }
        }
        _ => {
            if token(socket, byte, *b"websocket") {
                socket.head |= head::WEBSOCKET;
            }
        }
    }
    if byte == b'\n' {
        enter(socket, Phase::LineStart);
    }
    Taken::Byte
}

/// Compares the tokens of a list with one; true at a byte behind it.
#[inline(always)]
fn token(socket: &mut Socket, byte: u8, wanted: [u8; 9]) -> bool {
    let position = socket.position;
    let expected = wanted.get(usize::from(position)).copied().unwrap_or(0);
    let is_whole = position != OTHER_TOKEN && position != 0 && expected == 0;
    match byte {
        b',' => socket.position = 0,
        b' ' | b'\t' | b'\r' | b'\n' | b'/' | b';' if position == 0 || is_whole => {}
        _ if expected != 0 && byte.to_ascii_lowercase() == expected => socket.position += 1,
        _ => socket.position = OTHER_TOKEN,
    }
    is_whole && socket.position != OTHER_TOKEN
}

#[inline(always)]
fn content_length(socket: &mut Socket, byte: u8) -> Taken {
    // 0 before the digits, 1 among them, 2 behind them.
    match (byte, socket.position) {
        (b'0'..=b'9', 0 | 1) if socket.length < MAX_LENGTH / 10 => {
            socket.length = socket.length * 10 + u64::from(byte - b'0');
            socket.position = 1;
        }
        (b' ' | b'\t', 0) => {}
        (b' ' | b'\t' | b'\r', 1 | 2) => socket.position = 2,
        (b'\n', 1 | 2) => {
            socket.head |= head::LENGTH;
            enter(socket, Phase::LineStart);
        }
        _ => return Taken::Nonsense,
    }
    Taken::Byte
}

#[inline(always)]
fn chunk_size(socket: &mut Socket, byte: u8) -> Taken {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        b';' | b' ' | b'\t' | b'\r' if socket.position == 1 => {
            socket.phase = Phase::ChunkExtension as u8;
            return Taken::Byte;
        }
        b'\n' if socket.position == 1 => return Taken::Chunk,
        _ => return Taken::Nonsense,
    };
    if socket.length >= MAX_LENGTH / 16 {
        return Taken::Nonsense;
    }
    socket.length = socket.length << 4 | u64::from(digit);
    socket.position = 1;
    Taken::Byte
}

/// The next response begins.
#[inline(always)]
pub(crate) const fn begin(socket: &mut Socket) {
    socket.length = 0;
    socket.status = 0;
    socket.head = 0;
    enter(socket, Phase::Start);
}

/// The line with a chunk's size begins.
#[inline(always)]
pub(crate) const fn begin_chunk(socket: &mut Socket) {
    socket.length = 0;
    enter(socket, Phase::ChunkSize);
}

#[inline(always)]
pub(crate) const fn enter(socket: &mut Socket, phase: Phase) {
    socket.phase = phase as u8;
    socket.position = 0;
}
