//! The messages between a client and PostgreSQL, as far as proxies have to parse them.
//!
//! They follow PostgreSQL's page "Frontend/Backend Protocol: Message Formats".

use std::io::{self, ErrorKind, Read};

/// One message.
#[derive(Clone)]
pub struct Message {
    /// Type byte of the message.
    pub kind: u8,
    /// Rest of the message, with its length.
    pub body: Vec<u8>,
}

/// Returns the client's messages up to the point where it waits for a response; `None` if it ends the session.
pub fn batch(client: &mut impl Read) -> io::Result<Option<Vec<Message>>> {
    let mut messages = Vec::new();
    loop {
        let message = message(client)?;
        let kind = message.kind;
        messages.push(message);
        match kind {
            b'S' | b'Q' => return Ok(Some(messages)), // Sync, Query
            b'X' => return Ok(None),                  // Terminate
            _ => {}
        }
    }
}

/// Reads the next message.
pub fn message(from: &mut impl Read) -> io::Result<Message> {
    let mut kind = [0];
    from.read_exact(&mut kind)?;
    Ok(Message {
        kind: kind[0],
        body: body(from)?,
    })
}

/// Reads a length and the bytes that it counts, itself included.
pub fn body(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let count = u32::from_be_bytes(length) as usize;
    let rest = count.checked_sub(4).ok_or(ErrorKind::InvalidData)?;
    let mut body = length.to_vec();
    body.resize(4 + rest, 0);
    from.read_exact(&mut body[4..])?;
    Ok(body)
}

impl Message {
    /// Returns a message with this content after its length.
    pub fn new(kind: u8, rest: &[u8]) -> Self {
        let length = u32::try_from(rest.len() + 4).expect("a short message");
        Self {
            kind,
            body: [&length.to_be_bytes(), rest].concat(),
        }
    }

    /// Returns a simple query.
    pub fn query(sql: &str) -> Self {
        Self::new(b'Q', &[sql.as_bytes(), b"\0"].concat())
    }

    /// Returns true for an ErrorResponse whose code starts with this text.
    pub fn is_error(&self, code: &str) -> bool {
        let mut fields = self
            .body
            .get(4..)
            .unwrap_or_default()
            .split(|byte| *byte == 0);
        self.kind == b'E'
            && fields.any(|field| {
                field
                    .strip_prefix(b"C")
                    .is_some_and(|at| at.starts_with(code.as_bytes()))
            })
    }

    /// Appends the message.
    pub fn write_to(&self, bytes: &mut Vec<u8>) {
        bytes.push(self.kind);
        bytes.extend(&self.body);
    }

    /// Returns the texts at the beginning of the message.
    pub fn texts(&self) -> impl Iterator<Item = String> + '_ {
        self.body[4..]
            .split(|byte| *byte == 0)
            .map(|text| String::from_utf8_lossy(text).into_owned())
    }
}

/// Returns the messages as bytes.
pub fn bytes(messages: &[Message]) -> Vec<u8> {
    let mut bytes = Vec::new();
    messages
        .iter()
        .for_each(|message| message.write_to(&mut bytes));
    bytes
}
