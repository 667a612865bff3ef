"""XML files of strangers: which root they have, and their elements, without entities, outside references or depth."""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from ecg_signals.config import ConfigError
from ecg_signals.limits import DEEPEST_XML, MAX_VENDOR_BYTES, MOST_XML_ELEMENTS, read_regular, shown

_BEFORE = re.compile(r"\s*(?:<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^\[>]*(?:\[.*?\]\s*)?>)", re.DOTALL)
_ROOT = re.compile(r"\s*<(?:[\w.-]{1,64}:)?(?P<name>[A-Za-z_][\w.-]{0,63})[\s/>]")


@lru_cache(maxsize=2)
def root_of(head: bytes) -> str | None:
    """Local name of the root element of an XML file that begins with `head`; None for a file that is no XML."""
    text = _decoded(head)
    at = 0
    while (skipped := _BEFORE.match(text, at)) is not None:
        at = skipped.end()
    root = _ROOT.match(text, at)
    return root["name"] if root else None


def _decoded(head: bytes) -> str:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return head[: len(head) // 2 * 2].decode("utf-16", "replace")
    if head[:4] in (b"<\0?\0", b"\0<\0?"):
        return head[: len(head) // 2 * 2].decode("utf-16-le" if head[0] else "utf-16-be", "replace")
    return head.removeprefix(b"\xef\xbb\xbf").decode("latin-1")


class _TooMuch(ValueError):
    pass


class _Builder(TreeBuilder):
    """Makes elements until there are too many or too deep ones; names lose their namespace."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = self.count = 0

    def start(self, tag: str, attrs: dict[Any, Any]) -> Element:
        self.depth += 1
        self.count += 1
        if self.depth > DEEPEST_XML or self.count > MOST_XML_ELEMENTS:
            raise _TooMuch(f"more than {DEEPEST_XML} levels or {MOST_XML_ELEMENTS} elements (docs/limits.md)")
        return super().start(tag.rpartition("}")[2], attrs)

    def end(self, tag: str) -> Element:
        self.depth -= 1
        return super().end(tag.rpartition("}")[2])


def read_xml(path: Path) -> Element:
    """The root of an XML file, names without namespaces. A DOCTYPE is skipped; nothing that it names is fetched.

    Raises: ConfigError for a file that is cut or malformed, declares entities, or is beyond the limits.
    """
    from defusedxml import DefusedXmlException

    content = read_regular(path, MAX_VENDOR_BYTES).lstrip()  # some exports begin with an empty line
    try:
        try:
            return _parsed(content)
        except (ParseError, LookupError):
            if (text := _as_text(content)) is None:
                raise
            return _parsed(text)
    except DefusedXmlException as error:
        raise ConfigError(f"{path} declares entities ({type(error).__name__}), which no ECG needs; refused") from None
    except (ParseError, ValueError, LookupError) as error:
        raise ConfigError(f"{path} is truncated or no XML ({shown(error)}); get the file again") from None


def _parsed(content: bytes | str) -> Element:
    from defusedxml.ElementTree import DefusedXMLParser

    parser = DefusedXMLParser(target=_Builder(), forbid_entities=True, forbid_external=True)
    parser.feed(content)
    root: Element = parser.close()
    return root


def _as_text(content: bytes) -> str | None:
    """What a file says whose declaration may name another encoding than it has, as after it was converted, or none;
    None where that changes nothing.
    """
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", "replace")
    try:
        return None if b"\0" in content else content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def child(element: Element | None, *names: str) -> Element | None:
    """The first element below `element` on the path `names`, None where there is none."""
    for name in names:
        element = None if element is None else next((item for item in element if item.tag == name), None)
    return element


def text_of(element: Element | None, *names: str) -> str:
    """Text of the element on the path `names`, without blanks around it; "" where there is none."""
    found = child(element, *names)
    return (found.text or "").strip() if found is not None else ""


def below(element: Element | None, name: str) -> Iterator[Element]:
    """Elements called `name` at any depth below `element`."""
    return iter(()) if element is None else element.iter(name)


def scalars(element: Element | None) -> dict[str, str]:
    """Children that hold a text and nothing else, by name; the first of two equal names."""
    found: dict[str, str] = {}
    for item in element if element is not None else ():
        if not len(item) and (item.text or "").strip():
            units = item.get("units") or item.get("unit")
            found.setdefault(item.tag, f"{(item.text or '').strip()} {units}" if units else (item.text or "").strip())
    return found
