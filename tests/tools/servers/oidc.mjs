// npm's oidc-provider as the authorization server of tests, with an API behind it; prints "ready PORT".
//
//     node oidc.mjs FOLDER CONFIG
//
// FOLDER has node_modules; CONFIG is JSON: {resource, jwks}, the API that tokens are for and the signing client's keys.
// Beside the provider's own endpoints: /api/check says what a token is good for (a DPoP proof is checked too),
// /control/set changes the settings, /control/seen tells which tokens were asked for, /control/tokens those
// that were given.
import { createServer } from 'node:http';
import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [folder, text] = process.argv.slice(2);
const load = async (name) => import(pathToFileURL(createRequire(`${folder}/x.js`).resolve(name)).href);
const { Provider } = await load('oidc-provider');
const { EmbeddedJWK, calculateJwkThumbprint, jwtVerify } = await load('jose');
const config = JSON.parse(text);
const settings = { ttl: 600, delay: 0, nonce: false, skew: 0 };
const seen = [];
const tokens = new Set();
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';

const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
const api = `${issuer}/api`;
const scope = 'herd:read herd:write';

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'person', application_type: 'native', token_endpoint_auth_method: 'none',
      redirect_uris: ['http://127.0.0.1/callback'], grant_types: ['authorization_code', 'refresh_token', DEVICE],
    },
    {
      client_id: 'bound', application_type: 'native', token_endpoint_auth_method: 'none', dpop_bound_access_tokens: true,
      redirect_uris: ['http://127.0.0.1/callback'], grant_types: ['authorization_code', 'refresh_token'],
    },
    {
      client_id: 'machine', client_secret: 'a secret: +%&', redirect_uris: [], response_types: [],
      grant_types: ['client_credentials'], scope,
    },
    {
      client_id: 'signer', token_endpoint_auth_method: 'private_key_jwt', redirect_uris: [], response_types: [],
      grant_types: ['client_credentials'], scope, jwks: config.jwks,
    },
  ],
  scopes: ['openid', 'offline_access', 'herd:read', 'herd:write'],
  pkce: { required: () => true },
  rotateRefreshToken: true,
  ttl: {
    AccessToken: () => settings.ttl, ClientCredentials: () => settings.ttl, RefreshToken: 86400, Grant: 86400,
    Session: 86400, Interaction: 600, DeviceCode: 600, IdToken: 600,
  },
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    devInteractions: { enabled: true },
    dPoP: { enabled: true, nonceSecret: Buffer.alloc(32, 7), requireNonce: () => settings.nonce },
    registration: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, name) => {
        if (name !== api && name !== config.resource) throw new Error(`unknown resource ${name}`);
        return { scope, audience: name, accessTokenFormat: 'opaque' };
      },
    },
  },
});
provider.on('grant.success', (ctx) => {
  seen.push(`${ctx.oidc.params.grant_type} ok`);
  for (const name of ['access_token', 'refresh_token']) if (ctx.body[name]) tokens.add(ctx.body[name]);
});
provider.on('grant.error', (ctx, error) => seen.push(`${ctx.oidc?.params?.grant_type} ${error.error}`));
provider.on('server_error', (ctx, error) => console.error(error));

async function check(request, wanted) {
  const [scheme, value] = (request.headers.authorization ?? '').split(' ');
  const token = value && ((await provider.AccessToken.find(value)) ?? (await provider.ClientCredentials.find(value)));
  if (!token || token.isExpired) return [401, { error: 'invalid_token' }];
  if (token.jkt) {
    const { payload, protectedHeader } = await jwtVerify(request.headers.dpop ?? '', EmbeddedJWK, { typ: 'dpop+jwt' });
    const ath = createHash('sha256').update(value).digest('base64url');
    const right = payload.htm === (request.headers['x-method'] ?? request.method)
      && payload.htu === (request.headers['x-url'] ?? `${issuer}${request.url.split('?')[0]}`)
      && payload.ath === ath && (await calculateJwkThumbprint(protectedHeader.jwk)) === token.jkt;
    if (scheme !== 'DPoP' || !right) return [401, { error: 'invalid_dpop_proof' }];
  } else if (scheme !== 'Bearer') return [401, { error: 'invalid_token' }];
  if (wanted && !token.scope?.split(' ').includes(wanted)) return [403, { error: 'insufficient_scope', scope: wanted }];
  return [200, { sub: token.accountId ?? token.clientId, scope: token.scope, aud: token.aud, bound: Boolean(token.jkt) }];
}

server.on('request', async (request, response) => {
  const url = new URL(request.url, issuer);
  const send = (status, value, headers = {}) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(JSON.stringify(value));
  };
  if (url.pathname === '/control/set') {
    for (const [name, value] of url.searchParams) settings[name] = JSON.parse(value);
    seen.length = 0;
    return send(200, settings);
  }
  if (url.pathname === '/control/tokens') return send(200, [...tokens]);
  if (url.pathname === '/control/seen') return send(200, seen);
  if (url.pathname.startsWith('/api')) {
    let [status, value] = [401, {}];
    try {
      [status, value] = await check(request, url.searchParams.get('scope'));
    } catch (error) {
      value = { error: String(error) };
    }
    const words = `Bearer error="${value.error}"${value.scope && status === 403 ? `, scope="${value.scope}"` : ''}`;
    await new Promise((resolve) => setTimeout(resolve, Number(url.searchParams.get('wait') ?? 0)));
    return send(status, value, status === 200 ? {} : { 'www-authenticate': words });
  }
  if (url.pathname === '/token' && settings.delay) await new Promise((resolve) => setTimeout(resolve, settings.delay));
  return provider.callback()(request, response);
});
console.log(`ready ${server.address().port}`);
