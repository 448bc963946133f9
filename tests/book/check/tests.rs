//! Books that break the rules, one rule each.

use std::fs;

use super::problems;

/// A book that keeps all rules.
const CHAPTER: &str = "\
# Title

See [there](#a-heading) and ![a drawing](drawing.svg).

## A heading

```rust
{{#include ../../programs/echo.rs:part}}
```

```console
{{#include transcript.txt}}
```
";

const PROGRAM: &str = "\
// ANCHOR: part
fn main() {}
// ANCHOR_END: part
";

/// What is wrong with that book after `edit` in the chapter and in the program.
fn after(chapter: [&str; 2], program: [&str; 2]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let edit = |text: &str, [old, new]: [&str; 2]| {
        assert!(text.contains(old), "{old}");
        text.replacen(old, new, 1)
    };
    file("book/src/SUMMARY.md", "# Summary\n\n- [Title](chapter.md)\n");
    file("book/src/chapter.md", &edit(CHAPTER, chapter));
    file("book/src/drawing.svg", "<svg/>");
    file("book/src/transcript.txt", "$ true\n");
    file("programs/echo.rs", &edit(PROGRAM, program));
    problems(&directory.path().join("book/src"), &directory.path().join("programs"))
}

/// The chapter is edited, and the one problem has this text.
fn chapter(old: &str, new: &str, expected: &str) {
    one(after([old, new], ["", ""]), expected);
}

/// The program is edited, and the one problem has this text.
fn program(old: &str, new: &str, expected: &str) {
    one(after(["", ""], [old, new]), expected);
}

fn one(problems: Vec<String>, expected: &str) {
    assert!(problems.len() == 1 && problems[0].contains(expected), "{problems:?}");
}

#[test]
fn a_good_book_has_no_problems() {
    assert_eq!(after(["", ""], ["", ""]), [""; 0]);
}

#[test]
fn listings_are_included() {
    chapter("```rust\n", "```rust\nlet typed = \"by hand\";\n", "rust typed by hand: let typed");
    chapter("```console\n", "```console\n$ ls\n", "console typed by hand: $ ls");
    chapter("## A", "```sh\nls\n```\n\n## A", "another language: \"sh\"");
    chapter("## A", "```\nls\n```\n\n## A", "another language: \"\"");
    chapter("## A", "    ls\n\n## A", "another language: \"\"");
    chapter("## A", "{{#rustdoc_include x.rs}}\n\n## A", "only include is used here");
}

#[test]
fn what_is_included_is_there() {
    chapter("## A", "```rust\n{{#include none.rs:part}}\n```\n\n## A", "none.rs");
    chapter("## A", "```rust\n{{#include ../../programs/echo.rs:other}}\n```\n\n## A", "no anchor other");
    chapter("## A", "```rust\n{{#include ../../programs/echo.rs:1:2}}\n```\n\n## A", "not by line");
    chapter("## A", "```rust\n{{#include ../../programs/echo.rs}}\n```\n\n## A", "include it by anchor");
}

#[test]
fn anchors_are_whole_and_used() {
    program("fn", "// ANCHOR: more\nfn", "the anchor more is not used");
    program("// ANCHOR_END: part\n", "", "needs one begin, and one end");
    program("// ANCHOR_END: part\n", "// ANCHOR_END: part\n// ANCHOR: part\n", "needs one begin, and one end");
    program("fn main() {}\n", "\n", "is empty");
}

#[test]
fn links_lead_somewhere() {
    chapter("(#a-heading)", "(#no-heading)", "the link #no-heading leads nowhere");
    chapter("(#a-heading)", "(chapter.md#no-heading)", "the link chapter.md#no-heading leads nowhere");
    chapter("(#a-heading)", "(none.md)", "the link none.md leads nowhere");
    chapter("## A", "![another](none.svg)\n\n## A", "the link none.svg leads nowhere");
    chapter("## A", "<img src=\"drawing.svg\">\n\n## A", "an image is written as");
}

#[test]
fn everything_is_used() {
    chapter("and ![a drawing](drawing.svg)", "", "no chapter uses this file");
    chapter("```console\n{{#include transcript.txt}}\n```\n", "", "no chapter uses this file");
}
