//! The enforcer that bans nobody: for dry runs, tests and measuring the rest.
