//! Requests, and the last identity that was read on behalf of each (rules 9 and 12).

use std::{collections::VecDeque, sync::Arc};

use super::{
    event::Slot,
    fact::ReadResult,
    finding::{Bind, Confidence, Hop, Read, Source},
    hop::ScopeKey,
    lineage::Lineage,
    table::Table,
    value::{Content, Value},
};

/// Names of requests that have ended of which it is still known whom they were for.
const ENDED: usize = 1024;

/// What names a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum RequestKey {
    /// The content of its request slot.
    Content(Arc<[u8]>),
    /// An object that says who it is for: its address, and which of the objects that were there.
    Object(u64, u64),
    /// The scope that it runs in, and which of the scopes that were at its address.
    Scope(ScopeKey, u64),
    /// The request that the task works for which runs in its scope.
    Task(u64),
}

impl RequestKey {
    /// The key that the value of a request slot gives.
    pub(super) fn of(value: &Value) -> Self {
        let mut key = Vec::new();
        if value.is_none() || value.is_opaque() {
            return Self::Object(value.object, 0);
        }
        let (len, whole) = match &value.content {
            Content::None | Content::Opaque => (0, true),
            Content::Sealed(sealed) => {
                key.push(b'#');
                key.push(sealed.kind as u8);
                key.extend_from_slice(&sealed.content);
                (sealed.len, sealed.whole)
            }
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
        Self::Content(Arc::from(key))
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
    /// The item in which that one was submitted.
    pub(super) within: Option<u64>,
    pub(super) hop: Option<Hop>,
    /// Of a foreign one: where the value comes from, and who bound it.
    pub(super) source: Option<Source>,
    pub(super) bind: Option<Bind>,
    /// Number of the first event that it rests on.
    pub(super) seq: u64,
    pub(super) time: u64,
}

/// A request, by all that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestId {
    /// Its request slot, else its scope.
    pub(super) exact: RequestKey,
    /// The object that says who it is for: contexts that were copied from its own share it.
    object: Option<RequestKey>,
    /// The request that its task works for, and those in whose tasks that one's was created; the nearest first.
    tasks: Vec<RequestKey>,
    /// The first of these, if it can be no other request.
    task: Option<RequestKey>,
}

impl RequestId {
    /// The same, where it is known whom its task works for.
    pub(super) fn of_tasks(mut self, lineage: &Lineage, scope: ScopeKey) -> Self {
        self.tasks = lineage.works_for(scope).map(RequestKey::Task).collect();
        self.task = lineage.request(scope).map(RequestKey::Task);
        self
    }

    /// The request that its task works for.
    pub(super) const fn task(&self) -> Option<&RequestKey> {
        self.task.as_ref()
    }

    /// All that a request is known by.
    pub(super) fn keys(&self) -> Keys {
        Keys {
            shared: self.shared(),
            task: self.task.clone(),
        }
    }

    /// What a request goes by in all contexts that were copied from its own.
    fn shared(&self) -> RequestKey {
        match (&self.exact, self.task.as_ref().or(self.object.as_ref())) {
            (RequestKey::Scope(..), Some(object)) => object.clone(),
            (exact, _) => exact.clone(),
        }
    }
}

/// What two witnesses of one request know it by, who need not know the same.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    shared: RequestKey,
    task: Option<RequestKey>,
}

impl Keys {
    /// Whether both may mean one request.
    pub(super) fn agree(&self, other: &Self) -> bool {
        self.shared == other.shared || self.task.is_some() && self.task == other.task
    }
}

/// Who bound an identity object.
#[derive(Debug)]
struct Owner {
    scope: ScopeKey,
    /// Several requests bound it: it says whom they are for, but not which of them it is.
    shared: bool,
    /// Tells it from the owners of earlier objects at the same address.
    born: u64,
}

#[derive(Debug)]
pub(super) struct Requests {
    last_reads: Table<RequestKey, Arc<IdentityRead>>,
    /// The number of the request in each scope.
    births: Table<ScopeKey, u64>,
    /// Some were dropped: a request may go by two numbers.
    births_forgotten: bool,
    /// The last number that was given.
    born: u64,
    /// The identity object that was last seen in a scope.
    objects: Table<ScopeKey, u64>,
    /// Who bound it.
    owners: Table<u64, Owner>,
    /// Whom each says that it is for.
    identities: Table<RequestKey, (Slot, Value)>,
    /// Those of them whose scope has ended, the oldest first: what they have handed over may go on for a while.
    ended: VecDeque<RequestKey>,
    /// Some owners were dropped: what looks like one request's object may be another's, too.
    owners_forgotten: bool,
    /// Number of the last identity read that may belong to any request.
    unplaced: u64,
}

impl Requests {
    /// `complete` says that every bind of the target is seen.
    pub(super) fn new(bound: usize, complete: bool) -> Self {
        Self {
            last_reads: Table::new(bound),
            births: Table::new(bound),
            births_forgotten: false,
            born: 0,
            objects: Table::new(bound),
            owners: Table::new(bound),
            identities: Table::new(bound),
            ended: VecDeque::new(),
            owners_forgotten: !complete,
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
            self.objects.insert(scope, value.root);
        }
        let object = self.objects.get(&scope).and_then(|object| {
            let owner = self.owners.get(object)?;
            Some(RequestKey::Object(*object, owner.born))
        });
        let exact = match request {
            Some(value) => RequestKey::of(value),
            None => RequestKey::Scope(scope, self.birth(scope)),
        };
        RequestId {
            exact,
            object,
            tasks: Vec::new(),
            task: None,
        }
    }

    /// The request that bound this object, or that this request slot names.
    pub(super) fn of_object(&mut self, object: u64, request: Option<&Value>) -> Option<RequestId> {
        let owner = self.owners.get(&object);
        let own = owner.filter(|owner| !self.owners_forgotten && !owner.shared);
        match (own.map(|owner| owner.scope), request) {
            (Some(scope), _) => Some(self.id(scope, request, None)),
            (None, Some(request)) => Some(RequestId {
                exact: RequestKey::of(request),
                object: None,
                tasks: Vec::new(),
                task: None,
            }),
            (None, None) => None,
        }
    }

    /// The number of the request that runs in a scope.
    fn birth(&mut self, scope: ScopeKey) -> u64 {
        if let Some(born) = self.births.get(&scope) {
            return *born;
        }
        self.born += 1;
        self.births_forgotten |= self.births.insert(scope, self.born).is_some();
        self.born
    }

    /// A request says whom it is for.
    pub(super) fn says(&mut self, id: &RequestId, slot: Slot, value: &Value) {
        for name in self.names(id) {
            self.identities.insert(name, (slot, value.clone()));
        }
    }

    /// Whom a request has said that it is for.
    pub(super) fn identity(&self, id: &RequestId) -> Option<(Slot, Value)> {
        let mut names = self.names(id).into_iter();
        names.find_map(|name| self.identities.get(&name).cloned())
    }

    /// An identity was read on behalf of a request.
    pub(super) fn read(&mut self, id: &RequestId, read: &Arc<IdentityRead>) {
        if self.births_forgotten
            && let RequestKey::Scope(scope, born) = &id.exact
            && self.births.get(scope) != Some(born)
        {
            self.unplaced = self.unplaced.max(read.seq);
        }
        for key in id.object.iter().chain([&id.exact]).chain(&id.tasks) {
            // What is dropped may have been the last read of a request that an older one is still known of.
            if let Some((_, dropped)) = self.last_reads.insert(key.clone(), Arc::clone(read)) {
                self.unplaced = self.unplaced.max(dropped.seq);
            }
        }
    }

    /// The last identity read of a request, also by what it created with a copy of its context.
    pub(super) fn last(&self, id: &RequestId) -> Option<&Arc<IdentityRead>> {
        let exact = self.last_reads.get(&id.exact);
        if !matches!(id.exact, RequestKey::Scope(..)) {
            return exact;
        }
        let copied = self.own_object(id).and_then(|key| self.last_reads.get(key));
        let of_task = id.task().and_then(|key| self.last_reads.get(key));
        let all = exact.into_iter().chain(copied).chain(of_task);
        all.max_by_key(|read| read.seq)
    }

    /// The object that says who a request is for, if no other request has the same.
    pub(super) fn own_object<'a>(&self, id: &'a RequestId) -> Option<&'a RequestKey> {
        id.object.as_ref().filter(|key| {
            let RequestKey::Object(object, born) = key else {
                return false;
            };
            let owner = self.owners.get(object);
            !self.owners_forgotten && owner.is_some_and(|owner| !owner.shared && owner.born == *born)
        })
    }

    /// All that a request goes by and no other one.
    fn names(&self, id: &RequestId) -> Vec<RequestKey> {
        let object = match id.exact {
            RequestKey::Scope(..) => self.own_object(id),
            _ => None,
        };
        object.into_iter().chain([&id.exact]).cloned().collect()
    }

    /// An identity was read on behalf of a request that is not known.
    pub(super) const fn read_unplaced(&mut self, seq: u64) {
        self.unplaced = seq;
    }

    /// The read that decides for a request, unless a later one may be its own.
    pub(super) fn decisive<'a>(&self, read: Option<&'a Arc<IdentityRead>>) -> Option<&'a Arc<IdentityRead>> {
        read.filter(|read| read.seq > self.unplaced)
    }

    /// A request says who it is for.
    pub(super) fn bound(&mut self, scope: ScopeKey, object: u64) {
        let shared = match self.owners.get(&object) {
            Some(owner) if owner.scope == scope => return,
            Some(_) => true,
            None => false,
        };
        self.born += 1;
        let owner = Owner {
            scope,
            shared,
            born: self.born,
        };
        self.owners_forgotten |= self.owners.insert(object, owner).is_some();
    }

    pub(super) fn end_scope(&mut self, scope: ScopeKey) {
        if let Some(born) = self.births.remove(&scope) {
            self.last_reads.remove(&RequestKey::Scope(scope, born));
            self.outlived(RequestKey::Scope(scope, born));
        }
        let Some(object) = self.objects.remove(&scope) else {
            return;
        };
        // The object may end with the scope, and its address be used again.
        let own = self.owners.get(&object);
        if let Some(born) = own.filter(|o| o.scope == scope && !o.shared).map(|o| o.born) {
            self.owners.remove(&object);
            self.last_reads.remove(&RequestKey::Object(object, born));
            self.outlived(RequestKey::Object(object, born));
        }
    }

    /// A request goes by this name no more, but in what it has handed over.
    fn outlived(&mut self, name: RequestKey) {
        if !self.identities.contains(&name) {
            return;
        }
        self.ended.push_back(name);
        if self.ended.len() > ENDED
            && let Some(oldest) = self.ended.pop_front()
        {
            self.identities.remove(&oldest);
        }
    }

    pub(super) fn clear(&mut self) {
        self.last_reads.clear();
        self.births.clear();
        self.objects.clear();
        self.identities.clear();
        self.ended.clear();
        self.owners.clear();
        self.owners_forgotten = true;
    }

    pub(super) fn len(&self) -> usize {
        self.last_reads.len()
    }

    pub(super) fn take_evicted(&mut self) -> u64 {
        self.last_reads.take_evicted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correlate::event::{Carrier, Scope};

    fn value(object: u64) -> Value {
        Value {
            object,
            type_object: 1,
            type_name: None,
            root: object,
            items: None,
            content: Content::Opaque,
        }
    }

    #[test]
    fn whom_requests_were_for_is_forgotten_some_time_after_they_end() {
        let mut requests = Requests::new(1 << 20, true);
        let scope = ScopeKey::new(Scope(7), Carrier(1));
        let mut ids = Vec::new();
        for number in 0..10_000 {
            let value = value(number);
            requests.bound(scope, value.root);
            let id = requests.id(scope, None, Some(&value));
            requests.says(&id, Slot(0), &value);
            ids.push(id.clone());
            requests.end_scope(scope);
            assert!(
                requests.identity(&id).is_some(),
                "what it has handed over may ask"
            );
        }
        assert!(requests.identities.len() <= ENDED + 2);
        assert!(requests.identity(&ids[0]).is_none());
    }
}
