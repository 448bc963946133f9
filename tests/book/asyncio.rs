//! The chapter for users of asyncio: its server is run, and its table has every name.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::check::files;
use crate::example::output;
use crate::snapshot::sources;
use crate::transcripts::Server;

/// Prints the public names of asyncio's transports, protocols and servers.
const NAMES: &str = "\
import asyncio
kinds = ('Base', 'Read', 'Write', '', 'Datagram', 'Subprocess')
classes = [getattr(asyncio, kind + 'Transport') for kind in kinds]
classes += [getattr(asyncio, kind + 'Protocol') for kind in ('Base', '', 'Buffered', 'Datagram', 'Subprocess')]
for cls in classes + [asyncio.Server]:
    print(cls.__name__)
    for name in vars(cls):
        if not name.startswith('_'):
            print(name)
";

/// What the page names besides, and what newer versions have that an older python3 has not.
const MORE: &str = "create_connection create_server create_datagram_endpoint create_unix_connection create_unix_server \
    connect_accepted_socket connect_read_pipe connect_write_pipe subprocess_exec subprocess_shell sendfile start_tls \
    peername sockname socket compression cipher peercert sslcontext ssl_object pipe subprocess \
    sock family proto flags ssl server_hostname server_side fallback stdin stdout stderr \
    happy_eyeballs_delay interleave all_errors ssl_handshake_timeout ssl_shutdown_timeout keep_alive cleanup_socket \
    close_clients abort_clients reuse_address reuse_port allow_broadcast backlog start_serving local_addr remote_addr \
    create_task call_later call_soon call_soon_threadsafe run_in_executor create_future add_signal_handler";

#[test]
fn the_server_in_python_answers_our_client() {
    let Some(python) = python() else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/book/echo.py");
    let server = Server::of(Command::new(python).arg(script).arg("127.0.0.1:0"));
    assert_eq!(output("book", &["client", &server.address]), "the server has answered: Hello World!\n");
}

#[test]
fn the_table_has_every_name() {
    let table = fs::read_to_string(sources().join("asyncio.md")).unwrap();
    let asked = asked();
    let all = asked.split_whitespace().chain(MORE.split_whitespace());
    let missing: Vec<_> = all.filter(|name| !names(&table, name)).collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");
}

#[test]
fn the_reference_answers_to_every_name() {
    let library = library();
    // There is no loop.
    let asked = asked();
    let missing: Vec<_> =
        asked.split_whitespace().filter(|name| *name != "get_loop" && !is_found(&library, name)).collect();
    assert!(missing.is_empty(), "neither an item nor an alias: {missing:?}");
}

/// Whether a search for the name finds something.
fn is_found(library: &str, name: &str) -> bool {
    library.contains(&format!("alias = \"{name}\""))
        || ["fn", "struct", "trait"].iter().any(|kind| {
            let item = format!("{kind} {name}");
            library.match_indices(&item).any(|(at, _)| library[at + item.len()..].starts_with(['(', '<', ' ', ';']))
        })
}

/// The source of the library.
fn library() -> String {
    let sources = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    sources.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// What python3 says; nothing if there is none.
fn asked() -> String {
    let asked = python().map(|python| Command::new(python).args(["-c", NAMES]).output().unwrap());
    asked.map(|output| String::from_utf8(output.stdout).unwrap()).unwrap_or_default()
}

/// Whether the text names it, as code.
fn names(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let code = text.split('`').skip(1).step_by(2);
    code.flat_map(|code| code.split(|c| !is_part(c))).any(|word| word == name)
}

/// A python3 that runs; says so if there is none.
pub(crate) fn python() -> Option<&'static str> {
    let runs = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !runs {
        println!("skipped: there is no python3");
    }
    runs.then_some("python3")
}
