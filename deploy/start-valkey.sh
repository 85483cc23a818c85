#!/bin/sh
# Starts valkey-server with the password of the file that VALKEY_PASSWORD_FILE names: start-valkey.sh <valkey.conf> [options].
#
# The server has no setting for a password file. On its command line, or in its environment, the password could be read by whoever
# may list processes; a configuration file to include would be the password a second time, in another form than the relay reads
# it. So the one file is read here, and the server gets it on its standard input, which it takes for more configuration.
set -eu

fail() {
	echo "start-valkey: $1" >&2
	exit 1
}

[ -r "$VALKEY_PASSWORD_FILE" ] || fail "$VALKEY_PASSWORD_FILE cannot be read"
password=$(cat "$VALKEY_PASSWORD_FILE")
# An empty password would let everybody in.
[ -n "$password" ] || fail "$VALKEY_PASSWORD_FILE is empty"
case $password in *[!A-Za-z0-9_.~+/=-]*) fail "the password may have letters, digits and _.~+/=- only" ;; esac

# `exec`, so that the server is the process that gets the signals. The second line is for a replica: it shows the password to its primary.
exec valkey-server "$@" - <<EOF
requirepass "$password"
masterauth "$password"
EOF
