"""The page in a real Chromium: a file in, the threshold moved, pairs labelled, results out; malicious files do no harm."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from textsiam import read_pairs
from textsiam.samples import QUESTIONS

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


@pytest.fixture(scope="module")
def service(serving):
    made = serving()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as engine:
        made = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def page(browser, service):
    """The page; whatever it asks elsewhere, and every script error, fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    made, wrong = context.new_page(), []
    made.on(
        "request", lambda request: request.url.startswith((service.url, "blob:", "data:")) or wrong.append(request.url)
    )
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("console", lambda message: message.type == "error" and wrong.append(message.text))
    made.on("dialog", lambda dialog: dialog.type == "beforeunload" or (wrong.append(dialog.message), dialog.dismiss()))
    made.goto(service.url)
    yield made
    context.close()
    assert wrong == []


def found(page, file):
    page.set_input_files("#file", file)
    page.click("#go")
    page.wait_for_selector("#result:not(.hidden)")


def rows_of(download):
    return list(csv.DictReader(Path(download.path()).read_text("utf-8-sig").splitlines()))


def move(page, threshold):
    page.eval_on_selector("#slider", "(slider, value) => { slider.value = value; slider.oninput(); }", str(threshold))
    page.locator("#value", has_text=f"{threshold:.3f}").wait_for()


def test_a_file_is_grouped_moved_labelled_and_downloaded(page, model, tmp_path):
    """As a person would: upload, slide, label by button and by key, explain, download both."""
    found(page, QUESTIONS)
    assert "certified" in page.text_content("#certified") or "precision" in page.text_content("#certified")
    before = page.text_content("#counts")
    move(page, 0.7)
    after = page.text_content("#counts")
    assert int(after.split()[0].replace(",", "")) > int(before.split()[0].replace(",", ""))
    from textsiam import find_duplicates, read_texts

    matches = find_duplicates(model, read_texts(QUESTIONS), threshold=0.7)
    assert abs(int(after.split()[0]) - len(matches)) <= 1  # at the very edge
    clusters = matches.clusters()
    with page.expect_download() as told:
        page.click("#save")
    rows = rows_of(told.value)
    assert {row["id"] for row in rows if not row["keeper"]} == {
        clusters.columns()["id"][rows_[0]] for rows_ in clusters.groups()
    }
    page.click(".pair .right")
    page.focus(".pair")
    page.keyboard.press("j")
    page.keyboard.press("w")
    with page.expect_download() as told:
        page.click("#labels")
    labels = [json.loads(line) for line in Path(told.value.path()).read_text("utf-8").splitlines()]
    assert [one["label"] for one in labels] == [1, 0]
    assert read_pairs([(one["text_a"], one["text_b"], one["label"]) for one in labels]).labels.tolist() == [1, 0]
    page.focus(".pair")
    page.keyboard.press("e")
    page.wait_for_selector(".why span")


def test_a_threshold_is_proven_by_labels(page, tmp_path):
    """A sample is drawn, labelled by keys, and proves a threshold or says that none is; scores are not shown meanwhile."""
    file = tmp_path / "many.csv"
    words = [
        f"{first} {second}"
        for first in ("red", "blue", "big", "old", "new", "my")
        for second in ("car", "house", "phone", "dog")
    ]
    rows = [text for word in words for text in (f"Where is the {word}?", f"Where's the {word}?", f"How is the {word}?")]
    file.write_text("question\n" + "\n".join(rows) + "\n")
    found(page, file)
    page.click("#audit summary")
    page.select_option("#n", "30")
    page.select_option("#precision", "0.8")
    page.click("#draw")
    page.wait_for_selector("#leave:not(.hidden)")
    assert "probability" not in page.text_content("#groups")
    n = page.locator(".pair").count()
    assert 20 <= n <= 30
    for place in range(n):
        page.focus(f"#groups > li:nth-child({place + 1}) .pair")
        page.keyboard.press("r")
    assert f"{n} of {n} labelled" in page.text_content("#proof")
    page.click("#prove")
    page.locator("#proof", has_text="roven").wait_for()
    assert "Proven from" in page.text_content("#proof")
    page.click("#leave")
    assert "probability" in page.text_content("#groups")


def test_pasted_questions_keep_their_commas_and_quotes(page):
    """One a line, whatever they hold."""
    page.fill("#text", 'Is it "new", or not?\n\nIs it "new", or not\nWhere is it?\n')
    page.click("#go")
    page.wait_for_selector("#result:not(.hidden)")
    move(page, 0.7)
    assert 'Is it "new", or not?' in page.text_content("#groups")


def test_malicious_files_do_no_harm(page, tmp_path):
    """Markup is text, formulas are no formulas, binary and huge files are refused in words."""
    texts = [
        "<script>alert(1)</script> How do I pay?",
        "<img src=x onerror=alert(1)> How do I pay?",
        "=1+1 how do I pay",
        "@SUM(A1) how do I pay",
    ]
    file = tmp_path / "bad.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["question"], *([text] for text in texts), *([text] for text in texts)])
    found(page, file)
    move(page, 0.7)
    assert "<script>alert(1)</script>" in page.text_content("#groups")
    assert page.locator("#groups script, #groups img").count() == 0
    with page.expect_download() as told:
        page.click("#save")
    for row in rows_of(told.value):
        assert row["text"][:1] not in {"=", "@", "+", "-"}
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)) * 400)
    page.set_input_files("#file", tmp_path / "binary.csv")
    page.click("#go")
    page.wait_for_selector("#status.error")
    (tmp_path / "huge.csv").write_bytes(b"question\n" + b"How do I pay?\n" * (50 * 2**20 // 14))
    page.set_input_files("#file", tmp_path / "huge.csv")
    page.click("#go")
    page.locator("#status", has_text="50 MB").wait_for()


def test_it_is_read_on_a_telephone_and_in_the_dark(browser, service, tmp_path):
    """Nothing is wider than the screen; colours follow the system's."""
    context = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme="dark")
    page = context.new_page()
    page.goto(service.url)
    found(page, QUESTIONS)
    move(page, 0.7)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 28)"
    page.screenshot(path=tmp_path / "dark.png", full_page=False)
    context.close()
