"""Recorders' files with everything that is odd about them, made here: tools/vendor_files.py writes them."""

import re
import struct
import sys
import warnings
import zlib

import numpy as np
import pytest
import vendor_files as make
from vendor_files import LEADS, PERSON

from ecg_signals import read_record
from ecg_signals.config import ConfigError
from ecg_signals.signal.contract import SignalContract

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


def ecg(leads=12, samples=1000):
    """Beats of about 1.5 mV in steps of 5 uV, other ones in every lead."""
    times = np.arange(samples) / 500
    beats = np.exp(-(((times % 0.8) - 0.3) ** 2) / 0.0008)
    rows = [np.roll(beats, 7 * row) * (0.6 + 0.1 * row) + 0.05 * np.sin(times * (row + 1)) for row in range(leads)]
    signal = np.round(np.array(rows) * 200) / 200
    if leads == 12:
        first, second = signal[0], signal[1]
        signal[2:6] = second - first, -(first + second) / 2, (first - (second - first)) / 2, (2 * second - first) / 2
        signal[2:6] = np.round(signal[2:6] * 200) / 200
    return signal


SIGNAL = ecg()


def read(tmp_path, content, name="r", **options):
    path = tmp_path / name
    path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content, encoding="utf-8")
    return read_path(path, **options)


def read_path(path, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return read_record(path, **options), [str(item.message) for item in caught]


def refused(tmp_path, content, message, name="r"):
    with pytest.raises(ConfigError, match=message) as told:
        read(tmp_path, content, name)
    assert str(tmp_path / name) in str(told.value) and PERSON not in str(told.value)


@pytest.mark.parametrize("kind", make.WRITERS)
def test_a_file_is_known_by_its_content_and_tells_what_stands_in_it(kind, tmp_path):
    suffix, write = make.WRITERS[kind]
    write(tmp_path / f"r{suffix}", SIGNAL)
    content = (tmp_path / f"r{suffix}").read_bytes()
    for name in ("x7f3a", "x.csv", "x.hea", "x.dat", "x.mat", "x.npy", "x.xml", "x.dcm"):
        found, _ = read(tmp_path, content, name)
        assert found.leads == list(LEADS) and found.sample_rate == 500 and found.format == kind
        np.testing.assert_allclose(found.signal, SIGNAL, atol=2e-6)
        assert found.start == "2020-02-03T04:05:06" and found.patient == {}
        assert PERSON not in repr(found)
    assert found.metadata["sex"] == "female"
    if kind not in ("ishne", "edf"):
        assert found.statements == ["Sinus rhythm"]
    assert PERSON in " ".join(read(tmp_path, content, "x7f3a", personal=True)[0].patient.values())


def test_the_file_that_is_named_is_read_and_not_a_header_beside_it(tmp_path):
    (tmp_path / "x.hea").write_text("x 1 250 4\nx.dat 16 200 16 0 0 0 0 II\n")
    np.arange(4, dtype="<i2").tofile(tmp_path / "x.dat")
    for name in ("x.edf", "x"):
        assert read(tmp_path, make.twelve_edf(SIGNAL), name)[0].format == "edf"
    assert read_path(tmp_path / "x.dat")[0].format == read_path(tmp_path / "x.hea")[0].format == "wfdb"


# SCP-ECG --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", [0, 1, 2])
@pytest.mark.parametrize("how", [
    {"packed": False}, {"packed": False, "section": b"\0\0"}, {}, {"behind": bytes(100)},
    {"section": make.own_section(), "pack": make.own_huffman},
])  # fmt: skip
def test_scp_samples_come_plain_and_packed_as_differences(encoding, how, tmp_path):
    loud = SIGNAL * 20
    found, said = read(tmp_path, make.scp_bytes(loud, encoding=encoding, **how))
    np.testing.assert_allclose(found.signal, loud, atol=2e-6)
    assert not [text for text in said if "usual" not in text and "no ECG" not in text]


@pytest.mark.parametrize(
    ("interval", "rate"), [(2000, 500), (1667, 600), (1666, 600), (4000, 250), (3906, 256), (1001, 999)]
)
def test_a_rounded_interval_of_scp_means_a_whole_rate(interval, rate, tmp_path):
    assert read(tmp_path, make.scp_bytes(SIGNAL, interval=interval))[0].sample_rate == rate


def test_an_scp_file_without_its_mark_is_known_by_its_section_0(tmp_path):
    found, said = read(tmp_path, make.scp_bytes(SIGNAL).replace(b"SCPECG", bytes(6)))
    np.testing.assert_allclose(found.signal, SIGNAL, atol=1e-6)
    assert any("checksum" in text for text in said)


def test_one_sample_less_than_scp_states_is_said_and_two_are_an_error(tmp_path):
    found, said = read(tmp_path, make.scp_bytes(SIGNAL, packed=False, stated=1001))
    assert found.signal.shape == (12, 1000) and any("1000 samples, 1001 are stated" in text for text in said)
    refused(tmp_path, make.scp_bytes(SIGNAL, packed=False, stated=1002), "has 1000 of 1002 samples")


def test_bits_that_fill_up_a_packed_lead_of_scp_are_no_sample(tmp_path):
    """A zero bit is a code as well: leads with room for it must not be longer than those without."""
    found, said = read(tmp_path, make.scp_bytes(SIGNAL, stated=1001))
    assert found.signal.shape == (12, 1000) and any("1000 samples, 1001 are stated" in text for text in said)
    np.testing.assert_allclose(found.signal, SIGNAL, atol=1e-6)


@pytest.mark.parametrize("packed", [False, True])
def test_leads_of_scp_that_overflow_their_length_field_are_read_whole(packed, tmp_path):
    long = np.tile(SIGNAL[:2], 38)[:, :37_855] * (6 if packed else 1)
    found, _ = read(tmp_path, make.scp_bytes(long, ("I", "II"), packed=packed, encoding=0))
    np.testing.assert_allclose(found.signal, long, atol=1e-5)


def test_leads_of_scp_are_named_by_their_code_and_not_by_their_place(tmp_path):
    leads = ("I", "II", "V3R", "V1", "V2", "V4", "V6", "V7")
    assert read(tmp_path, make.scp_bytes(ecg(8), leads))[0].leads == list(leads)


def test_a_model_of_twelve_leads_misses_those_that_the_codes_do_not_name(tmp_path):
    contract = SignalContract(sample_rate=500, window_samples=500)
    leads = ("I", "II", "V3R", "V1", "V2", "V4", "V6", "V7")
    record, _ = read(tmp_path, make.scp_bytes(ecg(8), leads))
    with pytest.raises(ConfigError, match="the record has no V3, V5 "):
        contract.prepare(record)


def test_scp_files_that_need_what_is_not_read_are_refused_by_name(tmp_path):
    refused(tmp_path, make.scp_bytes(SIGNAL, flags=5), "subtracted reference beats")
    refused(tmp_path, make.scp_bytes(SIGNAL, bimodal=1), "bimodally")


def test_huffman_tables_of_scp_that_cannot_be_read_are_refused(tmp_path):
    whole, switch = make.own_section(), ("11", 0, 3, True)
    for section, message in (
        (whole[:9], "cut off"), (b"\x01\0", "cut off"), (b"\x01\0\0\0", "not told apart"),
        (make.own_section([[("1", 0, 0, False), ("10", 0, 1, False)]]), "not told apart"),
        (make.own_section([[("1", 0, 0, False), ("1", 0, 1, False)]]), "not told apart"),
        (make.own_section([[("0", 0, 0, False), switch]]), "a table that is not there"),
        (whole.replace(b"\x01\x01\x01", b"\x00\x01\x01", 1), "0 of them its prefix"),
    ):  # fmt: skip
        content = make.scp_bytes(SIGNAL, section=section, pack=make.own_huffman)
        refused(tmp_path, content, f"Huffman tables of its own.*{message}")


def test_differences_of_scp_wrap_as_16_bits(tmp_path):
    steep = np.round(np.sign(np.sin(np.arange(1000) / 3)) * np.linspace(1, 2, 12)[:, None] * 10_000) / 200
    for packed in (True, False):
        found, _ = read(tmp_path, make.scp_bytes(steep, packed=packed))
        np.testing.assert_allclose(found.signal, steep, atol=1e-4)


@pytest.mark.parametrize("kind", ["scp", "ishne", "muse"])
def test_a_checksum_that_does_not_fit_is_said(kind, tmp_path):
    damaged = {
        "scp": lambda: make.scp_bytes(SIGNAL).replace(b"\xd2" if False else b"Sinus", b"sinus"),
        "ishne": lambda: make.ishne_bytes(SIGNAL).replace(PERSON.encode(), PERSON.lower().encode()),
        "muse": lambda: make.muse(SIGNAL, crc=1),
    }[kind]()
    found, said = read(tmp_path, damaged)
    assert found.metadata["wrong_checksum"] == list(LEADS) and any("checksum" in text for text in said)
    np.testing.assert_allclose(found.signal, SIGNAL, atol=2e-6)


# XML ----------------------------------------------------------------------------------------------------------------


def test_sequence_sets_of_aecg_are_placed_in_time_with_gaps_between_them(tmp_path):
    leads = ("V1", "I", "AVF")
    sets = make.aecg_sets([("20200203040506.000", leads, SIGNAL[:3]), ("20200203040509.000", leads, SIGNAL[3:6])])
    found, _ = read(tmp_path, make.aecg(SIGNAL, sets=sets))
    assert found.leads == ["V1", "I", "aVF"] and found.signal.shape == (3, 2500)
    np.testing.assert_allclose(found.signal[:, :1000], SIGNAL[:3], atol=2e-6)
    np.testing.assert_allclose(found.signal[:, 1500:], SIGNAL[3:6], atol=2e-6)
    assert np.isnan(found.signal[:, 1000:1500]).all()
    turned = sets[sets.index("<component><sequenceSet>", 1) :] + sets[: sets.index("<component><sequenceSet>", 1)]
    np.testing.assert_array_equal(read(tmp_path, make.aecg(SIGNAL, sets=turned))[0].signal, found.signal)


def test_leads_of_frank_have_one_name_in_aecg_and_elsewhere(tmp_path):
    assert read(tmp_path, make.aecg(SIGNAL[:3], ("X", "Y", "Z")))[0].leads == ["Vx", "Vy", "Vz"]


@pytest.mark.parametrize(
    ("step", "unit", "rate"), [("0.01", "s", 100), ("1", "ms", 1000), ("1667", "us", 600), ("0.001667", "s", 600)]
)
def test_the_increment_of_aecg_gives_the_rate(step, unit, rate, tmp_path):
    sets = make.aecg_sets([("20200203040506", LEADS, SIGNAL)], step, unit)
    assert read(tmp_path, make.aecg(SIGNAL, sets=sets))[0].sample_rate == rate


def test_muse_stores_eight_leads_of_which_four_more_are_derived(tmp_path):
    rows = SIGNAL[[0, 1, 6, 7, 8, 9, 10, 11]]
    found, _ = read(tmp_path, make.muse(rows, EIGHT, base=5, exponent=2))
    assert found.leads == [*EIGHT, "III", "aVR", "aVL", "aVF"] and found.derived == ["III", "aVR", "aVL", "aVF"]
    np.testing.assert_allclose(found.signal[8:10], [rows[1] - rows[0], -(rows[0] + rows[1]) / 2], atol=1e-6)
    assert found.sample_rate == 500 and found.metadata["age"] == 50


@pytest.mark.parametrize("line", ["Confirmed by {}, MD (12)", "Electronically signed by: {}", "-- Overread by {}"])
def test_who_confirmed_a_statement_is_a_person(line, tmp_path):
    text = make.muse(SIGNAL).replace("Sinus rhythm</StmtText></DiagnosisStatement>", "Sinus rhythm</StmtText>"
        "</DiagnosisStatement><DiagnosisStatement><StmtFlag>ENDSLINE</StmtFlag><StmtText>"
        f"{line.format(PERSON)}</StmtText></DiagnosisStatement>")  # fmt: skip
    assert read(tmp_path, text)[0].statements == ["Sinus rhythm"]
    assert read(tmp_path, text, personal=True)[0].statements[1] == line.format(PERSON)


def test_baselines_units_and_lost_electrodes_of_muse_count(tmp_path):
    found, said = read(tmp_path, make.muse(SIGNAL, baseline=3000, units="MILLIVOLTS", off=["V3"]))
    assert np.isnan(found.signal[8]).all() and any("V3 was off" in text for text in said)
    np.testing.assert_allclose(np.delete(found.signal, 8, 0), np.delete(SIGNAL, 8, 0), atol=2e-6)


@pytest.mark.parametrize("version", ["1.03", "1.04"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be"])
def test_philips_waveforms_unpack_and_lose_their_calibration_pulse(version, encoding, tmp_path):
    pulse = np.concatenate([np.zeros(36), np.ones(100), np.zeros(64)])
    whole = np.concatenate([SIGNAL, np.tile(pulse, (12, 1))], axis=1)
    rows = make.counts(whole)
    text = make.philips(whole, version=version, data=make.xli(rows))
    if encoding != "utf-8":
        text = text.replace('version="1.0"', 'version="1.0" encoding="utf-16"', 1)
    content = text.encode(encoding)
    found, _ = read(tmp_path, b"\xfe\xff" + content if encoding == "utf-16-be" else content)
    assert found.metadata["stripped_samples"][1] >= 200 and found.signal.shape[1] >= 990
    np.testing.assert_allclose(found.signal, SIGNAL[:, : found.signal.shape[1]], atol=2.6e-3)
    np.testing.assert_allclose(found.signal[[0, 1, 6, 11]], SIGNAL[[0, 1, 6, 11], : found.signal.shape[1]], atol=2e-6)


def test_a_philips_record_without_a_pulse_is_not_cut(tmp_path):
    found, _ = read(tmp_path, make.philips(SIGNAL))
    assert found.signal.shape == (12, 1000) and found.metadata["stripped_samples"] == [0, 0]


def test_plain_samples_of_philips_are_numbers_or_base64_with_room_for_more_leads_than_are_valid(tmp_path):
    empty = np.concatenate([SIGNAL, np.zeros((4, 1000))])
    text = make.philips(empty, (*LEADS, "V3R", "V4R", "V7", "V8"))
    text = text.replace("<numberchannelsvalid>16", "<numberchannelsvalid>12")
    start, end = text.index(">", text.index("<parsedwaveforms")) + 1, text.index("</parsedwaveforms>")
    digits = " ".join(map(str, make.counts(empty).ravel()))
    plain = (text[:start] + digits + text[end:]).replace("<parsedwaveforms", '<parsedwaveforms dataencoding="Plain"')
    for content in (text, plain):
        found, said = read(tmp_path, content)
        np.testing.assert_allclose(found.signal, SIGNAL, atol=1e-6)
        assert found.leads == list(LEADS) and not said
    refused(tmp_path, plain.replace(digits, digits[:-1] + "x"), "something else than numbers")


def test_second_differences_of_philips_wrap_as_16_bits(tmp_path):
    loud = np.round(np.sign(np.sin(np.arange(1000) / 3)) * np.linspace(1, 2, 12)[:, None] * 10_000) / 200
    found, _ = read(tmp_path, make.philips(loud, data=make.xli(make.counts(loud))))
    np.testing.assert_allclose(found.signal[[0, 1, 6, 11]], loud[[0, 1, 6, 11]], atol=1e-4)


BOMB = '<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize("write", [make.aecg, make.muse, make.cardiosoft, make.philips])
@pytest.mark.parametrize("change", [
    lambda text: ("\r\n" + text).encode(), lambda text: b"\xef\xbb\xbf" + text.replace("ISO-8859-1", "UTF-8").encode(),
    lambda text: text.replace("><", ">\r\n <").encode(),
    lambda text: re.sub(r'encoding="[\w-]+"', "", text).replace("?>", ' encoding="utf-16"?>', 1).encode("utf-16"),
])  # fmt: skip
def test_blank_lines_byte_order_marks_and_wide_letters_around_xml_do_not_matter(write, change, tmp_path):
    np.testing.assert_allclose(read(tmp_path, change(write(SIGNAL)))[0].signal, SIGNAL, atol=1e-6)


@pytest.mark.parametrize("write", [make.aecg, make.muse, make.cardiosoft, make.philips])
@pytest.mark.parametrize(("declared", "real"), [
    ("utf-16", "utf-8"), ("utf-8", "utf-16"), ("utf-8", "cp1252"), ("", "cp1252"), ("nonsense", "utf-8"),
])  # fmt: skip
def test_xml_whose_declaration_names_another_encoding_than_it_has_is_read(write, declared, real, tmp_path):
    text = write(SIGNAL).replace("Sinus rhythm", "Größer")
    text = re.sub(r' encoding="[\w-]+"', "", text).replace("?>", f' encoding="{declared}"?>' if declared else "?>", 1)
    found, _ = read(tmp_path, text.encode(real))
    np.testing.assert_allclose(found.signal, SIGNAL, atol=1e-6)
    assert found.statements == ["Größer"]


@pytest.mark.parametrize("root", ["AnnotatedECG", "RestingECG", "restingecgdata", "CardiologyXML"])
def test_xml_that_declares_entities_refers_outside_or_nests_deeply_is_refused(root, tmp_path):
    texts = {
        f"{BOMB}]><{root}>&i;</{root}>": "declares entities",
        f'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><{root}>&x;</{root}>': "declares entities",
        f"<{root}>" + "<a>" * 10_000: "more than 64 levels",
        f"<{root}>" + "<a/>" * 200_001 * (root == "RestingECG"): "200000 elements|truncated",
        f"<{root}><a>": "truncated or no XML",
        f"<{root}/>": "holds no",
    }
    opened = []
    sys.addaudithook(lambda event, found: opened.append(str(found[0])) if event in ("open", "socket.connect") else None)
    for text, message in texts.items():
        opened.clear()
        refused(tmp_path, text, message)
        assert not [name for name in opened if "passwd" in name or "dtd" in name]
        refused(tmp_path, b"\xff\xfe" + text.encode("utf-16-le"), message)


def test_a_file_that_unpacks_to_far_more_than_it_holds_is_refused(tmp_path):
    chunk = make.lzw(bytes(300_000))
    bomb = b"".join(struct.pack("<ihh", len(chunk), 1, 0) + chunk for _ in range(12))
    refused(tmp_path, make.philips(SIGNAL, data=bomb), "does not unpack")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<?xml version='1.0'?><ECG><CHANNEL NAME='I' UNITS_PER_MV='400'/></ECG>", "Mortara"),
        (b"<?xml version='1.0'?><examdescript><eventdata/></examdescript>", "Schiller"),
        (b"<?xml version='1.0'?><other/>", "root <other>"),
        (b"%PDF-1.4", "PDF.*ECG-Digitiser, ECGtizer, Paper-ECG"),
        (b"\x89PNG\r\n", "a picture"),
        (b"PK\x03\x04" + bytes(26) + b"[Content_Types].xml", "Excel.*as CSV"),
        (b"PK\x03\x04" + bytes(26) + b"a.dcm", "a zip archive"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_named(content, message, tmp_path):
    refused(tmp_path, content, message, "r.xml")


@pytest.mark.parametrize("name", ["r.edf", "r.dcm", "r.scp", "r.ecg"])
def test_a_file_that_begins_wrongly_is_not_said_to_have_an_unknown_extension(name, tmp_path):
    refused(tmp_path, b"\xff\xffrubbish" * 100, "begins like no record of any known format", name)
    refused(tmp_path, b"", "is empty", name)


# ISHNE, EDF ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stated", "said"), [(1000, False), (12_000, False), (0, True), (700, True), (5000, True)])
def test_the_size_of_an_ishne_file_says_how_many_samples_there_are(stated, said, tmp_path):
    found, texts = read(tmp_path, make.ishne_bytes(SIGNAL, stated=stated))
    assert found.signal.shape == (12, 1000) and any("are there" in text for text in texts) == said


def test_ishne_has_a_code_for_missing_samples_and_for_other_leads(tmp_path):
    content = bytearray(make.ishne_bytes(SIGNAL[:3], (2, 5, 0)))
    content[522 : 522 + 2] = struct.pack("<h", -32768)
    found, _ = read(tmp_path, bytes(content))
    assert found.leads == ["Vx", "I", "channel 3"] and np.isnan(found.signal).sum() == 1


def channels(signal, *others):
    return [(f"ECG {lead}", "mV", row) for lead, row in zip(("I", "II"), signal)] + list(others)


def test_of_an_edf_with_several_rates_the_ecg_of_the_highest_is_read(tmp_path):
    others = (("Resp", "uV", np.zeros(100)), ("ECG V1", "mV", np.zeros(500)), ("SpO2", "%", np.zeros(100)))
    content = make.edf_bytes(channels(SIGNAL[:2], *others), per_record=[250, 250, 25, 125, 25], seconds=0.5)
    found, said = read(tmp_path, content)
    assert found.leads == ["I", "II"] and found.sample_rate == 500
    assert any("Resp, ECG V1, SpO2, EDF Annotations" in text or "Resp, ECG V1, SpO2" in text for text in said)
    assert found.filters == {"highpass": "0.05", "lowpass": "150", "notch": "50"} and found.metadata == {
        "sex": "female"
    }


@pytest.mark.parametrize("label", ["ECG {}", "EKG {}-Ref", "ecg {}", "{}", "Lead {}"])
@pytest.mark.parametrize(("units", "factor"), [
    ("uV", 1000), ("\xb5V", 1000), ("\xc2\xb5V", 1000), ("microV", 1000), ("mVolt", 1), ("MV", 1),
])  # fmt: skip
def test_labels_and_units_of_edf_are_spelt_in_many_ways(label, units, factor, tmp_path):
    rows = [(label.format(lead), "uV" if factor > 1 else "mV", row * factor) for lead, row in zip(LEADS, SIGNAL)]
    content = make.edf_bytes(rows, per_record=[250] * 12, seconds=0.5)
    stored = (b"uV" if factor > 1 else b"mV").ljust(8)
    found, _ = read(tmp_path, content.replace(stored, units.encode("latin-1").ljust(8)))
    assert tuple(found.leads) == LEADS
    np.testing.assert_allclose(found.signal, SIGNAL, atol=1e-5)


def test_a_discontinuous_edf_has_gaps_and_its_notes_are_annotations(tmp_path):
    content = make.edf_bytes(channels(SIGNAL[:2]), per_record=[250, 250], seconds=0.5, kind="EDF+D",
                             starts=[0, 0.5, 2, 2.5], notes={2: "artefact"})  # fmt: skip
    found, _ = read(tmp_path, content)
    assert found.signal.shape == (2, 1500) and np.isnan(found.signal[:, 500:1000]).all()
    np.testing.assert_allclose(found.signal[:, 1000:], SIGNAL[:2, 500:], atol=2e-6)
    assert found.annotations == [(2.0, 0.0, "artefact")]
    content = make.edf_bytes(
        channels(SIGNAL[:2]), per_record=[250, 250], seconds=0.5, kind="EDF+D", starts=[0, 0.2, 2, 3]
    )
    refused(tmp_path, content, "data record 1 begins before")


def test_annotations_of_an_edf_are_counted_from_the_first_sample(tmp_path):
    for kind in ("EDF+C", "EDF+D"):
        content = make.edf_bytes(channels(SIGNAL[:2]), per_record=[250, 250], seconds=0.5, kind=kind,
                                 starts=[2, 2.5, 3, 3.5], notes={1: "artefact"})  # fmt: skip
        found, _ = read(tmp_path, content)
        assert found.start == "2020-02-03T04:05:08"
        assert found.annotations == [(0.5, 0.0, "artefact")] and not np.isnan(found.signal).any()


def test_signals_of_an_edf_that_are_all_called_ecg_are_all_read(tmp_path):
    rows = [("ECG", "mV", row) for row in SIGNAL[:3]]
    found, said = read(tmp_path, make.edf_bytes(rows, per_record=[250] * 3, seconds=0.5))
    np.testing.assert_allclose(found.signal, SIGNAL[:3], atol=1e-5)
    assert found.leads == ["ECG", "ECG 2", "ECG 3"] and not said


def test_a_duration_of_an_edf_that_was_cut_means_a_whole_rate(tmp_path):
    rows = [("II", "mV", SIGNAL[1, :999])]
    content = make.edf_bytes(rows, per_record=[333], seconds=1 / 3)
    assert read(tmp_path, content)[0].sample_rate == 999
    assert read(tmp_path, content.replace(b"0.333333", b"10      "))[0].sample_rate == 33.3


def test_bdf_has_24_bits_and_edf_uses_all_of_its_16(tmp_path):
    loud = np.array([np.linspace(-5000, 5000, 1000)])
    wide = make.edf_bytes([("II", "mV", loud[0])], per_record=[250], seconds=0.5, kind="BDF+C", wide=True)
    np.testing.assert_allclose(read(tmp_path, wide)[0].signal, loud, atol=0.03)  # its range has eight letters
    counts = np.array([-32768, 32767] * 500) * 0.005
    found, _ = read(tmp_path, make.edf_bytes([("II", "mV", counts)], per_record=[250], seconds=0.5))
    np.testing.assert_allclose(found.signal[0], counts, atol=1e-4)


def test_an_edf_signal_without_a_range_is_an_error_that_names_it(tmp_path):
    content = make.edf_bytes(channels(SIGNAL[:2]), per_record=[250, 250], seconds=0.5, digital=(7, 7))
    refused(tmp_path, content, "signal ECG I states no range")
    others = make.edf_bytes([("EEG Fpz", "uV", np.zeros(1000))], per_record=[250], seconds=0.5)
    refused(tmp_path, others, "holds no ECG: its signals are EEG Fpz")


# DICOM --------------------------------------------------------------------------------------------------------------


def median(signal=SIGNAL):
    return {"signal": signal[:, :100] * 3, "leads": LEADS, "label": "Median Beat", "original": False, "padding": -32768}


@pytest.mark.parametrize("options", [{}, {"implicit": True}, {"deflated": True}, {"kind": "9.1.2"}])
@pytest.mark.parametrize(
    "group", [{"label": "Rhythm"}, {"label": "", "scheme": "MDC"}, {"dtype": "<i4", "baseline": 40}]
)
def test_the_rhythm_of_a_dicom_file_is_read_and_never_its_median(options, group, tmp_path):
    make.dicom(tmp_path / "r", [median(), {"signal": SIGNAL, "leads": LEADS, **group}], **options)
    found, _ = read_path(tmp_path / "r")
    assert found.leads == list(LEADS) and found.metadata["age"] == 50
    np.testing.assert_allclose(found.signal, SIGNAL, atol=2e-6)
    make.dicom(tmp_path / "m", [median()])
    with pytest.raises(ConfigError, match="holds no recording, only Median Beat"):
        read_path(tmp_path / "m")


def test_groups_of_a_dicom_file_are_joined_by_their_times(tmp_path):
    parts = [{"signal": SIGNAL[3 * k : 3 * k + 3, 250 * k : 250 * k + 250], "leads": LEADS[3 * k : 3 * k + 3],
              "offset": 500 * k, "label": ""} for k in range(4)]  # fmt: skip
    make.dicom(tmp_path / "r", [*parts, {"signal": SIGNAL[1:2], "leads": ("II",)}, median()])
    found, _ = read_path(tmp_path / "r")
    assert set(found.leads) == set(LEADS) and found.signal.shape == (12, 1000)
    for lead, row in zip(found.leads, found.signal):
        held = np.isfinite(row)
        assert held.sum() == (1000 if lead == "II" else 250)
        np.testing.assert_allclose(row[held], SIGNAL[LEADS.index(lead), held], atol=2e-6)
    pieces = [{"signal": SIGNAL[:2, 500 * k : 500 * k + 500], "leads": LEADS[:2], "offset": 1000 * k} for k in (0, 1)]
    later = [piece | {"offset": piece["offset"] + 3000} for piece in reversed(pieces)]
    for parts in (pieces, later):  # there is nothing before the first one
        make.dicom(tmp_path / "s", parts)
        found, said = read_path(tmp_path / "s")
        np.testing.assert_allclose(found.signal, SIGNAL[:2], atol=2e-6)
        assert not said


def test_what_of_a_dicom_file_is_left_out_is_said(tmp_path):
    groups = [{"signal": SIGNAL, "leads": LEADS}, {"signal": SIGNAL[:2, :250], "leads": LEADS[:2], "rate": 125}]
    make.dicom(tmp_path / "r", groups)
    found, said = read_path(tmp_path / "r")
    assert found.signal.shape == (12, 1000) and ["1 other groups" in text for text in said] == [True]
    make.dicom(tmp_path / "p", groups[:1])
    content = (tmp_path / "p").read_bytes()
    at = content.rindex(b"mV")
    found, said = read(tmp_path, content[:at] + b"mW" + content[at + 2 :])
    assert found.leads == list(LEADS[:11]) and ["V6 is no voltage; left out" in text for text in said] == [True]


def test_padding_of_a_dicom_file_is_missing_but_ordinary_counts_stay(tmp_path):
    padded = SIGNAL.copy()
    padded[4, 300:310] = -30_000 * 0.005
    make.dicom(tmp_path / "r", [{"signal": padded, "leads": LEADS, "padding": -30_000}])
    assert np.isnan(read_path(tmp_path / "r")[0].signal).sum() == 10
    level = SIGNAL.copy()
    level[5, 200:700] = level[6, 200:699] = 0
    make.dicom(tmp_path / "z", [{"signal": level, "leads": LEADS, "padding": 0}])
    lost = np.isnan(read_path(tmp_path / "z")[0].signal).sum(axis=1)
    assert lost[5] >= 500 and lost.sum() == lost[5]


def test_dicom_files_without_samples_or_beyond_the_limits_are_refused(tmp_path):
    make.dicom(tmp_path / "p", [], kind="104.1")
    with pytest.raises(ConfigError, match="a PDF in DICOM: it holds no samples"):
        read_path(tmp_path / "p")
    make.dicom(tmp_path / "r", [{"signal": SIGNAL, "leads": LEADS}])
    whole = (tmp_path / "r").read_bytes()
    items = (
        struct.pack("<HH2s2xI", 0x7FE1, 0x1010, b"SQ", 8_000_000) + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 1_000_000
    )
    refused(tmp_path, whole + items, "1000001 items|10000.. items|items of sequences")
    refused(tmp_path, whole + struct.pack("<HH2sH", 0x7FE1, 0x1010, b"LO", 0) * 20_000, "more than 10000 elements")
    make.dicom(tmp_path / "d", [{"signal": SIGNAL, "leads": LEADS}], deflated=True)
    content = (tmp_path / "d").read_bytes()
    begin = 144 + struct.unpack_from("<I", content, 140)[0]
    packer = zlib.compressobj(9, wbits=-15)
    refused(tmp_path, content[:begin] + packer.compress(bytes(30_000_000)) + packer.flush(), "unpacks to more than 50")


def test_without_pydicom_the_extra_that_brings_it_is_named(tmp_path, monkeypatch):
    make.dicom(tmp_path / "r", [{"signal": SIGNAL, "leads": LEADS}])
    for name in ("pydicom", "pydicom.filereader"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r'pip install "ecg-signals\[files\]"'):
        read_path(tmp_path / "r")


# Tables, bare signal files, limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("sep=;\nI;II\n" + "".join(f"{k / 10},5;{k}\n".replace(".", "") for k in range(40)), None),
        ("timestamp,I,II\n" + "".join(f"{1700000000 + k / 250:.3f},{k / 99},{k / 77}\n" for k in range(40)), 250),
        ("timestamp,I,II\n" + "".join(f"{1700000000000 + 4 * k},{k / 99},{k / 77}\n" for k in range(40)), 250),
        ("datetime,I,II\n" + "".join(f"2024-01-02T03:04:05.{4 * k:03d},{k / 99},{k / 77}\n" for k in range(40)), 250),
        ("time (ms),I,II\n" + "".join(f"{4 * k},{k / 99},{k / 77}\n" for k in range(40)), 250),
        ("I,1,2,3,4,5\nII,5,4,3,2,1\n", None),
        ("lead;0;1;2\nI;1,5;2;3\nII;5;4,5;3\n", None),
        (f"Name,{PERSON}\nDate of Birth,1953\nSampling Rate,250 Hz\nUnit,mV\nI,II\n1,2\n2,3\n3,4\n", 250),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_tables_come_in_many_layouts(text, rate, encoding, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(text, encoding=encoding)
    found, _ = read_path(path, **({} if rate else {"sample_rate": 250}))
    assert found.leads == ["I", "II"] and found.sample_rate == 250 and found.format == "table"
    assert PERSON not in repr(found) and not np.isnan(found.signal).any()
    if PERSON in text:
        assert read_path(path, personal=True)[0].patient["name"] == PERSON
    path.rename(tmp_path / "u.npy")
    if len(text) > 200:  # enough of it to be known as a table under any name
        np.testing.assert_array_equal(read_path(tmp_path / "u.npy", sample_rate=250)[0].signal, found.signal)


@pytest.mark.parametrize(("names", "separator", "decimal", "encoding"), [
    ("{} (\xb5V)", ",", ".", "cp1252"), ("{} [uV]", "\t", ",", "utf-8"), ("{}_uV", ";", ",", "utf-8"),
    ("{}", "\t", ",", "utf-8"),
])  # fmt: skip
def test_tables_of_spreadsheets_in_other_languages_are_read(names, separator, decimal, encoding, tmp_path):
    factor = 1000 if "V" in names else 1
    lines = [[names.format(lead) for lead in LEADS], *(SIGNAL.T[:100] * factor).tolist()]
    cells = [[cell if isinstance(cell, str) else f"{cell:.4f}".replace(".", decimal) for cell in row] for row in lines]
    (tmp_path / "t.csv").write_text("\n".join(map(separator.join, cells)), encoding=encoding)
    found, _ = read_path(tmp_path / "t.csv", sample_rate=500)
    np.testing.assert_allclose(found.signal, SIGNAL[:, :100], atol=1e-6)


WATCH = {
    "en": ("Name", "Date of Birth", "Recorded Date", "Classification", "Device", "Sample Rate,512.0 hertz",
           "Lead,Lead I", "Unit"),
    "pt": ("Name", "Date of Birth", "Recorded Date", "Classification", "Device", "Sample Rate,512,0 hertz",
           "Lead,Lead I", "Unit"),
    "de": ("Name", "Geburtstag", "Aufzeichnungsdatum", "Klassifizierung", "Gerät", "Messrate,512,0\xa0Hertz",
           "Ableitung,Ableitung I", "Einheit"),
    "de 2": ("Name", "Geburtsdatum", "Aufzeichnungsdatum", "Klassifizierung", "Gerät", "Abtastrate,512 Hertz",
             "Ableitung,Ableitung I", "Einheit"),
    "fr": ("Nom", "Date de naissance", "Date d’enregistrement", "Classification", "Appareil",
           "Fréquence d’échantillonnage,512 hertz", "Dérivation,Dérivation I", "Unité"),
    "es": ("Nombre", "Fecha de nacimiento", "Fecha de grabación", "Clasificación", "Dispositivo",
           "Frecuencia de muestreo,512 hercios", "Derivación,Derivación I", "Unidad"),
    "sv": ("Namn", "Födelsedatum", "Start", "Classification", "Enhet", "Samplingsfrekvens,512 hertz",
           "Avledning,Avledning I", "Måttenhet"),
}  # fmt: skip


@pytest.mark.parametrize("language", WATCH)
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_watch_writes_its_keys_and_decimal_commas_in_the_language_of_its_owner(language, quote, tmp_path):
    name, born, recorded, said, device, rate, lead, unit = WATCH[language]
    comma = language != "en"
    numbers = [f"{quote}{value * 1000:.3f}{quote}".replace(".", "," if comma else ".") for value in SIGNAL[0, 100:300]]
    keys = [f'{name},{PERSON}', f'{born},"Jan 1, 1990"', f"{recorded},2020-07-31 22:48:19 +0200", f"{said},Sinus",
            f'{device},"Watch4,2"', "Versicherung,123456", rate, "", "", lead, f"{unit},µV", ""]  # fmt: skip
    found, warned = read(tmp_path, "\n".join([*keys, *numbers]), "ecg.csv")
    np.testing.assert_allclose(found.signal, SIGNAL[:1, 100:300], atol=1e-6)
    assert (found.leads, found.sample_rate, found.start) == (["I"], 512, "2020-07-31T22:48:19")
    assert found.statements == ["Sinus"] and not warned
    assert not any(word in repr(found) for word in (PERSON, "1990", "123456"))
    known = read_path(tmp_path / "ecg.csv", personal=True)[0].patient
    assert known[name.lower()] == PERSON and known[born.lower()] == "Jan 1, 1990"


def table(rows, separator=",", quote="", decimal="."):
    return "\n".join(separator.join(f"{quote}{cell}{quote}".replace(".", decimal) for cell in row) for row in rows)


def columns(*first, times=None):
    rows = [[f"{value:.4f}" for value in column] for column in SIGNAL[:, 100:300].T]
    return [[*first, *LEADS], *([*([times(number)] if times else []), *row] for number, row in enumerate(rows))]


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        (table(columns(), quote='"'), None),
        (table(columns(), quote='"', decimal=","), None),
        (table(columns(), separator=" ", decimal=","), None),
        (table(columns()[1:], separator=" ", decimal=","), None),
        (table([*columns()[:1], ["0"] * 12, *columns()[2:]], separator=";", decimal=","), None),
        (table([[*row, ""] for row in columns()]), None),
        (table([["0     ", *columns()[1][1:]], *columns()[2:]], separator="  "), None),  # begins as an EDF does
        ("Sample Rate,250 Hz\nUnit,mV\n" + table(zip(*columns())), 250),
        ("Abtastrate;250 Hz\nHochpass;0,05 Hz\n" + table(zip(*columns()), separator=";", decimal=","), 250),
        ("Sampling frequency (Hz),250\nVoltage unit,mV\n" + table(columns()), 250),
        ("SampleRate\t250\n" + table(columns(), separator="\t"), 250),
        (table(columns("Zeit [ms]", times=lambda at: str(4 * at)), separator=";"), 250),
        (table([columns("Time")[0], ["(ms)", *["(mV)"] * 12], *columns(times=lambda at: str(4 * at))[1:]]), 250),
        (table(columns("Time", times=lambda at: f"23:59:{at / 250:06.3f}")), 250),
        (table(columns("date", times=lambda at: f"31.12.2024 23:59:{at / 250:06.3f}")), 250),
        (table(columns("sample #", times=str), separator="\t"), None),
        ("'Elapsed time','" + "','".join(LEADS) + "'\n'hh:mm:ss.mmm'" + ",'mV'" * 12 + "\n"
         + table(columns(times=lambda at: f"'0:{at / 250:06.3f}'")[1:]), 250),
    ],
)  # fmt: skip
def test_tables_of_other_programs_are_read(text, rate, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    (tmp_path / "t").write_text(text)
    for name in ("t.csv", "t"):
        found, warned = read_path(tmp_path / name, **({} if rate else {"sample_rate": 250}))
        np.testing.assert_allclose(found.signal[:, 1:], SIGNAL[:, 101:300], atol=1e-4)
        assert found.leads == list(LEADS) and found.sample_rate == 250 and found.start is None and not warned


@pytest.mark.parametrize(("keys", "rows", "leads"), [
    ("Lead,Lead II", [["Time", "Volt"], *([f"{at / 250}", row[1]] for at, row in enumerate(columns()[1:]))], ["II"]),
    ("Leads: I, II", [row[:2] for row in columns()[1:]], ["I", "II"]),
    ("Leads,I II", [row[:2] for row in columns()[1:]], ["I", "II"]),
    ("Lead,II", [["time", "I"], *([f"{at / 250:.3f}", row[0]] for at, row in enumerate(columns()[1:]))], ["I"]),
])  # fmt: skip
def test_key_lines_name_the_leads_of_columns_that_do_not(keys, rows, leads, tmp_path):
    found, _ = read(tmp_path, f"Sample Rate,250 Hz\n{keys}\n{table(rows)}", "t.csv")
    assert found.leads == leads
    np.testing.assert_allclose(found.signal, SIGNAL[[LEADS.index(lead) for lead in leads], 100:300], atol=1e-4)


def test_a_column_of_names_is_refused_without_the_names(tmp_path):
    refused(tmp_path, table(columns("patient", times=lambda at: PERSON)), "unknown lead name 'patient'", "t.csv")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_row_of_units_below_the_names_counts(separator, tmp_path):
    rows = [["time", "I", "II"], ["ms", "uV", "mV"]]
    rows += [[str(4 * k), str(1000 * first), str(second)] for k, (first, second) in enumerate(SIGNAL[:2, :50].T)]
    (tmp_path / "t.csv").write_text("\n".join(map(separator.join, rows)))
    found, _ = read_path(tmp_path / "t.csv")
    assert found.sample_rate == 250 and found.leads == ["I", "II"]
    np.testing.assert_allclose(found.signal, SIGNAL[:2, :50], atol=1e-6)


@pytest.mark.parametrize("form", ["16", "212"])
def test_a_bare_signal_file_is_read_as_the_caller_says(form, tmp_path):
    import wfdb

    wfdb.wrsamp("r", fs=250, units=["mV"] * 2, fmt=[form] * 2, p_signal=SIGNAL[:2].T, sig_name=["I", "V1"],
                adc_gain=[200.0] * 2, baseline=[0] * 2, write_dir=str(tmp_path))  # fmt: skip
    (tmp_path / "r.hea").unlink()
    found, _ = read_path(tmp_path / "r.dat", format=form, sample_rate=250, leads=["I", "V1"], gain=200)
    np.testing.assert_allclose(found.signal, SIGNAL[:2], atol=2e-6)
    assert found.leads == ["I", "V1"] and found.sample_rate == 250
    for lacking in ({"gain": 200}, {"format": form, "sample_rate": 250, "leads": ["I"]}, {"format": "9", "gain": 1}):
        with pytest.raises(ConfigError, match=r"r.dat"):
            read_path(tmp_path / "r.dat", **lacking)


def test_units_that_replace_those_of_a_file_are_said_with_these(tmp_path):
    for content in (make.scp_bytes(SIGNAL), make.twelve_edf(SIGNAL), make.muse(SIGNAL)):
        _, said = read(tmp_path, content, units="0.004mV")
        assert any("; it is read in 0.004mV, as was asked for" in text for text in said)
    found, said = read(tmp_path, make.scp_bytes(SIGNAL), units="5uV")
    np.testing.assert_allclose(found.signal, SIGNAL, atol=1e-6)
    assert not said


def test_a_rate_that_no_recorder_has_more_leads_or_samples_than_believed_are_refused(tmp_path):
    refused(tmp_path, make.muse(SIGNAL, base=9, exponent=9), "sample rate 9e")
    refused(tmp_path, make.scp_bytes(SIGNAL, stated=20_000_000), "at most 64 of 10000000 are believed")
    sets = make.aecg_sets([("2020020304", LEADS, SIGNAL), ("2020020410", LEADS, SIGNAL)])
    refused(tmp_path, make.aecg(SIGNAL, sets=sets), "are believed|states gaps")
