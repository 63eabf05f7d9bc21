//! The array `SLOTS`: the first place for a socket, by the lowest bits of its cookie.
//!
//! One socket is read by a system call. To read all of them, and to free one in an atomic step, the
//! array is mapped, and only for as long as that takes: it counts as the observer's memory meanwhile.
#![expect(
    unsafe_code,
    reason = "memory that BPF programs write to is reached by raw pointers"
)]

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::{
    Ebpf,
    maps::{Array, Map, MapData, MapError},
};
use observer_ebpf::{Slot, Socket};
use rustix::{
    mm::{MapFlags, ProtFlags, mmap, munmap},
    param::page_size,
};

use super::{LoadError, MapAccessError, error::access, refused, take};

const NAME: &str = "SLOTS";

/// All slots.
pub(super) struct Slots {
    array: Array<MapData, Slot>,
    /// Another descriptor of the array, to map it by: aya does not lend its own.
    fd: OwnedFd,
}

impl Slots {
    /// Takes the array out of the loaded object.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let fd = match ebpf.map(NAME) {
            Some(Map::Array(data)) => data.fd().as_fd().try_clone_to_owned(),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Self {
            fd: fd
                .map_err(MapError::IoError)
                .map_err(refused("the slots"))?,
            array: take(ebpf, NAME)?,
        })
    }

    /// The socket with this cookie, if it is in its slot.
    pub(super) fn get(&self, cookie: u64) -> Result<Option<Socket>, MapAccessError> {
        let slot = self.array.get(&self.index(cookie), 0);
        let slot = slot.map_err(access(NAME))?;
        Ok((slot.cookie == cookie).then_some(slot.socket))
    }

    /// Hands over every socket that is in its slot, with its cookie. A slot that changes hands
    /// meanwhile is left out.
    pub(super) fn each(&self, mut each: impl FnMut(u64, Socket)) -> Result<(), MapAccessError> {
        let count = self.array.len() as usize;
        let mapping = Mapping::of(self.fd.as_fd(), 0, count).map_err(failed)?;
        for index in 0..count {
            let Slot { cookie, socket, .. } = mapping.read(index);
            if cookie != 0 && mapping.cookie(index).load(Ordering::Acquire) == cookie {
                each(cookie, socket);
            }
        }
        Ok(())
    }

    /// Frees the slot of this socket; `Ok(false)` if it is another's or free.
    pub(super) fn free(&self, cookie: u64) -> Result<bool, MapAccessError> {
        let index = self.index(cookie) as usize;
        let mapping = Mapping::of(self.fd.as_fd(), index, 1).map_err(failed)?;
        let freed =
            mapping
                .cookie(0)
                .compare_exchange(cookie, 0, Ordering::AcqRel, Ordering::Relaxed);
        Ok(freed.is_ok())
    }

    /// As the programs have it: there are a power of two of them.
    fn index(&self, cookie: u64) -> u32 {
        cookie as u32 & (self.array.len() - 1)
    }
}

fn failed(error: io::Error) -> MapAccessError {
    access(NAME)(MapError::IoError(error))
}

/// Some slots in memory; they are counted from the first of these.
struct Mapping {
    pages: NonNull<u8>,
    length: usize,
    /// From the beginning of the pages to the first slot. Unit: bytes.
    offset: usize,
}

impl Mapping {
    fn of(array: BorrowedFd<'_>, first: usize, count: usize) -> io::Result<Self> {
        let begin = first * size_of::<Slot>();
        let page = begin - begin % page_size();
        let offset = begin - page;
        let length = (offset + count * size_of::<Slot>()).next_multiple_of(page_size());
        // SAFETY: a new mapping, where the kernel likes.
        let pages = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                array,
                page as u64,
            )?
        };
        Ok(Self {
            pages: NonNull::new(pages.cast()).ok_or(io::ErrorKind::OutOfMemory)?,
            length,
            offset,
        })
    }

    /// What a slot holds, while the programs may be writing to it.
    fn read(&self, index: usize) -> Slot {
        // SAFETY: within the mapping, and aligned; every bit pattern is a value.
        unsafe { self.slot(index).read_volatile() }
    }

    /// Who has a slot.
    fn cookie(&self, index: usize) -> &AtomicU64 {
        // SAFETY: within the mapping, which is borrowed as long; the first field of an aligned struct.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.slot(index).as_ptr()).cookie) }
    }

    fn slot(&self, index: usize) -> NonNull<Slot> {
        let at = self.offset + index * size_of::<Slot>();
        assert!(at + size_of::<Slot>() <= self.length, "no such slot");
        // SAFETY: within the mapping, by the line above.
        unsafe { self.pages.add(at).cast() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the whole of the mapping; no slot of it outlives it.
        let unmapped = unsafe { munmap(self.pages.as_ptr().cast(), self.length) };
        debug_assert!(unmapped.is_ok(), "a mapping of our own");
    }
}
