//! What HTTP wants to hear: which file, which part of it, or why not.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use httparse::Request;
use httpdate::HttpDate;
use smol_transports::Transport;

pub(crate) struct Answer {
    status: &'static str,
    /// Each with the end of its line.
    headers: String,
    text: String,
    file: Option<(File, Range<u64>)>,
}

impl Answer {
    fn new(status: &'static str, headers: String, file: impl Into<Option<(File, Range<u64>)>>) -> Self {
        Self { status, headers, text: String::new(), file: file.into() }
    }

    pub(crate) fn error(status: &'static str) -> Self {
        Self::text(status, String::new())
    }

    fn text(status: &'static str, headers: String) -> Self {
        let headers = headers + "Content-Type: text/plain\r\n";
        Self { text: format!("{status}\n"), ..Self::new(status, headers, None) }
    }

    pub(crate) fn send(self, transport: &Transport, method: Option<&str>, last: bool) {
        let Self { status, mut headers, text, file } = self;
        if !status.starts_with("304") {
            let length = file.as_ref().map_or(text.len() as u64, |(_, range)| range.end - range.start);
            headers += &format!("Content-Length: {length}\r\n");
        }
        let connection = if last { "close" } else { "keep-alive" };
        let date = HttpDate::from(SystemTime::now());
        transport.write(format!("HTTP/1.1 {status}\r\nDate: {date}\r\nConnection: {connection}\r\n{headers}\r\n"));
        if method != Some("HEAD") {
            transport.write(text);
            // Nobody waits for the future: a file that turns out to be shorter ends the connection anyway.
            file.map(|(file, range)| transport.sendfile_exact(file, range));
        }
    }
}

pub(crate) fn answer(root: &Path, request: &Request<'_, '_>) -> Answer {
    let hosts = values(request, "Host").count();
    if hosts > 1 || (hosts == 0 && request.version == Some(1)) {
        return Answer::error("400 Bad Request");
    }
    if !matches!(request.method, Some("GET" | "HEAD")) {
        return Answer::text("405 Method Not Allowed", "Allow: GET, HEAD\r\n".to_owned());
    }
    let Some(path) = locate(root, request.path.unwrap_or_default()) else { return Answer::error("404 Not Found") };
    answer_with(&path, request).unwrap_or_else(|err| match err.kind() {
        io::ErrorKind::PermissionDenied => Answer::error("403 Forbidden"),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Answer::error("404 Not Found"),
        _ => Answer::error("503 Service Unavailable"),
    })
}

/// The file that a target names. Nothing but names is taken, so it cannot lie outside of the root.
fn locate(root: &Path, target: &str) -> Option<PathBuf> {
    let path = match target.strip_prefix("http://") {
        Some(absolute) => &absolute[absolute.find('/')?..],
        None => target,
    };
    let path = path.split(['?', '#']).next()?.strip_prefix('/')?;
    let path = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
    // No usual file system has longer names.
    let is_safe =
        Path::new(&*path).components().all(|part| matches!(part, Component::Normal(name) if name.len() < 256));
    let path = if path.is_empty() || path.ends_with('/') { path + "index.html" } else { path };
    (is_safe && !path.contains('\0')).then(|| root.join(&*path))
}

fn answer_with(path: &Path, request: &Request<'_, '_>) -> io::Result<Answer> {
    // Looked at before it is opened: opening a FIFO waits for somebody who writes.
    let kind = fs::metadata(path)?;
    if kind.is_dir() {
        let name = request.path.and_then(|path| path.split(['?', '#']).next()?.rsplit('/').next()).unwrap_or_default();
        return Ok(Answer::text("301 Moved Permanently", format!("Location: ./{name}/\r\n")));
    }
    if !kind.is_file() {
        return Ok(Answer::error("403 Forbidden"));
    }
    let file = File::open(path)?;
    let (size, modified) = file.metadata().and_then(|data| Ok((data.len(), data.modified()?)))?;
    // A date has four digits of a year.
    let age = modified.duration_since(UNIX_EPOCH).unwrap_or_default().min(Duration::from_secs(253_402_300_799));
    let (tag, modified) = (format!("\"{:x}-{size:x}\"", age.as_nanos()), HttpDate::from(UNIX_EPOCH + age));
    let mut headers = format!("ETag: {tag}\r\nLast-Modified: {modified}\r\nAccept-Ranges: bytes\r\n");
    if is_refused(request, &tag, modified) {
        return Ok(Answer::error("412 Precondition Failed"));
    }
    if is_known(request, &tag, modified) {
        return Ok(Answer::new("304 Not Modified", headers, None));
    }
    headers += &format!("Content-Type: {}\r\n", mime_guess::from_path(path).first_or_octet_stream());
    Ok(match part(request, &tag, modified, size) {
        None => Answer::new("200 OK", headers, (file, 0..size)),
        Some(range) if range.is_empty() => {
            Answer::text("416 Range Not Satisfiable", format!("Content-Range: bytes */{size}\r\n"))
        }
        Some(range) => {
            headers += &format!("Content-Range: bytes {}-{}/{size}\r\n", range.start, range.end - 1);
            Answer::new("206 Partial Content", headers, (file, range))
        }
    })
}

/// The values of a header; what is no text counts as empty.
fn values<'a>(request: &'a Request<'_, '_>, name: &'a str) -> impl Iterator<Item = &'a str> {
    let same = request.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    same.map(|header| std::str::from_utf8(header.value).unwrap_or_default())
}

fn has(request: &Request<'_, '_>, name: &str, token: &str) -> bool {
    values(request, name).flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

fn date(request: &Request<'_, '_>, name: &str) -> Option<HttpDate> {
    values(request, name).next()?.parse().ok()
}

/// Whether another request may follow. Bodies are not read, so none may follow one of those.
pub(crate) fn is_reusable(request: &Request<'_, '_>) -> bool {
    let has_body = values(request, "Transfer-Encoding").next().is_some()
        || values(request, "Content-Length").any(|length| length != "0");
    let is_kept = match request.version {
        Some(1) => !has(request, "Connection", "close"),
        _ => has(request, "Connection", "keep-alive"),
    };
    is_kept && !has_body
}

/// RFC 9110, section 13.2.2, the first half: the client wants another version of the file.
fn is_refused(request: &Request<'_, '_>, tag: &str, modified: HttpDate) -> bool {
    match values(request, "If-Match").next() {
        Some(_) => !has(request, "If-Match", tag) && !has(request, "If-Match", "*"),
        None => date(request, "If-Unmodified-Since").is_some_and(|date| modified > date),
    }
}

/// The second half: the client has this version of the file.
fn is_known(request: &Request<'_, '_>, tag: &str, modified: HttpDate) -> bool {
    match values(request, "If-None-Match").next() {
        Some(_) => [tag, &format!("W/{tag}"), "*"].iter().any(|tag| has(request, "If-None-Match", tag)),
        None => date(request, "If-Modified-Since").is_some_and(|date| modified <= date),
    }
}

/// The part that is asked for, empty if there is no such part. None for the whole file, also for several parts at once.
fn part(request: &Request<'_, '_>, tag: &str, modified: HttpDate, size: u64) -> Option<Range<u64>> {
    let (unit, range) = values(request, "Range").next()?.split_once('=')?;
    let condition = values(request, "If-Range").next();
    let is_same = condition.is_none_or(|condition| condition == tag || condition == modified.to_string());
    if request.method != Some("GET") || !unit.eq_ignore_ascii_case("bytes") || !is_same {
        return None;
    }
    let number = |text: &str| if text.starts_with('+') { None } else { text.parse::<u64>().ok() };
    match range.split_once('-')? {
        ("", count) => Some(size.saturating_sub(number(count)?)..size),
        (first, "") => Some(number(first)?.min(size)..size),
        (first, last) if number(first)? <= number(last)? => {
            Some(number(first)?.min(size)..number(last)?.saturating_add(1).min(size))
        }
        _ => None,
    }
}
