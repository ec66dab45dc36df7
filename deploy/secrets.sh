#!/bin/sh
# Makes the secrets that compose.yaml reads, once, into the folder secrets beside it.
# What is there already stays: run it again after an update that needs a new one.
#
# Their mode is 444 inside a folder of mode 700: Compose mounts each file by itself
# into a container whose user is another than yours, while on this host nobody else
# gets past the folder.
set -eu
cd "$(dirname "$0")"
mkdir -p -m 0700 secrets
chmod 0700 secrets
cd secrets

# secret prints 256 random bits that need no escaping in a URL or a file.
secret() { od -An -vtx1 -N32 /dev/urandom | tr -d ' \n'; }
# keep writes its input to a file that does not exist yet.
keep() {
	if [ -e "$1" ]; then return; fi
	umask 0333
	cat >"$1.new"
	mv "$1.new" "$1"
}

secret | keep db_password
printf 'mysql://backbeat:%s@mariadb:3306/backbeat' "$(cat db_password)" | keep db_dsn
secret | keep redis_password
printf 'requirepass %s\n' "$(cat redis_password)" | keep redis.conf
secret | keep amqp_password
printf 'default_user = backbeat\ndefault_pass = %s\n' "$(cat amqp_password)" | keep rabbitmq.conf
printf 'backbeat' | keep s3_access_key
secret | keep s3_secret_key
printf 'k1:%s' "$(head -c 32 /dev/urandom | base64)" | keep token_keys
secret | keep grafana_password
