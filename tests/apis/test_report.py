"""The report, made of a short training and read in a real browser."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import chromium
from mmengine.config import Config
from mmseg.apis import init_model
from short_runs import run_tool, train_briefly

from mmseg_proto.apis.gallery import build_gallery, crop_around, crop_sightings
from mmseg_proto.apis.report_classes import examples_for

#: A class whose name would be markup, were it not escaped.
WICKED = '</script><script>document.title="taken"</script><img src=x onerror=alert(1)>'


@pytest.fixture(scope="module")
def trained(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("report")
    config = folder / "config.py"
    config.write_text(
        f"_base_ = {str(repository / 'configs' / 'proto_demo_synthetic.py')!r}\n"
        "train_dataloader = dict(num_workers=0, persistent_workers=False,\n"
        "    dataset=dict(length=40))\n"
        "val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(length=10))\n"
        "model = dict(backbone=dict(init_cfg=None), decode_head=dict(channels=32))\n"
    )
    checkpoint = train_briefly(config)
    saved = torch.load(checkpoint, weights_only=False)
    classes = list(saved["meta"]["dataset_meta"]["classes"])
    saved["meta"]["dataset_meta"]["classes"] = [classes[0], WICKED, *classes[2:]]
    torch.save(saved, checkpoint)
    return config, checkpoint


@pytest.fixture(scope="module")
def page(trained: tuple[Path, Path]) -> Path:
    out = trained[0].parent / "report.html"
    done = run_tool("report", *trained, "-o", out, "--images", 20, "--pictures", 3)
    assert done.returncode == 0, done.stderr[-3000:]
    assert str(out) in done.stdout.replace("\n", "")
    return out


def test_in_a_browser(page: Path, trained: tuple[Path, Path], tmp_path: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    with chromium(tmp_path) as browser:
        wait = WebDriverWait(browser, 20)
        browser.get(page.as_uri())
        # What a data set calls its classes is text.
        assert browser.title == "What the prototypes of config stand for"
        assert WICKED in browser.find_element(By.ID, "classes").text
        # The middle of the picture is asked at once, then a click on a pixel.
        stage = browser.find_element(By.ID, "stage")
        answer = browser.find_element(By.ID, "answer")
        first = answer.text
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", stage)
        ActionChains(browser).move_to_element_with_offset(stage, -40, 30).click().perform()
        assert answer.text.splitlines()[0] != first.splitlines()[0]
        assert re.search(r"Winner: .+, prototype \d+: cosine [\d.-]+, distance", answer.text)
        assert "Second, of another class:" in answer.text
        assert browser.find_elements(By.CSS_SELECTOR, "#answer-examples .crop")
        # It is what the data says of this pixel.
        data = json.loads(
            browser.find_element(By.ID, "picture-0").get_attribute("textContent") or ""
        )
        row, column = (int(x) for x in re.findall(r"Row (\d+), column (\d+)", answer.text)[0])
        size = browser.find_element(By.ID, "photo").size
        assert row == pytest.approx(data["rows"] * (0.5 + 30 / size["height"]), abs=1)
        assert column == pytest.approx(data["columns"] * (0.5 - 40 / size["width"]), abs=1)
        cosine = data["cosine"][row * data["columns"] + column] / 1000
        assert f"cosine {cosine:.3f}, distance {1 - cosine:.3f}" in answer.text
        # The same by keyboard.
        stage.send_keys(Keys.ARROW_RIGHT)
        assert f"Row {row}, column {column + 1}." in answer.text
        # Classes are found by name, and their prototypes made when one is opened.
        browser.find_element(By.ID, "filter").send_keys("vehi")
        shown = [d for d in browser.find_elements(By.CSS_SELECTOR, "details.class")]
        (vehicle,) = [d for d in shown if d.is_displayed()]
        assert browser.find_element(By.ID, "found").text == "1 of 8 classes"
        assert not vehicle.find_elements(By.CLASS_NAME, "card")
        vehicle.find_element(By.TAG_NAME, "summary").click()
        # Browsers tell of what was opened a moment later.
        wait.until(lambda _: vehicle.find_elements(By.CLASS_NAME, "card"))
        cards = vehicle.find_elements(By.CLASS_NAME, "card")
        assert "share of the class" in cards[0].text
        # The map.
        browser.find_element(By.CSS_SELECTOR, "#map-details summary").click()
        wait.until(lambda _: browser.find_elements(By.CSS_SELECTOR, "#map-place > *"))
        assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []


def test_nothing_is_fetched(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    before_library = text.partition('id="map-library"')[0]
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", before_library)
    assert WICKED not in text


def test_the_gallery_shows_pixels_that_its_prototypes_win(trained: tuple[Path, Path]) -> None:
    config, checkpoint = trained
    cfg = Config.fromfile(config)
    model: Any = init_model(cfg, str(checkpoint), device="cpu")
    gallery = build_gallery(cfg, model, images=12, examples=2)
    assert len(gallery.sizes) == 12
    cosine, place = gallery.sightings
    classifier = model.decode_head.prototype_classifier
    prototypes = classifier.bank.directions.flatten(0, 1)
    seen: list[Any] = []
    handle = classifier.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    for prototype, number in cosine.isfinite().nonzero().tolist():
        image, row, column, _ = place[prototype, number].tolist()
        sample = gallery.dataset[image]
        data = model.data_preprocessor(
            {"inputs": [sample["inputs"]], "data_samples": [sample["data_samples"]]}, False
        )
        with torch.no_grad():
            model(data["inputs"], data["data_samples"], mode="tensor")
            embeddings = classifier.embedding(seen[-1])
        pixel = embeddings[row * seen[-1].shape[-1] + column]
        cosines = prototypes @ pixel
        assert int(cosines.argmax()) == prototype
        assert float(cosines.max()) == pytest.approx(float(cosine[prototype, number]), abs=1e-4)
    handle.remove()
    crops = list(crop_sightings(gallery, 24))
    assert len(crops) == int(cosine.isfinite().sum())
    assert {crop.shape for *_, crop in crops} == {(24, 24, 3)}


def test_the_mark_is_on_the_pixel() -> None:
    """Also where the square was moved to stay in the picture."""
    picture = np.zeros((100, 200, 3), dtype=np.uint8)
    for centre in ((0.5, 0.5), (0.02, 0.02), (0.99, 0.6)):
        marked = np.nonzero(crop_around(picture, centre, 80).max(axis=2))
        side = 40
        for found, share, length in zip(marked, centre, (100, 200), strict=True):
            start = min(max(round(share * length - side / 2), 0), length - side)
            middle = (found.min() + found.max()) / 2
            if 10 < (share * length - start) * 2 < 70:
                assert middle == pytest.approx((share * length - start) * 2 - 0.5, abs=1.1)


def test_many_prototypes_show_fewer_examples() -> None:
    assert examples_for(110, 4) == 4
    assert examples_for(1500, 4) == 4
    assert examples_for(3000, 4) == 2
    assert examples_for(10_000, 4) == 1


def test_bad_input(page: Path, trained: tuple[Path, Path], tmp_path: Path) -> None:
    done = run_tool("report", *trained, "-o", page)
    assert done.returncode == 1
    assert "is there. Overwrite it with --force" in done.stderr
    done = run_tool("report", *trained, "-o", tmp_path / "a.html", "--pictures", 0)
    assert "Expected `pictures` to be at least 1, but got 0." in done.stderr
    assert not (tmp_path / "a.html").exists()
