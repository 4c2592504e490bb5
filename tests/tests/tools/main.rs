//! The verbs that need no agent: what `guardctl` says of filters, logs and files.

mod check;
mod explain;
mod host;
mod regex;
mod replay;
