//! The HTTP file server: curl, wrk, and clients that are slow, odd or hostile.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::program::{Program, ask, check_arguments, client, output, read_all, run, text};

const BIG: usize = 20_000_000;

/// A directory with files, and a server on it.
struct Site {
    root: TempDir,
    server: Program,
}

impl Site {
    fn new() -> Self {
        let root = TempDir::new().expect("a directory");
        let write = |name: &str, content: &[u8]| fs::write(root.path().join(name), content).expect("room");
        fs::create_dir(root.path().join("sub")).expect("room");
        write("hello.txt", b"hello, world\n");
        write("sub/index.html", b"<p>sub</p>");
        write("big", &pattern(BIG));
        write("a b%.txt", b"odd name");
        let server = Program::start("http_files", &[root.path().to_str().expect("a name"), "127.0.0.1:0"]);
        Self { root, server }
    }

    fn path(&self) -> &Path {
        self.root.path()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address())
    }

    fn curl(&self, args: &[&str], path: &str) -> Option<Command> {
        let url = self.url(path);
        let args = [&["--silent", "--show-error", "--path-as-is"], args, &[&url]].concat();
        client("curl", &args)
    }

    /// The status of the answer.
    fn status(&self, args: &[&str], path: &str) -> Option<String> {
        let args = [&["--output", "/dev/null", "--write-out", "%{http_code}"], args].concat();
        self.curl(&args, path).map(|mut curl| text(&mut curl))
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

fn first_line(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn arguments() {
    check_arguments("http_files");
    let (status, _, stderr) = run("http_files", &["/nowhere"]);
    assert!(status == Some(1) && stderr.starts_with("error: "), "{status:?} {stderr}");
}

#[test]
fn curl_gets_files_and_parts_of_them() {
    let site = Site::new();
    let get = |args: &[&str], path: &str| site.curl(args, path).map(|mut curl| output(&mut curl));
    let Some(hello) = get(&[], "/hello.txt") else { return };
    assert_eq!(hello, b"hello, world\n");
    assert!(get(&[], "/big").expect("curl") == pattern(BIG));
    assert!(get(&["--range", "1000000-15000000"], "/big").expect("curl") == pattern(BIG)[1_000_000..=15_000_000]);
    assert_eq!(get(&["--range", "-6"], "/hello.txt").expect("curl"), b"world\n");
    assert_eq!(get(&["--range", "7-"], "/hello.txt").expect("curl"), b"world\n");
    assert_eq!(get(&[], "/sub/").expect("curl"), b"<p>sub</p>");
    assert_eq!(get(&["--location"], "/sub").expect("curl"), b"<p>sub</p>");
    assert_eq!(get(&[], "/a%20b%25.txt?query=/x").expect("curl"), b"odd name");
    assert_eq!(get(&["--http1.0"], "/hello.txt").expect("curl"), b"hello, world\n");
}

#[test]
fn curl_is_told_what_a_file_is() {
    let site = Site::new();
    let Some(mut curl) = site.curl(&["--head"], "/hello.txt") else { return };
    let head = text(&mut curl);
    for line in ["HTTP/1.1 200 OK", "Content-Length: 13", "Content-Type: text/plain", "Accept-Ranges: bytes"] {
        assert!(head.lines().any(|found| found == line), "{line} is not in\n{head}");
    }
    let tag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).expect("a tag");
    let modified = head.lines().find_map(|line| line.strip_prefix("Last-Modified: ")).expect("a date");
    let status = |header: String| site.status(&["--header", &header], "/hello.txt").expect("curl");
    assert_eq!(status(format!("If-None-Match: \"other\", W/{tag}")), "304");
    assert_eq!(status("If-None-Match: \"other\"".to_owned()), "200");
    assert_eq!(status(format!("If-Modified-Since: {modified}")), "304");
    assert_eq!(status("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT".to_owned()), "200");
    assert_eq!(status("If-Match: \"other\"".to_owned()), "412");
    assert_eq!(status(format!("If-Match: {tag}")), "200");
    assert_eq!(status("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT".to_owned()), "412");
    let ranged = |tag: &str| {
        let header = format!("If-Range: {tag}");
        site.status(&["--range", "0-3", "--header", &header], "/hello.txt").expect("curl")
    };
    assert_eq!([ranged(tag), ranged(modified), ranged("\"other\"")], ["206", "206", "200"]);
}

#[test]
fn curl_is_told_what_is_wrong() {
    let site = Site::new();
    fs::write(site.path().join("secret"), "").expect("room");
    assert!(Command::new("mkfifo").arg(site.path().join("fifo")).status().expect("mkfifo").success());
    let status = |args: &[&str], path: &str| site.status(args, path);
    let Some(missing) = status(&[], "/missing") else { return };
    assert_eq!(missing, "404");
    let wrong = |args: &[&str], path: &str| status(args, path).expect("curl");
    let outside = site.path().parent().expect("a parent").join("outside");
    for path in ["/../outside", "/%2e%2e/outside", "/sub/../../outside", "/sub/..%2f..%2foutside", "//etc/passwd"] {
        assert_eq!(wrong(&[], path), "404", "{path}, that is {}", outside.display());
    }
    assert_eq!(wrong(&[], "/hello.txt/"), "404");
    assert_eq!(wrong(&[], "/hello.txt%00"), "404");
    assert_eq!(wrong(&[], "/%ff"), "404");
    assert_eq!(wrong(&[], "/fifo"), "403");
    assert_eq!(wrong(&["--range", "13-"], "/hello.txt"), "416");
    assert_eq!(wrong(&["--request", "DELETE"], "/hello.txt"), "405");
    // The client is still sending when it gets the answer.
    let big = site.path().join("big");
    assert_eq!(wrong(&["--upload-file", big.to_str().expect("a name")], "/hello.txt"), "405");
}

#[test]
fn curl_keeps_the_connection() {
    let site = Site::new();
    let second = site.url("/big");
    let args = ["--output", "/dev/null", "--write-out", "%{num_connects} ", &second, "--output", "/dev/null"];
    let Some(mut curl) = site.curl(&args, "/hello.txt") else { return };
    assert_eq!(text(&mut curl), "1 0 ");
}

#[test]
fn wrk_gets_no_errors() {
    let site = Site::new();
    let url = site.url("/hello.txt");
    let Some(mut wrk) = client("wrk", &["-t1", "-c100", "-d1s", &url]) else { return };
    let report = text(&mut wrk);
    assert!(report.contains("requests in"), "{report}");
    assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
}

#[test]
fn requests_come_in_pieces_and_many_at_once() {
    let site = Site::new();
    let mut stream = site.server.connect();
    for byte in get("/hello.txt").bytes() {
        stream.write_all(&[byte]).expect("sent");
    }
    let mut answer = [0; 400];
    let count = stream.read(&mut answer).expect("an answer");
    assert_eq!(first_line(&answer[..count]), "HTTP/1.1 200 OK");

    let answers = ask(&site.server, [get("/hello.txt"), get("/missing"), get("/sub/")].concat().repeat(1000));
    let answers = String::from_utf8_lossy(&answers);
    assert_eq!(answers.matches("hello, world\n").count(), 1000);
    assert_eq!(answers.matches("HTTP/1.1 404 Not Found").count(), 1000);
    assert!(answers.ends_with("<p>sub</p>"));
}

#[test]
fn nonsense_is_refused() {
    let site = Site::new();
    let status = |request: &str| first_line(&ask(&site.server, request));
    assert_eq!(status("nonsense\r\n\r\n"), "HTTP/1.1 400 Bad Request");
    assert_eq!(status("\x16\x03\x01\x02"), "HTTP/1.1 400 Bad Request");
    assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), "HTTP/1.1 400 Bad Request");
    assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), "HTTP/1.1 400 Bad Request");
    assert_eq!(
        status(&format!("GET /{} HTTP/1.1\r\n", "a".repeat(100_000))),
        "HTTP/1.1 431 Request Header Fields Too Large"
    );
    let headers = "X: y\r\n".repeat(1000);
    assert_eq!(status(&format!("GET / HTTP/1.1\r\n{headers}\r\n")), "HTTP/1.1 431 Request Header Fields Too Large");
    assert_eq!(status(&get("http://test/hello.txt")), "HTTP/1.1 200 OK");
    assert_eq!(ask(&site.server, "GET /hel"), b"");
}

/// What comes behind a body, which is not read, must not count as a request.
#[test]
fn a_body_is_not_taken_for_a_request() {
    let site = Site::new();
    for header in ["Content-Length: 0\r\nContent-Length: 60", "Transfer-Encoding: chunked"] {
        let request = format!("GET /hello.txt HTTP/1.1\r\nHost: test\r\n{header}\r\n\r\n{}", get("/sub/"));
        let answer = String::from_utf8_lossy(&ask(&site.server, request)).into_owned();
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
        assert!(answer.contains("Connection: close\r\n") && answer.ends_with("hello, world\n"), "{answer}");
    }
}

/// Each answer holds a file open until it is sent.
#[cfg(target_os = "linux")]
#[test]
fn a_client_that_does_not_read_holds_few_files() {
    let site = Site::new();
    let before = site.server.descriptors();
    let mut stream = site.server.connect();
    stream.write_all(get("/big").repeat(1000).as_bytes()).expect("sent");
    let mut first = [0; 1];
    stream.read_exact(&mut first).expect("an answer");
    // The server has seen all by now that it is going to look at: others are served.
    assert_eq!(first_line(&ask(&site.server, get("/hello.txt"))), "HTTP/1.1 200 OK");
    let held = site.server.descriptors() - before;
    assert!(held < 100, "{held} descriptors are open");
}

/// The length was promised; what comes behind must not be taken for the rest.
#[test]
fn a_file_that_shrinks_ends_the_connection() {
    let site = Site::new();
    let path = site.path().join("shrinks");
    fs::write(&path, pattern(2 * BIG)).expect("room");
    let mut stream = site.server.connect();
    stream.write_all([get("/shrinks"), get("/hello.txt")].concat().as_bytes()).expect("sent");
    let mut first = [0; 1];
    stream.read_exact(&mut first).expect("an answer");
    fs::File::options().write(true).open(&path).and_then(|file| file.set_len(100)).expect("shrunk");
    let mut rest = Vec::new();
    // However it ends.
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.len() < 2 * BIG && !rest.ends_with(b"hello, world\n"), "{} bytes", rest.len());
}

#[test]
fn a_download_is_finished_after_an_interrupt() {
    let mut site = Site::new();
    let mut stream = site.server.connect();
    stream.write_all(get("/big").as_bytes()).expect("sent");
    let mut first = [0; 1];
    stream.read_exact(&mut first).expect("an answer");
    site.server.interrupt();
    assert_eq!(site.server.line(), "stopping");
    assert!(read_all(stream).ends_with(&pattern(BIG)));
    assert_eq!(site.server.wait().code(), Some(0));
}

#[test]
fn a_file_of_any_age_is_sent() {
    let site = Site::new();
    let file = fs::File::options().write(true).open(site.path().join("hello.txt")).expect("a file");
    let year = std::time::Duration::from_secs(365 * 86_400);
    for modified in [std::time::UNIX_EPOCH - year, std::time::UNIX_EPOCH + 9000 * year] {
        if file.set_modified(modified).is_err() {
            continue;
        }
        assert_eq!(first_line(&ask(&site.server, get("/hello.txt"))), "HTTP/1.1 200 OK");
    }
    let long = get(&format!("/{}", "a".repeat(300)));
    assert_eq!(first_line(&ask(&site.server, long)), "HTTP/1.1 404 Not Found");
}
