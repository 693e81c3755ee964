//! The example task files have no mistakes, and each says how to run it.

use std::path::Path;

use aquifer_engine::catalog::Catalog;

#[test]
fn every_example_is_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("the folder").flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        seen += 1;
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("readable");
        assert!(text.contains(&format!("aquifer run examples/{name} ")), "{name} does not say how to run it");
        let mut catalog = Catalog::new(aquifer_functions::builtins());
        catalog.add_text(&name, &text);
        let problems = catalog.problems();
        assert!(problems.is_empty(), "{name}: {problems:#?}");
    }
    assert!(seen >= 4, "the examples are gone");
}
