#!/usr/bin/env python3
"""Checks the links of the rendered book: book_links.py BOOK [RUSTDOC].

BOOK is what mdbook has written. Each link and image within it must lead to a file, and each fragment to an element.
RUSTDOC is what cargo doc has written: links to the published documentation of this crate must lead to a page and an
element there. Other links to the outside are not followed. Exits with 1 if a link leads nowhere.
"""

import pathlib
import sys
import urllib.parse
from html.parser import HTMLParser

PUBLISHED = "https://docs.rs/smol-transports/latest/"


class Page(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.links, self.ids = [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        for name in ("id", "name"):
            if attributes.get(name):
                self.ids.add(attributes[name])
        link = attributes.get("href" if tag in ("a", "link") else "src")
        if link is not None and tag in ("a", "link", "img", "script", "iframe"):
            self.links.append(link)


class Site:
    """The pages below a directory."""

    def __init__(self, root):
        self.root = root.resolve()
        self.pages = {}

    def page(self, path):
        if path not in self.pages:
            self.pages[path] = Page(path)
        return self.pages[path]

    def leads_nowhere(self, base, link):
        """What is wrong with a link from the file `base`; nothing if it leads somewhere."""
        path, _, fragment = urllib.parse.unquote(link).partition("#")
        path = path.partition("?")[0]
        target = base if not path else (self.root / path.lstrip("/") if path.startswith("/") else base.parent / path).resolve()
        if target.is_dir():
            target /= "index.html"
        if not target.is_file():
            return "no such file"
        if fragment and target.suffix == ".html" and fragment not in self.page(target).ids:
            return "no such element"
        return None


def main(book, rustdoc=None):
    site = Site(pathlib.Path(book))
    reference = Site(pathlib.Path(rustdoc)) if rustdoc else None
    problems, count, published = [], 0, 0
    for path in sorted(site.root.rglob("*.html")):
        for link in site.page(path).links:
            if link.startswith(PUBLISHED) and reference:
                published += 1
                problem = reference.leads_nowhere(reference.root / "index.html", link[len(PUBLISHED):])
            elif urllib.parse.urlparse(link).scheme:
                continue
            else:
                count += 1
                problem = site.leads_nowhere(path, link)
            if problem:
                problems.append(f"{path.relative_to(site.root)}: {link}: {problem}")
    for problem in problems:
        print(problem)
    print(f"{count} links within the book, {published} to the reference, {len(problems)} lead nowhere")
    return 1 if problems or not count else 0


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
