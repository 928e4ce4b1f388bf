#!/bin/sh
# Installs what the tests need, on Debian or what descends from it, and nothing that is
# there already. No service is started: the tests start their own servers.
set -eu

missing=
need() { # FILE-OR-COMMAND PACKAGE…
  what=$1
  shift
  [ -e "$what" ] || command -v "$what" >/dev/null || ls $what >/dev/null 2>&1 || missing="$missing $*"
}
need gcc gcc                                    # the race detector
need /usr/include/stdio.h libc6-dev
need /usr/include/openssl/evp.h libssl-dev      # the build with OpenSSL
need curl curl
need openssl openssl
need '/usr/lib/postgresql/*/bin/initdb' postgresql
need /usr/sbin/pgbouncer pgbouncer
need patroni patroni                            # failover
need /usr/lib/python3/dist-packages/etcd python3-etcd
need etcd etcd-server
need /usr/sbin/haproxy haproxy
need /usr/sbin/nginx nginx-light                # the examples in packaging/
need caddy caddy
need systemd-analyze systemd
need rpm rpm
node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' 2>/dev/null || missing="$missing nodejs"
need npm npm                                    # test/clients
need /usr/lib/python3/dist-packages/requests_oauthlib python3-requests-oauthlib
need /usr/lib/python3/dist-packages/authlib python3-authlib
need php php-cli                                # docs/php.md
need chromium chromium                          # the pages
need /usr/share/fonts/opentype/inter/Inter-Regular.otf fonts-inter
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
  as_root=
elif command -v sudo >/dev/null; then
  as_root=sudo
else
  echo "The tests need packages that are missing: apt-get install$missing" >&2
  exit 1
fi
command -v apt-get >/dev/null || { echo "The tests need, by Debian's names:$missing" >&2; exit 1; }

# Debian starts services when it installs them, unless this says no.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
  $as_root chmod 755 $policy
  trap '$as_root rm -f $policy' EXIT
fi
$as_root apt-get update -q
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
