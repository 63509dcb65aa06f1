const http = require('http');
const HEALTH_PATH = /*HEALTH_PATH*/ '';
const server = http.createServer((request, response) => {
  const healthy = request.url.split('?')[0] === HEALTH_PATH;
  response.writeHead(healthy ? 200 : 503, { 'content-type': 'text/plain', 'cache-control': 'no-store' });
  response.end(healthy ? 'ok' : 'awaiting first image');
});
server.keepAliveTimeout = Number(process.env.KEEP_ALIVE_TIMEOUT || 5000);
server.listen(Number(process.env.PORT), process.env.HOSTNAME);
process.on('SIGTERM', () => process.exit(0));
