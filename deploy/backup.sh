#!/bin/sh
# Saves what must not be lost, or brings it back (see backup.md):
#
#   deploy/backup.sh save FOLDER       while everything runs; the folder is new
#   deploy/backup.sh restore FOLDER    into an empty database, while nothing runs
#
# It reads the variables of the roles: BACKBEAT_DB_DSN (or …_FILE), BACKBEAT_DATA_DIR
# and BACKBEAT_MEDIA_DIR. It needs the client of the database, mariadb-dump and mariadb
# or pg_dump and psql, of the server's version or a later one; for SQLite the program
# itself (PROGRAM=/path/to/backbeat). Media in S3 are left to the bucket's own means.
set -eu

usage() { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ $# -eq 2 ] || usage
verb=$1 folder=$2
data=${BACKBEAT_DATA_DIR:-data}
media=${BACKBEAT_MEDIA_DIR:-$data/media}
dsn=${BACKBEAT_DB_DSN:-}
if [ -n "${BACKBEAT_DB_DSN_FILE:-}" ]; then dsn=$(cat "$BACKBEAT_DB_DSN_FILE"); fi
dsn=${dsn:-sqlite:$data/backbeat.db}

# plain turns %40 of a URL into @.
plain() {
	left=$1
	while :; do
		case $left in
		*%[0-9A-Fa-f][0-9A-Fa-f]*)
			printf %s "${left%%\%*}" && left=${left#*%} && rest_of=${left#??}
			printf "\\$(printf %03o "0x${left%"$rest_of"}")" && left=$rest_of
			;;
		*) printf %s "$left" && return ;;
		esac
	done
}

# Of postgres://account@place or mysql://account@place, where the account is
# user:password. The password travels where no list of processes shows it.
rest=${dsn#*://} && account=${rest%@*} place=${rest##*@} password=
case $account in *:*) password=$(plain "${account#*:}") ;; esac

mysql() {
	client=$1 && shift
	address=${place%%/*} name=${place#*/}
	case $address in *:*) port=${address##*:} ;; *) port=3306 ;; esac
	MYSQL_PWD=$password "$client" --no-defaults --protocol=tcp --host="${address%:*}" --port="$port" \
		--user="$(plain "${account%%:*}")" --default-character-set=utf8mb4 "$@" "${name%%\?*}"
}

postgres() {
	client=$1 && shift
	PGPASSWORD=$password "$client" --no-password --dbname="postgres://${account%%:*}@$place" "$@"
}

# Tables are made, never dropped: restoring into a database that has them fails.
save_database() {
	case $dsn in
	mysql://*) mysql mariadb-dump --single-transaction --skip-add-drop-table --skip-lock-tables --hex-blob >"$folder/database.sql" ;;
	postgres://*) postgres pg_dump --no-owner --no-privileges --file="$folder/database.sql" ;;
	sqlite:*) "${PROGRAM:-backbeat}" snapshot "$folder/database.sqlite" ;;
	*) echo "backup.sh: BACKBEAT_DB_DSN is of no kind it knows" >&2; exit 1 ;;
	esac
}

restore_database() {
	case $dsn in
	mysql://*) mysql mariadb <"$folder/database.sql" ;;
	postgres://*) postgres psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 --single-transaction --output=/dev/null --file="$folder/database.sql" ;;
	sqlite:*)
		file=${dsn#sqlite:} && file=${file%%\?*}
		if [ -e "$file" ]; then echo "backup.sh: $file is there already" >&2; exit 1; fi
		mkdir -p "$(dirname "$file")"
		rm -f "$file-wal" "$file-shm" # of the file that was lost
		cp "$folder/database.sqlite" "$file"
		;;
	*) echo "backup.sh: BACKBEAT_DB_DSN is of no kind it knows" >&2; exit 1 ;;
	esac
}

case $verb in
save)
	umask 077
	mkdir "$folder"
	# The database first: a stored file never changes, so each that it names is there
	# when files are copied.
	save_database
	if [ -d "$media" ]; then tar -C "$media" -cf "$folder/media.tar" .; fi
	if [ -e "$data/token.keys" ]; then cp "$data/token.keys" "$folder/"; fi
	: >"$folder/complete"
	;;
restore)
	[ -e "$folder/complete" ] || { echo "backup.sh: $folder is no complete backup" >&2; exit 1; }
	restore_database
	if [ -e "$folder/media.tar" ]; then mkdir -p "$media" && tar -C "$media" -xf "$folder/media.tar"; fi
	if [ -e "$folder/token.keys" ]; then mkdir -p "$data" && cp -p "$folder/token.keys" "$data/"; fi
	;;
*) usage ;;
esac
