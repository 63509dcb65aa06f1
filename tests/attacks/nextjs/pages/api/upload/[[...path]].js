export default function handler(request, response) {
  response.setHeader("x-routed-to", "upload");
  response.end();
}
