//! The life cycle, drawn from the table that the code uses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::snapshot::compare;

/// From, input, to.
type Row = [String; 3];

/// The middle of a state's box.
const STATES: [(&str, i32, i32); 7] = [
    ("Start", 380, 30),
    ("Open", 380, 150),
    ("PeerEof", 150, 320),
    ("Closing", 380, 320),
    ("HungUp", 610, 320),
    ("Ended", 380, 480),
    ("Lost", 380, 590),
];

/// Where an arrow runs, and where its text begins.
const ARROWS: [(&str, &str, &str, i32, i32); 12] = [
    ("Start", "Open", "M380 50 V96", 390, 78),
    ("Start", "Ended", "M466 30 H715 Q740 30 740 55 V455 Q740 485 710 485 H470", 632, 22),
    ("Open", "PeerEof", "M294 165 Q150 175 150 287", 76, 230),
    ("Open", "HungUp", "M466 165 Q610 175 610 296", 618, 230),
    ("Open", "Closing", "M380 200 V273", 390, 240),
    ("Open", "Ended", "M294 140 H60 Q30 140 30 170 V455 Q30 485 60 485 H290", 130, 132),
    ("PeerEof", "Closing", "M236 320 H290", 242, 310),
    ("PeerEof", "Ended", "M150 349 Q155 460 290 470", 190, 420),
    ("HungUp", "Closing", "M524 320 H470", 474, 292),
    ("HungUp", "Ended", "M610 340 Q605 460 470 470", 520, 420),
    ("Closing", "Ended", "M380 364 V447", 390, 420),
    ("Ended", "Lost", "M380 509 V566", 390, 540),
];

#[test]
fn the_table_of_the_document_is_that_of_the_code() {
    let document = read("ARCHITECTURE.md");
    let shown = rows_between(&document, "<!-- lifecycle -->", "<!-- /lifecycle -->", ["|", "|"]);
    assert_eq!(shown[..2], [["from", "input", "to"], ["---", "---", "---"]], "the head of the table");
    assert_eq!(shown[2..], table());
}

#[test]
fn the_drawing_is_that_of_the_code() {
    compare("images/lifecycle.svg", &drawing(&table()));
}

/// The rows of the code.
fn table() -> Vec<Row> {
    let rows = rows_between(&read("src/state/lifecycle.rs"), "TABLE: &[", "};", ["(", "),"]);
    assert!(!rows.is_empty(), "no rows found in the code");
    rows
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

/// The lines between two marks that consist of three words between the `edges`.
fn rows_between(text: &str, begin: &str, end: &str, edges: [&str; 2]) -> Vec<Row> {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("{begin} is missing"));
    let (part, _) = rest.split_once(end).unwrap_or_else(|| panic!("{end} is missing"));
    let inner = |line: &'_ str| Some(line.trim().strip_prefix(edges[0])?.strip_suffix(edges[1])?.to_owned());
    let words =
        |row: String| row.split([',', '|']).map(|word| word.trim().to_owned()).collect::<Vec<_>>().try_into().ok();
    part.lines().filter_map(inner).filter_map(words).collect()
}

/// The boxes and arrows of the table, in the colours of the page.
fn drawing(table: &[Row]) -> String {
    let mut inputs = BTreeMap::<_, Vec<_>>::new();
    for [from, input, to] in table {
        inputs.entry((from.as_str(), to.as_str())).or_default().push(name(input));
    }
    let known: BTreeSet<_> = ARROWS.iter().map(|(from, to, ..)| (*from, *to)).collect();
    let wanted: BTreeSet<_> = inputs.keys().filter(|(from, to)| from != to).copied().collect();
    assert_eq!(known, wanted, "the arrows of the drawing, and those of the table");

    let mut svg = HEAD.to_owned();
    for (from, to, path, x, y) in ARROWS {
        writeln!(svg, r#"<path d="{path}" class="line" marker-end="url(#lifecycle-tip)"/>"#).unwrap();
        svg.push_str(&lines(&inputs[&(from, to)], x, y, "start"));
    }
    for (state, x, y) in STATES {
        svg.push_str(&state_box(state, x, y, inputs.get(&(state, state)).map_or(&[], Vec::as_slice)));
    }
    svg + "</svg>\n"
}

const HEAD: &str = r##"<svg class="drawing" viewBox="0 0 760 620" role="img" aria-labelledby="lifecycle-title">
<title id="lifecycle-title">The states of a transport, and what leads from one to the next</title>
<defs><marker id="lifecycle-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0 L8 4 L0 8 z" class="tip"/></marker></defs>
"##;

/// A state with what it stays in itself for.
fn state_box(state: &str, x: i32, y: i32, stays: &[String]) -> String {
    let height = if stays.is_empty() { 40 } else { 30 + 14 * i32::try_from(stays.len()).unwrap() };
    let width = 172;
    let (left, top) = (x - width / 2, y - height / 2);
    let mut svg = format!(r#"<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="6" class="box"/>"#);
    svg.push('\n');
    let first = if stays.is_empty() { y + 5 } else { top + 18 };
    writeln!(svg, r#"<text x="{x}" y="{first}" text-anchor="middle" class="name">{state}</text>"#).unwrap();
    svg + &lines(stays, x, first + 15, "middle")
}

/// Lines of text below each other.
fn lines(texts: &[String], x: i32, y: i32, anchor: &str) -> String {
    let line = |(index, text): (usize, &String)| {
        let y = y + 14 * i32::try_from(index).unwrap();
        format!("<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" class=\"small\">{text}</text>\n")
    };
    texts.iter().enumerate().map(line).collect()
}

/// An input by the name that users know: callbacks by theirs.
fn name(input: &str) -> String {
    match input {
        "Close" => "close()".to_owned(),
        "End" => "the end".to_owned(),
        "HangUp" => "hang-up (pipes)".to_owned(),
        "ChildEvent" => "pipe or exit (child)".to_owned(),
        callback => snake(callback),
    }
}

fn snake(camel: &str) -> String {
    let mut name = String::new();
    for letter in camel.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}
