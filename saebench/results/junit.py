"""Comparisons as JUnit XML, for the test reports of a continuous-integration server."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from saebench.results.comparison import Comparison, Line
from saebench.results.report import headline

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(comparison: Comparison) -> str:
    """One test case a held line: a regression fails, a missing row is an error.

    A line that cannot be told is skipped, or fails where the comparison was told so.
    """
    held = [line for line in comparison.lines if line.held]
    unsure = len(comparison.held("cannot tell"))
    strict = comparison.cannot_tell == "fail"
    suite = ElementTree.Element("testsuite", {
        "name": "saebench compare",
        "tests": str(len(held) + len(comparison.only_a)),
        "failures": str(len(comparison.held("regression")) + unsure * strict),
        "errors": str(len(comparison.held("missing")) + len(comparison.only_a)),
        "skipped": str(unsure * (not strict)),
    })  # fmt: skip
    for line in held:
        _case(suite, line, strict)
    for name in comparison.only_a:
        case = ElementTree.SubElement(suite, "testcase", {"classname": _clean(name), "name": "all metrics"})
        ElementTree.SubElement(case, "error", {"message": "the SAE is missing in B"})
    ElementTree.SubElement(suite, "system-out").text = _clean(headline(comparison))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: ElementTree.Element, line: Line, strict: bool) -> None:
    name = line.metric + (f"[{line.slice}]" if line.slice else "")
    case = ElementTree.SubElement(suite, "testcase", {"classname": _clean(line.sae_b), "name": _clean(name)})
    record = line.record()
    message = (
        f"{line.a} in A ({line.sae_a}), {line.b} in B ({line.sae_b}), difference {record['difference']}, "
        f"95 % interval [{record['ci_low']}, {record['ci_high']}], tolerance {line.tolerance}. {line.reason}"
    )
    if line.held == "regression":
        ElementTree.SubElement(case, "failure", {"message": "regression", "type": "regression"}).text = _clean(message)
    elif line.held == "missing":
        ElementTree.SubElement(case, "error", {"message": _clean(line.reason)}).text = _clean(message)
    elif line.held == "cannot tell":
        kind = "failure" if strict else "skipped"
        ElementTree.SubElement(case, kind, {"message": "cannot tell"}).text = _clean(message)


def _clean(text: str) -> str:
    """Text without the characters that XML forbids."""
    return _ILLEGAL.sub("", text)
