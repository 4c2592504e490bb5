//! `guardctl` by other names: called as `fail2ban-client` or `fail2ban-regex`, it takes
//! their command lines, prints what they print and ends with their exit codes.

mod client;
mod regex;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::output;

/// What Fail2Ban's programs end with after any error.
const FAILED: u8 = 255;

/// Does what the command line says, if the program has one of the other names.
pub(super) fn main() -> Option<ExitCode> {
    let mut words = std::env::args_os();
    let program = words.next()?;
    let run = match Path::new(&program).file_name()?.to_str()? {
        "fail2ban-client" => client::main,
        "fail2ban-regex" => regex::main,
        _ => return None,
    };
    let words: Result<Vec<String>, OsString> = words.map(OsString::into_string).collect();
    let code = match words {
        Ok(words) => run(&words),
        Err(word) => {
            output::talk(&format!("not UTF-8: {}", word.display()));
            FAILED
        }
    };
    Some(ExitCode::from(code))
}
