//! Bodies of messages: JSON, events that a server sends, lines. As much of each as is known and as the bound allows.

use std::fmt;

use super::chunk::Moment;

/// Bytes of one document that are kept.
const KEPT: usize = 64 * 1024;

/// The beginning of a document.
#[derive(Default)]
pub(super) struct Prefix {
    pub(super) bytes: Vec<u8>,
    /// More would follow.
    pub(super) cut: bool,
    /// Of its first byte.
    pub(super) moment: Option<Moment>,
}

// Bodies are the target's affair.
impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Prefix[{}{}]",
            self.bytes.len(),
            if self.cut { ".." } else { "" }
        )
    }
}

impl Prefix {
    pub(super) fn add(&mut self, bytes: &[u8], moment: &Moment) {
        if bytes.is_empty() || self.cut {
            return;
        }
        self.moment.get_or_insert_with(|| moment.clone());
        let room = KEPT - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..room.min(bytes.len())]);
        self.cut = bytes.len() > room;
    }

    pub(super) fn looks_like_json(&self) -> bool {
        matches!(self.bytes.trim_ascii_start().first(), Some(b'{' | b'['))
    }

    fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

/// Events that a server sends: each holds a document.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The line that is being read.
    line: Prefix,
    /// The data of the event so far.
    data: Prefix,
    /// Something is missing: what follows up to an empty line belongs to it.
    searching: bool,
}

impl Events {
    pub(super) fn add(&mut self, bytes: &[u8], moment: &Moment, then: &mut impl FnMut(Prefix)) {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.add(line, moment);
            if line.ends_with(b"\n") {
                self.end_line(moment, then);
            }
        }
    }

    /// Some bytes are missing.
    pub(super) fn miss(&mut self, moment: &Moment, then: &mut impl FnMut(Prefix)) {
        self.line.cut = true;
        if !self.searching {
            self.data_line(moment);
            self.data.cut = true;
            then(self.data.take());
        }
        self.line = Prefix::default();
        self.searching = true;
    }

    fn end_line(&mut self, moment: &Moment, then: &mut impl FnMut(Prefix)) {
        let empty = self.line.bytes.trim_ascii_end().is_empty();
        if empty && !std::mem::take(&mut self.searching) && !self.data.bytes.is_empty() {
            then(self.data.take());
        } else if !empty && !self.searching {
            self.data_line(moment);
        }
        self.line = Prefix::default();
    }

    /// Takes the line into the event, if it is a line of data.
    fn data_line(&mut self, moment: &Moment) {
        let Some(data) = self.line.bytes.strip_prefix(b"data:") else {
            return;
        };
        let moment = self.line.moment.as_ref().unwrap_or(moment);
        let data = data.strip_prefix(b" ").unwrap_or(data);
        let cut = self.line.cut;
        self.data.add(data, moment);
        self.data.cut |= cut;
    }

    pub(super) fn weight(&self) -> usize {
        self.line.bytes.len() + self.data.bytes.len()
    }
}

/// Lines, each of them a document.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Prefix,
    /// Something is missing: what follows belongs to it, up to the end of the line or to a call that begins with a message.
    searching: bool,
}

/// How messages begin.
const STARTS: [&[u8]; 3] = [b"{\"jsonrpc\"", b"{\"method\"", b"[{\"jsonrpc\""];

impl Lines {
    pub(super) fn add(
        &mut self,
        bytes: &[u8],
        starts_call: bool,
        moment: &Moment,
        then: &mut impl FnMut(Prefix),
    ) {
        if starts_call && STARTS.iter().any(|start| bytes.starts_with(start)) {
            self.searching = false;
        }
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ends = line.ends_with(b"\n");
            if !self.searching {
                self.line.add(line.strip_suffix(b"\n").unwrap_or(line), moment);
                if ends {
                    let line = self.line.take();
                    if !line.bytes.trim_ascii().is_empty() {
                        then(line);
                    }
                }
            }
            self.searching &= !ends;
        }
    }

    /// Some bytes are missing.
    pub(super) fn miss(&mut self, then: &mut impl FnMut(Prefix)) {
        if !std::mem::replace(&mut self.searching, true) {
            self.line.cut = true;
            then(self.line.take());
        }
    }

    pub(super) fn weight(&self) -> usize {
        self.line.bytes.len()
    }
}
