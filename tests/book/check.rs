//! The rules of the book, and what breaks them.
//!
//! Listings are included, by anchor, from files that are compiled and run. Sessions are included from transcripts. Each
//! chapter, program, anchor, transcript and drawing is used; each link within the repository leads somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use crate::snapshot::sources;

/// What a fence may hold that was written by hand.
const BY_HAND: [&str; 2] = ["text", "toml"];
/// What must be included.
const INCLUDED: [&str; 3] = ["rust", "python", "console"];

#[test]
fn the_book_keeps_its_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let problems = problems(sources(), &root.join("examples/book"));
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn links_of_the_other_documents_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut check = Check::default();
    for name in ["README.md", "ARCHITECTURE.md", "DESIGN.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        check.document(&root.join(name));
    }
    check.links();
    assert!(check.problems.is_empty(), "\n{}", check.problems.join("\n"));
}

/// All that is wrong with a book whose listings come from the files in `programs`.
fn problems(book: &Path, programs: &Path) -> Vec<String> {
    let mut check = Check::default();
    let chapters = files(book).into_iter().filter(|path| has_extension(path, "md")).collect::<Vec<_>>();
    chapters.iter().for_each(|chapter| check.document(chapter));
    check.listings();
    check.summary(&book.join("SUMMARY.md"), &chapters);
    check.includes();
    check.anchors(programs);
    check.links();
    check.unused(book, programs);
    check.problems
}

/// A document, as far as the rules concern it.
#[derive(Default)]
struct Document {
    directives: Vec<String>,
    /// Language and text.
    code: Vec<(String, String)>,
    headings: BTreeSet<String>,
    links: Vec<String>,
}

#[derive(Default)]
struct Check {
    problems: Vec<String>,
    documents: BTreeMap<PathBuf, Document>,
    /// Files with their anchors, as they are asked for, and by which chapter.
    includes: Vec<(PathBuf, Option<String>, PathBuf)>,
}

impl Check {
    fn problem(&mut self, path: &Path, text: impl std::fmt::Display) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = path.strip_prefix(root).unwrap_or(path).display();
        self.problems.push(format!("{path}: {text}"));
    }

    /// Reads a document: its directives, code, links and headings.
    fn document(&mut self, path: &Path) {
        let text = fs::read_to_string(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        let mut document = Document { directives: directives(&text), ..Document::default() };
        let mut events = Parser::new_ext(&text, Options::ENABLE_TABLES);
        while let Some(event) = events.next() {
            match event {
                Event::Start(Tag::CodeBlock(kind)) => {
                    document.code.push((language(&kind), text_until(&mut events, is_code_end)));
                }
                Event::Start(Tag::Heading { .. }) => {
                    document.headings.insert(slug(&text_until(&mut events, is_heading_end)));
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    document.links.push(dest_url.into_string());
                }
                Event::Html(html) | Event::InlineHtml(html) if html.contains("<img") => {
                    self.problem(path, "an image is written as ![text](file)");
                }
                _ => {}
            }
        }
        self.documents.insert(path.to_owned(), document);
    }

    /// Listings and sessions are included, and by anchor.
    fn listings(&mut self) {
        for (path, document) in std::mem::take(&mut self.documents) {
            document.directives.iter().for_each(|directive| self.directive(&path, directive));
            document.code.iter().for_each(|(language, body)| self.code(&path, language, body));
            self.documents.insert(path, document);
        }
    }

    fn directive(&mut self, path: &Path, directive: &str) {
        let Some(target) = directive.strip_prefix("include ") else {
            return self.problem(path, format!("{{{{#{directive}}}}}: only include is used here"));
        };
        let (file, anchor) = match target.trim().split_once(':') {
            Some((file, anchor)) => (file, Some(anchor.to_owned())),
            None => (target.trim(), None),
        };
        if anchor.as_ref().is_some_and(|anchor| anchor.starts_with(|c: char| c.is_ascii_digit() || c == ':')) {
            return self.problem(path, format!("{target}: include by anchor, not by line"));
        }
        self.includes.push((beside(path, file), anchor, path.to_owned()));
    }

    fn code(&mut self, path: &Path, language: &str, body: &str) {
        if INCLUDED.contains(&language) {
            if let Some(line) = body.lines().find(|line| !line.starts_with("{{#include ")) {
                self.problem(path, format!("{language} typed by hand: {line}"));
            }
        } else if !BY_HAND.contains(&language) {
            self.problem(path, format!("code in another language: {language:?}"));
        }
    }

    /// Each chapter stands in the table of contents.
    fn summary(&mut self, summary: &Path, chapters: &[PathBuf]) {
        let links = self.documents.get(summary).map(|document| document.links.clone()).unwrap_or_default();
        let listed: BTreeSet<_> = links.iter().map(|link| beside(summary, link)).collect();
        for chapter in chapters.iter().filter(|chapter| *chapter != summary && !listed.contains(*chapter)) {
            self.problem(chapter, "the chapter is not in SUMMARY.md");
        }
    }

    /// Each file and anchor that is asked for is there.
    fn includes(&mut self) {
        for (file, anchor, chapter) in self.includes.clone() {
            match (fs::read_to_string(&file), anchor) {
                (Err(err), _) => self.problem(&chapter, format!("{}: {err}", file.display())),
                (Ok(_), None) if has_extension(&file, "rs") => {
                    self.problem(&chapter, format!("{}: include it by anchor", file.display()));
                }
                (Ok(text), Some(anchor)) if !anchors(&text).contains_key(anchor.as_str()) => {
                    self.problem(&chapter, format!("no anchor {anchor} in {}", file.display()));
                }
                _ => {}
            }
        }
    }

    /// Each anchor in the programs, and in other files that are shown, has one begin, one end, something between, and a
    /// chapter that shows it.
    fn anchors(&mut self, programs: &Path) {
        let mut all: BTreeSet<_> = self.includes.iter().map(|(file, _, _)| file.clone()).collect();
        all.retain(|file| file.is_file());
        all.extend(files(programs));
        for file in all {
            let text = fs::read_to_string(&file).unwrap();
            for (anchor, lines) in anchors(&text) {
                let used = self.includes.iter().any(|(path, name, _)| *path == file && name.as_deref() == Some(anchor));
                match lines {
                    _ if !used => self.problem(&file, format!("the anchor {anchor} is not used")),
                    None => self.problem(&file, format!("the anchor {anchor} needs one begin, and one end after it")),
                    Some(0) => self.problem(&file, format!("the anchor {anchor} is empty")),
                    Some(_) => {}
                }
            }
        }
    }

    fn links(&mut self) {
        let found: Vec<_> = self
            .documents
            .iter()
            .flat_map(|(path, document)| document.links.iter().map(|link| (path.clone(), link.clone())))
            .filter(|(path, link)| !self.leads_somewhere(path, link))
            .collect();
        for (path, link) in found {
            self.problem(&path, format!("the link {link} leads nowhere"));
        }
    }

    fn leads_somewhere(&self, path: &Path, link: &str) -> bool {
        if link.contains("://") || link.starts_with("mailto:") {
            return true;
        }
        let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
        let target = if file.is_empty() { path.to_owned() } else { beside(path, file) };
        match (heading, self.documents.get(&target)) {
            (Some(heading), Some(document)) => document.headings.contains(heading),
            _ => target.exists(),
        }
    }

    /// Each file of the book, and each program, is shown somewhere.
    fn unused(&mut self, book: &Path, programs: &Path) {
        let mut used: BTreeSet<_> = self.includes.iter().map(|(file, _, _)| file.clone()).collect();
        let links =
            self.documents.iter().flat_map(|(path, document)| document.links.iter().map(|link| beside(path, link)));
        used.extend(links);
        let ours = files(book).into_iter().filter(|path| !has_extension(path, "md"));
        let shown = files(programs).into_iter().filter(|path| !path.ends_with("main.rs"));
        for file in ours.chain(shown).filter(|file| !used.contains(file)).collect::<Vec<_>>() {
            self.problem(&file, "no chapter uses this file");
        }
    }
}

/// The language of a fence; nothing where there is none.
fn language(kind: &CodeBlockKind<'_>) -> String {
    match kind {
        CodeBlockKind::Fenced(info) => info.split([',', ' ']).next().unwrap_or_default().to_owned(),
        CodeBlockKind::Indented => String::new(),
    }
}

const fn is_code_end(end: &TagEnd) -> bool {
    matches!(end, TagEnd::CodeBlock)
}

const fn is_heading_end(end: &TagEnd) -> bool {
    matches!(end, TagEnd::Heading(_))
}

/// The text of an element, up to its end.
fn text_until<'a>(events: &mut impl Iterator<Item = Event<'a>>, is_end: fn(&TagEnd) -> bool) -> String {
    let mut text = String::new();
    for event in events {
        match event {
            Event::End(end) if is_end(&end) => break,
            Event::Text(part) | Event::Code(part) => text.push_str(&part),
            _ => {}
        }
    }
    text
}

/// What stands in `{{#…}}`.
fn directives(text: &str) -> Vec<String> {
    text.split("{{#").skip(1).map(|rest| rest.split("}}").next().unwrap_or_default().to_owned()).collect()
}

/// The anchors of a file, and how many lines each has; none if it does not begin and end once.
fn anchors(text: &str) -> BTreeMap<&str, Option<usize>> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        for mark in ["ANCHOR: ", "ANCHOR_END: "] {
            if let Some((_, name)) = line.split_once(mark) {
                found.entry(name.trim()).or_insert_with_key(|name| extent(text, name));
            }
        }
    }
    found
}

/// How many lines with text an anchor has.
fn extent(text: &str, anchor: &str) -> Option<usize> {
    let at = |mark: &str| {
        let marked = |line: &str| line.split_once(mark).is_some_and(|(_, name)| name.trim() == anchor);
        let mut lines = text.lines().enumerate().filter(|(_, line)| marked(line)).map(|(index, _)| index);
        lines.next().filter(|_| lines.next().is_none())
    };
    let (begin, end) = (at("ANCHOR: ")?, at("ANCHOR_END: ")?);
    let shown = |line: &&str| !line.trim().is_empty() && !line.contains("ANCHOR");
    (begin < end).then(|| text.lines().take(end).skip(begin + 1).filter(shown).count())
}

/// A path beside a file, without its dots.
fn beside(file: &Path, path: &str) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in file.parent().unwrap_or_else(|| Path::new("")).join(path).components() {
        match part {
            Component::ParentDir => drop(clean.pop()),
            Component::CurDir => {}
            part => clean.push(part),
        }
    }
    clean
}

/// The name that mdBook gives a heading.
fn slug(heading: &str) -> String {
    let letter = |c: char| match c {
        c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c.to_ascii_lowercase()),
        c if c.is_whitespace() => Some('-'),
        _ => None,
    };
    heading.chars().filter_map(letter).collect()
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// All files below a directory, in order.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap_or_else(|err| panic!("{}: {err}", directory.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

mod tests;
