// CloudFront Function on viewer requests: redirects and rewrites from the settings, one form of Accept for images, the client's address,
// and an id by which logs of edge and application tell of the same request (CloudFront's own, unless the caller brings one).
var REDIRECTS = /*REDIRECTS*/ {};
var REWRITES = /*REWRITES*/ {};
// Only servers in front of Next.js may say these: its own mark of a request that authentication has seen (CVE-2025-29927), the host and
// path that links are made with, and the client's address (CloudFront itself drops x-real-ip and x-forwarded-proto).
var NOT_FROM_VIEWERS = ['x-middleware-subrequest', 'x-forwarded-host', 'x-forwarded-port', 'x-forwarded-server', 'x-original-url',
  'x-rewrite-url', 'forwarded', 'forwarded-for', 'x-forwarded', 'x-original-forwarded-for', 'x-vercel-forwarded-for', 'true-client-ip',
  'client-ip', 'x-client-ip', 'x-cluster-client-ip', 'fastly-client-ip', 'fly-client-ip', 'x-azure-clientip', 'x-appengine-user-ip',
  'cf-connecting-ip', 'cf-connecting-ipv6', 'cf-pseudo-ipv4', 'x-envoy-external-address', 'x-remote-ip', 'x-remote-addr'];

function handler(event) {
  var request = event.request;
  if (REDIRECTS.hasOwnProperty(request.uri)) {
    return redirectTo(REDIRECTS[request.uri], request.querystring);
  }
  if (REWRITES.hasOwnProperty(request.uri)) {
    request.uri = REWRITES[request.uri];
  }
  if (request.uri === '/_next/image') {
    request.headers.accept = { value: imageFormats(request.headers.accept) };
  }
  for (var i = 0; i < NOT_FROM_VIEWERS.length; i++) {
    delete request.headers[NOT_FROM_VIEWERS[i]];
  }
  // CloudFront appends the viewer's address once more. Both are true: what the viewer sent is gone (ADR 0032).
  request.headers['x-forwarded-for'] = { value: event.viewer.ip };
  var given = request.headers['x-request-id'];
  if (!given || given.multiValue || !/^[\w-]{8,64}$/.test(given.value)) {
    request.headers['x-request-id'] = { value: event.context.requestId };
  }
  return request;
}

function redirectTo(rule, parameters) {
  return {
    statusCode: rule.permanent ? 308 : 307,
    statusDescription: rule.permanent ? 'Permanent Redirect' : 'Temporary Redirect',
    headers: { location: { value: rule.destination + queryString(parameters) } },
  };
}

// The optimiser answers by Accept; browsers send hundreds of forms of it that mean one of three.
function imageFormats(accept) {
  var value = accept ? valuesOf(accept).join(',') : '';
  if (value.indexOf('image/avif') !== -1) return 'image/avif,image/webp';
  if (value.indexOf('image/webp') !== -1) return 'image/webp';
  return '*/*';
}

function queryString(parameters) {
  var parts = [];
  for (var name in parameters) {
    var values = valuesOf(parameters[name]);
    for (var i = 0; i < values.length; i++) {
      parts.push(values[i] === '' ? name : name + '=' + values[i]);
    }
  }
  return parts.length ? '?' + escaped(parts.join('&')) : '';
}

// What came more than once stands in multiValue; `value` is its first only.
function valuesOf(field) {
  return (field.multiValue || [field]).map(function (one) {
    return one.value;
  });
}

// A Location is printable ASCII; CloudFront hands over other characters of a query as they are.
function escaped(text) {
  return text.replace(/[^!"$-~]+/g, function (part) {
    return encodeURIComponent(part);
  });
}
