"""What somebody asks for, before a slide is opened."""

from service.request import HeatmapRequest


def test_name_of_a_result_holds_no_secret_of_an_address() -> None:
    signed = "https://user:secret@host/slides/x.svs?signature=secret"
    assert HeatmapRequest(slide=signed).name == "x.svs"
    assert HeatmapRequest(slide="a/folder of dicom/").name == "folder of dicom"
