#!/bin/sh
# Lays out what the image holds: the program, the libraries that it is linked with, CA certificates, and little more.
# Usage: rootfs.sh PROGRAM FOLDER; makes FOLDER/root, which becomes /, and FOLDER/home, the working directory.
#
# The same program and libraries give the same tree, byte for byte and time for time (SOURCE_DATE_EPOCH).
set -eu
umask 022
program=$1
root=$2/root
home=$2/home
certificates=/etc/ssl/certs/ca-certificates.crt

mkdir -p "$home" "$root/usr/local/bin" "$root/etc/ssl/certs"
mkdir -m 1777 "$root/tmp"
install -m 0755 "$program" "$root/usr/local/bin/countersign"

# Each library and the loader, under the very path at which they are looked for.
LC_ALL=C ldd "$program" >"$2/libraries"
if grep 'not found' "$2/libraries"; then
    echo "rootfs.sh: $program needs libraries that are not here" >&2
    exit 1
fi
sed -n 's|^.* => \(/[^ ]*\) (.*|\1|p; s|^[[:space:]]*\(/[^ ]*\) (.*|\1|p' "$2/libraries" | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
rm "$2/libraries"

# Whom to trust in TLS: `sslrootcert` in a database URL may name this file, and so may OTEL_EXPORTER_OTLP_CERTIFICATE.
install -m 0644 "$certificates" "$root$certificates"
# Names: /etc/hosts and DNS need no further library in glibc 2.34 and newer.
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
echo 'countersign:x:65532:65532::/var/lib/countersign:/usr/local/bin/countersign' >"$root/etc/passwd"
echo 'countersign:x:65532:' >"$root/etc/group"

find "$root" "$home" -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH:-0}" {} +
