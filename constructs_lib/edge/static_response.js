// CloudFront Function on viewer responses of static paths: browsers may keep a success for good, and nothing else.
// Cookies never come from a shared copy.
var CACHE_CONTROL = /*CACHE_CONTROL*/ '';

function handler(event) {
  var response = event.response;
  var success = response.statusCode === 200 || response.statusCode === 206 || response.statusCode === 304;
  response.headers['cache-control'] = { value: success ? CACHE_CONTROL : 'no-store' };
  response.cookies = {};
  return response;
}
