#!/bin/sh
# Sends a ban to a room of Matrix. For [[notify]] of guard.toml:
#     command = ["/usr/local/bin/guard-matrix", "https://matrix.example", "!room:matrix.example"]
# The token lies in /etc/guard/matrix.token, readable for the group guard-helper alone:
#     install -m 0640 -g guard-helper TOKEN /etc/guard/matrix.token
set -eu
server=$1
room=$(printf %s "$2" | sed 's/!/%21/; s/:/%3A/')
token=$(cat "${GUARD_MATRIX_TOKEN:-/etc/guard/matrix.token}")
# No fact holds a quote or a backslash.
text="$GUARD_HOST: $GUARD_EVENT $GUARD_ADDRESS in $GUARD_JAIL: ${GUARD_REASON:-}"
# The token goes by standard input: the list of processes is for everybody.
printf 'header = "Authorization: Bearer %s"\n' "$token" |
    curl --silent --show-error --fail --max-time 8 --output /dev/null --config - \
        --request PUT --header 'Content-Type: application/json' \
        --data-raw "{\"msgtype\":\"m.text\",\"body\":\"$text\"}" \
        "$server/_matrix/client/v3/rooms/$room/send/m.room.message/$$-$(date +%s%N)"
