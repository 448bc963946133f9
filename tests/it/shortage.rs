//! No descriptors left.

use std::fs::File;
use std::io;
use std::iter::from_fn;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_lite::future;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use smol_transports::{Connection, create_connection, create_server, driver};

use crate::common::{ANY, client, isolated};
use crate::guard::watch;
use crate::recorder::{Log, Recorder};

/// Takes all that this process may have from now on.
fn take_all() -> Vec<File> {
    let limit = Rlimit { current: Some(64), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    from_fn(|| File::open("/dev/null").ok()).collect()
}

fn is_shortage(err: &io::Error) -> bool {
    err.raw_os_error() == Some(Errno::MFILE.raw_os_error())
}

/// Gives back one after the other until a connection can be made; how many that takes.
async fn given_back() -> usize {
    let listener = TcpListener::bind(ANY).unwrap();
    let address = listener.local_addr().unwrap();
    let mut taken = take_all();
    let all = taken.len();
    let connect = || create_connection(Recorder::new(&Log::default()), address);
    while let Err(err) = connect().await.map(|connection: Connection<Recorder>| drop(connection)) {
        assert!(is_shortage(&err), "{err}");
        taken.pop().unwrap();
    }
    all - taken.len()
}

#[test]
fn a_driver_connects_with_one_descriptor() {
    isolated("shortage::a_driver_connects_with_one_descriptor", || {
        watch();
        assert_eq!(driver::block_on(given_back()), 1);
    });
}

#[test]
fn a_driver_that_lacks_some_is_an_error() {
    isolated("shortage::a_driver_that_lacks_some_is_an_error", || {
        let mut taken = take_all();
        let all = taken.len();
        while let Err(err) = driver::configure().block_on(async {}) {
            assert!(is_shortage(&err), "{err}");
            taken.pop().unwrap();
        }
        assert_eq!(all - taken.len(), 5);
    });
}

#[test]
fn accepting_waits_where_nothing_was_kept_back_for_async_io() {
    isolated("shortage::accepting_waits_where_nothing_was_kept_back_for_async_io", || {
        watch();
        let mut server = future::block_on(create_server(|| Recorder::new(&Log::default()), ANY).into_future()).unwrap();
        let _client = client(server.local_addr().unwrap());
        let taken = take_all();
        assert!(future::block_on(future::poll_once(server.accept())).is_none());
        drop(taken);
        drop(future::block_on(server.accept()).unwrap());
    });
}

#[test]
fn what_async_io_lacks_is_an_error_of_connecting() {
    isolated("shortage::what_async_io_lacks_is_an_error_of_connecting", || {
        watch();
        assert_eq!(future::block_on(given_back()), 4);
    });
}

#[test]
fn a_server_is_shut_down_from_a_thread_that_is_no_driver() {
    isolated("shortage::a_server_is_shut_down_from_a_thread_that_is_no_driver", || {
        watch();
        let server = future::block_on(create_server(|| Recorder::new(&Log::default()), ANY).into_future()).unwrap();
        let address = server.local_addr().unwrap();
        let (handle, serving) = server.spawn();
        let _silent = client(address);
        while handle.connections() == 0 {
            std::thread::yield_now();
        }
        let _taken = take_all();
        future::block_on(handle.shutdown(Duration::from_millis(10)));
        future::block_on(serving).unwrap();
    });
}

#[test]
fn accepting_goes_on_after_a_shortage_off_a_driver() {
    isolated("shortage::accepting_goes_on_after_a_shortage_off_a_driver", || {
        watch();
        // Threads of a driver have to be there: what async-io needs is kept back for them.
        driver::configure().start().unwrap();
        let mut server = future::block_on(create_server(|| Recorder::new(&Log::default()), ANY).into_future()).unwrap();
        let _client = client(server.local_addr().unwrap());
        let taken = Arc::new(Mutex::new(take_all()));
        server.on_error(move |err| {
            assert!(is_shortage(&err), "{err}");
            taken.lock().unwrap().clear();
        });
        drop(future::block_on(server.accept()).unwrap());
    });
}

#[test]
fn serve_local_does_without_a_loop_of_its_own() {
    isolated("shortage::serve_local_does_without_a_loop_of_its_own", || {
        watch();
        // The first three are those of async-io; what is left is one too few, and enough.
        for left in 0..4 {
            let server = future::block_on(create_server(|| Recorder::new(&Log::default()), ANY).into_future()).unwrap();
            let (addr, handle) = (server.local_addr().unwrap(), server.handle());
            let stream = client(addr);
            let mut taken = take_all();
            taken.truncate(taken.len() - left);
            let mut serving = Box::pin(server.serve_local());
            assert!(future::block_on(future::poll_once(&mut serving)).is_none());
            drop((taken, stream));
            handle.close();
            smol::block_on(serving).unwrap();
        }
    });
}
