#!/bin/sh
# Prints, as the last line on stdout, a folder with the programs `etcd` and `kube-apiserver`.
#
# KUBEBUILDER_ASSETS wins when it holds both. Otherwise kube-apiserver is built once from Debian 12's source
# package `kubernetes`, and etcd is taken from the package `etcd-server`, into a cache folder:
# ${BAILIWICK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bailiwick}/kube-1.20.2
#
# Nothing is installed and root is not needed: packages are downloaded and unpacked beside the result, with an apt
# configuration of their own that adds deb-src to the machine's Debian sources. About 4 CPU minutes, 1.5 GB while
# building, 130 MB afterwards.
set -eu
{ # The shell reads up to the closing brace before it starts: a checkout during the build does no harm.

version=1.20.2
cache=${BAILIWICK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bailiwick}
assets=$cache/kube-$version

say() { printf 'kube_assets: %s\n' "$*" >&2; }
die() {
    say "$*"
    say "set KUBEBUILDER_ASSETS to a folder with the programs etcd and kube-apiserver instead"
    exit 1
}
# Runs a command and shows its output only if it fails.
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; return 1; }; }
complete() { [ -x "$1/etcd" ] && [ -x "$1/kube-apiserver" ]; }

for folder in "${KUBEBUILDER_ASSETS:-}" "$assets"; do
    if [ -n "$folder" ] && complete "$folder"; then
        printf '%s\n' "$folder"
        exit 0
    fi
done
[ -z "${KUBEBUILDER_ASSETS:-}" ] || say "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS lacks etcd or kube-apiserver; using the cache"

for program in apt-get apt-cache dpkg-deb tar awk; do
    command -v "$program" >/dev/null || die "no $program: kube-apiserver is built on Debian 12 only"
done
codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
[ "$codename" = bookworm ] || die "this is ${codename:-no Debian}: kube-apiserver is built on Debian 12 (bookworm) only"

mkdir -p "$cache"
# Remove the remains of a killed run.
find "$cache" -maxdepth 1 -name 'kube-build.*' -mmin +180 -exec rm -rf {} +
work=$(mktemp -d "$cache/kube-build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# --- A private apt: the machine's Debian sources, and their source packages

apt=$work/apt
mkdir -p "$apt/sources" "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/state"
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -f "$file" ] || continue
    awk -v code="$codename" '
        function ours(suite) { return suite == code || suite == code "-updates" || suite == code "-security" }
        $1 == "deb" {
            line = $0
            sub(/\[[^]]*\]/, "")
            if (ours($3) && $4 == "main") { print line; sub(/deb/, "deb-src", line); print line }
        }' "$file" >>"$apt/sources/debian.list"
done
for file in /etc/apt/sources.list.d/*.sources; do
    [ -f "$file" ] || continue
    awk -v code="$codename" -v RS= -v ORS='\n\n' '
        {
            debian = 0
            count = split($0, lines, "\n")
            for (i = 1; i <= count; i++)
                if (lines[i] ~ /^Suites:/ && lines[i] ~ "[: ]" code "(-updates|-security)?( |$)") debian = 1
            if (!debian) next
            text = ""
            for (i = 1; i <= count; i++) {
                if (lines[i] ~ /^Types:/) lines[i] = "Types: deb deb-src"
                text = text lines[i] "\n"
            }
            print text
        }' "$file" >>"$apt/sources/debian.sources"
done
cat >"$apt/apt.conf" <<CONF
Dir::State "$apt/state";
Dir::State::lists "$apt/lists";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$apt/sources";
APT::Sandbox::User "root";
CONF
export APT_CONFIG="$apt/apt.conf"

say "reading Debian's package lists"
quietly apt-get -qq update || die "apt-get update failed"
apt-cache showsrc kubernetes 2>/dev/null | grep -q "^Version: .*$version" ||
    die "Debian's sources here do not hold kubernetes $version"

say "downloading kubernetes $version, Go 1.19 and etcd"
mkdir "$work/download" "$work/root"
(
    cd "$work/download"
    quietly apt-get -qq download golang-1.19-go golang-1.19-src golang-github-modern-go-reflect2-dev etcd-server &&
        quietly apt-get -qq source --download-only kubernetes
) || die "the download failed"
for package in "$work"/download/*.deb; do
    dpkg-deb -x "$package" "$work/root"
done

# --- The build: GOPATH inside the tree, nothing from the network, no C compiler

tree=$work/go/src/k8s.io/kubernetes
mkdir -p "$tree"
tar -xf "$work"/download/kubernetes_*.orig.tar.* -C "$tree" --strip-components=1

# The vendored reflect2 1.0.1 crashes on Go 1.18 and newer at the first write of a custom resource.
rm -rf "$tree/vendor/github.com/modern-go/reflect2"
cp -R "$work/root/usr/share/gocode/src/github.com/modern-go/reflect2" "$tree/vendor/github.com/modern-go/"

unset GOFLAGS GOEXPERIMENT
export GOROOT="$work/root/usr/lib/go-1.19" GOPATH="$work/go" GOCACHE="$work/gocache" GOTMPDIR="$work" GOENV=off
export GO111MODULE=off GOPROXY=off CGO_ENABLED=0
go=$GOROOT/bin/go
cd "$tree"

say "generating the API's OpenAPI definitions"
nice -n 10 "$go" build -o "$work/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
packages=$(grep -rl --include='*.go' -e '+k8s:openapi-gen=' pkg cmd staging/src/k8s.io | sed 's|/[^/]*$||' | sort -u |
    grep -v -e code-generator -e sample-apiserver -e '/openapi$' |
    sed -e 's|^staging/src/|vendor/|' -e 's|^|k8s.io/kubernetes/|' | tr '\n' ',')
nice -n 10 "$work/openapi-gen" --logtostderr -i "${packages%,}" -p k8s.io/kubernetes/pkg/generated/openapi \
    -O zz_generated.openapi -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt -r "$work/violations"

say "building kube-apiserver (about 4 CPU minutes)"
flags="-s -w"
# The first is what --version prints, the second what the server answers at /version.
for stamp in component-base/version client-go/pkg/version; do
    stamp=k8s.io/kubernetes/vendor/k8s.io/$stamp
    flags="$flags -X $stamp.gitVersion=v$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=20"
done
mkdir "$work/assets"
nice -n 10 "$go" build -trimpath -ldflags "$flags" -o "$work/assets/kube-apiserver" ./cmd/kube-apiserver
cp "$work/root/usr/bin/etcd" "$work/assets/etcd"

"$work/assets/kube-apiserver" --version >&2
"$work/assets/etcd" --version >&2
cd "$cache"
# Another run may have finished first; its result is just as good.
mv -T "$work/assets" "$assets" 2>/dev/null || complete "$assets" || die "cannot move the result to $assets"
printf '%s\n' "$assets"
exit 0
}
