// CloudFront Function on viewer responses of static paths: browsers may keep a success for good, and nothing else.
var CACHE_CONTROL = /*CACHE_CONTROL*/ '';

function handler(event) {
  var response = event.response;
  if (response.statusCode === 200 || response.statusCode === 206 || response.statusCode === 304) {
    response.headers['cache-control'] = { value: CACHE_CONTROL };
  }
  return response;
}
