"""R16: what a file says about a patient is in no output, no log and no database."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
import tifffile

from service.database import metadata as tables
from service.database import open_database, upgrade
from service.jobs import Job, JobState
from service.outputs import OUTPUTS
from service.settings import Settings
from service.storage.library import Library
from tests.reliability.report import report
from tests.reliability.slides import make_picture, write_dicom
from tests.service.worker.workshop import ROOT, TENANT, Workshop, make_workshop

pytestmark = [pytest.mark.slow, pytest.mark.reliability, pytest.mark.timeout(300)]

CANARY = "Zaphod-Beeblebrox"
TEXT_TAGS = {
    "DocumentName": 269, "Make": 271, "Model": 272, "PageName": 285, "Artist": 315,
    "HostComputer": 316, "TargetPrinter": 337, "ImageID": 32781, "Copyright": 33432,
    "ImageHistory": 37395, "SecurityClassification": 37394, "CameraSerialNumber": 50735,
}  # fmt: skip
DICOM_FIELDS = (
    "PatientName", "PatientID", "OtherPatientNames", "PatientAddress", "PatientComments",
    "AccessionNumber", "InstitutionName", "ReferringPhysicianName", "OperatorsName", "StudyID",
    "StudyDescription", "SeriesDescription", "ProtocolName", "ImageComments", "LabelText",
    "BarcodeValue", "ContainerIdentifier", "SpecimenIdentifier", "StationName", "Manufacturer",
    "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions",
)  # fmt: skip


def write_tiff(path: Path, description: str, *, has_resolution: bool = True) -> None:
    xmp = f"<x:xmpmeta><dc:creator>{CANARY}-xmp</dc:creator></x:xmpmeta>".encode()
    texts = [(code, 2, 0, f"{CANARY}-{name}", True) for name, code in TEXT_TAGS.items()]
    resolution = {"resolution": (20000, 20000), "resolutionunit": "centimeter"}
    tifffile.imwrite(
        path,
        make_picture(256, 256),
        tile=(128, 128),
        photometric="rgb",
        compression="jpeg",
        description=description,
        software=f"{CANARY}-software",
        metadata=None,
        extratags=[*texts, (700, 1, len(xmp), xmp, True)],
        **(resolution if has_resolution else {}),
    )


def write_plain(path: Path) -> None:
    write_tiff(path, f"{CANARY}-description")


def write_without_resolution(path: Path) -> None:
    write_tiff(path, f"{CANARY}-description", has_resolution=False)


def write_svs(path: Path) -> None:
    fields = (
        "User",
        "Filename",
        "Title",
        "Patient",
        "ScanScope ID",
        "ImageID",
        "Parmset",
        "DSR ID",
    )
    known = "|".join(f"{name} = {CANARY}-{name}" for name in fields)
    aperio = "Aperio Image Library v11.2.1\r\n256x256 (128x128) J2K|AppMag = 20|MPP = 0.5"
    write_tiff(path, f"{aperio}|{known}")


def write_ome(path: Path) -> None:
    texts = {name: f"{CANARY}-{name}" for name in ("Name", "Description", "Creator", "UUID")}
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(
            make_picture(256, 256),
            tile=(128, 128),
            photometric="rgb",
            metadata={"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, **texts},
        )


def write_dcm(path: Path) -> None:
    write_dicom(path, 256, 256)
    data = pydicom.dcmread(path)
    for name in DICOM_FIELDS:
        short = {"SH": CANARY[-16:], "LO": f"{CANARY}-{name}"[:64]}
        vr = pydicom.datadict.dictionary_VR(name)
        setattr(data, name, short.get(vr, f"{CANARY}-{name}"))
    data.private_block(0x0099, f"{CANARY}-private", create=True).add_new(1, "LO", CANARY)
    data.save_as(path, enforce_file_format=True)


SLIDES: dict[str, Callable[[Path], None]] = {
    "plain.tiff": write_plain,
    "aperio.svs": write_svs,
    "ome.ome.tiff": write_ome,
    "slide.dcm": write_dcm,
    "without-resolution.tiff": write_without_resolution,
}
FAILING = "without-resolution.tiff"


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    roots = tmp_path / "scanner"
    roots.mkdir()
    made = make_workshop(tmp_path / "here", slide_roots=(roots,))
    yield made
    made.close()


def test_what_a_file_says_of_a_patient_is_nowhere(workshop: Workshop, tmp_path: Path):
    settings = workshop.settings
    jobs = {
        name: workshop.submit(slide, formats=sorted(OUTPUTS), mask="none", icc=True)
        for name, slide in add_slides(settings, tmp_path).items()
    }
    log = run_worker(workshop)
    ended = {name: workshop.get(job) for name, job in jobs.items()}

    unexpected = [job for name, job in ended.items() if job.state is not expected(name)]
    found = [
        *leaks("log", log),
        *(leak for job in ended.values() for leak in leaks_of_result(workshop, job)),
        *leaks("database", dump(settings, leave_out={"place"})),
    ]
    paths = [
        leak for job in ended.values() for leak in leaks_of_result(workshop, job, str(tmp_path))
    ]
    fields = len(TEXT_TAGS) + len(DICOM_FIELDS) + 15
    report("R16", len(ended), len(found) + len(paths), fields=fields, slides=sorted(ended))
    assert unexpected == []
    assert found == []
    assert paths == []


def add_slides(settings: Settings, tmp_path: Path) -> dict[str, str]:
    """Ids by name: each file as an upload, and one by its path, whose name is a patient's."""
    engine = open_database(settings.database)
    upgrade(engine)
    library = Library(settings.data, engine, settings)
    ids = {}
    for name, write in SLIDES.items():
        path = tmp_path / f"{CANARY}-{name}"
        write(path)
        assert CANARY.encode() in path.read_bytes()
        stored = library.store(TENANT, [path.read_bytes()], media_type=None, content_length=None)
        ids[name] = stored.slide.id
    by_path = settings.slide_roots[0] / f"{CANARY}.svs"
    write_tiff(by_path, f"Aperio Image Library v1\r\n256x256|AppMag = 20|MPP = 0.5|User = {CANARY}")
    ids["by path"] = library.add_path(TENANT, str(by_path)).slide.id
    library.close()
    engine.dispose()
    return ids


def run_worker(workshop: Workshop) -> bytes:
    """Everything that it says, at its most talkative."""
    done = subprocess.run(
        [sys.executable, "-c", "from service.cli import main; main()", "worker", "--once"],
        cwd=ROOT,
        env=os.environ | workshop.environment() | {"WSI_LOG_LEVEL": "DEBUG"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout + done.stderr


def expected(name: str) -> JobState:
    return JobState.FAILED if name == FAILING else JobState.SUCCEEDED


def leaks_of_result(workshop: Workshop, job: Job, needle: str = CANARY) -> list[str]:
    files = [path for path in workshop.folder(job).rglob("*") if path.is_file()]
    assert files or job.state is JobState.FAILED
    return [leak for path in files for leak in leaks(str(path), path.read_bytes(), needle)]


def leaks(where: str, data: bytes, needle: str = CANARY) -> list[str]:
    """`where` and what stands around it, for each coding in which it would be readable."""
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    codings = [needle.encode(coding) for coding in ("utf-8", "utf-16-le")]
    short = [needle[-16:].encode()] if needle == CANARY else []
    places = [data.find(coded) for coded in codings + short]
    return [f"{where}: {data[max(0, at - 60) : at + 60]!r}" for at in places if at >= 0]


def dump(settings: Settings, leave_out: set[str]) -> bytes:
    engine = open_database(settings.database)
    rows = []
    with engine.connect() as connection:
        for table in tables.sorted_tables:
            for row in connection.execute(table.select()).mappings():
                rows.append({name: row[name] for name in row if name not in leave_out})
    engine.dispose()
    return json.dumps(rows, default=str).encode()
