//! Transports without protocols: commands and events.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use smol::stream::StreamExt;
use smol_transports::actor::{self, Events};
use smol_transports::{Command, Event, Transport, spawn};

// ANCHOR: conversation
/// A conversation of two questions, as a loop that waits.
async fn conversation(transport: Transport, mut events: Events) -> io::Result<Vec<String>> {
    let mut answers = Vec::new();
    for question in ["who are you?\n", "how are you?\n"] {
        transport.write(question);
        answers.push(next_line(&mut events).await?);
    }
    transport.close();
    transport.closed().await?;
    Ok(answers)
}

async fn next_line(events: &mut Events) -> io::Result<String> {
    let mut line = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Event::DataReceived(data) => line.extend_from_slice(&data),
            Event::EofReceived => return Err(io::ErrorKind::UnexpectedEof.into()),
            Event::ConnectionLost(exc) => return Err(exc.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())),
            _ => {}
        }
        if line.ends_with(b"\n") {
            return String::from_utf8(line).map_err(io::Error::other);
        }
    }
    Err(io::ErrorKind::BrokenPipe.into())
}
// ANCHOR_END: conversation

// ANCHOR: main
pub fn main() -> io::Result<()> {
    let (transport, events, actor) = actor::open(polite_peer()?)?;
    // Somebody must poll the actor: here a task where spawned transports run.
    let actor = spawn(actor);
    let answers = smol::block_on(conversation(transport, events))?;
    smol::block_on(actor);
    answers.iter().for_each(|answer| print!("{answer}"));
    Ok(())
}
// ANCHOR_END: main

// ANCHOR: command
/// The same words as messages: for a queue, a test, or another thread.
fn say_good_bye(transport: &Transport) -> io::Result<()> {
    let commands = [Command::Write("good bye\n".into()), Command::Close];
    for command in commands {
        transport.send(command).map_err(io::Error::other)?;
    }
    Ok(())
}
// ANCHOR_END: command

/// A socket whose other end answers each line by a line.
fn polite_peer() -> io::Result<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    thread::spawn(move || {
        for answer in ["I am a thread.\n", "Very well, thank you.\n"] {
            far.read_exact(&mut [0; 13])?;
            far.write_all(answer.as_bytes())?;
        }
        io::Result::Ok(())
    });
    Ok(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_after_the_end_come_back() {
        let (transport, events, actor) = actor::open(polite_peer().unwrap()).unwrap();
        say_good_bye(&transport).unwrap();
        smol::block_on(actor);
        drop(events);
        assert!(say_good_bye(&transport).is_err());
    }
}
