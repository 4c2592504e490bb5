//! A client's side of Fail2Ban's socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::compat::pickle::{Bounds, PickleError, decode_answer, encode};
use crate::compat::value::{Fault, Value};
use crate::compat::{CLOSE, END};

/// A connection to a server of Fail2Ban's, or to the agent.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection.
    #[error(transparent)]
    Connection(#[from] io::Error),
    /// What came over it.
    #[error(transparent)]
    Pickle(#[from] PickleError),
    /// What it says.
    #[error("the server's answer is none: {0}")]
    Answer(String),
}

impl Client {
    /// Connects. `patience` is for each answer; `None` waits as long as it takes.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(socket: &Path, patience: Option<Duration>) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(patience)?;
        Ok(Self { stream })
    }

    /// Asks one thing: the value, or the error that the server has for it.
    ///
    /// # Errors
    /// When there is no proper answer.
    pub fn ask(&mut self, request: &Value) -> Result<Result<Value, Fault>, ClientError> {
        let mut bytes = encode(request);
        bytes.extend(END);
        self.stream.write_all(&bytes)?;
        let mut answer = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        while !answer.ends_with(END) {
            let read = self.stream.read(&mut buffer)?;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::ConnectionReset).into());
            }
            answer.extend(&buffer[..read]);
        }
        answer.truncate(answer.len() - END.len());
        // As many bans as there may be.
        let bounds = Bounds { values: 1 << 26, text: 1 << 30, ..Bounds::default() };
        match decode_answer(&answer, bounds)? {
            Value::Tuple(pair) => match <[Value; 2]>::try_from(pair) {
                Ok([Value::Number(0), value]) => Ok(Ok(value)),
                Ok([_, Value::Fault(fault)]) => Ok(Err(fault)),
                other => Err(ClientError::Answer(format!("{other:?}"))),
            },
            Value::Text(text) => Err(ClientError::Answer(text.to_string())),
            other => Err(ClientError::Answer(format!("{other:?}"))),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Whoever has left already need not be told.
        let _ = self.stream.write_all(&[CLOSE, END].concat());
    }
}
