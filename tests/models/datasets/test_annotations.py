"""What ImageScope's files say, in their several spellings, and what is refused."""

from pathlib import Path

import pytest

from models.datasets.annotations import SPELLINGS, Annotations, read_annotations
from models.errors import DatasetError
from tests.models.annotated import layer_xml, rectangle, region_xml
from wsi.geometry import Size

SLIDE = Size(1000, 800)
SQUARE = rectangle(100, 100, 200, 100)
BOWTIE = [(100, 100), (300, 300), (300, 100), (100, 300)]  # two triangles of 10,000 px


def read(tmp_path: Path, text: str | bytes, **options: bool) -> Annotations:
    path = tmp_path / "A01.xml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_annotations(path, SLIDE, **options)


def labels_of(tmp_path: Path, *regions: str) -> list[int | None]:
    return [region.label for region in read(tmp_path, layer_xml(regions)).regions]


def test_outlines_labels_and_resolution_are_those_of_the_file(tmp_path: Path):
    found = read(tmp_path, layer_xml([region_xml(SQUARE, "Carcinoma invasive")], mpp=0.467))
    (region,) = found.regions
    assert (region.label, found.mpp, found.mended) == (3, 0.467, 0)
    assert region.shape0.bounds == (100, 100, 300, 200)
    assert region.shape0.area == 20_000


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_known_in_the_attribute_and_in_the_text(tmp_path: Path, spelling: str):
    shouted = spelling.replace(" ", "-").upper() + " "
    regions = region_xml(SQUARE, spelling), region_xml(SQUARE, shouted, in_text=True)
    assert labels_of(tmp_path, *regions) == [SPELLINGS[spelling]] * 2


def test_a_region_without_a_label_has_that_of_its_layer(tmp_path: Path):
    text = layer_xml([region_xml(SQUARE, ""), region_xml(SQUARE, "Benign")], name="Invasive")
    assert [region.label for region in read(tmp_path, text).regions] == [3, 1]


def test_a_remark_beside_the_label_does_not_hide_it(tmp_path: Path):
    region = region_xml(SQUARE, "Benign").replace('Text=""', 'Text="look here"')
    assert labels_of(tmp_path, region) == [1]


def test_a_negative_region_is_a_hole_and_needs_no_label(tmp_path: Path):
    hole = region_xml(SQUARE, "", negative=True)
    assert labels_of(tmp_path, region_xml(SQUARE), hole) == [1, None]


def test_a_file_may_leave_its_resolution_open(tmp_path: Path):
    assert read(tmp_path, layer_xml([region_xml(SQUARE)], mpp=None)).mpp is None
    assert read(tmp_path, layer_xml([region_xml(SQUARE)], mpp=0)).mpp is None


@pytest.mark.parametrize(
    ("region", "said"),
    [
        (region_xml(SQUARE, "Begnin"), r" says 'Begnin', but labels are normal"),
        (region_xml(SQUARE, ""), "says nothing, but labels are normal, benign, carcinoma in situ"),
        (region_xml(SQUARE, "Non-invasive carcinoma"), "says 'Non-invasive carcinoma', but"),
        (
            region_xml(SQUARE, "Benign").replace('Text=""', 'Text="Invasive"'),
            "says 'Benign' and 'Invasive', which contradict each other",
        ),
        (region_xml(SQUARE[:2]), "has 2 vertices, 3 are the fewest"),
        (region_xml(SQUARE, kind="2"), "is of type 2, an ellipse"),
        (region_xml(BOWTIE), r"is no simple outline \(Self-intersection"),
        (region_xml([(0, 0), (1001, 0), (0, 9)]), "at x 1001, y 0, off the slide of 1000 x 800 px"),
        (region_xml([(-1, 0), (9, 0), (0, 9)]), "at x -1, y 0, off the slide"),
        (region_xml([(0, 0), (9, 0), (0, float("nan"))]), "is not finite"),
        (region_xml(SQUARE).replace('X="100"', 'X="a"'), "has a vertex whose X or Y is no number"),
        (region_xml(SQUARE).replace('X="100"', ""), "has a vertex whose X or Y is no number"),
    ],
)
def test_a_region_that_cannot_be_is_named_with_its_file(tmp_path: Path, region: str, said: str):
    with pytest.raises(DatasetError, match=rf"A01\.xml: region \d of layer 1.*{said}") as refused:
        read(tmp_path, layer_xml([region]))
    assert "\n" not in str(refused.value)


BOMB = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]>' + layer_xml([region_xml(SQUARE)])
OUTSIDE = '<!DOCTYPE a SYSTEM "file:///etc/passwd">' + layer_xml([region_xml(SQUARE)])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (layer_xml([]), "has no region"),
        (layer_xml([region_xml(SQUARE, "", negative=True)]), "has no region"),
        ("<Annotations><Annot", "is no XML"),
        (b"\xff\xfe\x00", "is no XML"),
        ("<ASAP_Annotations/>", "no file of ImageScope: it begins with <ASAP_Annotations>"),
        (BOMB, "declares a document type or entities"),
        (OUTSIDE, "declares a document type or entities"),
        (layer_xml([region_xml(SQUARE)]).replace("0.420000", "0,42"), "'0,42', no number"),
    ],
)
def test_a_file_that_is_none_is_refused_in_a_sentence(tmp_path: Path, text: str | bytes, said: str):
    with pytest.raises(DatasetError, match=rf"A01\.xml.*{said}") as refused:
        read(tmp_path, text)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("models.datasets.annotations.MOST_BYTES", 100)
    with pytest.raises(DatasetError, match="annotations have 100 at the most"):
        read(tmp_path, layer_xml([region_xml(SQUARE)]))


def test_a_file_that_is_missing_is_refused(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"A02\.xml cannot be read \(No such file"):
        read_annotations(tmp_path / "A02.xml", SLIDE)


def test_mended_outlines_keep_what_they_enclose_of_the_slide(tmp_path: Path):
    regions = [region_xml(BOWTIE), region_xml(rectangle(900, 700, 300, 300)), region_xml(SQUARE)]
    found = read(tmp_path, layer_xml(regions), mend=True)
    assert [region.shape0.area for region in found.regions] == [20_000, 10_000, 20_000]
    assert found.mended == 2


def test_what_encloses_nothing_of_the_slide_cannot_be_mended(tmp_path: Path):
    with pytest.raises(DatasetError, match="encloses nothing of the slide"):
        read(tmp_path, layer_xml([region_xml(rectangle(1100, 0, 50, 50))]), mend=True)
