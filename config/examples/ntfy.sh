#!/bin/sh
# Sends a ban to a topic of ntfy (https://ntfy.sh, or a server of your own). For [[notify]]
# of guard.toml:
#     command = ["/usr/local/bin/guard-ntfy", "https://ntfy.sh/TOPIC"]
set -eu
curl --silent --show-error --fail --max-time 8 --output /dev/null \
    --header "Title: guard on $GUARD_HOST" --header 'Tags: no_entry' \
    --data-raw "$GUARD_EVENT $GUARD_ADDRESS in $GUARD_JAIL: ${GUARD_REASON:-}" "$1"
