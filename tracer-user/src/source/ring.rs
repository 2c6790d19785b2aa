//! Reading records from the kernel's ring.

use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};

use aya::maps::{MapData, RingBuf};
use tracer_common::{
    MAX_SLOTS,
    record::{RawValue, Record},
};

/// The reader's end of the ring.
pub struct Ring {
    ring: RingBuf<MapData>,
}

impl Ring {
    /// Reads from this ring.
    pub const fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring }
    }

    /// The descriptor that becomes readable when the kernel side wakes its reader.
    pub fn descriptor(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Hands every waiting record to `each`, in order, up to `most`. Returns how many there were.
    pub fn drain(&mut self, most: usize, mut each: impl FnMut(&Record, &[RawValue])) -> usize {
        let mut count = 0;
        while count < most {
            let Some(item) = self.ring.next() else { break };
            count += 1;
            if let Some((record, values)) = decode(&item) {
                each(&record, &values[..usize::from(record.values)]);
            }
        }
        count
    }
}

/// Takes a record apart. None when its size is not what it announces, which only another build's kernel side can cause.
pub fn decode(bytes: &[u8]) -> Option<(Record, [RawValue; MAX_SLOTS])> {
    let (head, rest) = bytes.split_at_checked(size_of::<Record>())?;
    let record: Record = bytemuck::pod_read_unaligned(head);
    let count = usize::from(record.values);
    if count > MAX_SLOTS || rest.len() < count * size_of::<RawValue>() {
        return None;
    }
    let mut values = [bytemuck::Zeroable::zeroed(); MAX_SLOTS];
    for (value, bytes) in values
        .iter_mut()
        .zip(rest.chunks_exact(size_of::<RawValue>()))
        .take(count)
    {
        *value = bytemuck::pod_read_unaligned(bytes);
    }
    Some((record, values))
}

/// The ring as something to wait on.
///
/// The descriptor stays open as long as the ring that it is borrowed from.
impl std::os::fd::AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}
