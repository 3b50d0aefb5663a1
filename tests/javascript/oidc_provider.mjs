// A certified OpenID provider on loopback, over TLS, with the private key and the certificates of a PEM file.
//
// Its client `robot` gets access tokens by its credentials, for resources `https://api.example/<algorithm>`: JWTs that
// are signed with that algorithm.

import { generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { Provider } from "oidc-provider";

const keys = [
  ["rsa", { modulusLength: 2048 }, "RS256"],
  ["rsa", { modulusLength: 2048 }, "PS256"],
  ["ec", { namedCurve: "P-256" }, "ES256"],
  ["ed25519", {}, "EdDSA"],
].map(([type, options, alg]) => ({ ...generateKeyPairSync(type, options).privateKey.export({ format: "jwk" }), alg }));

const pem = readFileSync(process.argv[2]);
const server = createServer({ key: pem, cert: pem });
server.listen(0, "127.0.0.1", () => {
  const issuer = `https://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    jwks: { keys },
    clients: [
      {
        client_id: "robot",
        client_secret: "s",
        grant_types: ["client_credentials"],
        redirect_uris: [],
        response_types: [],
      },
    ],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => ({
          scope: "chat",
          accessTokenFormat: "jwt",
          jwt: { sign: { alg: resource.split("/").at(-1) } },
        }),
      },
    },
  });
  server.on("request", provider.callback());
  console.log(`Ready: ${issuer}`);
});
