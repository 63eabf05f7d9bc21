//! Of all that the kernel counts, what a gauge claims to count.

use observer_ebpf::{Class, Socket, Tally};

use crate::{
    check::{Counts, IsCounted},
    config::Counts as Counted,
};

/// Of all counts those that a gauge of this kind claims.
pub(super) fn project(tally: &Tally, counted: Counted) -> Counts {
    match counted {
        Counted::Websocket => Counts {
            arrived: tally.opened,
            opened: tally.upgraded,
            ended: tally.websocket_ended,
            closed: tally.websocket_closed,
            doubtful_entered: tally.unknown_entered,
            doubtful_left: tally.unknown_left,
            lost_entered: tally.lost_entered,
            lost_left: tally.lost_left,
            unheard_closed: tally.unseen_closed,
            ..Counts::default()
        },
        Counted::Established | Counted::Accepted | Counted::Outgoing => Counts {
            arrived: tally.opened,
            opened: tally.opened,
            ended: tally.left,
            closed: tally.closed,
            ..Counts::default()
        },
    }
}

/// Whether a socket that is not closed is in the most that such a gauge can say.
pub(super) fn is_in_most(socket: &Socket, counted: Counted) -> IsCounted {
    match counted {
        Counted::Established | Counted::Accepted | Counted::Outgoing => IsCounted::Yes,
        Counted::Websocket if socket.class == Class::WebSocket as u8 => IsCounted::Yes,
        Counted::Websocket if socket.class == Class::Unknown as u8 => IsCounted::Doubtful,
        Counted::Websocket => IsCounted::No,
    }
}
