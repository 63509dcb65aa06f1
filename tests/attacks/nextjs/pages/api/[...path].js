export default function handler(request, response) {
  response.setHeader("x-routed-to", "api");
  response.json({ path: request.query.path, address: request.headers["x-forwarded-for"] });
}
