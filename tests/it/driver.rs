//! Driver threads, and threads that are made one.

use std::collections::HashSet;
use std::fs::DirEntry;
use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use async_io::Timer;
use futures_lite::future;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use smol_transports::{
    Protocol, ServerHandle, Transport, connect_socket, create_connection, create_server, driver, spawn,
};
use socket2::SockRef;

use crate::common::{
    ANY, PATIENCE, assert_same, blocking, client, connected, descriptors, guard, isolated, patient, pattern, ping,
    read_all, read_exact, tcp_pair, unix_pair,
};
use crate::guard::watch;
use crate::recorder::{Call, Log, Recorder};

/// Sends back what comes, and reads no faster than it can send.
struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }

    fn pause_writing(&mut self, transport: &Transport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        transport.resume_reading();
    }
}

/// Runs a future on a driver of its own; panics if that takes too long, even if its thread blocks.
fn drive<T: Send + 'static>(f: impl AsyncFnOnce() -> T + Send + 'static) -> T {
    drive_as(driver::configure(), f)
}

/// The same on a driver with options.
fn drive_as<T: Send + 'static>(config: driver::Config, f: impl AsyncFnOnce() -> T + Send + 'static) -> T {
    watch();
    let (done, outcome) = mpsc::channel();
    thread::spawn(move || {
        let _ = done.send(catch_unwind(AssertUnwindSafe(|| config.block_on(patient(f())).unwrap())));
    });
    let result = outcome.recv_timeout(PATIENCE * 2).expect("it hangs");
    result.unwrap_or_else(|payload| resume_unwind(payload))
}

/// An echo server on the driver of this thread, or on those of the process, until `Closing` is dropped.
async fn echo_server() -> (SocketAddr, Closing) {
    let server = create_server(|| Echo, ANY).await.unwrap();
    let address = server.local_addr().unwrap();
    let (handle, serving) = server.spawn();
    serving.detach();
    (address, Closing(handle))
}

struct Closing(ServerHandle);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Sends much to an echo and asserts that it comes back.
fn bounce(stream: &TcpStream, len: usize, seed: u64) {
    let sent = pattern(len, seed);
    let mut writing = stream;
    thread::scope(|scope| {
        scope.spawn(|| writing.write_all(&sent).unwrap());
        assert_same(&read_exact(stream, len), &sent);
    });
}

#[test]
fn block_on_gives_the_value() {
    assert_eq!(driver::block_on(async { 1 }), 1);
    let later = async {
        future::yield_now().await;
        Timer::after(Duration::from_millis(5)).await;
        blocking(|| String::from("value")).await
    };
    assert_eq!(driver::block_on(later), "value");
}

/// Whether async-io has started its thread in this process.
fn has_async_io() -> bool {
    let is_its = |entry: io::Result<DirEntry>| {
        std::fs::read_to_string(entry.unwrap().path().join("comm")).is_ok_and(|name| name.trim() == "async-io")
    };
    std::fs::read_dir("/proc/self/task").unwrap().any(is_its)
}

#[test]
fn a_server_and_its_deadlines_need_no_thread_but_the_drivers() {
    isolated("driver::a_server_and_its_deadlines_need_no_thread_but_the_drivers", || {
        watch();
        driver::block_on(async {
            let log = Log::default();
            let its = log.clone();
            let idle = Duration::from_millis(20);
            let server = create_server(move || Recorder::echo(&its), ANY).idle_timeout(idle).await.unwrap();
            let far = client(server.local_addr().unwrap());
            let (handle, serving) = server.spawn();
            (&far).write_all(b"ping").unwrap();
            log.until_call(Call::Data(b"ping".to_vec())).await;
            log.until_call(Call::Lost(Some(ErrorKind::TimedOut))).await;
            assert_eq!((read_all(far), log.end()), (b"ping".to_vec(), Some(ErrorKind::TimedOut)));
            handle.close();
            serving.await.unwrap();
        });
        assert!(!has_async_io());
        // It would be found if it were there: smol's block_on starts it.
        smol::block_on(async {});
        while !has_async_io() {
            thread::yield_now();
        }
    });
}

#[test]
fn a_driver_that_looks_for_work_heeds_its_timers() {
    let log = Log::default();
    let (near, _far) = tcp_pair();
    drive_as(driver::configure().busy_poll(PATIENCE * 9), {
        let log = log.clone();
        async move || {
            connect_socket(Recorder::new(&log), near).idle_timeout(Duration::from_millis(20)).await.unwrap().await;
        }
    });
    assert_eq!(log.end(), Some(ErrorKind::TimedOut));
}

#[test]
fn a_shutdown_keeps_its_time_even_if_it_blocks_a_driver() {
    let server = future::block_on(create_server(|| Echo, ANY).into_future()).unwrap();
    let idle = client(server.local_addr().unwrap());
    let (handle, serving) = server.spawn();
    while handle.connections() == 0 {
        thread::yield_now();
    }
    drive(async move || smol::block_on(handle.shutdown(Duration::from_millis(20))));
    future::block_on(serving).unwrap();
    drop(idle);
}

#[test]
fn a_deadline_moves_from_an_ended_driver() {
    let log = Log::default();
    let its = log.clone();
    let (connection, _far) = drive(async move || {
        let (near, far) = tcp_pair();
        let connection = connect_socket(Recorder::new(&its), near).idle_timeout(Duration::from_millis(100));
        let mut connection = connection.await.unwrap();
        assert!(future::poll_once(&mut connection).await.is_none());
        (connection, far)
    });
    guard(connection);
    assert_eq!(log.end(), Some(ErrorKind::TimedOut));
}

#[test]
fn block_on_passes_on_a_panic() {
    let panicking = async || -> () { resume_unwind(Box::new("a panic")) };
    let payload = catch_unwind(|| driver::block_on(panicking())).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"a panic"));
    assert_eq!(driver::block_on(async { 2 }), 2);
}

#[test]
fn a_server_and_its_clients_share_a_driver() {
    drive(async || {
        let (address, _closing) = echo_server().await;
        let mut running = Vec::new();
        for seed in 0..20 {
            let sent = pattern(100_000, seed);
            let log = Log::default();
            let (len, message) = (sent.len(), sent.clone());
            let protocol = Recorder::new(&log).on_made(move |transport| transport.write(&message));
            let (transport, task) = create_connection(protocol, address).await.unwrap().spawn();
            running.push((sent, len, log, transport, task));
        }
        for (sent, len, log, transport, task) in running {
            log.until(|log| log.bytes() == len).await;
            transport.close();
            task.await;
            assert_same(&log.data(), &sent);
            assert_eq!(log.end(), None);
        }
    });
}

#[test]
fn a_callback_may_run_a_driver_of_its_own() {
    drive(async || {
        let log = Log::default();
        let (near, far) = tcp_pair();
        let nested = |transport: &Transport, data: &[u8]| {
            let data = data.to_vec();
            let answer = driver::block_on(async move {
                let (near, far) = tcp_pair();
                let (_, echo) = connected(Echo, near).spawn();
                let answer = blocking(move || ping(&mut { far }, &data)).await;
                echo.detach();
                answer
            });
            transport.write(answer);
        };
        let (_, running) = connected(Recorder::new(&log).on_data(nested), near).spawn();
        let far = blocking(move || {
            let mut far = far;
            for _ in 0..5 {
                assert_eq!(ping(&mut far, b"nested"), b"nested");
            }
            far
        });
        drop(far.await);
        running.await;
        assert_eq!(log.end(), None);
    });
}

#[test]
fn what_was_spawned_goes_on_after_the_end() {
    let (address, _closing, mut far) = drive(async || {
        let (address, closing) = echo_server().await;
        let (near, far) = tcp_pair();
        connected(Echo, near).spawn().1.detach();
        let far = blocking(move || {
            let mut far = far;
            assert_eq!(ping(&mut far, b"before"), b"before");
            assert_eq!(ping(&mut client(address), b"before"), b"before");
            far
        });
        (address, closing, far.await)
    });
    for _ in 0..3 {
        assert_eq!(ping(&mut far, b"after"), b"after");
        assert_eq!(ping(&mut client(address), b"after"), b"after");
    }
    bounce(&far, 3_000_000, 1);
}

#[test]
fn what_arrived_at_the_end_is_not_lost() {
    for round in 0..50 {
        let (mut far, sent) = drive(async move || {
            let (near, mut far) = tcp_pair();
            connected(Echo, near).spawn().1.detach();
            let sent = pattern(1 + round * 100, 2);
            for _ in 0..round % 4 {
                future::yield_now().await;
            }
            far.write_all(&sent).unwrap();
            (far, sent)
        });
        assert_same(&read_exact(&far, sent.len()), &sent);
        assert_eq!(ping(&mut far, b"after"), b"after");
    }
}

#[test]
fn a_connection_moves_from_an_ended_driver_to_other_executors() {
    let log = Log::default();
    let (mut connection, mut far, log) = drive(async move || {
        let (near, far) = tcp_pair();
        let mut connection = connected(Recorder::echo(&log), near);
        let asked = blocking(move || {
            let mut far = far;
            assert_eq!(ping(&mut far, b"first"), b"first");
            far
        });
        let far = connection.run_until(asked).await;
        (connection, far, log)
    });
    let ask = |text: &'static [u8]| {
        let mut stream = far.try_clone().unwrap();
        blocking(move || assert_eq!(ping(&mut stream, text), text))
    };
    guard(connection.run_until(ask(b"async-io")));
    driver::block_on(patient(connection.run_until(ask(b"another driver"))));
    guard(connection.run_until(ask(b"async-io again")));
    let (_, running) = connection.spawn();
    guard(ask(b"spawned"));
    far.flush().unwrap();
    drop(far);
    guard(running);
    assert_eq!(log.end(), None);
}

#[test]
fn a_blocked_writer_moves_from_an_ended_driver() {
    let sent = pattern(8_000_000, 3);
    let expected = sent.clone();
    let (connection, far) = drive(async move || {
        let (near, far) = tcp_pair();
        let mut connection = connected(Recorder::new(&Log::default()), near);
        connection.transport().pause_reading();
        connection.transport().write(sent);
        // It waits for the peer here.
        connection.run_until(Timer::after(Duration::from_millis(20))).await;
        assert!(connection.transport().write_buffer_size() > 0);
        connection.transport().close();
        (connection, far)
    });
    let got = guard(async { future::zip(connection, blocking(move || read_all(far))).await.1 });
    assert_same(&got, &expected);
}

/// The rest of a full read is read without asking epoll, and that of another driver must not be relied on then.
#[test]
fn a_reader_that_has_more_to_read_moves_from_an_ended_driver() {
    const FULL: usize = 256 * 1024;
    let log = Log::default();
    let mut first = true;
    let recorder = Recorder::new(&log).on_data(move |transport, _| {
        if std::mem::take(&mut first) {
            transport.pause_reading();
        }
    });
    let (transport, running, mut far) = drive(async move || {
        let (near, mut far) = unix_pair();
        SockRef::from(&far).set_send_buffer_size(4 * FULL).unwrap();
        far.write_all(&pattern(FULL + 10, 5)).unwrap();
        let (transport, running) = connected(recorder, near).spawn();
        while transport.is_reading() {
            future::yield_now().await;
        }
        (transport, running, far)
    });
    guard(async {
        assert_eq!(log.data().len(), FULL);
        transport.resume_reading();
        log.until(|log| log.data().len() == FULL + 10).await;
        far.write_all(b"x").unwrap();
        log.until(|log| log.data().len() == FULL + 11).await;
        drop(far);
        running.await;
    });
}

/// A thread that was busy too long finds out first what has come meanwhile.
#[test]
fn a_time_limit_that_passes_while_the_thread_is_busy_blames_nobody() {
    const LIMIT: Duration = Duration::from_secs(1);
    drive(async || {
        let (near, mut far) = unix_pair();
        let log = Log::default();
        let connecting = connect_socket(Recorder::new(&log), near).read_timeout(LIMIT);
        let mut connection = connecting.await.unwrap();
        assert!(future::poll_once(&mut connection).await.is_none());
        far.write_all(b"in time").unwrap();
        thread::sleep(LIMIT + LIMIT / 10);
        assert!(future::poll_once(&mut connection).await.is_none(), "{:?}", log.end());
        assert_eq!(log.data(), b"in time");
        thread::sleep(LIMIT + LIMIT / 10);
        assert!(future::poll_once(&mut connection).await.is_some());
        assert_eq!(log.end(), Some(ErrorKind::TimedOut));
    });
}

#[test]
fn other_threads_write() {
    guard(async {
        const THREADS: usize = 8;
        const WRITES: usize = 2000;
        let (near, far) = tcp_pair();
        let (transport, running) = connected(Echo, near).spawn();
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let transport = transport.clone();
                blocking(move || {
                    for number in 0..WRITES {
                        let mut record = [thread as u8; 16];
                        record[8..].copy_from_slice(&(number as u64).to_le_bytes());
                        assert!(transport.write(record).ok().is_ok());
                    }
                })
            })
            .collect();
        let reading = far.try_clone().unwrap();
        let got = blocking(move || read_exact(reading, THREADS * WRITES * 16));
        for writer in writers {
            writer.await;
        }
        let got = got.await;
        let mut next = [0_u64; THREADS];
        for record in got.chunks(16) {
            let thread = usize::from(record[0]);
            assert_eq!(record[..8], [thread as u8; 8]);
            assert_eq!(u64::from_le_bytes(record[8..].try_into().unwrap()), next[thread]);
            next[thread] += 1;
        }
        assert_eq!(next, [WRITES as u64; THREADS]);
        drop(far);
        running.await;
    });
}

#[test]
fn a_sleeping_driver_is_woken_by_each_write() {
    guard(async {
        let (near, far) = tcp_pair();
        let (transport, running) = connected(Echo, near).spawn();
        let far = blocking(move || {
            for number in 0..500_u32 {
                transport.write(number.to_le_bytes());
                assert_eq!(read_exact(&far, 4), number.to_le_bytes());
            }
            far
        });
        drop(far.await);
        running.await;
    });
}

/// Sends urgent bytes between normal ones; the normal ones arrive, without the last urgent one at least.
fn send_urgent(far: &mut TcpStream, log: &Log) {
    let mut normal = 0;
    for round in 0..100 {
        far.write_all(b"abc").unwrap();
        SockRef::from(&*far).send_out_of_band(b"!").unwrap();
        if round % 3 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        far.write_all(b"def").unwrap();
        normal += 6;
        let arrived = |log: &Log| log.data().iter().filter(|byte| **byte != b'!').count() == normal;
        guard(log.until(arrived));
    }
    let mut got = log.data();
    got.retain(|byte| *byte != b'!');
    assert_same(&got, &b"abcdef".repeat(100));
}

#[test]
fn urgent_data_does_not_stall_reading() {
    let log = Log::default();
    let (near, mut far) = tcp_pair();
    far.set_nodelay(true).unwrap();
    let (_, running) = connected(Recorder::new(&log), near).spawn();
    send_urgent(&mut far, &log);
    drop(far);
    guard(running);
    assert_eq!(log.end(), None);
}

#[test]
fn urgent_data_in_one_go_does_not_stall_reading() {
    for len in [1, 3, 1000, 100_000] {
        let log = Log::default();
        let (near, mut far) = tcp_pair();
        let bytes = vec![b'a'; len];
        let connection = connected(Recorder::new(&log), near);
        far.write_all(&bytes).unwrap();
        SockRef::from(&far).send_out_of_band(b"!").unwrap();
        far.write_all(&bytes).unwrap();
        // All is there before the driver hears of the socket.
        let (_, running) = connection.spawn();
        guard(log.until(|log| log.bytes() >= 2 * len));
        drop(far);
        guard(running);
        assert_eq!(log.bytes(), 2 * len);
    }
}

#[test]
fn data_and_the_end_come_in_one_go() {
    guard(async {
        for len in [0, 1, 1000, 100_000] {
            let log = Log::default();
            let (near, mut far) = tcp_pair();
            let sent = pattern(len, 4);
            far.write_all(&sent).unwrap();
            far.shutdown(Shutdown::Write).unwrap();
            connected(Recorder::new(&log).alone(), near).spawn().1.await;
            assert_same(&log.data(), &sent);
            assert_eq!(log.count(&Call::Eof), 1);
            assert_eq!(log.end(), None);
        }
    });
}

#[test]
fn data_and_a_later_end_are_both_seen() {
    guard(async {
        for round in 0..200 {
            let log = Log::default();
            let (near, mut far) = tcp_pair();
            let (_, running) = connected(Recorder::new(&log).alone(), near).spawn();
            if round % 2 == 0 {
                future::yield_now().await;
            }
            far.write_all(b"bytes").unwrap();
            drop(far);
            running.await;
            assert_eq!(log.calls(), [Call::Made, Call::Data(b"bytes".to_vec()), Call::Eof, Call::Lost(None)]);
        }
    });
}

#[test]
fn reading_pauses_and_resumes() {
    guard(async {
        let log = Log::default();
        let (near, far) = tcp_pair();
        let sent = pattern(2_000_000, 5);
        let pausing = |transport: &Transport, _: &[u8]| transport.pause_reading();
        let (transport, running) = connected(Recorder::new(&log).alone().on_data(pausing), near).spawn();
        let (mut writing, bytes) = (far, sent.clone());
        let send = blocking(move || {
            writing.write_all(&bytes).unwrap();
            drop(writing);
        });
        let mut known = 0;
        while known < sent.len() {
            log.until(|log| log.bytes() > known).await;
            known = log.bytes();
            // The log is written before the callback pauses, on the other thread.
            while transport.is_reading() {
                future::yield_now().await;
            }
            transport.resume_reading();
        }
        send.await;
        transport.resume_reading();
        running.await;
        assert_same(&log.data(), &sent);
    });
}

#[test]
fn what_came_during_a_pause_is_read_after_it() {
    guard(async {
        let log = Log::default();
        let (near, mut far) = tcp_pair();
        let (transport, running) = connected(Recorder::new(&log), near).spawn();
        for round in 1..=20 {
            transport.pause_reading();
            far.write_all(b"bytes").unwrap();
            Timer::after(Duration::from_millis(3)).await;
            transport.resume_reading();
            log.until(|log| log.bytes() == 5 * round).await;
        }
        transport.pause_reading();
        drop(far);
        Timer::after(Duration::from_millis(3)).await;
        transport.resume_reading();
        running.await;
        assert_eq!(log.end(), None);
    });
}

#[test]
fn a_panic_harms_nobody_else() {
    guard(async {
        let (near, far) = tcp_pair();
        let (_, other) = connected(Echo, near).spawn();
        bounce(&far, 100_000, 6);
        for _ in 0..10 {
            let log = Log::default();
            let (near, mut bad) = tcp_pair();
            let bomb = |_: &Transport, _: &[u8]| -> () { resume_unwind(Box::new("a panic")) };
            let (_, running) = connected(Recorder::new(&log).on_data(bomb), near).spawn();
            bad.write_all(b"bytes").unwrap();
            assert!(future::FutureExt::catch_unwind(AssertUnwindSafe(running)).await.is_err());
            log.end();
            bounce(&far, 1000, 7);
        }
        drop(far);
        other.await;
    });
}

#[test]
fn many_connections_echo_at_once() {
    guard(async {
        let (address, _closing) = echo_server().await;
        let sent = pattern(50_000, 8);
        let mut running = Vec::new();
        for _ in 0..200 {
            let log = Log::default();
            let connection = create_connection(Recorder::new(&log), address).await.unwrap();
            running.push((log, connection.spawn()));
        }
        for (_, (transport, _)) in &running {
            transport.write(&sent);
        }
        for (log, (transport, task)) in running {
            log.until(|log| log.bytes() == sent.len()).await;
            transport.close();
            task.await;
            assert_same(&log.data(), &sent);
            assert_eq!(log.end(), None);
        }
    });
}

/// Clock ticks that this process has run.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat[stat.rfind(')').unwrap()..].split(' ').collect();
    fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap()
}

#[test]
fn a_half_closed_peer_of_a_blocked_writer_costs_nothing() {
    isolated("driver::a_half_closed_peer_of_a_blocked_writer_costs_nothing", || {
        guard(async {
            let log = Log::default();
            let (near, far) = tcp_pair();
            let sent = pattern(30_000_000, 9);
            let (transport, running) = connected(Recorder::new(&log).keeping_open(), near).spawn();
            transport.write(&sent);
            far.shutdown(Shutdown::Write).unwrap();
            log.until_call(Call::Eof).await;
            Timer::after(Duration::from_millis(50)).await;
            assert!(transport.write_buffer_size() > 0);
            let before = ticks();
            Timer::after(Duration::from_millis(1000)).await;
            // A loop without rest takes about a hundred.
            assert!(ticks() - before < 20, "{} ticks", ticks() - before);
            transport.close();
            assert_same(&blocking(move || read_all(far)).await, &sent);
            running.await;
            assert_eq!(log.end(), None);
        });
    });
}

#[test]
fn threads_are_configured_once() {
    isolated("driver::threads_are_configured_once", || {
        driver::configure().threads(3).busy_poll(Duration::from_micros(10)).start().unwrap();
        let again = driver::configure().threads(2).start();
        assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
        guard(async {
            let (address, _closing) = echo_server().await;
            let clients: Vec<_> =
                (0..10).map(|seed| blocking(move || bounce(&client(address), 100_000, seed))).collect();
            for client in clients {
                client.await;
            }
        });
    });
}

/// How many driver threads this process has.
fn driver_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks.filter(|task| std::fs::read(task.path().join("comm")).is_ok_and(|name| name == b"smol-transports\n")).count()
}

fn wait_for_driver_threads(count: usize) {
    while driver_threads() != count {
        thread::yield_now();
    }
}

#[test]
fn threads_of_a_start_that_fails_halfway_end_again() {
    isolated("driver::threads_of_a_start_that_fails_halfway_end_again", || {
        watch();
        let before = getrlimit(Resource::Nofile);
        let few = u64::try_from(descriptors() + 16).unwrap();
        setrlimit(Resource::Nofile, Rlimit { current: Some(few), ..before }).unwrap();
        driver::configure().threads(64).start().unwrap_err();
        setrlimit(Resource::Nofile, before).unwrap();
        wait_for_driver_threads(0);
        driver::configure().threads(2).start().unwrap();
        wait_for_driver_threads(2);
    });
}

#[test]
fn what_a_driver_leaves_behind_stays_on_one_thread() {
    isolated("driver::what_a_driver_leaves_behind_stays_on_one_thread", || {
        watch();
        driver::configure().threads(3).start().unwrap();
        let (sender, threads) = mpsc::channel();
        let (ended, end) = async_channel::bounded::<()>(1);
        let note = async move {
            end.recv().await.unwrap_err();
            for _ in 0..6 {
                sender.send(thread::current().id()).unwrap();
                future::yield_now().await;
            }
        };
        driver::block_on(async { spawn(note).detach() });
        drop(ended);
        let threads: HashSet<_> = threads.iter().collect();
        assert_eq!(threads.len(), 1);
    });
}

#[test]
fn a_spawned_future_runs_beside_the_transports() {
    guard(async {
        let (sender, threads) = mpsc::channel();
        let note = move || sender.send(thread::current().id()).unwrap();
        let (near, mut far) = tcp_pair();
        let protocol = Recorder::new(&Log::default()).on_data(move |transport, _| {
            let (its, note) = (transport.clone(), note.clone());
            note();
            spawn(async move {
                note();
                let (near, far) = tcp_pair();
                drop(far);
                connected(Echo, near).await;
                note();
                its.write("second");
            })
            .detach();
            transport.write("first ");
        });
        let (_, running) = connected(protocol, near).spawn();
        far.write_all(b"?").unwrap();
        assert_eq!(read_exact(&far, 12), b"first second");
        let threads: HashSet<_> = threads.iter().take(3).collect();
        assert_eq!(threads.len(), 1);
        drop(running);
    });
}

#[test]
fn a_spawned_future_belongs_to_its_task() {
    drive(async || {
        assert_eq!(spawn(async { thread::current().id() }).await, thread::current().id());
        let panicking = spawn(async { resume_unwind(Box::new("a panic")) });
        let payload = future::FutureExt::catch_unwind(AssertUnwindSafe(panicking)).await.unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"a panic"));
        let (sender, dropped) = async_channel::bounded::<()>(1);
        drop(spawn(async move {
            future::pending::<()>().await;
            drop(sender);
        }));
        assert!(dropped.recv().await.is_err());
    });
}

/// Notes the thread of each client.
struct Where(mpsc::Sender<thread::ThreadId>);

impl Protocol for Where {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.0.send(thread::current().id()).unwrap();
        transport.write(data);
    }
}

#[test]
fn clients_of_a_server_are_spread_over_the_threads() {
    isolated("driver::clients_of_a_server_are_spread_over_the_threads", || {
        driver::configure().threads(3).start().unwrap();
        guard(async {
            let (sender, threads) = mpsc::channel();
            let server = create_server(move || Where(sender.clone()), ANY).await.unwrap();
            let address = server.local_addr().unwrap();
            let (handle, serving) = server.spawn();
            blocking(move || (0..12).for_each(|_| assert_eq!(ping(&mut client(address), b"where"), b"where"))).await;
            let threads: HashSet<_> = threads.try_iter().collect();
            assert_eq!(threads.len(), 3);
            handle.close();
            serving.await.unwrap();
        });
    });
}

#[test]
fn threads_that_were_needed_cannot_be_configured() {
    guard(async {
        let (near, mut far) = tcp_pair();
        let (_, running) = connected(Echo, near).spawn();
        assert_eq!(ping(&mut far, b"bytes"), b"bytes");
        assert_eq!(driver::configure().threads(4).start().unwrap_err().kind(), ErrorKind::AlreadyExists);
        drop(far);
        running.await;
    });
}
