//! What people see.

use tracer_common::stats::{Probe, ProbeStats};

use crate::{
    correlate::{
        event::{Primitive, Slot, TargetId},
        fact::{Attribution, Carried, Fact, FactKind, Place, ReadResult},
        finding::{Confidence, Evidence, Kind, Source, Spawn},
        value::{Content, Prefix},
    },
    report::{
        explain,
        finding::{Container, ExportedFinding, TargetInfo},
        json,
        privacy::Privacy,
        samples,
        tally::Tally,
        text::Text,
    },
};

fn block(kind: Kind) -> String {
    Text::new(false).block(&samples::export(&samples::finding(kind), true))
}

#[test]
fn a_bleed() {
    insta::assert_snapshot!(block(Kind::Bleed), @r#"
    CRITICAL bleed f-000007 2026-01-02T03:04:05.123456Z
      worker thread 4250 read tenant at authorize (/srv/proxy.py:22) and got "acme" instead of "globex":
      work item 3 left it there, bound at work (/srv/proxy.py:12); the work was handed over by
      run_in_executor at Proxy.handle (/srv/proxy.py:40).
      whose     tenant in proxy, process 4242, thread 4250 (cpython)
      expected  "globex"
      found     "acme" (residue)
      hop       Proxy.handle (/srv/proxy.py:40) by run_in_executor from thread 4242, waited 120.0 µs
      bind      work (/srv/proxy.py:12) by item 3 on thread 4250, 1.2 s before
      read      authorize (/srv/proxy.py:22)
      sure      confirmed, read from the process's memory
      fix       hand the work over with its context at Proxy.handle (/srv/proxy.py:40):
                asyncio.to_thread(f) or executor.submit(contextvars.copy_context().run, f); and reset
                tenant where the earlier work bound it at work (/srv/proxy.py:12): token = var.set(...),
                then var.reset(token) in a finally block.
    "#);
}

#[test]
fn a_hidden_bleed_that_is_less_sure() {
    let mut finding = samples::finding(Kind::Bleed);
    finding.expected = None;
    finding.confidence = Confidence::Suspected;
    finding.source = Some(Source::BeforeAttach);
    finding.bind = None;
    finding.window_complete = false;
    insta::assert_snapshot!(Text::new(false).block(&samples::export(&finding, false)), @r#"
    CRITICAL bleed f-000007 2026-01-02T03:04:05.123456Z
      worker thread 4250 read tenant at authorize (/srv/proxy.py:22) and got str[4] #6125be42ef510196
      although its own request had bound nothing: it lay in the thread before bleedtrace attached; the
      work was handed over by run_in_executor at Proxy.handle (/srv/proxy.py:40).
      whose     tenant in proxy, process 4242, thread 4250 (cpython)
      expected  nothing
      found     str[4] #6125be42ef510196 (before_attach)
      hop       Proxy.handle (/srv/proxy.py:40) by run_in_executor from thread 4242, waited 120.0 µs
      read      authorize (/srv/proxy.py:22)
      sure      suspected, read from the process's memory; its request had no identity to compare with;
                events were lost around it, so it may be incomplete
      fix       hand the work over with its context at Proxy.handle (/srv/proxy.py:40):
                asyncio.to_thread(f) or executor.submit(contextvars.copy_context().run, f); and find the
                work that binds tenant without resetting it: bleedtrace reports it as a squat when it
                runs again.
    "#);
}

#[test]
fn a_bleed_of_a_task() {
    let mut finding = samples::finding(Kind::Bleed);
    finding.source = Some(Source::Task);
    finding.hop = None;
    finding.bind.as_mut().expect("a bind").item = None;
    finding.spawn = Some(Box::new(Spawn {
        site: Some(samples::site("Session.start", 12)),
        age: Some(3_000_000_000),
        over: 2_900_000_000,
        works_for: Some(samples::site("middleware", 8)),
    }));
    insta::assert_snapshot!(Text::new(false).block(&samples::export(&finding, true)), @r#"
    CRITICAL bleed f-000007 2026-01-02T03:04:05.123456Z
      a task on thread 4250 read tenant at authorize (/srv/proxy.py:22) and got "acme" instead of
      "globex": the request that bound it at work (/srv/proxy.py:12) is over, and the task that was
      created in it goes on with a copy of its context.
      whose     tenant in proxy, process 4242, thread 4250 (cpython)
      expected  "globex"
      found     "acme" (task)
      task of   Session.start (/srv/proxy.py:12), 3.0 s before
      works for the request that bound its own at middleware (/srv/proxy.py:8)
      bind      work (/srv/proxy.py:12) on thread 4250, 1.2 s before
      read      authorize (/srv/proxy.py:22)
      sure      confirmed, read from the process's memory
      fix       let the request send its tenant along with what it sends, and have the task bind it for
                each piece of work; or create the task at Session.start (/srv/proxy.py:12) where no
                request is: asyncio.create_task(f(), context=contextvars.Context()).
    "#);
}

#[test]
fn a_squat() {
    insta::assert_snapshot!(block(Kind::Squat), @r#"
    WARNING squat f-000007 2026-01-02T03:04:05.123456Z
      work item 3 bound tenant to "acme" at work (/srv/proxy.py:12) and ended without resetting it: the
      next request on worker thread 4250 can read it; the work was handed over by run_in_executor at
      Proxy.handle (/srv/proxy.py:40).
      whose     tenant in proxy, process 4242, thread 4250 (cpython)
      left      "acme"
      hop       Proxy.handle (/srv/proxy.py:40) by run_in_executor from thread 4242, waited 120.0 µs
      bind      work (/srv/proxy.py:12) by item 3 on thread 4250, 1.2 s before
      sure      confirmed, read from the process's memory
      fix       keep the token of the bind at work (/srv/proxy.py:12) and call var.reset(token) in a
                finally block, or hand the work over with a context of its own at Proxy.handle
                (/srv/proxy.py:40): asyncio.to_thread(f) or
                executor.submit(contextvars.copy_context().run, f).
    "#);
}

#[test]
fn a_black_hole_read() {
    insta::assert_snapshot!(block(Kind::BlackHoleRead), @r#"
    WARNING black_hole_read f-000007 2026-01-02T03:04:05.123456Z
      worker thread 4250 read tenant at authorize (/srv/proxy.py:22) and got nothing, although the
      request that handed over the work had "globex"; the work was handed over by run_in_executor at
      Proxy.handle (/srv/proxy.py:40).
      whose     tenant in proxy, process 4242, thread 4250 (cpython)
      expected  "globex"
      found     nothing
      hop       Proxy.handle (/srv/proxy.py:40) by run_in_executor from thread 4242, waited 120.0 µs
      read      authorize (/srv/proxy.py:22)
      sure      confirmed, read from the process's memory
      fix       hand the work over with its context at Proxy.handle (/srv/proxy.py:40):
                asyncio.to_thread(f) or executor.submit(contextvars.copy_context().run, f).
    "#);
}

#[test]
fn a_black_hole_return() {
    insta::assert_snapshot!(block(Kind::BlackHoleReturn), @r#"
    WARNING black_hole_return f-000007 2026-01-02T03:04:05.123456Z
      work item 3 bound tenant to "acme" at work (/srv/proxy.py:12), but the request that handed over
      the work read nothing at authorize (/srv/proxy.py:22) afterwards; the work was handed over by
      run_in_executor at Proxy.handle (/srv/proxy.py:40).
      whose     tenant in proxy, process 4242, thread 4250 (cpython)
      expected  "acme"
      found     nothing
      hop       Proxy.handle (/srv/proxy.py:40) by run_in_executor from thread 4242, waited 120.0 µs
      bind      work (/srv/proxy.py:12) by item 3 on thread 4250, 1.2 s before
      read      authorize (/srv/proxy.py:22)
      sure      confirmed, read from the process's memory
      fix       return the value from the work and bind tenant in the request that awaits it at
                Proxy.handle (/srv/proxy.py:40): what a worker binds never comes back.
    "#);
}

#[test]
fn an_unattributed_task() {
    insta::assert_snapshot!(block(Kind::UnattributedTask), @r#"
    CRITICAL unattributed_task f-000007 2026-01-02T03:04:05.123456Z
      a task was created at TaskStore.create (/srv/proxy.py:51) for nobody: the last read of tenant in
      its request at authorize (/srv/proxy.py:22) had found nothing; the work was handed over by
      run_in_executor at Proxy.handle (/srv/proxy.py:40).
      whose     tenant in proxy, process 4242, thread 4250 (cpython)
      hop       Proxy.handle (/srv/proxy.py:40) by run_in_executor from thread 4242, waited 120.0 µs
      read      authorize (/srv/proxy.py:22)
      task      TaskStore.create (/srv/proxy.py:51), announced as "t-17"
      life      request
                ├ run_in_executor at Proxy.handle (/srv/proxy.py:40)
                ├ read tenant: nothing at authorize (/srv/proxy.py:22)
                └ mint at TaskStore.create (/srv/proxy.py:51), for nobody
      sure      confirmed, read from the process's memory
      fix       refuse to create a task without an owner, and take tenant from the request itself; where
                it is set or read in a worker, hand the work over with its context at Proxy.handle
                (/srv/proxy.py:40): asyncio.to_thread(f) or
                executor.submit(contextvars.copy_context().run, f).
    "#);
}

#[test]
fn a_misattributed_task() {
    insta::assert_snapshot!(block(Kind::MisattributedTask), @r#"
    CRITICAL misattributed_task f-000007 2026-01-02T03:04:05.123456Z
      a task was created at TaskStore.create (/srv/proxy.py:51) for somebody else: the last read of
      tenant in its request at authorize (/srv/proxy.py:22) had got "acme" instead of "globex"; work
      item 3 left it there, bound at work (/srv/proxy.py:12); the work was handed over by
      run_in_executor at Proxy.handle (/srv/proxy.py:40).
      whose     tenant in proxy, process 4242, thread 4250 (cpython)
      expected  "globex"
      found     "acme" (residue)
      hop       Proxy.handle (/srv/proxy.py:40) by run_in_executor from thread 4242, waited 120.0 µs
      bind      work (/srv/proxy.py:12) by item 3 on thread 4250, 1.2 s before
      read      authorize (/srv/proxy.py:22)
      task      TaskStore.create (/srv/proxy.py:51), announced as "t-17"
      life      request of "globex"
                ├ run_in_executor at Proxy.handle (/srv/proxy.py:40)
                ├ read tenant: somebody else's at authorize (/srv/proxy.py:22)
                └ mint at TaskStore.create (/srv/proxy.py:51), for somebody else
      sure      confirmed, read from the process's memory
      fix       take the owner from the request itself, not from what a worker thread happens to hold;
                hand the work over with its context at Proxy.handle (/srv/proxy.py:40):
                asyncio.to_thread(f) or executor.submit(contextvars.copy_context().run, f); revoke or
                re-own the task.
    "#);
}

#[test]
fn a_foreign_poll() {
    insta::assert_snapshot!(block(Kind::ForeignPoll), @r#"
    CRITICAL foreign_poll f-000007 2026-01-02T03:04:05.123456Z
      the state of task #5c70d13b5c7148ec was shown to credential #5eff7a70a3dd9d88 ("globex"), although
      its handle had been given to credential #acbaea507f8d954c ("acme").
      whose     a task in proxy, process 4242, thread 4250 (cpython)
      task      seen on the wire, handle #5c70d13b5c7148ec
      owner     credential #acbaea507f8d954c, identity "acme", answered on thread 4250 23.5 ms before
      asked     credential #5eff7a70a3dd9d88, identity "globex", answered on thread 4250
      life      request of "acme"
                ├ run_in_executor at Proxy.handle (/srv/proxy.py:40)
                ├ read tenant: nothing at authorize (/srv/proxy.py:22)
                ├ mint, for nobody
                └ poll of "globex": shown
      sure      confirmed, read on the wire
      fix       store the owner with the task when it is minted, refuse to mint without one, and compare
                it with who asks before anything of the task is shown.
    "#);
}

#[test]
fn an_owner_who_was_refused() {
    insta::assert_snapshot!(block(Kind::OwnerRefused), @r#"
    WARNING owner_refused f-000007 2026-01-02T03:04:05.123456Z
      credential #acbaea507f8d954c ("acme") asked for task #5c70d13b5c7148ec and was told that there is
      no such task, although credential #acbaea507f8d954c ("acme") had been given its handle.
      whose     a task in proxy, process 4242, thread 4250 (cpython)
      task      seen on the wire, handle #5c70d13b5c7148ec
      owner     credential #acbaea507f8d954c, identity "acme", answered on thread 4250 23.5 ms before
      asked     credential #acbaea507f8d954c, identity "acme", answered on thread 4250
      life      request of "acme"
                ├ run_in_executor at Proxy.handle (/srv/proxy.py:40)
                ├ read tenant: nothing at authorize (/srv/proxy.py:22)
                ├ mint, for nobody
                └ poll of "acme": refused
      sure      confirmed, read on the wire
      fix       look at what the task was minted with: the owner belongs to the request that asks for
                the task, not to the thread that stores it; and all processes of a service need one
                store.
    "#);
}

#[test]
fn a_missing_digest() {
    insta::assert_snapshot!(block(Kind::DriftBlindness), @r#"
    WARNING drift_blindness f-000007 2026-01-02T03:04:05.123456Z
      work item 3 pinned tool_digest as "sha256:1f0c" at work (/srv/proxy.py:12), but where it is
      verified at authorize (/srv/proxy.py:22) there was nothing to compare with; the task that was
      created at TaskStore.create (/srv/proxy.py:51) is not checked against it; the work was handed over
      by run_in_executor at Proxy.handle (/srv/proxy.py:40).
      whose     tool_digest in proxy, process 4242, thread 4250 (cpython)
      expected  "sha256:1f0c"
      found     nothing
      hop       Proxy.handle (/srv/proxy.py:40) by run_in_executor from thread 4242, waited 120.0 µs
      bind      work (/srv/proxy.py:12) by item 3 on thread 4250, 1.2 s before
      read      authorize (/srv/proxy.py:22)
      task      TaskStore.create (/srv/proxy.py:51), announced as "t-17"
      sure      confirmed, read from the process's memory
      fix       return the digest from the work at Proxy.handle (/srv/proxy.py:40), and store it with
                the task; where it is verified, refuse when there is nothing to compare with.
    "#);
}

#[test]
fn a_check_for_nobody() {
    insta::assert_snapshot!(block(Kind::EmptyCheck), @r#"
    CRITICAL empty_check f-000007 2026-01-02T03:04:05.123456Z
      a policy was evaluated for nobody at PolicyEngine.check (/srv/proxy.py:31): it asked for tenant at
      authorize (/srv/proxy.py:22) inside a request, and found nothing, although its request had
      "globex"; the work was handed over by run_in_executor at Proxy.handle (/srv/proxy.py:40).
      whose     tenant in proxy, process 4242, thread 4250 (cpython)
      expected  "globex"
      found     nothing
      hop       Proxy.handle (/srv/proxy.py:40) by run_in_executor from thread 4242, waited 120.0 µs
      read      authorize (/srv/proxy.py:22)
      policy    PolicyEngine.check (/srv/proxy.py:31)
      sure      confirmed, read from the process's memory
      fix       deny, and log it, when the policy finds nobody; and give it tenant from the request:
                hand the work over with its context at Proxy.handle (/srv/proxy.py:40):
                asyncio.to_thread(f) or executor.submit(contextvars.copy_context().run, f).
    "#);
}

#[test]
fn what_a_program_announces_is_told_as_such() {
    let said = |kind, slot: bool| {
        let mut finding = samples::finding(kind);
        (finding.evidence, finding.read, finding.hop) = (Evidence::Claimed, None, None);
        if !slot {
            (finding.slot, finding.slot_name) = (None, "".into());
        }
        if kind == Kind::ForeignPoll {
            finding.mint = samples::finding(Kind::UnattributedTask).mint;
            (finding.expected, finding.found) = (Some(samples::text("acme")), Some(samples::text("globex")));
            finding.poll = None;
        }
        let exported = samples::export(&finding, true);
        assert_eq!(exported.evidence, "claimed");
        exported.explain
    };
    assert_eq!(
        said(Kind::UnattributedTask, false),
        "a task was created at TaskStore.create (/srv/proxy.py:51) for nobody: the program itself says that it has no owner."
    );
    assert_eq!(
        said(Kind::MisattributedTask, true),
        "a task was created at TaskStore.create (/srv/proxy.py:51) for somebody else: the program says that it is \"acme\"'s, but \
         its request is \"globex\"'s."
    );
    assert_eq!(
        said(Kind::ForeignPoll, false),
        "the program said that it showed a task to \"globex\" at TaskStore.create (/srv/proxy.py:51), although it is \"acme\"'s."
    );
    assert!(said(Kind::EmptyCheck, false).contains("it asked for a principal inside a request"));
}

#[test]
fn hostile_names_and_values_do_not_reach_the_terminal() {
    let hostile = "\u{1b}]0;owned\u{7}\u{9b}2J\r\n\u{202e}x";
    for kind in Kind::ALL {
        let mut finding = samples::finding(*kind);
        finding.slot_name = hostile.into();
        let mut value = samples::text(hostile);
        value.type_name = Some(hostile.into());
        (finding.expected, finding.found) = (Some(value.clone()), Some(value.clone()));
        if let Some(mint) = &mut finding.mint {
            mint.announced = Some(value);
        }
        let mut target = samples::target();
        target.service = hostile.into();
        for site in [
            finding.hop.as_mut().and_then(|hop| hop.site.as_mut()),
            finding.bind.as_mut().and_then(|bind| bind.site.as_mut()),
            finding.read.as_mut().and_then(|read| read.site.as_mut()),
            finding.mint.as_mut().and_then(|mint| mint.site.as_mut()),
        ]
        .into_iter()
        .flatten()
        {
            (site.function, site.file) = (hostile.into(), hostile.into());
        }
        for reveal in [false, true] {
            let privacy = Privacy::new(reveal, [1; 32]);
            let exported = ExportedFinding::new(&finding, &target, samples::CLOCK, &privacy);
            let json = json::finding(&exported).unwrap();
            let block = Text::new(false).block(&exported);
            assert!(block.contains(r"\u{1b}]0;owned"), "{block}");
            for output in [json, block] {
                let bad = output
                    .chars()
                    .find(|c| *c != '\n' && (c.is_control() || *c == '\u{202e}'));
                assert_eq!(bad, None, "{output}");
            }
        }
    }
}

#[test]
fn long_values_end_in_an_ellipsis_and_say_their_length() {
    let mut finding = samples::finding(Kind::Squat);
    let mut value = samples::text("x");
    value.content = Content::Str(Prefix {
        shown: "x".repeat(64).into(),
        len: 9_000,
        whole: false,
    });
    finding.found = Some(value);
    let block = Text::new(false).block(&samples::export(&finding, true));
    assert!(block.contains("x\"\u{2026} (9000 characters)"), "{block}");
}

#[test]
fn colour_only_on_request() {
    let finding = samples::export(&samples::finding(Kind::Bleed), false);
    assert!(!Text::new(false).block(&finding).contains('\u{1b}'));
    let coloured = Text::new(true).block(&finding);
    assert!(
        coloured.contains("\u{1b}[1m\u{1b}[31mCRITICAL bleed\u{1b}[0m"),
        "{coloured:?}"
    );
}

#[test]
fn repetitions_are_counted_not_repeated() {
    let mut text = Text::new(false);
    let mut lines = Vec::new();
    for number in 1..=1_000 {
        let mut finding = samples::finding(Kind::Bleed);
        finding.number = number;
        finding.time = number * 1_000_000;
        lines.extend(text.finding(&samples::export(&finding, false)));
    }
    assert_eq!(lines.len(), 4, "the first, then at 10, 100, 1000");
    assert_eq!(
        lines[3],
        "bleed of tenant again, as f-000001: 1000 times so far\n"
    );
    let mut elsewhere = samples::finding(Kind::Bleed);
    elsewhere.hop.as_mut().unwrap().site = Some(samples::site("other", 1));
    assert!(
        text.finding(&samples::export(&elsewhere, false))
            .unwrap()
            .contains("other (/srv/proxy.py:1)")
    );
}

#[test]
fn a_flood_of_places_is_bounded() {
    let mut text = Text::new(false);
    let mut shown = 0;
    for line in 1..=2_000 {
        let mut finding = samples::finding(Kind::Bleed);
        finding.hop.as_mut().unwrap().site = Some(samples::site("handle", line));
        shown += usize::from(text.finding(&samples::export(&finding, false)).is_some());
    }
    assert_eq!(shown, 500);
    let summary = text.summary(&Tally::default().finish(None));
    assert!(
        summary.contains("and 1980 more findings of other places"),
        "{summary}"
    );
}

#[test]
fn the_summary() {
    let mut text = Text::new(false);
    let mut tally = Tally::default();
    tally.attached(TargetId(1), samples::target(), []);
    tally.unsupported("sh", 4300, "no Python in it");
    let mut fold = |what| {
        let target = TargetId(1);
        tally.fold(&Fact { target, what });
    };
    fold(FactKind::SlotSeen(Slot(0)));
    fold(FactKind::Read(Slot(0), ReadResult::Foreign, 1));
    fold(FactKind::Bind(Slot(0), Place::WorkerBase));
    fold(FactKind::Handoff(Primitive::RunInExecutor, Carried::Foreign));
    fold(FactKind::Judged(Slot(0)));
    fold(FactKind::Mint(Attribution::Attributed));
    for (number, kind) in [(1, Kind::Squat), (2, Kind::Bleed), (3, Kind::Squat)] {
        let mut finding = samples::finding(kind);
        (finding.number, finding.time) = (number, number * 1_000_000_000);
        text.finding(&samples::export(&finding, false));
        fold(FactKind::Finding(Box::new(finding)));
    }
    fold(FactKind::Gap(3));
    fold(FactKind::Gap(0));
    let stats = ProbeStats {
        lost_ring: 3,
        unreadable: 1,
        ..ProbeStats::default()
    };
    tally.kernel(&[(Probe::QueuePut, stats)], None);
    tally.exited(TargetId(1));
    tally.received(1234);
    insta::assert_snapshot!(text.summary(&tally.finish(Some(0))), @r#"
         1 x bleed of tenant in proxy, 1 confirmed
               2026-01-02T03:04:07.000000Z f-000002
               hop  Proxy.handle (/srv/proxy.py:40)
               bind  work (/srv/proxy.py:12)
               read  authorize (/srv/proxy.py:22)
         2 x squat of tenant in proxy, 2 confirmed
               2026-01-02T03:04:06.000000Z f-000001
               2026-01-02T03:04:08.000000Z the last
               hop  Proxy.handle (/srv/proxy.py:40)
               bind  work (/srv/proxy.py:12)

    verdict: 3 findings, and there may be more:
      - 3 events were lost: findings may be missing
      findings  bleed 1, squat 2
      hops      run_in_executor 1
      reads     foreign 1
      binds     worker_base 1
      tasks     attributed 1
      events    received 1234; lost: ring_full 3, unreadable 1
      overhead  0 probe hits
      target    proxy (process 4242, cpython 3.12) exited; watched variables 1, handoffs 1, findings 3
      target    sh (process 4300, no runtime) unsupported: no Python in it; watched variables 0,
                handoffs 0, findings 0
      command   ended with exit code 0
    "#);
}

#[test]
fn one_finding_is_counted_as_one() {
    let text = Text::new(false);
    let mut tally = Tally::default();
    tally.attached(TargetId(1), samples::target(), []);
    tally.fold(&Fact {
        target: TargetId(1),
        what: FactKind::Finding(Box::new(samples::finding(Kind::Squat))),
    });
    let summary = text.summary(&tally.finish(None));
    assert!(summary.contains("verdict: 1 finding, and"), "{summary}");
}

#[test]
fn nothing_is_wider_than_a_hundred_columns() {
    let mut text = Text::new(false);
    for kind in Kind::ALL.iter().chain(Kind::ALL) {
        text.finding(&samples::export(&samples::finding(*kind), false));
    }
    for line in text.summary(&Tally::default().finish(None)).lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    for kind in Kind::ALL {
        for line in block(*kind)
            .lines()
            .chain(explain::article(*kind).to_string().lines())
        {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}

#[test]
fn an_article() {
    insta::assert_snapshot!(explain::article(Kind::Squat), @r#"
    squat (warning): work ended and left its identity in a pool thread

    What it means
      Nobody has read it yet, but the next request on this thread can: a bleed that waits to happen.

    How it happens
      Work binds a variable in the pool thread's own context and does not reset it. The thread goes back
      to the pool with it.

    Example
        def handle(request):                # runs in a pool thread
            tenant.set(request.tenant)      # never reset
            return answer(request)

        pool.submit(handle, request)

    How bleedtrace knows
      At the worker's next attempt to take work, its base context still held a value that this work had
      bound there.

    What to do
      token = tenant.set(...), then tenant.reset(token) in a finally block. Or run the work in a context
      of its own, which is thrown away with it: asyncio.to_thread, or
      submit(contextvars.copy_context().run, f).

    What is not reported
      Binds in a copied context; a pool initializer's binds; bare threads, which take their context with
      them when they end; work that was still running when the process ended.
    "#);
}

#[test]
fn an_accepted_finding_says_why_and_is_a_group_of_its_own() {
    let squat = samples::export(&samples::finding(Kind::Squat), true);
    let allowed = squat.clone().allowed("one connection\u{1b}[2J a thread");
    let mut text = Text::new(false);
    let shown = text.finding(&allowed).unwrap();
    assert!(shown.starts_with("ALLOWED squat f-000007 "), "{shown}");
    assert!(
        shown.contains("\n  allowed   one connection\\u{1b}[2J a thread\n"),
        "{shown}"
    );
    assert!(text.finding(&squat).unwrap().starts_with("WARNING squat "));
    let summary = text.summary(&Tally::default().finish(None));
    assert_eq!(
        summary.matches("squat of tenant in proxy").count(),
        2,
        "{summary}"
    );
    assert_eq!(
        summary.matches("           allowed: one connection").count(),
        1,
        "{summary}"
    );
}

#[test]
fn the_container_is_named() {
    let container = Container {
        id: Some("0123".into()),
        pod: Some("4567".into()),
    };
    let target = TargetInfo {
        container,
        ..samples::target()
    };
    let privacy = Privacy::new(false, [0; 32]);
    let found = ExportedFinding::new(&samples::finding(Kind::Squat), &target, samples::CLOCK, &privacy);
    let shown = Text::new(false).block(&found);
    assert!(shown.contains("\n  container 0123 of pod 4567\n"), "{shown}");
    let line = json::finding(&found).unwrap();
    assert!(line.contains(r#""container":"0123","pod":"4567""#), "{line}");
}
