// CloudFront Function on viewer requests: redirects and rewrites from the settings, and one form of Accept for images.
var REDIRECTS = /*REDIRECTS*/ {};
var REWRITES = /*REWRITES*/ {};

function handler(event) {
  var request = event.request;
  var redirect = REDIRECTS[request.uri];
  if (redirect) {
    return {
      statusCode: redirect.permanent ? 308 : 307,
      statusDescription: redirect.permanent ? 'Permanent Redirect' : 'Temporary Redirect',
      headers: { location: { value: redirect.destination + queryString(request.querystring) } },
    };
  }
  if (REWRITES[request.uri]) {
    request.uri = REWRITES[request.uri];
  }
  if (request.uri === '/_next/image') {
    request.headers.accept = { value: imageFormats(request.headers.accept) };
  }
  return request;
}

// The optimiser answers by Accept; browsers send hundreds of forms of it that mean one of three.
function imageFormats(accept) {
  var value = accept ? accept.value : '';
  if (value.indexOf('image/avif') !== -1) return 'image/avif,image/webp';
  if (value.indexOf('image/webp') !== -1) return 'image/webp';
  return '*/*';
}

function queryString(parameters) {
  var parts = [];
  for (var name in parameters) {
    var values = parameters[name].multiValue || [parameters[name]];
    for (var i = 0; i < values.length; i++) {
      parts.push(values[i].value === '' ? name : name + '=' + values[i].value);
    }
  }
  return parts.length ? '?' + parts.join('&') : '';
}
