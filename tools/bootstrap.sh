#!/usr/bin/env bash
# Makes the virtual environment of this checkout: bootstrap.sh run|dev [--quiet]
#
#   run   what `ohmykube` itself needs
#   dev   that and every tool of `make test`
#
# Packages come from requirements/*.txt with their hashes checked, installed by the uv that
# requirements/uv.txt pins: it is kept in the user's cache directory for all checkouts. Where uv is
# not available, pip installs the same files. A stamp inside the environment says what is installed,
# so a second call ends at once; an interrupted one is simply finished.
#
# PYTHON=python3.14 chooses the interpreter. Without it `dev` takes Python 3.13 or 3.12 if there is
# one, also from pyenv, because tests are measured at nearly no cost there; `run` takes what is there.
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
run) expect="about 10 s, less from the second time on" preferred="" ;;
dev) expect="about 15 s, less from the second time on" preferred="3.13 3.12" ;;
*) fail "unknown argument: $what" "usage: tools/bootstrap.sh run|dev" ;;
esac

usable() { # python: does it run (a pyenv shim may not), and is it new enough and complete?
    "$1" -c 'import ctypes, ssl, sys, zlib
sys.exit(sys.version_info < (3, 11) or "t" in sys.abiflags)' >/dev/null 2>&1 # t: without the GIL
}

version_of() { # python
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

candidates() { # one a line, the best first
    local version path
    if [ -n "${PYTHON:-}" ]; then
        echo "$PYTHON"
        return
    fi
    for version in $preferred; do
        echo "python$version"
        for path in "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python; do echo "$path"; done
    done
    printf '%s\n' python3 python3.13 python3.12 python3.14 python3.11 /usr/bin/python3
}

find_python() {
    local candidate
    while read -r candidate; do
        if command -v "$candidate" >/dev/null && usable "$candidate"; then
            command -v "$candidate"
            return
        fi
    done < <(candidates)
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
    python=$(find_python) && return
    [ -z "${PYTHON:-}" ] || fail "PYTHON=$PYTHON is not a working Python 3.11 or newer"
    install_debian python3 python3-venv || true
    python=$(find_python) || fail "Python 3.11 or newer is needed" \
        "found: $(python3 --version 2>&1 || echo none)" \
        "next: install python3.11 and python3.11-venv, then run the same command again"
}

ensure_venv() { # Debian and its relatives split venv off; the package is named after the version
    "$python" -c 'import ensurepip, venv' 2>/dev/null && return
    install_debian "python$(version_of "$python")-venv" || install_debian python3-venv ||
        fail "$python has no venv module" "next: apt-get install python3-venv"
}

digest() { # files: one number for their content and for the place they are used in
    local sum="sha256sum"
    command -v sha256sum >/dev/null || sum="shasum -a 256"
    # shellcheck disable=SC2086 # a command with its options
    { printf '%s\n' "$venv"; cat "$@"; } | $sum | cut -d' ' -f1
}

wanted_stamp() { # run|dev
    digest "$root/requirements/$1.txt" "$root/pyproject.toml"
}

of_wanted_version() { # is the environment's Python of the version that would be chosen now?
    [ "$(version_of "$venv/bin/python")" = "$(version_of "$python")" ]
}

current() { # run|dev: is it installed, and does the environment still work?
    [ -f "$venv/.stamp-$1" ] && [ "$(cat "$venv/.stamp-$1")" = "$(wanted_stamp "$1")" ] &&
        [ -x "$venv/bin/ohmykube" ] && "$venv/bin/python" -c '' 2>/dev/null &&
        { [ -z "${PYTHON:-}" ] || python=$PYTHON of_wanted_version; }
}

healthy_venv() { # a moved checkout or a removed Python leaves an environment that cannot be used
    local place="VIRTUAL_ENV=${venv// /}"
    tr -d "\"' \t" 2>/dev/null <"$venv/bin/activate" | grep -qxF -e "$place" -e "export$place" &&
        usable "$venv/bin/python" || return 1
    # Another Python than the preferred one does, until the packages have to be installed anew.
    [ -z "$preferred${PYTHON:-}" ] || of_wanted_version
}

ensure_uv() { # the pinned uv in $uv, fetched if it is not there
    local cache pin fetched
    pin=$(sed -n 's/^uv==\([^ ]*\).*/\1/p' "$root/requirements/uv.txt")
    cache="${XDG_CACHE_HOME:-$HOME/.cache}/ohmykube-dev"
    uv="$cache/uv-$pin"
    [ -x "$uv" ] && "$uv" --version >/dev/null 2>&1 && return
    note "fetching uv $pin, which installs the rest"
    ensure_venv
    mkdir -p "$cache" && fetched=$(mktemp -d "$cache/fetch.XXXXXX") || return 1
    if "$python" -m venv "$fetched" >"$log" 2>&1 &&
        pip_install "$fetched/bin/python" --only-binary :all: \
            --require-hashes --requirement "$root/requirements/uv.txt" &&
        "$fetched/bin/uv" --version >"$log" 2>&1; then
        mv -f "$fetched/bin/uv" "$uv"
    fi
    rm -rf "$fetched"
    [ -x "$uv" ]
}

settings_for_uv() { # what the user told pip about packages; uv reads none of it
    local index
    index=${PIP_INDEX_URL:-$(sed -n 's/^[[:space:]]*index-url[[:space:]]*=[[:space:]]*//p' \
        /etc/pip.conf "$HOME/.pip/pip.conf" "${XDG_CONFIG_HOME:-$HOME/.config}/pip/pip.conf" \
        "${PIP_CONFIG_FILE:-/dev/null}" 2>/dev/null | tail -n 1)}
    [ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
    [ -z "${PIP_CERT:-}" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"
    [ -z "${PIP_DEFAULT_TIMEOUT:-}" ] || export UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-$PIP_DEFAULT_TIMEOUT}"
    export UV_PYTHON_DOWNLOADS=never
}

uv_install() { # arguments of uv pip install
    "$uv" pip install --quiet --compile-bytecode --python "$venv/bin/python" "$@" >"$log" 2>&1 </dev/null
}

pip_install() { # python, arguments of pip install
    local into=$1
    shift
    "$into" -m pip --disable-pip-version-check --quiet install "$@" >"$log" 2>&1 </dev/null
}

by_uv() { # the whole environment
    ensure_uv || return 1
    settings_for_uv
    healthy_venv || "$uv" venv --quiet --clear --python "$python" "$venv" >"$log" 2>&1 || return 1
    note "installing requirements/$what.txt with uv, every hash checked"
    uv_install --require-hashes --only-binary :all: --requirement "$root/requirements/$what.txt" &&
        uv_install --no-deps --no-build-isolation --editable "$root"
}

by_pip() { # the same
    ensure_venv
    healthy_venv && "$venv/bin/python" -m pip --version >/dev/null 2>&1 ||
        "$python" -m venv --clear "$venv" || fail "cannot create $venv"
    note "installing requirements/$what.txt with pip, every hash checked"
    pip_install "$venv/bin/python" --only-binary :all: \
        --require-hashes --requirement "$root/requirements/$what.txt" &&
        pip_install "$venv/bin/python" --no-deps --no-build-isolation --editable "$root"
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
healthy_venv || note "creating it with $("$python" --version)"
rm -f "$venv/.stamp-run" "$venv/.stamp-dev"
by_uv || {
    tail -n 12 "$log" >&2
    note "uv does not work here, so pip installs the packages: about a minute"
    by_pip
} || {
    tail -n 12 "$log" >&2
    fail "installing Python packages failed" \
        "look at the lines above; the same command again goes on where it stopped"
}
# As pip does for all else: who runs it may not write here, or not want Python to write bytecode.
"$venv/bin/python" -m compileall -q -j 0 "$root/ohmykube"
wanted_stamp "$what" >"$venv/.stamp-$what"
# The development set holds the run-time set, pin for pin.
[ "$what" = run ] || wanted_stamp run >"$venv/.stamp-run"
note "done in $((SECONDS - begin)) s"
