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

/// A request, by all that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestId {
    /// Its request slot, else its scope.
    pub(super) exact: RequestKey,
    /// The object that says who it is for: contexts that were copied from its own share it.
    object: Option<u64>,
}

/// Who bound an identity object.
#[derive(Debug)]
struct Owner {
    scope: ScopeKey,
    /// Several requests bound it: it says whom they are for, but not which of them it is.
    shared: bool,
}

#[derive(Debug)]
pub(super) struct Requests {
    last_reads: Table<RequestKey, IdentityRead>,
    /// The identity object that was last seen in a scope.
    objects: Table<ScopeKey, u64>,
    /// Who bound it.
    owners: Table<u64, Owner>,
    /// Some owners were dropped: what looks like one request's object may be another's, too.
    owners_forgotten: bool,
    /// Number of the last identity read that may belong to any request.
    unplaced: u64,
}

impl Requests {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            last_reads: Table::new(bound),
            objects: Table::new(bound),
            owners: Table::new(bound),
            owners_forgotten: false,
            unplaced: 0,
        }
    }

    /// The request of something outside items. `identity` is a bound identity in view, `request` a bound request slot.
    pub(super) fn id(
        &mut self,
        scope: ScopeKey,
        request: Option<&Value>,
        identity: Option<&Value>,
    ) -> RequestId {
        if let Some(value) = identity {
            self.objects.insert(scope, value.object);
        }
        RequestId {
            exact: request.map_or(RequestKey::Scope(scope), RequestKey::of),
            object: self.objects.get(&scope).copied(),
        }
    }

    /// An identity was read on behalf of a request.
    pub(super) fn read(&mut self, id: &RequestId, read: IdentityRead) {
        if let Some(object) = id.object {
            self.last_reads.insert(RequestKey::Object(object), read.clone());
        }
        self.last_reads.insert(id.exact.clone(), read);
    }

    /// The last identity read of a request, also by what it created with a copy of its context.
    pub(super) fn last(&self, id: &RequestId) -> Option<&IdentityRead> {
        let exact = self.last_reads.get(&id.exact);
        if !matches!(id.exact, RequestKey::Scope(_)) {
            return exact;
        }
        let object = id.object.filter(|object| {
            !self.owners_forgotten && self.owners.get(object).is_some_and(|owner| !owner.shared)
        });
        let copied = object.and_then(|object| self.last_reads.get(&RequestKey::Object(object)));
        exact.into_iter().chain(copied).max_by_key(|read| read.seq)
    }

    /// An identity was read on behalf of a request that is not known.
    pub(super) const fn read_unplaced(&mut self, seq: u64) {
        self.unplaced = seq;
    }

    /// The read that decides for a request, unless a later one may be its own.
    pub(super) fn decisive<'a>(&self, read: Option<&'a IdentityRead>) -> Option<&'a IdentityRead> {
        read.filter(|read| read.seq > self.unplaced)
    }

    /// A request says who it is for.
    pub(super) fn bound(&mut self, scope: ScopeKey, object: u64) {
        let shared = match self.owners.get(&object) {
            Some(owner) if owner.scope == scope => return,
            Some(_) => true,
            None => {
                self.last_reads.remove(&RequestKey::Object(object));
                false
            }
        };
        self.owners_forgotten |= self.owners.insert(object, Owner { scope, shared }).is_some();
    }

    pub(super) fn end_scope(&mut self, scope: ScopeKey) {
        self.last_reads.remove(&RequestKey::Scope(scope));
        let Some(object) = self.objects.remove(&scope) else {
            return;
        };
        // The object may end with the scope, and its address be used again.
        if self
            .owners
            .get(&object)
            .is_some_and(|owner| owner.scope == scope && !owner.shared)
        {
            self.owners.remove(&object);
            self.last_reads.remove(&RequestKey::Object(object));
        }
    }

    pub(super) fn clear(&mut self) {
        self.last_reads.clear();
        self.objects.clear();
        self.owners.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.last_reads.len()
    }

    pub(super) fn take_evicted(&mut self) -> u64 {
        self.last_reads.take_evicted()
    }
}
