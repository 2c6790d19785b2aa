//! Reading records from the kernel's ring.

use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};

use aya::maps::{MapData, RingBuf};
use tracer_common::record::{CodeHead, RawValue, Record, WireHead, kind};

/// The reader's end of the ring.
pub struct Ring {
    ring: RingBuf<MapData>,
    malformed: u64,
}

impl Ring {
    /// Reads from this ring.
    pub const fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring, malformed: 0 }
    }

    /// The descriptor that becomes readable when the kernel side wakes its reader.
    pub fn descriptor(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Messages so far whose size was not what they announce.
    pub const fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Hands every waiting message to `each`, in order, up to `most`. Returns how many there were.
    pub fn drain(&mut self, most: usize, mut each: impl FnMut(Message<'_>)) -> usize {
        let mut count = 0;
        while count < most {
            let Some(item) = self.ring.next() else { break };
            count += 1;
            if let Some(message) = decode(&item) {
                each(message);
            } else {
                self.malformed += 1;
            }
        }
        count
    }
}

/// What the kernel side sends.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// Something happened.
    Record(&'a Record, &'a [RawValue]),
    /// A code object, ahead of the first record that names it, and as much of its line table as travels.
    Code(&'a CodeHead, &'a [u8]),
    /// Bytes of a stream, or its end.
    Wire(&'a WireHead, &'a [u8]),
}

/// Takes a message apart. None when its size is not what it announces, which only another build's kernel side can cause.
pub fn decode(bytes: &[u8]) -> Option<Message<'_>> {
    let (kind, _) = bytes.split_at_checked(size_of::<u16>())?;
    let kind = bytemuck::pod_read_unaligned::<u16>(kind);
    if matches!(kind, kind::WIRE | kind::WIRE_CLOSED) {
        let (head, rest) = bytes.split_at_checked(size_of::<WireHead>())?;
        let head: &WireHead = bytemuck::try_from_bytes(head).ok()?;
        return Some(Message::Wire(head, rest.get(..head.bytes as usize)?));
    }
    if kind == kind::CODE {
        let (head, rest) = bytes.split_at_checked(size_of::<CodeHead>())?;
        let head: &CodeHead = bytemuck::try_from_bytes(head).ok()?;
        return Some(Message::Code(head, rest.get(..head.table_bytes as usize)?));
    }
    let (head, rest) = bytes.split_at_checked(size_of::<Record>())?;
    let record: &Record = bytemuck::try_from_bytes(head).ok()?;
    let values = rest.get(..usize::from(record.values) * size_of::<RawValue>())?;
    Some(Message::Record(record, bytemuck::try_cast_slice(values).ok()?))
}

/// The ring as something to wait on.
///
/// The descriptor stays open as long as the ring that it is borrowed from.
impl std::os::fd::AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}
