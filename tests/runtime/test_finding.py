from __future__ import annotations

import os

import numpy as np
import pytest
import soundfile
from PIL import Image

from pfedge_runtime.errors import InputError
from pfedge_runtime.inputs import find_files, kind_of, read_image

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM")


def picture(path, kind="PNG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 9), (200, 30, 30)).save(path, format=kind)
    return path


def sound(path, kind="WAV"):
    soundfile.write(path, np.zeros(800, dtype=np.float32), 16_000, format=kind)
    return path


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", ["x", "x.bin", "X.JFIF"])
def test_content_decides_what_an_image_is(tmp_path, kind, name):
    path = picture(tmp_path / name, kind)
    assert find_files(tmp_path, "image").files == [path]
    assert kind_of(path) == "image"
    assert read_image(path).shape == (9, 12, 3)


@pytest.mark.parametrize("kind", ["WAV", "OGG", "FLAC"])
def test_content_decides_what_a_sound_is(tmp_path, kind):
    path = sound(tmp_path / "clip", kind)
    assert find_files(tmp_path, "audio").files == [path]
    assert kind_of(path) == "audio"


def test_dicom_needs_no_suffix_and_its_table_of_contents_is_no_image(tmp_path):
    meta = b"\x02\0\x02\0UI\x1a\0"
    (tmp_path / "IM0001").write_bytes(b"\0" * 128 + b"DICM" + meta + b"1.2.840.10008.5.1.4.1.1.2\0")
    (tmp_path / "CONTENTS").write_bytes(b"\0" * 128 + b"DICM" + meta + b"1.2.840.10008.1.3.10\0")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    found = find_files(tmp_path, "image")
    assert [path.name for path in found.files] == ["IM0001"]
    assert found.left_out.describe() == "2 files left out: 1 without a suffix, 1 of other programs (DICOMDIR)"


@pytest.mark.parametrize(
    "name",
    [
        "._x.png", ".hidden.png", ".ipynb_checkpoints/x.png", "__MACOSX/x.png", "@eaDir/x.png", "#recycle/x.png",
        "lost+found/x.png", "System Volume Information/x.png", "$RECYCLE.BIN/x.png", "__pycache__/x.png",
        ".git/x.png", "Thumbs.db", "THUMBS.DB", "desktop.ini", "x.png~", "#x.png#", "x.png.part", "x.png.crdownload",
        "x.tmp",
    ],
)  # fmt: skip
def test_what_other_programs_leave_is_no_data_whatever_it_holds(tmp_path, name):
    real = picture(tmp_path / "real.png")
    picture(tmp_path / name)
    found = find_files(tmp_path, "image")
    assert found.files == [real]
    assert found.left_out.describe() == f"1 file left out: 1 of other programs ({name.partition('/')[0]})"


def test_what_is_left_out_is_counted_by_kind(tmp_path):
    picture(tmp_path / "a" / "1.png")
    for name in ("LICENSE", "metadata.csv", "a/notes.txt", "b.TXT"):
        (tmp_path / name).write_text("words")
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    sound(tmp_path / "clip.wav")
    assert find_files(tmp_path, "image").left_out.describe() == (
        "6 files left out: 1 .csv, 1 .heic (not readable here), 2 .txt, 1 .wav (a sound), 1 without a suffix"
    )


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"])
def test_damaged_data_is_kept_so_that_reading_names_it(tmp_path, content):
    path = tmp_path / "1.png"
    path.write_bytes(content)
    assert find_files(tmp_path, "image").files == [path]
    with pytest.raises(InputError, match=r"1\.png"):
        read_image(path)


def test_a_file_that_is_named_is_always_tried(tmp_path):
    path = picture(tmp_path / ".hidden")
    assert find_files(path, "image").files == [path]
    (tmp_path / "notes.txt").write_text("words")
    assert find_files(tmp_path / "notes.txt", "image").files == [tmp_path / "notes.txt"]


def test_links_are_followed_but_not_in_circles(tmp_path):
    real = picture(tmp_path / "elsewhere" / "1.png")
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "linked").symlink_to(real.parent)
    (tmp_path / "scans" / "loop").symlink_to(tmp_path / "scans")
    (tmp_path / "scans" / "gone").symlink_to(tmp_path / "nowhere")
    found = find_files(tmp_path / "scans", "image")
    assert found.files == [tmp_path / "scans" / "linked" / "1.png"]
    assert found.left_out.describe() == ("2 files left out: 1 broken link, 1 link to a folder that is read already")
    (tmp_path / "scans" / "gone.png").symlink_to(tmp_path / "nowhere")
    assert tmp_path / "scans" / "gone.png" in find_files(tmp_path / "scans", "image").files


def test_a_pipe_is_not_waited_for(tmp_path):
    real = picture(tmp_path / "1.png")
    os.mkfifo(tmp_path / "2.png")
    found = find_files(tmp_path, "image")
    assert found.files == [real]
    assert found.left_out.describe() == "1 file left out: 1 not a file"


def test_a_folder_without_data_says_what_it_holds(tmp_path):
    (tmp_path / "notes.txt").write_text("words")
    with pytest.raises(InputError, match=r"it holds no audio \(1 file left out: 1 \.txt\)"):
        find_files(tmp_path, "audio")
    with pytest.raises(InputError, match="no such file or folder"):
        find_files(tmp_path / "b", "image")


def test_files_are_found_below_a_folder(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a/2.png", "1.JPG", "notes.txt", "a/3.ogg"):
        (tmp_path / name).touch()
    assert [path.name for path in find_files(tmp_path, "image").files] == ["1.JPG", "2.png"]
    assert [path.name for path in find_files(tmp_path, "audio").files] == ["3.ogg"]
    with pytest.raises(InputError, match="no such file or folder"):
        find_files(tmp_path / "b", "image")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"nothing to read below .*: it holds no audio"):
        find_files(tmp_path / "empty", "audio")
