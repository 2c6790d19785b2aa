//! Goes through what an event is made of. Every kind of event is named: a new one has to say where its values are.

use std::sync::Arc;

use super::{
    announcement::{Announcement, Said},
    event::{Stack, What},
    value::{Found, Value},
};

impl What {
    /// Every value in it, but for those in the facts of [`What::Said`], which are made of values that were gone through before.
    pub fn each_value(&mut self, visit: &mut dyn FnMut(&mut Value)) {
        match self {
            Self::Variable { default, .. } => each(default, visit),
            Self::Existing { held, .. }
            | Self::Submit { held, .. }
            | Self::Idle { held, .. }
            | Self::Take { held, .. } => all(held, visit),
            Self::Read {
                found: it,
                call_default,
                request,
                ..
            } => {
                found(it, visit);
                each(call_default, visit);
                each(request, visit);
            }
            Self::Bind { value, request, .. } => {
                found(value, visit);
                each(request, visit);
            }
            Self::Unbind { restored, .. } => found(restored, visit),
            Self::Random { request, .. } | Self::Coroutine { request, .. } => each(request, visit),
            Self::Announced { request, said, .. } => {
                each(request, visit);
                said.each_value(visit);
            }
            Self::Wire(bytes) => {
                if let Some(context) = &mut bytes.context {
                    all(&mut Arc::make_mut(context).held, visit);
                }
            }
            Self::Said(said) => {
                if let Some(context) = &mut said.context {
                    all(&mut Arc::make_mut(context).held, visit);
                }
            }
            Self::Attach { .. }
            | Self::Begin { .. }
            | Self::End
            | Self::ScopeEnd { .. }
            | Self::Spawn { .. }
            | Self::TaskScope { .. }
            | Self::Complete { .. }
            | Self::Wake { .. }
            | Self::WireClosed(_)
            | Self::Gap { .. }
            | Self::Agreed { .. }
            | Self::Exit { .. } => {}
        }
    }

    /// The stack, if it has one.
    pub const fn stack_mut(&mut self) -> Option<&mut Arc<Stack>> {
        match self {
            Self::Submit { stack, .. }
            | Self::Read { stack, .. }
            | Self::Bind { stack, .. }
            | Self::Unbind { stack, .. }
            | Self::Random { stack, .. }
            | Self::Coroutine { stack, .. }
            | Self::Announced { stack, .. }
            | Self::Spawn { stack, .. } => Some(stack),
            _ => None,
        }
    }
}

impl Announcement {
    fn each_value(&mut self, visit: &mut dyn FnMut(&mut Value)) {
        match self {
            Self::TaskMinted { task, owner: who } | Self::TaskServed { task, principal: who } => {
                visit(task);
                said(who, visit);
            }
            Self::PolicyCheck { principal: it } | Self::DigestPinned { digest: it } => said(it, visit),
            Self::DigestVerified { digest, task } => {
                said(digest, visit);
                each(task, visit);
            }
            Self::Malformed => {}
        }
    }

    /// The task that it is about, if it names one.
    pub const fn task_mut(&mut self) -> Option<&mut Value> {
        match self {
            Self::TaskMinted { task, .. } | Self::TaskServed { task, .. } => Some(task),
            Self::DigestVerified { task, .. } => task.as_mut(),
            Self::PolicyCheck { .. } | Self::DigestPinned { .. } | Self::Malformed => None,
        }
    }
}

fn each(value: &mut Option<Value>, visit: &mut dyn FnMut(&mut Value)) {
    value.iter_mut().for_each(visit);
}

fn all(held: &mut [Found], visit: &mut dyn FnMut(&mut Value)) {
    for it in held {
        found(it, visit);
    }
}

fn found(found: &mut Found, visit: &mut dyn FnMut(&mut Value)) {
    if let Found::Value(value) = found {
        visit(value);
    }
}

fn said(said: &mut Said, visit: &mut dyn FnMut(&mut Value)) {
    if let Said::Is(value) = said {
        visit(value);
    }
}
