"""Drawings: what is drawn where, on small and large pictures, and what the two tools refuse."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsl_det import cli, predictions
from wsl_det.core import checkpoint
from wsl_det.detector import draw, pictures, train, weights
from wsl_det.detector.draw import Shape
from wsl_det.errors import CheckpointError, ConfigError, DataError
from wsl_det.evaluation import judged
from wsl_det.evaluation.match_table import FALSE, IGNORED, TRUE


def grey(height, width):
    return np.full((height, width, 3), 128, dtype=np.uint8)


def test_small_pictures_are_enlarged_by_a_whole_factor_large_ones_are_not():
    assert draw.draw(grey(60, 90), []).shape == (480, 720, 3)
    assert draw.draw(grey(700, 900), []).shape == (700, 900, 3)


def test_masks_tint_their_pixels_and_nothing_else():
    mask = np.zeros((600, 600), dtype=np.uint8)
    mask[200:300, 100:400] = 1
    found = draw.draw(grey(600, 600), [Shape((50, 400, 90, 440), 2, "x", mask=mask)])
    tone = np.array(draw.color(2))
    expected = 128 * 0.58 + tone * 0.42
    assert np.abs(found[250, 250] - expected).max() <= 1
    assert (found[500, 500] == 128).all()
    assert (found[400, 70] == tone).all()  # the box's upper line


def test_the_callers_picture_is_left_alone():
    image = grey(600, 600)
    draw.draw(image, [Shape((10, 10, 300, 300), 0, "x", mask=np.ones((600, 600)))])
    assert (image == 128).all()


def test_every_label_stays_inside_the_picture_and_labels_avoid_each_other():
    shapes = [Shape((0, 0, 500, 40), k, f"class {k}", 0.5) for k in range(3)]
    shapes += [Shape((560, 560, 600, 600), 4, "a rather long name for a class", 1.0)]
    picture = Image.fromarray(grey(600, 600))
    from PIL import ImageDraw

    labels = draw._Labels(ImageDraw.Draw(picture), 600, 600, 2)
    for shape in shapes:
        labels.put(shape, shape.box_xyxy)
    for x1, y1, x2, y2 in labels.taken:
        assert x1 >= 0 and y1 >= 0 and x2 <= 600 and y2 <= 600
    assert len({(p[0], p[1]) for p in labels.taken}) == 4


def test_neighbouring_classes_differ_in_color():
    tones = np.array([draw.color(k) for k in range(80)], dtype=float)
    assert (np.abs(np.diff(tones, axis=0)).max(axis=1) > 60).all()


@pytest.fixture
def predicted(scenes, tmp_path):
    """The annotations of "val" as predictions, and one of low score."""
    tree = json.loads(Path(scenes["val"][0]).read_text())
    keep = ("image_id", "category_id", "bbox", "segmentation")
    rows = [{**{k: a[k] for k in keep}, "score": 0.9} for a in tree["annotations"]]
    rows[0]["score"] = 0.1
    path = tmp_path / "p.json"
    path.write_text(json.dumps(rows))
    return path


def test_a_wrong_image_folder_is_an_error_and_not_no_pictures(scenes, predicted, tmp_path):
    with pytest.raises(DataError, match=r"none of 3 images could be read, .*check --images"):
        pictures.compare(scenes["val"][0], predicted, tmp_path, tmp_path / "out", score=0.5, limit=0)
    assert not (tmp_path / "out").exists()


def test_annotations_and_predictions_side_by_side(scenes, predicted, tmp_path):
    gt, folder = scenes["val"]
    (Path(folder) / "2.png").write_text("no image")
    drawn = pictures.compare(gt, predicted, folder, tmp_path / "out", score=0.5, limit=0)
    assert drawn.written == 2 and list(drawn.skipped) == [str(Path(folder) / "2.png")]
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"10_0.jpg", "11_1.jpg"}
    with Image.open(tmp_path / "out" / "11_1.jpg") as picture:
        assert picture.width > 2 * 640 and picture.height > 480
    assert pictures.compare(gt, predicted, folder, tmp_path / "o2", score=0.5, limit=1).written == 1


def test_right_and_wrong_are_told_apart(scenes, predicted, tmp_path, monkeypatch, capsys):
    """A wrong class, a second box on an object, a box in a crowd, and the rest right."""
    tree = json.loads(Path(scenes["val"][0]).read_text())
    crowd = {**tree["annotations"][-1], "id": 999, "bbox": [0, 0, 5, 5], "area": 25, "iscrowd": 1}
    image = next(i for i in tree["images"] if i["id"] == crowd["image_id"])
    size = [image["height"], image["width"]]
    tree["annotations"].append({**crowd, "segmentation": {"size": size, "counts": [0, 5, 3067]}})
    (tmp_path / "gt.json").write_text(json.dumps(tree))
    rows = json.loads(predicted.read_text())
    rows = [{k: v for k, v in row.items() if k != "segmentation"} | {"score": 0.9} for row in rows]
    rows[0]["category_id"] = 11 - rows[0]["category_id"]  # 3 is taken for 8
    inside = {k: crowd[k] for k in ("image_id", "category_id", "bbox")}
    rows += [{**rows[1], "score": 0.6}, {**rows[0], **inside}]
    predicted.write_text(json.dumps(rows))
    status = judged.judge(tmp_path / "gt.json", predicted).tolist()
    assert status == [FALSE, *[TRUE] * (len(rows) - 3), FALSE, IGNORED]
    seen = []
    monkeypatch.setattr(draw, "draw", lambda image, shapes: seen.append([s.right for s in shapes]) or image)
    words = ["--gt", tmp_path / "gt.json", "--predictions", predicted, "--images", scenes["val"][1]]
    words = [*map(str, words), "--output", str(tmp_path / "out")]
    assert cli.main(["draw_predictions", *words]) == 0
    counted = Counter(v for verdicts in seen[1::2] for v in verdicts)
    assert counted == {False: 2, True: len(rows) - 3, None: 1}
    assert f"look at {tmp_path / 'out' / 'index.html'}" in capsys.readouterr().out
    page = (tmp_path / "out" / "index.html").read_text()
    assert f"{len(rows) - 3} right (green) and 2 wrong" in page and page.count("data:image/jpeg") == 3
    assert page.index("2 wrong") < page.index("0 wrong") and 'href="10_0.jpg"' in page


def test_what_cannot_be_judged_is_drawn_all_the_same(scenes, predicted, tmp_path, capsys):
    tree = json.loads(Path(scenes["val"][0]).read_text()) | {"annotations": []}
    (tmp_path / "gt.json").write_text(json.dumps(tree))
    words = ["--gt", str(tmp_path / "gt.json"), "--predictions", str(predicted), "--images", scenes["val"][1]]
    assert cli.main(["draw_predictions", *words, "--output", str(tmp_path / "out")]) == 0
    assert (
        "right and wrong are not told apart: " in (said := capsys.readouterr().out) and "3 pictures" in said
    )
    assert "detections</figcaption>" in (tmp_path / "out" / "index.html").read_text()


def test_verdicts_have_tones_of_their_own():

    corners = {}
    for right in (None, True, False):
        made = draw.draw(grey(200, 300), [draw.Shape((40.0, 60.0, 260.0, 180.0), 0, "a", 0.5, right=right)])
        corners[right] = tuple(made[made.shape[0] * 180 // 200, made.shape[1] * 41 // 300].tolist())
    assert len(set(corners.values())) == 3
    assert corners[True][1] > corners[True][0] and corners[False][0] > corners[False][1]


def test_predictions_of_other_images_are_refused(scenes, predicted, tmp_path):
    with pytest.raises(DataError, match="do not belong together"):
        pictures.compare(
            scenes["train"][0], _moved(predicted), scenes["train"][1], tmp_path, score=0.5, limit=0
        )


def _moved(path):
    rows = json.loads(path.read_text())
    rows[0]["image_id"] = 999
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture
def detector(scenes, tiny):
    """The path of a detector trained for one step."""
    cfg = tiny("SOLVER.MAX_ITER", 1, "DATASETS.TEST", [])
    train.run(train.Job(cfg, scenes, engine="embedded"))
    return str(Path(cfg.OUTPUT_DIR) / "model_final.pth")


def test_own_photos_are_drawn_and_written_as_json(scenes, tiny, detector, tmp_path):
    photos = Path(scenes["val"][1])
    (photos / "broken.jpg").write_text("no image")
    (photos / "notes.txt").write_text("not a photo by name")
    out = tmp_path / "mine"
    drawn = pictures.predict(tiny(), detector, photos, out, engine_name="embedded", score=0.0)
    assert drawn.written == 3 and list(drawn.skipped) == [str(photos / "broken.jpg")]
    assert {p.name for p in (out / "drawn").iterdir()} == {"0.jpg", "1.jpg", "2.jpg"}
    Image.open(photos / "0.png").save(photos / "0.bmp")
    pictures.predict(tiny(), detector, photos, tmp_path / "twins", engine_name="embedded", score=0.0)
    names = {"0.bmp.jpg", "0.png.jpg", "1.jpg", "2.jpg"}
    assert {p.name for p in (tmp_path / "twins" / "drawn").iterdir()} == names
    (photos / "0.bmp").unlink()
    listed = json.loads((out / "images.json").read_text())
    assert [i["file_name"] for i in listed["images"]] == ["0.png", "1.png", "2.png"]
    found = predictions.read(out / "predictions.json")
    assert set(found.category_ids) <= {3, 8} and len(found) > 0
    # The folder's files speak of each other: the drawing tool takes them as they are.
    redrawn = pictures.compare(
        out / "images.json", out / "predictions.json", photos, tmp_path / "r", score=0, limit=0
    )
    assert redrawn.written == 3


def test_every_file_is_drawn_named_or_counted(scenes, tiny, detector, tmp_path):
    photos = tmp_path / "photos"
    (photos / "sub.jpg").mkdir(parents=True)
    picture = Image.open(Path(scenes["val"][1]) / "0.png")
    for name in ("a.jpg", "a.png", "a.jpg.png", "A.PNG", "sub.jpg/e.jpg", "b.gif", "c.avif", "d.gif"):
        picture.save(photos / name, format="PNG")
    os.mkfifo(photos / "pipe.jpg")
    (photos / "notes").write_text("x")
    drawn = pictures.predict(tiny(), detector, photos, tmp_path / "o", engine_name="embedded", score=0.0)
    assert drawn.written == len(list((tmp_path / "o" / "drawn").iterdir())) == 4
    assert drawn.skipped == {str(photos / "pipe.jpg"): "it is no regular file"}
    told = "\n".join(drawn.lines(tmp_path))
    assert "not looked at: 1 .avif, 2 .gif, 1 folder, 1 without suffix; photos are files named .jpg" in told
    assert "4 pictures in" in told


@pytest.mark.parametrize(
    ("photos", "drawings"),
    [
        (["a.jpg", "b.png"], ["a.jpg", "b.jpg"]),
        (["a.jpg", "a.jpg.png", "a.png"], ["a.jpg.jpg", "a.jpg.png.jpg", "a.png.jpg"]),
        (["A.jpg", "a.JPG"], ["A.jpg.jpg", "a.JPG_2.jpg"]),
        (["é.jpg", "e\u0301.png"], ["é.jpg.jpg", "e\u0301.png.jpg"]),
        (["a.png.png", "a.jpg", "a.png"], ["a.png.jpg", "a.jpg.jpg", "a.png_2.jpg"]),
    ],
)
def test_no_two_drawings_share_a_name(photos, drawings):
    assert pictures.drawing_names([Path(p) for p in photos]) == drawings


def test_classes_come_from_the_checkpoint(scenes, tiny, detector, tmp_path):
    cfg = tiny("MODEL.ROI_HEADS.NUM_CLASSES", 80)
    photo = Path(scenes["val"][1]) / "0.png"
    drawn = pictures.predict(cfg, detector, photo, tmp_path / "one", engine_name="embedded", score=0.9)
    assert drawn.written == 1
    assert len(predictions.read(tmp_path / "one" / "predictions.json")) == 0


def test_what_predict_refuses(tiny, scenes, detector, tmp_path):
    (tmp_path / "empty").mkdir()
    for source, message in ((tmp_path / "none", "does not exist"), (tmp_path / "empty", "no readable photo")):
        with pytest.raises(DataError, match=message):
            pictures.predict(tiny(), detector, source, tmp_path / "o", engine_name="embedded", score=0.5)
    with pytest.raises(ConfigError, match="does not exist"):
        pictures.predict(
            tiny(), "nothing.pth", scenes["val"][1], tmp_path / "o", engine_name="embedded", score=0.5
        )
    bad = tmp_path / "bad.pth"
    bad.write_bytes(b"junk")
    with pytest.raises(CheckpointError, match=r"bad\.pth"):
        pictures.predict(
            tiny(), str(bad), scenes["val"][1], tmp_path / "o", engine_name="embedded", score=0.5
        )
    with pytest.raises(ConfigError, match="--score is 7"):
        pictures.check_score(7)
    assert not (tmp_path / "o").exists()


def test_names_of_foreign_files_are_drawn_and_boxes_are_not_followed_outside():
    shapes = [
        Shape((-1e9, -1e9, 1e9, 1e9), 0, "two\nlines\tand \x1b[31m", crowd=True),
        Shape((-1e9, 30, 1e9, 40), 1, "\ud800", 0.5),
    ]
    found = draw.draw(grey(480, 480), shapes)
    assert (found[30, 10] == draw.color(1)).all()


def test_names_too_long_for_a_drawing_are_cut():
    names = pictures.drawing_names([Path(f"{'é' * 110}{k}{'x' * 20}.png") for k in range(3)])
    assert len(set(names)) == 3 and all(len(name.encode()) < 220 for name in names)


def test_one_photo_that_cannot_be_read_is_told_why(scenes, tiny, detector, tmp_path):
    deep = tmp_path / "deep.png"
    Image.fromarray(np.zeros((9, 9), dtype=np.uint16)).save(deep)
    with pytest.raises(DataError, match=r"no readable photo .*deep\.png: more than 8 bits a channel"):
        pictures.predict(tiny(), detector, deep, tmp_path / "o", engine_name="embedded", score=0.5)


@pytest.mark.parametrize("told", [5, {"categories": [1]}, {"categories": [{"id": 3}]}, {"backbone": "x"}])
def test_a_header_that_cannot_be_is_damage(detector, tmp_path, told):
    payload = {**checkpoint.load_weights(detector), "wsl_det": told}
    checkpoint.save(tmp_path / "odd.pth", payload)
    with pytest.raises(CheckpointError, match=r"odd\.pth: what it says of itself is damaged"):
        weights.from_header(checkpoint.load_weights(tmp_path / "odd.pth"), str(tmp_path / "odd.pth"))
