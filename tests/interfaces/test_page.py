"""The page in a real Chromium: a file in, the threshold moved, pairs labelled, results out; malicious files do no harm."""

import csv
import json
import shutil
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from textsiam import find_duplicates, read_pairs, read_texts
from textsiam.matching.matches import Matches
from textsiam.samples import PAIRS, QUESTIONS
from textsiam.scoring.thresholds import Threshold

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


@pytest.fixture(scope="module")
def model(cosine):
    """Decides by cosine alone, so that there are scores to move a threshold among."""
    return cosine


@pytest.fixture(scope="module")
def service(serving, cosine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cosine") / "model"
    cosine.save(folder)
    made = serving(folder)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as engine:
        made = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def judging(serving, judged, tmp_path_factory):
    folder = tmp_path_factory.mktemp("judging") / "model"
    judged.save(folder)
    made = serving(folder)
    yield made
    made.stop()


@pytest.fixture
def page(browser, service):
    """The page; whatever it asks elsewhere, and every script error, fails the test."""
    with opened(browser, service) as made:
        yield made


@contextmanager
def opened(browser, service):
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


def saved(page, button):
    """The text of a download. A busy browser was once seen to begin none within 30 seconds: there is a second click."""
    for timeout in (15_000, 30_000):
        with suppress(playwright.TimeoutError):
            with page.expect_download(timeout=timeout) as told:
                page.click(button)
            return Path(told.value.path()).read_text("utf-8-sig")
    raise AssertionError(f"two clicks on {button} began no download")


def downloaded(page, button):
    return list(csv.DictReader(saved(page, button).splitlines()))


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
    matches = find_duplicates(model, read_texts(QUESTIONS), threshold=0.7)
    assert abs(int(after.split()[0]) - len(matches)) <= 1  # at the very edge
    clusters = matches.clusters()
    rows = downloaded(page, "#save")
    assert {row["id"] for row in rows if not row["keeper"]} == {
        clusters.columns()["id"][rows_[0]] for rows_ in clusters.groups()
    }
    page.click(".pair .right")
    page.focus(".pair")
    page.keyboard.press("j")
    page.keyboard.press("w")
    labels = [json.loads(line) for line in saved(page, "#labels").splitlines()]
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
    for row in downloaded(page, "#save"):
        assert row["text"][:1] not in {"=", "@", "+", "-"}
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)) * 400)
    page.set_input_files("#file", tmp_path / "binary.csv")
    page.click("#go")
    page.wait_for_selector("#status.error")
    (tmp_path / "huge.csv").write_bytes(b"question\n" + b"How do I pay?\n" * (50 * 2**20 // 14))
    page.set_input_files("#file", tmp_path / "huge.csv")
    page.click("#go")
    page.locator("#status", has_text="50 MB").wait_for()


@pytest.mark.parametrize("similarity", ["dot", "euclidean", pytest.param("manhattan", marks=pytest.mark.long)])
def test_it_knows_the_scale_of_the_model(browser, serving, model, tmp_path, similarity):
    """Which scores can be asked for, where the slider ends and what is certified are the model's own, not cosine's."""
    of = replace(model, similarity=similarity, calibrator=None, threshold=None, reject_threshold=None)
    first, second = "How do I reset my password?", "How can I reset my password?"
    accept = Threshold(float(of.score([first], [second])[0]), similarity, "precision ≥ 0.80 with 95 % confidence")
    of = replace(of.calibrate(PAIRS), threshold=accept)
    of.save(tmp_path / similarity)
    service, wrong = serving(tmp_path / similarity), []
    page = browser.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    try:
        page.goto(service.url)
        lowest = [float(text) for text in page.locator("#lowest option").all_text_contents()]
        assert lowest == sorted(lowest)
        assert len(lowest) >= 4
        found(page, QUESTIONS)
        matches = find_duplicates(of, read_texts(QUESTIONS), threshold=float(page.input_value("#lowest")))
        low, high = (float(page.get_attribute("#slider", name)) for name in ("min", "max"))
        value = float(page.input_value("#slider"))
        assert low == float(page.input_value("#lowest"))
        assert high >= matches.score.max() - 1e-4
        assert low <= of.threshold.value <= value <= high
        told = page.text_content("#counts")
        assert abs(int(told.split()[0].replace(",", "")) - int((matches.score >= value).sum())) <= 1
        page.eval_on_selector("#slider", "(slider, value) => { slider.value = value; slider.oninput(); }", str(low))
        page.locator("#counts", has_text=f"{len(matches):,} pairs").wait_for()
        bars = page.locator("#chart .bar").count()
        assert bars == 100
        inside = page.eval_on_selector_all("#chart rect", "all => all.every(one => one.x.baseVal.value >= 0)")
        assert inside
        page.click("#audit summary")
        page.select_option("#n", "30")
        page.click("#draw")
        page.wait_for_selector("#leave:not(.hidden)")
        assert wrong == []
    finally:
        page.close()
        service.stop()


def counted(page):
    """The numbers that the page tells: of pairs, of groups, and of pairs for review."""
    n = [int(part.split()[0].replace(",", "")) for part in page.text_content("#counts").split(", ")]
    return tuple([*n, 0][:3])


def slid(page, value):
    page.eval_on_selector("#slider", "(slider, value) => { slider.value = value; slider.oninput(); }", str(value))
    page.evaluate("new Promise(requestAnimationFrame)")


@pytest.mark.parametrize("axis", ["probability", pytest.param("log-odds", marks=pytest.mark.long)])
def test_a_judge_decides_here_too(browser, serving, judging, judged, tmp_path, axis):
    """At its threshold groups are the package's; the slider cuts probabilities; what a veto holds is for review, in no group."""
    of, service = judged, judging
    if axis == "log-odds":
        of = replace(judged, calibrator=None)
        of.save(tmp_path / "model")
        service = serving(tmp_path / "model")
    matches = find_duplicates(of, read_texts(QUESTIONS))
    values = matches.log_odds if matches.probability is None else matches.probability
    held, accepted = matches.reason != "", matches.matching
    assert held.sum() > 5
    assert accepted.sum() > 5
    with opened(browser, service) as page:
        assert not page.is_visible("#lowest")
        assert f"({axis})" in page.text_content("#axis")
        found(page, QUESTIONS)
        accept = float(of.calibrated(np.array([0.5]))[0]) if of.calibrator else 0.5
        assert float(page.input_value("#slider")) == pytest.approx(accept, abs=1e-3)
        assert f"{axis} {accept:.3f}" in page.text_content("#certified")
        groups = matches.clusters().groups()
        assert counted(page) == (accepted.sum(), len(groups), held.sum())
        ids = matches.left_ids
        rows = downloaded(page, "#save")
        ours = [{row["id"] for row in rows if row["cluster"] == str(number)} for number in range(len(groups))]
        assert sorted(map(sorted, ours)) == sorted(sorted(ids[row] for row in group) for group in groups)
        assert {row["decision"] for row in rows if row["keeper"]} == {"accept"}
        rows = downloaded(page, "#save_review")
        assert [(row["id_a"], row["id_b"]) for row in rows] == list(
            zip(*matches.take(np.flatnonzero(held)).id_columns(), strict=True)
        )
        assert [row["reason"].lstrip("'") for row in rows] == matches.reason[held].tolist()
        assert {row["decision"] for row in rows} == {"review"}
        assert "They differ in numbers: 24 and 2." in page.text_content("#review")
        assert f"{axis} " in page.text_content("#groups .pair")
        assert "Only one has a negation: without." in page.text_content("#review")
        slid(page, page.get_attribute("#slider", "min"))
        assert counted(page)[::2] == (len(matches) - held.sum(), held.sum())
        slid(page, 0.9 if of.calibrator else 1.5)
        above = values >= float(page.input_value("#slider"))
        assert counted(page)[::2] == pytest.approx(((above & accepted).sum(), (above & held).sum()), abs=1)
    if service is not judging:
        service.stop()


def test_its_threshold_cuts_as_it_decides(browser, judging):
    """Pairs of one probability are parted where the judge parts them; a sample to label holds none that is for review."""
    texts = [f"Question {n}?" for n in range(8)]
    pairs = [
        [0, 1, 0.9, 0.4924, "accept", None, 0.6],
        [2, 3, 0.9, 0.4924, "review", None, 0.4],
        [4, 5, 0.9, 0.4925, "review", "negation: – | not", 0.7],
        [6, 7, 0.9, 0.9, "accept", None, 2.0],
    ]
    told = {"column": "q", "texts": texts, "ids": [str(n) for n in range(8)], "set_aside": [], "n_set_aside": 0}
    told |= {"pairs": pairs, "threshold": 0.6, "decided": True, "reject": None, "truncated": 0}
    told |= {"accept": {"value": 0.4924, "guarantee": "precision"}}
    with opened(browser, judging) as page:
        page.route("**/v1/duplicates/file*", lambda route: route.fulfill(body=json.dumps({"answer": told}) + "\n"))
        page.fill("#text", "How do I pay?")
        page.click("#go")
        page.wait_for_selector("#result:not(.hidden)")
        assert page.input_value("#slider") == "0.493"
        assert counted(page) == (2, 2, 1)
        slid(page, 0.494)
        assert counted(page) == (1, 1, 0)
        slid(page, 0.492)
        assert counted(page) == (3, 3, 1)
        page.click("#audit summary")
        page.click("#draw")
        page.wait_for_selector("#leave:not(.hidden)")
        assert page.locator(".pair:visible").count() == 3
        assert "Question 5?" not in page.text_content("#groups")
        assert page.locator(".reason:visible").count() == 0


def test_vetoes_speak_without_a_judge(browser, serving, model, tmp_path):
    """Scores are cut as ever, but what a veto holds is for review, in no group; a text that looks like markup stays a text."""
    of = replace(model.with_judge(None), calibrator=None).with_vetoes(["numbers"])
    of.with_thresholds(Threshold(0.8), None).save(tmp_path / "model")
    service = serving(tmp_path / "model")
    try:
        with opened(browser, service) as page:
            assert page.is_visible("#lowest")
            page.fill("#text", "\n".join(f"Can I book a table for <b>{n}</b> people?" for n in ("2", "3", "two")))
            page.click("#go")
            page.wait_for_selector("#result:not(.hidden)")
            move(page, 0.7)
            assert counted(page) == (1, 1, 2)
            assert page.locator("#review .reason").all_text_contents() == [
                "They differ in numbers: 2 and 3.",
                "They differ in numbers: 3 and 2.",
            ]
            assert page.locator("#review b").count() == 0
    finally:
        service.stop()


def test_it_knows_the_limits_of_the_service(browser, serving, tmp_path):
    """Those that it was started with, told beforehand and when they are passed."""
    service = serving("--max-body-mb", "2", "--max-duplicates", "3")
    page = browser.new_page()
    try:
        page.goto(service.url)
        assert "at most 3, and 2 MB" in page.text_content("#about")
        page.fill("#text", "\n".join(f"Question {n}?" for n in range(4)))
        page.click("#go")
        page.locator("#status.error", has_text="4 questions are more than 3").wait_for()
        (tmp_path / "large.csv").write_bytes(b"question\n" + b"How do I pay?\n" * (3 * 2**20 // 14))
        page.set_input_files("#file", tmp_path / "large.csv")
        page.click("#go")
        page.locator("#status.error", has_text="2 are the most").wait_for()
    finally:
        page.close()
        service.stop()


WATCH = """() => {
  window.gaps = [0];
  let last = performance.now();
  const tick = (now) => { window.gaps.push(performance.now() - last); last = performance.now(); requestAnimationFrame(tick); };
  requestAnimationFrame(tick);
}"""


def large_answer():
    """20,000 questions and 100,000 pairs, as the service tells them: thousands of groups, and one of 5,000."""
    rng = np.random.default_rng(0)
    verbs, things = ("pay", "cancel", "return", "track", "change"), ("order", "parcel", "password", "invoice")
    texts = [f"How do I {verbs[n % 5]} my {things[n % 4]} number {n // 3}, and what then?" for n in range(20_000)]
    large = [[0, n, round(0.75 + 0.2 * float(rng.random()), 4), 0.9] for n in range(1, 5_001)]
    left = rng.integers(5_001, 19_980, 95_000)
    right = left + rng.integers(1, 20, len(left))
    others = {
        (int(a), int(b)): round(0.7 + 0.3 * float(rng.random()) ** 3, 4) for a, b in zip(left, right, strict=True)
    }
    pairs = sorted([*large, *([a, b, score, 0.5] for (a, b), score in others.items())])
    told = {
        "column": "question",
        "texts": texts,
        "ids": [str(n) for n in range(20_000)],
        "set_aside": [],
        "n_set_aside": 0,
    }
    told |= {"pairs": pairs, "threshold": 0.7, "accept": {"value": 0.9, "guarantee": "precision"}, "reject": None}
    return (
        json.dumps({"stage": "encode", "done": 1, "total": 2})
        + "\n"
        + json.dumps({"answer": told | {"truncated": 0}})
        + "\n"
    )


def test_twenty_thousand_questions_freeze_nothing(page):
    """No frame waits for a second: when the answer comes, as the threshold moves, as more is shown, labelled and downloaded."""
    body = large_answer()
    page.route("**/v1/duplicates/file*", lambda route: route.fulfill(body=body, content_type="application/x-ndjson"))
    page.evaluate(WATCH)

    def check(what):
        page.wait_for_timeout(100)
        worst = page.evaluate("Math.max(...window.gaps.splice(0))")
        assert worst < 1_000, f"{what}: {worst:.0f} ms"

    page.fill("#text", "How do I pay?")
    page.click("#go")
    page.wait_for_selector("#result:not(.hidden)")
    check("the answer came")
    for threshold in (0.95, 0.8, 0.7):
        move(page, threshold)
        check(f"the threshold is {threshold}")
    assert "groups" in page.text_content("#counts")
    for _ in range(20):
        page.press("#more", "Enter")  # by key: a mouse may miss a button that what is shown above it still moves
    check("more was shown")
    assert page.locator("#groups > li").count() == 21 * 50
    page.click("#groups > li:first-child > button")
    check("more of the largest group was shown")
    assert page.locator("#groups > li:first-child .pair").count() == 220
    page.focus(".pair")
    for key in "rjwjrj":
        page.keyboard.press(key)
    check("labels were given")
    rows = downloaded(page, "#save")
    check("it was downloaded")
    assert len(rows) > 10_000


def test_it_groups_as_the_package_does(page):
    """On 3,000 pairs between 300 questions, at several thresholds: the same keepers with the same members."""
    rng = np.random.default_rng(1)
    rows = sorted({tuple(sorted(pair)) for pair in rng.integers(0, 300, (3_000, 2)).tolist() if pair[0] != pair[1]})
    scores = rng.integers(700, 1_000, len(rows)) / np.float32(1_000)
    texts = [f"Question {n}?" for n in range(300)]
    told = {"column": "q", "texts": texts, "ids": [str(n) for n in range(300)], "set_aside": [], "n_set_aside": 0}
    told |= {"pairs": [[*row, float(score), None] for row, score in zip(rows, scores, strict=True)]}
    told |= {"threshold": 0.7, "accept": None, "reject": None, "truncated": 0}
    page.route("**/v1/duplicates/file*", lambda route: route.fulfill(body=json.dumps({"answer": told}) + "\n"))
    page.fill("#text", "How do I pay?")
    page.click("#go")
    page.wait_for_selector("#result:not(.hidden)")
    for threshold in (0.7005, 0.8505, 0.9505):
        ours = page.evaluate(f"clustered({threshold}).map((one) => [one.own, ...one.members.map((each) => each.row)])")
        kept = scores >= np.float32(threshold)
        left, right = np.array(rows)[kept].T
        clusters = Matches(left, right, scores[kept], 300).clusters()
        theirs = [np.asarray(group).tolist() for group in clusters.groups()]
        assert sorted((one[0], sorted(one[1:])) for one in ours) == sorted((one[0], sorted(one[1:])) for one in theirs)


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
