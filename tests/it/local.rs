//! Servers inside of a future: what else runs on their thread, and who wakes them.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures_lite::future;
use smol_transports::{Protocol, Transport, create_server, spawn};

use crate::common::{ANY, PATIENCE, blocking, client, guard, read_all};
use crate::guard::run;
use crate::recorder::{Call, Log, Recorder};

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::Mutex;
    use std::thread::{self, ThreadId};

    use smol_transports::{connect_socket, driver};

    use super::*;
    use crate::common::{ping, tcp_pair};

    type Places = Arc<Mutex<Vec<ThreadId>>>;

    fn note(places: &Places) {
        places.lock().unwrap().push(thread::current().id());
    }

    /// Answers from a task of its own, and notes where that and its callback run.
    struct Later(Places);

    impl Protocol for Later {
        fn data_received(&mut self, transport: &Transport, data: &[u8]) {
            note(&self.0);
            let (transport, data, places) = (transport.clone(), data.to_vec(), self.0.clone());
            let answer = async move {
                smol::Timer::after(Duration::from_millis(1)).await;
                note(&places);
                transport.write(data);
            };
            spawn(answer).detach();
        }
    }

    #[test]
    fn what_a_callback_spawns_runs_beside_it() {
        let places = Places::default();
        guard(async {
            let server = create_server(|| Later(places.clone()), ANY).await.unwrap();
            let (addr, handle) = (server.local_addr().unwrap(), server.handle());
            let talk = blocking(move || {
                assert_eq!(ping(&mut client(addr), b"hello"), b"hello");
                handle.close();
            });
            future::zip(server.serve_local(), talk).await.0.unwrap();
        });
        // Else spawned tasks run on a driver thread.
        if std::env::var_os("SMOL_TRANSPORTS_HUB").is_none() {
            assert_eq!(*places.lock().unwrap(), [thread::current().id(); 2]);
        }
    }

    /// Asks somebody else before it answers.
    struct Asks;

    impl Protocol for Asks {
        fn data_received(&mut self, transport: &Transport, data: &[u8]) {
            let (near, far) = tcp_pair();
            drop(far);
            let log = Log::default();
            driver::block_on(async { drop(connect_socket(Recorder::new(&log), near).await.unwrap().await) });
            assert_eq!(log.calls(), [Call::Made, Call::Eof, Call::Lost(None)]);
            transport.write(data);
        }
    }

    #[test]
    fn a_callback_may_wait_by_a_driver() {
        run(async || {
            let server = create_server(|| Asks, ANY).await.unwrap();
            let (addr, handle) = (server.local_addr().unwrap(), server.handle());
            let talk = blocking(move || {
                assert_eq!(ping(&mut client(addr), b"hello"), b"hello");
                handle.close();
            });
            future::zip(server.serve_local(), talk).await.0.unwrap();
        });
    }
}

/// Spawns a task that is never at rest before it may end.
struct Restless {
    made: Arc<AtomicBool>,
    may_end: Arc<AtomicBool>,
    ended: mpsc::Sender<()>,
}

impl Protocol for Restless {
    fn connection_made(&mut self, _: &Transport) {
        let (may_end, ended) = (self.may_end.clone(), self.ended.clone());
        let task = async move {
            while !may_end.load(Ordering::Relaxed) {
                future::yield_now().await;
            }
            ended.send(()).unwrap();
        };
        spawn(task).detach();
        self.made.store(true, Ordering::Relaxed);
    }
}

#[test]
fn others_have_their_turn_beside_a_busy_server_and_its_tasks_survive_it() {
    let (sender, ended) = mpsc::channel();
    let [made, may_end] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let end = may_end.clone();
    // On another thread: one that does not let others have their turn does not come back.
    run(async move || {
        let has_made = made.clone();
        let restless = move || Restless { made: has_made.clone(), may_end: end.clone(), ended: sender.clone() };
        let server = create_server(restless, ANY).await.unwrap();
        let _client = client(server.local_addr().unwrap());
        let is_made = async {
            while !made.load(Ordering::Relaxed) {
                future::yield_now().await;
            }
        };
        future::or(is_made, async { server.serve_local().await.unwrap() }).await;
    });
    may_end.store(true, Ordering::Relaxed);
    ended.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn another_thread_wakes_a_server_at_rest() {
    struct Tells(mpsc::Sender<Transport>);
    impl Protocol for Tells {
        fn connection_made(&mut self, transport: &Transport) {
            self.0.send(transport.clone()).unwrap();
        }
    }
    let (sender, made) = mpsc::channel();
    let (ask, asked) = async_channel::unbounded();
    let (answer, answered) = mpsc::channel();
    let (ends, ended) = mpsc::channel();
    run(async move || {
        let server = create_server(move || Tells(sender.clone()), ANY).await.unwrap();
        let (addr, handle) = (server.local_addr().unwrap(), server.handle());
        // Nothing else wakes it: this thread waits for what comes of each call.
        let talk = blocking(move || {
            let wait_for_rest = || {
                ask.send_blocking(()).unwrap();
                answered.recv().unwrap();
            };
            let mut stream = client(addr);
            let transport = made.recv().unwrap();
            wait_for_rest();
            transport.close();
            assert_eq!(read_all(&mut stream), b"");
            wait_for_rest();
            handle.close();
            ended.recv().unwrap();
        });
        let serve = async {
            server.serve_local().await.unwrap();
            ends.send(()).unwrap();
        };
        // It comes after the server in each turn, so that is at rest when this answers.
        let rest = async {
            while asked.recv().await.is_ok() {
                answer.send(()).unwrap();
            }
        };
        future::zip(future::zip(serve, rest), talk).await;
    });
}

#[test]
fn a_timer_wakes_a_server_at_rest() {
    let log = Log::default();
    guard(async {
        let server = create_server(|| Recorder::new(&log), ANY).idle_timeout(Duration::from_millis(5)).await.unwrap();
        let (addr, handle) = (server.local_addr().unwrap(), server.handle());
        let talk = blocking(move || {
            assert_eq!(read_all(&mut client(addr)), b"");
            handle.close();
        });
        future::zip(server.serve_local(), talk).await.0.unwrap();
    });
    assert_eq!(log.calls(), [Call::Made, Call::Lost(Some(ErrorKind::TimedOut))]);
}
