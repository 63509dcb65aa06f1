"""CloudFront: caching, security headers, redirects, and an error page for an unreachable origin."""

from __future__ import annotations

from aws_cdk import Annotations, Aws, Duration
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from constructs_lib.foundation.acknowledgements import acknowledge, record_opt_outs
from constructs_lib.foundation.inline_code import inline_code
from constructs_lib.foundation.sdk_call import SdkCall
from settings import sections
from settings.url_paths import RELEASE_FILES

PAGE_PATH = "/errors/unavailable.html"
# S3 answers with these for a missing file or an error: CloudFront then asks the application (ADR 0019).
FALLBACK_STATUSES = [403, 404, 500, 502, 503, 504]
# CloudFront's own answers for an unreachable origin. Not 503: the application and the placeholder send it with a reason in
# the body (ADR 0007).
STATUSES_WITH_ERROR_PAGE = (502, 504)
# CloudFront would cache these other errors for ten seconds, for all users whatever their cookies. They are the application's.
UNCACHED_STATUSES = (400, 403, 404, 405, 414, 500, 501, 503)


def viewer_request(settings: sections.Edge) -> str:
    """Return the code of the CloudFront function that runs on every request."""
    return inline_code(
        "viewer_request.js",
        REDIRECTS={rule.source: {"destination": rule.destination, "permanent": rule.permanent} for rule in settings.redirects},
        REWRITES={rule.source: rule.destination for rule in settings.rewrites},
    )


class Distribution(Construct):
    """The public entry point. `url` is its address: the domain of the settings, or CloudFront's own name."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: sections.Edge,
        domain: sections.Domain | None,
        vpc_origin: cloudfront.IVpcOrigin,
        pages: s3.IBucket,
        release_files: s3.IBucket,
        access_logs: s3.IBucket,
        certificate: acm.ICertificate | None,
        web_acl_arn: str,
    ) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self._origin = origins.VpcOrigin.with_vpc_origin(
            vpc_origin,
            # The name on the load balancer's certificate; without a certificate, the load balancer's own name.
            domain_name=domain.name if domain else None,
            read_timeout=Duration.seconds(settings.origin_timeout_seconds),
            keepalive_timeout=Duration.seconds(5),
        )
        self._headers = self._define_headers_policy()
        self._viewer_request = self._define_function(
            "ViewerRequest", "Redirects, rewrites, and one form of Accept for images", viewer_request(settings)
        )
        self._static_response = self._define_function(
            "StaticResponse",
            "Cache-Control of static files, on success only",
            inline_code("static_response.js", CACHE_CONTROL=f"public, max-age={settings.static_max_age_seconds}, immutable"),
        )
        self._pages_origin = self._define_pages_origin(pages)
        self._release_files_origin = self._define_release_files_origin(release_files)
        self.distribution = self._define_distribution(domain, access_logs, certificate, web_acl_arn)
        self.url = f"https://{domain.name if domain else self.distribution.distribution_domain_name}"
        self._publish_error_page(pages)
        if settings.origin_metrics:
            cloudfront.CfnMonitoringSubscription(
                self,
                "OriginMetrics",
                distribution_id=self.distribution.distribution_id,
                monitoring_subscription={"realtimeMetricsSubscriptionConfig": {"realtimeMetricsSubscriptionStatus": "Enabled"}},
            )

    def _define_headers_policy(self) -> cloudfront.ResponseHeadersPolicy:
        """The operations manual's headers, one setting each. They replace the application's."""
        headers = self._settings.headers
        custom = [
            cloudfront.ResponseCustomHeader(header="Permissions-Policy", value=headers.permissions_policy, override=True)
        ] if headers.permissions_policy else []  # fmt: skip
        policy = cloudfront.ResponseHeadersPolicy(
            self,
            "SecurityHeaders",
            comment="Security headers of the operations manual",
            security_headers_behavior=cloudfront.ResponseSecurityHeadersBehavior(
                content_security_policy=cloudfront.ResponseHeadersContentSecurityPolicy(
                    content_security_policy=headers.content_security_policy, override=True
                )
                if headers.content_security_policy
                else None,
                content_type_options=cloudfront.ResponseHeadersContentTypeOptions(override=True) if headers.content_type_nosniff else None,
                frame_options=cloudfront.ResponseHeadersFrameOptions(
                    frame_option=cloudfront.HeadersFrameOption[headers.frame_options], override=True
                ),
                referrer_policy=cloudfront.ResponseHeadersReferrerPolicy(
                    referrer_policy=cloudfront.HeadersReferrerPolicy[headers.referrer_policy.upper().replace("-", "_")], override=True
                ),
                strict_transport_security=cloudfront.ResponseHeadersStrictTransportSecurity(
                    access_control_max_age=Duration.seconds(headers.hsts_max_age_seconds),
                    include_subdomains=headers.hsts_include_subdomains,
                    preload=headers.hsts_preload,
                    override=True,
                )
                if headers.hsts_max_age_seconds
                else None,
                xss_protection=cloudfront.ResponseHeadersXSSProtection(protection=True, mode_block=True, override=True)
                if headers.xss_protection
                else None,
            ),
            custom_headers_behavior=cloudfront.ResponseCustomHeadersBehavior(custom_headers=custom) if custom else None,
            remove_headers=["X-Powered-By", "Server"],
        )
        record_opt_outs(policy, headers)
        return policy

    def _define_function(self, construct_id: str, comment: str, code: str) -> cloudfront.Function:
        return cloudfront.Function(
            self,
            construct_id,
            comment=comment,
            code=cloudfront.FunctionCode.from_inline(code),
            runtime=cloudfront.FunctionRuntime.JS_2_0,
        )

    def _define_pages_origin(self, pages: s3.IBucket) -> cloudfront.IOrigin:
        """Imported by name, so that the CDK does not change the bucket policy: it already allows this account's distributions."""
        bucket = s3.Bucket.from_bucket_attributes(
            self, "Pages", bucket_arn=pages.bucket_arn, bucket_regional_domain_name=pages.bucket_regional_domain_name
        )
        access = cloudfront.S3OriginAccessControl(self, "PagesAccess", description="CloudFront signs its requests for static pages")
        return origins.S3BucketOrigin.with_origin_access_control(
            bucket, origin_access_control=access, origin_access_levels=[cloudfront.AccessLevel.READ]
        )

    def _define_release_files_origin(self, bucket: s3.IBucket) -> cloudfront.IOrigin:
        """The bucket first, then the application: a missing file gives the application's 404, not S3's 403."""
        access = cloudfront.S3OriginAccessControl(self, "ReleaseFilesAccess", description="CloudFront signs its requests for static files")
        return origins.OriginGroup(
            primary_origin=origins.S3BucketOrigin.with_origin_access_control(
                bucket, origin_access_control=access, origin_access_levels=[cloudfront.AccessLevel.READ]
            ),
            fallback_origin=self._origin,
            fallback_status_codes=FALLBACK_STATUSES,
        )

    def _define_distribution(
        self, domain: sections.Domain | None, access_logs: s3.IBucket, certificate: acm.ICertificate | None, web_acl_arn: str
    ) -> cloudfront.Distribution:
        static, image, release_files = self._static_behavior(), self._image_behavior(), self._release_files_behavior()
        distribution = cloudfront.Distribution(
            self,
            "Distribution",
            comment="Carmen",
            domain_names=[domain.name] if domain else None,
            certificate=certificate,
            minimum_protocol_version=cloudfront.SecurityPolicyProtocol.TLS_V1_2_2021 if certificate else None,
            http_version=cloudfront.HttpVersion.HTTP2_AND_3,
            price_class=cloudfront.PriceClass[f"PRICE_CLASS_{self._settings.price_class.upper()}"],
            web_acl_id=web_acl_arn,
            log_bucket=access_logs,
            log_file_prefix="cloudfront/",
            default_behavior=self._dynamic_behavior(),
            additional_behaviors={
                RELEASE_FILES: release_files,
                **dict.fromkeys(self._settings.static_paths, static),
                "/_next/image": image,
                "/errors/*": self._error_page_behavior(),
            },
            error_responses=[
                *map(self._error_page, STATUSES_WITH_ERROR_PAGE),
                *(cloudfront.ErrorResponse(http_status=status, ttl=Duration.seconds(0)) for status in UNCACHED_STATUSES),
            ],
        )
        acknowledge(
            distribution,
            {
                "AwsSolutions-CFR1": (
                    "Staff use Carmen while travelling, so no country is blocked. `edge.rate_limits` and the IP sets limit abuse."
                )
            },
        )
        Annotations.of(distribution).acknowledge_warning(
            "@aws-cdk/aws-cloudfront-origins:updateImportedBucketPolicyOac",
            "The pages bucket's policy admits this account's distributions already (constructs_lib/storage/buckets.py).",
        )
        if not domain:
            acknowledge(
                distribution,
                {
                    "AwsSolutions-CFR4": (
                        "Without a domain, CloudFront uses its own certificate, for which AWS sets the minimum protocol to TLSv1."
                    )
                },
            )
        return distribution

    def _dynamic_behavior(self) -> cloudfront.BehaviorOptions:
        """HTML, RSC payloads, server actions and APIs: not cached, all headers, cookies and queries forwarded."""
        return cloudfront.BehaviorOptions(
            origin=self._origin,
            allowed_methods=cloudfront.AllowedMethods.ALLOW_ALL,
            cache_policy=cloudfront.CachePolicy.CACHING_DISABLED,
            origin_request_policy=cloudfront.OriginRequestPolicy.ALL_VIEWER,
            viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.REDIRECT_TO_HTTPS,
            response_headers_policy=self._headers,
            compress=True,
            function_associations=[self._associate(cloudfront.FunctionEventType.VIEWER_REQUEST, self._viewer_request)],
        )

    def _release_files_behavior(self) -> cloudfront.BehaviorOptions:
        """Files named by their content. Cached by path only: S3 lets a signed request choose response headers by query."""
        policy = self._define_static_cache_policy(
            "ReleaseFiles", "Files of releases: by path, for a year", cloudfront.CacheQueryStringBehavior.none()
        )
        return self._cached_behavior(policy, self._static_functions(), self._release_files_origin)

    def _static_behavior(self) -> cloudfront.BehaviorOptions:
        """Pictures and other files: cached for a year, whatever the origin's headers say (ADR 0010).

        Cookies neither reach the origin nor come back, so a cached copy holds nothing of one user.
        """
        policy = self._define_static_cache_policy(
            "StaticFiles", "Static files: by path and query, for a year", cloudfront.CacheQueryStringBehavior.all()
        )
        return self._cached_behavior(policy, self._static_functions())

    def _define_static_cache_policy(
        self, construct_id: str, comment: str, queries: cloudfront.CacheQueryStringBehavior
    ) -> cloudfront.CachePolicy:
        year = Duration.seconds(self._settings.static_max_age_seconds)
        return cloudfront.CachePolicy(
            self,
            construct_id,
            comment=comment,
            min_ttl=year,
            default_ttl=year,
            max_ttl=year,
            query_string_behavior=queries,
            enable_accept_encoding_brotli=True,
            enable_accept_encoding_gzip=True,
        )

    def _static_functions(self) -> list[cloudfront.FunctionAssociation]:
        return [
            self._associate(cloudfront.FunctionEventType.VIEWER_REQUEST, self._viewer_request),
            self._associate(cloudfront.FunctionEventType.VIEWER_RESPONSE, self._static_response),
        ]

    def _image_behavior(self) -> cloudfront.BehaviorOptions:
        """Next.js's image optimiser: one copy per source, width, quality and format. No cookies: public pictures only."""
        policy = cloudfront.CachePolicy(
            self,
            "Images",
            comment="Image optimiser: by url, width, quality and Accept",
            min_ttl=Duration.seconds(0),
            default_ttl=Duration.seconds(60),
            max_ttl=Duration.seconds(self._settings.image_max_age_seconds),
            query_string_behavior=cloudfront.CacheQueryStringBehavior.allow_list("url", "w", "q"),
            header_behavior=cloudfront.CacheHeaderBehavior.allow_list("Accept"),
        )
        return self._cached_behavior(policy, [self._associate(cloudfront.FunctionEventType.VIEWER_REQUEST, self._viewer_request)])

    def _cached_behavior(
        self,
        policy: cloudfront.ICachePolicy,
        functions: list[cloudfront.FunctionAssociation],
        origin: cloudfront.IOrigin | None = None,
    ) -> cloudfront.BehaviorOptions:
        return cloudfront.BehaviorOptions(
            origin=origin or self._origin,
            allowed_methods=cloudfront.AllowedMethods.ALLOW_GET_HEAD_OPTIONS,
            cache_policy=policy,
            viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.REDIRECT_TO_HTTPS,
            response_headers_policy=self._headers,
            compress=True,
            function_associations=functions,
        )

    def _error_page_behavior(self) -> cloudfront.BehaviorOptions:
        return cloudfront.BehaviorOptions(
            origin=self._pages_origin,
            cache_policy=cloudfront.CachePolicy.CACHING_OPTIMIZED,
            viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.REDIRECT_TO_HTTPS,
            response_headers_policy=self._headers,
            compress=True,
        )

    def _error_page(self, status: int) -> cloudfront.ErrorResponse:
        ttl = Duration.seconds(self._settings.error_max_age_seconds)
        return cloudfront.ErrorResponse(http_status=status, response_http_status=status, response_page_path=PAGE_PATH, ttl=ttl)

    @staticmethod
    def _associate(event: cloudfront.FunctionEventType, function: cloudfront.Function) -> cloudfront.FunctionAssociation:
        return cloudfront.FunctionAssociation(event_type=event, function=function)

    def _publish_error_page(self, pages: s3.IBucket) -> None:
        SdkCall(
            self,
            "PublishUnavailablePage",
            service="S3",
            action="PutObject",
            parameters={
                "Bucket": pages.bucket_name,
                "Key": PAGE_PATH.removeprefix("/"),
                "Body": inline_code("unavailable.html"),
                "ContentType": "text/html; charset=utf-8",
                "CacheControl": "public, max-age=60",
            },
            physical_id=f"{pages.bucket_name}{PAGE_PATH}",
            permissions=[
                iam.PolicyStatement(actions=["s3:PutObject"], resources=[f"arn:{Aws.PARTITION}:s3:::{pages.bucket_name}{PAGE_PATH}"])
            ],
        )
