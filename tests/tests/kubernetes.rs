//! What is shipped for Kubernetes, read by its own tools and checked against its own schemas.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use bleedtrace_tests::{Folder, Setup, once, skip};

/// The oldest Kubernetes that the manifests are for (docs/deploying.md), and the newest that there are schemas of.
const VERSIONS: [&str; 2] = ["1.30", "1.37"];

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name)
}

/// What a tool says, which a variable names or PATH has; none if it is not here.
fn tool(variable: &str, name: &str, arguments: &[&OsStr]) -> Option<Output> {
    let program = env::var_os(variable).unwrap_or_else(|| name.into());
    Command::new(program).args(arguments).output().ok()
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");
    out.into_owned()
}

/// All manifests, as `kubectl apply -k` would send them.
fn manifests() -> Option<String> {
    let folder = deploy("kubernetes");
    let arguments = ["kustomize".as_ref(), folder.as_os_str()];
    tool("BLEEDTRACE_KUBECTL", "kubectl", &arguments).map(|output| succeeds(&output))
}

/// The chart with these values.
fn chart(values: &[&str]) -> Option<String> {
    let folder = deploy("helm/bleedtrace");
    let mut arguments = vec!["template".as_ref(), "b".as_ref(), folder.as_os_str()];
    arguments.extend(values.iter().map(OsStr::new));
    tool("BLEEDTRACE_HELM", "helm", &arguments).map(|output| succeeds(&output))
}

#[test]
fn kubectl_reads_the_manifests() {
    let Some(text) = manifests() else {
        return skip("kubectl_reads_the_manifests", "no kubectl");
    };
    for said in [
        "kind: Namespace\n",
        "kind: ConfigMap\n",
        "kind: ServiceAccount\n",
        "kind: DaemonSet\n",
        "hostPID: true\n",
        "privileged: false\n",
        "allowPrivilegeEscalation: false\n",
        "readOnlyRootFilesystem: true\n",
        "path: /healthz\n",
        "- ALL\n",
    ] {
        assert!(text.contains(said), "{said}\n{text}");
    }
    assert!(!text.contains("hostNetwork"), "{text}");
    // The image's tag is the version that it is made of.
    assert!(
        text.contains(&format!("image: bleedtrace:{}\n", env!("CARGO_PKG_VERSION"))),
        "{text}"
    );
}

#[test]
fn helm_renders_the_chart() {
    let text = fs::read_to_string(deploy("helm/bleedtrace/Chart.yaml")).expect("it is there");
    let version = format!("\nappVersion: \"{}\"\n", env!("CARGO_PKG_VERSION"));
    assert!(text.contains(&version), "{text}");
    let folder = deploy("helm/bleedtrace");
    let arguments = ["lint".as_ref(), "--strict".as_ref(), folder.as_os_str()];
    let Some(output) = tool("BLEEDTRACE_HELM", "helm", &arguments) else {
        return skip("helm_renders_the_chart", "no helm");
    };
    succeeds(&output);
    let chart = |values: &[&str]| chart(values).expect("helm is here");
    assert!(!chart(&[]).contains("--listen-token-file"));
    let secret = chart(&["--set", "tokenSecret=t"]);
    assert!(
        secret.contains("secretName: t\n")
            && secret.contains("--listen-token-file=/run/secrets/bleedtrace/token\n"),
        "{secret}"
    );
    let port = chart(&["--set", "port=9000"]);
    assert!(
        port.contains("- --listen=0.0.0.0:9000\n") && port.contains("containerPort: 9000\n"),
        "{port}"
    );
}

/// What the schemas of a version of Kubernetes say of a file: none if nothing.
fn objections(setup: &Setup, version: &str, file: &Path) -> Option<String> {
    let mut command = setup.command();
    command
        .args(["-m", "kubernetes_validate", "--quiet", "--strict", "-k", version])
        .arg(file);
    let output = command.output().expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    (!output.status.success()).then(|| String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_schemas_of_kubernetes_fit() {
    const TEST: &str = "the_schemas_of_kubernetes_fit";
    let (Some(manifests), Some(plain)) = (manifests(), chart(&[])) else {
        return skip(TEST, "no kubectl or no helm");
    };
    let secret = chart(&[
        "--set",
        "tokenSecret=t,podAnnotations.a=b,imagePullSecrets[0].name=c",
    ]);
    let folder = Folder::new(TEST);
    let wrong = plain.replace("hostPID: true", "hostPid: true");
    assert_ne!(wrong, plain);
    let wrong = folder.write("wrong.yaml", wrong);
    let right = [
        folder.write("manifests.yaml", manifests),
        folder.write("plain.yaml", plain),
        folder.write("secret.yaml", secret.expect("helm is here")),
    ];
    once(TEST, |setup| {
        let Some(setup) = setup.with_requirements("kubernetes") else {
            return skip(TEST, "kubernetes-validate could not be installed");
        };
        for version in VERSIONS {
            for file in &right {
                assert_eq!(
                    objections(&setup, version, file),
                    None,
                    "{version}: {}",
                    file.display()
                );
            }
            let objections = objections(&setup, version, &wrong).expect("the check can fail");
            assert!(objections.contains("hostPid"), "{objections}");
        }
    });
}
