//! The image that `deploy/image/build.py` makes of this binary: whole by its own digests, the same each time, and able to run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const FORM: &str = "application/vnd.oci.image";

/// Runs a program that has to succeed; gives what it said.
fn run(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn build(binary: &Path, archive: &Path) -> Command {
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/image/build.py")).env_remove("SOURCE_DATE_EPOCH");
    command.arg("--binary").arg(binary).arg("--output").arg(archive);
    command
}

/// This binary without what only debuggers read, so that it is of a size that images are of.
fn small(folder: &Path) -> PathBuf {
    let binary = folder.join("aquifer");
    run(Command::new("strip").arg("-o").arg(&binary).arg(env!("CARGO_BIN_EXE_aquifer")));
    binary
}

/// The bytes that a descriptor tells of: of its size, and of its digest.
fn blob(folder: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:")).expect("a digest");
    let path = folder.join("blobs/sha256").join(digest);
    assert_eq!(fs::metadata(&path).expect("there").len(), descriptor["size"].as_u64().expect("a size"));
    assert!(run(Command::new("sha256sum").arg(&path)).starts_with(digest));
    path
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("there")).expect("JSON")
}

#[test]
fn the_image_is_whole_the_same_each_time_and_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let binary = small(folder.path());
    run(&mut build(&binary, &at("one.tar")));
    run(build(&binary, &at("two.tar")).env("TZ", "Asia/Tokyo").env("LC_ALL", "C").current_dir("/"));
    assert!(
        fs::read(at("one.tar")).expect("made") == fs::read(at("two.tar")).expect("made"),
        "two archives of one binary differ"
    );

    fs::create_dir_all(at("image")).expect("room");
    run(Command::new("tar").arg("-xf").arg(at("one.tar")).arg("-C").arg(at("image")));
    assert_eq!(json(&at("image/oci-layout"))["imageLayoutVersion"], "1.0.0");
    let index = json(&at("image/index.json"));
    let manifests = index["manifests"].as_array().expect("manifests");
    assert_eq!(manifests.len(), 1);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(manifests[0]["annotations"]["io.containerd.image.name"], format!("docker.io/library/aquifer:{version}"));
    let manifest = json(&blob(&at("image"), &manifests[0]));
    assert_eq!(manifest["mediaType"], format!("{FORM}.manifest.v1+json"));
    let config = json(&blob(&at("image"), &manifest["config"]));
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/usr/local/bin/aquifer"]));
    let layer = blob(&at("image"), &manifest["layers"][0]);
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1));
    // As many blobs as were told of.
    assert_eq!(fs::read_dir(at("image/blobs/sha256")).expect("there").count(), 3);

    let unpacked = format!("gzip -dc {} | sha256sum", layer.display());
    let unpacked = run(Command::new("sh").args(["-c", &unpacked]));
    assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", unpacked.split(' ').next().expect("a sum")));

    fs::create_dir_all(at("root")).expect("room");
    run(Command::new("tar").arg("-xzf").arg(&layer).arg("-C").arg(at("root")));
    assert_eq!(run(&mut inside(&at("root"), &["--version"])), format!("aquifer {version}\n"));
    assert!(run(&mut inside(&at("root"), &["kube", "crds"])).contains("kind: CustomResourceDefinition"));
    let authorities = fs::read_to_string(at("root/etc/ssl/certs/ca-certificates.crt")).expect("there");
    assert!(authorities.contains("BEGIN CERTIFICATE"));
    assert!(fs::read_to_string(at("root/etc/passwd")).expect("there").contains("aquifer:x:65532:65532:"));
    let licences = fs::read_to_string(at("root/usr/share/doc/aquifer/LICENSES-OF-CRATES")).expect("there");
    assert!(licences.contains("\ntokio 1.") && licences.contains("MIT License"), "{}", licences.len());
    assert!(at("root/usr/share/doc/aquifer/LICENSE").exists() && at("root/usr/share/doc/libc6/copyright").exists());
}

/// The command in a root of its own, as the user of the image where we may choose.
fn inside(root: &Path, args: &[&str]) -> Command {
    let is_root = run(Command::new("id").arg("-u")).trim() == "0";
    let mut command = Command::new(if is_root { "chroot" } else { "unshare" });
    if is_root {
        command.arg("--userspec=65532:65532").arg(root);
    } else {
        command.args(["--map-root-user", "chroot"]).arg(root);
    }
    command.arg("/usr/local/bin/aquifer").args(args);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

#[test]
fn what_is_no_aquifer_makes_no_image() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("none.tar");
    for (binary, why) in
        [("/bin/true", "is not aquifer"), ("/etc/passwd", "is none of a 64-bit Linux"), ("/nowhere", "cannot be read")]
    {
        let done = build(Path::new(binary), &archive).output().expect("python3");
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && told.starts_with("error: ") && told.contains(why), "{binary}: {told}");
        assert!(told.trim().lines().count() == 1, "{told}");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 0);
}
