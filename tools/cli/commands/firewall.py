"""`./carmen firewall`: block addresses at the edge, and the attack mode of AWS WAF."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import Any

import click

from settings.constants import EDGE_REGION
from tools.cli.options import changes_environment, json_option, print_json, reads_environment
from tools.environment import Deployed, RefusedError

# AWS WAF accepts no /0 (API Reference, CreateIPSet): two halves cover all addresses.
ALL_ADDRESSES = {4: ["0.0.0.0/1", "128.0.0.0/1"], 6: ["::/1", "8000::/1"]}  # pragma: allowlist secret (all addresses)
ATTACK_MODE = {
    True: "on: browsers pass a challenge before they get a page, and each address gets a tenth of its requests",
    False: "off: no challenge, usual rate limits",
}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Address(click.ParamType[Network]):
    """An IP address or a range."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Network:
        try:
            return ipaddress.ip_network(value)
        except ValueError as error:
            such = "203.0.113.7 or 203.0.113.0/24"  # pragma: allowlist secret (of a range for documentation)
            self.fail(f"{error}; give an address or a range, such as {such}.", param, ctx)


def block(deployed: Deployed, network: Network) -> None:
    """Block an address or a range at the edge."""
    environment = deployed.settings.name
    if network.prefixlen == 0:
        raise RefusedError(f"{network} blocks all visitors. `./carmen firewall attack-mode on --env {environment}` may be what you want.")
    deployed.approve(f"{network} is blocked at the edge", f"./carmen firewall unblock {network} --env {environment}")
    _update(deployed, "Blocked", network.version, lambda present: sorted({*present, str(network)}))
    print_blocked(deployed)


def unblock(deployed: Deployed, network: Network) -> None:
    """Allow a blocked address or range again."""
    deployed.approve(f"{network} is no longer blocked", f"./carmen firewall block {network} --env {deployed.settings.name}")
    _update(deployed, "Blocked", network.version, lambda present: [one for one in present if one != str(network)])
    print_blocked(deployed)


def blocked(deployed: Deployed) -> list[str]:
    """All blocked addresses and ranges."""
    return [*_addresses(deployed, "Blocked", 4), *_addresses(deployed, "Blocked", 6)]


def print_blocked(deployed: Deployed) -> None:
    print(f"Blocked: {', '.join(blocked(deployed)) or 'no address'}. Changes reach every edge location within about a minute.")


def set_attack_mode(deployed: Deployed, on: bool) -> None:
    """Challenge browsers and lower rate limits, or stop doing so."""
    undo = f"./carmen firewall attack-mode {'off' if on else 'on'} --env {deployed.settings.name}"
    deployed.approve(f"attack mode {ATTACK_MODE[on]}", undo)
    for version, addresses in ALL_ADDRESSES.items():
        _update(deployed, "AttackMode", version, addresses if on else [])
    print(f"Attack mode is {ATTACK_MODE[on]}." + (f" Undo: `{undo}`." if on else ""))


def _ip_set(deployed: Deployed, name: str, version: int) -> tuple[Any, dict[str, str]]:
    waf = deployed.session.client("wafv2", region_name=EDGE_REGION)
    found = deployed.resource("EdgeGlobal", "AWS::WAFv2::IPSet", f"WebFirewall{name}Ipv{version}", region=EDGE_REGION)
    set_name, identifier, scope = found.split("|")
    return waf, {"Name": set_name, "Id": identifier, "Scope": scope}


def _addresses(deployed: Deployed, name: str, version: int) -> list[str]:
    waf, ip_set = _ip_set(deployed, name, version)
    return list(waf.get_ip_set(**ip_set)["IPSet"]["Addresses"])


def _update(deployed: Deployed, name: str, version: int, addresses: Sequence[str] | Callable[[list[str]], list[str]]) -> None:
    """Read and write an IP set under WAF's lock token: of two people at the same time, one gets an error and tries again."""
    waf, ip_set = _ip_set(deployed, name, version)
    found = waf.get_ip_set(**ip_set)
    waf.update_ip_set(
        **ip_set,
        Addresses=addresses(list(found["IPSet"]["Addresses"])) if callable(addresses) else addresses,
        Description=found["IPSet"].get("Description") or name,  # an update without one would remove it
        LockToken=found["LockToken"],
    )


@click.group(name="firewall")
def group() -> None:
    """Block addresses at the edge, switch the attack mode."""


@group.command("block")
@click.argument("address", type=Address())
@changes_environment
def block_command(deployed: Deployed, address: Network) -> None:
    """Block an address or a range at the edge.

    \b
    Example:
      ./carmen firewall block 203.0.113.0/24 --env prod
    """
    block(deployed, address)


@group.command("unblock")
@click.argument("address", type=Address())
@changes_environment
def unblock_command(deployed: Deployed, address: Network) -> None:
    """Allow a blocked address or range again.

    \b
    Example:
      ./carmen firewall unblock 203.0.113.0/24 --env prod
    """
    unblock(deployed, address)


@group.command("list")
@json_option
@reads_environment
def list_command(deployed: Deployed, as_json: bool) -> None:
    """List blocked addresses and the attack mode.

    \b
    Example:
      ./carmen firewall list --env prod
    """
    on = bool(_addresses(deployed, "AttackMode", 4))
    if as_json:
        print_json({"blocked": blocked(deployed), "attack_mode": on})
        return
    print_blocked(deployed)
    print(f"Attack mode is {ATTACK_MODE[on]}.")


@group.command("attack-mode")
@click.argument("state", type=click.Choice(["on", "off"]))
@changes_environment
def attack_mode_command(deployed: Deployed, state: str) -> None:
    """Switch the attack mode on or off.

    On: browsers pass a challenge before they get a page, and rate limits are lower.

    \b
    Example:
      ./carmen firewall attack-mode on --env prod
    """
    set_attack_mode(deployed, state == "on")
