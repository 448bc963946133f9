//! The sessions that the chapters show.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use crate::example::{command, output};
use crate::snapshot::compare;

/// A program without arguments that prints the same each time.
fn alone(name: &str) {
    let text = format!("{}{}", prompt(&[name]), output("book", &[name]));
    compare(&format!("transcripts/{name}.txt"), &text);
}

fn prompt(args: &[&str]) -> String {
    let args: String = args.iter().map(|arg| format!(" {arg}")).collect();
    format!("$ cargo run -q --example book{args}\n")
}

#[test]
fn list() {
    compare("transcripts/list.txt", &format!("{}{}", prompt(&[]), output("book", &[])));
}

#[test]
fn life() {
    alone("life");
}

#[test]
fn the_plot_of_the_buffers() {
    compare("images/flow.svg", &output("book", &["flow"]));
}

#[test]
fn echo_and_client() {
    let mut server = Server::start("echo");
    let client = output("book", &["client", &server.address]);
    compare("transcripts/client.txt", &format!("{}{client}", prompt(&["client"])));

    let seen = server.line();
    compare("transcripts/echo.txt", &format!("{}serving on 127.0.0.1:8888\n{seen}\n", prompt(&["echo"])));
}

/// A server of the book on a free port, where the reader has 8888; ended when it is dropped.
struct Server {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    address: String,
}

impl Server {
    fn start(name: &str) -> Self {
        let mut child = command("book").args([name, "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut server = Self { child, lines, address: String::new() };
        let line = server.line();
        server.address = line.strip_prefix("serving on ").expect(&line).to_owned();
        server
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("a line").unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
