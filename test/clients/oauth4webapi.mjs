import { authorize, losing, refusal, report, settings } from './conversation.mjs'
import * as oauth from 'oauth4webapi'

const client = { client_id: settings.client_id }
const authentication = {
  none: () => oauth.None(),
  client_secret_basic: oauth.ClientSecretBasic,
  client_secret_post: oauth.ClientSecretPost,
}[settings.token_endpoint_auth_method](settings.client_secret)

const options = { [oauth.allowInsecureRequests]: true } // the issuer is http, on loopback

const issuer = new URL(settings.issuer)
const server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...options }))

async function login(answer) {
  const verifier = oauth.generateRandomCodeVerifier()
  const state = oauth.generateRandomState()
  const to = new URL(server.authorization_endpoint)
  to.search = new URLSearchParams({
    response_type: 'code',
    client_id: client.client_id,
    redirect_uri: settings.redirect_uri,
    scope: 'read',
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
  })
  return { back: await authorize(to, answer), verifier, state }
}

// validate checks state and iss (RFC 9207).
const validate = async ({ back, state }) => oauth.validateAuthResponse(server, client, back, state)

async function redeem(parameters, verifier) {
  const response = await oauth.authorizationCodeGrantRequest(server, client, authentication, parameters, settings.redirect_uri, verifier, options)
  return oauth.processAuthorizationCodeResponse(server, client, response)
}

const denied = await refusal(validate(await login({ consent: false })))

const agreed = await login()
const parameters = await validate(agreed)
const wrong_verifier = await refusal(redeem(parameters, oauth.generateRandomCodeVerifier()))

const session = [await redeem(parameters, agreed.verifier)]

const lost = {}
const unreliable = { ...options, [oauth.customFetch]: losing(lost) }
async function refresh() {
  const response = await oauth.refreshTokenGrantRequest(server, client, authentication, session.at(-1).refresh_token, unreliable)
  session.push(await oauth.processRefreshTokenResponse(server, client, response))
}
await refresh().catch(() => refresh())
await refresh()

async function userinfo(accessToken) {
  const response = await oauth.userInfoRequest(server, client, accessToken, options)
  return oauth.processUserInfoResponse(server, client, oauth.skipSubjectCheck, response)
}
const user = await userinfo(session.at(-1).access_token)

// A resource server that takes the access token for what RFC 9068 says it is.
const request = new Request(settings.userinfo_endpoint, { headers: { Authorization: `Bearer ${session.at(-1).access_token}` } })
const access_token = await oauth.validateJwtAccessToken(server, request, settings.issuer, options)

const result = { denied, wrong_verifier, session, lost: lost.answer, user, access_token }
if (settings.client_secret) {
  const response = await oauth.clientCredentialsGrantRequest(server, client, authentication, { scope: 'write' }, options)
  result.client = await oauth.processClientCredentialsResponse(server, client, response)
  result.client_info = await userinfo(result.client.access_token)
}
report(result)
