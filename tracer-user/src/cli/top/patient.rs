//! Writes to a terminal that may be slow, for as long as it is worth it.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a write may wait before it is asked again whether it is worth it.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// Collects a picture, and sends it when it is complete. Who waits for the terminal can be told to hurry: then the rest of the picture
/// is dropped.
#[derive(Debug)]
pub struct Patient {
    to: File,
    picture: Vec<u8>,
    hurry: Arc<AtomicBool>,
    torn: Arc<AtomicBool>,
}

impl Patient {
    /// Writes to a file that does not block, until `hurry` is set; sets `torn` when a picture was sent in part.
    pub const fn new(to: File, hurry: Arc<AtomicBool>, torn: Arc<AtomicBool>) -> Self {
        Self {
            to,
            picture: Vec::new(),
            hurry,
            torn,
        }
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.picture.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let picture = std::mem::take(&mut self.picture);
        let hurry = || self.hurry.load(Ordering::Relaxed);
        let left = send(&self.to, &picture, || !hurry())?;
        if left > 0 {
            self.torn.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Sends bytes for as long as `go_on` says so. Returns how many are left.
pub fn send(mut to: &File, bytes: &[u8], mut go_on: impl FnMut() -> bool) -> io::Result<usize> {
    let mut rest = bytes;
    while !rest.is_empty() && go_on() {
        match to.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(sent) => rest = &rest[sent..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // An interrupted wait is only a shorter one.
                let _ = poll(
                    &mut [PollFd::from_borrowed_fd(to.as_fd(), PollFlags::OUT)],
                    Some(&LOOK),
                );
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(rest.len())
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, os::fd::OwnedFd, thread, time::Duration};

    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    fn pipe() -> (File, File) {
        let (read, write): (OwnedFd, OwnedFd) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        rustix::io::ioctl_fionbio(&read, false).unwrap();
        (read.into(), write.into())
    }

    #[test]
    fn a_slow_reader_gets_everything() {
        let (mut read, write) = pipe();
        let mut patient = Patient::new(write, Arc::default(), Arc::default());
        let picture = vec![b'x'; 300_000];
        let reader = thread::spawn(move || {
            let mut got = 0;
            let mut buffer = [0; 10_000];
            while got < 300_000 {
                thread::sleep(Duration::from_millis(1));
                got += read.read(&mut buffer).unwrap();
            }
            got
        });
        patient.write_all(&picture).unwrap();
        patient.flush().unwrap();
        assert!(!patient.torn.load(Ordering::Relaxed));
        assert_eq!(reader.join().unwrap(), picture.len());
    }

    #[test]
    fn who_hurries_does_not_wait_for_a_reader() {
        let (_read, write) = pipe();
        let hurry = Arc::new(AtomicBool::new(false));
        let mut patient = Patient::new(write, Arc::clone(&hurry), Arc::default());
        patient.write_all(&vec![b'x'; 300_000]).unwrap();
        let teller = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            hurry.store(true, Ordering::Relaxed);
        });
        patient.flush().unwrap();
        teller.join().unwrap();
        assert!(patient.torn.load(Ordering::Relaxed));
    }
}
