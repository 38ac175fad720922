#!/bin/sh
# Builds a minimal Debian with systemd, Python and what the units start, once; prints its folder.
#
#   tests/units/root.sh SUITE FOLDER      FOLDER/SUITE-HASH is made if it is not there
#
# Needs root and mmdebstrap. Mirrors and the way to them are read from this machine's own apt.
set -eu

suite=$1
packages=systemd,systemd-sysv,python3,mosquitto,nginx-light
mkdir -p "$2"
root=$(cd "$2" && pwd)/$suite-$(printf '%s' "$packages" | cksum | cut -d' ' -f1)
if [ ! -d "$root" ]; then
    work=$(mktemp -d "$2/new.XXXXXX")
    trap 'rm -rf --one-file-system "$work"' EXIT
    uri_of() { apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -E -m1 "$1" || true; }
    main=$(uri_of '/debian/?$')
    security=$(uri_of '/debian-security/?$')
    apt-config dump 2>/dev/null |
        grep -E '^Acquire::(http|https|Check|Retries|AllowInsecure)[^ ]* ".+";$' >"$work/99host" || true
    set --
    [ -z "$main" ] || set -- "deb $main $suite main"
    [ -z "$main" ] || [ -z "$security" ] || set -- "$@" "deb $security $suite-security main"
    mmdebstrap --quiet --mode=root --variant=minbase --include="$packages" --aptopt="$work/99host" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$suite" "$work/root" "$@" >&2
    rm -rf "$work"/root/var/cache/apt/* "$work"/root/var/lib/apt/lists/*
    # Nobody asks for a language, a clock or a disk check in there, and ours is the only broker.
    for unit in mosquitto.service nginx.service apt-daily.timer apt-daily-upgrade.timer \
        dpkg-db-backup.timer e2scrub_all.timer fstrim.timer; do
        ln -sf /dev/null "$work/root/etc/systemd/system/$unit"
    done
    mv "$work/root" "$root"
fi
echo "$root"
