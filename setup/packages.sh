#!/bin/sh
# System packages: lists what is missing and why, asks, then installs with apt-get.
#
#   setup/packages.sh PURPOSE...      run fault ci browser systemd front
#
# YES=1 answers yes. Without a terminal and without YES it stops with exit code 1 and prints the
# exact command. A package's service is not started by us and, freshly installed, not enabled;
# one that is already set up is left alone.
set -eu

PATH=$PATH:/usr/sbin:/sbin
policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d}

# --- as root: install the named packages without starting anything ---------------------------

if [ "${1:-}" = --install ]; then
    shift
    export DEBIAN_FRONTEND=noninteractive
    saved=$policy.before-feldwarte
    restore() {
        rm -f "$policy"
        [ ! -e "$saved" ] || mv "$saved" "$policy"
    }
    # A copy that is still here was left by a run that was killed; it is the original.
    [ -e "$saved" ] || [ ! -e "$policy" ] || mv "$policy" "$saved"
    trap restore EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\n# Nothing starts while Feldwarte installs packages.\nexit 101\n' >"$policy"
    chmod 755 "$policy"

    apt-get -qq update || echo "setup: apt-get update failed; going on with the lists that are here" >&2
    apt-get install -y --no-install-recommends "$@"
    # They were not here before, so nobody relies on their services. Ours run with their own
    # configuration and ports; a second one at each boot helps nobody.
    for service in mosquitto nginx; do
        case " $* " in
        *" $service "*)
            ! command -v systemctl >/dev/null || systemctl disable "$service.service" >/dev/null 2>&1 || true
            ;;
        esac
    done
    exit 0
fi

# --- as anybody: what is missing? ------------------------------------------------------------

missing=
reasons=

# need COMMAND PACKAGE REASON
need() {
    ! command -v "$1" >/dev/null || return 0
    lack "$2" "$3"
}

# need_library PKG_CONFIG_NAME PACKAGE REASON
need_library() {
    ! pkg-config --exists "$1" 2>/dev/null || return 0
    lack "$2" "$3"
}

lack() {
    case " $missing " in *" $1 "*) return 0 ;; esac
    missing="$missing $1"
    reasons="$reasons
  $(printf '%-18s' "$1") $2"
}

for purpose in "$@"; do
    case $purpose in
    run)
        need mosquitto mosquitto "the MQTT broker; runs on ports and data of our own, Debian's service stays off"
        ;;
    fault)
        need strace strace "makes a disk fail (EIO, disk full) under a running program"
        need nft nftables "cuts a network link inside a namespace of the test's own"
        need ip iproute2 "makes that namespace"
        ;;
    browser)
        need chromium chromium "opens the pages as an operator would"
        ;;
    systemd)
        need systemd-analyze systemd "reckons how exposed the units are"
        need systemd-nspawn systemd-container "boots a machine of its own that runs them"
        need mmdebstrap mmdebstrap "makes that machine's root"
        ;;
    front)
        need nginx nginx "the HTTPS front; runs on ports and files of our own, Debian's service stays off"
        ;;
    ci)
        need gcc gcc "builds systemd-python"
        need pkg-config pkg-config "finds libsystemd for it"
        need_library libsystemd libsystemd-dev "the library it binds"
        [ "$(command -v python3)" != /usr/bin/python3 ] || ls /usr/include/python3*/Python.h >/dev/null 2>&1 ||
            lack python3-dev "Python's headers for it"
        ;;
    *)
        echo "setup/packages.sh: no purpose '$purpose'; run, fault, browser, systemd, front or ci" >&2
        exit 2
        ;;
    esac
done
[ -n "$missing" ] || exit 0
missing=${missing# }

echo "These system packages are missing:$reasons"
if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null; then
    as_root='sudo '
else
    as_root='su root -- '
fi
command="${as_root}apt-get install --no-install-recommends $missing"

if ! command -v apt-get >/dev/null; then
    echo "There is no apt-get here; install them with this system's own means, then run make again." >&2
    exit 1
fi
if [ "${YES:-}" != 1 ]; then
    if [ ! -t 0 ]; then
        echo "Nobody to ask here. Run this, or make with YES=1:" >&2
        echo "  $command" >&2
        exit 1
    fi
    printf 'Install them now with "%s"? [y/N] ' "$command"
    read -r answer || answer=
    case $answer in
    [yYjJ]*) ;;
    *)
        echo "Nothing installed. The command, for later:" >&2
        echo "  $command" >&2
        exit 1
        ;;
    esac
fi
case $as_root in
'') exec sh "$0" --install $missing ;;
sudo*) exec sudo sh "$0" --install $missing ;;
*)
    echo "Needs root and there is no sudo. Run as root:" >&2
    echo "  apt-get install --no-install-recommends $missing" >&2
    exit 1
    ;;
esac
