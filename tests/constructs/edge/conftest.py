"""A distribution with its neighbours in a small stack."""

from __future__ import annotations

from typing import Any

from aws_cdk import aws_certificatemanager as acm

from constructs_lib.edge.distribution import Distribution
from constructs_lib.storage.buckets import PagesBucket, ReleaseFilesBucket
from tests.conftest import DOMAIN
from tests.constructs.conftest import Synthesized, access_logs, balancer, network, settings, stack, template

WEB_ACL = "arn:aws:wafv2:us-east-1:123456789012:global/webacl/edge/1"
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/1"


def distribution(*, domain: bool = False, **edge: Any) -> Synthesized:
    """Production's distribution, with or without a domain, or with the settings `edge`."""
    small = stack()
    one = settings(edge=edge, **({"domain": DOMAIN} if domain else {}))
    certificate = acm.Certificate.from_certificate_arn(small, "Certificate", CERTIFICATE) if domain else None
    origin = balancer(small, network(small), certificate=certificate)
    logs = access_logs(small)
    Distribution(
        small,
        "Edge",
        settings=one.edge,
        domain=one.domain,
        vpc_origin=origin.vpc_origin,
        pages=PagesBucket(small, "Pages", access_logs=logs),
        release_files=ReleaseFilesBucket(small, "ReleaseFiles", settings=one.storage, access_logs=logs),
        access_logs=logs,
        certificate=certificate,
        web_acl_arn=WEB_ACL,
    )
    return template(small)
