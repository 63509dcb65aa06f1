"""CarmenProdNetwork: the VPC."""

from __future__ import annotations

from constructs import Construct

from constructs_lib.network.vpc import Network
from settings.model import Settings
from stacks.base import CarmenStack


class NetworkStack(CarmenStack):
    """The network of all other stacks."""

    def __init__(self, scope: Construct, settings: Settings) -> None:
        super().__init__(scope, "Network", settings=settings, description="VPC, subnets, NAT or endpoints, flow logs")
        self.network = Network(self, "Network", settings=settings.network)
