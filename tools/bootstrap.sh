#!/usr/bin/env bash
# Makes the virtual environment of this checkout: bootstrap.sh run|dev [--quiet]
#
#   run   what `ohmykube` itself needs
#   dev   that and every tool of `make test`
#
# Packages come from requirements/*.txt with their hashes checked. A stamp inside the environment
# says what is installed, so a second call ends at once; an interrupted one is simply finished.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv="$root/.venv"
what=${1:-run}
begin=$SECONDS

say() { printf '==> %s\n' "$*"; }
note() { printf '    %s\n' "$*"; }
fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
    exit 1
}

case "$what" in
run) expect="about 20 s" ;;
dev) expect="about a minute" ;;
*) fail "unknown argument: $what" "usage: tools/bootstrap.sh run|dev" ;;
esac

usable() { # python: is it new enough?
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if command -v "$candidate" >/dev/null && usable "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "not root, and sudo is not installed" "run as root: $*"
    fi
}

install_debian() { # packages
    command -v apt-get >/dev/null || return 1
    say "Installing Debian packages: $*"
    as_root apt-get -q update >"$log" 2>&1 || { tail -n 8 "$log" >&2; return 1; }
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q install -y --no-install-recommends "$@" >"$log" 2>&1 </dev/null ||
        { tail -n 8 "$log" >&2; return 1; }
}

ensure_python() {
    python=$(find_python) || {
        install_debian python3 python3-venv || true
        python=$(find_python) || fail "Python 3.11 or newer is needed" \
            "found: $(python3 --version 2>&1 || echo none)" \
            "next: install python3.11 and python3.11-venv, then run the same command again"
    }
    "$python" -c 'import ensurepip, venv' 2>/dev/null && return
    # Debian and its relatives split venv off; the package is named after the version.
    local version
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    install_debian "python$version-venv" || install_debian python3-venv ||
        fail "$python has no venv module" "next: apt-get install python3-venv"
}

digest() { # files: one number for their content and for the place they are used in
    local sum="sha256sum"
    command -v sha256sum >/dev/null || sum="shasum -a 256"
    # shellcheck disable=SC2086 - a command with its options
    { printf '%s\n' "$venv"; cat "$@"; } | $sum | cut -d' ' -f1
}

wanted_stamp() { # run|dev
    digest "$root/requirements/$1.txt" "$root/pyproject.toml"
}

current() { # run|dev: is it installed, and does the environment still work?
    [ -f "$venv/.stamp-$1" ] && [ "$(cat "$venv/.stamp-$1")" = "$(wanted_stamp "$1")" ] &&
        [ -x "$venv/bin/ohmykube" ] && "$venv/bin/python" -c '' 2>/dev/null
}

healthy_venv() { # a moved checkout or a removed Python leaves an environment that cannot be used
    head -n 1 "$venv/bin/pip" 2>/dev/null | grep -qF "$venv/bin/python" &&
        usable "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1
}

pip_install() {
    "$venv/bin/python" -m pip --disable-pip-version-check --quiet install "$@" \
        >"$log" 2>&1 </dev/null || {
        tail -n 12 "$log" >&2
        fail "installing Python packages failed" \
            "look at the lines above; the same command again goes on where it stopped"
    }
}

current "$what" && exit 0

if command -v flock >/dev/null; then # two terminals, one checkout
    exec 9>"$root/.bootstrap.lock"
    flock 9
    current "$what" && exit 0
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT

say "Setting up the Python environment in .venv ($expect)"
ensure_python
if ! healthy_venv; then
    note "creating it with $("$python" --version)"
    "$python" -m venv --clear "$venv" || fail "cannot create $venv"
fi
rm -f "$venv/.stamp-run" "$venv/.stamp-dev"
note "installing requirements/$what.txt, every hash checked"
pip_install --require-hashes --only-binary :all: --requirement "$root/requirements/$what.txt"
note "installing ohmykube itself, editable"
pip_install --no-deps --no-build-isolation --editable "$root"
# As pip does for all else: who runs it may not write here, or not want Python to write bytecode.
"$venv/bin/python" -m compileall -q "$root/ohmykube"
wanted_stamp "$what" >"$venv/.stamp-$what"
# The development set holds the run-time set, pin for pin.
[ "$what" = run ] || wanted_stamp run >"$venv/.stamp-run"
note "done in $((SECONDS - begin)) s"
