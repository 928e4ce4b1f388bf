import { authorize, losing, refusal, report, settings } from './conversation.mjs'
import * as client from 'openid-client'

const authentication = {
  none: () => client.None(),
  client_secret_basic: client.ClientSecretBasic,
  client_secret_post: client.ClientSecretPost,
}[settings.token_endpoint_auth_method](settings.client_secret)

// allowInsecureRequests: the issuer is http, on loopback.
const config = await client.discovery(new URL(settings.issuer), settings.client_id, undefined, authentication, {
  algorithm: 'oauth2',
  execute: [client.allowInsecureRequests],
})

async function login(options) {
  const pkceCodeVerifier = client.randomPKCECodeVerifier()
  const expectedState = client.randomState()
  const to = client.buildAuthorizationUrl(config, {
    redirect_uri: settings.redirect_uri,
    scope: 'read',
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    state: expectedState,
  })
  return { back: await authorize(to, options), checks: { pkceCodeVerifier, expectedState } }
}

// The library checks state and iss (RFC 9207) of whatever comes back.
const no = await login({ consent: false })
const denied = await refusal(client.authorizationCodeGrant(config, no.back, no.checks))

const { back, checks } = await login()
const wrong = { ...checks, pkceCodeVerifier: client.randomPKCECodeVerifier() }
const wrong_verifier = await refusal(client.authorizationCodeGrant(config, back, wrong))

const session = [await client.authorizationCodeGrant(config, back, checks)]
const refresh = async () => session.push(await client.refreshTokenGrant(config, session.at(-1).refresh_token))

const lost = {}
config[client.customFetch] = losing(lost)
await refresh().catch(() => refresh())
await refresh()

const user = await client.fetchUserInfo(config, session.at(-1).access_token, client.skipSubjectCheck)

const result = { denied, wrong_verifier, session, lost: lost.answer, user }
if (settings.client_secret) {
  result.client = await client.clientCredentialsGrant(config, { scope: 'write' })
  result.client_info = await client.fetchUserInfo(config, result.client.access_token, client.skipSubjectCheck)
}
report(result)
