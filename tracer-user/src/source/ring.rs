//! Reading records from the kernel's ring.

use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};

use aya::maps::{MapData, RingBuf};
use tracer_common::record::{RawValue, Record};

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

    /// Records so far whose size was not what they announce.
    pub const fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Hands every waiting record to `each`, in order, up to `most`. Returns how many there were.
    pub fn drain(&mut self, most: usize, mut each: impl FnMut(&Record, &[RawValue])) -> usize {
        let mut count = 0;
        while count < most {
            let Some(item) = self.ring.next() else { break };
            count += 1;
            if let Some((record, values)) = decode(&item) {
                each(record, values);
            } else {
                self.malformed += 1;
            }
        }
        count
    }
}

/// Takes a record apart. None when its size is not what it announces, which only another build's kernel side can cause.
pub fn decode(bytes: &[u8]) -> Option<(&Record, &[RawValue])> {
    let (head, rest) = bytes.split_at_checked(size_of::<Record>())?;
    let record: &Record = bytemuck::try_from_bytes(head).ok()?;
    let values = rest.get(..usize::from(record.values) * size_of::<RawValue>())?;
    Some((record, bytemuck::try_cast_slice(values).ok()?))
}

/// The ring as something to wait on.
///
/// The descriptor stays open as long as the ring that it is borrowed from.
impl std::os::fd::AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}
