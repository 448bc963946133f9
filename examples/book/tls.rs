//! TLS: from the start of a connection, and by an upgrade.

use std::io;
use std::path::PathBuf;

use smol_transports::{Protocol, Tls, Transport, create_connection, create_server};

/// A file with a certificate for localhost, its key, or the authority that has signed it.
fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/conformance/tls", name].iter().collect()
}

// ANCHOR: protocols
struct Echo;

impl Protocol for Echo {
    fn connection_made(&mut self, transport: &Transport) {
        let tls = transport.extra_info().tls().expect("the handshake is done");
        println!("a client has come, over {:?}", tls.protocol_version());
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

#[derive(Default)]
struct Client {
    answer: Vec<u8>,
}

impl Protocol for Client {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write("hello\n");
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.answer.extend_from_slice(data);
        if self.answer.ends_with(b"\n") {
            transport.close();
        }
    }
}
// ANCHOR_END: protocols

// ANCHOR: main
pub fn main() -> io::Result<()> {
    smol::block_on(async {
        let tls = Tls::server_with_files(file("cert.pem"), file("key.pem"))?;
        let server = create_server(|| Echo, "127.0.0.1:0").tls(tls).await?;
        let address = server.local_addr()?;
        let (handle, serving) = server.spawn();

        let tls = Tls::client_with_roots_file(file("ca.pem"), "localhost")?;
        let client = create_connection(Client::default(), address).tls(tls).await?.await;
        print!("the answer is {}", String::from_utf8_lossy(&client.answer));

        handle.close();
        serving.await
    })?;
    println!("after the upgrade: {}", smol::block_on(upgraded())?);
    Ok(())
}
// ANCHOR_END: main

// ANCHOR: upgrade_server
/// Upgrades when it is asked to, and then tells its secret.
struct Guarded {
    tls: Tls,
    received: Vec<u8>,
}

impl Protocol for Guarded {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.received.extend_from_slice(data);
        if let Some(rest) = self.received.strip_prefix(b"STARTTLS\n") {
            transport.write("go ahead\n");
            // What has come behind the line belongs to TLS already.
            transport.start_tls(self.tls.clone().received(rest));
            // This is sent after the handshake, and encrypted.
            transport.write("the secret\n");
            transport.close();
        }
    }
}
// ANCHOR_END: upgrade_server

// ANCHOR: upgrade_client
struct Asker {
    tls: Option<Tls>,
    received: Vec<u8>,
}

impl Protocol for Asker {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write("STARTTLS\n");
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.received.extend_from_slice(data);
        if self.received == b"go ahead\n" {
            self.received.clear();
            if let Some(tls) = self.tls.take() {
                transport.start_tls(tls);
            }
        }
    }
}
// ANCHOR_END: upgrade_client

async fn upgraded() -> io::Result<String> {
    let tls = Tls::server_with_files(file("cert.pem"), file("key.pem"))?;
    let factory = move || Guarded { tls: tls.clone(), received: Vec::new() };
    let server = create_server(factory, "127.0.0.1:0").await?;
    let address = server.local_addr()?;
    let (_handle, _serving) = server.spawn();

    let tls = Tls::client_with_roots_file(file("ca.pem"), "localhost")?;
    let asker = create_connection(Asker { tls: Some(tls), received: Vec::new() }, address).await?.await;
    Ok(String::from_utf8_lossy(&asker.received).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    // ANCHOR: wrong_name
    #[test]
    fn a_server_with_another_name_is_refused() {
        smol::block_on(async {
            let tls = Tls::server_with_files(file("cert.pem"), file("key.pem"))?;
            let server = create_server(|| Echo, "127.0.0.1:0").tls(tls).on_error(|_| {}).await?;
            let address = server.local_addr()?;
            let (_handle, _serving) = server.spawn();

            let tls = Tls::client_with_roots_file(file("ca.pem"), "example.org")?;
            let refused = create_connection(Client::default(), address).tls(tls).await;
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidData);
            io::Result::Ok(())
        })
        .unwrap();
    }
    // ANCHOR_END: wrong_name
}
