"""`./carmen firewall` refuses to block all addresses; `make local` proves its effects."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from tests.cli.fakes import deployed
from tools.cli.commands import firewall
from tools.environment import RefusedError


def test_block_of_all_addresses_is_refused() -> None:
    with pytest.raises(RefusedError, match="blocks all visitors"):
        firewall.block(deployed(), ip_network("0.0.0.0/0"))
