//! `k8s/` as kustomize renders it, against the schemas of Kubernetes.

use crate::engine::{Said, TOKEN, TempFile, package, say};
use crate::tools::{missing, tool};
use std::path::Path;
use std::process::Command;

/// What is rendered and what is not.
const RENDERED: [&str; 3] = ["base", "overlays/stateful", "overlays/podman"];
const WHOLE: [&str; 2] = ["examples/restart-rules.yaml", "examples/sidecar.yaml"];

pub fn absent() -> Option<String> {
    ["kubectl", "kubernetes-validate"]
        .into_iter()
        .find_map(|name| tool(name).is_none().then(|| missing(name)))
}

/// A copy of `k8s/` with a token, so that nothing is written into the repository.
pub struct Copied(TempFile);

impl Copied {
    pub fn new() -> Copied {
        let folder = TempFile::new("k8s");
        let source = package().join("k8s");
        let copied = Command::new("cp").arg("-r").arg(source).arg(folder.text()).status();
        assert!(copied.is_ok_and(|copied| copied.success()), "copy k8s/");
        std::fs::write(Path::new(folder.text()).join("base/token"), TOKEN).expect("the token");
        Copied(folder)
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.0.text()).join(name)
    }

    /// One of its folders, rendered.
    pub fn render(&self, folder: &str) -> String {
        let mut command = Command::new(tool("kubectl").expect("kubectl"));
        say(command.arg("kustomize").arg(self.path(folder))).fine()
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.text());
    }
}

fn validate(file: &str, version: &str) -> Said {
    let mut command = Command::new(tool("kubernetes-validate").expect("kubernetes-validate"));
    command.args(["--strict", "--no-warn", "--kubernetes-version", version, file]);
    say(&mut command)
}

pub fn every_manifest_is_what_the_schemas_allow() {
    let copied = Copied::new();
    let mut all: Vec<(String, String)> =
        RENDERED.iter().map(|folder| (folder.to_string(), copied.render(folder))).collect();
    for file in WHOLE {
        let text = std::fs::read_to_string(copied.path(file)).expect("an example");
        all.push((file.to_string(), text));
    }
    // Whatever is there is in the lists above.
    let listed = Command::new("find").arg(copied.path("")).args(["-name", "*.yaml"]).output();
    let listed = String::from_utf8_lossy(&listed.expect("start find").stdout).into_owned();
    for path in listed.lines() {
        let known = |part: &&str| path.contains(&format!("/{part}"));
        assert!(RENDERED.iter().chain(&WHOLE).any(known), "nobody checks {path}");
    }
    for (what, text) in all {
        let file = TempFile::with("manifest", &text);
        // Rules by exit code came with 1.34, everything else is older.
        let oldest = if what.contains("restart-rules") { "1.34" } else { "1.29" };
        for version in [oldest, "1.37"] {
            let said = validate(file.text(), version);
            assert_eq!(said.code, Some(0), "{what} against {version}: {said:?}");
            let checked = said.out.matches("passed for resource").count()
                + said.err.matches("passed for resource").count();
            assert_eq!(checked, text.matches("\nkind: ").count().max(1), "{what}: {said:?}");
        }
        // The check itself: a word that is no field is told from one that is.
        let wrong = text.replace("terminationGracePeriodSeconds", "terminationGraceSeconds");
        let file = TempFile::with("manifest", &wrong);
        assert_ne!(validate(file.text(), "1.37").code, Some(0), "{what} with a wrong field");
    }
}

pub fn the_token_is_in_the_secret_and_nowhere_else() {
    let copied = Copied::new();
    for folder in RENDERED {
        let text = copied.render(folder);
        assert!(!text.contains(TOKEN), "{folder} shows the token");
        let encoded =
            say(Command::new("sh").args(["-c", "printf %s \"$1\" | base64", "sh", TOKEN]));
        let encoded = encoded.fine();
        let with: Vec<&str> =
            text.split("\n---\n").filter(|document| document.contains(&encoded)).collect();
        let secret = |document: &&str| document.contains("\nkind: Secret\n");
        assert!(with.iter().all(secret), "{folder}: {with:?}");
        // Podman's is made by hand.
        assert_eq!(with.len(), usize::from(!folder.contains("podman")), "{folder}: {with:?}");
    }
    // Without the file nothing is rendered, rather than with an empty token.
    std::fs::remove_file(copied.path("base/token")).expect("remove the token");
    let mut command = Command::new(tool("kubectl").expect("kubectl"));
    let said = say(command.arg("kustomize").arg(copied.path("base")));
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("token"), "{said:?}");
}

pub fn a_new_token_or_setting_rolls_the_pods() {
    let copied = Copied::new();
    let pods = |copied: &Copied| {
        let text = copied.render("base");
        let of = |kind: &str| text.split("\n---\n").find(|part| part.contains(kind));
        of("\nkind: Deployment\n").expect("the Deployment").to_string()
    };
    let before = pods(&copied);
    std::fs::write(copied.path("base/token"), "another").expect("write the token");
    let after = pods(&copied);
    assert_ne!(before, after);
    let settings = copied.path("base/settings.env");
    let text = std::fs::read_to_string(&settings).expect("the settings");
    std::fs::write(&settings, text.replace("DELAY=5s", "DELAY=6s")).expect("the settings");
    assert_ne!(after, pods(&copied));
}

pub fn both_kinds_of_gateways_have_the_same_pod_but_for_the_data() {
    let pod = |file: &str| {
        let text = std::fs::read_to_string(package().join("k8s").join(file)).expect(file);
        let (_, pod) = text.split_once("\n  template:\n").expect("a template");
        pod.to_string()
    };
    let stateful = pod("overlays/stateful/statefulset.yaml");
    let deployment = pod("base/deployment.yaml");
    let data = deployment.strip_prefix(&stateful).expect("the same pod, and more");
    assert!(data.starts_with("        - name: data\n") && data.contains("emptyDir:"), "{data}");
    assert!(data.lines().count() <= 4, "{data}");
}

/// `kubectl` prints YAML only; a path of keys by its indentation is all that is asked of it.
fn at<'a>(document: &'a str, path: &[&str]) -> Option<&'a str> {
    let mut text = document;
    for (depth, key) in path.iter().enumerate() {
        let indent = "  ".repeat(depth);
        let head = format!("{indent}{key}:");
        let start = text.lines().position(|line| line.trim_end() == head)?;
        let skip: usize = text.split_inclusive('\n').take(start + 1).map(str::len).sum();
        let rest = &text[skip..];
        let inner = format!("{indent}  ");
        let length = rest.split_inclusive('\n').take_while(|line| line.starts_with(&inner));
        text = &rest[..length.map(str::len).sum()];
    }
    Some(text)
}

/// An empty selector is every pod of the namespace, other people's too.
pub fn every_selector_takes_the_gateways_pods_and_no_others() {
    let copied = Copied::new();
    for folder in RENDERED {
        let text = copied.render(folder);
        let documents: Vec<&str> = text.split("\n---\n").collect();
        let all = |kind: &str| {
            let kind = format!("\nkind: {kind}\n");
            documents.iter().copied().filter(move |one| one.contains(&kind)).collect::<Vec<_>>()
        };
        let pods = [all("Deployment"), all("StatefulSet")].concat();
        let [pods] = pods.as_slice() else { panic!("{folder}: one kind of pods, not {pods:?}") };
        let labels = at(pods, &["spec", "template", "metadata", "labels"]).expect("labels");
        let labels: Vec<&str> = labels.lines().map(str::trim).collect();
        for (kind, path) in [
            ("Deployment", &["spec", "selector", "matchLabels"][..]),
            ("StatefulSet", &["spec", "selector", "matchLabels"]),
            ("PodDisruptionBudget", &["spec", "selector", "matchLabels"]),
            ("NetworkPolicy", &["spec", "podSelector", "matchLabels"]),
            ("Service", &["spec", "selector"]),
        ] {
            let found = all(kind);
            // The pods are of one kind; which one was seen above.
            let either = ["Deployment", "StatefulSet"].contains(&kind);
            assert!(!found.is_empty() || either, "{folder}: no {kind}");
            for document in found {
                let selector = at(document, path);
                let selector: Vec<&str> =
                    selector.unwrap_or_default().lines().map(str::trim).collect();
                assert!(!selector.is_empty(), "{folder}: {kind} takes every pod\n{document}");
                let fits = selector.iter().all(|pair| labels.contains(pair));
                assert!(fits, "{folder}: {kind} wants {selector:?}, the pods have {labels:?}");
            }
        }
    }
}

pub fn the_rendered_pods_have_what_the_documents_promise() {
    let copied = Copied::new();
    for (folder, kind) in [("base", "Deployment"), ("overlays/stateful", "StatefulSet")] {
        let text = copied.render(folder);
        let documents: Vec<&str> = text.split("\n---\n").collect();
        let of = |kind: &str| {
            let found = documents.iter().find(|one| one.contains(&format!("\nkind: {kind}\n")));
            found.unwrap_or_else(|| panic!("no {kind} in {folder}"))
        };
        for other in ["Secret", "ConfigMap", "Service", "PodDisruptionBudget", "NetworkPolicy"] {
            of(other);
        }
        let pods = of(kind);
        for wanted in [
            "replicas: 3",
            "terminationGracePeriodSeconds: 30",
            "runAsNonRoot: true",
            "readOnlyRootFilesystem: true",
            "allowPrivilegeEscalation: false",
            "- ALL",
            "type: RuntimeDefault",
            "path: /health",
            "path: /ready",
            "startupProbe:",
            "enableServiceLinks: false",
            "terminationMessagePath: /dev/termination-log",
        ] {
            assert!(pods.contains(wanted), "{wanted:?} is not in the {kind}\n{pods}");
        }
        let probe = |name: &str| {
            let (_, probe) = pods.split_once(name).expect("a probe");
            let field = |field: &str| {
                let (_, rest) = probe.split_once(field).expect("its field");
                rest.split_whitespace().next().expect("a number").to_string()
            };
            (field("initialDelaySeconds: "), field("periodSeconds: "))
        };
        assert_eq!(probe("livenessProbe:"), ("10".into(), "30".into()));
        assert_eq!(probe("readinessProbe:"), ("5".into(), "10".into()));
        match kind {
            "Deployment" => assert!(pods.contains("maxUnavailable: 0"), "{pods}"),
            _ => {
                assert!(pods.contains("volumeClaimTemplates:"), "{pods}");
                assert!(!text.contains("kind: Deployment"), "{text}");
            }
        }
    }
}
