//! The chat: nc over TCP, socat over the Unix socket, and members that read nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use crate::program::{Program, check_arguments, client, connect, run};

struct Chat {
    directory: TempDir,
    server: Program,
}

impl Chat {
    fn start() -> Self {
        let directory = TempDir::new().expect("a directory");
        let path = directory.path().join("chat.sock");
        let mut server = Program::start("chat", &["127.0.0.1:0", path.to_str().expect("a name")]);
        assert_eq!(server.line(), format!("listening on {}", path.display()));
        Self { directory, server }
    }

    fn nc(&self) -> Option<Member> {
        client("nc", &["127.0.0.1", &self.server.port()]).map(Member::start)
    }

    fn socat(&self) -> Option<Member> {
        let address = format!("UNIX-CONNECT:{}", self.directory.path().join("chat.sock").display());
        client("socat", &["-", &address]).map(Member::start)
    }

    /// A member without a program.
    fn enter(&self, name: &str) -> BufReader<TcpStream> {
        let mut stream = connect(self.server.address());
        writeln!(stream, "{name}").expect("sent");
        let mut reader = BufReader::new(stream);
        assert_eq!([line(&mut reader), line(&mut reader)], ["* your name?".to_owned(), format!("* welcome, {name}")]);
        reader
    }
}

/// A client program in the chat.
struct Member {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Member {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a client");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, stdin, stdout }
    }

    fn say(&self, text: &str) {
        writeln!(self.stdin.as_ref().expect("a member"), "{text}").expect("a client that reads");
    }

    fn hear(&mut self) -> String {
        line(&mut self.stdout)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).expect("a line");
    line.trim_end().to_owned()
}

#[test]
fn arguments() {
    check_arguments("chat");
    let (status, _, stderr) = run("chat", &["127.0.0.1:0", "/nowhere/chat.sock"]);
    assert!(status == Some(1) && stderr.starts_with("error: "), "{status:?} {stderr}");
}

#[test]
fn nc_and_socat_talk() {
    let chat = Chat::start();
    let (Some(mut ann), Some(mut bob)) = (chat.nc(), chat.socat()) else { return };
    assert_eq!(ann.hear(), "* your name?");
    ann.say("ann");
    assert_eq!(ann.hear(), "* welcome, ann");
    assert_eq!(bob.hear(), "* your name?");
    bob.say("ann");
    assert!(bob.hear().starts_with("* please choose another name"));
    bob.say("bob");
    assert_eq!(bob.hear(), "* welcome, bob");
    assert_eq!(ann.hear(), "* bob has joined");
    bob.say("hello, \u{1b}[31meverybody");
    assert_eq!(ann.hear(), "bob: hello, [31meverybody");
    ann.say("/who");
    assert_eq!(ann.hear(), "* ann, bob");
    ann.say("/quit");
    assert_eq!(bob.hear(), "* ann has left");
    // nc waits for both ends.
    ann.stdin = None;
    assert_eq!(ann.hear(), "");
}

#[test]
fn an_interrupt_says_goodbye() {
    let chat = Chat::start();
    let mut ann = chat.enter("ann");
    chat.server.interrupt();
    let mut last = String::new();
    ann.read_to_string(&mut last).expect("an orderly end");
    assert_eq!(last, "* the chat is over\n");
    assert_eq!(chat.server.wait().code(), Some(0));
    assert!(!chat.directory.path().join("chat.sock").exists());
}

#[test]
fn who_reads_too_slowly_is_dropped() {
    let chat = Chat::start();
    let _slow = chat.enter("slow");
    let mut ann = chat.enter("ann");
    let mut bob = chat.enter("bob");
    assert_eq!(line(&mut ann), "* bob has joined");
    let text = "x".repeat(1000);
    // Bob reads all that he is told; the one who does not is dropped before long.
    let mut rounds = 0;
    loop {
        writeln!(ann.get_mut(), "{text}").expect("sent");
        let heard = line(&mut bob);
        if heard.starts_with("* slow has left: ")
            && heard.ends_with(" bytes wait to be sent, more than the limit of 65536")
        {
            break;
        }
        assert_eq!(heard, format!("ann: {text}"));
        rounds += 1;
        assert!(rounds < 100_000, "the slow one is still there");
    }
    assert!(line(&mut ann).starts_with("* slow has left: "));
}

#[test]
fn a_long_line_ends_the_connection() {
    let chat = Chat::start();
    let mut ann = chat.enter("ann");
    let mut bob = chat.enter("bob");
    bob.get_mut().write_all(&[b'x'; 2000]).expect("sent");
    assert_eq!(line(&mut bob), "* a line has at most 1024 bytes");
    assert_eq!(line(&mut ann), "* bob has joined");
    assert_eq!(line(&mut ann), "* bob has left");
}

#[test]
fn what_follows_quit_is_not_heard() {
    let chat = Chat::start();
    let mut ann = chat.enter("ann");
    let mut bob = chat.enter("bob");
    bob.get_mut().write_all(b"one\ntwo\n/quit\nthree\n").expect("sent");
    let heard: Vec<String> = (0..4).map(|_| line(&mut ann)).collect();
    assert_eq!(heard, ["* bob has joined", "bob: one", "bob: two", "* bob has left"]);
}

#[test]
fn hundreds_hear_one() {
    let chat = Chat::start();
    let mut members: Vec<_> = (0..300).map(|n| chat.enter(&format!("m{n}"))).collect();
    writeln!(members[0].get_mut(), "hello").expect("sent");
    for (n, member) in members.iter_mut().enumerate().skip(1) {
        let heard: Vec<String> = (n..300).map(|_| line(member)).collect();
        assert_eq!(heard.last().expect("a line"), "m0: hello");
    }
}

/// All that comes at once is said at once, and there is a bound for it.
#[test]
fn a_flood_is_not_passed_on() {
    let chat = Chat::start();
    let mut ann = chat.enter("ann");
    let mut bob = chat.enter("bob");
    assert_eq!(line(&mut ann), "* bob has joined");
    // It may come in more than one piece.
    let _ = bob.get_mut().write_all("x\n".repeat(500_000).as_bytes());
    let mut heard = line(&mut ann);
    while heard == "bob: x" {
        heard = line(&mut ann);
    }
    assert_eq!(heard, "* bob has left");
}
