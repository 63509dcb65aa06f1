import NextAuth from "next-auth";
import Credentials from "next-auth/providers/credentials";

const options = {
  secret: "fixture",
  providers: [Credentials({ credentials: { password: {} }, authorize: () => null })],
};

export default function handler(request, response) {
  response.setHeader("x-routed-to", "auth");
  return NextAuth(request, response, options);
}
