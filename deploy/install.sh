#!/bin/sh
# Installs bleedtrace from the folder that this script was unpacked in: ./deploy/install.sh [--prefix DIR] [--uninstall]
# Nothing is fetched, nothing is started. A configuration that is there already stays.
set -eu

prefix=/usr
root=${DESTDIR:-}
action=install

fail() {
    printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
        --prefix)
            [ $# -ge 2 ] || fail "--prefix names no directory" "give one: --prefix /usr/local"
            prefix=$2
            shift 2
            ;;
        --uninstall)
            action=uninstall
            shift
            ;;
        *) fail "unknown argument $1" "there are --prefix DIR and --uninstall" ;;
    esac
done

case $prefix in
    /*) ;;
    *) fail "the prefix $prefix does not begin with /" "give the whole path" ;;
esac

from=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
bin=$root$prefix/bin
share=$root$prefix/share
unit=$root/etc/systemd/system/bleedtrace.service
config=$root/etc/bleedtrace/config.toml

if [ "$action" = uninstall ]; then
    rm -f "$bin/bleedtrace" "$unit" "$share/bash-completion/completions/bleedtrace" \
        "$share/zsh/site-functions/_bleedtrace" "$share/fish/vendor_completions.d/bleedtrace.fish"
    rm -f "$share/man/man1/bleedtrace.1" "$share/man/man1"/bleedtrace-*.1
    rm -rf "$share/doc/bleedtrace"
    echo "removed; $config stays"
    exit 0
fi

[ -x "$from/bleedtrace" ] || fail "$from has no program bleedtrace" "run this script where the archive was unpacked"
[ -w "$root/" ] || fail "$root/ cannot be written" "run it with sudo"

install -d "$bin" "$share/man/man1" "$share/bash-completion/completions" "$share/zsh/site-functions" \
    "$share/fish/vendor_completions.d" "$share/doc/bleedtrace" "$root/etc/systemd/system"
install -d -m 0755 "$root/etc/bleedtrace"
install -m 0755 "$from/bleedtrace" "$bin/bleedtrace"
install -m 0644 "$from"/man/*.1 "$share/man/man1/"
install -m 0644 "$from/completions/bleedtrace.bash" "$share/bash-completion/completions/bleedtrace"
install -m 0644 "$from/completions/_bleedtrace" "$share/zsh/site-functions/_bleedtrace"
install -m 0644 "$from/completions/bleedtrace.fish" "$share/fish/vendor_completions.d/bleedtrace.fish"
install -m 0644 "$from/README.md" "$from/CHANGELOG.md" "$from/LICENSE-APACHE" "$from/LICENSE-MIT" "$share/doc/bleedtrace/"
sed "s|/usr/bin/bleedtrace|$prefix/bin/bleedtrace|" "$from/deploy/systemd/bleedtrace.service" >"$unit"
chmod 0644 "$unit"
[ -e "$config" ] || install -m 0644 "$from/deploy/config.toml" "$config"
echo "installed; start it with: systemctl daemon-reload && systemctl enable --now bleedtrace"
