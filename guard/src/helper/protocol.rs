//! What agent and helper say: one JSON value a line.
//!
//! ```text
//! {"id":7,"do":{"run":{"arguments":["/usr/local/bin/known","192.0.2.1"]}}}
//! {"id":7,"answer":{"exited":{"code":1,"output":""}}}
//! {"id":8,"do":{"resolve":{"name":"office.example"}}}
//! {"id":8,"answer":{"addresses":["192.0.2.80"]}}
//! ```

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The longest line, either way.
pub const MOST_BYTES: usize = 64 << 10;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Comes back with the answer.
    pub id: u64,
    /// What is to be done.
    #[serde(rename = "do")]
    pub task: Task,
}

/// What can be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Task {
    /// Run a program.
    Run {
        /// Its path and its arguments.
        arguments: Vec<String>,
        /// How long it may take, in milliseconds; 10 s if nothing is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout: Option<u64>,
    },
    /// Run a program that is told something. Such programs have places of their own: who
    /// waits for an answer of [`Task::Run`] does not wait for them.
    Tell {
        /// Its path and its arguments.
        arguments: Vec<String>,
        /// Variables beside `PATH` and `LANG`.
        environment: Vec<(String, String)>,
        /// What it reads on its standard input.
        input: String,
        /// How long it may take, in milliseconds.
        timeout: u64,
    },
    /// Look up the addresses of a host.
    Resolve {
        /// Its name.
        name: String,
    },
}

/// One answer; they come in any order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The request's; 0 if it could not be read.
    pub id: u64,
    /// What came of it.
    pub answer: Answer,
}

/// What can come of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The program ended.
    Exited {
        /// Its exit code.
        code: i32,
        /// The start of what it wrote.
        output: String,
    },
    /// The host's addresses.
    Addresses(Vec<IpAddr>),
    /// Nothing, and why.
    Failed(String),
}
