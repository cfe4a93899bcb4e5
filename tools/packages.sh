#!/usr/bin/env bash
# Installs the Debian packages that the tests need: packages.sh test|nightly
#
# These come on top of what `ohmykube doctor --fix` installs for its users. Nothing is asked of a
# registry when all of them are there. Elsewhere than on Debian and its kin it says so and ends well:
# tests whose programs are missing are then skipped with a reason, or fail where CI is set.
set -euo pipefail

packages=(
    btrfs-progs ca-certificates dnsmasq-base gcc git gpg gpg-agent gpgv iproute2 libc6-dev libseccomp-dev make
    mmdebstrap netcat-openbsd nftables openssh-client openssl passt pkg-config python3 python3-venv qemu-utils skopeo
    slirp4netns
    systemd-container util-linux zstd
)
emulator=qemu-system-x86 # machines with a kernel of their own
emulator_since=9         # 7.2 starts programs at a third of its speed: a cluster never gets ready

case "${1:-}" in
test) ;;
nightly) packages+=("$emulator") ;;
*) echo "usage: tools/packages.sh test|nightly" >&2; exit 2 ;;
esac

command -v apt-get >/dev/null || {
    echo "==> No apt-get here: the programs that tests need are not installed for you"
    exit 0
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

installed() { # package: its version, or nothing
    { dpkg-query -W -f '${Status} ${Version}\n' "$1" 2>/dev/null || true; } |
        sed -n 's/^install ok installed //p'
}

upstream() { # version: its first number
    local plain=${1#*:}
    echo "${plain%%[!0-9]*}"
}

wanting() { # the names of what is not installed, or is too old
    local name version
    for name in "${packages[@]}"; do
        version=$(installed "$name")
        if [ -z "$version" ]; then
            echo "$name"
        elif [ "$name" = "$emulator" ] && [ "$(upstream "$version")" -lt "$emulator_since" ]; then
            echo "$name"
        fi
    done
    command -v go >/dev/null || [ -x /usr/local/go/bin/go ] || echo golang-go
}

# Where the release's own emulator is too old, Debian's backports have a newer one. Lists and sources
# of this one call only: the machine's own stay as they are.
backports() { # directory: print the apt options that see the backports too; nothing if there are none
    local release site
    release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    # shellcheck disable=SC2016 # apt's own fields
    site=$(apt-get indextargets --format '$(SITE) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
        awk -v release="$release" '$2 == release && $3 == "main" && !found { print $1; found = 1 }')
    [ -n "$site" ] && grep -q '^ID=debian$' /etc/os-release || return 0
    mkdir -p "$1"/lists/partial "$1"/archives/partial "$1/sources"
    as_root chown -R _apt "$1"/lists "$1"/archives 2>/dev/null || true # apt downloads as that user
    chmod a+rx "$1" "$1/.."
    find /etc/apt/sources.list.d -maxdepth 1 -type f -exec cp -t "$1/sources" {} + 2>/dev/null || true
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site $release-backports main" \
        >"$1/sources/backports.list"
    printf '%s\n' -o "Dir::Etc::sourceparts=$1/sources" -o "Dir::State::lists=$1/lists" -o "Dir::Cache=$1" \
        -t "$release-backports"
}

candidate() { # package [apt options]: the version that would be installed
    local name=$1
    shift
    apt-cache "$@" policy "$name" | sed -n 's/^ *Candidate: //p'
}

found=$(wanting) # not in the line below: there its failure would count for nothing
mapfile -t missing < <(printf '%s' "$found")
[ ${#missing[@]} = 0 ] && exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
install() { # apt options and packages
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "$@" \
        >"$work/log" 2>&1 </dev/null || {
        tail -n 8 "$work/log" >&2
        echo "error: apt-get could not install: ${missing[*]}" >&2
        exit 1
    }
}

echo "==> Installing Debian packages: ${missing[*]}"
as_root apt-get -q update >/dev/null
if [[ " ${missing[*]} " == *" $emulator "* ]] &&
    [ "$(upstream "$(candidate "$emulator")")" -lt "$emulator_since" ]; then
    mapfile -t newer < <(backports "$work/apt")
    if [ ${#newer[@]} -gt 0 ]; then
        as_root apt-get -q "${newer[@]}" update >/dev/null
        install "${newer[@]}" "$emulator" qemu-utils
        mapfile -t missing < <(wanting)
    fi
fi
[ ${#missing[@]} = 0 ] || install "${missing[@]}"
