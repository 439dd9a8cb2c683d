#!/usr/bin/env bash
# Runs the contract suite against a Kubernetes API server.
#
#   contract.sh double          the double
#   contract.sh real ASSETS     the kube-apiserver and etcd in the folder ASSETS
#
# PYTHON names the interpreter. The script stops everything that it starts.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT
tokens=(--token all --limited-token none)
case ${1:-} in
double)
    "$python" "$here/kube_double.py" "${tokens[@]}" >"$folder/out" &
    certificate=()
    ;;
real)
    "$python" "$here/kube_apiserver.py" --assets "$2" "${tokens[@]}" --ca-out "$folder/ca" >"$folder/out" &
    certificate=(--ca "$folder/ca")
    ;;
*)
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 64
    ;;
esac
server=$!
until url=$(sed -n 's/^Running on //p' "$folder/out") && [ -n "$url" ]; do
    kill -0 "$server" || { echo "the server did not start" >&2; exit 1; }
    sleep 0.1
done
"$python" "$here/kube_contract.py" --url "$url" "${tokens[@]}" "${certificate[@]}" >"$folder/checks" || {
    cat "$folder/checks"
    exit 1
}
tail -n 1 "$folder/checks"
