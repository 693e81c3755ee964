//! Imports go one way: cli → functions → engine. Read from the manifests and the sources, so that a slip fails here.

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
    for (room, never) in
        [("engine", ["aquifer_functions", "aquifer_cli"]), ("functions", ["aquifer_cli", "aquifer_tests"])]
    {
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
