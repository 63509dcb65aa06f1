from __future__ import annotations

from tests.conftest import Built

STACK = "CarmenProdOperations"
# Variable of a function → security group of the server that it names, and its port.
SERVERS = {
    "DATABASE_HOST": ("DatabaseSecurityGroup", 5432),
    "PROXY_HOST": ("DatabaseProxySecurityGroup", 5432),
    "REDIS_HOST": ("CacheSecurityGroup", 6379),
}


def test_functions_may_connect_to_the_servers_in_their_variables(built: Built) -> None:
    allowed = {
        (kind, name.split("/")[1].split("SecurityGroup")[0], variable)
        for kind in ("Egress", "Ingress")
        for name, rule in built.resources(f"AWS::EC2::SecurityGroup{kind}", STACK).items()
        for variable, (group, port) in SERVERS.items()
        if f"CarmenProdData{group}" in name.split("/")[1] and rule["Properties"]["ToPort"] == rule["Properties"]["FromPort"] == port
    }
    needed = {
        (kind, name.split("/")[1][:-8], variable)
        for name, function in built.resources("AWS::Lambda::Function", STACK).items()
        for variable in SERVERS
        if variable in function["Properties"].get("Environment", {}).get("Variables", {})
        for kind in ("Egress", "Ingress")
    }
    assert allowed == needed
