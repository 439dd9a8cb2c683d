#!/bin/sh
# Unpacks a Ceph RADOS Gateway with all that it needs into a folder: rgw_assets.sh FOLDER
#
# The programs come from Debian 12's packages. Nothing is installed and root is not needed: packages are downloaded with
# an apt configuration of their own that reads the machine's Debian sources, and unpacked. 70 MB to download, 280 MB
# unpacked. Silent and fast when the folder is complete. Exits with 75 where the packages cannot be had.
set -eu

folder=${1:?usage: rgw_assets.sh FOLDER}
stamp=$folder/complete

say() { printf 'rgw_assets: %s\n' "$*" >&2; }
die() {
    say "SKIPPED, nothing is tested on a gateway: $*"
    exit 75
}
# Runs a command and shows its output only if it fails.
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; return 1; }; }

[ ! -f "$stamp" ] || exit 0

for program in apt-get dpkg-deb awk; do
    command -v "$program" >/dev/null || die "no $program: the gateway comes from Debian 12's packages"
done
codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
[ "$codename" = bookworm ] || die "this is ${codename:-no Debian}: the gateway comes from Debian 12's (bookworm) packages"

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
work=$(mktemp -d "$folder/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# --- A private apt with the machine's Debian sources

apt=$work/apt
mkdir -p "$apt/sources" "$apt/lists/partial" "$apt/cache/archives/partial"
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -f "$file" ] || continue
    awk -v code="$codename" '
        $1 == "deb" {
            line = $0
            sub(/\[[^]]*\]/, "")
            if (($3 == code || $3 == code "-updates" || $3 == code "-security") && $4 == "main") print line
        }' "$file" >>"$apt/sources/debian.list"
done
for file in /etc/apt/sources.list.d/*.sources; do
    [ -f "$file" ] || continue
    awk -v code="$codename" -v RS= -v ORS='\n\n' '$0 ~ "Suites:.*[: ]" code "(-updates|-security)?( |\n|$)"' "$file" \
        >>"$apt/sources/debian.sources"
done
cat >"$apt/apt.conf" <<CONF
Dir::State "$apt";
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
apt-get install -s --no-install-recommends radosgw ceph-mon ceph-osd 2>"$work/log" |
    awk '/^Inst/ { print $2 }' >"$work/packages"
[ -s "$work/packages" ] || die "Debian's sources here do not hold radosgw: $(cat "$work/log")"

say "downloading $(wc -l <"$work/packages") packages"
mkdir "$work/download"
# shellcheck disable=SC2046 # one word per package
(cd "$work/download" && quietly apt-get -qq download $(cat "$work/packages")) || die "the download failed"
rm -rf "$folder/root"
for package in "$work"/download/*.deb; do
    dpkg-deb -x "$package" "$folder/root"
done
: >"$stamp"
