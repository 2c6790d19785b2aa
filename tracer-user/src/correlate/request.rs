//! Requests, and the last identity that was read on behalf of each (rules 9 and 12).

use super::{
    event::Slot,
    fact::ReadResult,
    finding::{Bind, Confidence, Hop, Read},
    hop::ScopeKey,
    table::Table,
    value::{Content, Value},
};

/// What names a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RequestKey {
    /// The content of its request slot.
    Content(Vec<u8>),
    /// The address of an object that says who it is for.
    Object(u64),
    /// The scope that it runs in.
    Scope(ScopeKey),
}

impl RequestKey {
    /// The key that the value of a request slot gives.
    pub(super) fn of(value: &Value) -> Self {
        let mut key = Vec::new();
        let (len, whole) = match &value.content {
            Content::None | Content::Opaque => return Self::Object(value.object),
            Content::Str(s) => {
                key.push(b's');
                key.extend_from_slice(s.shown.as_bytes());
                (s.len, s.whole)
            }
            Content::Bytes(b) => {
                key.push(b'b');
                key.extend_from_slice(&b.shown);
                (b.len, b.whole)
            }
            Content::Int { negative, digits } => {
                key.push(if *negative { b'-' } else { b'+' });
                key.extend(digits.shown.iter().flat_map(|d| d.to_le_bytes()));
                (digits.len, digits.whole)
            }
        };
        key.extend_from_slice(&len.to_le_bytes());
        if !whole {
            key.extend_from_slice(&value.object.to_le_bytes());
        }
        Self::Content(key)
    }
}

/// An identity read that may decide whose a task is.
#[derive(Clone, Debug)]
pub(super) struct IdentityRead {
    pub(super) result: ReadResult,
    pub(super) confidence: Confidence,
    pub(super) slot: Slot,
    pub(super) expected: Option<Value>,
    pub(super) found: Option<Value>,
    pub(super) read: Read,
    pub(super) item: Option<u64>,
    pub(super) hop: Option<Hop>,
    pub(super) bind: Option<Bind>,
    /// Number of the first event that it rests on.
    pub(super) seq: u64,
}

#[derive(Debug)]
pub(super) struct Requests {
    pub(super) last_reads: Table<RequestKey, IdentityRead>,
    /// The identity object that was last seen in a scope.
    objects: Table<ScopeKey, u64>,
    /// Number of the last identity read that may belong to any request.
    unplaced: u64,
}

impl Requests {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            last_reads: Table::new(bound),
            objects: Table::new(bound),
            unplaced: 0,
        }
    }

    /// The request of something outside items. `identity` is a bound identity in view, `request` a bound request slot.
    pub(super) fn key(
        &mut self,
        scope: ScopeKey,
        request: Option<&Value>,
        identity: Option<&Value>,
    ) -> RequestKey {
        if let Some(value) = identity {
            if matches!(value.content, Content::Opaque) {
                self.objects.insert(scope, value.object);
            } else {
                self.objects.remove(&scope);
            }
        }
        match (request, self.objects.get(&scope)) {
            (Some(value), _) => RequestKey::of(value),
            (None, Some(object)) => RequestKey::Object(*object),
            (None, None) => RequestKey::Scope(scope),
        }
    }

    /// An identity was read on behalf of a request that is not known.
    pub(super) const fn read_unplaced(&mut self, seq: u64) {
        self.unplaced = seq;
    }

    /// The read that decides for a request, unless a later one may be its own.
    pub(super) fn decisive<'a>(&self, read: Option<&'a IdentityRead>) -> Option<&'a IdentityRead> {
        read.filter(|read| read.seq > self.unplaced)
    }

    /// An identity object was bound: what was known of an older one at its address is void.
    pub(super) fn bound(&mut self, object: u64) {
        self.last_reads.remove(&RequestKey::Object(object));
    }

    pub(super) fn end_scope(&mut self, scope: ScopeKey) {
        self.objects.remove(&scope);
        self.last_reads.remove(&RequestKey::Scope(scope));
    }

    pub(super) fn clear(&mut self) {
        self.last_reads.clear();
        self.objects.clear();
    }
}
