//! One article for each kind of finding, for a person who reads it at three in the morning.

use std::fmt::{self, Write as _};

use crate::correlate::finding::Kind;

/// What there is to say about a kind of finding.
#[derive(Clone, Copy, Debug)]
pub struct Article {
    /// The kind.
    pub kind: Kind,
    /// In one line.
    pub title: &'static str,
    /// What it means for those who are concerned.
    pub meaning: &'static str,
    /// How it comes about.
    pub how: &'static str,
    /// A few lines of Python that do it.
    pub example: &'static str,
    /// What bleedtrace has seen when it says so.
    pub proof: &'static str,
    /// What to do.
    pub remedy: &'static str,
    /// What looks similar and is not reported.
    pub not_reported: &'static str,
}

/// The page of docs/runbooks that says what to do at once.
const fn runbook(kind: Kind) -> &'static str {
    match kind {
        Kind::Bleed => "IdentityBleed",
        Kind::Squat => "SquattingBinds",
        Kind::BlackHoleRead | Kind::BlackHoleReturn => "ContextBlackHole",
        Kind::UnattributedTask => "TaskUnattributed",
        Kind::MisattributedTask => "TaskMisattributed",
        Kind::ForeignPoll => "ForeignTaskPoll",
        Kind::OwnerRefused => "TaskOwnerRefused",
        Kind::DriftBlindness => "DriftBlindness",
        Kind::EmptyCheck => "PolicyCheckedNobody",
    }
}

/// The article about a kind.
pub const fn article(kind: Kind) -> &'static Article {
    match kind {
        Kind::Bleed => &BLEED,
        Kind::Squat => &SQUAT,
        Kind::BlackHoleRead => &BLACK_HOLE_READ,
        Kind::BlackHoleReturn => &BLACK_HOLE_RETURN,
        Kind::UnattributedTask => &UNATTRIBUTED_TASK,
        Kind::MisattributedTask => &MISATTRIBUTED_TASK,
        Kind::ForeignPoll => &FOREIGN_POLL,
        Kind::OwnerRefused => &OWNER_REFUSED,
        Kind::DriftBlindness => &DRIFT_BLINDNESS,
        Kind::EmptyCheck => &EMPTY_CHECK,
    }
}

const BLEED: Article = Article {
    kind: Kind::Bleed,
    title: "a worker read somebody else's identity",
    meaning: "One request ran with the identity of another one. Whatever it decided with it (access, billing, logs, cache keys) \
              is wrong, and nothing failed. Treat it as a security incident until you know better.",
    how: "run_in_executor and submit copy no context. The pool thread keeps what earlier work bound in it, and the next work \
          that reads the variable without binding it first gets that.",
    example: "pool = ThreadPoolExecutor(max_workers=1)
tenant = ContextVar(\"tenant\")
pool.submit(tenant.set, \"acme\").result()    # request A leaves its tenant in the thread
tenant.set(\"globex\")                        # request B, on its own loop
pool.submit(tenant.get).result()            # reads \"acme\"",
    proof: "The value that the worker read was neither bound by the work that it was running nor held by the request that handed \
            the work over. Confirmed: that request had a value of its own, and the two differ in content. Suspected: it had \
            none, or the two are objects of a type that can only be compared by address; or a task came by its work through a \
            queue, through which others are only told of something. The source says who left the value: \
            residue (earlier work), inherited (the thread was started inside another request, and has a copy of its context), \
            initializer (the pool's own), before_attach (it was there when bleedtrace came), task (an asyncio task that was created \
            inside a request which is over, lives on in a copy of its context, and was woken or created by another request that had \
            something for it: a session's loop, a logging or batching task; seen with --tasks or --wire only).",
    remedy: "Hand work over with its context: asyncio.to_thread(f), or executor.submit(contextvars.copy_context().run, f). \
             Reset what the worker binds, in a finally block, at the bind site that is named. Then look at what the \
             request at the read site did with the value.",
    not_reported: "A read after the same work has bound its own value; a read in a copied context; a read on the loop, unless by \
                   a task that works for another request; a read after events were lost, where nobody can say any more (counted as unjudged).",
};

const SQUAT: Article = Article {
    kind: Kind::Squat,
    title: "work ended and left its identity in a pool thread",
    meaning: "Nobody has read it yet, but the next request on this thread can: a bleed that waits to happen.",
    how: "Work binds a variable in the pool thread's own context and does not reset it. The thread goes back to the pool with it.",
    example: "def handle(request):                # runs in a pool thread
    tenant.set(request.tenant)      # never reset
    return answer(request)

pool.submit(handle, request)",
    proof: "At the worker's next attempt to take work, its base context still held a value that this work had bound there.",
    remedy: "token = tenant.set(...), then tenant.reset(token) in a finally block. Or run the work in a context of its own, \
             which is thrown away with it: asyncio.to_thread, or submit(contextvars.copy_context().run, f).",
    not_reported: "Binds in a copied context; a pool initializer's binds; bare threads, which take their context with them when \
                   they end; work that was still running when the process ended.",
};

const BLACK_HOLE_READ: Article = Article {
    kind: Kind::BlackHoleRead,
    title: "a worker found no identity although the request had one",
    meaning: "Code in the worker ran for nobody. A check that treats nobody as anybody has passed; logs and metrics of that work \
              carry no tenant.",
    how: "create_task, gather and await copy the context, so the variable seems to be everywhere. run_in_executor, submit and \
          threading.Thread do not.",
    example: "async def handle():
    tenant.set(\"acme\")
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, check)    # check() runs in a pool thread

def check(): return tenant.get(None)           # None",
    proof: "The read in the worker found no value, or one that counts as empty, and at the handoff the submitter's context held one.",
    remedy: "Hand work over with its context: asyncio.to_thread(f), or executor.submit(contextvars.copy_context().run, f); for \
             a thread, Thread(target=contextvars.copy_context().run, args=(f,)). And let the check refuse when there is \
             no identity.",
    not_reported: "An empty read when the request had bound nothing either: middleware asks so before it binds.",
};

const BLACK_HOLE_RETURN: Article = Article {
    kind: Kind::BlackHoleReturn,
    title: "what a worker bound never came back to its request",
    meaning: "The request goes on as if the worker had found out nothing: an authentication, a pin or a tenant that was resolved \
              in the worker is missing where it is used.",
    how: "A worker binds in its own context, or in a copy. Neither is the context of the request that waits for the result.",
    example: "def authenticate(): tenant.set(\"acme\")

async def handle():
    await asyncio.to_thread(authenticate)
    tenant.get(None)                          # None",
    proof: "Work bound the variable and ended without resetting it, and the very context that had handed the work over read the \
            variable after the bind and found nothing.",
    remedy: "Return the value from the work and bind it in the request: tenant.set(await asyncio.to_thread(authenticate)).",
    not_reported: "A bind that the work resets; a request that never reads the variable afterwards; frameworks that bring the \
                   worker's binds back: then the read is not empty.",
};

const UNATTRIBUTED_TASK: Article = Article {
    kind: Kind::UnattributedTask,
    title: "a durable task was created for nobody",
    meaning: "The task outlives its request and belongs to no one: either anyone who knows its id can use it, or its owner \
              cannot.",
    how: "The identity was bound in a worker, or read in one: where the task is made, the variable is empty, and the empty owner \
          is stored.",
    example: "def authenticate(): tenant.set(\"acme\")

async def create():
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, authenticate)
    return store.create_task(owner=tenant.get(None))    # owner=None",
    proof: "A task was created (a random id was drawn, or a watched variable read, under a function that --mint names, or an async one \
            was called; the program announced it; or, with --wire, a response gave its handle), and the last read of the identity in its request before that had found nothing.",
    remedy: "Refuse to create a task without an owner. Pass the owner to the store as an argument, from the request. Find the \
             tasks without an owner that exist already.",
    not_reported: "A task whose request never read an identity: nobody can say whose it should be (counted as unknown).",
};

const MISATTRIBUTED_TASK: Article = Article {
    kind: Kind::MisattributedTask,
    title: "a durable task was created for somebody else",
    meaning: "The task, its input and its results belong to a tenant who has not asked for it, and the one who has cannot see it. \
              Treat it as a security incident.",
    how: "A bleed, followed by a handle that keeps it: the worker reads an identity that an earlier request left behind, and the \
          task is stored under it.",
    example: "pool.submit(tenant.set, \"acme\").result()     # request A

def create():
    return store.create_task(owner=tenant.get())

tenant.set(\"globex\")                         # request B
pool.submit(create)                          # owner=\"acme\"",
    proof: "A task was created, and the last read of the identity in its request before that had returned a value that was not \
            the request's own.",
    remedy: "Mend the bleed (see bleed). Pass the owner to the store as an argument, from the request. Then revoke or re-own the \
             tasks that were created at the site that is named since the time of the first finding.",
    not_reported: "A task whose request never read an identity (counted as unknown); a task that is created after the request \
                   has read its own identity.",
};

const FOREIGN_POLL: Article = Article {
    kind: Kind::ForeignPoll,
    title: "a task was shown to somebody else than the one who got its handle",
    meaning: "Who holds a handle sees the task's state, its result, and can often cancel it. Here somebody did who is not the one it \
              was given to. Treat it as a security incident until you know better.",
    how: "The store asks whether it has the handle and not whose it is, or the owner that it compares with was empty when the task was \
          minted: nobody equals nobody.",
    example: "def get_task(task_id):
    task = store[task_id]
    if task.owner is None or task.owner == tenant.get(None):    # None: anyone
        return task",
    proof: "On the wire: a task's handle was given to one principal in a response, and a later tasks/get (or tasks/result, tasks/update, \
            tasks/cancel, tasks/list) of another principal was answered with it. Confirmed: the two credentials are tokens of different \
            subjects, or they differ and so do the identities in the contexts under which the two responses were written. Suspected: they \
            differ, and nothing says whose they are; or the answer says no more than that it was done.",
    remedy: "Store the owner with the task, from the request that mints it, and refuse to mint without one. Compare it with who asks \
             before anything is shown, and answer a foreign handle as an unknown one. Then look at what the poll that is named was told.",
    not_reported: "A poll of a principal whose token was refreshed (issuer and subject, or client, agree); polls without credentials, as \
                   over pipes, or with such as are made for one request (signatures, Digest); a handle that was given to several principals; a task that was minted before bleedtrace came.",
};

const OWNER_REFUSED: Article = Article {
    kind: Kind::OwnerRefused,
    title: "the owner of a task was told that there is no such task",
    meaning: "The work was done, or is still being done, and whoever asked for it cannot get at it.",
    how: "The task was stored for somebody else (see misattributed_task) or for nobody, the store lost it, or another process of the \
          service answers, which never had it.",
    example: "def create_task(task_id):                       # runs in a pool thread, without the context
    store[task_id] = Task(owner=tenant.get(None))   # None, or an earlier request's

def get_task(task_id):
    if store[task_id].owner != tenant.get():
        raise UnknownTask(task_id)",
    proof: "On the wire: a principal got a task's handle, asked for the task with tasks/get, and was refused as for an unknown one \
            (error -32602). The task was not cancelled, and its ttl had not passed.",
    remedy: "Look at what the task was minted with: an unattributed or misattributed task of the same time has the same cause. If there \
             is none, see to it that all processes of the service share the store, and that it keeps tasks for as long as it has promised.",
    not_reported: "A refusal of somebody else; one after the ttl, or after tasks/cancel; any other error.",
};

const DRIFT_BLINDNESS: Article = Article {
    kind: Kind::DriftBlindness,
    title: "a digest that a worker pinned was missing where it is verified",
    meaning: "The check that a tool is still the one that was agreed to has nothing to compare with. It passes, whatever the tool has \
              become in the meantime.",
    how: "The digest is pinned in the worker, where the tool is invoked. What a worker binds does not come back: the task is created, \
          and its result verified, where the variable is empty.",
    example: "pin = ContextVar(\"tool_digest\", default=None)

def invoke(tool): pin.set(f\"digest of {tool}\")    # in the worker

async def run(tool):
    await asyncio.get_running_loop().run_in_executor(pool, invoke, tool)
    return store.create_task(pin.get())           # None: nothing will be verified",
    proof: "Work bound a --digest variable and ended without resetting it; later the request that had handed the work over read it, or a \
            poll of the task did (with --wire, or where the program announces its tasks), and found nothing; and the request created \
            a task. Confirmed: the read came before the task, or under the function that created it. Suspected: it came later, and \
            the digest was not read where it was pinned; what the task was created with is not seen. A program can also \
            announce its pins and verifications (bleedtrace.digest_pinned, bleedtrace.digest_verified).",
    remedy: "Return the digest from the work, store it with the task, and verify against what is stored. Let the verification refuse \
             when there is nothing to compare with.",
    not_reported: "A digest that nobody pins; one that is pinned on the loop, or bound there again after the work; one that the work \
                   resets; requests that create no task.",
};

const EMPTY_CHECK: Article = Article {
    kind: Kind::EmptyCheck,
    title: "a policy was evaluated for nobody, inside a request",
    meaning: "A decision was made about a request without anybody in it. If the policy treats nobody as anybody, it has passed: a \
              check that ran against nothing.",
    how: "The policy asks a context variable who the caller is, in a worker that has no context, or on a path on which nobody has \
          bound it.",
    example: "def may_call(tool):                           # --policy may_call
    return allowed(tenant.get(None), tool)    # nobody, and nobody is allowed

async def handle():
    tenant.set(\"acme\")
    await asyncio.get_running_loop().run_in_executor(None, may_call, \"search\")",
    proof: "A watched identity was read under a function that --policy names, nothing was found, and it is known that this was inside a \
            request: the --request variable was bound; or the work was handed over with the identity; or a worker had bound the \
            identity for this very context, and it did not come back; or, with --wire, a response was written in the same \
            context to a request that had come before. A program can also announce its checks (bleedtrace.policy_check).",
    remedy: "Deny, and log, when there is nobody. Then see to it that the identity gets there: hand work over with its context, or \
             pass the principal as an argument.",
    not_reported: "A check at start-up, in a health check, in a scheduler, or anywhere else where it is not known that there is a request: \
                   watch the variable that holds the request's id (--request), and it is known. A read more than 8 frames below the policy, or in a task or worker that the policy starts.",
};

impl Article {
    const fn sections(&self) -> [(&'static str, &'static str); 6] {
        [
            ("What it means", self.meaning),
            ("How it happens", self.how),
            ("Example", self.example),
            ("How bleedtrace knows", self.proof),
            ("What to do", self.remedy),
            ("What is not reported", self.not_reported),
        ]
    }

    /// The article as a section of a Markdown document.
    fn markdown(&self) -> String {
        let mut out = format!(
            "## {}\n\n*{}* · severity: {}\n",
            self.kind.name(),
            self.title,
            self.kind.severity().name()
        );
        for (title, text) in self.sections() {
            if title == "Example" {
                let _ = write!(out, "\n```python\n{text}\n```\n");
            } else {
                let _ = write!(out, "\n**{title}.** {text}\n");
            }
        }
        let runbook = runbook(self.kind);
        let _ = write!(
            out,
            "\n**At once.** [runbooks/{runbook}.md](runbooks/{runbook}.md)\n"
        );
        out
    }
}

/// For a terminal of 100 columns.
impl fmt::Display for Article {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} ({}): {}",
            self.kind.name(),
            self.kind.severity().name(),
            self.title
        )?;
        for (title, text) in self.sections() {
            writeln!(f, "\n{title}")?;
            if title == "Example" {
                text.lines()
                    .try_for_each(|line| writeln!(f, "{}", format!("    {line}").trim_end()))?;
            } else {
                f.write_str(&crate::report::wrap::wrap(text, "  ", "  "))?;
            }
        }
        Ok(())
    }
}

/// `docs/findings.md`.
pub fn document() -> String {
    let mut out = String::from(
        "# Findings\n\nEvery kind of finding: what it means, how it happens, how bleedtrace knows, and what to do. \
         `bleedtrace explain KIND` prints the same.\nThis file is generated; the text is in \
         `tracer-user/src/report/explain/articles.rs`.\n",
    );
    for kind in Kind::ALL {
        out += "\n";
        out += &article(*kind).markdown();
    }
    out
}
