//! Ping-pong without protocols: two actors, told by commands and telling by events.
//!
//! Run it with `cargo run --example actor_ping`.

use std::io;
use std::net::{TcpListener, TcpStream};

use smol::future;
use smol::stream::StreamExt;
use smol_transports::actor::{self, Events};
use smol_transports::{Command, Event, Transport};

const ROUNDS: usize = 5;

fn main() -> io::Result<()> {
    let (near, far) = pair()?;
    let (ping, ping_events, ping_actor) = actor::open(near)?;
    let (pong, pong_events, pong_actor) = actor::open(far)?;
    smol::block_on(async {
        // An actor works while it is polled: here beside the two who talk to it.
        let actors = future::zip(ping_actor, pong_actor);
        let players = future::try_zip(play_ping(ping, ping_events), play_pong(pong, pong_events));
        future::zip(actors, players).await.1
    })?;
    println!("both ends are closed");
    Ok(())
}

/// The two ends of a TCP connection.
fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    Ok((near, listener.accept()?.0))
}

/// Sends a ping for each pong, and closes after the last one.
async fn play_ping(transport: Transport, mut events: Events) -> io::Result<()> {
    let mut pongs = Lines::default();
    let mut round = 0;
    while let Some(event) = events.next().await {
        let lines = match event {
            Event::ConnectionMade => vec!["(connection made)".to_owned()],
            Event::DataReceived(data) => pongs.feed(&data),
            Event::ConnectionLost(Some(exc)) => return Err(exc),
            _ => vec![],
        };
        for line in lines {
            println!("{line}");
            round += 1;
            let next = if round > ROUNDS { Command::Close } else { say(format!("ping {round}")) };
            transport.send(next).map_err(io::Error::other)?;
        }
    }
    Ok(())
}

/// Answers every ping, and closes when there are no more.
async fn play_pong(transport: Transport, mut events: Events) -> io::Result<()> {
    let mut pings = Lines::default();
    while let Some(event) = events.next().await {
        match event {
            Event::DataReceived(data) => {
                for line in pings.feed(&data) {
                    println!("{line}");
                    transport.send(say(line.replace("ping", "pong"))).map_err(io::Error::other)?;
                }
            }
            // An actor never closes by itself at the end of file.
            Event::EofReceived => transport.send(Command::Close).map_err(io::Error::other)?,
            Event::ConnectionLost(Some(exc)) => return Err(exc),
            _ => {}
        }
    }
    Ok(())
}

fn say(line: String) -> Command {
    Command::Write((line + "\n").into())
}

/// A stream of bytes has no messages: a line may come in pieces, and a piece may hold several lines.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn feed(&mut self, data: &[u8]) -> Vec<String> {
        self.0.extend_from_slice(data);
        let mut lines = Vec::new();
        while let Some(end) = self.0.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.0.drain(..=end).collect();
            lines.push(String::from_utf8_lossy(&line[..end]).into_owned());
        }
        lines
    }
}
