"""The page in a real Chromium: each kind of question and answer, and names that try to be HTML."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.fakes import NASTY, picture, sound
from tests.serving.process import Server, serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs a browser: apt-get install chromium chromium-driver"),
]
SHOTS = os.environ.get("SENSORIUM_SCREENSHOTS")  # a folder: keep pictures of the page for people to look at


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs a browser driver: pip install selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("chromium")
    flags = (
        "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
        "disable-component-update disable-sync disable-dev-shm-usage use-fake-ui-for-media-stream "
        "use-fake-device-for-media-stream autoplay-policy=no-user-gesture-required"
    )
    for flag in (*flags.split(), f"user-data-dir={profile}", "window-size=1200,900"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(20)
    yield driver
    driver.quit()


class Page:
    def __init__(self, browser: Any, server: Server) -> None:
        self.browser, self.server = browser, server

    def get(self, css: str) -> Any:
        return self.browser.find_element("css selector", css)

    def texts(self, css: str) -> list[str]:
        return [e.text for e in self.browser.find_elements("css selector", css)]

    def until(self, condition: Callable[[], Any]) -> Any:
        from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        ignored = [NoSuchElementException, StaleElementReferenceException]
        return WebDriverWait(self.browser, 20, 0.05, ignored).until(lambda _: condition())

    def open(self, model: str) -> None:
        self.browser.get("about:blank")
        self.browser.get(f"{self.server.url}/#{model}")
        self.until(lambda: self.get("#work").is_displayed() and self.browser.title.startswith(model))

    def ask(self) -> None:
        self.until(lambda: self.get("#go").is_enabled())
        self.get("#go").click()
        self.until(lambda: self.get("#json").get_attribute("textContent") and self.get("#state").text.endswith("ms"))

    def shot(self, name: str) -> None:
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            self.browser.save_screenshot(str(Path(SHOTS) / f"{name}.png"))

    def problems(self) -> list[str]:
        """What the browser complained of, and what scripts in names did."""
        found = [e["message"] for e in self.browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]
        if "pwned" in self.browser.title or self.browser.find_elements("css selector", "img[onerror]"):
            found.append("a name was taken for HTML")
        return found


@pytest.fixture
def page(browser: Any, server: Server) -> Page:
    browser.set_window_size(1200, 900)
    browser.get_log("browser")
    return Page(browser, server)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    made = {"picture.png": picture(1, (320, 240)), "sound.wav": sound()}
    made |= {f"frame{i}.png": picture(i, (320, 240)) for i in range(6)}
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
    return {name: str(tmp_path / name) for name in made}


def test_labels(page: Page, files: dict[str, str]) -> None:
    page.open("pets")
    assert "0.931" in page.get("#metrics").text
    page.get("#file").send_keys(files["picture.png"])
    page.ask()
    assert sorted(page.texts(".bars .name")) == sorted(["cat", "dog", NASTY])
    assert page.texts(".bars .number")[0] == "62 %"
    page.shot("image-classification")
    page.browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert "curl 'http://127.0.0.1" in page.get("#curl").text
    assert "-F 'inputs=@picture.png'" in page.get("#curl").text
    page.shot("details")
    assert page.problems() == []


def test_options(page: Page, files: dict[str, str]) -> None:
    page.open("pets")
    page.get("#file").send_keys(files["picture.png"])
    field = page.get("#option-top_k")
    field.clear()
    field.send_keys("1")
    page.ask()
    assert len(page.texts(".bars .name")) == 1
    assert page.problems() == []


def test_boxes(page: Page, files: dict[str, str]) -> None:
    page.open("objects")
    page.get("#file").send_keys(files["picture.png"])
    page.ask()
    assert page.get("canvas").get_attribute("aria-label") == "2 objects"
    assert page.texts(".objects .name") == ["cat", NASTY]
    page.shot("object-detection")
    assert page.problems() == []


def test_tracks(page: Page, files: dict[str, str]) -> None:
    page.open("walkers")
    page.get("#file").send_keys("\n".join(files[f"frame{i}.png"] for i in range(6)))
    page.ask()
    assert page.texts(".objects .name") == ["1 person", f"2 {NASTY}"]
    first = page.get(".player output").text
    page.until(lambda: page.get(".player output").text not in ("", first))
    page.get(".player button").click()
    page.shot("object-tracking")
    assert page.problems() == []


def test_generated(page: Page) -> None:
    page.open("glyphs")
    page.get("#label").send_keys("beta")
    page.ask()
    page.until(lambda: page.browser.execute_script("return document.querySelector('.pictures img').naturalWidth") == 96)
    page.shot("image-generation")
    assert page.problems() == []


def test_text(page: Page) -> None:
    page.open("spam")
    page.get("#text").send_keys("You have won! Call now.")
    page.ask()
    assert page.texts(".bars .name")[0] == "ham"
    page.shot("text-classification")
    assert page.problems() == []


def test_translation(page: Page) -> None:
    page.open("backwards")
    page.get("#text").send_keys("<b>good morning</b>")
    page.ask()
    assert page.get(".said").text == "<b>good morning</b>"[::-1]
    page.shot("translation")
    assert page.problems() == []


def test_speech(page: Page, files: dict[str, str]) -> None:
    page.open("digits")
    page.get("#file").send_keys(files["sound.wav"])
    page.ask()
    assert page.get(".said").text == "seven three nine"
    assert page.texts(".words small") == ["0.00–0.20 s", "0.25–0.45 s", "0.50–0.70 s"]
    page.shot("automatic-speech-recognition")
    assert page.problems() == []


def test_recording(page: Page) -> None:
    """The browser's made-up microphone: what it records arrives as WAV."""
    page.open("digits")
    page.get(".record button").click()
    page.until(lambda: page.get(".record button").text == "Stop")
    page.browser.execute_async_script("setTimeout(arguments[0], 600)")
    page.get(".record button").click()
    page.until(lambda: "recording.wav" in page.get("#chosen").text)
    page.ask()
    assert page.get(".said").text == "seven three nine"
    assert page.problems() == []


def test_an_eighth_task(page: Page) -> None:
    page.open("eighth")
    page.get("#text").send_keys("[1, 2, 3]")
    page.ask()
    assert '"mean"' in page.get(".plain").text
    page.shot("eighth")
    assert page.problems() == []


def test_a_question_about_a_picture(page: Page, files: dict[str, str]) -> None:
    page.open("asked")
    page.get("#file").send_keys(files["picture.png"])
    page.get("#part-question").send_keys("how large?")
    page.get("#part-boxes").send_keys("[[1, 2]]")
    page.ask()
    assert page.texts(".bars .name") == ["how large? 320x240 [[1, 2]]"]
    page.browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert "-F 'question=how large?'" in page.get("#curl").text
    page.shot("question")
    assert page.problems() == []


def test_regions(page: Page, files: dict[str, str]) -> None:
    page.open("regions")
    page.get("#file").send_keys(files["picture.png"])
    page.ask()
    assert page.get("canvas").get_attribute("aria-label") == "2 regions"
    assert page.texts(".objects .name") == ["sky", NASTY]
    page.shot("image-segmentation")
    assert page.problems() == []


def test_joints(page: Page, files: dict[str, str]) -> None:
    page.open("bodies")
    page.get("#file").send_keys(files["picture.png"])
    page.ask()
    assert page.get("canvas").get_attribute("aria-label") == "1 bodies"
    page.shot("keypoint-detection")
    assert page.problems() == []


def test_names_in_a_text(page: Page) -> None:
    page.open("names")
    page.browser.execute_script(
        "const t = document.getElementById('text'); t.value = '\\u{1F98A} Ada met Bob';"
        "t.dispatchEvent(new Event('input'))"
    )
    page.ask()
    assert page.texts("mark") == ["AdaNAME", "BobNAME"]
    page.shot("token-classification")
    assert page.problems() == []


def test_an_error_is_told(page: Page, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no picture")
    page.open("pets")
    page.get("#file").send_keys(str(tmp_path / "x.png"))
    page.until(lambda: page.get("#go").is_enabled())
    page.get("#go").click()
    page.until(lambda: page.get("#error").is_displayed())
    assert "cannot" in page.get("#error").text
    page.shot("error")


def test_on_a_phone(page: Page, files: dict[str, str]) -> None:
    page.browser.set_window_size(500, 900)
    for dark in (False, True):
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        size = {"width": 375, "height": 800, "deviceScaleFactor": 2, "mobile": True}
        page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        page.open("objects")
        page.get("#file").send_keys(files["picture.png"])
        page.ask()
        page.browser.execute_script("document.querySelector('#answer').scrollIntoView()")
        page.shot("phone-dark" if dark else "phone")
        wide = page.browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= 375
    page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.browser.set_window_size(1200, 900)
    page.open("glyphs")
    page.shot("dark")
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_asks_for_the_token(page: Page) -> None:
    with serving(TOKEN="secret") as guarded:
        page.browser.get(guarded.url)
        page.until(lambda: page.get("#token-form").is_displayed())
        page.get("#token").send_keys("secret")
        page.get("#token-form button").click()
        page.until(lambda: page.get("#work").is_displayed())
        assert page.get("#task").text == "image-classification"
