"""From bytes in any common encoding to UTF-8, and what the encoding was."""

import codecs
import re
from collections.abc import Iterator, Sequence

from pipeline.errors import PipelineError, first_line

# The longer marks first: that of UTF-32-LE begins with that of UTF-16-LE.
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_WESTERN = ("cp1252", "mac_roman")
_LATIN = ("cp1252", "cp1250", "cp1254", "cp1257")
_CANDIDATES = [
    *(*_WESTERN, "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "koi8_r"),
    *("cp932", "euc_jp", "gb18030", "big5", "cp949"),
]
# Bytes without a meaning in cp1252; one of them shall not rule it out.
_UNDEFINED = bytes.maketrans(b"\x81\x8d\x8f\x90\x9d", b"     ")
_LONG_SEQUENCE = rb"[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xe0[\xa0-\xbf][\x80-\xbf]|\xed[\x80-\x9f][\x80-\xbf]" + (
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
_SEQUENCE = rb"[\xc2-\xdf][\x80-\xbf]|" + _LONG_SEQUENCE
# Control characters without tabs, line ends, form feeds, escapes and the end mark of old systems. A text may hold some.
_CONTROL = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1a\x1b"))
_MOST_CONTROL, _SOME = 0.03, 100
# What a picture, a document, a program or an archive begins with.
_BINARY = (
    *(b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"%PDF-", b"\x7fELF", b"\xd0\xcf\x11\xe0"),
    *(b"7z\xbc\xaf\x27\x1c", b"BZh91AY&SY", b"\xfd7zXZ\0", b"Rar!\x1a\x07"),
)
_SAMPLE = 200_000
_HEAD = 1 << 16
_PART = 1 << 20


def to_utf8(path: str, content: bytes, forced: str | None = None) -> tuple[bytes, str]:
    """The content as valid UTF-8 without a byte order mark, and the encoding that it was in.

    A byte order mark decides; else zero bytes betray UTF-16 and UTF-32; else what is valid UTF-8 is UTF-8; else the
    encoding is detected from the lines that are not (see ``_detect``). Where UTF-8 and a Western encoding are mixed,
    every line that is valid UTF-8 is taken as such, and of the others the sequences that are.

    Raises:
        PipelineError: the content is not in the encoding that ``forced`` or the byte order mark says, or no text.
    """
    if forced is not None:
        return _decoded(path, content, _known(forced)), forced
    for mark, name in _MARKS.items():
        # A UTF-32 mark before a number of bytes that is no multiple of 4 is that of UTF-16 before a zero character.
        if content.startswith(mark) and not ("32" in name and len(content) % 4):
            body = content[len(mark) :]
            if name == "utf-8":
                content, found = _mixed(body)
                return content, found.replace("ASCII", "UTF-8").replace("UTF-8", "UTF-8 with BOM", 1)
            return _decoded(path, body, name), f"{name.upper()} with BOM"
    wide = _wide(content)
    if wide is not None:
        return content.decode(wide).encode(), f"{wide.upper()} without BOM"
    _refuse_binary(path, content)
    return _mixed(content)


def codec_of(path: str, sample: bytes, forced: str | None = None) -> tuple[str, str, str]:
    """Codec and error handler for a text of which only the beginning is known, and what its encoding is called.

    They are found as in ``to_utf8``. Where that is UTF-8 or a Western encoding, all that is valid UTF-8 is taken as
    such and every other byte from the Western encoding, cp1252 if the beginning holds none.

    Raises:
        PipelineError: there is no such encoding as ``forced``, or it is no text.
    """
    if forced is not None:
        return _known(forced), "strict", forced
    for mark, name in _MARKS.items():
        if sample.startswith(mark) and not ("32" in name and len(sample) % 4):
            # The names without an order of bytes pass over the mark.
            if name == "utf-8":
                return "utf-8-sig", _otherwise("cp1252"), "UTF-8"
            return name[:6], "replace", name.upper()
    wide = _wide(sample) or _wide(sample[:-2])  # the end may be half a character
    if wide is not None:
        return wide, "replace", wide.upper()
    _refuse_binary(path, sample)
    _, found = _mixed(sample[: sample.rfind(b"\n") + 1] or sample)
    name = found.split()[-1]
    if name in ("ASCII", "UTF-8"):
        return "utf-8", _otherwise("cp1252"), "UTF-8"
    if found.startswith("UTF-8"):
        return "utf-8", _otherwise(name), f"UTF-8 with some {name}"
    return ("utf-8", _otherwise(name), name) if name in _WESTERN else (name, "replace", name)


def _refuse_binary(path: str, content: bytes) -> None:
    """Refuses pictures, programs, archives and what else has the name of a text; of any bytes a tenth would do."""
    head = content[:_HEAD]
    if head.startswith(_BINARY) and not _is_utf8(head):
        raise PipelineError(f"{path}: expected a text, got a binary file, which begins with {head[:6]!r}; give a table")
    control = len(head) - len(head.translate(None, _CONTROL))
    if control > max(_SOME, _MOST_CONTROL * len(head)):
        raise PipelineError(
            f"{path}: expected a text, got a binary file ({control / len(head):.0%} of its first bytes are control "
            "characters); give a table, or name its --encoding"
        )


def _otherwise(name: str) -> str:
    """The name of an error handler that takes what cannot be decoded from that encoding."""
    from ftfy import bad_codecs

    bad_codecs.ok()  # registers the codec that also knows the bytes that cp1252 leaves undefined
    codec, handler = "sloppy-windows-1252" if name == "cp1252" else name, f"pipeline-{name}"

    def decode(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeDecodeError):
            raise error
        return error.object[error.start : error.end].decode(codec, "replace"), error.end

    codecs.register_error(handler, decode)
    return handler


def _known(name: str) -> str:
    """The name of an encoding of texts, so that UTF-8 and UTF-16 lose their byte order mark."""
    try:
        "a".encode(name)
    except (LookupError, ValueError) as error:
        raise PipelineError(
            f"--encoding: expected the name of an encoding such as utf-8, cp1252, mac_roman; {first_line(error)}"
        ) from error
    return "utf-8-sig" if codecs.lookup(name).name == "utf-8" else name


def _decoded(path: str, content: bytes, name: str) -> bytes:
    try:
        return content.decode(name).encode("utf-8", "replace")
    except UnicodeError as error:
        where, got = path, first_line(error)
        if isinstance(error, UnicodeDecodeError):
            # error.object, not content: a byte order mark is gone from it, and error.start counts without it.
            where = f"{path}, line {error.object.count(10, 0, error.start) + 1}"
            got = f"got the byte 0x{error.object[error.start]:02x}"
        raise PipelineError(f"{where}: expected {name}, {got}; give another --encoding") from error


def _wide(content: bytes) -> str | None:
    """UTF-16 or UTF-32 without a byte order mark: zero bytes stand where ASCII characters have them."""
    head = content[: min(_HEAD, len(content) // 4 * 4)]
    quarter = len(head) // 4
    if not quarter or b"\0" not in head:
        return None
    zero = [head[i::4].count(0) / quarter for i in range(4)]
    even, odd = (zero[0] + zero[2]) / 2, (zero[1] + zero[3]) / 2
    likely = {
        "utf-32-le": zero[2] > 0.9 and zero[3] == 1 and zero[0] < 0.1,
        "utf-32-be": zero[1] > 0.9 and zero[0] == 1 and zero[3] < 0.1,
        "utf-16-le": odd > 0.05 and even < odd / 10,
        "utf-16-be": even > 0.05 and odd < even / 10,
    }
    for name in (name for name, yes in likely.items() if yes):
        try:
            content.decode(name)
        except UnicodeDecodeError:
            continue
        return name
    return None


def _mixed(content: bytes) -> tuple[bytes, str]:
    """The content as UTF-8, where it is that, another encoding, or both line by line."""
    lines = content.split(b"\n") if not _is_utf8(content) else []
    bad = [line for line in lines if not _is_utf8(line)]
    if not bad:
        return content, "ASCII" if content.isascii() else "UTF-8"
    good = sum(not line.isascii() for line in lines) - len(bad)
    # What strays into a file of UTF-8 is too little to detect anything from.
    name = "cp1252" if good > len(bad) else _detect(bad)
    if name not in _WESTERN:
        if _is_valid(content, name):
            return content.decode(name).encode("utf-8", "replace"), name
        fixed = [line if _is_utf8(line) else line.decode(name, "replace").encode() for line in lines]
        return b"\n".join(fixed), f"UTF-8, {len(bad):,} of {len(lines):,} lines {name}"
    # Two bytes that are valid UTF-8 occur by chance where the file is mostly something else; three do not.
    sequence = re.compile(_SEQUENCE if good > len(bad) else _LONG_SEQUENCE)
    fixed, kept = [], False
    for line in lines:
        if not line.isascii():
            found = sequence.findall(line)
            kept |= bool(found)
            if not (found and _is_utf8(line)):
                line = _western(line, name, sequence)
        fixed.append(line)
    return b"\n".join(fixed), f"UTF-8, {len(bad):,} of {len(lines):,} lines {name}" if kept else name


def _western(line: bytes, name: str, sequence: re.Pattern[bytes]) -> bytes:
    """A line with its UTF-8 sequences as they are and every other byte from a Western encoding."""
    from ftfy import bad_codecs

    bad_codecs.ok()  # registers the codec that also knows the bytes that cp1252 leaves undefined
    codec = "sloppy-windows-1252" if name == "cp1252" else name
    pieces, at = [], 0
    for match in sequence.finditer(line):
        pieces += [line[at : match.start()].decode(codec).encode(), match[0]]
        at = match.end()
    return b"".join([*pieces, line[at:].decode(codec).encode()])


def _detect(lines: Sequence[bytes]) -> str:
    """The encoding of lines that are not UTF-8, by charset-normalizer; cp1252 where it has no opinion.

    Of the candidates with little chaos and nearly the best coherence, the Western ones are preferred: most
    files that are not UTF-8 are in cp1252. The detector is misled by text that was mojibake before it was saved; ftfy
    knows the look of it: where the winner leaves it in many lines and Mac Roman in hardly one, it is Mac Roman.
    """
    from charset_normalizer import from_bytes

    sample = list(_first(lines, _SAMPLE))
    found = [
        (match.chaos, match.coherence, name)
        for match in from_bytes(b"\n".join(sample).translate(_UNDEFINED), cp_isolation=_CANDIDATES)
        for name in [match.encoding, *match.could_be_from_charset]
    ]
    calm = [each for each in found if each[0] <= min(found)[0] + 0.1]
    names = [name for _, coherence, name in calm if coherence >= max(each[1] for each in calm) - 0.05]
    best = next((name for name in [*_WESTERN, *names] if name in names), "cp1252")
    best = "cp1252" if best == "latin_1" else best
    if best in _LATIN and _mojibake(sample, best) > 0.25 and _mojibake(sample, "mac_roman") < 0.05:
        return "mac_roman"
    return best


def _first(lines: Sequence[bytes], size: int) -> Iterator[bytes]:
    """The first lines, together of about that many bytes."""
    for line in lines:
        yield line[:size]
        size -= len(line)
        if size <= 0:
            return


def _mojibake(lines: Sequence[bytes], name: str) -> float:
    """Share of lines that look badly decoded, also after the repair that every text gets."""
    from ftfy import fix_encoding
    from ftfy.badness import badness

    return sum(badness(fix_encoding(line.decode(name, "replace"))) > 0 for line in lines) / len(lines)


def _is_utf8(content: bytes) -> bool:
    if content.isascii():
        return True
    # In parts: a text with one emoji takes four bytes a character.
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for at in range(0, len(content), _PART):
            decoder.decode(content[at : at + _PART], final=at + _PART >= len(content))
    except UnicodeDecodeError:
        return False
    return True


def _is_valid(content: bytes, name: str) -> bool:
    try:
        content.decode(name)
    except UnicodeDecodeError:
        return False
    return True
