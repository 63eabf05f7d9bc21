//! Claims about what a socket is, by what its service sends: on the host, with segments from slices.

extern crate std;

use std::{format, vec, vec::Vec};

use proptest::prelude::*;

use super::{
    Alone, Class, Life, Phase, Slice, Socket, TCP_CLOSE, TCP_ESTABLISHED, Tally, observe, steps,
};

/// The initial sequence number: bodies and frames pass the end of the sequence space.
const FIRST: u32 = u32::MAX - 100;

const WEBSOCKET: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const PING: &[u8] = b"\x89\x00";
const CLOSE: &[u8] = b"\x88\x02\x03\xe8";

/// A socket and what it has made its target's counts.
struct Watched {
    socket: Socket,
    tally: Tally,
    next: u32,
}

impl Watched {
    fn open(socket: Socket, next: u32) -> Self {
        let mut watched = Self {
            socket,
            tally: Tally::default(),
            next,
        };
        watched.life().opened();
        watched
    }

    /// Watched from its first moment.
    fn born() -> Self {
        Self::open(Socket::opened(0, 1), FIRST)
    }

    /// Open before the programs; its service has sent something already.
    fn before() -> Self {
        Self::open(Socket::found(0, TCP_ESTABLISHED), FIRST.wrapping_add(1_000))
    }

    fn life(&mut self) -> Life<'_, Alone> {
        Life::of(&mut self.socket, &mut self.tally)
    }

    /// The service sends a segment.
    fn sends(&mut self, bytes: &[u8]) -> &mut Self {
        let segment = Slice {
            seq: self.next,
            bytes,
            is_first: self.next == FIRST,
        };
        self.next = self.next.wrapping_add(bytes.len() as u32);
        observe(&mut self.life(), &segment, steps);
        self
    }

    /// The service sends bytes that nobody shows to the programs.
    fn sends_unseen(&mut self, bytes: &[u8]) -> &mut Self {
        self.next = self.next.wrapping_add(bytes.len() as u32);
        self
    }

    fn closes(&mut self) {
        self.life().left(TCP_CLOSE);
        self.life().closed();
    }

    fn class(&self) -> Class {
        [Class::Silent, Class::Unknown, Class::Http, Class::WebSocket]
            [usize::from(self.socket.class)]
    }

    /// What the counts say that is open: silent, doubtful, HTTP, WebSockets.
    fn counted(&self) -> [u64; 4] {
        let tally = &self.tally;
        let unknown = tally.unknown_entered - tally.unknown_left;
        let http = tally.http_entered - tally.http_left;
        let websockets = tally.upgraded - tally.websocket_left;
        let open = tally.opened - tally.left;
        [
            open - unknown - http - websockets,
            unknown,
            http,
            websockets,
        ]
    }
}

/// What a new socket is after its service has sent these bytes, however they are cut.
fn is(bytes: &[u8], expected: Class) {
    assert_eq!(Watched::born().sends(bytes).class(), expected);
    let mut watched = Watched::born();
    for byte in bytes.chunks(1) {
        watched.sends(byte);
    }
    assert_eq!(watched.class(), expected, "byte by byte");
    for cut in 1..bytes.len() {
        let (one, other) = bytes.split_at(cut);
        let mut watched = Watched::born();
        watched.sends(one).sends(other);
        assert_eq!(watched.class(), expected, "cut at {cut}");
    }
}

fn head(first: &str, fields: &[&str]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {first}\r\n");
    for field in fields {
        head.push_str(field);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

#[test]
fn a_101_that_says_websocket_makes_a_websocket() {
    is(WEBSOCKET, Class::WebSocket);
    for fields in [
        &["Sec-WebSocket-Accept: x"][..],
        &["sec-websocket-accept:x"],
        &["SEC-WEBSOCKET-ACCEPT:"],
        &["Upgrade: websocket"],
        &["upgrade:WebSocket"],
        &["Upgrade: h2c, websocket", "Server: s"],
        &["Upgrade: websocket/13"],
        &["Content-Type: x", "Set-Cookie: u", "Upgrade:\twebsocket "],
    ] {
        is(&head("101 X", fields), Class::WebSocket);
    }
    is(b"HTTP/1.1 101\nUpgrade: websocket\n\n", Class::WebSocket);
}

#[test]
fn a_101_to_another_protocol_makes_none() {
    for fields in [
        &[][..],
        &["Upgrade: tcp", "Connection: Upgrade"],
        &["Upgrade: h2c"],
        &["Upgrade: websockets"],
        &["Upgrade: xwebsocket"],
        &["Upgrade: web socket"],
        &["X-Upgrade: websocket"],
        &["Upgrades: websocket"],
        &["Sec-WebSocket-Accepted: x"],
        &["X: Sec-WebSocket-Accept: x"],
        &["Sec-WebSocket-Protocol: chat"],
    ] {
        let mut bytes = head("101 Switching Protocols", fields);
        is(&bytes, Class::Http);
        // Whatever that protocol is: even if it looks like a WebSocket's upgrade.
        bytes.extend(WEBSOCKET);
        is(&bytes, Class::Http);
    }
}

#[test]
fn interim_responses_come_before_any_other() {
    let early = head("103 Early Hints", &["Link: </s.css>"]);
    let go_on = head("100 Continue", &[]);
    is(&early, Class::Silent);
    is(&[&early, WEBSOCKET].concat(), Class::WebSocket);
    is(
        &[&go_on, &early, &go_on, WEBSOCKET].concat(),
        Class::WebSocket,
    );
    is(&[&go_on, &early, OK].concat(), Class::Http);
    is(&[OK, &early, WEBSOCKET].concat(), Class::WebSocket);
}

#[test]
fn responses_that_end_are_followed_by_the_next_one() {
    let chunked = [
        &head("200 OK", &["Transfer-Encoding: gzip, chunked"])[..],
        b"5\r\nHTTP/\r\n1a;x=y\r\n.1 101 Switching Protocols\r\n0\r\nUpgrade: websocket\r\n\r\n",
    ]
    .concat();
    for before in [
        OK.to_vec(),
        [OK, OK, OK].concat(),
        head("204 No Content", &["Content-Length: 5"]),
        head("304 Not Modified", &["Content-Length: 1000", "ETag: t"]),
        head("200 OK", &["content-length:0"]),
        head("200 OK", &["CONTENT-LENGTH: \t 0 \t"]),
        chunked,
        [
            &head("404 No", &["Content-Length: 12"])[..],
            b"xTTP/1.1 101",
        ]
        .concat(),
    ] {
        is(&before, Class::Http);
        is(&[&before, WEBSOCKET].concat(), Class::WebSocket);
    }
}

#[test]
fn a_body_never_makes_a_websocket() {
    let length = format!("Content-Length: {}", WEBSOCKET.len() + 5);
    for (fields, before) in [
        (&[length.as_str()][..], &b"body "[..]),
        (&["Transfer-Encoding: chunked"], b"1ff\r\nbody "),
        (&["Transfer-Encoding: gzip"], b"body "),
        (
            &["Content-Length: 3", "Transfer-Encoding: identity"],
            b"body ",
        ),
        (&[], b"body "),
        (&[], b"HTTX"),
    ] {
        let response = [&head("200 OK", fields), before].concat();
        let mut watched = Watched::born();
        watched.sends(&response).sends(WEBSOCKET);
        assert_eq!(watched.class(), Class::Http, "{fields:?}");
        is(&[&response, WEBSOCKET].concat(), Class::Http);
    }
}

#[test]
fn a_body_that_begins_like_a_response_is_doubtful() {
    // It may be the next response: the answer to a HEAD request announces a body and has none.
    for fields in [
        &["Content-Length: 1000"][..],
        &[],
        &["Transfer-Encoding: chunked"],
    ] {
        let response = [&head("200 OK", fields), WEBSOCKET].concat();
        is(&response, Class::Unknown);
        is(&[&response, PING].concat(), Class::Unknown);
    }
    is(
        &[
            &head("200 OK", &["Content-Length: 16"])[..],
            b"HTTP/1.1 101 abc",
        ]
        .concat(),
        Class::Unknown,
    );
}

#[test]
fn what_is_no_http_is_doubtful_and_stays_so() {
    for bytes in [
        &b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76"[..],
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/2 101\r\n",
        b"HTTP/1.1 2x0 OK\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
    ] {
        is(bytes, Class::Unknown);
        is(&[bytes, PING].concat(), Class::Unknown);
    }
    is(&[OK, b"nonsense"].concat(), Class::Unknown);
}

#[test]
fn bytes_that_were_not_seen_make_it_doubtful_until_frames_prove_a_websocket() {
    let mut watched = Watched::born();
    watched.sends_unseen(WEBSOCKET).sends(b"\x81\x02h");
    assert_eq!(watched.class(), Class::Unknown);
    watched.sends(b"i").sends(PING);
    assert_eq!(watched.class(), Class::WebSocket);
    assert_eq!(watched.tally.recognised, 1);

    let mut watched = Watched::born();
    watched.sends(OK).sends_unseen(OK).sends(WEBSOCKET);
    assert_eq!(watched.class(), Class::Unknown);
}

#[test]
fn what_was_open_before_is_told_by_what_only_one_kind_sends() {
    // Text may look like a frame: `A`, a length of 13 (a carriage return) and as many bytes.
    let mut watched = Watched::before();
    watched.sends(b"A\r\ndata: {}\n\n\r\n");
    assert_eq!(watched.class(), Class::Unknown);
    assert_eq!(watched.sends(b"\x01\x02hi").class(), Class::Unknown);
    assert_eq!(
        watched.sends(b"\x81\x02hi\x89\x00").class(),
        Class::WebSocket
    );

    let mut watched = Watched::before();
    assert_eq!(watched.sends(OK).class(), Class::Http);
    // Read from the middle of something on, a `101` may be part of a body.
    assert_eq!(watched.sends(WEBSOCKET).class(), Class::Unknown);
    assert_eq!(watched.sends(PING).class(), Class::WebSocket);

    // It had sent nothing yet: then nothing was missed.
    let mut watched = Watched::open(Socket::found(0, TCP_ESTABLISHED), FIRST);
    assert_eq!(watched.sends(WEBSOCKET).class(), Class::WebSocket);
}

#[test]
fn a_retransmission_changes_nothing() {
    let mut watched = Watched::born();
    watched.sends(OK).sends(WEBSOCKET).sends(PING);
    let before = (watched.socket, watched.tally);
    for seq in [FIRST, FIRST.wrapping_add(10)] {
        watched.next = seq;
        watched.sends(OK);
    }
    assert_eq!((watched.socket, watched.tally), before);
}

#[test]
fn long_bodies_are_skipped() {
    let length = 5_u64 << 30;
    let mut watched = Watched::born();
    watched.sends(&head("200 OK", &[&format!("Content-Length: {length}")]));
    let segment = vec![b'x'; 1 << 20];
    for _ in 0..length >> 20 {
        watched.sends(&segment);
    }
    assert_eq!(watched.sends(WEBSOCKET).class(), Class::WebSocket);
}

#[test]
fn a_close_frame_is_the_first_sign_of_an_end() {
    let message = [&[0x82, 4][..], CLOSE].concat();
    let mut watched = Watched::born();
    watched.sends(&[WEBSOCKET, &message, PING].concat());
    assert_eq!(watched.tally.websocket_ended, 0);
    watched.sends(&CLOSE[..1]).sends(&CLOSE[1..]);
    assert_eq!(watched.tally.websocket_ended, 1);
    watched.closes();
    assert_eq!(watched.tally.websocket_ended, 1);
}

#[test]
fn an_upgrade_after_the_peers_fin_has_ended_whatever_follows() {
    let mut watched = Watched::born();
    watched.life().left(8);
    // A length that no frame has, as a second frame.
    watched.sends(&[WEBSOCKET, b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff"].concat());
    watched.closes();
    let tally = &watched.tally;
    assert_eq!(
        (
            tally.upgraded,
            tally.websocket_ended,
            tally.websocket_closed
        ),
        (1, 1, 1)
    );
    assert_eq!(tally.lost_entered, 0);
}

#[derive(Clone, Debug)]
enum Event {
    Sends(Vec<u8>),
    SendsUnseen(Vec<u8>),
    Leaves,
}

/// What services send, and what none does, cut off somewhere.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(OK.to_vec()),
        Just(WEBSOCKET.to_vec()),
        Just(PING.to_vec()),
        Just(CLOSE.to_vec()),
        Just(head("103 E", &[])),
        Just(head("101 T", &["Upgrade: tcp"])),
        Just(head("200 OK", &["Transfer-Encoding: chunked"])),
        Just(b"3\r\nabc\r\n0\r\n\r\n".to_vec()),
        Just(head("200 OK", &["Content-Length: 4"])),
        prop::collection::vec(any::<u8>(), 1..40),
    ];
    let pieces = prop::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat());
    (pieces, any::<prop::sample::Index>())
        .prop_map(|(bytes, cut)| bytes[..=cut.index(bytes.len())].to_vec())
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => bytes().prop_map(Event::Sends),
        1 => bytes().prop_map(Event::SendsUnseen),
        1 => Just(Event::Leaves),
    ]
}

proptest! {
    /// Whatever is sent, seen or not: an open socket is counted in one class, a closed one in none.
    #[test]
    fn every_socket_is_counted_once(
        is_born in any::<bool>(),
        events in prop::collection::vec(event(), 0..12),
    ) {
        let mut watched = if is_born { Watched::born() } else { Watched::before() };
        for event in events {
            match event {
                Event::Sends(bytes) => _ = watched.sends(&bytes),
                Event::SendsUnseen(bytes) => _ = watched.sends_unseen(&bytes),
                Event::Leaves => watched.life().left(8),
            }
            if watched.socket.state == TCP_ESTABLISHED {
                let mut expected = [0; 4];
                expected[usize::from(watched.socket.class)] = 1;
                prop_assert_eq!(watched.counted(), expected);
            }
            prop_assert!(watched.socket.phase <= Phase::Lost as u8);
            let lost = watched.tally.lost_entered - watched.tally.lost_left;
            prop_assert!(lost <= 1);
        }
        watched.closes();
        let Tally {
            opened, left, closed, upgraded, websocket_ended, websocket_left, websocket_closed,
            http_entered, http_left, unknown_entered, unknown_left, lost_entered, lost_left, ..
        } = watched.tally;
        prop_assert_eq!((opened, left, closed), (1, 1, 1));
        prop_assert_eq!([websocket_ended, websocket_left, websocket_closed], [upgraded; 3]);
        prop_assert_eq!(http_entered, http_left);
        prop_assert_eq!(unknown_entered, unknown_left);
        prop_assert_eq!(lost_entered, lost_left);
    }

    /// What a service sends is what it is, however TCP cuts it.
    #[test]
    fn cuts_do_not_matter(
        pieces in prop::collection::vec(bytes(), 1..6),
        cuts in prop::collection::vec(1_usize..30, 1..40),
    ) {
        let bytes = pieces.concat();
        let mut whole = Watched::born();
        whole.sends(&bytes);
        let mut cut = Watched::born();
        let mut rest = &bytes[..];
        for size in cuts.iter().cycle() {
            let (segment, behind) = rest.split_at((*size).min(rest.len()));
            cut.sends(segment);
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(whole.class(), cut.class());
        prop_assert_eq!(whole.tally.websocket_ended, cut.tally.websocket_ended);
    }
}
