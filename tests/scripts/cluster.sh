#!/usr/bin/env bash
# Runs a command beside a scratch cluster (etcd, kube-apiserver, kube-controller-manager; no nodes)
# that is there for it alone, and ends the cluster with it:
#
#     tests/scripts/cluster.sh cargo test --test clients
#
# HEDDLE_KUBECONFIG names the cluster to the command. All listen on loopback, on ports that were free.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
etcd="$("$here/clients.sh" etcd)/bin/etcd"
apiserver="$("$here/clients.sh" kube-apiserver)/bin/kube-apiserver"
manager="$("$here/clients.sh" kube-controller-manager)/bin/kube-controller-manager"
work="$(mktemp -d)"
started=()

finish() {
    local pid
    for pid in "${started[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    wait "${started[@]}" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Waits until a command succeeds.
await() {
    local what="$1" end=$((SECONDS + 120))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$end" ]; then
            tail -n 20 "$work"/*.log >&2
            printf 'error: waited 120 s for %s\n' "$what" >&2
            exit 1
        fi
        sleep 0.2
    done
}

client_port="$(free_port)" peer_port="$(free_port)" port="$(free_port)" token="$(openssl rand -hex 16)"
"$etcd" --data-dir "$work/etcd" --unsafe-no-fsync \
    --listen-client-urls "http://127.0.0.1:$client_port" \
    --advertise-client-urls "http://127.0.0.1:$client_port" \
    --listen-peer-urls "http://127.0.0.1:$peer_port" >"$work/etcd.log" 2>&1 &
started+=($!)

openssl genrsa -out "$work/tokens.key" 2048 2>/dev/null
printf '%s,admin,admin,system:masters\n' "$token" >"$work/tokens.csv"
"$apiserver" --etcd-servers "http://127.0.0.1:$client_port" \
    --bind-address 127.0.0.1 --secure-port "$port" --cert-dir "$work/certificates" \
    --token-auth-file "$work/tokens.csv" --authorization-mode RBAC --disable-admission-plugins ServiceAccount \
    --service-account-issuer https://cluster.local \
    --service-account-key-file "$work/tokens.key" \
    --service-account-signing-key-file "$work/tokens.key" \
    --service-cluster-ip-range 10.0.0.0/24 >"$work/kube-apiserver.log" 2>&1 &
started+=($!)

cat >"$work/kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: scratch, cluster: {server: "https://127.0.0.1:$port", insecure-skip-tls-verify: true}}]
users: [{name: admin, user: {token: "$token"}}]
contexts: [{name: scratch, context: {cluster: scratch, user: admin}}]
current-context: scratch
YAML
await "the API" curl --silent --fail --insecure --header "Authorization: Bearer $token" \
    "https://127.0.0.1:$port/readyz"

# Only what makes namespaces go and owners take what they own: nothing acts on workloads.
"$manager" --kubeconfig "$work/kubeconfig" --leader-elect=false --secure-port 0 \
    --controllers namespace-controller,garbage-collector-controller \
    >"$work/kube-controller-manager.log" 2>&1 &
started+=($!)

HEDDLE_KUBECONFIG="$work/kubeconfig" "$@"
