//! JUnit's XML: a test for what silence is worth, one for each kind of finding that was not met, one for each fault.

use std::io;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{Document, Effect, headline};
use crate::{
    correlate::finding::Kind,
    report::{explain::article, text::Text},
};

/// The report.
pub(super) fn report(document: &Document) -> io::Result<String> {
    let mut findings = TestSuite::new("bleedtrace.findings");
    for kind in Kind::ALL {
        let mut met = document
            .effects()
            .filter(|effect| effect.finding.kind == *kind)
            .peekable();
        let beyond = document.beyond.get(kind.name()).copied().unwrap_or(0);
        if met.peek().is_none() && beyond == 0 {
            let mut case = TestCase::new(format!("no {}", kind.name()), TestCaseStatus::success());
            case.set_classname(class(*kind));
            findings.add_test_case(case);
        }
        findings.add_test_cases(met.map(fault));
        if beyond > 0 {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(format!("{beyond} findings of further places"));
            let mut case = TestCase::new("further places", status);
            case.set_classname(class(*kind));
            findings.add_test_case(case);
        }
    }
    let mut report = Report::new("bleedtrace");
    report.add_test_suites([coverage(document), findings]);
    report.to_string().map_err(io::Error::other)
}

/// Whether it is proven that there was something to see.
fn coverage(document: &Document) -> TestSuite {
    let reasons: Vec<_> = document
        .summary
        .reasons
        .iter()
        .map(|reason| reason.message.clone())
        .collect();
    let status = if reasons.is_empty() {
        TestCaseStatus::success()
    } else {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_type("no_verdict");
        status.set_message(headline(&document.summary));
        status.set_description(reasons.join("\n"));
        status
    };
    let mut case = TestCase::new("silence means that nothing happened", status);
    case.set_classname("bleedtrace.coverage");
    let mut suite = TestSuite::new("bleedtrace.coverage");
    suite.add_test_case(case);
    suite
}

fn fault(effect: &Effect) -> TestCase {
    let finding = &effect.finding;
    let mut status = if let Some(reason) = &finding.allowed {
        let mut status = TestCaseStatus::skipped();
        status.set_message(format!("accepted: {reason}"));
        status
    } else {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(format!("{}: {}", article(finding.kind).title, finding.explain));
        status.set_type(finding.kind.name());
        status
    };
    status.set_description(format!(
        "{}  found {} times, {} confirmed, the last {}\n",
        Text::new(false).block(finding),
        effect.count,
        effect.confirmed,
        effect.last
    ));
    let places = effect.known_by.sites.join(", ");
    let slot = if finding.slot.is_empty() {
        "a task"
    } else {
        &finding.slot
    };
    let mut case = TestCase::new(format!("{slot}: {places} [{}]", effect.fingerprint), status);
    case.set_classname(class(finding.kind));
    case
}

fn class(kind: Kind) -> String {
    format!("bleedtrace.{}", kind.name())
}
