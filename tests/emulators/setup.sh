#!/bin/sh
# Makes a Python venv for the tests: setup.sh VENV [REQUIREMENTS]
# REQUIREMENTS are those of the emulators by default. Silent and fast when VENV already holds them. PYTHON names another
# interpreter than python3.
set -eu

venv=${1:?usage: setup.sh VENV [REQUIREMENTS]}
requirements=${2:-$(dirname "$0")/requirements.txt}
stamp=$venv/requirements.cksum
wanted=$(cksum <"$requirements")

up_to_date() {
    [ -x "$venv/bin/python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]
}
fail() {
    printf 'setup.sh: %s\n' "$@" >&2
    exit 1
}

up_to_date && exit 0

python=${PYTHON:-python3}
command -v "$python" >/dev/null 2>&1 ||
    fail "\`$python\` not found: these tests need Python 3.11 or newer" \
        "install it (Debian packages: python3 python3-venv) or set PYTHON"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "\`$python\` is $("$python" --version 2>&1): these tests need Python 3.11 or newer; set PYTHON"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "\`$python\` has no venv module: install it (Debian package: python3-venv)"

mkdir -p "$venv"
[ -f "$venv/pyvenv.cfg" ] || [ -z "$(ls -A "$venv")" ] ||
    fail "\`$venv\` is not one of ours: it would be cleared; name a folder that is empty or absent"
if command -v flock >/dev/null 2>&1; then
    # Of two builds at once, the second waits for the first and finds the work done.
    exec 9>"$venv.lock"
    flock 9
    up_to_date && exit 0
fi

printf 'setup.sh: installing %s into %s\n' "$requirements" "$venv" >&2
rm -f "$stamp"
"$python" -m venv --clear "$venv" || fail "could not make a venv in \`$venv\`"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$requirements" ||
    fail "pip could not install $requirements; run again when the package index can be reached"
"$venv/bin/python" -m pip check --quiet || fail "$requirements is not consistent"
# Last, so that an interrupted build is repeated.
printf '%s\n' "$wanted" >"$stamp"
