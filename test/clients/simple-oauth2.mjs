import { report, settings } from './conversation.mjs'
import { ResourceOwnerPassword } from 'simple-oauth2'

// login gets a session by the password and refreshes it twice.
async function login(options) {
  const client = new ResourceOwnerPassword({
    client: { id: settings.client_id, secret: settings.client_secret },
    auth: { tokenHost: settings.issuer, tokenPath: new URL(settings.token_endpoint).pathname },
    options,
  })
  const first = await client.getToken({ username: settings.username, password: settings.password })
  const second = await first.refresh()
  const third = await second.refresh()
  return [first.token, second.token, third.token]
}

report({
  form: await login({ bodyFormat: 'form', authorizationMethod: 'header' }),
  json: await login({ bodyFormat: 'json', authorizationMethod: 'body' }),
})
