#!/bin/sh
# Writes a configuration below $LAB/postroad and makes the accounts u0@bench.test … with one password.
set -e
D=$LAB/postroad; USERS=${USERS:-320}; PASS=${PASS:-benchpass}
mkdir -p "$D"
cat > "$D/postroad.toml" <<EOF
host_name = "mx.bench.test"
data = "$D/data"
[[listener]]
front = "smtp"
address = "127.0.0.1:26025"
tls = "none"
[[listener]]
front = "submission"
address = "127.0.0.1:26587"
tls = "none"
[[listener]]
front = "imap"
address = "127.0.0.1:26143"
tls = "none"
[[listener]]
front = "pop3"
address = "127.0.0.1:26110"
tls = "none"
[[egress]]
name = "sink"
relay = "127.0.0.1:29025"
relay_tls = "none"
[limits]
sessions_per_address = 10000
recipients = 1000
[access]
trusted_networks = ["127.0.0.0/8"]
plain_on_trusted_network = true
[dns]
servers = ["127.0.0.1:9"]
EOF
P() { "$POSTROAD" --config "$D/postroad.toml" "$@" > /dev/null; }
printf '%s\n' "$PASS" > "$D/password"
P domain add bench.test
i=0; while [ $i -lt "$USERS" ]; do
  P account add "u$i@bench.test" --password-file "$D/password"
  i=$((i+1)); done
echo "configured in $D"
