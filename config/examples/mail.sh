#!/bin/sh
# Sends a mail of a ban to root by this host's mail server. For [[notify]] of guard.toml:
#     command = ["/usr/local/bin/guard-mail", "root@localhost"]
# It speaks SMTP: what guard-helper runs cannot become another user, as sendmail would.
set -eu
to=$1
from="guard@$(hostname)"
{
    printf 'From: %s\r\nTo: %s\r\n' "$from" "$to"
    printf 'Subject: [guard] %s: %s %s\r\n\r\n' "$GUARD_HOST" "$GUARD_EVENT" "$GUARD_ADDRESS"
    printf 'Jail:    %s\r\nAddress: %s\r\n' "$GUARD_JAIL" "$GUARD_ADDRESS"
    printf 'Reason:  %s\r\nUntil:   %s\r\n' "${GUARD_REASON:-}" "${GUARD_UNTIL:-}"
} | curl --silent --show-error --fail --max-time 8 --url smtp://localhost \
    --mail-from "$from" --mail-rcpt "$to" --upload-file -
