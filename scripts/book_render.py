#!/usr/bin/env python3
"""Looks at the rendered book in a headless Chromium: book_render.py BOOK [SHOTS].

Each chapter is opened narrow and wide, light and dark. It is a mistake if the console reports an error, a request
fails, an image is missing or a drawing is empty, the page is wider than its window, or a drawing's text lies outside of
it. With SHOTS, a picture of each view is put into that directory. Exits with 1 if there is a mistake, and with 77 if
there is no Chromium. Needs nothing but Python's standard library.
"""

import base64
import functools
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading

VIEWS = [(width, theme) for width in (390, 1280) for theme in ("light", "navy")]

# What a page tells about itself once it is loaded.
LOOK = """(() => {
    const missing = [...document.images].filter((image) => !image.naturalWidth).map((image) => 'missing image ' + image.src);
    const drawings = [...document.querySelectorAll('svg.drawing')];
    const empty = drawings.filter((svg) => !svg.getBoundingClientRect().height).map(() => 'a drawing is empty');
    const outside = drawings.flatMap((svg) => {
        const all = svg.viewBox.baseVal;
        return [...svg.querySelectorAll('text')].filter((text) => {
            const box = text.getBBox();
            return box.x < all.x || box.y < all.y || box.x + box.width > all.width || box.y + box.height > all.height;
        }).map((text) => 'text outside of its drawing: ' + text.textContent);
    });
    const page = document.documentElement;
    const wide = page.scrollWidth > page.clientWidth + 1 ? ['the page is ' + page.scrollWidth + ' wide'] : [];
    const height = Math.ceil(document.body.scrollHeight);
    return JSON.stringify({ height, mistakes: [...missing, ...empty, ...outside, ...wide] });
})()"""


class Browser:
    """A Chromium, spoken to by pipes: messages of JSON that end with a zero byte."""

    def __init__(self, program, profile):
        from_us, to_browser = os.pipe()
        from_browser, to_us = os.pipe()

        def connect():
            # Neither end may be where the other one is to go.
            os.dup2(from_us, 20)
            os.dup2(to_us, 21)
            os.dup2(20, 3)
            os.dup2(21, 4)

        command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                   "--hide-scrollbars", "--no-first-run", f"--user-data-dir={profile}", "--remote-debugging-pipe"]
        self.process = subprocess.Popen(command, preexec_fn=connect, close_fds=False,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(from_us)
        os.close(to_us)
        self.input = open(to_browser, "wb", buffering=0)
        self.output = open(from_browser, "rb")
        self.number, self.events = 0, []

    def receive(self):
        message = bytearray()
        while (byte := self.output.read(1)) != b"\0":
            if not byte:
                raise SystemExit("the browser has gone")
            message += byte
        return json.loads(message)

    def call(self, method, session=None, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        self.input.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") != self.number:
                self.events.append(answer)
            elif "error" in answer:
                raise SystemExit(f"{method}: {answer['error']}")
            else:
                return answer["result"]

    def wait_for(self, method):
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.receive())

    def close(self):
        self.call("Browser.close")
        self.process.wait()


def complaints(events):
    """What the console and the network have reported."""
    for event in events:
        params = event.get("params", {})
        if event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            yield f"{params['entry']['text']} {params['entry'].get('url', '')}"
        elif event.get("method") == "Runtime.exceptionThrown":
            yield params["exceptionDetails"].get("exception", {}).get("description", "an exception")
        elif event.get("method") == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            yield " ".join(str(argument.get("value")) for argument in params["args"])
        elif event.get("method") == "Network.loadingFailed" and not params.get("canceled"):
            yield f"a request has failed: {params['errorText']}"


def look(browser, session, url, width, theme, shot):
    """Opens a page in one view; the mistakes that are found."""
    call = functools.partial(browser.call, session=session)
    call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
    browser.events.clear()
    call("Page.navigate", url=url)
    browser.wait_for("Page.loadEventFired")
    # mdBook keeps the choice of the reader here, and reads it before it draws.
    call("Runtime.evaluate", expression=f"localStorage.setItem('mdbook-theme', '{theme}')")
    browser.events.clear()
    call("Page.reload")
    browser.wait_for("Page.loadEventFired")
    call("Runtime.evaluate", expression="document.fonts.ready.then(() => true)", awaitPromise=True)
    found = json.loads(call("Runtime.evaluate", expression=LOOK, returnByValue=True)["result"]["value"])
    if shot:
        clip = {"x": 0, "y": 0, "width": width, "height": min(found["height"], 16000), "scale": 1}
        picture = call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        shot.write_bytes(base64.b64decode(picture["data"]))
    return found["mistakes"] + list(complaints(browser.events))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def serve(book):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(book)))
    # The browser may hang up in the middle of a file when it goes on to the next page; what it misses it reports itself.
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"


def main(book, shots=None):
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not program:
        print("there is no chromium")
        return 77
    book, shots = pathlib.Path(book), shots and pathlib.Path(shots)
    if shots:
        shots.mkdir(parents=True, exist_ok=True)
    base = serve(book)
    pages = sorted(path for path in book.glob("*.html") if path.stem not in ("404", "toc", "print"))
    mistakes = 0
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(program, profile)
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            browser.call(f"{domain}.enable", session=session)
        for page in pages:
            for width, theme in VIEWS:
                shot = shots and shots / f"{page.stem}-{width}-{theme}.png"
                for mistake in look(browser, session, base + page.name, width, theme, shot):
                    mistakes += 1
                    print(f"{page.name}, {width} wide, {theme}: {mistake}")
        browser.close()
    print(f"{len(pages)} pages in {len(VIEWS)} views, {mistakes} mistakes")
    return 1 if mistakes or not pages else 0


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
