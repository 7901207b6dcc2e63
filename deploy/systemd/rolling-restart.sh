#!/bin/sh
# Restarts the servers of convoy@.service one after another, so that no call fails:
#   rolling-restart.sh 3001 3002
# Each is taken out of nginx first, then drained, started, and put back when it is ready. With no server running yet, it
# starts them.
set -eu
upstream=/etc/nginx/convoy-upstream.conf

# Writes the list of servers; the one whose port is $1 gets no requests.
write() {
  {
    echo 'upstream convoy {'
    for each in $ports; do
      if [ "$each" = "$1" ]; then echo "  server 127.0.0.1:$each down;"; else echo "  server 127.0.0.1:$each max_fails=0;"; fi
    done
    echo '}'
  } >"$upstream.new"
  mv "$upstream.new" "$upstream"
  if systemctl --quiet is-active nginx; then systemctl reload nginx; fi
}

until_ready() {
  tries=0
  until curl --silent --fail --output /dev/null --max-time 2 "http://127.0.0.1:$1/api/ready"; do
    tries=$((tries + 1))
    if [ "$tries" -ge 60 ]; then
      echo "convoy@$1 is not ready after 30 s: journalctl -u convoy@$1" >&2
      exit 1
    fi
    sleep 0.5
  done
}

ports="$*"
[ -n "$ports" ] || { echo "usage: $0 <port> <port>…" >&2; exit 2; }
for port in $ports; do
  if systemctl --quiet is-active "convoy@$port"; then
    write "$port"
    # The workers of nginx that had the old list finish what they have begun; then the drain ends their streams.
    sleep 1
    systemctl restart "convoy@$port"
  else
    systemctl enable --quiet --now "convoy@$port"
  fi
  until_ready "$port"
  write none
done
