from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from pfedge_runtime.errors import InputError, MissingExtraError
from pfedge_runtime.inputs import AudioPreprocess, read_sound
from pfedge_runtime.inputs.audio import Sound, resample

RATE = 16_000
SAMPLES = np.random.default_rng(0).normal(0, 0.1, 2 * RATE).astype(np.float32)
PREPROCESS = AudioPreprocess(frames=128, mels=128)


def write(path, samples=SAMPLES, rate=RATE, **settings):
    soundfile.write(path, samples, rate, **settings)
    return path


def extracted(samples, frames=128):
    """What transformers' own feature extractor computes: the independent oracle."""
    from transformers import ASTFeatureExtractor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of mel filters without a bin, which the published AST has
        extractor = ASTFeatureExtractor(max_length=frames)
        return extractor(samples, sampling_rate=RATE, return_tensors="np")["input_values"][0]


@settings(max_examples=25, deadline=None)
@given(length=st.integers(400, 40_000), scale=st.floats(1e-4, 1), seed=st.integers(0, 100))
def test_features_equal_the_feature_extractors(length, scale, seed):
    samples = (np.random.default_rng(seed).normal(0, 0.2, length) * scale).astype(np.float32)
    features = PREPROCESS(Sound(samples, RATE))
    assert features.dtype == np.float32
    assert np.abs(features - extracted(samples)).max() < 1e-4


def test_features_of_real_recordings_equal_the_feature_extractors(shared_data):
    preprocess = AudioPreprocess(frames=1024, mels=128)
    for file in sorted((shared_data / "audio" / "esc10").glob("*/*.ogg"))[::40]:
        sound = preprocess.read(file)
        assert np.abs(preprocess(sound) - extracted(sound.samples, 1024)).max() < 1e-4


@pytest.mark.parametrize("name", ["a.wav", "a.ogg", "a.flac", "wav_inside.ogg"])
def test_formats_are_told_by_content(tmp_path, name):
    format_ = "WAV" if name == "wav_inside.ogg" else name[2:].upper()
    sound = read_sound(write(tmp_path / name, format=format_))
    assert sound.rate == RATE
    assert np.abs(sound.samples - SAMPLES).mean() < 0.05  # Ogg is lossy, worst on noise


def test_eight_bits_become_floats(tmp_path):
    sound = read_sound(write(tmp_path / "a.wav", subtype="PCM_U8"))
    assert np.abs(sound.samples - SAMPLES).max() < 1 / 64


def test_stereo_becomes_the_mean(tmp_path):
    sound = read_sound(write(tmp_path / "a.wav", np.stack([SAMPLES, np.zeros_like(SAMPLES)], axis=1), subtype="FLOAT"))
    assert np.allclose(sound.samples, SAMPLES / 2, atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_another_rate_is_resampled(rate):
    def tone(rate):
        return Sound(np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32), rate)

    got = resample(tone(rate), RATE).samples
    inner = slice(2_000, 14_000)  # away from where the sound begins and ends
    assert len(got) == RATE
    assert np.abs(got[inner] - tone(RATE).samples[inner]).max() < 1e-3


def test_only_what_is_heard_is_decoded(tmp_path):
    long = write(tmp_path / "a.wav", np.tile(SAMPLES, 20))
    assert len(PREPROCESS.read(long).samples) == round(PREPROCESS.seconds * RATE)


def test_features_that_are_ready_are_returned():
    features = PREPROCESS(Sound(SAMPLES, RATE))
    assert PREPROCESS(features) is features
    with pytest.raises(InputError, match=r"must be float32 \[128, 128\], got float32 \[5, 128\]"):
        PREPROCESS(features[:5])


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(8_000, np.float32), "is silent"),
        (np.full(8_000, 0.25, np.float32), "is silent"),
        (SAMPLES[:300], "less than one window"),
        (np.array([np.nan] * 800, np.float32), "not finite"),
    ],
)
def test_sounds_without_content_are_named_and_refused(tmp_path, samples, reason):
    file = write(tmp_path / "bad.wav", samples, subtype="FLOAT")
    with pytest.raises(InputError, match=rf"bad\.wav .*{reason}"):
        PREPROCESS(PREPROCESS.read(file))


@pytest.mark.parametrize("suffix", ["wav", "ogg", "flac"])
@pytest.mark.parametrize("share", [0.0, 0.002, 0.5, 0.98])
def test_truncated_files_are_refused(tmp_path, suffix, share):
    data = write(tmp_path / f"whole.{suffix}").read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"cut\."):
        read_sound(cut)


def test_a_recording_of_no_sample_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no sample"):
        read_sound(write(tmp_path / "a.wav", SAMPLES[:0]))


def test_a_streamed_wav_is_read(tmp_path):
    data = bytearray(write(tmp_path / "a.wav").read_bytes())
    at = data.index(b"data") + 4
    data[4:8] = data[at : at + 4] = b"\xff" * 4  # as a program writes that does not know the length yet
    (tmp_path / "piped.wav").write_bytes(data)
    assert len(read_sound(tmp_path / "piped.wav").samples) == len(SAMPLES)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.wav").write_text("not a sound, however it is called")
    with pytest.raises(InputError, match=r"cannot read the sound .*text\.wav"):
        read_sound(tmp_path / "text.wav")
    with pytest.raises(InputError, match="no such file"):
        read_sound(tmp_path / "nosuch.wav")


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    file = write(tmp_path / "a.wav")
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(MissingExtraError, match=r"pfedge\[audio\]"):
        read_sound(Path(file))
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(MissingExtraError, match=r"pfedge\[audio\]"):
        resample(Sound(SAMPLES, 8_000), RATE)
