//! More plaintext than there is room for at once.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use futures_lite::future;
use futures_rustls::rustls::ClientConnection;
use futures_rustls::rustls::version::TLS13;
use smol_transports::{Transport, connect_socket};
use socket2::SockRef;

use super::common::{CERTIFICATES, server};
use crate::common::{blocking, guard, unix_pair};
use crate::recorder::{Log, Recorder};

/// The largest plaintext of a record.
const RECORD: usize = 16 * 1024;

/// What of it is not sent at first.
const HELD: usize = 16;

/// Makes a handshake; what it is made with.
fn shake(far: &mut UnixStream) -> ClientConnection {
    let config = Arc::new(CERTIFICATES.client_config(&[&TLS13]));
    let mut connection = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    connection.set_buffer_limit(None);
    while connection.is_handshaking() {
        connection.complete_io(far).unwrap();
    }
    connection.complete_io(far).unwrap();
    connection
}

/// The ciphertext of so many bytes.
fn seal(connection: &mut ClientConnection, bytes: usize) -> Vec<u8> {
    connection.writer().write_all(&vec![7; bytes]).unwrap();
    let mut sealed = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut sealed).unwrap();
    }
    sealed
}

/// Bytes that the system has for a transport.
fn unread(transport: &Transport) -> usize {
    let count = transport.with_socket(|socket| rustix::io::ioctl_fionread(&*socket).unwrap());
    usize::try_from(count.unwrap()).unwrap()
}

/// One receive completes more records than there is room for: the rest comes though nobody is woken again.
#[test]
fn plaintext_that_finds_no_room_comes_by_itself() {
    guard(async {
        let (near, mut far) = unix_pair();
        SockRef::from(&far).set_send_buffer_size(1 << 20).unwrap();
        let log = Log::default();
        let connect = connect_socket(Recorder::new(&log), near).tls(server()).into_future();
        let client = blocking(move || {
            let connection = shake(&mut far);
            (connection, far)
        });
        let (connection, (mut client, mut far)) = future::zip(connect, client).await;
        let (transport, running) = connection.unwrap().spawn();

        let first = seal(&mut client, RECORD);
        let rest = seal(&mut client, 15 * RECORD + 15_000);
        let (begin, end) = first.split_at(first.len() - HELD);
        far.write_all(begin).unwrap();
        while unread(&transport) > 0 {
            future::yield_now().await;
        }
        transport.pause_reading();
        far.write_all(end).unwrap();
        far.write_all(&rest).unwrap();
        transport.resume_reading();
        log.until(|log| log.data().len() == 16 * RECORD + 15_000).await;
        transport.abort();
        running.await;
        drop(far);
    });
}
