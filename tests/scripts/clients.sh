#!/usr/bin/env bash
# Fetches or builds a client that the tests drive, unmodified and pinned by version, and prints the
# folder that it is in:
#
#     tests/scripts/clients.sh kubectl          a current kubectl, from its Go module: bin/kubectl
#     tests/scripts/clients.sh kubectl-debian   the kubectl of Debian's kubernetes-client: bin/kubectl
#     tests/scripts/clients.sh kn               Knative's client, from its Go module: bin/kn
#     tests/scripts/clients.sh helm             Helm, from its Go module: bin/helm
#     tests/scripts/clients.sh python           Python's kubernetes package: a folder for PYTHONPATH
#     tests/scripts/clients.sh client-go        tests/clients/client_go, which uses Kubernetes' library: bin/client-go
#     tests/scripts/clients.sh etcd             Debian's etcd-server: bin/etcd
#     tests/scripts/clients.sh kube-apiserver   kube-apiserver, from its Go module: bin/kube-apiserver
#     tests/scripts/clients.sh kube-controller-manager   the same for bin/kube-controller-manager
#
# Each is made once below the user's cache, and appears there whole or not at all. Go checks what it
# fetches against its checksum database; apt and pip check signatures and hashes of their indexes.
set -euo pipefail

kubernetes=1.36.3
# The last version whose module is whole: later ones are made of two, of which one is not published.
knative_client=0.42.0
helm=4.3.1
python_kubernetes=37.0.2
# A cold build of the largest takes about ten minutes on two cores.
limit=1800

cache="${XDG_CACHE_HOME:-$HOME/.cache}/heddle"
export GOMODCACHE="$cache/go/mod" GOCACHE="$cache/go/build" GOTOOLCHAIN=local
export GOFLAGS="-buildvcs=false -modcacherw" CGO_ENABLED=0

# Its folder is made anew when it changes.
program="$(cd "$(dirname "${BASH_SOURCE[0]}")/../clients/client_go" && pwd)"
program_hash="$(cat "$program"/{main.go,go.mod,go.sum} | sha256sum | cut -c1-12)"

work=""
trap '[ -z "$work" ] || rm -rf "$work"' EXIT

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Runs a command quietly and within the limit; what it wrote is shown when it fails.
quietly() {
    local log="$work/log"
    if ! timeout --kill-after=10 "$limit" "$@" >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        fail "$1 failed or took more than $limit s"
    fi
}

# Makes a folder by a function that fills $work/made, unless it is there, and prints it.
once() {
    local folder="$cache/$1"
    if [ ! -d "$folder" ]; then
        mkdir -p "$cache"
        work="$(mktemp -d "$folder.XXXXXX")"
        mkdir -p "$work/made/bin"
        "$2"
        # By rename, so that half a client is never taken for one.
        mv -T "$work/made" "$folder" 2>/dev/null || [ -d "$folder" ]
    fi
    printf '%s\n' "$folder"
}

# Where the sources of a module are, fetched if need be.
module() {
    local found
    found="$(cd "$work" && timeout "$limit" go mod download -json "$1@v$2")" ||
        fail "go cannot fetch $1 v$2: $found"
    sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' <<<"$found"
}

# Builds a command of a module with the very versions that its own go.mod and go.sum pin.
# $1 module, $2 version, $3 command, $4 linker flags, $5 how its replacements are rewritten
go_command() {
    local sources main="$work/main"
    command -v go >/dev/null || fail "go is not on the PATH"
    sources="$(module "$1" "$2")"
    mkdir -p "$main"
    sed -e 's/^module .*/module heddle.dev\/clients/' -e "${5:-}" "$sources/go.mod" >"$main/go.mod"
    cp "$sources/go.sum" "$main/go.sum"
    chmod u+w "$main"/go.*
    cd "$main"
    quietly go mod edit -require "$1@v$2"
    quietly go build -mod=mod -trimpath -ldflags "-s -w $4" -o "$work/made/bin/" "$1/cmd/$3"
    cd - >/dev/null
}

# Kubernetes keeps the modules that it is made of beside itself, and publishes them as v0.X.Y.
kubernetes_command() {
    local version=k8s.io/component-base/version
    go_command k8s.io/kubernetes "$kubernetes" "$1" "
        -X $version.gitVersion=v$kubernetes -X $version.gitMajor=${kubernetes%%.*}
        -X $version.gitMinor=$(cut -d. -f2 <<<"$kubernetes")" \
        "s,=> \./staging/src/\(.*\),=> \1 v0.${kubernetes#*.},"
}

kubectl() { kubernetes_command kubectl; }
kube_apiserver() { kubernetes_command kube-apiserver; }
kube_controller_manager() { kubernetes_command kube-controller-manager; }
kn() {
    go_command knative.dev/client "$knative_client" kn \
        "-X knative.dev/client/pkg/kn/commands/version.Version=v$knative_client"
}
helm() {
    go_command "helm.sh/helm/v${helm%%.*}" "$helm" helm \
        "-X helm.sh/helm/v${helm%%.*}/internal/version.version=v$helm"
}

# Our own program, with the versions that its go.sum pins.
client_go() {
    command -v go >/dev/null || fail "go is not on the PATH"
    cd "$program"
    quietly go build -mod=readonly -trimpath -ldflags "-s -w" -o "$work/made/bin/client-go" .
    cd - >/dev/null
}

python() {
    quietly python3 -m pip install --quiet --disable-pip-version-check --no-input --no-compile \
        --target "$work/made" "kubernetes==$python_kubernetes"
}

# The version of a Debian package that apt would install.
debian_version() {
    local version
    version="$(apt-cache show --no-all-versions "$1" 2>/dev/null | sed -n 's/^Version: //p')"
    if [ -z "$version" ]; then
        local as_root=()
        [ "$(id -u)" -eq 0 ] || as_root=(sudo)
        timeout "$limit" "${as_root[@]}" apt-get update -qq >&2
        version="$(apt-cache show --no-all-versions "$1" | sed -n 's/^Version: //p')"
    fi
    [ -n "$version" ] || fail "apt knows no package $1"
    printf '%s\n' "$version"
}

# Unpacks a Debian package without installing it.
debian_package() {
    cd "$work"
    quietly apt-get download "$1"
    dpkg -x "$1"_*.deb "$work/unpacked"
    cp "$work/unpacked/usr/bin/"* "$work/made/bin/"
    cd - >/dev/null
}

kubectl_debian() { debian_package kubernetes-client; }
etcd() { debian_package etcd-server; }

case "${1:-}" in
    kubectl) once "kubectl-$kubernetes" kubectl ;;
    kubectl-debian) once "kubernetes-client-$(debian_version kubernetes-client)" kubectl_debian ;;
    kn) once "kn-$knative_client" kn ;;
    helm) once "helm-$helm" helm ;;
    client-go) once "client-go-$program_hash" client_go ;;
    python) once "python-kubernetes-$python_kubernetes" python ;;
    etcd) once "etcd-server-$(debian_version etcd-server)" etcd ;;
    kube-apiserver) once "$1-$kubernetes" kube_apiserver ;;
    kube-controller-manager) once "$1-$kubernetes" kube_controller_manager ;;
    *) fail "usage: $0 kubectl|kubectl-debian|kn|helm|python|client-go|etcd|kube-apiserver|kube-controller-manager" ;;
esac
