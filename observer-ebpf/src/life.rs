//! A socket's life: every change of what is known of it, with the counts that the change makes.
//!
//! The programs run it in the kernel as events come. User space runs it for what the programs could
//! not see: sockets that were open before, and ends that were withheld. It knows nothing of where
//! sockets and counts are kept, nor of how bytes tell what a socket is.

use core::marker::PhantomData;

use crate::{Class, Phase, Socket, TCP_ESTABLISHED, Tally, flags};

/// How one is added to a count.
pub trait Count {
    /// Adds one.
    fn one(count: &mut u64);
}

/// Counts that nobody else writes.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Count for Alone {
    fn one(count: &mut u64) {
        *count = count.wrapping_add(1);
    }
}

/// A socket and the counts of its target.
pub struct Life<'a, C> {
    /// The socket.
    pub socket: &'a mut Socket,
    tally: &'a mut Tally,
    count: PhantomData<C>,
}

impl<'a, C: Count> Life<'a, C> {
    /// The life of a socket whose changes count here.
    #[inline(always)]
    pub const fn of(socket: &'a mut Socket, tally: &'a mut Tally) -> Self {
        Self {
            socket,
            tally,
            count: PhantomData,
        }
    }

    /// It reached ESTABLISHED, or was found open: it is kept from now on.
    #[inline(always)]
    pub fn opened(&mut self) {
        C::one(&mut self.tally.opened);
        if self.is(Class::Unknown) {
            C::one(&mut self.tally.unknown_entered);
        }
        if !self.is_established() {
            C::one(&mut self.tally.left);
        }
    }

    /// Its server sent an HTTP response that makes no WebSocket.
    #[inline(always)]
    pub fn answered(&mut self) {
        if self.is(Class::Http) {
            return;
        }
        self.leave_class();
        self.socket.class = Class::Http as u8;
        C::one(&mut self.tally.http_entered);
        if !self.is_established() {
            // Its peer has closed already: it was never an open HTTP connection of this class.
            C::one(&mut self.tally.http_left);
        }
    }

    /// Its server made it a WebSocket.
    #[inline(always)]
    pub fn upgraded(&mut self) {
        self.leave_class();
        self.socket.class = Class::WebSocket as u8;
        self.socket.phase = Phase::Frames as u8;
        self.socket.header_read = 0;
        C::one(&mut self.tally.upgraded);
        if !self.is_established() {
            // The `101` came after the peer's FIN: opened and ended at once.
            C::one(&mut self.tally.websocket_left);
            self.ended();
        }
    }

    /// Its server sent frames: it is a WebSocket that was one before the programs saw it.
    #[inline(always)]
    pub fn recognised(&mut self) {
        self.upgraded();
        C::one(&mut self.tally.recognised);
    }

    /// What it is cannot be told, or no longer: it may be a WebSocket or not.
    #[inline(always)]
    pub fn doubted(&mut self) {
        self.socket.phase = Phase::Lost as u8;
        if self.is(Class::Unknown) {
            return;
        }
        self.leave_class();
        self.socket.class = Class::Unknown as u8;
        C::one(&mut self.tally.unknown_entered);
    }

    /// Bytes that it sent were not seen, or cannot be read.
    #[inline(always)]
    pub fn missed(&mut self) {
        if !self.is(Class::WebSocket) {
            self.socket.flags &= !flags::KNOWN;
            self.doubted();
        } else {
            self.lost();
        }
    }

    /// A WebSocket's frame boundary was lost: it may have sent a close frame unseen. Of one that has
    /// ended nothing more is to be known.
    #[inline(always)]
    pub fn lost(&mut self) {
        if !self.socket.has_ended() && !self.is_lost() {
            self.socket.phase = Phase::Lost as u8;
            C::one(&mut self.tally.lost_entered);
        }
    }

    /// A WebSocket's frame boundary was found again.
    #[inline(always)]
    pub fn found(&mut self) {
        self.socket.phase = Phase::Frames as u8;
        self.socket.header_read = 0;
        C::one(&mut self.tally.lost_left);
    }

    /// A WebSocket showed the first sign of its end.
    #[inline(always)]
    pub fn ended(&mut self) {
        if !self.socket.has_ended() {
            self.socket.flags |= flags::ENDED;
            C::one(&mut self.tally.websocket_ended);
        }
    }

    /// It is in another state than ESTABLISHED now.
    #[inline(always)]
    pub fn left(&mut self, state: u8) {
        let was_established = self.is_established();
        self.socket.state = state;
        if !was_established {
            return;
        }
        C::one(&mut self.tally.left);
        if self.is(Class::Http) {
            C::one(&mut self.tally.http_left);
        } else if self.is(Class::WebSocket) {
            C::one(&mut self.tally.websocket_left);
            self.ended();
            if self.is_lost() {
                C::one(&mut self.tally.lost_left);
            }
        }
    }

    /// It reached CLOSE: it is kept no longer.
    #[inline(always)]
    pub fn closed(&mut self) {
        C::one(&mut self.tally.closed);
        if self.is(Class::WebSocket) {
            C::one(&mut self.tally.websocket_closed);
        } else if self.is(Class::Unknown) {
            C::one(&mut self.tally.unknown_left);
        }
    }

    /// It closed and had sent bytes, of which the programs saw none: it may have been anything.
    #[inline(always)]
    pub fn closed_unseen(&mut self) {
        C::one(&mut self.tally.unseen_closed);
    }

    /// It is about to be of another class.
    #[inline(always)]
    fn leave_class(&mut self) {
        if self.is(Class::Unknown) {
            C::one(&mut self.tally.unknown_left);
        } else if self.is(Class::Http) && self.is_established() {
            C::one(&mut self.tally.http_left);
        }
    }

    #[inline(always)]
    fn is(&self, class: Class) -> bool {
        self.socket.class == class as u8
    }

    #[inline(always)]
    fn is_established(&self) -> bool {
        self.socket.state == TCP_ESTABLISHED
    }

    #[inline(always)]
    fn is_lost(&self) -> bool {
        self.socket.phase == Phase::Lost as u8
    }
}
