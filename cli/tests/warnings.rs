//! A run that succeeded with less than was asked for says so, on stderr and in its report.

use std::process::Command;

#[test]
fn warnings_are_in_the_report_and_are_told_whatever_the_progress() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    // A list without an element, as no server keeps one.
    std::fs::write(here.join("dump.rdb"), b"REDIS0003\xfe\x00\x01\x01k\x00\xff").expect("room");
    let steps = "
    - {name: file, function: file-read, params: {path: dump.rdb}}
    - {name: read, function: rdb-read, stdin: file}
    - {name: write, function: file-write, stdin: read, params: {path: out, overwrite: true}}";
    let task =
        format!("apiVersion: aquifer.dev/v1alpha1\nkind: Task\nmetadata: {{name: it}}\nspec:\n  steps:{steps}\n");
    std::fs::write(here.join("rdb.yaml"), task).expect("room");
    for progress in ["none", "plain", "auto", "json"] {
        let done = Command::new(env!("CARGO_BIN_EXE_aquifer"))
            .args(["run", "rdb.yaml", "--progress", progress, "--report", "-"])
            .current_dir(here)
            .output()
            .expect("it starts");
        assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(told.contains("1 key without elements left out"), "{progress}: {told}");
        assert!(progress != "none" || told.trim().lines().count() == 1, "and nothing else: {told}");
        let report: serde_json::Value = serde_json::from_slice(&done.stdout).expect("the report alone");
        let warnings = report["pipelines"][0]["steps"][1]["warnings"].to_string();
        assert!(warnings.contains("1 key without elements"), "{report}");
    }
}
