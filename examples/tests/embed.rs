//! Runs the program in `embed.rs`, and holds it to the length that the documentation promises.

use std::process::Command;

#[test]
fn the_example_runs_and_is_short() {
    // Cargo tells a test of programs but not of examples, which stand in a folder beside it.
    let test = std::env::current_exe().expect("this test has a path");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("it stands two folders deep");
    let output = Command::new(folder.join("examples/embed"))
        .output()
        .expect("the example is built: `cargo test` does that, with `--test` say `--examples` too");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Succeeded: 1000 lines\n", "{output:?}");
    assert!(output.status.success());
    let lines = include_str!("../embed.rs").lines().count();
    assert!(lines <= 60, "embed.rs has {lines} lines");
}
