#!/bin/sh
# Builds pgduet_VERSION_ARCH.deb out of a built binary: sh docker/debian/build.sh [binary] [directory]
set -eu
cd "$(dirname "$0")/../.."
binary="${1:-target/release/pgduet}"
out="${2:-.}"
version="$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)"
arch="$(dpkg --print-architecture)"
root="$(mktemp -d)"
trap 'rm -rf "$root"' EXIT

install -D -m 755 "$binary" "$root/usr/bin/pgduet"
install -D -m 644 docker/systemd/pgduet.service "$root/usr/lib/systemd/system/pgduet.service"
install -D -m 640 proxy.yaml "$root/etc/pgduet/proxy.yaml"
for page in README.md docker/prometheus/rules.yml docker/grafana/dashboards/pgduet.json; do
    install -D -m 644 "$page" "$root/usr/share/doc/pgduet/$(basename "$page")"
done
mkdir -p "$root/usr/share/man/man1" "$root/DEBIAN"
"$binary" man --directory "$root/usr/share/man/man1"
gzip -9n "$root"/usr/share/man/man1/*.1
install -d "$root/usr/share/bash-completion/completions" "$root/usr/share/zsh/vendor-completions" "$root/usr/share/fish/vendor_completions.d"
"$binary" completions bash >"$root/usr/share/bash-completion/completions/pgduet"
"$binary" completions zsh >"$root/usr/share/zsh/vendor-completions/_pgduet"
"$binary" completions fish >"$root/usr/share/fish/vendor_completions.d/pgduet.fish"

cat >"$root/DEBIAN/control" <<CONTROL
Package: pgduet
Version: $version
Architecture: $arch
Maintainer: The pgduet developers <pgduet@localhost>
Section: database
Priority: optional
Depends: libc6
Recommends: ca-certificates
Description: proxy that moves an application from one PostgreSQL to another
 pgduet stands between an application and two databases. What the old one commits is carried to
 the new one; reads move by percentage, key by key, and back; a sample of them is asked of
 both, and what is answered differently is listed by statement.
CONTROL
echo /etc/pgduet/proxy.yaml >"$root/DEBIAN/conffiles"
# The unit is not started by itself: the configuration has to name the databases first.
cat >"$root/DEBIAN/postinst" <<'POSTINST'
#!/bin/sh
set -e
[ ! -d /run/systemd/system ] || systemctl daemon-reload
POSTINST
chmod 755 "$root/DEBIAN/postinst"
dpkg-deb --root-owner-group --build "$root" "$out/pgduet_${version}_${arch}.deb"
