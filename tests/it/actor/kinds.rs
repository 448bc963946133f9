//! The layer without protocols over pipes and children, and couplings between streams of any kind.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::process::Command;
use std::thread;

use futures_lite::StreamExt;
use smol_transports::actor::{self, Events};
use smol_transports::{
    Event, Pipe, ProcessCommand, ProcessEvent, ReadCommand, ReadTransport, Transport, WriteCommand, WriteTransport,
    Written,
};

use super::{next, rest};
use crate::common::{assert_same, guard, pattern, tcp_pair, unix_pair};
use crate::pipe::pipe;
use crate::recorder::Call;

const MEGABYTE: usize = 1024 * 1024;

#[test]
fn a_read_pipe_is_events_up_to_its_end() {
    guard(async {
        let (read, mut write) = pipe();
        let (transport, mut events, actor) = actor::open_read_pipe(read).unwrap();
        let task = smol::spawn(actor);
        assert_eq!(next(&mut events).await, Call::Made);
        transport.send(ReadCommand::PauseReading).unwrap();
        assert!(!transport.is_reading());
        write.write_all(b"text").unwrap();
        transport.send(ReadCommand::ResumeReading).unwrap();
        assert_eq!(next(&mut events).await, Call::Data(b"text".to_vec()));
        drop(write);
        assert_eq!(rest(events).await, [Call::Eof, Call::Lost(None)]);
        task.await;
        assert!(transport.send(ReadCommand::Close).is_err());
    });
}

#[test]
fn a_write_pipe_takes_commands_and_tells_of_its_marks() {
    guard(async {
        let (mut read, write) = pipe();
        let (transport, mut events, actor) = actor::open_write_pipe(write).unwrap();
        let task = smol::spawn(actor);
        assert_eq!(next(&mut events).await, Call::Made);
        transport.send(WriteCommand::Write(pattern(MEGABYTE, 1).into())).unwrap();
        assert_eq!(next(&mut events).await, Call::Pause);
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            read.read_to_end(&mut all).map(|_| all)
        });
        assert_eq!(next(&mut events).await, Call::Resume);
        transport.send(WriteCommand::WriteEof).unwrap();
        assert_eq!(rest(events).await, [Call::Lost(None)]);
        task.await;
        assert_same(&reader.join().unwrap().unwrap(), &pattern(MEGABYTE, 1));
    });
}

#[test]
fn a_write_pipe_whose_reader_goes_says_so() {
    guard(async {
        let (read, write) = pipe();
        let (transport, mut events, actor) = actor::open_write_pipe(write).unwrap();
        let task = smol::spawn(actor);
        assert_eq!(next(&mut events).await, Call::Made);
        transport.write(vec![0; MEGABYTE]);
        assert_eq!(next(&mut events).await, Call::Pause);
        drop(read);
        assert_eq!(rest(events).await, [Call::Lost(Some(ErrorKind::BrokenPipe))]);
        task.await;
    });
}

#[test]
fn the_wrong_end_of_a_pipe_is_refused() {
    let (read, write) = pipe();
    assert_eq!(actor::open_read_pipe(write).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(actor::open_write_pipe(read).unwrap_err().kind(), ErrorKind::InvalidInput);
    let file = File::open(env!("CARGO_MANIFEST_PATH")).unwrap();
    assert_eq!(actor::open_read_pipe(file).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_child_is_events_up_to_its_end() {
    guard(async {
        let (transport, mut events, actor) = actor::open_process(Command::new("cat")).unwrap();
        let task = smol::spawn(actor);
        assert!(matches!(events.next().await, Some(ProcessEvent::ConnectionMade)));
        transport.stdin().unwrap().write("text");
        match events.next().await {
            Some(ProcessEvent::PipeDataReceived(Pipe::Stdout, data)) => assert_eq!(*data, *b"text"),
            other => panic!("{other:?}"),
        }
        transport.send(ProcessCommand::Terminate).unwrap();
        let rest: Vec<_> = events.collect().await;
        let lost = |pipe| {
            rest.iter().filter(move |event| matches!(event, ProcessEvent::PipeConnectionLost(of, None) if *of == pipe))
        };
        for pipe in [Pipe::Stdin, Pipe::Stdout, Pipe::Stderr] {
            assert_eq!(lost(pipe).count(), 1, "{rest:?}");
        }
        assert!(matches!(rest[3..], [ProcessEvent::ProcessExited(_), ProcessEvent::ConnectionLost(None)]), "{rest:?}");
        assert_eq!(transport.returncode(), Some(-15));
        task.await;
    });
}

/// Passes on what one stream of any kind receives to others of any kind, as fast as the slowest takes it.
async fn couple(mut from: Events, sinks: &[WriteTransport]) {
    while let Some(event) = from.next().await {
        let Event::DataReceived(data) = event else { continue };
        for sink in sinks {
            if sink.write(&data) == Written::Full {
                sink.drain().await.unwrap();
            }
        }
    }
    sinks.iter().for_each(WriteTransport::close);
}

/// A transport, its events, and its actor at work.
fn opened(socket: impl smol_transports::StreamSocket) -> (Transport, Events) {
    let (transport, events, actor) = actor::open(socket).unwrap();
    smol::spawn(actor).detach();
    (transport, events)
}

fn feed(mut to: impl Write + Send + 'static, bytes: usize) {
    thread::spawn(move || to.write_all(&pattern(bytes, 2)));
}

fn read_on_a_thread(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).expect("it can be read");
        all
    })
}

#[test]
fn a_tee_couples_a_pipe_with_a_socket_of_each_kind_and_a_child() {
    guard(async {
        let (read, write) = pipe();
        let (_, source, actor) = actor::open_read_pipe(read).unwrap();
        smol::spawn(actor).detach();
        let ((tcp, tcp_far), (unix, unix_far)) = (tcp_pair(), unix_pair());
        let (child, mut child_events, actor) = actor::open_process(Command::new("cat")).unwrap();
        smol::spawn(actor).detach();
        let sinks = [opened(tcp).0.into(), opened(unix).0.into(), child.stdin().unwrap().clone()];
        feed(write, 3 * MEGABYTE);
        let (tcp_far, unix_far) = (read_on_a_thread(tcp_far), read_on_a_thread(unix_far));
        let coupling = smol::spawn(async move { couple(source, &sinks).await });
        let mut echoed = Vec::new();
        while let Some(event) = child_events.next().await {
            if let ProcessEvent::PipeDataReceived(Pipe::Stdout, data) = event {
                echoed.extend_from_slice(&data);
            }
        }
        coupling.await;
        assert_same(&echoed, &pattern(3 * MEGABYTE, 2));
        assert_same(&tcp_far.join().unwrap(), &pattern(3 * MEGABYTE, 2));
        assert_same(&unix_far.join().unwrap(), &pattern(3 * MEGABYTE, 2));
    });
}

#[test]
fn the_halves_of_a_transport_are_the_transport() {
    guard(async {
        let (near, mut far) = tcp_pair();
        let (transport, mut events) = opened(near);
        let (reader, writer) = (ReadTransport::from(transport.clone()), WriteTransport::from(transport.clone()));
        reader.pause_reading();
        assert!(!transport.is_reading() && !reader.is_reading());
        reader.resume_reading();
        assert_eq!(writer.write("through a half"), Written::Queued);
        writer.write_eof().unwrap();
        let mut text = String::new();
        far.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through a half");
        assert_eq!(next(&mut events).await, Call::Made);
        far.write_all(b"back").unwrap();
        assert_eq!(next(&mut events).await, Call::Data(b"back".to_vec()));
        reader.close();
        assert!(transport.is_closing() && writer.is_closing());
        writer.closed().await.unwrap();
        assert_eq!(rest(events).await, [Call::Lost(None)]);
    });
}
