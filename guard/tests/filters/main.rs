//! The shipped filters, the guide's filter and the engine under them, on lines.

mod examples;
mod planted;
mod support;
