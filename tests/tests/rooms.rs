//! Imports go one way: cli → operator → functions → engine. Read from the manifests and the sources, so that a slip fails here.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn imports_go_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    for (room, never) in [
        ("engine", ["aquifer_functions", "aquifer_operator", "aquifer_cli"]),
        ("functions", ["aquifer_operator", "aquifer_cli", "aquifer_tests"]),
        ("operator", ["aquifer_cli", "aquifer_tests", "aquifer_bench"]),
    ] {
        let mut files = vec![root.join(room).join("Cargo.toml")];
        sources(&root.join(room).join("src"), &mut files);
        assert!(files.len() > 10, "{room} was found");
        for file in files {
            let text = fs::read_to_string(&file).expect("readable");
            for name in never {
                let named = text.contains(name) || text.contains(&name.replace('_', "-"));
                assert!(!named, "{} names {name}", file.display());
            }
        }
    }
}

/// What each room of the Redis functions may import from, besides itself: those before it.
const REDIS: [(&str, &[&str]); 7] = [
    ("wire", &[]),
    ("keys", &["wire"]),
    ("topology", &["wire"]),
    ("stream", &["wire", "keys"]),
    ("read", &["wire", "keys", "topology", "stream"]),
    ("write", &["wire", "keys", "topology", "stream"]),
    ("hash", &["wire", "keys", "stream", "read"]),
];

#[test]
fn the_rooms_of_the_redis_functions_know_those_before_them_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("functions/src/redis");
    for (room, known) in REDIS {
        let mut files = vec![root.join(format!("{room}.rs"))];
        sources(&root.join(room), &mut files);
        assert!(files.len() > 4, "{room} was found");
        for file in files {
            let text = fs::read_to_string(&file).expect("readable");
            assert!(
                !text.contains("crate::redis_") && !text.contains("crate::rdb_read"),
                "{} names a function",
                file.display()
            );
            for path in text.split("crate::redis::").skip(1) {
                let other = path.split(|letter: char| !letter.is_ascii_lowercase()).next().unwrap_or_default();
                assert!(other == room || known.contains(&other), "{} names {other}", file.display());
            }
        }
    }
}
