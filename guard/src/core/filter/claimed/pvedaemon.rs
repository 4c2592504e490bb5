//! Messages of Proxmox VE's `pvedaemon` that name the client.
//!
//! Source: pve-access-control, `PVE/API2/AccessControl.pm` and `PVE/API2/OpenId.pm`.
//! The address comes first and from the daemon; the user name is any text of up to 64
//! characters, logged before it is checked, and the reason after it repeats it.

use super::{Form, failure};

pub(super) static FORMS: [Form; 3] = [
    // A plain name, and a reason in which nothing can look like a field.
    failure(
        "authentication failure; rhost=",
        r"<host> user=(?P<client>[A-Za-z0-9._@-]*) msg=(?P<q>[A-Za-z0-9 .,:_'()@\\-]*)",
    ),
    failure("authentication failure; rhost=", "<host> user=<c>"),
    failure("openid authentication failure; rhost=", "<host> msg=<c>"),
];
