//! Reports of findings of every kind, and of targets that would do harm with their names.

use std::{path::Path, sync::Arc};

use crate::{
    correlate::{
        event::{Primitive, Slot},
        fact::{Carried, FactKind, HopFact, HopWhat, Place, ReadResult},
        finding::{Finding, Kind},
    },
    report::{
        document::{
            Collector, Document, Form, baseline::Baseline, fingerprint::Trait, leak::Leak,
            source_root::SourceRoots,
        },
        finding::{ExportedFinding, TargetInfo},
        privacy::{Privacy, clean},
        samples,
        summary::{Reason, ReasonCode, TargetLine, TargetState},
        tally::Tally,
    },
};

/// Leaves an attribute, a tag, a code span, a table's cell, a link's text.
const HOSTILE: &str = "\"'></title></style><script>alert(1)</script><img src=x onerror=alert(1)>`|](javascript:alert(1))\u{202e}\n]]>--&";

const FORMS: [Form; 6] = [
    Form::Html,
    Form::Text,
    Form::Json,
    Form::Sarif,
    Form::Junit,
    Form::Markdown,
];

fn report(
    findings: &[ExportedFinding],
    change: impl FnOnce(&mut crate::report::summary::Summary),
) -> Document {
    let mut collector = Collector::new(samples::CLOCK, SourceRoots::default());
    collector.event(1);
    for finding in findings {
        collector.finding(finding, &Trait::of(finding));
    }
    let mut summary = Tally::default().finish(None);
    change(&mut summary);
    collector.finish(summary, Some("run.bleed"), &Baseline::default())
}

/// A finding in which everything that a target can choose is hostile.
fn hostile(kind: Kind) -> ExportedFinding {
    let mut finding = samples::finding(kind);
    let wicked = |site: &mut Option<crate::correlate::event::Site>| {
        if let Some(site) = site {
            (site.function, site.file) = (HOSTILE.into(), HOSTILE.into());
        }
    };
    let Finding {
        hop,
        bind,
        read,
        mint,
        policy,
        poll,
        ..
    } = &mut finding;
    for hop in hop.iter_mut() {
        wicked(&mut hop.site);
    }
    for bind in bind.iter_mut() {
        wicked(&mut bind.site);
    }
    if let Some(read) = read {
        wicked(&mut read.site);
        for frame in &mut Arc::make_mut(&mut read.stack).frames {
            (frame.site.function, frame.site.file) = (HOSTILE.into(), HOSTILE.into());
        }
    }
    for mint in mint.iter_mut() {
        wicked(&mut mint.site);
    }
    wicked(policy);
    if let Some(life) = poll.as_mut().and_then(|poll| poll.life.as_mut()) {
        let life = Arc::make_mut(life);
        wicked(&mut life.mint);
        if let Some(read) = &mut life.read {
            wicked(&mut read.site);
            read.variable = HOSTILE.into();
        }
    }
    finding.slot_name = HOSTILE.into();
    finding.expected = finding.expected.map(|_| samples::text(HOSTILE));
    finding.found = finding.found.map(|_| samples::text(HOSTILE));
    let target = TargetInfo {
        service: HOSTILE.into(),
        version: HOSTILE.into(),
        container: crate::report::finding::Container {
            id: Some(HOSTILE.into()),
            pod: Some(HOSTILE.into()),
        },
        ..samples::target()
    };
    ExportedFinding::new(&finding, &target, samples::CLOCK, &Privacy::new(true, [1; 32]))
}

/// A report of which everything is hostile.
fn wicked() -> Document {
    let mut collector = Collector::new(samples::CLOCK, SourceRoots::default());
    collector.event(1);
    collector.watching(HOSTILE, HOSTILE, "identity");
    for kind in Kind::ALL {
        let finding = hostile(*kind);
        collector.finding(&finding, &Trait::of(&finding));
        let accepted = finding.allowed(HOSTILE);
        collector.finding(&accepted, &Trait::of(&accepted));
    }
    let mut site = samples::site(HOSTILE, 1);
    site.file = HOSTILE.into();
    let said = |what| {
        FactKind::Hop(Box::new(HopFact {
            primitive: Primitive::Submit,
            site: Some(site.clone()),
            what,
        }))
    };
    for what in [
        HopWhat::Taken(Carried::Foreign),
        HopWhat::Read(Slot(0), ReadResult::Empty),
        HopWhat::Bound(Slot(0), Place::WorkerBase),
    ] {
        collector.fact(&HOSTILE.into(), &said(what), |_| HOSTILE.into());
    }
    let mut summary = Tally::default().finish(None);
    summary.reasons.push(Reason {
        code: ReasonCode::EventsLost,
        message: clean(HOSTILE),
    });
    summary.out_of_sight.push(clean(HOSTILE));
    summary.targets.push(TargetLine {
        service: clean(HOSTILE),
        pid: 1,
        runtime: Some(clean(HOSTILE)),
        tier: None,
        state: TargetState::Failed,
        reason: Some(clean(HOSTILE)),
        slots: 0,
        handoffs: 0,
        findings: 0,
        probes_missing: Vec::new(),
        at_attach: None,
    });
    collector.finish(summary, Some(HOSTILE), &Baseline::default())
}

fn written(form: Form, document: &Document) -> String {
    form.write(document).expect("it can be written")
}

#[test]
fn nothing_that_a_target_chooses_is_markup_in_html() {
    let page = written(Form::Html, &wicked());
    for tag in ["<script", "<img", "href=\"javascript"] {
        assert!(!page.contains(tag), "{tag}");
    }
    assert_eq!(page.matches("</style>").count(), 1);
    assert_eq!(page.matches("</title></style>").count(), 0);
    // Each tag is one of ours, and no attribute of it handles events.
    for tag in page.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap_or_default();
        let name: String = tag
            .trim_start_matches('/')
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        let ours = [
            "",
            "html",
            "head",
            "meta",
            "title",
            "link",
            "style",
            "body",
            "a",
            "header",
            "h1",
            "h2",
            "h3",
            "h4",
            "p",
            "main",
            "section",
            "nav",
            "ul",
            "ol",
            "li",
            "dl",
            "dt",
            "dd",
            "div",
            "table",
            "caption",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "article",
            "span",
            "code",
            "small",
            "figure",
            "figcaption",
            "svg",
            "line",
            "text",
            "g",
            "rect",
            "circle",
            "path",
            "br",
            "strong",
            "details",
            "summary",
            "pre",
            "footer",
            "time",
        ];
        assert!(ours.contains(&&*name), "<{tag}>");
        let outside: String = tag.split('"').step_by(2).collect();
        assert!(!outside.contains(" on") && !outside.contains("style="), "<{tag}>");
    }
    assert!(
        page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
        "it is shown, though"
    );
}

#[test]
fn a_page_asks_for_nothing() {
    let findings: Vec<_> = Kind::ALL
        .iter()
        .map(|kind| samples::export(&samples::finding(*kind), false))
        .collect();
    let page = written(Form::Html, &report(&findings, |_| ()));
    assert!(page.contains("content=\"default-src 'none'; style-src 'sha256-"));
    for text in ["http:", "https:", "src=", "url(", "@import", " style=\""] {
        assert!(!page.contains(text), "{text}");
    }
    for kind in Kind::ALL {
        assert!(
            page.contains(&format!("id=\"kind-{}\"", kind.name())),
            "{}",
            kind.name()
        );
    }
}

#[test]
fn hostile_names_break_no_other_form() {
    let document = wicked();
    let xml = written(Form::Junit, &document);
    uppsala::parse(&xml).expect("XML");
    for form in [Form::Json, Form::Sarif] {
        let _: serde_json::Value = serde_json::from_str(&written(form, &document)).expect("JSON");
    }
    let sarif = serde_json::from_str(&written(Form::Sarif, &document)).expect("JSON");
    assert_no_link(&sarif);
    for form in FORMS {
        assert!(
            !written(form, &document).contains('\u{202e}'),
            "{form:?} turns text around"
        );
    }
    let markdown = written(Form::Markdown, &document);
    for line in markdown.lines().filter(|line| line.contains("script>")) {
        // What a backtick cannot end is a code span.
        assert!(line.contains("`` "), "{line}");
    }
}

/// Readers of SARIF show `[text](target)` in messages as a link.
fn assert_no_link(value: &serde_json::Value) {
    match value {
        serde_json::Value::Object(members) => {
            if let Some(text) = members.get("text").and_then(serde_json::Value::as_str) {
                assert!(!text.contains("]("), "{text}");
            }
            members.values().for_each(assert_no_link);
        }
        serde_json::Value::Array(items) => items.iter().for_each(assert_no_link),
        _ => {}
    }
}

#[test]
fn values_are_hashed_in_every_form() {
    let secret = |reveal| {
        let export = |kind: &Kind| {
            let mut finding = samples::finding(*kind);
            let hide = |value: &mut Option<_>| *value = value.take().map(|_| samples::text("s3cret"));
            hide(&mut finding.expected);
            hide(&mut finding.found);
            samples::export(&finding, reveal)
        };
        let findings: Vec<_> = Kind::ALL.iter().map(export).collect();
        report(&findings, |_| ())
    };
    let (hashed, revealed) = (secret(false), secret(true));
    assert!(!hashed.about.revealed && revealed.about.revealed);
    for form in FORMS {
        assert!(!written(form, &hashed).contains("s3cret"), "{form:?}");
        // The summary for a pull request has no values at all.
        assert_eq!(
            written(form, &revealed).contains("s3cret"),
            form != Form::Markdown,
            "{form:?}"
        );
    }
}

#[test]
fn every_kind_has_a_leak_that_can_be_drawn() {
    for kind in Kind::ALL {
        let leak = Leak::of(&samples::export(&samples::finding(*kind), false));
        assert!(leak.steps.len() > 1, "{}", kind.name());
        for step in &leak.steps {
            assert!(step.carrier < leak.carriers.len());
        }
        for span in &leak.spans {
            assert!(
                span.from < leak.steps.len()
                    && span.to.is_none_or(|to| to < leak.steps.len() && to >= span.from)
            );
        }
    }
    let told = |kind| {
        let leak = Leak::of(&samples::export(&samples::finding(kind), true));
        let steps: Vec<_> = leak
            .steps
            .iter()
            .map(|step| format!("{}: {}", leak.carriers[step.carrier].name, step.title))
            .collect();
        steps.join("; ")
    };
    assert_eq!(
        told(Kind::Bleed),
        "worker thread 4250: A binds; request on thread 4242: B hands over; worker thread 4250: B reads"
    );
    assert_eq!(
        told(Kind::Squat),
        "request on thread 4242: hands over; worker thread 4250: binds; worker thread 4250: stays"
    );
    assert_eq!(
        told(Kind::BlackHoleRead),
        "request on thread 4242: hands over; worker thread 4250: reads nothing"
    );
}

#[test]
fn equal_findings_are_one_and_readers_of_one_bind_are_one_cause() {
    let finding = |line| {
        let mut finding = samples::finding(Kind::Bleed);
        let read = finding.read.as_mut().and_then(|read| read.site.as_mut());
        read.expect("a read").line = line;
        samples::export(&finding, false)
    };
    let squat = samples::export(&samples::finding(Kind::Squat), false);
    let document = report(&[squat, finding(1), finding(2), finding(1)], |_| ());
    assert_eq!(document.causes.len(), 1, "they are all the bind's");
    let cause = &document.causes[0];
    assert_eq!((cause.what, cause.count, cause.severity), ("bind", 4, "critical"));
    let counts: Vec<_> = cause
        .effects
        .iter()
        .map(|effect| (effect.finding.kind, effect.count))
        .collect();
    assert_eq!(counts, [(Kind::Bleed, 2), (Kind::Bleed, 1), (Kind::Squat, 1)]);
}

#[test]
fn what_is_too_much_is_counted_and_the_grave_is_kept() {
    let at = |kind: Kind, line: u32| {
        let mut finding = samples::finding(kind);
        let bind = finding.bind.as_mut().and_then(|bind| bind.site.as_mut());
        bind.expect("a bind").line = line;
        samples::export(&finding, false)
    };
    let mut findings: Vec<_> = (0..10_000).map(|line| at(Kind::Squat, line)).collect();
    findings.push(at(Kind::Bleed, 1));
    let document = report(&findings, |_| ());
    let kept: u64 = document.causes.iter().map(|cause| cause.count).sum();
    assert_eq!((kept, document.beyond()), (2_501, 7_500));
    assert_eq!(document.causes[0].severity, "critical");
    let page = written(Form::Html, &document);
    assert!(page.len() < 3 << 20, "{} bytes", page.len());
    // One cause has both; of the rest 1,000 are listed.
    assert!(
        page.contains("And 9000 findings of further places"),
        "{}",
        page.len()
    );
}

#[test]
fn the_ending_of_a_name_says_the_form() {
    for (name, form) in [
        ("a.html", Some(Form::Html)),
        ("a.HTM", Some(Form::Html)),
        ("a.sarif", Some(Form::Sarif)),
        ("a.xml", Some(Form::Junit)),
        ("a.b.md", Some(Form::Markdown)),
        ("a.json", Some(Form::Json)),
        ("a.txt", Some(Form::Text)),
        ("a.pdf", None),
        ("html", None),
    ] {
        assert_eq!(Form::of(Path::new(name)), form, "{name}");
    }
}
