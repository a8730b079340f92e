"""The Prefect UI as a person uses it: headless Chromium on a real server, and a screenshot of each step."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

from playwright.sync_api import Locator, Page, Route, expect, sync_playwright

CHROMIUM = shutil.which("chromium")

SCREENSHOTS = Path(os.environ.get("ACMS_SCREENSHOTS", Path(__file__).parents[2] / "build" / "screenshots"))
"""Where the screenshots stay, as build output."""

PATIENCE_MS = 60_000.0
"""How long the page may take to show something: a run takes seconds, on a loaded machine many."""

SETTLE_MS = 800.0
"""What a page takes to draw what it has been told."""

AGAIN_MS = 20_000.0
"""After which a person presses a button again."""

PRESSES = 3
"""How often they do."""

RUN_MS = 180_000.0
"""How long a run may take to end."""

_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
_RUN = re.compile(r"flow-run/([0-9a-f-]{36})")
_SHORT_ID = re.compile(r"^[0-9a-f]{8}$")
_ENDED = re.compile(r"^(Completed|Failed|Crashed|Cancelled|Skipped)$")


@contextmanager
def opened(address: str) -> Iterator[PrefectUi]:
    """A browser of its own at the server's UI, with no way to any other host."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*_ARGUMENTS])
        page = browser.new_page(viewport={"width": 1400, "height": 1000}, reduced_motion="reduce")
        page.set_default_timeout(PATIENCE_MS)
        page.route("**/*", lambda route: _answer(route, address))
        yield PrefectUi(page, address)
        browser.close()


def _answer(route: Route, address: str) -> None:
    if route.request.url.startswith(address):
        route.continue_()
    else:
        route.abort()


class PrefectUi:
    """One page of the UI; every method does what a person would do there."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self._address = address
        expect.set_options(timeout=PATIENCE_MS)

    def shot(self, name: str, *, whole: bool = False) -> Path:
        """Keep what is to be seen now."""
        self.page.wait_for_timeout(SETTLE_MS)
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        self.page.screenshot(path=path, full_page=whole)
        return path

    def go(self, path: str) -> None:
        """Open a page of the UI by its address."""
        self.page.goto(f"{self._address}/v2/{path}", wait_until="domcontentloaded")

    def leave(self) -> None:
        """Open nothing: the page of a run draws all the while, which costs a core."""
        self.page.goto("about:blank")

    def see(self, text: str) -> None:
        """Wait until that is to be seen."""
        expect(self.page.get_by_text(text, exact=True).first).to_be_visible()

    # deployments

    def open_deployment(self, name: str) -> None:
        """Find a deployment in the list and open it."""
        self.go("deployments")
        self.page.get_by_role("link", name=name, exact=True).first.click()
        expect(self.page.get_by_role("button", name="Run", exact=True)).to_be_visible()

    def open_form(self) -> None:
        """Ask for a custom run of the deployment that is open."""
        self.page.get_by_role("button", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Custom run").click()
        expect(self.page.get_by_role("button", name="Submit")).to_be_visible()

    def add_schedule(self, seconds: int, fields: Mapping[str, str], *, switch: str) -> None:
        """Give the deployment that is open an interval, with values for fields of its form and a switch turned on."""
        self.page.get_by_role("button", name="Schedule", exact=True).click()
        form = self.page.get_by_role("dialog")
        form.get_by_label("Value").fill(str(seconds))
        form.get_by_role("combobox").first.click()
        self.page.get_by_role("option", name="Seconds").click()
        for label, text in fields.items():
            form.get_by_label(label, exact=True).fill(text)
        form.get_by_label(switch, exact=True).click()
        self.shot("schedule-1-form")
        form.get_by_role("button", name="Save").click()
        expect(form).to_be_hidden()

    def field(self, label: str) -> Locator:
        """A field of the form, by its label."""
        return self.page.get_by_label(label, exact=True)

    def submit(self, answer: str) -> None:
        """Send the form off, to which the page answers with a sentence that holds this."""
        self._press(
            self.page.get_by_role("button", name="Submit"),
            self.page.locator("[data-sonner-toast]", has_text=answer).first,
        )

    def _press(self, button: Locator, then: Locator, *, visible: bool = True) -> None:
        """Press a button until that is to be seen, or to be seen no more.

        A server on SQLite that is busy refuses a request now and then, which the page says: a person presses again.
        """
        for _ in range(PRESSES):
            button.click()
            with suppress(AssertionError):
                expect(then).to_be_visible(visible=visible, timeout=AGAIN_MS)
                return
        expect(then).to_be_visible(visible=visible)

    def refused(self, field: Locator) -> str:
        """What the browser itself says of a field when the form is to be sent off."""
        self.page.get_by_role("button", name="Submit").click()
        said: str = field.evaluate("field => field.validationMessage")
        return said

    def open_submitted(self) -> UUID:
        """Send the form off and follow the link to the run that it has made."""
        link = self.page.get_by_role("link", name="View run").first
        self._press(self.page.get_by_role("button", name="Submit"), link)
        link.click()
        self.page.wait_for_url(_RUN)
        found = _RUN.search(self.page.url)
        assert found is not None
        return UUID(found[1])

    # runs

    def open_run(self, flow_run_id: UUID) -> None:
        """Open the page of a run."""
        self.go(f"runs/flow-run/{flow_run_id}")

    def until_ended(self) -> str:
        """Watch the run that is open until its badge says how it ended."""
        badge = self.page.get_by_text(_ENDED).first
        expect(badge).to_be_visible(timeout=RUN_MS)
        return badge.inner_text()

    def title(self) -> str:
        """What the run that is open is called."""
        return self.page.locator("[aria-current=page]").last.inner_text()

    def open_tab(self, name: str) -> None:
        """Choose a tab of the page."""
        self.page.get_by_role("tab", name=name, exact=True).click()

    def open_artifact(self, key: str) -> None:
        """Open an artifact from the tab that lists them: its history, and there its latest content."""
        self.page.get_by_role("link", name=key).first.click()
        self.page.wait_for_url(re.compile("artifacts/"))
        self.page.get_by_role("link", name=_SHORT_ID).first.click()
        self.page.wait_for_url(re.compile("artifacts/artifact/"))

    def answer(self, decision: str, operator: str, reason: str) -> None:
        """Fill in and send the form of a run that is paused."""
        self.page.get_by_role("button", name="Open menu").first.click()
        self.page.get_by_role("menuitem", name="Resume").click()
        form = self.page.get_by_role("dialog")
        form.get_by_text("Select", exact=True).first.click()
        self.page.get_by_role("option", name=decision).click()
        form.get_by_label("Operator").fill(operator)
        form.get_by_label("Reason").fill(reason)
        self.shot("approve-2-form")
        self._press(form.get_by_role("button", name="Resume"), form, visible=False)
