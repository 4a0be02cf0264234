//! A session of PostgreSQL that many clients use one after the other.

use std::collections::HashMap;
use std::io::{self, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::Whose;
use crate::postgres_messages::{Message, bytes, message};

/// A session with the statements that were prepared in it.
pub struct Session {
    stream: BufReader<UnixStream>,
    /// PostgreSQL's first messages in the session.
    pub greeting: Vec<u8>,
    /// State of the transaction, as in ReadyForQuery.
    state: u8,
    /// Prepared statements by their text and the types of their parameters, as in Parse.
    statements: HashMap<Vec<u8>, Statement>,
    /// Names in PostgreSQL by the names that the current client uses.
    names: HashMap<Vec<u8>, Vec<u8>>,
}

/// A prepared statement of the session.
struct Statement {
    /// Name of the statement in PostgreSQL.
    name: Vec<u8>,
    /// PostgreSQL's description of the statement.
    described: Vec<Message>,
}

impl Session {
    /// Opens a new session.
    pub fn begin(server: &Path, (user, database): &Whose) -> io::Result<Self> {
        let stream = UnixStream::connect(server)?;
        stream.set_read_timeout(Some(crate::wait::RUN))?;
        let mut session = Self {
            stream: BufReader::new(stream),
            greeting: Vec::new(),
            state: b'I',
            statements: HashMap::new(),
            names: HashMap::new(),
        };
        let mut startup = 196_608_u32.to_be_bytes().to_vec(); // protocol 3.0
        for text in [
            "user",
            user,
            "database",
            database,
            "client_encoding",
            "UTF8",
            "",
        ] {
            startup.extend(text.bytes().chain([0]));
        }
        let length = u32::try_from(startup.len() + 4)
            .expect("a short message")
            .to_be_bytes();
        let mut greeting = Vec::new();
        session.exchange(&[&length, &startup[..]].concat(), &mut greeting)?;
        session.greeting = bytes(&greeting);
        Ok(session)
    }

    /// Resets the session for the next client, but keeps prepared statements: `DISCARD ALL` without `DEALLOCATE ALL`
    /// and `DISCARD PLANS`.
    pub fn leave(&mut self) -> io::Result<()> {
        self.names.clear();
        if self.state != b'I' {
            self.query("ROLLBACK")?;
        }
        self.query(
            "CLOSE ALL; RESET SESSION AUTHORIZATION; RESET ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD TEMP;
             DISCARD SEQUENCES",
        )
    }

    /// Runs statements without parameters.
    pub fn query(&mut self, sql: &str) -> io::Result<()> {
        let mut answer = Vec::new();
        self.exchange(&bytes(&[Message::query(sql)]), &mut answer)?;
        let failed = answer.iter().find(|message| message.is_error(""));
        failed.map_or(Ok(()), |error| {
            Err(io::Error::other(
                String::from_utf8_lossy(&error.body).into_owned(),
            ))
        })
    }

    /// Returns PostgreSQL's response to this message, or the earlier response if another client prepared the same
    /// statement.
    pub fn answer(&mut self, asked: Vec<Message>, answer: &mut Vec<Message>) -> io::Result<()> {
        let kinds: Vec<u8> = asked.iter().map(|message| message.kind).collect();
        match (&kinds[..], &asked[..]) {
            (b"PDS", [parse, ..]) if self.state != b'E' => self.prepare(parse, answer),
            (b"CS", [close, _]) if self.names.remove(name(&close.body[5..])).is_some() => {
                answer.extend([Message::new(b'3', &[]), self.ready()]); // CloseComplete
                Ok(())
            }
            _ => {
                let asked: io::Result<Vec<Message>> = asked
                    .into_iter()
                    .map(|message| self.renamed(message))
                    .collect();
                self.exchange(&bytes(&asked?), answer)
            }
        }
    }

    fn prepare(&mut self, parse: &Message, answer: &mut Vec<Message>) -> io::Result<()> {
        let given = name(&parse.body[4..]).to_vec();
        let text = &parse.body[4 + given.len() + 1..];
        if let Some(statement) = self.statements.get(text) {
            self.names.insert(given, statement.name.clone());
            answer.push(Message::new(b'1', &[])); // ParseComplete
            answer.extend(statement.described.iter().cloned().chain([self.ready()]));
            return Ok(());
        }
        let ours = format!("kit_{}", self.statements.len()).into_bytes();
        let asked = [
            Message::new(b'P', &[&ours[..], b"\0", text].concat()),
            Message::new(b'D', &[b"S", &ours[..], b"\0"].concat()),
            Message::new(b'S', &[]),
        ];
        self.exchange(&bytes(&asked), answer)?;
        // These are ParseComplete, ParameterDescription, RowDescription or NoData, and ReadyForQuery. Anything else,
        // such as an error, is not kept.
        if let [parsed, parameters, rows, _] = &answer[..]
            && (parsed.kind, parameters.kind) == (b'1', b't')
        {
            let described = vec![parameters.clone(), rows.clone()];
            self.names.insert(given, ours.clone());
            self.statements.insert(
                text.to_vec(),
                Statement {
                    name: ours,
                    described,
                },
            );
        }
        Ok(())
    }

    /// Replaces the client's name of the statement by PostgreSQL's name.
    fn renamed(&self, message: Message) -> io::Result<Message> {
        let before = match (message.kind, message.body.get(4)) {
            (b'B', _) => name(&message.body[4..]).len() + 1, // the portal
            (b'D' | b'C', Some(b'S')) => 1,
            // A name that is set in another way would still exist for the next client.
            (b'P', Some(first)) if *first != 0 => return Err(ErrorKind::Unsupported.into()),
            _ => return Ok(message),
        };
        let (before, rest) = message.body[4..].split_at(before);
        let given = name(rest);
        let Some(ours) = self.names.get(given) else {
            return Ok(message);
        };
        Ok(Message::new(
            message.kind,
            &[before, ours, &rest[given.len()..]].concat(),
        ))
    }

    fn ready(&self) -> Message {
        Message::new(b'Z', &[self.state])
    }

    /// Sends this message, and returns PostgreSQL's response up to ReadyForQuery.
    fn exchange(&mut self, asked: &[u8], answer: &mut Vec<Message>) -> io::Result<()> {
        self.stream.get_mut().write_all(asked)?;
        loop {
            let message = message(&mut self.stream)?;
            let ready = (message.kind == b'Z').then(|| message.body[4]); // ReadyForQuery
            answer.push(message);
            if let Some(state) = ready {
                self.state = state;
                return Ok(());
            }
        }
    }
}

/// Returns the text at the beginning.
fn name(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}
