//! What machines see.

use crate::{
    correlate::finding::Kind,
    report::{json, samples, tally::Tally},
};

fn line(kind: Kind) -> String {
    json::finding(&samples::export(&samples::finding(kind), false)).unwrap()
}

#[test]
fn a_bleed() {
    insta::assert_snapshot!(line(Kind::Bleed), @r#"{"type":"finding","id":"f-000007","kind":"bleed","severity":"critical","confidence":"confirmed","evidence":"observed","time":"2026-01-02T03:04:05.123456Z","service":"proxy","pid":4242,"tid":4250,"runtime":"cpython","slot":"tenant","expected":{"type":"str","len":6,"empty":false,"hash":"2cae1b8c517edeb6"},"found":{"type":"str","len":4,"empty":false,"hash":"6125be42ef510196"},"source":"residue","hop":{"primitive":"run_in_executor","site":{"function":"Proxy.handle","file":"/srv/proxy.py","line":40},"submit_tid":4242,"wait_ns":120000},"bind":{"site":{"function":"work","file":"/srv/proxy.py","line":12},"tid":4250,"item":3,"age_ns":1234000000},"read":{"site":{"function":"authorize","file":"/srv/proxy.py","line":22},"stack":[{"function":"authorize","file":"/srv/proxy.py","line":22},{"function":"work","file":"/srv/proxy.py","line":14}]},"task":null,"container":null,"window_complete":true,"explain":"worker thread 4250 read tenant at authorize (/srv/proxy.py:22) and got str[4] #6125be42ef510196 instead of str[6] #2cae1b8c517edeb6: work item 3 left it there, bound at work (/srv/proxy.py:12); the work was handed over by run_in_executor at Proxy.handle (/srv/proxy.py:40).","fix":"hand the work over with its context at Proxy.handle (/srv/proxy.py:40): asyncio.to_thread(f) or executor.submit(contextvars.copy_context().run, f); and reset tenant where the earlier work bound it at work (/srv/proxy.py:12): token = var.set(...), then var.reset(token) in a finally block."}"#);
}

#[test]
fn a_squat() {
    insta::assert_snapshot!(line(Kind::Squat), @r#"{"type":"finding","id":"f-000007","kind":"squat","severity":"warning","confidence":"confirmed","evidence":"observed","time":"2026-01-02T03:04:05.123456Z","service":"proxy","pid":4242,"tid":4250,"runtime":"cpython","slot":"tenant","expected":null,"found":{"type":"str","len":4,"empty":false,"hash":"6125be42ef510196"},"source":null,"hop":{"primitive":"run_in_executor","site":{"function":"Proxy.handle","file":"/srv/proxy.py","line":40},"submit_tid":4242,"wait_ns":120000},"bind":{"site":{"function":"work","file":"/srv/proxy.py","line":12},"tid":4250,"item":3,"age_ns":1234000000},"read":null,"task":null,"container":null,"window_complete":true,"explain":"work item 3 bound tenant to str[4] #6125be42ef510196 at work (/srv/proxy.py:12) and ended without resetting it: the next request on worker thread 4250 can read it; the work was handed over by run_in_executor at Proxy.handle (/srv/proxy.py:40).","fix":"keep the token of the bind at work (/srv/proxy.py:12) and call var.reset(token) in a finally block, or hand the work over with a context of its own at Proxy.handle (/srv/proxy.py:40): asyncio.to_thread(f) or executor.submit(contextvars.copy_context().run, f)."}"#);
}

#[test]
fn a_black_hole_read() {
    insta::assert_snapshot!(line(Kind::BlackHoleRead), @r#"{"type":"finding","id":"f-000007","kind":"black_hole_read","severity":"warning","confidence":"confirmed","evidence":"observed","time":"2026-01-02T03:04:05.123456Z","service":"proxy","pid":4242,"tid":4250,"runtime":"cpython","slot":"tenant","expected":{"type":"str","len":6,"empty":false,"hash":"2cae1b8c517edeb6"},"found":null,"source":null,"hop":{"primitive":"run_in_executor","site":{"function":"Proxy.handle","file":"/srv/proxy.py","line":40},"submit_tid":4242,"wait_ns":120000},"bind":null,"read":{"site":{"function":"authorize","file":"/srv/proxy.py","line":22},"stack":[{"function":"authorize","file":"/srv/proxy.py","line":22},{"function":"work","file":"/srv/proxy.py","line":14}]},"task":null,"container":null,"window_complete":true,"explain":"worker thread 4250 read tenant at authorize (/srv/proxy.py:22) and got nothing, although the request that handed over the work had str[6] #2cae1b8c517edeb6; the work was handed over by run_in_executor at Proxy.handle (/srv/proxy.py:40).","fix":"hand the work over with its context at Proxy.handle (/srv/proxy.py:40): asyncio.to_thread(f) or executor.submit(contextvars.copy_context().run, f)."}"#);
}

#[test]
fn a_black_hole_return() {
    insta::assert_snapshot!(line(Kind::BlackHoleReturn), @r#"{"type":"finding","id":"f-000007","kind":"black_hole_return","severity":"warning","confidence":"confirmed","evidence":"observed","time":"2026-01-02T03:04:05.123456Z","service":"proxy","pid":4242,"tid":4250,"runtime":"cpython","slot":"tenant","expected":{"type":"str","len":4,"empty":false,"hash":"6125be42ef510196"},"found":null,"source":null,"hop":{"primitive":"run_in_executor","site":{"function":"Proxy.handle","file":"/srv/proxy.py","line":40},"submit_tid":4242,"wait_ns":120000},"bind":{"site":{"function":"work","file":"/srv/proxy.py","line":12},"tid":4250,"item":3,"age_ns":1234000000},"read":{"site":{"function":"authorize","file":"/srv/proxy.py","line":22},"stack":[{"function":"authorize","file":"/srv/proxy.py","line":22},{"function":"work","file":"/srv/proxy.py","line":14}]},"task":null,"container":null,"window_complete":true,"explain":"work item 3 bound tenant to str[4] #6125be42ef510196 at work (/srv/proxy.py:12), but the request that handed over the work read nothing at authorize (/srv/proxy.py:22) afterwards; the work was handed over by run_in_executor at Proxy.handle (/srv/proxy.py:40).","fix":"return the value from the work and bind tenant in the request that awaits it at Proxy.handle (/srv/proxy.py:40): what a worker binds never comes back."}"#);
}

#[test]
fn an_unattributed_task() {
    insta::assert_snapshot!(line(Kind::UnattributedTask), @r#"{"type":"finding","id":"f-000007","kind":"unattributed_task","severity":"critical","confidence":"confirmed","evidence":"observed","time":"2026-01-02T03:04:05.123456Z","service":"proxy","pid":4242,"tid":4250,"runtime":"cpython","slot":"tenant","expected":null,"found":null,"source":null,"hop":{"primitive":"run_in_executor","site":{"function":"Proxy.handle","file":"/srv/proxy.py","line":40},"submit_tid":4242,"wait_ns":120000},"bind":null,"read":{"site":{"function":"authorize","file":"/srv/proxy.py","line":22},"stack":[{"function":"authorize","file":"/srv/proxy.py","line":22},{"function":"work","file":"/srv/proxy.py","line":14}]},"task":{"site":{"function":"TaskStore.create","file":"/srv/proxy.py","line":51},"announced":{"type":"str","len":4,"empty":false,"hash":"a81d5940ca8f29ba"}},"container":null,"window_complete":true,"explain":"a task was created at TaskStore.create (/srv/proxy.py:51) for nobody: the last read of tenant in its request at authorize (/srv/proxy.py:22) had found nothing; the work was handed over by run_in_executor at Proxy.handle (/srv/proxy.py:40).","fix":"refuse to create a task without an owner, and take tenant from the request itself; where it is set or read in a worker, hand the work over with its context at Proxy.handle (/srv/proxy.py:40): asyncio.to_thread(f) or executor.submit(contextvars.copy_context().run, f)."}"#);
}

#[test]
fn a_misattributed_task() {
    insta::assert_snapshot!(line(Kind::MisattributedTask), @r#"{"type":"finding","id":"f-000007","kind":"misattributed_task","severity":"critical","confidence":"confirmed","evidence":"observed","time":"2026-01-02T03:04:05.123456Z","service":"proxy","pid":4242,"tid":4250,"runtime":"cpython","slot":"tenant","expected":{"type":"str","len":6,"empty":false,"hash":"2cae1b8c517edeb6"},"found":{"type":"str","len":4,"empty":false,"hash":"6125be42ef510196"},"source":"residue","hop":{"primitive":"run_in_executor","site":{"function":"Proxy.handle","file":"/srv/proxy.py","line":40},"submit_tid":4242,"wait_ns":120000},"bind":{"site":{"function":"work","file":"/srv/proxy.py","line":12},"tid":4250,"item":3,"age_ns":1234000000},"read":{"site":{"function":"authorize","file":"/srv/proxy.py","line":22},"stack":[{"function":"authorize","file":"/srv/proxy.py","line":22},{"function":"work","file":"/srv/proxy.py","line":14}]},"task":{"site":{"function":"TaskStore.create","file":"/srv/proxy.py","line":51},"announced":{"type":"str","len":4,"empty":false,"hash":"a81d5940ca8f29ba"}},"container":null,"window_complete":true,"explain":"a task was created at TaskStore.create (/srv/proxy.py:51) for somebody else: the last read of tenant in its request at authorize (/srv/proxy.py:22) had got str[4] #6125be42ef510196 instead of str[6] #2cae1b8c517edeb6; work item 3 left it there, bound at work (/srv/proxy.py:12); the work was handed over by run_in_executor at Proxy.handle (/srv/proxy.py:40).","fix":"take the owner from the request itself, not from what a worker thread happens to hold; hand the work over with its context at Proxy.handle (/srv/proxy.py:40): asyncio.to_thread(f) or executor.submit(contextvars.copy_context().run, f); revoke or re-own the task."}"#);
}

#[test]
fn a_foreign_poll() {
    insta::assert_snapshot!(line(Kind::ForeignPoll), @r#"{"type":"finding","id":"f-000007","kind":"foreign_poll","severity":"critical","confidence":"confirmed","evidence":"observed","time":"2026-01-02T03:04:05.123456Z","service":"proxy","pid":4242,"tid":4250,"runtime":"cpython","slot":null,"expected":null,"found":null,"source":null,"hop":null,"bind":null,"read":null,"task":{"site":null,"announced":null,"handle":"5c70d13b5c7148ec","owner":{"tid":4250,"credential":"acbaea507f8d954c","identity":{"type":"str","len":4,"empty":false,"hash":"6125be42ef510196"},"age_ns":23456000},"poller":{"tid":4250,"credential":"5eff7a70a3dd9d88","identity":{"type":"str","len":6,"empty":false,"hash":"2cae1b8c517edeb6"},"age_ns":0},"life":{"hop":{"primitive":"run_in_executor","site":{"function":"Proxy.handle","file":"/srv/proxy.py","line":40}},"read":{"slot":"tenant","result":"empty","site":{"function":"authorize","file":"/srv/proxy.py","line":22}},"mint":null,"attribution":"unattributed"}},"container":null,"window_complete":true,"explain":"the state of task #5c70d13b5c7148ec was shown to credential #5eff7a70a3dd9d88 (str[6] #2cae1b8c517edeb6), although its handle had been given to credential #acbaea507f8d954c (str[4] #6125be42ef510196).","fix":"store the owner with the task when it is minted, refuse to mint without one, and compare it with who asks before anything of the task is shown."}"#);
}

#[test]
fn an_empty_summary() {
    insta::assert_snapshot!(json::summary(&Tally::default().finish(None)).unwrap(), @r#"{"type":"summary","verdict":"no_verdict","reasons":[{"code":"no_target","message":"no process was traced"}],"findings":{"black_hole_read":0,"black_hole_return":0,"bleed":0,"drift_blindness":0,"empty_check":0,"foreign_poll":0,"misattributed_task":0,"owner_refused":0,"squat":0,"unattributed_task":0},"allowed":0,"targets":[],"hops":{"anyio":0,"asgiref":0,"copy_context":0,"run_in_executor":0,"submit":0,"thread":0,"threadpool":0,"to_thread":0,"unknown":0},"reads":{"empty":0,"foreign":0,"own":0,"unjudged":0,"unreadable":0},"binds":{"request":0,"worker_base":0,"worker_entered":0},"tasks":{"attributed":0,"misattributed":0,"unattributed":0,"unknown":0},"out_of_sight":[],"announced":{"malformed":0,"understood":0},"polls":null,"unparsed":null,"events":{"received":0,"agreed":0,"lost":{"malformed":0,"map_full":0,"no_image":0,"no_slot":0,"ring_full":0,"unreadable":0}},"overhead":{"probe_hits":0,"bpf_seconds":null},"command_exit":null}"#);
}

#[test]
fn identities_stay_out_unless_revealed() {
    for kind in Kind::ALL {
        assert!(
            !line(*kind).contains("acme") && !line(*kind).contains("globex") && !line(*kind).contains("t-17")
        );
        let open = json::finding(&samples::export(&samples::finding(*kind), true)).unwrap();
        assert!(
            ["acme", "globex", "t-17"]
                .iter()
                .any(|value| open.contains(value)),
            "{open}"
        );
    }
}

#[test]
fn equal_identities_have_equal_hashes_across_findings() {
    let hash = |kind, field: &str| {
        let line: serde_json::Value = serde_json::from_str(&line(kind)).unwrap();
        line[field]["hash"].as_str().unwrap().to_owned()
    };
    assert_eq!(hash(Kind::Bleed, "found"), hash(Kind::Squat, "found"));
    assert_ne!(hash(Kind::Bleed, "found"), hash(Kind::Bleed, "expected"));
}
