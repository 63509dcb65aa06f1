from __future__ import annotations

import pytest

from constructs_lib.foundation.inline_code import inline_code


def test_inline_code_fills_in_settings_as_json() -> None:
    code = inline_code("static_response.js", CACHE_CONTROL='public, max-age="1"')
    assert 'public, max-age=\\"1\\"' in code
    assert "/*CACHE_CONTROL*/" not in code


def test_inline_code_without_marker_fails() -> None:
    with pytest.raises(ValueError, match=r"static_response.js has no marker /\*OTHER\*/"):
        inline_code("static_response.js", OTHER=1)
