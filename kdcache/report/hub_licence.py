"""Licences as the hub's cards name them: a fixed list of names, and ``other`` with a text."""

import re
from typing import Final

__all__ = ["hub_licence", "spdx_url"]

_NAMES: Final = """
afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 cc-by-2.0 cc-by-2.5
cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
cdla-permissive-2.0 cdla-sharing-1.0 c-uda ecl-2.0 epl-1.0 epl-2.0 eupl-1.1 eupl-1.2 gpl-2.0 gpl-3.0 isc lgpl-2.1
lgpl-3.0 lppl-1.3c mit mpl-2.0 ms-pl ncsa ofl-1.1 osl-3.0 postgresql unlicense wtfpl zlib
"""
_AS_SPDX: Final = frozenset(_NAMES.split())
_RENAMED: Final = {"odc-by-1.0": "odc-by", "odbl-1.0": "odbl", "pddl-1.0": "pddl", "c-uda-1.0": "c-uda"}
_WHICH_VERSION: Final = re.compile("-(only|or-later)$")
_SPDX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}(?<![.-])")


def hub_licence(licence: str) -> str:
    """Return the hub's name of a licence; ``other`` where it has none.

    >>> hub_licence("CC-BY-4.0"), hub_licence("GPL-3.0-or-later"), hub_licence("ask us")
    ('cc-by-4.0', 'gpl-3.0', 'other')
    """
    name = _WHICH_VERSION.sub("", licence.strip().lower())
    name = _RENAMED.get(name, name)
    return name if name in _AS_SPDX or name in _RENAMED.values() else "other"


def spdx_url(licence: str) -> str | None:
    """Return the page of a licence that the hub knows by its SPDX identifier, None for any other text.

    >>> spdx_url("MIT"), spdx_url("ask us")
    ('https://spdx.org/licenses/MIT.html', None)
    """
    is_known = _SPDX.fullmatch(licence.strip()) and hub_licence(licence) != "other"
    return f"https://spdx.org/licenses/{licence.strip()}.html" if is_known else None
