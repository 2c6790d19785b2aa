//! What findings mean: a sentence and a remedy for each one, and an article for each kind.

mod articles;

use std::fmt::Display;

pub use self::articles::{Article, article, document};
use super::finding::{ExportedFinding, Party, Site, Task};
use crate::correlate::finding::Kind;

/// How work takes its context along.
const TAKE_ALONG: &str = "asyncio.to_thread(f) or executor.submit(contextvars.copy_context().run, f)";

/// One sentence: who saw what instead of whom, and who left it where.
pub fn sentence(finding: &ExportedFinding) -> String {
    let slot = &finding.slot;
    let tid = finding.tid;
    let found = shown(finding.found.as_ref());
    let expected = shown(finding.expected.as_ref());
    let read = at(finding.read.as_ref().and_then(|read| read.site.as_ref()));
    let bind = at(finding.bind.as_ref().and_then(|bind| bind.site.as_ref()));
    let task = at(finding.task.as_ref().and_then(|task| task.site.as_ref()));
    match finding.kind {
        Kind::Bleed => {
            let instead = match &finding.expected {
                Some(_) => format!("instead of {expected}"),
                None => "although its own request had bound nothing".to_owned(),
            };
            let reader = match finding.source {
                Some("task") => "a task on thread",
                _ => "worker thread",
            };
            format!(
                "{reader} {tid} read {slot}{read} and got {found} {instead}: {}{}.",
                origin(finding, &bind),
                handed_over(finding)
            )
        }
        Kind::Squat => format!(
            "{} bound {slot} to {found}{bind} and ended without resetting it: the next request on worker thread {tid} can \
             read it{}.",
            binder(finding),
            handed_over(finding)
        ),
        Kind::BlackHoleRead => format!(
            "worker thread {tid} read {slot}{read} and got nothing, although the request that handed over the work had \
             {expected}{}.",
            handed_over(finding)
        ),
        Kind::BlackHoleReturn => format!(
            "{} bound {slot} to {expected}{bind}, but the request that handed over the work read nothing{read} \
             afterwards{}.",
            binder(finding),
            handed_over(finding)
        ),
        Kind::UnattributedTask => format!(
            "a task was created{task} for nobody: the last read of {slot} in its request{read} had found nothing{}.",
            handed_over(finding)
        ),
        Kind::MisattributedTask => {
            let instead = finding
                .expected
                .as_ref()
                .map_or_else(String::new, |_| format!(" instead of {expected}"));
            format!(
                "a task was created{task} for somebody else: the last read of {slot} in its request{read} had got \
                 {found}{instead}; {}{}.",
                origin(finding, &bind),
                handed_over(finding)
            )
        }
        Kind::ForeignPoll => format!(
            "the state of {} was shown to {}, although its handle had been given to {}.",
            handle(finding),
            party(finding, |task| task.poller.as_ref()),
            party(finding, |task| task.owner.as_ref())
        ),
        Kind::OwnerRefused => format!(
            "{} asked for {} and was told that there is no such task, although {} had been given its handle.",
            party(finding, |task| task.poller.as_ref()),
            handle(finding),
            party(finding, |task| task.owner.as_ref())
        ),
    }
}

/// The task, by its handle.
fn handle(finding: &ExportedFinding) -> String {
    let handle = finding.task.as_ref().and_then(|task| task.handle.as_ref());
    handle.map_or_else(|| "a task".to_owned(), |handle| format!("task #{handle}"))
}

/// Somebody who has to do with the task.
fn party(finding: &ExportedFinding, which: impl Fn(&Task) -> Option<&Party>) -> String {
    let Some(party) = finding.task.as_ref().and_then(which) else {
        return "somebody".to_owned();
    };
    let credential = party.credential.as_ref();
    let credential = credential.map_or_else(|| "nobody".to_owned(), |hash| format!("credential #{hash}"));
    match &party.identity {
        Some(identity) => format!("{credential} ({identity})"),
        None => credential,
    }
}

/// One sentence: what to do.
pub fn fix(finding: &ExportedFinding) -> String {
    let slot = &finding.slot;
    let hop = at(finding.hop.as_ref().and_then(|hop| hop.site.as_ref()));
    let bind = at(finding.bind.as_ref().and_then(|bind| bind.site.as_ref()));
    let along = match finding.hop.as_ref().map(|hop| hop.primitive) {
        Some("thread") => "threading.Thread(target=contextvars.copy_context().run, args=(f,))",
        Some("threadpool") => "pool.apply(contextvars.copy_context().run, (f,))",
        _ => TAKE_ALONG,
    };
    match (finding.kind, finding.source) {
        (Kind::Bleed, Some("initializer")) => format!(
            "do not bind {slot} in the pool's initializer{bind}; hand the work over with its context{hop}: {along}."
        ),
        (Kind::Bleed, Some("inherited")) => format!(
            "hand the work over with its context{hop}: {along}; and start the pool's threads before there is a request, or run \
             with -X thread_inherit_context=0."
        ),
        (Kind::Bleed, Some("before_attach")) => format!(
            "hand the work over with its context{hop}: {along}; and find the work that binds {slot} without resetting it: \
             bleedtrace reports it as a squat when it runs again."
        ),
        (Kind::Bleed, Some("task")) => {
            let made = at(finding.spawn.as_ref().and_then(|spawn| spawn.site.as_ref()));
            format!(
                "let the request send its {slot} along with what it sends, and have the task bind it for each piece of work; or \
                 create the task{made} where no request is: asyncio.create_task(f(), context=contextvars.Context())."
            )
        }
        (Kind::Bleed, _) => format!(
            "hand the work over with its context{hop}: {along}; and reset {slot} where the earlier work bound \
             it{bind}: token = var.set(...), then var.reset(token) in a finally block."
        ),
        (Kind::Squat, _) => format!(
            "keep the token of the bind{bind} and call var.reset(token) in a finally block, or hand the work over with \
             a context of its own{hop}: {along}."
        ),
        (Kind::BlackHoleRead, _) => format!("hand the work over with its context{hop}: {along}."),
        (Kind::BlackHoleReturn, _) => format!(
            "return the value from the work and bind {slot} in the request that awaits it{hop}: what a worker binds \
             never comes back."
        ),
        (Kind::UnattributedTask, _) => format!(
            "refuse to create a task without an owner, and take {slot} from the request itself; where it is set or \
             read in a worker, hand the work over with its context{hop}: {along}."
        ),
        (Kind::MisattributedTask, _) => format!(
            "take the owner from the request itself, not from what a worker thread happens to hold; hand the work over \
             with its context{hop}: {along}; revoke or re-own the task."
        ),
        (Kind::ForeignPoll, _) => {
            "store the owner with the task when it is minted, refuse to mint without one, and compare it with who asks before \
             anything of the task is shown."
                .to_owned()
        }
        (Kind::OwnerRefused, _) => {
            "look at what the task was minted with: the owner belongs to the request that asks for the task, not to the thread \
             that stores it; and all processes of a service need one store."
                .to_owned()
        }
    }
}

fn shown(value: Option<&impl Display>) -> String {
    value.map_or_else(|| "nothing".to_owned(), ToString::to_string)
}

fn at(site: Option<&Site>) -> String {
    site.map_or_else(String::new, |site| format!(" at {site}"))
}

fn binder(finding: &ExportedFinding) -> String {
    finding
        .bind
        .as_ref()
        .and_then(|bind| bind.item)
        .map_or_else(|| "a work item".to_owned(), |item| format!("work item {item}"))
}

/// Who left the value that was read.
fn origin(finding: &ExportedFinding, bind: &str) -> String {
    match finding.source {
        Some("initializer") => format!("the pool's initializer bound it{bind}"),
        Some("inherited") => {
            "the worker's thread was started inside a request that held it, and lives in a copy of that one's context".to_owned()
        }
        Some("before_attach") => "it lay in the thread before bleedtrace attached".to_owned(),
        Some("task") => format!("the request that bound it{bind} is over, and the task that was created in it goes on with a copy of its context"),
        _ => format!("{} left it there, bound{bind}", binder(finding)),
    }
}

fn handed_over(finding: &ExportedFinding) -> String {
    finding.hop.as_ref().map_or_else(String::new, |hop| {
        format!(
            "; the work was handed over by {}{}",
            hop.primitive,
            at(hop.site.as_ref())
        )
    })
}
