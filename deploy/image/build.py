#!/usr/bin/env python3
"""Makes the container image of a built `aquifer` as an OCI archive, without a registry, a daemon or root.

Takes a binary that this machine can run, this machine's C library, its list of authorities, and the licences of what was linked in. Gives a tar file with one
layer. Always holds: the same inputs come to the same bytes; what is broken off leaves no archive; what is missing is an error that names it.

The binary is linked against glibc, which the layer has from this machine: the files that the loader names for it, and the loader. That glibc is 2.34 or
newer, where looking up names needs no further file. There is no shell, and no other program: stores over SFTP (`ssh`) and `exec` need an image of your own.
"""

import argparse
import datetime
import hashlib
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import zlib

HOME = pathlib.Path(__file__).resolve().parents[2]
USER = 65532
MACHINES = {62: "amd64", 183: "arm64"}
TRIPLES = {"amd64": "x86_64-unknown-linux-gnu", "arm64": "aarch64-unknown-linux-gnu"}
LICENCE = re.compile(r"^(licen[cs]e|copying|notice|unlicense|copyright)", re.IGNORECASE)


class Wrong(Exception):
    """What a person has to mend."""


def run(*command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    except OSError as error:
        raise Wrong(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        raise Wrong(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def read(path, what):
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise Wrong(f"{what}, {path}, cannot be read: {error.strerror}") from error


def architecture(binary):
    if binary[:6] != b"\x7fELF\x02\x01":
        raise Wrong("the binary is none of a 64-bit Linux")
    machine = int.from_bytes(binary[18:20], "little")
    if machine not in MACHINES:
        raise Wrong(f"the binary is for a machine of the kind {machine}, which is neither amd64 nor arm64")
    return MACHINES[machine]


def libraries(path):
    """The files that the loader loads for a binary, at the paths where it finds them."""
    found, glibc = {}, None
    for line in run("ldd", str(path)).splitlines():
        words = line.split()
        if "not found" in line:
            raise Wrong(f"the binary needs {words[0]}, which this machine does not have")
        file = words[2] if "=>" in words else words[0]
        if not file.startswith("/"):
            continue
        found[file] = read(file, "a library")
        if words[0].startswith("libc.so."):
            glibc = re.search(rb"GNU C Library[^\n]* version (\d+)\.(\d+)", found[file])
    if glibc is None:
        raise Wrong("the binary is not linked against glibc")
    if (int(glibc[1]), int(glibc[2])) < (2, 34):
        raise Wrong(f"glibc is {glibc[1].decode()}.{glibc[2].decode()}: before 2.34 it looks names up by further files, which the image would lack")
    return found


def linked(kind):
    """The licences of all crates that are linked into the binary, as one text."""
    platform = f"--filter-platform={TRIPLES[kind]}"
    told = json.loads(run("cargo", "metadata", "--format-version=1", "--locked", platform, f"--manifest-path={HOME / 'Cargo.toml'}"))
    packages = {package["id"]: package for package in told["packages"]}
    nodes = {node["id"]: node for node in told["resolve"]["nodes"]}
    todo, seen = [id for id, package in packages.items() if package["name"] == "aquifer-cli"], set()
    while todo:
        one = todo.pop()
        if one in seen:
            continue
        seen.add(one)
        normal = [need for need in nodes[one]["deps"] if any(kind["kind"] is None for kind in need["dep_kinds"])]
        todo += [need["pkg"] for need in normal]
    texts = {}
    for package in (packages[id] for id in seen):
        if package["source"] is None:
            continue
        name = f"{package['name']} {package['version']} ({package['license'] or 'see its text'})"
        folder = pathlib.Path(package["manifest_path"]).parent
        files = sorted(file for file in folder.iterdir() if file.is_file() and LICENCE.match(file.name))
        for file in files:
            texts.setdefault(file.read_text(errors="replace").strip(), set()).add(name)
        if not files:
            texts.setdefault("(It brings no text; the licence is named above.)", set()).add(name)
    parts = ["\n".join(sorted(names)) + "\n\n" + text for text, names in texts.items()]
    return ("\n\n" + "=" * 80 + "\n\n").join(sorted(parts)).encode() + b"\n"


def contents(options, binary, kind):
    """What the layer has: paths, and bytes with a mode."""
    files = {"/usr/local/bin/aquifer": (binary, 0o755)}
    for path, data in libraries(options.binary).items():
        files[path] = (data, 0o755)
    files["/etc/ssl/certs/ca-certificates.crt"] = (read(options.authorities, "the list of authorities"), 0o644)
    files["/etc/passwd"] = (f"root:x:0:0:root:/:/sbin/nologin\naquifer:x:{USER}:{USER}:aquifer:/tmp:/sbin/nologin\n".encode(), 0o644)
    files["/etc/group"] = (f"root:x:0:\naquifer:x:{USER}:\n".encode(), 0o644)
    files["/etc/nsswitch.conf"] = (b"hosts: files dns\n", 0o644)
    files["/usr/share/doc/aquifer/LICENSE"] = (read(HOME / "LICENSE", "the licence"), 0o644)
    files["/usr/share/doc/aquifer/LICENSES-OF-CRATES"] = (linked(kind), 0o644)
    for package in ("libc6", "libgcc-s1", "ca-certificates"):
        text = read(f"/usr/share/doc/{package}/copyright", f"the licence of Debian's {package}")
        files[f"/usr/share/doc/{package}/copyright"] = (text, 0o644)
    return files


def entry(name, mode, epoch, data=None):
    header = tarfile.TarInfo(name)
    header.mode, header.mtime, header.uname, header.gname = mode, epoch, "", ""
    if data is None:
        header.type = tarfile.DIRTYPE
    else:
        header.size = len(data)
    return header, None if data is None else io.BytesIO(data)


def tarred(entries):
    room = io.BytesIO()
    with tarfile.open(fileobj=room, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for header, data in entries:
            archive.addfile(header, data)
    return room.getvalue()


def layer(files, epoch):
    folders = {"/tmp": 0o1777}
    for path in files:
        for parent in pathlib.PurePosixPath(path).parents:
            folders.setdefault(str(parent), 0o755)
    del folders["/"]
    entries = [(path, entry(path[1:], mode, epoch)) for path, mode in folders.items()]
    entries += [(path, entry(path[1:], mode, epoch, data)) for path, (data, mode) in files.items()]
    return tarred(made for _, made in sorted(entries, key=lambda one: one[0]))


def packed(data):
    # With a header that names no time.
    machine = zlib.compressobj(6, zlib.DEFLATED, 31)
    return machine.compress(data) + machine.flush()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def written(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def image(options):
    binary = read(options.binary, "the binary")
    kind = architecture(binary)
    words = run(str(options.binary.resolve()), "--version").split()
    if len(words) != 2 or words[0] != "aquifer":
        raise Wrong(f"{options.binary} is not aquifer: its version is {' '.join(words)!r}")
    unpacked = layer(contents(options, binary, kind), options.epoch)
    blob = packed(unpacked)
    made = datetime.datetime.fromtimestamp(options.epoch, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = {"org.opencontainers.image.title": "aquifer", "org.opencontainers.image.version": words[1], "org.opencontainers.image.licenses": "Apache-2.0"}
    config = written({
        "architecture": kind,
        "os": "linux",
        "created": made,
        "config": {
            "User": f"{USER}:{USER}",
            "Env": ["PATH=/usr/local/bin", "HOME=/tmp"],
            "Entrypoint": ["/usr/local/bin/aquifer"],
            "WorkingDir": "/",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(unpacked)]},
        "history": [{"created": made, "created_by": "deploy/image/build.py"}],
    })
    form = "application/vnd.oci.image"
    manifest = written({
        "schemaVersion": 2,
        "mediaType": f"{form}.manifest.v1+json",
        "config": {"mediaType": f"{form}.config.v1+json", "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": f"{form}.layer.v1.tar+gzip", "digest": digest(blob), "size": len(blob)}],
    })
    # The first is what containerd takes for the name, the second what others do.
    names = {"io.containerd.image.name": f"{options.name}:{options.tag or words[1]}", "org.opencontainers.image.ref.name": options.tag or words[1]}
    index = written({
        "schemaVersion": 2,
        "mediaType": f"{form}.index.v1+json",
        "manifests": [{
            "mediaType": f"{form}.manifest.v1+json",
            "digest": digest(manifest),
            "size": len(manifest),
            "platform": {"architecture": kind, "os": "linux"},
            "annotations": names,
        }],
    })
    parts = {"oci-layout": written({"imageLayoutVersion": "1.0.0"}), "index.json": index}
    for part in (manifest, config, blob):
        parts[f"blobs/sha256/{digest(part)[7:]}"] = part
    folders = [entry(name, 0o755, options.epoch) for name in ("blobs", "blobs/sha256")]
    return tarred(folders + [entry(name, 0o644, options.epoch, data) for name, data in sorted(parts.items())]), digest(manifest)


def main():
    parser = argparse.ArgumentParser(description="Makes the container image of a built aquifer as an OCI archive.")
    parser.add_argument("--binary", type=pathlib.Path, default=HOME / "target/release/aquifer", help="the built binary (default: target/release/aquifer)")
    parser.add_argument("--output", type=pathlib.Path, default=HOME / "target/aquifer.oci.tar", help="the archive (default: target/aquifer.oci.tar)")
    parser.add_argument("--name", default="docker.io/library/aquifer", help="the image's name (default: %(default)s, which manifests call aquifer)")
    parser.add_argument("--tag", help="its tag (default: the binary's version)")
    parser.add_argument("--authorities", default="/etc/ssl/certs/ca-certificates.crt", help="whom the image trusts (default: %(default)s)")
    parser.add_argument("--epoch", type=int, default=os.environ.get("SOURCE_DATE_EPOCH", "0"), help="the time of all files, in seconds since 1970 (default: SOURCE_DATE_EPOCH, or 0)")
    options = parser.parse_args()
    try:
        archive, name = image(options)
        part = options.output.with_name(options.output.name + ".part")
        try:
            part.write_bytes(archive)
            part.replace(options.output)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise Wrong(f"{options.output} cannot be written: {error.strerror}") from error
    except Wrong as wrong:
        print(f"error: {wrong}", file=sys.stderr)
        return 1
    print(f"{options.output}: {len(archive) / 1048576:.1f} MiB, {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
