//! The sockets that are tracked: in their slots, or in the map `SOCKETS`.
//!
//! It knows which of the two places is looked at first, and nothing of what the sockets are.

use std::{
    io,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError},
};
use observer_ebpf::Socket;

use super::{LoadError, MapAccessError, error::access, lock, slots::Slots, take};

/// Every socket that is tracked, of all targets.
pub struct Sockets {
    slots: Slots,
    // A walk takes long where there are many: the counts are never to wait for it.
    map: Mutex<HashMap<MapData, u64, Socket>>,
    room: u32,
    reads: AtomicU64,
}

impl Sockets {
    /// Takes both places out of the loaded object, in whose map there is so much room.
    pub(super) fn take(ebpf: &mut Ebpf, room: u32) -> Result<Self, LoadError> {
        Ok(Self {
            slots: Slots::take(ebpf)?,
            map: Mutex::new(take(ebpf, "SOCKETS")?),
            room,
            reads: AtomicU64::new(0),
        })
    }

    /// The socket with this cookie, if it is tracked.
    ///
    /// # Errors
    /// When the kernel refuses the read.
    pub fn get(&self, cookie: u64) -> Result<Option<Socket>, MapAccessError> {
        if let Some(socket) = self.slots.get(cookie)? {
            return Ok(Some(socket));
        }
        match lock(&self.map).get(&cookie, 0) {
            Ok(socket) => Ok(Some(socket)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(access("SOCKETS")(error)),
        }
    }

    /// Hands over every tracked socket with its cookie. Entries that come or go meanwhile may be
    /// missed or met twice.
    ///
    /// # Errors
    /// When the kernel refuses the read.
    pub fn each(&self, mut each: impl FnMut(u64, Socket)) -> Result<(), MapAccessError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.slots.each(&mut each)?;
        // The kernel restarts an iteration whose current key is removed: this bounds it.
        let most = 4 * self.room as usize;
        for entry in lock(&self.map).iter().take(most) {
            let (cookie, socket) = entry.map_err(access("SOCKETS"))?;
            each(cookie, socket);
        }
        Ok(())
    }

    /// Starts to track a socket that `sock_diag` has listed, unless it is tracked already
    /// (`Ok(false)`).
    ///
    /// It goes to the map. A socket whose opening the programs saw has its place by now, since they
    /// run before the kernel lists it as open: no slot is claimed for it at the same time.
    ///
    /// # Errors
    /// When the map is full or the kernel refuses the write.
    pub fn insert(&self, cookie: u64, socket: Socket) -> Result<bool, MapAccessError> {
        /// `BPF_NOEXIST` of `include/uapi/linux/bpf.h`.
        const NOEXIST: u64 = 1;
        if self.slots.get(cookie)?.is_some() {
            return Ok(false);
        }
        match lock(&self.map).insert(cookie, socket, NOEXIST) {
            Ok(()) => Ok(true),
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == io::ErrorKind::AlreadyExists =>
            {
                Ok(false)
            }
            Err(error) => Err(access("SOCKETS")(error)),
        }
    }

    /// Stops tracking a socket; `Ok(false)` if it was not tracked.
    ///
    /// # Errors
    /// When the kernel refuses the write.
    pub fn remove(&self, cookie: u64) -> Result<bool, MapAccessError> {
        if self.slots.free(cookie)? {
            return Ok(true);
        }
        match lock(&self.map).remove(&cookie) {
            Ok(()) => Ok(true),
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == io::ErrorKind::NotFound =>
            {
                Ok(false)
            }
            Err(error) => Err(access("SOCKETS")(error)),
        }
    }

    /// How often all of them were read.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// How many there is room for, whatever their cookies; slots that are free are beyond that.
    #[must_use]
    pub const fn room(&self) -> u32 {
        self.room
    }
}
