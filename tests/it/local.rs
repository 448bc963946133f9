//! Servers inside of a future: what else runs on their thread, and who wakes them.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use futures_lite::future;
use smol_transports::{Protocol, Transport, create_server, spawn};

use crate::common::{ANY, PATIENCE, blocking, client, guard, ping, read_all, read_exact};
use crate::recorder::{Call, Log, Recorder};

/// Answers from a task of its own, which says where it runs.
struct Later(Arc<Mutex<Vec<ThreadId>>>);

impl Later {
    fn note(places: &Mutex<Vec<ThreadId>>) {
        places.lock().unwrap().push(thread::current().id());
    }
}

impl Protocol for Later {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        Self::note(&self.0);
        let (transport, data, places) = (transport.clone(), data.to_vec(), self.0.clone());
        let answer = async move {
            smol::Timer::after(Duration::from_millis(1)).await;
            Self::note(&places);
            transport.write(data);
        };
        spawn(answer).detach();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_callback_spawns_runs_beside_it() {
    let places = Arc::new(Mutex::new(Vec::new()));
    guard(async {
        let server = create_server(|| Later(places.clone()), ANY).await.unwrap();
        let (addr, handle) = (server.local_addr().unwrap(), server.handle());
        let talk = blocking(move || {
            assert_eq!(ping(&mut client(addr), b"hello"), b"hello");
            handle.close();
        });
        future::zip(server.serve_local(), talk).await.0.unwrap();
    });
    if std::env::var_os("SMOL_TRANSPORTS_HUB").is_none() {
        assert_eq!(*places.lock().unwrap(), [thread::current().id(); 2]);
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
    guard(async {
        let (has_made, end) = (made.clone(), may_end.clone());
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
    let (sender, receiver) = mpsc::channel();
    struct Tells(mpsc::Sender<Transport>);
    impl Protocol for Tells {
        fn connection_made(&mut self, transport: &Transport) {
            self.0.send(transport.clone()).unwrap();
        }
    }
    guard(async {
        let server = create_server(move || Tells(sender.clone()), ANY).await.unwrap();
        let (addr, handle) = (server.local_addr().unwrap(), server.handle());
        let talk = blocking(move || {
            let stream = client(addr);
            let transport = receiver.recv().unwrap();
            for _ in 0..100 {
                transport.write(b"hello");
                assert_eq!(read_exact(&stream, 5), b"hello");
            }
            transport.close();
            handle.close();
        });
        future::zip(server.serve_local(), talk).await.0.unwrap();
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
