//! A chat over TCP and a Unix socket at once: what one member says is written to all others, without a copy.
//!
//! Run it with `cargo run --release --example chat -- 127.0.0.1:4000 chat.sock`, then join with `nc 127.0.0.1 4000` and
//! with `socat - UNIX-CONNECT:chat.sock`; the first line is a name. `/who` tells who is there, `/quit` leaves. Ctrl-C
//! says goodbye and ends it.
//!
//! Look at `Room::say` and `connection_lost` first: the room keeps the handle of each member, and handles can be written
//! to from everywhere. Whoever does not read what is said is dropped when 64 KiB wait (`max_write_buffer`), so one member
//! costs the others neither time nor memory. A line has at most 1024 bytes; an hour of silence ends a visit.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use smol_transports::{CreateServer, Protocol, Transport, create_server};

mod shared;

use shared::{Interrupt, start};

const USAGE: &str = "usage: chat [ADDRESS [PATH]]; 127.0.0.1:4000 and chat.sock by default";

const LONGEST_LINE: usize = 1024;
const LONGEST_NAME: usize = 32;
/// Bytes that may wait for one member.
const PATIENCE: usize = 64 * 1024;
/// Bytes that one member may say at once: the others must have a chance to read them.
const FLOOD: usize = PATIENCE / 2;
/// Time for a member that says nothing.
const SILENCE: Duration = Duration::from_secs(3600);
/// Members by each way; more wait at the door.
const MOST_MEMBERS: usize = 1000;
/// Time for the last words to be read.
const GOODBYE: Duration = Duration::from_secs(2);

/// Who is there, by name.
#[derive(Default)]
struct Room(BTreeMap<String, Transport>);

impl Room {
    /// Tells all but the speaker.
    fn say(&self, speaker: &str, text: String) {
        let text = Bytes::from(text);
        for (_, member) in self.0.iter().filter(|(name, _)| *name != speaker) {
            // Who does not read is lost by that; its `connection_lost` will say goodbye to the others.
            member.write_bytes(text.clone());
        }
    }
}

struct Member {
    room: Arc<Mutex<Room>>,
    /// The beginning of the next line.
    line: Vec<u8>,
    /// None until it has given one.
    name: Option<String>,
    /// What is to be said to the others at the end of the callback.
    said: String,
}

impl Protocol for Member {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write("* your name?\n");
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        for part in data.split_inclusive(|byte| *byte == b'\n') {
            if transport.is_closing() {
                break;
            }
            self.line.extend_from_slice(part);
            if self.line.len() > LONGEST_LINE {
                transport.write(format!("* a line has at most {LONGEST_LINE} bytes\n"));
                transport.close();
            } else if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.line_received(transport, &printable(&line));
            }
        }
        self.say();
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        if let Some(name) = self.name.take() {
            let reason = exc.map_or_else(String::new, |exc| format!(": {exc}"));
            self.room().0.remove(&name);
            self.room().say(&name, format!("* {name} has left{reason}\n"));
        }
    }
}

impl Member {
    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().expect("nobody panics in the room")
    }

    fn line_received(&mut self, transport: &Transport, line: &str) {
        match (&self.name, line) {
            (_, "/quit") => transport.close(),
            (None, name) => self.enter(transport, name),
            (Some(_), "") => {}
            (Some(_), "/who") => {
                let names: Vec<String> = self.room().0.keys().cloned().collect();
                transport.write(format!("* {}\n", names.join(", ")));
            }
            // It is said at once with what else comes now: there may be many lines, and many members.
            (Some(name), text) if self.said.len() < FLOOD => self.said += &format!("{name}: {text}\n"),
            (Some(_), _) => {
                transport.write("* nobody can read that fast\n");
                transport.close();
            }
        }
    }

    fn say(&mut self) {
        let said = std::mem::take(&mut self.said);
        if let Some(name) = self.name.as_ref().filter(|_| !said.is_empty()) {
            self.room().say(name, said);
        }
    }

    fn enter(&mut self, transport: &Transport, name: &str) {
        let is_name = name.chars().all(char::is_alphanumeric) && (1..=LONGEST_NAME).contains(&name.len());
        let mut room = self.room();
        if !is_name || room.0.contains_key(name) {
            transport.write("* please choose another name: letters and digits, and not one that is taken\n");
            return;
        }
        room.0.insert(name.to_owned(), transport.clone());
        room.say(name, format!("* {name} has joined\n"));
        drop(room);
        transport.write(format!("* welcome, {name}\n"));
        self.name = Some(name.to_owned());
    }
}

/// The line without what could move the cursors of others.
fn printable(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    line.chars().filter(|character| !character.is_control()).collect::<String>().trim().to_owned()
}

/// What holds for all members, whichever way they come.
fn bounded<F>(server: CreateServer<F>) -> CreateServer<F> {
    server
        .max_connections(MOST_MEMBERS)
        .max_write_buffer(PATIENCE)
        .read_timeout(SILENCE)
        .close_timeout(GOODBYE)
        .keep_alive(true)
}

async fn run([address, path]: [String; 2], interrupt: Interrupt) -> io::Result<()> {
    let room = Arc::new(Mutex::new(Room::default()));
    let its = room.clone();
    let member = move || Member { room: its.clone(), line: Vec::new(), name: None, said: String::new() };

    let tcp = bounded(create_server(member.clone(), address)).await?;
    let mut places = tcp.sockets();
    let mut servers = vec![tcp.spawn()];
    #[cfg(unix)]
    {
        let unix = bounded(smol_transports::create_unix_server(member, path)).await?;
        places.extend(unix.sockets());
        servers.push(unix.spawn());
    }
    places.iter().for_each(|place| println!("listening on {place}"));

    interrupt.wait().await?;
    room.lock().expect("nobody panics in the room").say("", "* the chat is over\n".to_owned());
    for (handle, serving) in servers {
        handle.close();
        handle.close_clients();
        serving.await?;
    }
    Ok(())
}

fn main() -> ExitCode {
    start(USAGE, ["127.0.0.1:4000", "chat.sock"], run)
}
