"""The header gate: what is refused before a decoder sees it, and how it says so."""

import os
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.wsi.readers.tiffs import make_pixels, write_pyramid, write_tiff
from wsi.errors import CorruptSlide, SlideNotFound, SlideTooLarge, UnsupportedSlide, WsiError
from wsi.geometry import Box
from wsi.readers import open_slide
from wsi.readers.gate import check_header

REFUSED = {
    "1bit.tif": (UnsupportedSlide, "1-bit"),
    "2bit.tif": (UnsupportedSlide, "2-bit"),
    "4bit.tif": (UnsupportedSlide, "4-bit"),
    "dicom-grayscale.dcm": (UnsupportedSlide, "1 samples of 16 bits"),
    "dicom-jpegls.dcm": (UnsupportedSlide, "JPEG-LS"),
    "dicom-label-only.dcm": (UnsupportedSlide, "only a label image"),
    "fluorescence-z-stack.ome.tif": (UnsupportedSlide, "3 channels and 5 planes"),
    "fluorescence.czi": (UnsupportedSlide, "bright-field"),
    "not-a-tiff.svs": (UnsupportedSlide, "check that it is the right file"),
    "ojpeg-strip.tif": (UnsupportedSlide, "old-style JPEG"),
    "ojpeg-tile.tif": (UnsupportedSlide, "old-style JPEG"),
    "subsampled.tif": (UnsupportedSlide, "YCbCr"),
    "truncated-weights.pth": (UnsupportedSlide, "no slide or picture"),
    "unopenable.tiff": (UnsupportedSlide, "52479"),
    "zero-height.tif": (CorruptSlide, "2 x 0 px"),
}
READ_ANYWAY = {
    "rgb16.tif": "image",  # 16 bits scaled to 8
    "two-pixels-la.tiff": "tiffslide",  # grey with alpha over white
    "unreadable.svs": "tiff",  # opens; test_openslide and test_tiff read it
}


@pytest.mark.real_data
def test_all_malformed_files_are_spoken_for(real_data: Path):
    names = {path.name for path in (real_data / "malformed").iterdir()}
    assert names == set(REFUSED) | set(READ_ANYWAY)


@pytest.mark.real_data
@pytest.mark.parametrize("name", REFUSED)
def test_a_malformed_file_is_refused_with_its_name_and_the_reason(real_data: Path, name: str):
    kind, reason = REFUSED[name]
    path = real_data / "malformed" / name
    with pytest.raises(WsiError) as caught:
        open_slide(path)
    assert type(caught.value) is kind
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "reader"), READ_ANYWAY.items())
def test_some_malformed_files_are_read_after_all(real_data: Path, name: str, reader: str):
    with open_slide(real_data / "malformed" / name) as slide:
        assert slide.info.reader == reader


@pytest.mark.real_data
def test_16_bit_rgb_is_scaled_to_the_nearest_of_8(real_data: Path):
    path = real_data / "malformed" / "rgb16.tif"
    expected = np.floor(tifffile.imread(path) / 257 + 0.5).astype(np.uint8)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read_level(0, Box(0, 0, 290, 442)), expected)


@pytest.mark.real_data
def test_grey_with_alpha_is_laid_over_white(real_data: Path):
    """Its pixels are (0, 0) and (255, 255): transparent black, opaque white."""
    with open_slide(real_data / "malformed" / "two-pixels-la.tiff") as slide:
        assert (slide.read_level(0, Box(0, 0, 2, 1)) == 255).all()


def patch_tag(path: Path, code: int, value: int, *, page: int = 0) -> Path:
    """Overwrite a whole number of a directory, past all that tifffile would check."""
    with tifffile.TiffFile(path) as file:
        tag = file.pages[page].tags[code]
        order, kind, at = file.byteorder, int(tag.dtype), tag.valueoffset
    layout = {3: "H", 4: "I", 16: "Q"}[kind]
    data = bytearray(path.read_bytes())
    struct.pack_into(order + layout, data, at, value)
    path.write_bytes(data)
    return path


@pytest.fixture
def tiff(tmp_path: Path) -> Path:
    return write_tiff(tmp_path / "a.tif", make_pixels(200, 130))


WIDTH, LENGTH, BITS, CODEC, COLOURS, SAMPLES = 256, 257, 258, 259, 262, 277
TILE_WIDTH, TILE_LENGTH, SAMPLE_FORMAT = 322, 323, 339


@pytest.mark.parametrize(
    ("code", "value", "kind", "reason"),
    [
        (WIDTH, 0, CorruptSlide, "0 x 130 px"),
        (WIDTH, 60000, CorruptSlide, "12 of 2814 tiles are listed"),
        (TILE_WIDTH, 0, CorruptSlide, "tiles of 0 x 64 px"),
        (TILE_WIDTH, 65520, None, ""),
        (SAMPLES, 9, UnsupportedSlide, "9 samples"),
        (COLOURS, 5, UnsupportedSlide, "colour model 5"),
        (CODEC, 6, UnsupportedSlide, "old-style JPEG"),
        (CODEC, 999, UnsupportedSlide, "code 999"),
    ],
)
def test_a_lying_tag_is_refused(
    tiff: Path, code: int, value: int, kind: type[WsiError] | None, reason: str
):
    patch_tag(tiff, code, value)
    if kind is None:  # 65,520 x 64 px of four bytes: 16 MiB
        check_header(str(tiff))
        return
    with pytest.raises(kind, match=reason):
        check_header(str(tiff))


def test_a_tile_of_more_than_64_mib_is_refused(tiff: Path):
    patch_tag(tiff, TILE_WIDTH, 65520)
    patch_tag(tiff, TILE_LENGTH, 272)
    with pytest.raises(SlideTooLarge, match=r"67 MiB.*limit 64"):
        check_header(str(tiff))


def test_more_than_40_gigapixels_are_refused(tmp_path: Path):
    path = write_tiff(tmp_path / "a.tif", make_pixels(200, 130))
    patch_tag(patch_tag(path, WIDTH, 300_000), LENGTH, 300_000)
    with pytest.raises(SlideTooLarge, match=r"300000 x 300000 px, more than any slide"):
        check_header(str(path))


def test_a_tiff_cut_short_says_how_much_is_missing(tmp_path: Path):
    """A download that stopped: the directory is whole, the last tiles are not."""
    path = tmp_path / "a.tif"
    write_pyramid(path, [(200, 130)])
    size_bytes = path.stat().st_size
    os.truncate(path, size_bytes - 1000)
    with pytest.raises(CorruptSlide, match=rf"ends at byte {size_bytes - 1000}.*cut short"):
        open_slide(path)


def test_directories_in_a_loop_are_refused(tmp_path: Path):
    path = tmp_path / "a.tif"
    write_pyramid(path, [(200, 130), (100, 65)])
    with tifffile.TiffFile(path) as file:
        first, second = (page.offset for page in file.pages)
    data = bytearray(path.read_bytes())
    (entries,) = struct.unpack_from("<H", data, second)
    struct.pack_into("<I", data, second + 2 + 12 * entries, first)
    path.write_bytes(data)
    with pytest.raises(CorruptSlide, match="loop"):
        open_slide(path)


def test_more_directories_than_4096_are_refused(tmp_path: Path):
    """5,000 directories of one tag each, chained."""
    one = 2 + 12 + 4
    data = bytearray(struct.pack("<2sHI", b"II", 42, 8))
    for i in range(5000):
        data += struct.pack("<HHHII", 1, 256, 4, 1, 100)
        data += struct.pack("<I", 8 + (i + 1) * one if i < 4999 else 0)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(SlideTooLarge, match="more than 4096 pictures"):
        open_slide(tmp_path / "a.tif")


def test_more_levels_than_32_are_refused(tmp_path: Path):
    write_pyramid(tmp_path / "a.tif", [(70, 70)] * 33)
    with pytest.raises(SlideTooLarge, match="33 pyramid levels"):
        open_slide(tmp_path / "a.tif")


def test_a_giant_description_is_refused(tmp_path: Path):
    """Sparse: 17 MiB of zeros in the file that the tag claims as text."""
    path = write_tiff(tmp_path / "a.tif", make_pixels(64, 64), description="x" * 40)
    with tifffile.TiffFile(path) as file:
        entry = file.pages[0].tags[270].offset
    data = bytearray(path.read_bytes())
    struct.pack_into("<II", data, entry + 4, 17 << 20, len(data))
    path.write_bytes(data)
    os.truncate(path, len(data) + (17 << 20))
    with pytest.raises(SlideTooLarge, match="17 MiB"):
        open_slide(path)


def test_a_tag_that_points_outside_the_file_is_refused(tmp_path: Path):
    path = write_tiff(tmp_path / "a.tif", make_pixels(64, 64), description="x" * 40)
    with tifffile.TiffFile(path) as file:
        entry = file.pages[0].tags[270].offset
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, entry + 8, 0xFFFFFF00)
    path.write_bytes(data)
    with pytest.raises(CorruptSlide, match="tag 270 lies outside"):
        open_slide(path)


def test_xml_entities_in_ome_metadata_are_refused(tmp_path: Path):
    bomb = '<!DOCTYPE b [<!ENTITY a "aaaa">]><OME>&a;</OME>'
    write_tiff(tmp_path / "a.tif", make_pixels(64, 64), description=bomb)
    with pytest.raises(CorruptSlide, match="entities"):
        open_slide(tmp_path / "a.tif")


def test_an_imagej_stack_is_refused(tmp_path: Path):
    stack = np.zeros((5, 40, 40), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(UnsupportedSlide, match="1 channels and 5 planes"):
        open_slide(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_samples_that_are_no_bytes_are_refused(tmp_path: Path, dtype: type):
    write_tiff(tmp_path / "a.tif", np.zeros((40, 40), dtype))
    with pytest.raises(UnsupportedSlide, match=r"-bit .*samples"):
        open_slide(tmp_path / "a.tif")


def test_an_uncompressed_strip_may_be_large_and_a_compressed_one_may_not(tmp_path: Path):
    """One strip of 5000 x 5000 px decodes to 71 MiB: as it is in the file, or as a bomb."""
    pixels = np.zeros((5000, 5000, 3), np.uint8)
    write_tiff(tmp_path / "plain.tif", pixels, tile=None, rowsperstrip=5000)
    check_header(str(tmp_path / "plain.tif"))
    options = {"tile": None, "rowsperstrip": 5000, "compression": "zlib"}
    write_tiff(tmp_path / "bomb.tif", pixels, **options)
    with pytest.raises(SlideTooLarge, match="71 MiB"):
        check_header(str(tmp_path / "bomb.tif"))


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_each_kind_of_tiff_is_walked(tmp_path: Path, byteorder: str, bigtiff: bool):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder) as file:
        common = {"photometric": "rgb", "tile": (64, 64), "metadata": None}
        file.write(make_pixels(200, 130), resolution=(20000, 10000), resolutionunit=3, **common)
        file.write(make_pixels(100, 65), subfiletype=1, **common)
    header = check_header(str(path)).tiff
    assert header is not None
    assert [ifd.size for ifd in header.ifds] == [(200, 130), (100, 65)]
    assert header.main.tile == (64, 64)
    assert header.main.resolution == (20000, 10000, 3)
    with tifffile.TiffFile(path) as file:
        assert header.main.offsets.tolist() == list(file.pages[0].dataoffsets)
        assert header.main.counts.tolist() == list(file.pages[0].databytecounts)


def write_ndpi(path: Path, *, high: int = 0) -> Path:
    """Hamamatsu's layout by hand: 8-byte offsets to directories, and after each directory four
    bytes an entry with the high half of its value; `high` is that of the description's offset."""
    tags = [(256, 4, 1, 640), (257, 4, 1, 480), (258, 3, 1, 8), (259, 3, 1, 7), (262, 3, 1, 6)]
    tags += [(270, 2, 9, 350), (273, 4, 1, 300), (277, 3, 1, 3), (278, 4, 1, 480)]
    tags += [(279, 4, 1, 50), (65420, 4, 1, 1), (65426, 4, 1, 0)]
    data = struct.pack("<2sHQ", b"II", 42, 16) + b"\0" * 4 + struct.pack("<H", len(tags))
    data += b"".join(struct.pack("<HHII", *tag) for tag in tags)
    data += struct.pack("<Q", 0)
    data += b"".join(struct.pack("<I", high if tag[0] == 270 else 0) for tag in tags)
    path.write_bytes(data.ljust(350, b"\0") + b"Hamamatsu".ljust(50, b"\0"))
    return path


def test_an_ndpi_is_walked_with_the_high_halves_of_its_offsets(tmp_path: Path):
    header = check_header(str(write_ndpi(tmp_path / "a.ndpi"))).tiff
    assert header is not None
    assert header.is_ndpi
    assert header.main.size == (640, 480)
    assert header.main.offsets.tolist() == [300]
    assert header.main.description == "Hamamatsu"
    with pytest.raises(CorruptSlide, match="tag 270 lies outside"):
        check_header(str(write_ndpi(tmp_path / "b.ndpi", high=1)))


def test_an_empty_file_is_corrupt(tmp_path: Path):
    (tmp_path / "a.svs").touch()
    with pytest.raises(CorruptSlide, match="the file is empty"):
        open_slide(tmp_path / "a.svs")


def test_a_pipe_is_refused_without_being_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "a.svs")
    with pytest.raises(UnsupportedSlide, match="a device, pipe or socket"):
        open_slide(tmp_path / "a.svs")


def test_a_name_that_no_file_can_have_is_not_found():
    with pytest.raises(SlideNotFound, match="cannot be opened"):
        open_slide("x" * 5000)


def test_no_path_at_all_is_not_the_folder_that_one_is_in():
    with pytest.raises(SlideNotFound, match="the slide's path is empty"):
        open_slide("")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux's own files")
def test_a_folder_with_a_file_that_cannot_be_read_is_a_clear_error():
    with pytest.raises(SlideNotFound, match=r"/proc/self: cannot be opened \("):
        open_slide("/proc/self")


def test_an_mrxs_without_its_folder_says_that_both_are_one_slide(tmp_path: Path):
    (tmp_path / "a.mrxs").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(SlideNotFound, match=r"folder a with its Slidedat\.ini is missing"):
        open_slide(tmp_path / "a.mrxs")


def test_an_mrxs_consists_of_its_file_and_its_folder(tmp_path: Path):
    (tmp_path / "a.mrxs").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "a").mkdir()
    for name in ("Slidedat.ini", "Index.dat", "Data0000.dat"):
        (tmp_path / "a" / name).write_text("x")
    files = check_header(str(tmp_path / "a.mrxs")).files
    assert [file.name for file in files] == ["a.mrxs", "Data0000.dat", "Index.dat", "Slidedat.ini"]


def test_a_vms_names_its_parts_and_none_outside_its_folder(tmp_path: Path):
    index = "[Virtual Microscope Specimen]\nNoLayers=1\nImageFile=a.jpg\nMapFile={}\n"
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "map.jpg").write_bytes(b"x")
    (tmp_path / "a.vms").write_text(index.format("map.jpg"))
    files = check_header(str(tmp_path / "a.vms")).files
    assert [file.name for file in files] == ["a.vms", "a.jpg", "map.jpg"]
    (tmp_path / "a.vms").write_text(index.format("../map.jpg"))
    with pytest.raises(CorruptSlide, match="in another folder"):
        check_header(str(tmp_path / "a.vms"))
    (tmp_path / "a.vms").write_text(index.format("gone.jpg"))
    with pytest.raises(SlideNotFound, match=r"gone\.jpg: there is no such file"):
        check_header(str(tmp_path / "a.vms"))


@pytest.mark.real_data
def test_random_damage_to_headers_ends_in_our_errors_or_in_pixels(real_data: Path, tmp_path: Path):
    """A sample; the sandboxed fuzzing of thousands is elsewhere. Gate and walker only: what gets
    past them may still end OpenSlide's process, and with it the tests'."""
    rng = np.random.default_rng(0)
    for name in ("boxes.tiff", "small.svs", "boxes_0.dcm"):
        original = np.frombuffer((real_data / "slides" / name).read_bytes(), np.uint8)
        for _ in range(30):
            data = original.copy()
            data[rng.integers(0, len(data), 8)] = rng.integers(0, 256, 8)
            path = tmp_path / name
            path.write_bytes(data.tobytes())
            with suppress(WsiError):
                check_header(str(path))


def test_a_deflated_dicom_file_is_refused_without_inflating_it(tmp_path: Path):
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(UnsupportedSlide, match="deflated DICOM"):
        check_header(str(tmp_path / "a.dcm"))


def test_indexes_too_large_to_be_of_a_slide_are_refused(tmp_path: Path):
    (tmp_path / "a.mrxs").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "Slidedat.ini").write_bytes(b"")
    os.truncate(tmp_path / "a" / "Slidedat.ini", 17 << 20)
    with pytest.raises(CorruptSlide, match=r"Slidedat.ini of more than 16 MiB"):
        check_header(str(tmp_path / "a.mrxs"))
    names = "".join(f"ImageFile({i},0)=n{i}.jpg\n" for i in range(20_001))
    (tmp_path / "a.vms").write_text(f"[Virtual Microscope Specimen]\n{names}")
    with pytest.raises(UnsupportedSlide, match="names 20001 files"):
        check_header(str(tmp_path / "a.vms"))
