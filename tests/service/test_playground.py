"""The playground, in a real browser, and what it is served with."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from guardrail.errors import EngineTimeout
from guardrail.service import Settings
from guardrail.service.sections import ServerSettings
from tests.browsing import CHROMIUM, chromium
from tests.service.servers import Serving, failing_guard, serving
from tests.service.test_operators import KEYS

in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: the playground is not tested")

CONTROVERSIAL = "Mix flour ☢ and water, then rest."
UNSAFE = "Mix flour ☠ and water, then rest."


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    with chromium() as running:
        yield running


@dataclass
class Seen:
    """A page, with what it asked for and what it complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self, answer: str, prompt: str = "How do I bake bread?") -> None:
        """Play an answer quickly, to its end."""
        self.page.fill("#prompt", prompt)
        self.page.fill("#answer", answer)
        self.page.fill("#speed", "500")
        self.page.click("#watch")
        expect(self.page.locator("#end")).to_be_disabled()

    def risks(self) -> list[tuple[str | None, str | None]]:
        """Every token's text and risk."""
        return [
            (one.text_content(), one.get_attribute("data-risk")) for one in self.page.locator("#tokens .token").all()
        ]

    def banner(self) -> str:
        """What the page says of the answer."""
        return self.page.inner_text("#banner")

    def choose(self, policy: str) -> None:
        """Read by another policy."""
        self.page.check(f"input[value={policy}]", force=True)


def show(browser: Browser, url: str, **context: object) -> Iterator[Seen]:
    """Open the page; at the end it has complained of nothing and asked nobody else."""
    page = browser.new_page(**context)  # type: ignore[arg-type]  # playwright's own options
    seen = Seen(page)
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("console", lambda message: seen.complaints.append(message.text))
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.goto(url)
    expect(page.locator("#policies input")).to_have_count(3)
    yield seen
    page.close()
    assert not seen.complaints
    assert all(one.startswith(url) for one in seen.requests)


@pytest.fixture
def seen(browser: Browser, served: Serving) -> Iterator[Seen]:
    """The page of a server without keys."""
    yield from show(browser, served.url)


@in_a_browser
def test_an_answer_is_watched_to_its_end_and_the_stop_is_shown(seen: Seen, served: Serving) -> None:
    """Every token has its risk; the mark stands where the gate stops; what is behind it is paler, and said to be."""
    seen.watch(UNSAFE)
    expect(seen.page.locator("#banner")).to_have_attribute("data-kind", "stop")
    assert seen.banner() == (
        "Stopped at character 10. Unsafe (95 %) · Violent, under balanced: 23 of 33 characters are withheld."
    )
    tokens = seen.risks()
    assert "".join(text or "" for text, _ in tokens) == UNSAFE
    marked = seen.page.evaluate("document.querySelector('.mark').previousSibling.textContent")
    assert UNSAFE.startswith("".join(text or "" for text, _ in tokens[: [t for t, _ in tokens].index(marked) + 1]))
    behind = seen.page.locator("#tokens .token.behind")
    assert behind.first.text_content() in (" ☠", "☠")
    assert {one.get_attribute("data-risk") for one in behind.all()} == {"Unsafe"}
    assert "withheld" in str(behind.first.get_attribute("aria-label"))
    assert {risk for _, risk in tokens} == {"Safe", "Unsafe"}
    assert [one.would_action for one in served.sink.decisions if one.direction == "response"] == ["stop"]


@in_a_browser
def test_risks_differ_by_more_than_colour(seen: Seen) -> None:
    """Backgrounds and underlines are different for all three levels."""
    styles = seen.page.evaluate(
        """() => [...document.querySelectorAll('.legend .token:not(.behind)')].map((token) => {
            const style = getComputedStyle(token);
            return [style.backgroundColor, style.textDecorationLine + style.textDecorationStyle];
        })"""
    )
    assert len({background for background, _ in styles}) == 3
    assert len({underline for _, underline in styles}) == 3


@in_a_browser
def test_another_policy_reads_the_same_verdicts_without_asking_again(seen: Seen) -> None:
    """Strict and balanced stop a controversial answer, loose does not; nothing is sent."""
    seen.watch(CONTROVERSIAL)
    expect(seen.page.locator("#decisions .pill")).to_have_count(2)
    before, tokens = len(seen.requests), seen.risks()
    seen.choose("strict")
    assert seen.banner().startswith("Stopped at character 10. Controversial (95 %) · Unethical Acts, under strict")
    seen.choose("loose")
    assert seen.banner() == "Clear. loose lets all 33 characters pass."
    assert seen.page.locator(".mark").count() == 0
    assert seen.risks() == tokens
    assert len(seen.requests) == before


@in_a_browser
def test_the_prompt_is_read_by_the_policy_too(seen: Seen) -> None:
    """Balanced flags a controversial prompt, strict stops it, loose allows it."""
    seen.watch("Bake.", prompt="say ☢")
    verdict = seen.page.locator("#prompt-verdict")
    for policy, action in (("balanced", "flag"), ("strict", "stop"), ("loose", "allow")):
        seen.choose(policy)
        expect(verdict).to_have_text(f"The prompt: Controversial · Unethical Acts 95 %, {action}")


@in_a_browser
def test_everything_can_be_done_with_the_keyboard(seen: Seen) -> None:
    """Ctrl Enter watches; Tab leads to the tokens in order, arrows from one to the next, with a visible focus."""
    page = seen.page
    page.fill("#speed", "500")
    page.fill("#answer", UNSAFE)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#end")).to_be_disabled()
    page.locator("body").click(position={"x": 2, "y": 2})
    order = []
    for _ in range(20):
        page.keyboard.press("Tab")
        order.append(
            page.evaluate(
                "document.activeElement.id || document.activeElement.name || document.activeElement.className"
            )
        )
        if order[-1] == "tokens":
            break
    ids = ["theme", "key", "example", "prompt", "answer", "how", "speed", "watch", "policy", "tokens"]
    assert [name for name in order if name in ids] == ids
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Home")
    first = page.inner_text("#look-place")
    page.keyboard.press("ArrowRight")
    assert (first, page.inner_text("#look-place")[:7]) == ("Token 1, characters 0 to 1 of the answer.", "Token 2")
    assert page.get_attribute("#tokens", "aria-activedescendant") == "token-1"
    page.keyboard.press("End")
    assert page.inner_text("#look-place").endswith("32 to 33 of the answer.")
    assert page.locator("#risk-bars .bar").count() == 3
    assert page.inner_text("#risk-bars .bar.top-one").split("\n") == ["Unsafe", "95 %"]
    assert page.get_attribute("#banner", "aria-live") == "assertive"


@in_a_browser
def test_what_is_typed_is_judged_as_it_is_typed(seen: Seen, served: Serving) -> None:
    """Only what is new is sent; a change before it begins anew; End ends it."""
    page = seen.page
    page.fill("#answer", "")
    page.check("input[value=live]")
    page.locator("#answer").press_sequentially("Mix it ")
    expect(page.locator("#tokens .token")).to_have_count(3)
    page.locator("#answer").press_sequentially("☠ now ")
    expect(page.locator("#banner")).to_have_attribute("data-kind", "stop")
    page.fill("#answer", "Bake it. ")
    expect(page.locator("#banner")).to_have_attribute("data-kind", "reading")
    page.click("#end")
    expect(page.locator("#banner")).to_have_attribute("data-kind", "clear")
    whole = [one for one in served.sink.decisions if one.direction == "response"][-1]
    assert (whole.action, whole.released_chars) == ("allow", len("Bake it. "))


@in_a_browser
def test_what_is_ended_early_is_abandoned(seen: Seen, served: Serving) -> None:
    """The stream is given up, not finished."""
    seen.page.fill("#answer", "bread " * 200)
    seen.page.fill("#speed", "20")
    seen.page.click("#watch")
    expect(seen.page.locator("#tokens .token").first).to_be_visible()
    seen.page.click("#end")
    expect(seen.page.locator("#banner")).to_contain_text("Broken off.")
    expect(seen.page.locator("#decisions")).to_contain_text("response")
    assert [one.reason for one in served.sink.decisions if one.direction == "response"] == ["abandoned"]


@in_a_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_narrow_screens_in_both_schemes(browser: Browser, served: Serving, scheme: str, width: int) -> None:
    """Nothing is wider than the screen; the scheme is the system's until the switch says otherwise."""
    pages = show(browser, served.url, color_scheme=scheme, viewport={"width": width, "height": 800})
    seen = next(pages)
    seen.watch(UNSAFE + " " + "long" * 60)
    expect(seen.page.locator("#decisions .pill")).to_have_count(2)
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width

    def lightness() -> int:
        colour: str = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(", ")))

    shown = [lightness()]
    for name in ("Light", "Dark"):
        seen.page.click("#theme")
        assert seen.page.inner_text("#theme") == name
        shown.append(lightness())
    assert shown[1] > 600 > 150 > shown[2]
    assert shown[0] == shown[1 if scheme == "light" else 2]
    assert next(pages, None) is None


@in_a_browser
def test_a_key_is_asked_for_and_stays_in_the_tab(browser: Browser) -> None:
    """Without one the page says so; with one it works; nothing but the session remembers it."""
    with serving(Settings(keys=KEYS)) as running:
        page = browser.new_page()
        page.goto(running.url)
        expect(page.locator("#banner")).to_contain_text("Give an API key")
        page.fill("#key", "web-0123456789abcdef")
        page.press("#key", "Enter")
        expect(page.locator("#policies input")).to_have_count(3)
        Seen(page).watch(UNSAFE)
        expect(page.locator("#banner")).to_have_attribute("data-kind", "stop")
        page.reload()
        expect(page.locator("#decisions .pill")).to_have_count(2)
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        page.close()
    assert {one.tenant for one in running.sink.decisions} == {"shop"}


@in_a_browser
def test_a_guard_that_fails_is_not_shown_as_a_verdict(browser: Browser) -> None:
    """The page says that nothing was judged."""
    with serving(guard=failing_guard(EngineTimeout("late"))) as running:
        page = browser.new_page()
        page.goto(running.url)
        expect(page.locator("#policies input")).to_have_count(3)
        page.click("#watch")
        expect(page.locator("#banner")).to_have_attribute("data-kind", "error")
        assert page.inner_text("#banner").startswith("Not judged.")
        page.close()


@in_a_browser
def test_text_is_shown_as_text(seen: Seen) -> None:
    """Markup in a prompt or an answer is nothing but characters."""
    seen.watch("<img src=x onerror=alert(1)> <b>bread</b>", prompt="<script>alert(1)</script>")
    expect(seen.page.locator("#banner")).to_have_attribute("data-kind", "clear")
    assert seen.page.locator("#tokens img, #tokens b").count() == 0
    assert "<img src=x" in "".join(text or "" for text, _ in seen.risks())


def test_the_page_comes_with_a_strict_policy_and_only_its_parts_are_served(client: httpx.Client) -> None:
    """Nothing but its own origin may be loaded or asked; other names are 404."""
    page = client.get("/")
    assert page.headers["content-security-policy"].startswith("default-src 'self'; base-uri 'none'")
    assert "http://" not in page.text.replace("http://www.w3.org", "")
    for name in ("playground.js", "gate.js", "playground.css", "icon.svg"):
        assert client.get(f"/playground/{name}").status_code == 200
    for name in ("nothing.js", "..%2Fapp.py", "%2e%2e/app.py"):
        assert client.get(f"/playground/{name}").status_code == 404


def test_the_page_can_be_left_out() -> None:
    """`playground = false`; the API stays."""
    with serving(Settings(server=ServerSettings(playground=False))) as running:
        assert httpx.get(running.url).status_code == 404
        assert httpx.get(f"{running.url}/v1/policies").status_code == 200
