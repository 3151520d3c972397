#!/bin/sh
# Make the secrets that compose.yaml mounts, once, into deploy/secrets: random passwords, the URLs that bear them, and
# the secret that signs the gate's tokens. The folder is its owner's alone. The files in it can be read by everybody who
# gets at them, because Compose mounts a file with its owner and mode, and the gate's user in its container is another.
set -eu
cd "$(dirname "$0")"

if [ -e secrets ]; then
  echo "deploy/secrets is there already, and is left as it is; the database knows its password" >&2
  exit 1
fi

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

postgres_password=$(random)
redis_password=$(random)
(umask 077 && mkdir secrets)
umask 022
printf '%s\n' "$postgres_password" > secrets/postgres_password
printf '%s\n' "$redis_password" > secrets/redis_password
printf '%s\n' "postgresql://bqgate:$postgres_password@postgres:5432/bqgate" > secrets/ledger_url
printf '%s\n' "redis://:$redis_password@redis:6379/0" > secrets/budgets_url
printf '%s\n' "$(random)" > secrets/token_secret
echo "made deploy/secrets; now: docker compose -f deploy/compose.yaml up --build"
